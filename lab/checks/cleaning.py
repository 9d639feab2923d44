"""A clean cloud before and after every check: no server, no allocation, no port of a server, no volume, no node with an instance."""
import contextlib
import time

from cloud import database, nodes, placement_view, scenarios, servers, service, volumes
from cloud.api import ApiError, ironic, neutron, nova, wait_for

OURS = ('lab-', 'fragile-', 'bfv-', 'serial-', 'twin-')


def _servers():
    return [each['id'] for each in nova().get('/servers', all_tenants=1)['servers']]


def _ports():
    return [port['id'] for port in neutron().get('/v2.0/ports')['ports'] if port['device_owner'].startswith('compute:')]


def _taken():
    ours = [node for node in nodes.everyone().values() if node['name'].startswith(OURS)]
    return [node for node in ours if node['instance_uuid'] or node['provision_state'] != 'available']


def nothing_left(seconds=60):
    """Waits until nothing is left of any server; says what is, if the time is not enough."""
    def left():
        return dict(servers=_servers(), ports=_ports(), nodes=[node['name'] for node in _taken()], allocations=placement_view.consumers(),
                    volumes=volumes.everyone(), attachments=[each['id'] for each in volumes.attachments()],
                    targets=[each['uuid'] for each in volumes.targets()])
    end = time.monotonic() + seconds
    while any(left().values()):
        if time.monotonic() > end:
            raise AssertionError(f'left over: {({key: value for key, value in left().items() if value})}')
        time.sleep(0.5)


def clean():
    """Brings the cloud back by force, when a check has failed or someone has left something."""
    with contextlib.suppress(Exception):
        if not service.pid():
            service.start()
        for server in _servers():
            servers.delete(server)
        wait_for('no server', lambda: not _servers(), 30)
    _force()
    nothing_left()


def switched_on():
    """Switches the plain machines on, as lab/enroll leaves them: no deploy of the lab does, and a server on one that is off is off, too."""
    def off():
        return [node for node in nodes.everyone().values()
                if node['name'].startswith('lab-') and node['provision_state'] == 'available' and node['power_state'] != 'power on']
    for node in off():
        nodes.power(node['uuid'], 'power on')
    wait_for('the machines are on', lambda: not off(), 60)


def _force():
    """What the compute service did not do is done without it."""
    database.run('nova_cell1', 'update instances set deleted = id, deleted_at = now(), vm_state = \'deleted\' where deleted = 0')
    database.run('nova_api', 'delete from build_requests')
    for consumer in placement_view.consumers():
        placement_view.free(consumer)
    for target in volumes.targets():
        _disconnect(target)
    for node in _taken():
        _free(node)
    switched_on()
    for port in _ports():
        neutron().delete(f'/v2.0/ports/{port}', missing_ok=True)
    volumes.force_away()
    for name in scenarios.FRAGILE:
        _fragile_again(name)


def _free(node):
    with contextlib.suppress(ApiError):
        if node['provision_state'] != 'available':
            nodes.provision(node['uuid'], 'deleted')
    # A slow check's steps take 45 s each, and a tear-down has two.
    wait_for(f"{node['name']} available", lambda: nodes.everyone()[node['name']]['provision_state'] == 'available', 180)
    if nodes.everyone()[node['name']]['instance_uuid']:
        nodes.patiently(ironic().patch, f"/v1/nodes/{node['uuid']}", [dict(op='remove', path='/instance_uuid')])


def _disconnect(target):
    """Ironic deletes a volume target only while the machine is off."""
    nodes.power(target['node_uuid'], 'power off')
    wait_for('power off', lambda: ironic().get(f"/v1/nodes/{target['node_uuid']}")['power_state'] == 'power off', 30)
    nodes.patiently(ironic().delete, f"/v1/volume/targets/{target['uuid']}")


def _fragile_again(name):
    if ironic().get(f'/v1/nodes/{name}')['deploy_interface'] != 'custom-agent':
        nodes.patiently(ironic().patch, f'/v1/nodes/{name}', [dict(op='replace', path='/deploy_interface', value='custom-agent')])
