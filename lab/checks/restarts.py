"""The compute service killed and restarted in the middle of things: everything goes on to its end."""
from checks import SLOW, check, expect, lives, same_as_stock
from cloud import observe, scenarios, servers, service
from cloud.api import wait_for


ARRIVED = ('networking', 'block_device_mapping', 'spawning')


def _task(server):
    return servers.show(server)['OS-EXT-STS:task_state']


@check(pace=SLOW)
def killed_early():
    """kill -9 as soon as the build has arrived, before Ironic knows of it: the build goes on"""
    made = lives.two('lab-life')
    wait_for('the builds have arrived', lambda: all(_task(server) in ARRIVED for server in made), 30, 0.05)
    service.kill()
    service.start()
    lives.active_as_stock(made)
    lives.gone(made)


@check(pace=SLOW)
def killed_during_deploy():
    """kill -9 while Ironic deploys two servers: both become ACTIVE"""
    made = lives.two('lab-life')
    for server in made:
        wait_for('Ironic deploys', lambda: lives.on_a_node(server, 'deploying', 'wait call-back'), 60)
    service.kill()
    service.start()
    lives.active_as_stock(made)
    lives.gone(made)


@check(pace=SLOW)
def killed_during_delete():
    """kill -9 while Ironic tears two servers down: both go, and nothing is left"""
    made = lives.two('lab-life')
    for server in made:
        servers.wait_status(server, 'ACTIVE')
    for server in made:
        servers.delete(server)
    for server in made:
        wait_for('Ironic tears down', lambda: lives.on_a_node(server, 'deleting', 'cleaning'), 60)
    service.kill()
    service.start()
    for server in made:
        servers.wait_gone(server)
        names = {server: '<server>'}
        same_as_stock('life', observe.buried(server, names) | dict(node='<node>'), 'buried')
        same_as_stock('life', observe.actions(server, names), 'deleted')


@check(pace=SLOW)
def stopped_during_deploy():
    """SIGTERM while Ironic deploys, started again: the server becomes ACTIVE"""
    scenarios.offered(1)
    server = servers.create('lab-life')
    wait_for('Ironic deploys', lambda: lives.on_a_node(server, 'deploying'), 60)
    service.stop()
    expect(servers.show(server)['status'] == 'BUILD', 'stopping failed the build')
    service.start()
    lives.active_as_stock([server])
    lives.gone([server])


@check(pace=SLOW)
def finished_while_away():
    """What Ironic finished while no compute service ran is taken up at the start"""
    scenarios.offered(1)
    server = servers.create('lab-life')
    wait_for('Ironic deploys', lambda: lives.on_a_node(server, 'deploying'), 60)
    service.kill()
    wait_for('Ironic is done', lambda: lives.on_a_node(server, 'active'), 60)
    service.start()
    lives.active_as_stock([server])
    lives.gone([server])
