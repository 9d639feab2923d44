"""Servers whose delete can be taken back, crash dumps, and what the compute service does between requests."""
import contextlib
import os

from checks import check, expect, same_as_stock
from cloud import database, observe, scenarios, servers, service
from cloud.api import ironic, nova, wait_for


@check()
def soft_deleted():
    """Deleted, restored, deleted and reclaimed; a forced delete of a deleted server: as stock, with what is left afterwards"""
    same_as_stock('soft-deleted', scenarios.soft_deleted())


@check()
def killed_while_deleted():
    """kill -9 right after a delete that can be taken back, and after its restore: the machine is off, then on"""
    with service.reclaiming(600):
        scenarios.offered(1)
        server = servers.create('lab-killed-while-deleted')
        servers.wait_status(server, 'ACTIVE')
        node = servers.node_of(server)['uuid']
        for act, status, power in [(lambda: servers.delete(server), 'SOFT_DELETED', 'power off'),
                                   (lambda: servers.act(server, restore=None), 'ACTIVE', 'power on')]:
            act()
            service.kill()
            service.start()
            servers.wait_status(server, status)
            now = ironic().get(f'/v1/nodes/{node}')['power_state']
            expect(now == power, f'the machine is {now}, not {power}')
        servers.act(server, forceDelete=None)
        servers.wait_gone(server)
        scenarios.node_settled(node)


@check()
def crash_dump():
    """A crash dump that the hardware cannot do: answer, action, state as stock, and the reason"""
    seen = scenarios.crash_dump()
    ended = seen['recorded']['events'][0]
    expect('does not support inject_nmi' in ended['details'], f"the reason is {ended['details']}")
    # Stock shows the class of its Ironic client's exception in its place.
    ended['details'] = 'BadRequestException'
    same_as_stock('crash-dump', seen)


@contextlib.contextmanager
def often(**intervals):
    """The compute service with short periods, seconds."""
    names = {f'OS_DEFAULT__{name.upper()}': str(seconds) for name, seconds in intervals.items()}
    os.environ.update(names)
    service.stop()
    service.start()
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
        service.stop()
        service.start()


@check()
def power_synced():
    """A machine that goes off behind Nova's back stops the server; one of a stopped server that goes on is switched off"""
    with often(update_resources_interval=5, sync_power_state_interval=5):
        scenarios.offered(1)
        server = servers.create('lab-power-synced')
        servers.wait_status(server, 'ACTIVE')
        node = servers.node_of(server)['uuid']
        # Ironic announces what it does itself; of this it has heard nothing.
        database.run('ironic', f"update nodes set power_state = 'power off' where uuid = '{node}'")
        servers.wait_status(server, 'SHUTOFF')
        database.run('ironic', f"update nodes set power_state = 'power on' where uuid = '{node}'")
        wait_for('the machine is off', lambda: ironic().get(f'/v1/nodes/{node}')['power_state'] == 'power off', 60)
        servers.wait_status(server, 'SHUTOFF')
        # Ironic announces the power that the stop itself has changed: that is an action of its own.
        events = [(action['action'], event['event'], event['result']) for action in servers.actions_of(server)[1:] for event in action['events']]
        seen = [(action, result) for action, event, result in events if event == 'compute_stop_instance']
        expect(seen == [('stop', 'Success')] * 2, f'actions {seen}')
        servers.delete(server)
        servers.wait_gone(server)
        scenarios.node_settled(node)


@check()
def reaped():
    """A server that is deleted while the compute service is away: its machine is torn down after the start"""
    scenarios.offered(1)
    server = servers.create('lab-reaped')
    servers.wait_status(server, 'ACTIVE')
    node = servers.node_of(server)['uuid']
    names = observe.names_of(server)
    service.stop()
    # Nova takes the service for dead at once, and deletes without it.
    path = f"/os-services/{service.service_id()}"
    nova().put(path, dict(forced_down=True))
    try:
        servers.delete(server)
        servers.wait_gone(server)
        expect(servers.node_of(server) is not None, 'the node was freed without the compute service')
    finally:
        nova().put(path, dict(forced_down=False))
    with often(update_resources_interval=5, running_deleted_instance_poll_interval=5):
        scenarios.node_settled(node)
    left = observe.comparable(observe.leftovers(server, node), names)
    same_as_stock('life', left, 'left')
