"""What can be seen from outside of the machines in Nova and Placement, and of one server everywhere, made comparable."""
import json

from cloud import database, drive, furnish, normal, nodes, servers, settings, volumes
from cloud.api import ironic, placement

_ROW_OWN = {'id', 'created_at', 'updated_at', 'deleted_at', 'service_id', 'last_heartbeat', 'mapped'}
_JSON_COLUMNS = {'stats', 'supported_instances', 'metrics', 'pci_stats', 'numa_topology', 'extra_resources', 'cpu_info', 'connection_info', 'connector'}


def service():
    """The record of the compute service, and whether its host is mapped to a cell."""
    row = database.row('nova_cell1', "select * from services where `binary` = 'nova-compute' and host = %s and deleted = 0", settings.COMPUTE_HOST)
    if row is None:
        return None
    kept = {key: value for key, value in row.items() if key in ('host', 'binary', 'topic', 'disabled', 'disabled_reason', 'version', 'forced_down')}
    return kept | dict(mapped=bool(database.rows('nova_api', 'select id from host_mappings where host = %s', settings.COMPUTE_HOST)))


def picture(wanted):
    """Nova's compute nodes and Placement's providers of the wanted nodes, by node name."""
    known = nodes.everyone()
    names = {known[name]['uuid']: name for name in wanted if name in known}
    return dict(service=service(), compute_nodes=_compute_nodes(names), providers=_providers(names))


def _compute_nodes(names):
    own = database.value('nova_cell1', "select id from services where `binary` = 'nova-compute' and host = %s and deleted = 0", settings.COMPUTE_HOST)
    found = {}
    for row in database.rows('nova_cell1', 'select * from compute_nodes where deleted = 0'):
        if row['uuid'] in names:
            kept = {key: _column(key, value) for key, value in row.items() if key not in _ROW_OWN}
            kept['service'] = 'its own' if row['service_id'] in (own, None) else 'another'
            found[names[row['uuid']]] = normal.document(kept, {row['uuid']: '<node>'})
    return dict(sorted(found.items()))


def _column(key, value):
    if key in _JSON_COLUMNS and value:
        return json.loads(value)
    if hasattr(value, 'isoformat'):
        return '<time>'
    return value if isinstance(value, (int, str, type(None))) else float(value)


def _providers(names):
    found = {}
    for provider in placement().get('/resource_providers')['resource_providers']:
        if provider['uuid'] not in names:
            continue
        path = f"/resource_providers/{provider['uuid']}"
        found[names[provider['uuid']]] = dict(
            named_as_the_node=provider['name'] == provider['uuid'],
            root=provider['root_provider_uuid'] == provider['uuid'], parent=provider['parent_provider_uuid'],
            inventories=placement().get(f'{path}/inventories')['inventories'],
            traits=sorted(placement().get(f'{path}/traits')['traits']),
            aggregates=placement().get(f'{path}/aggregates')['aggregates'])
    return dict(sorted(found.items()))


def names_of(server):
    """What the uuids that belong to a server stand for."""
    known = {server: '<server>', furnish.image(): '<image>', furnish.another_image(): '<another image>', furnish.network(): '<network>'}
    node = servers.node_of(server)
    ports = servers.ports_of(server)
    known |= {node['uuid']: '<node>'} if node else {}
    known |= {port['id']: '<port>' for port in ports}
    for number, device in enumerate(_rows('block_device_mapping', server)):
        known |= {device['volume_id']: f'<volume {number}>', device['attachment_id']: f'<attachment {number}>'} if device['volume_id'] else {}
    return known | {uuid.replace('-', ''): name for uuid, name in known.items()}


def actions(server, names):
    """The server's instance actions and their events with their results, in order. A traceback only counts as there or not.

    What Ironic's power notifications cause on their own comes when it comes, and is left out.
    """
    found = []
    for action in servers.actions_of(server):
        if any(each['event'] == 'compute_power_update' for each in action['events']):
            continue
        events = [dict(event=each['event'], result=each['result'], details=each.get('details'),
                       traceback=bool(each.get('traceback')), host=each.get('host')) for each in sorted(action['events'], key=lambda each: (each['start_time'], each['event']))]
        found.append(normal.document(dict(action=action['action'], message=action['message'], events=events), names))
    return found


_SERVER_OWN = {'links', 'created', 'updated', 'hostId', 'OS-SRV-USG:launched_at', 'OS-SRV-USG:terminated_at', 'name'}


def server(uuid):
    """Everything there is of a server: the API's view, Nova's rows, its port and volumes, and what Ironic was told."""
    names = names_of(uuid)
    node = servers.node_of(uuid)
    view = {key: value for key, value in servers.show(uuid).items() if key not in _SERVER_OWN}
    view.pop('flavor', None)
    return normal.document(dict(api=view, row=_instance_row(uuid), system_metadata=_system_metadata(uuid), network_info=_network_info(uuid),
                                block_devices=_rows('block_device_mapping', uuid), interfaces=_rows('virtual_interfaces', uuid),
                                ports=[port(each) for each in servers.ports_of(uuid)], node=_node(node),
                                allocation=_allocation(uuid), **_volumes(uuid, node)), names) | dict(config_drive=drive.seen(node['uuid'], names))


def _instance_row(uuid):
    row = database.row('nova_cell1', 'select * from instances where uuid = %s', uuid)
    hidden = _ROW_OWN | {'hostname', 'display_name', 'display_description', 'key_data', 'user_data', 'compute_id', 'instance_type_id',
                         'launched_at', 'terminated_at'}
    kept = {key: _column(key, value) for key, value in row.items() if key not in hidden}
    return kept | dict(launched=row['launched_at'] is not None, compute_known=row['compute_id'] is not None)


def _volumes(uuid, node):
    """The server's volumes, how Cinder has attached them, and what the machine connects to. Nothing for a server without."""
    devices = [device for device in _rows('block_device_mapping', uuid) if device['volume_id']]
    if not devices:
        return {}
    attached = [{key: _column(key, value) for key, value in row.items() if key not in _ROW_OWN} for row in volumes.attachments()]
    targets = [{key: value for key, value in target.items() if key not in ('links', 'created_at', 'updated_at')} for target in volumes.targets(node['uuid'])]
    return dict(volumes=[_volume(device['volume_id']) for device in devices],
                attachments=sorted(attached, key=lambda each: each['mountpoint'] or ''), targets=sorted(targets, key=lambda each: each['boot_index']))


def _volume(uuid):
    kept = ('status', 'name', 'size', 'bootable', 'multiattach', 'attachments', 'metadata', 'volume_type')
    return {key: value for key, value in volumes.show(uuid).items() if key in kept}


def volume(uuid, names):
    """A volume as Cinder shows it, and what still holds it."""
    return normal.document(dict(shown=_volume(uuid), attachments=[each['id'] for each in volumes.attachments()]), names)


def _rows(table, uuid):
    skipped = {'id', 'uuid', 'created_at', 'updated_at'}
    query = f'select * from {table} where instance_uuid = %s and deleted = 0 order by id'
    found = database.rows('nova_cell1', query, uuid)
    return [{key: _column(key, value) for key, value in row.items() if key not in skipped} for row in found]


def _system_metadata(uuid):
    found = database.rows('nova_cell1', 'select `key`, value from instance_system_metadata where instance_uuid = %s and deleted = 0', uuid)
    kept = {row['key']: row['value'] for row in found if row['key'] not in ('owner_user_name', 'owner_project_name')}
    return kept | dict(boot_roles=sorted(kept.get('boot_roles', '').split(',')))


def _network_info(uuid):
    kept = database.value('nova_cell1', 'select network_info from instance_info_caches where instance_uuid = %s and deleted = 0', uuid)
    return json.loads(kept or '[]')


_PORT = ('admin_state_up', 'binding:host_id', 'binding:profile', 'binding:vif_type', 'binding:vnic_type', 'device_id', 'device_owner',
         'fixed_ips', 'mac_address', 'name', 'network_id', 'status', 'port_security_enabled')


def port(port):
    """What Nova and Ironic write on a port."""
    kept = {key: port.get(key) for key in _PORT}
    # Ironic fills the profile with the node's own link information; only its keys are of interest.
    return kept | {'binding:profile': sorted(kept['binding:profile'] or {})}


def _node(node):
    info = {key: value for key, value in node['instance_info'].items() if key != 'configdrive'}
    attached = ironic().get(f"/v1/nodes/{node['uuid']}/vifs")['vifs']
    return dict(instance_info=info, extra=node['extra'], provision_state=node['provision_state'], power_state=node['power_state'],
                maintenance=node['maintenance'], console_enabled=node['console_enabled'], last_error=node['last_error'], vifs=attached)


def _allocation(uuid):
    found = placement().get(f'/allocations/{uuid}')
    return {provider: each['resources'] for provider, each in found['allocations'].items()}


def leftovers(uuid, node):
    """What is left of a deleted server, on its former node and elsewhere. Nothing but a free node is as it should be."""
    now = ironic().get(f'/v1/nodes/{node}')
    return dict(provision_state=now['provision_state'], instance_uuid=now['instance_uuid'], instance_info=now['instance_info'],
                vifs=ironic().get(f'/v1/nodes/{node}/vifs')['vifs'], ports=[port['id'] for port in servers.ports_of(uuid)],
                allocations=placement().get(f'/allocations/{uuid}')['allocations'], extra=now['extra'],
                volume_targets=ironic().get('/v1/volume/targets', node=node)['targets'])


def buried(uuid, names):
    """Nova's row of a deleted server, and whether its companions are marked deleted with it."""
    row = database.row('nova_cell1', 'select * from instances where uuid = %s', uuid)
    kept = {key: row[key] for key in ('vm_state', 'task_state', 'power_state', 'host', 'node', 'cleaned', 'locked', 'progress')}
    tables = ('instance_info_caches', 'block_device_mapping', 'virtual_interfaces', 'instance_system_metadata')
    live = {table: database.value('nova_cell1', f'select count(*) from {table} where instance_uuid = %s and deleted = 0', uuid) for table in tables}
    return normal.document(kept | dict(deleted=row['deleted'] != 0, terminated=row['terminated_at'] is not None, live=live), names)


def network_stamp(uuid):
    """Changes whenever Nova writes the server's network information or an action of it."""
    return database.row('nova_cell1', '''select c.updated_at, c.network_info, i.updated_at as touched from instance_info_caches c
                                         join instances i on i.uuid = c.instance_uuid where c.instance_uuid = %s''', uuid)


def comparable(story, names):
    return normal.document(story, names)
