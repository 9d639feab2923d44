"""Servers that boot from Cinder volumes."""
from checks import check, expect, same_as_stock
from cloud import nodes, observe, scenarios, servers, service, volumes
from cloud.api import ironic, wait_for


@check()
def boot_from_volume():
    """A server boots from a Cinder volume, and the volume is free again afterwards"""
    same_as_stock('from-volume', scenarios.from_volume())


@check()
def two_volumes():
    """A server with two volumes that go with it"""
    same_as_stock('two-volumes', scenarios.two_volumes())


@check()
def left_target():
    """A volume target that somebody left on the node does not reach the next server"""
    node = nodes.everyone()[scenarios.ON_VOLUMES]['uuid']
    wait_for('the node is off', lambda: nodes.everyone()[scenarios.ON_VOLUMES]['power_state'] == 'power off', 30)
    ironic().post('/v1/volume/targets', dict(node_uuid=node, volume_type='iscsi', volume_id='left', boot_index=5, properties={}))
    same_as_stock('from-volume', scenarios.from_volume())


@check()
def killed_with_volumes():
    """kill -9 while data volumes outside the boot order are attached: each has its place, and is attached once"""
    scenarios.offered(1, 'CUSTOM_BFV')
    root = volumes.create('lab-killed')
    disks = [volumes.disk(0, root, True), volumes.disk(-1, doomed=True), volumes.disk(-1, doomed=True)]
    server = servers.create('lab-killed', **volumes.FROM_VOLUME, block_device_mapping_v2=disks)
    wait_for('the last volume is being attached', lambda: len(volumes.attachments()) == 3, 60, 0.05)
    service.kill()
    service.start()
    servers.wait_status(server, 'ACTIVE')
    seen = observe.server(server)
    expect([each['boot_index'] for each in seen['targets']] == [0, 1, 2], f"targets: {seen['targets']}")
    expect([each['attach_status'] for each in seen['attachments']] == ['attached'] * 3, f"attachments: {seen['attachments']}")
    expect(len(volumes.everyone()) == 3, f'volumes: {volumes.everyone()}')
    servers.delete(server)
    servers.wait_gone(server)
    scenarios.node_settled(scenarios.ON_VOLUMES)
