"""What the checks that disturb a server's life have in common."""
from checks import same_as_stock
from cloud import observe, scenarios, servers


def two(name):
    scenarios.offered(2)
    return [servers.create(name) for _ in range(2)]


def on_a_node(server, *states):
    node = servers.node_of(server)
    return node if node and node['provision_state'] in states else None


def active_as_stock(made):
    """Each server becomes ACTIVE, and is in every respect what an undisturbed build of stock gives."""
    for server in made:
        servers.wait_status(server, 'ACTIVE', 120)
        scenarios.settle(server)
        same_as_stock('life', observe.server(server), 'active')
        same_as_stock('life', observe.actions(server, observe.names_of(server)), 'created')


def gone(made):
    for server in made:
        servers.delete(server)
    for server in made:
        servers.wait_gone(server)
