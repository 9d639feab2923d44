"""Servers that are rebuilt."""
from checks import SLOW, check, expect, lives, same_as_stock
from cloud import furnish, normal, observe, rebuilds, scenarios, servers, service
from cloud.api import ironic, wait_for


@check()
def rebuilt():
    """Another image, name, key, user data, hostname, password and metadata; from SHUTOFF, in maintenance, from ERROR, with the newest API: as stock or better"""
    scenarios.offered(1)
    seen = rebuilds.rebuilt()
    for stage in ('changed', 'off'):
        same_as_stock('rebuilt', seen[stage], stage)
    # Stock takes the node's allocation from a server whose rebuild fails.
    same_as_stock('rebuilt', seen['in_vain'], 'in_vain', ignoring=('fault', 'allocations', 'recorded'))
    expect('maintenance' in seen['in_vain']['fault']['message'], f"the fault says {seen['in_vain']['fault']}")
    expect(seen['in_vain']['allocations'] == 1, 'the failed rebuild took the allocation away')
    again = seen['out_of_error']
    same_as_stock('rebuilt', again['recorded'], 'out_of_error', 'recorded')
    same_as_stock('rebuilt', again['server'], 'out_of_error', 'server', ignoring=('allocation',))
    expect(again['server']['allocation'] == seen['off']['server']['allocation'], 'the allocation is another')
    # Stock fails every rebuild with the newest API.
    expect(seen['newest'] == again, f"with the newest API: {seen['newest']}")


@check()
def rebuilt_on_volume():
    """A server on a volume is not rebuilt: the event says so in stock's words for the newest API, and the server is as it was"""
    seen = rebuilds.on_volume()
    for stage in ('same', 'another'):
        expect(seen[stage]['status'] == 'ACTIVE', f"the server is {seen[stage]['status']}")
        same_as_stock('rebuilt-on-volume', seen[stage]['recorded'], 'another', 'recorded')
        kept = {key: value for key, value in seen[stage]['server'].items() if key != 'api'}
        was = {key: value for key, value in seen['before'].items() if key != 'api'}
        differing = normal.differences(was, kept)
        expect(not differing, f'the server has changed: {differing}')


def _rebuilding():
    """A server that is being rebuilt from another image, and its node."""
    scenarios.offered(1)
    server = servers.create('lab-rebuilt')
    servers.wait_status(server, 'ACTIVE')
    node = servers.node_of(server)['uuid']
    servers.rebuild(server, furnish.another_image())
    wait_for('Ironic deploys', lambda: lives.on_a_node(server, 'deploying', 'wait call-back'), 60)
    return server, node


def _rebuilt_once(server, node):
    """The server ends well, and Ironic does not deploy its node again."""
    wait_for('Ironic is done', lambda: lives.on_a_node(server, 'active'), 60)
    stamp = ironic().get(f'/v1/nodes/{node}')['provision_updated_at']
    service.start()
    servers.wait_status(server, 'ACTIVE')
    now = ironic().get(f'/v1/nodes/{node}')
    expect(now['provision_updated_at'] == stamp, 'Ironic has deployed the node again')
    expect(now['instance_info']['image_source'] == furnish.another_image(), f"Ironic has the image {now['instance_info']['image_source']}")
    events = {each['event']: each['result'] for each in servers.actions_of(server)[-1]['events']}
    expect(events == dict(rebuild_server='Success', compute_rebuild_instance='Success'), f'events: {events}')
    servers.delete(server)
    servers.wait_gone(server)
    scenarios.node_settled(node)


@check(pace=SLOW)
def killed_during_rebuild():
    """kill -9 while Ironic deploys a server's node again; started when Ironic is done: ACTIVE, and written once"""
    server, node = _rebuilding()
    service.kill()
    _rebuilt_once(server, node)


@check(pace=SLOW)
def deleted_during_rebuild():
    """A delete during a rebuild ends it, and nothing is left"""
    server, node = _rebuilding()
    servers.delete(server)
    servers.wait_gone(server)
    scenarios.node_settled(node)
    left = observe.leftovers(server, node)
    expect(not left['instance_uuid'] and not left['ports'] and not left['allocations'], f'left over: {left}')
