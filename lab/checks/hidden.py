"""Ironic hides the nodes from the compute service: nothing is removed, and work waits."""
import contextlib
import os
import time

from checks import check, expect, lives
from cloud import database, nodes, scenarios, servers, service
from cloud.api import wait_for

# Reports come so often, seconds.
INTERVAL = 5
REPORTS = 6


@contextlib.contextmanager
def frequent_reports():
    """The compute service with a short period."""
    os.environ['OS_DEFAULT__UPDATE_RESOURCES_INTERVAL'] = str(INTERVAL)
    service.stop()
    service.start()
    try:
        yield
    finally:
        del os.environ['OS_DEFAULT__UPDATE_RESOURCES_INTERVAL']
        service.stop()
        service.start()


def books():
    """What Nova and Placement have of the nodes: records, providers, who holds what."""
    records = database.rows('nova_cell1', 'select uuid, host from compute_nodes where deleted = 0 order by uuid')
    providers = database.rows('placement', 'select uuid from resource_providers order by uuid')
    held = database.rows('placement', 'select consumer_id, used from allocations order by consumer_id')
    return dict(records=records, providers=providers, held=held)


def unchanged(before, now):
    for what, rows in before.items():
        lost, new = ([row for row in one if row not in other] for one, other in ((rows, now[what]), (now[what], rows)))
        expect(not lost and not new, f'{what}: lost {lost}, new {new}')


def recorded(servers):
    """Has every node that is free or has one of these servers a record, and none that Ironic does not know?"""
    known = nodes.everyone().values()
    ours = {node['uuid'] for node in known if node['instance_uuid'] in (None, *servers)}
    return ours <= {each['uuid'] for each in books()['records']} <= {node['uuid'] for node in known}


@check()
def hidden_nodes():
    """Ironic hides all nodes: nothing is removed, a delete waits; shown again, the delete goes on and the other server is untouched"""
    made = lives.two('lab-life')
    lives.active_as_stock(made)
    doomed, other = made
    node, kept = servers.node_of(doomed)['uuid'], servers.node_of(other)
    with frequent_reports():
        wait_for('a record for each node', lambda: recorded(made), 90, 1)
        before = books()
        expect(len(before['held']) == 2 and len(before['records']) > 2, f'{before}')
        try:
            service.script('policy', 'hide')
            servers.delete(doomed)
            time.sleep(REPORTS * INTERVAL)
            unchanged(before, books())
            expect(servers.show(doomed)['OS-EXT-STS:task_state'] == 'deleting', 'the delete does not wait')
            expect(servers.node_of(doomed)['uuid'] == node, 'the machine does not run on')
        finally:
            service.script('policy', 'show')
        servers.wait_gone(doomed)
        scenarios.node_settled(node)
        now = books()
        unchanged(before, now | dict(held=before['held']))
        expect([each['consumer_id'] for each in now['held']] == [other], f"{now['held']}")
        expect(servers.show(other)['status'] == 'ACTIVE' and servers.node_of(other)['uuid'] == kept['uuid'], 'the other server is touched')
    lives.gone([other])


@check(pace=45)
def hidden_during_deploy():
    """Ironic hides all nodes during a deploy: the server becomes ACTIVE on its node once they are shown"""
    scenarios.offered(1)
    server = servers.create('lab-life')
    deploying = wait_for('Ironic deploys', lambda: lives.on_a_node(server, 'deploying'), 60)
    try:
        service.script('policy', 'hide')
        time.sleep(30)
        expect(servers.show(server)['status'] == 'BUILD', f"the server is {servers.show(server)['status']}")
    finally:
        service.script('policy', 'show')
    lives.active_as_stock([server])
    expect(servers.node_of(server)['uuid'] == deploying['uuid'], 'the server was built on another node')
    lives.gone([server])


@check()
def removed_node_with_server():
    """A node is removed in Ironic under its server: all stays until the server is deleted, then record and provider go"""
    scenarios.offered(1)
    server = servers.create('lab-life')
    servers.wait_status(server, 'ACTIVE')
    node = servers.node_of(server)
    with frequent_reports():
        # Ironic deletes no node with an instance: whoever does so has freed it before.
        database.run('ironic', f"update nodes set instance_uuid = null, provision_state = 'available' where uuid = '{node['uuid']}'")
        nodes.remove([node['name']])
        try:
            time.sleep(REPORTS * INTERVAL)
            now = books()
            expect(node['uuid'] in [each['uuid'] for each in now['records']], 'the record of a node with a server is gone')
            expect(node['uuid'] in [each['uuid'] for each in now['providers']], 'the provider of a node with a server is gone')
            expect([each['consumer_id'] for each in now['held']] == [server], 'the allocation of a server is gone')
            lives.gone([server])
            wait_for('record and provider gone', lambda: node['uuid'] not in str(books()), 90, 1)
        finally:
            nodes.enroll([nodes.Wanted(node['name'])])
