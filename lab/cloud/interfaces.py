"""The story of a server whose network interfaces come and go, told once with stock nova-compute and again with Bessemer."""
import json
import time

from cloud import database, furnish, normal, observe, scenarios, servers
from cloud.api import ironic, neutron, nova, wait_for

# The last microversion in which a server can be given single addresses.
WITH_ADDRESSES = '2.43'
NOWHERE = '11111111-2222-4333-8444-555555555555'


def attach(server, version=None, **wanted):
    return nova().post(f'/servers/{server}/os-interface', dict(interfaceAttachment=wanted), version=version)['interfaceAttachment']


def detach(server, port):
    nova().delete(f'/servers/{server}/os-interface/{port}')


def own_port(name='lab-own-port', **more):
    """A port that its user makes and keeps."""
    return neutron().post('/v2.0/ports', dict(port=dict(network_id=furnish.network(), name=name, **more)))['port']['id']


def cached(server):
    """The server's network information in Nova, as its ids."""
    return [vif['id'] for vif in network_info(server)]


def network_info(server):
    kept = database.value('nova_cell1', 'select network_info from instance_info_caches where instance_uuid = %s and deleted = 0', server)
    return json.loads(kept or '[]')


def vifs(server):
    """The ports on the server's node, as Ironic shows them."""
    return sorted(vif['id'] for vif in ironic().get(f"/v1/nodes/{servers.node_of(server)['uuid']}/vifs")['vifs'])


def finished(server, action):
    """Waits until the server's last action, which must be this one, has ended."""
    def last():
        actions = servers.actions_of(server)
        return actions and actions[-1]['action'] == action and actions[-1]['events'] and all(each['finish_time'] for each in actions[-1]['events'])
    wait_for(f'{action} of {server} ended', last, 60)


def view(server, known):
    """Everything that there is of a server's interfaces, and its last action. `known`: what more uuids stand for."""
    names = observe.names_of(server) | known
    info = network_info(server)
    names |= {vif['id']: f'<port {number}>' for number, vif in enumerate(info) if vif['id'] not in known}
    ports = {port['id']: observe.port(port) for port in servers.ports_of(server)}
    rows = database.rows('nova_cell1', 'select uuid, address, tag from virtual_interfaces where instance_uuid = %s and deleted = 0 order by id', server)
    on_node = vifs(server)
    shown = servers.show(server)
    return normal.document(dict(
        network_info=info, ports=[ports.get(vif['id']) for vif in info], count=len(ports),
        rows=[dict(uuid=row['uuid'], address=row['address'], tag=row['tag']) for row in rows],
        on_node=[vif['id'] in on_node for vif in info], on_node_count=len(on_node),
        addresses=len([each for network in shown['addresses'].values() for each in network]),
        state=[shown['status'], shown['OS-EXT-STS:vm_state'], shown['OS-EXT-STS:task_state']],
        action=observe.actions(server, names)[-1]), names)


def story(name='lab-interfaces'):
    """Interfaces attached by network, by port and with an address, detached again, and what is refused."""
    scenarios.offered(1, 'CUSTOM_TWIN')
    server = servers.create(name, flavor='bm.twin')
    servers.wait_status(server, 'ACTIVE')
    scenarios.settle(server)
    node = servers.node_of(server)['uuid']
    port, address = own_port(), '10.88.0.250'
    known = {port: '<own port>', furnish.network(): '<network>'}
    seen = {}

    def step(what, **more):
        scenarios.settle(server)
        seen[what] = view(server, known) | normal.document(more, known)

    def attached(what, **wanted):
        answer = attach(server, **wanted)
        known.setdefault(answer['port_id'], '<new port>')
        step(what, answer=answer)
        return answer['port_id']

    def detached(what, gone):
        detach(server, gone)
        finished(server, 'detach_interface')
        wait_for('the port has left the server', lambda: gone not in [each['id'] for each in servers.ports_of(server)], 60)
        left = neutron().get(f'/v2.0/ports/{gone}', missing_ok=True)
        step(what, left=left and observe.port(left['port']))
        known.pop(gone, None)

    def refused(what, call, *args, **kwargs):
        answer = servers.answer_of(call, *args, **kwargs)
        time.sleep(0.5)
        step(what, answer=answer)

    try:
        detached('detached network', attached('attached network', net_id=furnish.network()))
        detached('detached address', attached('attached address', net_id=furnish.network(), fixed_ips=[dict(ip_address=address)]))
        attached('attached port', port_id=port)
        refused('no card', attach, server, net_id=furnish.network())
        refused('port in use', attach, server, port_id=port)
        detached('detached port', port)
        known[port] = '<own port>'
        refused('tagged', attach, server, '2.49', net_id=furnish.network(), tag='mine')
        refused('unknown port', attach, server, port_id=NOWHERE)
        refused('unknown network', attach, server, net_id=NOWHERE)
        refused('address in use', attach, server, net_id=furnish.network(), fixed_ips=[dict(ip_address=_address(server))])
        refused('wrong address', attach, server, net_id=furnish.network(), fixed_ips=[dict(ip_address='10.99.0.1')])
        refused('unknown interface', _detach_unknown, server)
        _more_addresses(server, step)
        _deleted_in_neutron(server, attach(server, net_id=furnish.network())['port_id'])
        step('deleted in Neutron')
        attached('attached port again', port_id=port)
        servers.delete(server)
        servers.wait_gone(server)
        scenarios.node_settled(node)
        kept = observe.port(neutron().get(f'/v2.0/ports/{port}')['port'])
        return seen | dict(kept=normal.document(kept, known), left=observe.leftovers(server, node))
    finally:
        neutron().delete(f'/v2.0/ports/{port}', missing_ok=True)


def _address(server):
    return network_info(server)[0]['network']['subnets'][0]['ips'][0]['address']


def _detach_unknown(server):
    detach(server, NOWHERE)
    finished(server, 'detach_interface')


def _addresses(server):
    """The server's addresses, once Nova shows the same as Neutron."""
    def agreed():
        shown = sorted(each['addr'] for network in servers.show(server)['addresses'].values() for each in network)
        held = sorted(each['ip_address'] for port in servers.ports_of(server) for each in port['fixed_ips'])
        return held if shown == held else None
    return wait_for('Nova shows the addresses that Neutron has', agreed, 60)


def _deleted_in_neutron(server, port):
    """A port that its user deletes in Neutron leaves the server and the machine."""
    scenarios.settle(server)
    neutron().delete(f'/v2.0/ports/{port}')
    wait_for('the port has left the server', lambda: port not in cached(server) and port not in vifs(server), 60)


def _more_addresses(server, step):
    """A second address for the server's first port, and its end."""
    def act(**action):
        nova().post(f'/servers/{server}/action', action, version=WITH_ADDRESSES)
    before = _addresses(server)
    act(addFixedIp=dict(networkId=furnish.network()))
    wait_for('a second address', lambda: len(_addresses(server)) == 2, 30)
    step('more addresses')
    new = next(address for address in _addresses(server) if address not in before)
    act(removeFixedIp=dict(address=new))
    wait_for('one address', lambda: _addresses(server) == before, 30)
    step('fewer addresses')
