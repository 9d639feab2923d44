"""The services around the compute service fail for a while."""
import contextlib
import time

from checks import SLOW, check, expect, lives, same_as_stock
from cloud import furnish, nodes, observe, scenarios, servers, service
from cloud.api import ApiError, ironic, neutron, placement, wait_for

IRONIC_AWAY = 30
# How long a service is away after the node is free: the compute service has to give up a call and try again.
END_AWAY = 20


def _created(name):
    """A server, asked for until Nova's own services have found the broker again."""
    def asked():
        try:
            return servers.create(name)
        except ApiError as refusal:
            expect(refusal.status >= 500, str(refusal))
            return None
    return wait_for('Nova takes requests', asked, 90, 1)


@check(pace=SLOW)
def rabbitmq_restarted():
    """RabbitMQ restarts during a deploy: the server becomes ACTIVE, and the next one, too"""
    scenarios.offered(2)
    server = servers.create('lab-life')
    wait_for('Ironic deploys', lambda: lives.on_a_node(server, 'deploying'), 60)
    service.script('service', 'restart', 'rabbitmq')
    lives.active_as_stock([server])
    expect(service.pid(), 'the compute service ended')
    wait_for('the service is up', service.up, 60)
    another = _created('lab-life')
    lives.active_as_stock([another])
    lives.gone([server, another])


@check(pace=SLOW)
def ironic_away():
    """Ironic's API is away for 30 s during a deploy: the server becomes ACTIVE"""
    scenarios.offered(1)
    server = servers.create('lab-life')
    wait_for('Ironic deploys', lambda: lives.on_a_node(server, 'deploying'), 60)
    service.script('service', 'stop', 'ironic-api')
    try:
        time.sleep(IRONIC_AWAY)
        expect(servers.show(server)['status'] == 'BUILD', f"the server is {servers.show(server)['status']}")
    finally:
        service.script('service', 'start', 'ironic-api')
    lives.active_as_stock([server])
    lives.gone([server])


@check(pace=SLOW)
def ironic_away_during_delete():
    """Ironic's API is away for a while during a delete: the server goes, and nothing is left"""
    scenarios.offered(1)
    server = servers.create('lab-life')
    servers.wait_status(server, 'ACTIVE')
    node, names = servers.node_of(server)['uuid'], observe.names_of(server)
    servers.delete(server)
    wait_for('Ironic tears down', lambda: lives.on_a_node(server, 'deleting', 'cleaning'), 60)
    service.script('service', 'restart', 'ironic-api')
    servers.wait_gone(server)
    scenarios.node_settled(node)
    same_as_stock('life', observe.leftovers(server, node), 'left')
    same_as_stock('life', observe.actions(server, names), 'deleted')


def _without(name, until, seconds=180):
    """Stops a service of the lab, waits until something is so, and a while longer, and starts it again."""
    service.script('service', 'stop', name)
    try:
        wait_for(f'{name} is away and the node is free', until, seconds)
        time.sleep(END_AWAY)
    finally:
        service.script('service', 'start', name)


@contextlib.contextmanager
def _noop_networks():
    """The fragile nodes do without Neutron: Ironic itself would fail to tear down a node with a network while Neutron is away."""
    def interface(kind):
        for node in scenarios.FRAGILE:
            scenarios.node_settled(node)
            nodes.patiently(ironic().patch, f'/v1/nodes/{node}', [dict(op='replace', path='/network_interface', value=kind)])
    interface('noop')
    try:
        yield
    finally:
        interface('flat')


def _fragile(name, **more):
    """A server whose node waits for a ramdisk that never calls; gives the server and the node."""
    scenarios.offered(2, 'CUSTOM_FRAGILE')
    server = servers.create(name, flavor='bm.fragile', **more)
    return server, wait_for('the node waits for its ramdisk', lambda: lives.on_a_node(server, 'wait call-back'), 60)['uuid']


def _nothing_is_left(server):
    expect(not placement().get(f'/allocations/{server}')['allocations'], 'the allocation is left')
    expect(not servers.ports_of(server), 'a port is left')


def _deleted_in_a_build(name, **more):
    """A server is deleted during its deploy while a service is away: the node is freed at once, the rest when it is back."""
    server, node = _fragile('lab-interrupted', **more)
    servers.delete(server)
    _without(name, lambda: servers.node_of(server) is None)
    servers.wait_gone(server)
    scenarios.node_settled(node)
    _nothing_is_left(server)


@check()
def placement_away_at_the_end():
    """Placement is away when a build ends with a delete: nothing is left after it is back"""
    _deleted_in_a_build('placement')


@check()
def neutron_away_at_the_end():
    """Neutron is away when a build ends with a delete: the user's port is free and still there after it is back"""
    port = neutron().post('/v2.0/ports', dict(port=dict(network_id=furnish.network(), name='lab-own-port')))['port']['id']
    try:
        with _noop_networks():
            _deleted_in_a_build('neutron', networks=[dict(port=port)])
        kept = neutron().get(f'/v2.0/ports/{port}', missing_ok=True)
        expect(kept, "the user's port was deleted")
        expect(not kept['port']['device_id'], "the user's port is still the server's")
    finally:
        neutron().delete(f'/v2.0/ports/{port}', missing_ok=True)


def _failed(name):
    """Ironic fails a build while a service is away: when it is back the server is in ERROR and has nothing."""
    server, _ = _fragile('lab-exhausted')
    _without(name, lambda: servers.node_of(server) is None)
    servers.wait_status(server, 'ERROR', 300)
    _nothing_is_left(server)
    servers.delete(server)
    servers.wait_gone(server)
    for node in scenarios.FRAGILE:
        scenarios.node_settled(node)


@check()
def placement_away_as_a_build_fails():
    """Placement is away when a build fails: the server ends in ERROR and has nothing after it is back"""
    _failed('placement')


@check()
def neutron_away_as_a_build_fails():
    """Neutron is away when a build fails: the server ends in ERROR and has nothing after it is back"""
    with _noop_networks():
        _failed('neutron')


@check()
def left_allocation():
    """A free node with the allocation of a deleted server is offered again; an allocation of a server that exists stays"""
    scenarios.offered(3)
    gone, there = servers.create('lab-life'), servers.create('lab-life')
    for server in (gone, there):
        servers.wait_status(server, 'ACTIVE')
    lives.gone([gone])
    scenarios.offered(2)
    lost, second = scenarios.free_nodes()[:2]
    _claim(gone, lost)
    _claim(there, second)
    expect(lost not in scenarios.free_nodes(), 'the allocation takes no room')
    # A start compares at once; the report after it confirms.
    service.script('compute', 'restart')
    wait_for('the node is offered again', lambda: lost in scenarios.free_nodes(), 240)
    expect(not placement().get(f'/allocations/{gone}')['allocations'], 'the allocation is left')
    expect(second in placement().get(f'/allocations/{there}')['allocations'], "an existing server's allocation was removed")
    lives.gone([there])


def _claim(server, node):
    """Gives a server an allocation of one more node."""
    held = placement().get(f'/allocations/{server}')
    allocations = {each: dict(resources=kept['resources']) for each, kept in held['allocations'].items()}
    body = dict(allocations=allocations | {node: dict(resources=dict(CUSTOM_BAREMETAL=1))}, consumer_type='INSTANCE',
                project_id=held.get('project_id', 'lab'), user_id=held.get('user_id', 'lab'), consumer_generation=held.get('consumer_generation'))
    placement().put(f'/allocations/{server}', body, version='1.38')
