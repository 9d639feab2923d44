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
