"""The stories of servers that are rebuilt."""
import base64

from cloud import furnish, nodes, observe, scenarios, servers, volumes
from cloud.api import ironic, placement

USER_DATA = base64.b64encode(b'#cloud-config\nruncmd: [touch, /rebuilt]\n').decode()
# Everything that a user can change with a rebuild.
CHANGES = dict(name='lab-rebuilt', hostname='lab-rebuilt', adminPass='labpw-new', key_name=furnish.ANOTHER_KEY, user_data=USER_DATA,
               metadata=dict(purpose='rebuilt'), preserve_ephemeral=True)
# From this one on nova-api says of every rebuild that it is one of the volume, too.
OF_VOLUME = '2.93'


def _recorded(server, names):
    """The last action. The conductor's event and ours may begin in the same second."""
    last = observe.actions(server, names)[-1]
    return last | dict(events=sorted(last['events'], key=lambda each: each['event']))


def _seen(server, status):
    """The server once it is rebuilt, and what its list of actions says of that."""
    servers.wait_status(server, status)
    scenarios.settle(server)
    names = observe.names_of(server)
    return dict(recorded=_recorded(server, names), server=observe.server(server))


def _failed(server):
    now = servers.wait_status(server, 'ERROR')
    names, node = observe.names_of(server), servers.node_of(server)
    fault = {key: now['fault'].get(key) for key in ('code', 'message')}
    story = dict(fault=fault, vm_state=now['OS-EXT-STS:vm_state'], recorded=_recorded(server, names), node=node['provision_state'],
                 host=now['OS-EXT-SRV-ATTR:host'], ports=len(servers.ports_of(server)),
                 allocations=len(placement().get(f'/allocations/{server}')['allocations']))
    return observe.comparable(story, names)


def _ended(server):
    """The server after a rebuild that works with one and fails with the other."""
    return _failed(server) if scenarios.quiet(server)['status'] == 'ERROR' else _seen(server, 'ACTIVE')


def _maintenance(node, on):
    path = f'/v1/nodes/{node}/maintenance'
    if on:
        nodes.patiently(ironic().put, path, dict(reason='lab'))
    else:
        nodes.patiently(ironic().delete, path)


def rebuilt(name='lab-rebuilt'):
    """A server that is rebuilt from another image with everything changed, while it is off, in vain, out of ERROR, with the newest API."""
    server = servers.create(name)
    servers.wait_status(server, 'ACTIVE')
    scenarios.settle(server)
    node = servers.node_of(server)['uuid']
    servers.rebuild(server, furnish.another_image(), **CHANGES)
    story = dict(changed=_seen(server, 'ACTIVE'))
    servers.act(server, **{'os-stop': None})
    servers.wait_status(server, 'SHUTOFF')
    servers.rebuild(server, furnish.image())
    story['off'] = _seen(server, 'SHUTOFF')
    servers.act(server, **{'os-start': None})
    servers.wait_status(server, 'ACTIVE')
    _maintenance(node, True)
    try:
        servers.rebuild(server, furnish.image())
        story['in_vain'] = _failed(server)
    finally:
        _maintenance(node, False)
    servers.rebuild(server, furnish.image())
    story['out_of_error'] = _seen(server, 'ACTIVE')
    servers.rebuild(server, furnish.image(), version=OF_VOLUME)
    story['newest'] = _ended(server)
    servers.delete(server)
    servers.wait_gone(server)
    scenarios.node_settled(node)
    return story



def on_volume(name='lab-rebuilt'):
    """A server that boots from a volume, asked to be rebuilt from the volume's image, and from another with the newest API."""
    scenarios.offered(1, 'CUSTOM_BFV')
    volume = volumes.create(name)
    server = servers.create(name, **volumes.FROM_VOLUME, block_device_mapping_v2=[volumes.disk(0, volume, True)])
    servers.wait_status(server, 'ACTIVE')
    scenarios.settle(server)
    node = servers.node_of(server)['uuid']
    names, story = observe.names_of(server), dict(before=observe.server(server))
    for stage, image, version in ('same', furnish.image(), servers.REBUILD), ('another', furnish.image('lab-plain'), OF_VOLUME):
        servers.rebuild(server, image, version=version)
        now = scenarios.quiet(server)
        story[stage] = observe.comparable(dict(fault=now.get('fault', {}).get('message'), recorded=_recorded(server, names), status=now['status']), names)
        story[stage]['server'] = observe.server(server)
    servers.delete(server)
    servers.wait_gone(server)
    scenarios.node_settled(node)
    return story
