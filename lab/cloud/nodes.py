"""Fake-hardware nodes in Ironic: enrolled, looked at, removed, several at a time."""
import concurrent.futures
import dataclasses
import json
import zlib

from cloud import settings
from cloud.api import ApiError, ironic, wait_for

JOBS = 8
PLAIN = 'lab-'
PROPERTIES = dict(cpus=8, memory_mb=16384, local_gb=100, cpu_arch='x86_64', capabilities='boot_mode:uefi')


@dataclasses.dataclass
class Wanted:
    """A node as it is to be. `state` is where it ends: enroll, manageable or available; `power` None leaves it unknown;
    with an `initiator` it can connect to volumes over iSCSI; it has `cards` network cards."""

    name: str
    resource_class: str | None = 'baremetal'
    properties: dict = dataclasses.field(default_factory=PROPERTIES.copy)
    traits: list = dataclasses.field(default_factory=lambda: ['CUSTOM_LAB', 'HW_CPU_X86_VMX'])
    state: str = 'available'
    power: str | None = 'power on'
    maintenance: bool = False
    initiator: str | None = None
    driver: str = 'fake-hardware'
    cards: int = 1
    more: dict = dataclasses.field(default_factory=dict)
    afterwards: list = dataclasses.field(default_factory=list)


def plain(count):
    return [Wanted(f'{PLAIN}{number:04d}') for number in range(count)]


def odd():
    """Nodes that each have something unusual, so that a comparison of what is made of them says something.

    None has the trait that the lab's flavors ask for, so no server goes there.
    """
    return [Wanted(**dict(traits=['CUSTOM_ODD', 'HW_CPU_X86_VMX']) | each) for each in json.loads((settings.LAB_HOME / 'odd-nodes.json').read_text())]


def everyone():
    """Every node by name, with the few fields that tell how it is doing."""
    found, marker = {}, {}
    while True:
        page = ironic().get('/v1/nodes', fields='uuid,name,provision_state,power_state,instance_uuid,maintenance', limit=1000, **marker)['nodes']
        found.update({node['name']: node for node in page})
        if len(page) < 1000:
            return found
        marker = dict(marker=page[-1]['uuid'])


def patiently(call, *args, **kwargs):
    """Repeats a request while the node is locked by work of Ironic's own, or Ironic has no free worker."""
    def attempt():
        try:
            return [call(*args, **kwargs)]
        except ApiError as refusal:
            if refusal.status not in (409, 503):
                raise
            return None
    return wait_for(f'{args[0]} accepted', attempt, 60, 0.5)[0]


def _create(wanted):
    body = dict(name=wanted.name, driver=wanted.driver, properties=wanted.properties, driver_info={}, **wanted.more)
    if wanted.resource_class is not None:
        body['resource_class'] = wanted.resource_class
    uuid = ironic().post('/v1/nodes', body)['uuid']
    if wanted.resource_class is None:
        ironic().patch(f'/v1/nodes/{uuid}', [dict(op='remove', path='/resource_class')])
    if wanted.traits:
        ironic().put(f'/v1/nodes/{uuid}/traits', dict(traits=wanted.traits))
    for card in range(wanted.cards):
        address = _mac(wanted.name + (f' {card}' if card else ''))
        ironic().post('/v1/ports', dict(node_uuid=uuid, address=address, physical_network='physnet1', pxe_enabled=card == 0))
    if wanted.initiator:
        ironic().post('/v1/volume/connectors', dict(node_uuid=uuid, type='iqn', connector_id=wanted.initiator))


def _mac(name):
    """A locally administered address that is always the same for the same name."""
    return '52:54:%02x:%02x:%02x:%02x' % tuple(zlib.crc32(name.encode()).to_bytes(4, 'big'))


def provision(uuid, target):
    patiently(ironic().put, f'/v1/nodes/{uuid}/states/provision', dict(target=target))


def power(uuid, target):
    patiently(ironic().put, f'/v1/nodes/{uuid}/states/power', dict(target=target))


def _await(wanted, accepted):
    """Waits until each of the wanted nodes is in one of the accepted provision states."""
    names = [each.name for each in wanted]

    def there():
        now = everyone()
        return now if all(now[name]['provision_state'] in accepted for name in names) else None
    return wait_for(f'{len(names)} nodes in {accepted}', there, 120 + len(names), 0.5 if len(names) < 100 else 2) if names else everyone()


SETTLED = ('manageable', 'available', 'active', 'rescue', 'cleaning', 'clean wait', 'deploy failed', 'error')


def enroll(wanted):
    """Makes what is missing and leads it to its state. What is there already is left as it is. Gives how many were made."""
    known = everyone()
    new = [each for each in wanted if each.name not in known]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(_create, new))
        now = everyone()
        managed = [each for each in wanted if each.state != 'enroll']
        _lead(pool, managed, now, 'enroll', 'manage')
        now = _await(managed, SETTLED)
        # The fake power interface begins with no power state at all, which Nova takes for a broken machine,
        # and the fake deploy interface never switches anything on.
        list(pool.map(lambda each: power(now[each.name]['uuid'], each.power),
                      [each for each in managed if each.power and now[each.name]['power_state'] is None]))
        offered = [each for each in managed if each.state == 'available']
        _lead(pool, offered, now, 'manageable', 'provide')
        now = _await(offered, ('available', 'active', 'rescue', 'deploy failed', 'error'))
        list(pool.map(lambda each: _finish(now[each.name]['uuid'], each), new))
    return len(new)


def _lead(pool, wanted, now, state, target):
    """Moves on those of the wanted nodes that are in a state."""
    there = [now[each.name] for each in wanted if now[each.name]['provision_state'] == state]
    list(pool.map(lambda node: provision(node['uuid'], target), there))


def _finish(uuid, wanted):
    """What can be set only once the node is where it belongs."""
    if wanted.maintenance:
        ironic().put(f'/v1/nodes/{uuid}/maintenance', dict(reason='lab'))
    if wanted.afterwards:
        patiently(ironic().patch, f'/v1/nodes/{uuid}', wanted.afterwards)


def remove(names):
    """Takes the named nodes out of Ironic, whatever they are doing. Unknown names are fine."""
    known = everyone()
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(lambda name: _remove(known[name]), [name for name in names if name in known]))


def _remove(node):
    if node['provision_state'] not in ('available', 'manageable', 'enroll'):
        ironic().put(f"/v1/nodes/{node['uuid']}/maintenance", dict(reason='leaving the lab'))
    if node['instance_uuid'] and node['provision_state'] == 'available':
        patiently(ironic().patch, f"/v1/nodes/{node['uuid']}", [dict(op='remove', path='/instance_uuid')])
    patiently(ironic().delete, f"/v1/nodes/{node['uuid']}")


def is_plain(name):
    return name is not None and name.startswith(PLAIN) and name.removeprefix(PLAIN).isdigit()
