"""Placement as the checks need it: who holds what, what a node offers."""
from cloud import database
from cloud.api import placement


def consumers():
    """Everyone who holds an allocation."""
    return [row['uuid'] for row in database.rows('placement', 'select distinct c.uuid from consumers c join allocations a on a.consumer_id = c.uuid')]


def free(consumer):
    placement().delete(f'/allocations/{consumer}', missing_ok=True)


def inventory(node):
    """A node's one inventory, or None."""
    found = placement().get(f'/resource_providers/{node}/inventories', missing_ok=True)
    return next(iter(found['inventories'].values()), None) if found else None


def reported():
    """How many providers have an inventory."""
    return database.value('placement', 'select count(distinct resource_provider_id) from inventories')
