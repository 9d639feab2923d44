"""The compute service as Nova sees it."""
import time

from checks import check, expect
from cloud import service

LIMIT = 2.0


@check()
def service_up():
    """`openstack compute service list` shows it up within 2 s of its start"""
    service.stop()
    seconds = service.seconds_to_up()
    expect(seconds <= LIMIT or service.KIND == 'stock', f'up after {seconds:.1f} s')


@check()
def service_stops():
    """SIGTERM ends it within 15 s, and Nova still has its record"""
    since = time.monotonic()
    service.stop()
    seconds = time.monotonic() - since
    expect(seconds <= 15, f'it took {seconds:.0f} s')
    expect(service.pid() is None, 'still there')
    service.start()
    expect(service.up(), 'not up after a restart')
