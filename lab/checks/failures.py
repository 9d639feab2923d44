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
    same_as_stock('interrupted', story['left'], 'left')
    # Which host a deleted server last had depends on how far the build had come.
    same_as_stock('interrupted', story['buried'], 'buried', ignoring=('host', 'node'))
    last = story['actions'][-1]
    expect(last['action'] == 'delete' and [each['result'] for each in last['events']] == ['Success'], f'the delete is recorded as {last}')
