"""Machines that boot a rescue system on a user's request, and their own again."""
from checks import check, expect, same_as_stock
from cloud import golden, rescue, scenarios, servers, service
from cloud.api import ironic

ON = 'power on'
RUNNING = 1
REASON = "because it's in maintenance mode"
SITUATIONS = ('rescued', 'unrescued', 'rescued with a password made up')


def _same_but_on(story, seen, *situations):
    """Compares a story with stock's, whose machine the fake rescue interface leaves off; here it is on."""
    for situation in situations:
        stands = seen[situation]
        expect(stands['power_state'] == RUNNING, f"{situation}: the server's power is {stands['power_state']}")
        expect(stands['node']['power_state'] == ON, f"{situation}: the machine is {stands['node']['power_state']}")
        stocks = golden.load(story)[situation]
        stands['power_state'], stands['node']['power_state'] = stocks['power_state'], stocks['node']['power_state']
    same_as_stock(story, seen)


@check()
def rescued_and_back():
    """Rescue with a password and an image, wrong requests meanwhile, unrescue, rescue with a made-up password, delete: as stock, but the machine is on"""
    scenarios.offered(1)
    _same_but_on('rescue', rescue.rescued_and_back(), *SITUATIONS)


@check()
def rescue_refused():
    """A rescue that Ironic refuses: ERROR with Ironic's reason, the machine on again; then the server is rescued"""
    scenarios.offered(1)
    seen = rescue.refused()
    fault = seen['refused']['fault']
    expect(fault['message'].startswith('Instance <server> cannot be rescued: Driver Error: ') and REASON in fault['message'], f'the fault is {fault}')
    event = next(action for action in seen['actions'] if action['action'] == 'rescue')['events'][0]
    expect(event['details'] == fault['message'], f'the event says {event["details"]}')
    # Stock names Ironic's address in place of the reason.
    fault['message'] = event['details'] = golden.load('rescue-refused')['refused']['fault']['message']
    _same_but_on('rescue-refused', seen, 'refused', 'rescued')


@check()
def rescue_timeout():
    """A server that is rescued for longer than rescue_timeout is unrescued, with an action in its list"""
    scenarios.offered(1)
    server = servers.create('lab-rescue')
    servers.wait_status(server, 'ACTIVE')
    servers.act(server, rescue=None)
    servers.wait_status(server, 'RESCUE')
    node = servers.node_of(server)['uuid']
    with service.configured('[DEFAULT]\nrescue_timeout = 1\n'):
        servers.wait_status(server, 'ACTIVE')
    last = servers.actions_of(server)[-1]
    seen = last['action'], [(event['event'], event['result']) for event in last['events']]
    expect(seen == ('unrescue', [('compute_unrescue_instance', 'Success')]), f'the last action is {seen}')
    servers.delete(server)
    servers.wait_gone(server)
    scenarios.node_settled(node)


@check()
def killed_during_rescue():
    """kill -9 right after a rescue was asked for: the server is rescued after the start, and unrescued"""
    scenarios.offered(1)
    server = servers.create('lab-rescue')
    servers.wait_status(server, 'ACTIVE')
    node = servers.node_of(server)['uuid']
    for action, status, state in ((dict(rescue=None), 'RESCUE', 'rescue'), (dict(unrescue=None), 'ACTIVE', 'active')):
        servers.act(server, **action)
        service.kill()
        service.start()
        servers.wait_status(server, status)
        now = ironic().get(f'/v1/nodes/{node}')
        expect((now['provision_state'], now['power_state']) == (state, ON), f"{status}: the node is {now['provision_state']}, {now['power_state']}")
    servers.delete(server)
    servers.wait_gone(server)
    scenarios.node_settled(node)
