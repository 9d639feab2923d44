"""The stories that are told once with stock nova-compute and again with Bessemer. Each gives what was observed, made comparable."""
import time

from cloud import furnish, nodes, observe, servers, service, volumes
from cloud.api import ironic, neutron, nova, placement, wait_for

FRAGILE = ('fragile-0000', 'fragile-0001')
ON_VOLUMES = 'bfv-0000'
WITH_SERIAL = 'serial-0000'
TWIN = 'twin-0000'


def fragile():
    """Nodes whose ramdisk never calls back, so that Ironic gives up each deploy after its timeout."""
    return [nodes.Wanted(name, resource_class='fragile', more=dict(deploy_interface='custom-agent')) for name in FRAGILE]


def on_volumes():
    """A node that boots from volumes. It is off, as Ironic wants a machine whose connections change."""
    capabilities = dict(capabilities='boot_mode:uefi,iscsi_boot:true')
    return [nodes.Wanted(ON_VOLUMES, resource_class='bfv', properties=nodes.PROPERTIES | capabilities, power='power off',
                         initiator='iqn.2026-01.lab:bfv-0000', more=dict(deploy_interface='direct', storage_interface='cinder'))]


def with_serial():
    """A node with a serial console, which is switched off."""
    return [nodes.Wanted(WITH_SERIAL, resource_class='serial', driver='lab-hardware', more=dict(console_interface='lab-socat'))]


def twin():
    """A node with two network cards."""
    return [nodes.Wanted(TWIN, resource_class='twin', cards=2)]


def free_nodes(resource_class='CUSTOM_BAREMETAL'):
    """The nodes of a class that Placement offers to the lab's flavors."""
    trait = dict(required='CUSTOM_LAB')
    found = placement().get('/allocation_candidates', resources=f'{resource_class}:1', **trait)['allocation_requests']
    return sorted(next(iter(each['allocations'])) for each in found)


def offered(count, resource_class='CUSTOM_BAREMETAL', seconds=150):
    """Waits until Placement offers at least `count` free nodes of a class."""
    wait_for(f'{count} free nodes of {resource_class} in Placement', lambda: len(free_nodes(resource_class)) >= count, seconds, 0.25)


def node_settled(node, seconds=120):
    """Waits until a node is available again and free."""
    def settled():
        now = ironic().get(f'/v1/nodes/{node}')
        return now if now['provision_state'] == 'available' and now['instance_uuid'] is None and not now['reservation'] else None
    return wait_for(f'node {node} available', settled, seconds)


def life(name='lab-life', **more):
    """A server with everything that travels in a config drive, to ACTIVE and back to nothing."""
    server = servers.create(name, **more)
    servers.wait_status(server, 'ACTIVE')
    settle(server)
    node, names = servers.node_of(server)['uuid'], observe.names_of(server)
    story = dict(created=observe.actions(server, names), active=observe.server(server))
    servers.delete(server)
    servers.wait_gone(server)
    node_settled(node)
    return story | dict(deleted=observe.actions(server, names), left=observe.leftovers(server, node), buried=observe.buried(server, names))


def bare():
    """A server with no network, no config drive, no key."""
    return life('lab-bare', networks='none', config_drive=False, key_name=None, user_data=None, metadata=None, personality=None)


def own_port():
    """A server on a port that its user made and keeps."""
    port = neutron().post('/v2.0/ports', dict(port=dict(network_id=furnish.network(), name='lab-own-port')))['port']['id']
    try:
        story = life('lab-own-port', networks=[dict(port=port)])
        kept = observe.port(neutron().get(f'/v2.0/ports/{port}')['port'])
        return story | dict(kept=observe.comparable(kept, {port: '<port>', furnish.network(): '<network>'}))
    finally:
        neutron().delete(f'/v2.0/ports/{port}', missing_ok=True)


def from_volume():
    """A server on a volume that its user made and keeps."""
    offered(1, 'CUSTOM_BFV')
    volume = volumes.create('lab-from-volume')
    try:
        story = life('lab-from-volume', **volumes.FROM_VOLUME, block_device_mapping_v2=[volumes.disk(0, volume)])
        volumes.wait_status(volume, 'available')
        return story | dict(kept=observe.volume(volume, {volume: '<volume>'}))
    finally:
        volumes.delete(volume)


def two_volumes():
    """A server on a volume that goes with it, with a second one that Nova makes."""
    offered(1, 'CUSTOM_BFV')
    root = volumes.create('lab-two-volumes')
    story = life('lab-two-volumes', **volumes.FROM_VOLUME, block_device_mapping_v2=[volumes.disk(0, root, True), volumes.disk(1, doomed=True)])
    wait_for('no volume', lambda: not volumes.everyone(), 30)
    return story


def interrupted(name='lab-interrupted'):
    """A server that is deleted while its node waits for the ramdisk."""
    offered(1, 'CUSTOM_FRAGILE')
    server = servers.create(name, flavor='bm.fragile')
    node = wait_for('the node waits for its ramdisk', lambda: _waiting(server), 60)
    names = observe.names_of(server)
    servers.delete(server)
    servers.wait_gone(server)
    node_settled(node)
    return dict(actions=observe.actions(server, names), left=observe.leftovers(server, node), buried=observe.buried(server, names))


# For how long a delete can be taken back, seconds.
RECLAIMED_AFTER = 25


def soft_deleted(name='lab-soft-deleted'):
    """A server that is deleted and restored, and deleted again until its time is over; another one whose delete is forced."""
    with service.reclaiming(RECLAIMED_AFTER):
        offered(2)
        made = [servers.create(name), servers.create(f'{name}-forced')]
        for server in made:
            servers.wait_status(server, 'ACTIVE')
            settle(server)
        names, on = [observe.names_of(server) for server in made], [servers.node_of(server)['uuid'] for server in made]
        for server in made:
            servers.delete(server)
            servers.wait_status(server, 'SOFT_DELETED')
        story = dict(deleted=[observe.server(server) for server in made])
        servers.act(made[0], restore=None)
        servers.wait_status(made[0], 'ACTIVE')
        story |= dict(restored=observe.server(made[0]))
        servers.delete(made[0])
        servers.act(made[1], forceDelete=None)
        for server, node in zip(reversed(made), reversed(on)):
            servers.wait_gone(server, RECLAIMED_AFTER + 100)
            node_settled(node)
        ends = zip(made, names, on)
        return story | dict(ends=[dict(actions=observe.actions(server, names), left=observe.leftovers(server, node),
                                       buried=observe.buried(server, names)) for server, names, node in ends])


def crash_dump(name='lab-crash-dump'):
    """A crash dump of hardware that cannot do it: Ironic's own fake one."""
    offered(1)
    server = servers.create(name)
    servers.wait_status(server, 'ACTIVE')
    settle(server)
    names = observe.names_of(server)
    story = dict(answer=servers.answer_of(servers.act, server, trigger_crash_dump=None), after=_after(server))
    wait_for('the end of the action', lambda: all(each['finish_time'] for each in servers.actions_of(server)[-1]['events']), 30)
    story |= dict(recorded=observe.actions(server, names)[-1], server=observe.server(server))
    servers.delete(server)
    servers.wait_gone(server)
    return observe.comparable(story, names)


def settle(server, quiet=1.5):
    """Waits until the server's network information has been quiet for a while: Neutron's events change it after ACTIVE."""
    def stamp():
        return observe.network_stamp(server)
    last, since = stamp(), time.monotonic()
    while time.monotonic() - since < quiet:
        time.sleep(0.25)
        now = stamp()
        if now != last:
            last, since = now, time.monotonic()


def exhausted(name='lab-exhausted'):
    """A server for which every node fails to deploy: ERROR with the fault."""
    offered(2, 'CUSTOM_FRAGILE')
    server = servers.create(name, flavor='bm.fragile')
    failed = servers.wait_status(server, 'ERROR', 180)
    names = observe.names_of(server)
    story = dict(fault={key: failed['fault'].get(key) for key in ('code', 'message')}, actions=observe.actions(server, names),
                 vm_state=failed['OS-EXT-STS:vm_state'], node=servers.node_of(server), ports=len(servers.ports_of(server)),
                 host=failed['OS-EXT-SRV-ATTR:host'], hypervisor=failed['OS-EXT-SRV-ATTR:hypervisor_hostname'],
                 allocations=placement().get(f'/allocations/{server}')['allocations'])
    servers.delete(server)
    servers.wait_gone(server)
    for name in FRAGILE:
        node_settled(name)
    return observe.comparable(story, names) | dict(deleted=observe.actions(server, names), left=[observe.leftovers(server, name) for name in FRAGILE])


def rescheduled(name='lab-rescheduled'):
    """A server whose first node fails to deploy and whose second does it."""
    offered(2, 'CUSTOM_FRAGILE')
    server = servers.create(name, flavor='bm.fragile')
    first = wait_for('the first node waits for its ramdisk', lambda: _waiting(server), 60)
    second = next(name for name in FRAGILE if name != first)
    nodes.patiently(ironic().patch, f'/v1/nodes/{second}', [dict(op='replace', path='/deploy_interface', value='fake')])
    nodes.power(second, 'power on')
    try:
        servers.wait_status(server, 'ACTIVE', 180)
        settle(server)
        names = observe.names_of(server)
        story = dict(on_the_second=servers.node_of(server)['name'] == second, actions=observe.actions(server, names), active=observe.server(server),
                     first=observe.leftovers(server, first) | dict(ports=None, allocations=None))
        servers.delete(server)
        servers.wait_gone(server)
        node_settled(second)
    finally:
        nodes.patiently(ironic().patch, f'/v1/nodes/{second}', [dict(op='replace', path='/deploy_interface', value='custom-agent')])
    return story


def _waiting(server):
    node = servers.node_of(server)
    return node['name'] if node and node['provision_state'] == 'wait call-back' else None


# What the Ironic driver cannot do: the action's name in the API and its body.
REFUSED = {
    'pause': dict(pause=None),
    'suspend': dict(suspend=None),
    'createImage': dict(createImage=dict(name='lab-refused')),
    'changePassword': dict(changePassword=dict(adminPass='labpw-new')),
    'os-getConsoleOutput': {'os-getConsoleOutput': dict(length=10)},
    'migrate': dict(migrate=None),
}


def refused(name='lab-refused'):
    """What a user is told who asks for something that bare metal does not do, and how the server stands afterwards."""
    server = servers.create(name)
    servers.wait_status(server, 'ACTIVE')
    names, story = observe.names_of(server), {}
    for action, body in REFUSED.items():
        answer = servers.answer_of(servers.act, server, **body)
        story[action] = dict(answer=answer, after=_after(server), recorded=observe.actions(server, names)[-1])
    story['diagnostics'] = dict(answer=servers.answer_of(nova().get, f'/servers/{server}/diagnostics'), after=_after(server))
    console = dict(remote_console=dict(protocol='serial', type='serial'))
    story['serial console'] = dict(answer=servers.answer_of(nova().post, f'/servers/{server}/remote-consoles', console), after=_after(server))
    servers.delete(server)
    servers.wait_gone(server)
    return observe.comparable(story, names)


def quiet(server):
    """The server once no task is going on."""
    def idle():
        now = servers.show(server)
        return now if now['OS-EXT-STS:task_state'] is None else None
    time.sleep(0.5)
    now = wait_for('no task', idle, 60)
    time.sleep(0.5)
    return now


def _after(server):
    now = quiet(server)
    return dict(status=now['status'], vm_state=now['OS-EXT-STS:vm_state'])


def prepare(count=5):
    """The nodes that the stories need."""
    furnish.everything()
    nodes.enroll(nodes.plain(count) + nodes.odd() + fragile() + on_volumes() + with_serial() + twin())
