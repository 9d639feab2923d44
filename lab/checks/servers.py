"""Servers that simply work."""
import concurrent.futures

from checks import check, expect, same_as_stock
from cloud import placement_view, scenarios, service


@check()
def three_servers():
    """Three at once to ACTIVE with key, user data, files and config drive, and deleted: everything as with stock"""
    scenarios.offered(3)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        stories = list(pool.map(lambda _: scenarios.life(), range(3)))
    for story in stories:
        same_as_stock('life', story)


@check()
def bare():
    """No network, no config drive"""
    scenarios.offered(1)
    same_as_stock('bare', scenarios.bare())


@check()
def own_port():
    """A port that the user made is used, and given back"""
    scenarios.offered(1)
    same_as_stock('own-port', scenarios.own_port())


@check()
def bookable_at_once():
    """A freed node can be booked again within 5 s, not a cycle later"""
    scenarios.offered(1)
    before = scenarios.free_nodes()
    scenarios.life()
    scenarios.offered(len(before), seconds=5 if service.KIND == 'bessemer' else 120)
    expect(all(placement_view.inventory(node)['reserved'] == 0 for node in before), 'a free node is still reserved')
