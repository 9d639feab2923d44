"""Machines that are switched and restarted on a user's request."""
from checks import check, expect
from cloud import scenarios, servers, service
from cloud.api import ironic, wait_for


def _running():
    scenarios.offered(1)
    server = servers.create('lab-power')
    servers.wait_status(server, 'ACTIVE')
    return server, servers.node_of(server)['uuid']


def _power(node):
    return ironic().get(f'/v1/nodes/{node}')['power_state']


def _stamp(node):
    return ironic().get(f'/v1/nodes/{node}')['driver_internal_info'].get('last_power_state_change')


def _ended(server, *actions):
    """The last actions of a server, each of which must have succeeded under stock's name.

    Those that Ironic's power notifications made on their own are left out.
    """
    told = [action for action in servers.actions_of(server)
            if all(event['event'] != 'compute_power_update' for event in action['events'])]
    seen = [(action['action'], [(event['event'], event['result']) for event in action['events']]) for action in told[-len(actions):]]
    wanted = [(action, [(f'compute_{action}_instance', 'Success')]) for action in actions]
    expect(seen == wanted, f'actions {seen}, not {wanted}')


@check()
def stopped_started_rebooted():
    """Stop, start, soft and hard reboot: the server's state, the machine's power, the actions and their events"""
    server, node = _running()
    servers.act(server, **{'os-stop': None})
    servers.wait_status(server, 'SHUTOFF')
    expect(_power(node) == 'power off', f'the machine is {_power(node)}')
    servers.act(server, **{'os-start': None})
    servers.wait_status(server, 'ACTIVE')
    expect(_power(node) == 'power on', f'the machine is {_power(node)}')
    for kind in ('SOFT', 'HARD'):
        before = _stamp(node)
        servers.act(server, reboot=dict(type=kind))
        servers.wait_status(server, 'ACTIVE')
        expect(_stamp(node) != before, f'Ironic has not restarted the machine ({kind})')
    _ended(server, 'stop', 'start', 'reboot', 'reboot')
    servers.delete(server)
    servers.wait_gone(server)
    scenarios.node_settled(node)


@check()
def killed_during_stop():
    """kill -9 right after a stop was asked for: the server is stopped after the start, once"""
    server, node = _running()
    servers.act(server, **{'os-stop': None})
    wait_for('the stop is taken', lambda: servers.show(server)['OS-EXT-STS:task_state'] in ('powering-off', None), 30)
    service.kill()
    service.start()
    servers.wait_status(server, 'SHUTOFF')
    expect(_power(node) == 'power off', f'the machine is {_power(node)}')
    servers.act(server, reboot=dict(type='HARD'))
    servers.wait_status(server, 'ACTIVE')
    servers.delete(server)
    servers.wait_gone(server)
    scenarios.node_settled(node)
