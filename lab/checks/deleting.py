"""Servers whose delete can be taken back, and crash dumps."""
from checks import check, expect, same_as_stock
from cloud import scenarios, servers, service
from cloud.api import ironic


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
    """A crash dump that the hardware cannot do: answer, action, state as stock"""
    same_as_stock('crash-dump', scenarios.crash_dump())
