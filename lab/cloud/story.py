"""Tells what happens in the cloud, for the demo: story.py nodes | active SERVER | drive SERVER."""
import sys
import time

from cloud import drive, nodes, scenarios, servers
from cloud.api import nova


def show_nodes():
    """Waits until Placement offers a node for the lab's flavor, and says how many there are."""
    scenarios.offered(1, seconds=90)
    print(f'   Ironic has {len(nodes.everyone())} nodes; Placement offers {len(scenarios.free_nodes())} for the flavor bm.lab')


def _find(name):
    return next(each['id'] for each in nova().get('/servers', name=f'^{name}$')['servers'])


def active(name):
    """Prints each state that the server and its node go through, with the second at which it was seen, until ACTIVE or ERROR."""
    server, began, last = _find(name), time.monotonic(), None
    while True:
        view, node = servers.show(server), servers.node_of(server)
        now = (view['status'], view['OS-EXT-STS:task_state'] or '-', f"{node['name']} {node['provision_state']}" if node else 'no node yet')
        if now != last:
            print(f'   {time.monotonic() - began:5.1f} s  server {now[0]:7} {now[1]:12} Ironic: {now[2]}', flush=True)
            last = now
        if now[0] == 'ERROR':
            sys.exit(view.get('fault', {}).get('message', 'the server is in ERROR'))
        if now[0] == 'ACTIVE' and now[1] == '-':
            return
        time.sleep(0.1)


def show_drive(name):
    label, files = drive.files(drive.received(servers.node_of(_find(name))['uuid']))
    print(f'   volume {label}, {len(files)} files, the newest of them:')
    for path, data in sorted(files.items()):
        if '/latest/' in path:
            print(f'   {len(data):7} bytes  {path}')


STORIES = {'nodes': show_nodes, 'active': active, 'drive': show_drive}
STORIES[sys.argv[1]](*sys.argv[2:])
