"""Builds that Ironic fails, and builds that the user no longer wants."""
from checks import check, expect, same_as_stock
from cloud import scenarios


@check()
def rescheduled():
    """A deploy that Ironic fails goes to another node and ends ACTIVE"""
    same_as_stock('rescheduled', scenarios.rescheduled())


@check()
def exhausted():
    """With no node left the server is ERROR with the fault, and can be deleted"""
    same_as_stock('exhausted', scenarios.exhausted())


@check()
def interrupted():
    """A delete during the build stops the build and leaves nothing"""
    story = scenarios.interrupted()
    for part in ('left', 'buried'):
        seen = {key: value for key, value in story[part].items() if key not in ('host', 'node')}
        same_as_stock_without(part, seen)
    last = story['actions'][-1]
    expect(last['action'] == 'delete' and [each['result'] for each in last['events']] == ['Success'], f'the delete is recorded as {last}')


def same_as_stock_without(part, seen):
    """Which host a deleted server last had depends on how far stock had come."""
    from cloud import golden, normal
    stock = {key: value for key, value in golden.load('interrupted')[part].items() if key not in ('host', 'node')}
    differing = normal.differences(stock, seen)
    expect(not differing, '\n'.join(differing))
