"""The compute service under test, and the lab's other services, started and stopped with the lab's own scripts."""
import contextlib
import os
import subprocess
import time

from cloud import database, settings
from cloud.api import nova, wait_for

KIND = os.environ.get('LAB_COMPUTE', 'bessemer')


def script(name, *arguments):
    """Runs one of the lab's scripts; what it says is shown only if it fails."""
    done = subprocess.run([settings.LAB_HOME / name, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"lab/{name} {' '.join(arguments)}: {(done.stdout + done.stderr).strip()[-600:]}")


def start():
    script('compute', 'start', KIND)


def stop():
    script('compute', 'stop')


def kill():
    script('compute', 'kill')


def _start_again():
    stop()
    script('service', 'restart', 'nova-api')
    start()


@contextlib.contextmanager
def reclaiming(seconds):
    """Nova's API and the compute service with `[DEFAULT] reclaim_instance_interval`: a delete can be taken back for so long."""
    os.environ['OS_DEFAULT__RECLAIM_INSTANCE_INTERVAL'] = str(seconds)
    try:
        _start_again()
        yield
    finally:
        del os.environ['OS_DEFAULT__RECLAIM_INSTANCE_INTERVAL']
        _start_again()


def pid():
    """The compute service's process, or None."""
    with contextlib.suppress(OSError, ValueError):
        number = int((settings.PID / 'compute.pid').read_text())
        os.kill(number, 0)
        return number
    return None


@contextlib.contextmanager
def configured(text):
    """The compute service restarted with these lines at the end of its configuration, and with its own again."""
    local = settings.ETC / 'nova' / 'nova-compute-extra.conf'
    before = local.read_text()
    local.write_text(before + text)
    try:
        stop()
        start()
        yield
    finally:
        local.write_text(before)
        stop()
        start()


def _record():
    return database.row('nova_cell1', "select * from services where `binary` = 'nova-compute' and host = %s and deleted = 0", settings.COMPUTE_HOST)


def service_id():
    """The compute service's id in Nova's API."""
    return nova().get('/os-services', binary='nova-compute', host=settings.COMPUTE_HOST)['services'][0]['id']


def up():
    """Does Nova's API call the service up, and has it reported?"""
    found = nova().get('/os-services', binary='nova-compute', host=settings.COMPUTE_HOST)['services']
    return bool(found) and found[0]['state'] == 'up'


def launch():
    """Begins to start the service, without waiting; gives the process that does."""
    return subprocess.Popen([settings.LAB_HOME / 'compute', 'start', KIND], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)


def seconds_to_up():
    """Starts the service and measures from the process to the moment when Nova's API shows a fresh report of it."""
    before = _record()
    starter = launch()
    wait_for('a process', pid, 10, 0.01)
    since = time.monotonic()
    wait_for('a report of the service', lambda: _record() not in (None, before) and up(), 60, 0.05)
    seconds = time.monotonic() - since
    if starter.wait(60):
        raise AssertionError('lab/compute start failed')
    return seconds


def forget():
    """Makes Nova and Placement know nothing of the compute service and its nodes, as on a fresh cloud. No server may be left."""
    live = database.value('nova_cell1', 'select count(*) from instances where deleted = 0')
    if live:
        raise AssertionError(f'{live} servers are left: delete them first')
    database.run('nova_cell1', 'delete from compute_nodes', "delete from services where `binary` = 'nova-compute'")
    database.run('nova_api', f"delete from host_mappings where host = '{settings.COMPUTE_HOST}'")
    tables = ('allocations', 'inventories', 'resource_provider_traits', 'resource_provider_aggregates', 'resource_providers', 'consumers')
    database.run('placement', 'set foreign_key_checks = 0', *(f'truncate {table}' for table in tables))


def pace(seconds):
    """How long each step of a fake deploy or tear-down takes."""
    script('pace', str(seconds))
