"""Tells every story with stock nova-compute and keeps what it did in lab/stock. Run by lab/record-stock, which prepares the cloud."""
import sys
import time

from cloud import consoles, golden, interfaces, nodes, observe, rebuilds, rescue, scenarios


def picture():
    """The machines as stock shows them, once each wanted one has been reported."""
    scenarios.offered(5)
    scenarios.offered(2, 'CUSTOM_FRAGILE')
    time.sleep(3)
    return observe.picture([each.name for each in nodes.plain(5) + nodes.odd()])


STORIES = {'picture': picture, 'life': scenarios.life, 'bare': scenarios.bare, 'own-port': scenarios.own_port,
           'from-volume': scenarios.from_volume, 'two-volumes': scenarios.two_volumes,
           'interrupted': scenarios.interrupted, 'refused': scenarios.refused,
           'rebuilt': rebuilds.rebuilt, 'rebuilt-on-volume': rebuilds.on_volume,
           'soft-deleted': scenarios.soft_deleted, 'crash-dump': scenarios.crash_dump,
           'exhausted': scenarios.exhausted, 'consoles': consoles.story, 'rescheduled': scenarios.rescheduled,
           'rescue': rescue.rescued_and_back, 'rescue-refused': rescue.refused, 'interfaces': interfaces.story}


def main(names):
    for name in names or STORIES:
        start = time.monotonic()
        golden.save(name, STORIES[name]())
        print(f'{name:14} {time.monotonic() - start:6.1f} s', flush=True)


if __name__ == '__main__':
    main(sys.argv[1:])
