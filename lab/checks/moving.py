"""A cloud moves from nova-compute to Bessemer, and back."""
from checks import SLOW, check, expect, lives
from cloud import scenarios, servers, service
from cloud.api import wait_for


def _change_to(kind):
    service.stop()
    service.KIND = kind
    service.start()
    scenarios.offered(1)


def _server(name):
    scenarios.offered(1)
    server = servers.create(name)
    servers.wait_status(server, 'ACTIVE')
    return server


def _delete(server):
    servers.delete(server)
    servers.wait_gone(server)


@check(pace=SLOW)
def moved_over_and_back():
    """Servers that stock built live on and are deleted, also one whose delete stock had begun; and the same the other way"""
    own = service.KIND
    try:
        _change_to('stock')
        kept, leaving = _server('lab-kept'), _server('lab-leaving')
        servers.delete(leaving)
        wait_for('Ironic tears down', lambda: lives.on_a_node(leaving, 'deleting', 'cleaning'), 60)
        service.kill()
        _change_to('bessemer')
        servers.wait_gone(leaving)
        expect(servers.show(kept)['status'] == 'ACTIVE', 'a server of stock does not live on')
        _delete(kept)
        built = _server('lab-built')
        _change_to('stock')
        expect(servers.show(built)['status'] == 'ACTIVE', 'a server of Bessemer does not live on')
        _delete(built)
    finally:
        service.stop()
        service.KIND = own
