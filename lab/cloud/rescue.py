"""The stories of a rescue: one that goes well, with what is wrongly asked of a rescued server, and one that Ironic refuses."""
from cloud import furnish, nodes, observe, scenarios, servers
from cloud.api import ironic, placement, wait_for

# What a user may ask of a rescued server by mistake.
WRONG = {
    'rescue': dict(rescue=None),
    'stop': {'os-stop': None},
    'start': {'os-start': None},
    'reboot': dict(reboot=dict(type='HARD')),
    'rebuild': lambda: dict(rebuild=dict(imageRef=furnish.image())),
}


def rescued_and_back(name='lab-rescue'):
    """A rescue with a password and an image of the user's, its end, and one with neither, which ends with the server."""
    server = servers.create(name)
    servers.wait_status(server, 'ACTIVE')
    names, story = observe.names_of(server), {}
    story['wrongly unrescued'] = servers.answer_of(servers.act, server, unrescue=None)
    launched = _launched(server)
    answer = servers.act(server, rescue=dict(adminPass='labpw-rescue', rescue_image_ref=furnish.image()))
    servers.wait_status(server, 'RESCUE')
    story['rescued'] = standing(server) | dict(answered=answer, launched_again=_launched(server) > launched)
    for word, body in WRONG.items():
        story[f'wrongly: {word}'] = servers.answer_of(servers.act, server, **(body() if callable(body) else body))
    servers.act(server, unrescue=None)
    servers.wait_status(server, 'ACTIVE')
    story['unrescued'] = standing(server)
    answer = servers.act(server, rescue=None)
    servers.wait_status(server, 'RESCUE')
    story['rescued with a password made up'] = standing(server) | dict(length=len(answer['adminPass']))
    return _buried(server, names, story)


def refused(name='lab-rescue-refused'):
    """A rescue that Ironic refuses, because the node is in maintenance; then another one of the same server, which is in error."""
    server = servers.create(name)
    servers.wait_status(server, 'ACTIVE')
    names, story, node = observe.names_of(server), {}, servers.node_of(server)['uuid']
    nodes.patiently(ironic().put, f'/v1/nodes/{node}/maintenance', dict(reason='lab'))
    try:
        servers.act(server, rescue=dict(adminPass='labpw-refused'))
        story['refused'] = standing(server, servers.wait_status(server, 'ERROR'))
    finally:
        ironic().delete(f'/v1/nodes/{node}/maintenance')
    servers.act(server, rescue=dict(adminPass='labpw-second'))
    wait_for('the server in error is rescued', lambda: servers.show(server)['status'] == 'RESCUE', 60)
    story['rescued'] = standing(server)
    return _buried(server, names, story)


def standing(server, shown=None):
    """How a server stands once Ironic's node is at rest."""
    def at_rest():
        now = servers.node_of(server)
        return now if not now['reservation'] and not now['target_power_state'] else None
    node = wait_for('the node is at rest', at_rest, 30)
    shown = shown or servers.show(server)
    fault = {key: shown['fault'].get(key) for key in ('code', 'message')} if 'fault' in shown else None
    state = {key: shown[f'OS-EXT-STS:{key}'] for key in ('vm_state', 'task_state', 'power_state')}
    kept = ('provision_state', 'power_state', 'last_error', 'maintenance', 'instance_info')
    info = {key: value for key, value in node['instance_info'].items() if key != 'configdrive'}
    machine = {key: node[key] for key in kept} | dict(instance_info=info)
    booked = placement().get(f'/allocations/{server}')['allocations']
    return state | dict(status=shown['status'], fault=fault, progress=shown.get('progress'), node=machine,
                        ports=[observe.port(port) for port in servers.ports_of(server)],
                        allocation={provider: each['resources'] for provider, each in booked.items()})


def _launched(server):
    return servers.show(server)['OS-SRV-USG:launched_at']


def _buried(server, names, story):
    """Ends a story with its server."""
    node = servers.node_of(server)['uuid']
    servers.delete(server)
    servers.wait_gone(server)
    scenarios.node_settled(node)
    story |= dict(actions=observe.actions(server, names), left=observe.leftovers(server, node))
    return observe.comparable(story, names) | dict(buried=observe.buried(server, names))
