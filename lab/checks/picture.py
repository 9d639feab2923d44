"""The machines as Nova and Placement see them."""
import contextlib

from checks import check, expect, same_as_stock
from cloud import golden, nodes, observe, placement_view, service
from cloud.api import ironic, nova, placement, wait_for

NEW = nodes.Wanted('lab-new', traits=['CUSTOM_ODD'])


def _wanted():
    return nodes.plain(5) + nodes.odd()


@check()
def picture():
    """Providers, inventories, traits and compute nodes are field by field what stock writes"""
    service.stop()
    service.forget()
    service.start()
    names = [each.name for each in _wanted()]
    stock = len(golden.load('picture')['providers'])
    with contextlib.suppress(TimeoutError):   # what is missing then is said below
        wait_for('every node in the picture', lambda: len(observe.picture(names)['providers']) >= stock, 20, 0.5)
    same_as_stock('picture', _settled(names))


def _settled(names):
    """The picture once two looks at it agree."""
    seen = [observe.picture(names)]

    def at_rest():
        seen.append(observe.picture(names))
        return seen[-1] if seen[-1] == seen[-2] else None
    return wait_for('a picture at rest', at_rest, 20, 1)


@check()
def changes():
    """A node in maintenance and a new one show in the next report, a vanished one when three have missed it"""
    known = nodes.everyone()
    steady, away = known['lab-0000']['uuid'], known['lab-0001']['uuid']
    nodes.remove([NEW.name])
    nodes.patiently(ironic().put, f'/v1/nodes/{steady}/maintenance', dict(reason='check'))
    nodes.remove(['lab-0001'])
    nodes.enroll([NEW])
    new = nodes.everyone()[NEW.name]['uuid']
    try:
        wait_for('maintenance in Placement', lambda: placement_view.inventory(steady)['reserved'] == 1, 90, 1)
        wait_for('the new node in Placement', lambda: placement_view.inventory(new), 90, 1)
        wait_for('the vanished node out of Placement', lambda: placement().get(f'/resource_providers/{away}', missing_ok=True) is None, 300, 1)
        hypervisors = {each['hypervisor_hostname'] for each in nova().get('/os-hypervisors')['hypervisors']}
        expect(new in hypervisors and away not in hypervisors, f'hypervisors: {sorted(hypervisors)}')
    finally:
        nodes.patiently(ironic().delete, f'/v1/nodes/{steady}/maintenance')
        nodes.remove([NEW.name])
        nodes.enroll(nodes.plain(2))
