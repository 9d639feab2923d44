"""Interfaces that come and go on a server that runs."""
import concurrent.futures
import contextlib

from checks import check, expect, same_as_stock
from cloud import database, furnish, interfaces, scenarios, servers, service, settings
from cloud.api import ApiError, neutron, wait_for

# Where stock is worse; each is in docs/differences.md.
BETTER = {
    'unknown network': ('answer', 'action'),
    'deleted in Neutron': ('rows',),
    'attached port again': ('rows',),
}


@check()
def interfaces_as_stock():
    """Interfaces attached by network, port and address, detached, refused, and addresses: answers, events, ports, as stock's"""
    seen = interfaces.story()
    for step, what in seen.items():
        same_as_stock('interfaces', what, step, ignoring=BETTER.get(step, ()))
    expect(seen['unknown network']['answer']['status'] == 404, f"an unknown network is answered {seen['unknown network']['answer']}")
    expect(len(seen['deleted in Neutron']['rows']) == 1, 'the row of the deleted port stays')


def _running():
    scenarios.offered(1, 'CUSTOM_TWIN')
    server = servers.create('lab-interfaces', flavor='bm.twin')
    servers.wait_status(server, 'ACTIVE')
    scenarios.settle(server)
    return server, interfaces.cached(server)


def _agreed(server, ports):
    """Neutron, Nova and Ironic have these ports of the server and no others."""
    def now():
        return [sorted(found) for found in ([port['id'] for port in servers.ports_of(server)], interfaces.cached(server), interfaces.vifs(server))]
    wait_for(f'the ports {ports} of {server} everywhere', lambda: now() == [sorted(ports)] * 3, 120)


@check()
def killed_during_attach():
    """kill -9 while an interface is attached: the caller hears of a failure, and the user's port is free after the start"""
    server, before = _running()
    port = interfaces.own_port()
    try:
        service.script('service', 'stop', 'ironic-api')
        try:
            asked = _in_the_background(server, port)
            wait_for('the port is the server\'s', lambda: neutron().get(f'/v2.0/ports/{port}')['port']['device_id'] == server, 30)
            service.kill()
        finally:
            service.script('service', 'start', 'ironic-api')
        service.start()
        _agreed(server, before)
        expect(not neutron().get(f'/v2.0/ports/{port}')['port']['device_id'], "the user's port is still the server's")
        expect(asked.result(120) >= 500, f'the caller heard {asked.result()}')
        interfaces.attach(server, port_id=port)
        _agreed(server, [*before, port])
        servers.delete(server)
        servers.wait_gone(server)
        expect(neutron().get(f'/v2.0/ports/{port}', missing_ok=True), "the user's port was deleted")
    finally:
        neutron().delete(f'/v2.0/ports/{port}', missing_ok=True)


def _in_the_background(server, port):
    """Asks for the interface; gives the HTTP status of the answer, later."""
    def ask():
        try:
            interfaces.attach(server, port_id=port)
            return 200
        except ApiError as refusal:
            return refusal.status
    return concurrent.futures.ThreadPoolExecutor(1).submit(ask)


@check()
def killed_during_detach():
    """kill -9 right after an interface was to be detached: it is gone after the start, with its port"""
    server, before = _running()
    port = interfaces.attach(server, net_id=furnish.network())['port_id']
    scenarios.settle(server)
    interfaces.detach(server, port)
    service.kill()
    service.start()
    _agreed(server, before)
    expect(not neutron().get(f'/v2.0/ports/{port}', missing_ok=True), 'the port is left')
    servers.delete(server)
    servers.wait_gone(server)


@contextlib.contextmanager
def _healing(seconds):
    """The compute service heals network information this often."""
    extra = settings.ETC / 'nova' / 'nova-compute-extra.conf'
    before = extra.read_text()
    extra.write_text(f'{before}\n[DEFAULT]\nheal_instance_info_cache_interval = {seconds}\n')
    try:
        service.script('compute', 'restart')
        yield
    finally:
        extra.write_text(before)
        service.script('compute', 'restart')


@check()
def healed():
    """Network information that was lost is there again with heal_instance_info_cache_interval, as it was"""
    server, ports = _running()
    before = interfaces.network_info(server)
    with _healing(2):
        database.run('nova_cell1', f"update instance_info_caches set network_info = '[]' where instance_uuid = '{server}'")
        wait_for('the network information is there again', lambda: interfaces.cached(server) == ports, 60)
        expect(interfaces.network_info(server) == before, f'healed to {interfaces.network_info(server)}, not {before}')
    servers.delete(server)
    servers.wait_gone(server)
