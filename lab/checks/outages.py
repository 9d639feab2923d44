"""The services around the compute service fail for a while."""
import time

from checks import SLOW, check, expect, lives, same_as_stock
from cloud import observe, scenarios, servers, service
from cloud.api import ApiError, wait_for

IRONIC_AWAY = 30


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
