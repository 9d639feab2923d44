"""The command behind lab/enroll."""
import argparse
import time

from cloud import nodes


def main():
    parser = argparse.ArgumentParser(prog='lab/enroll')
    parser.add_argument('count', type=int, nargs='?', default=0)
    parser.add_argument('--odd', action='store_true')
    parser.add_argument('--remove', action='store_true')
    options, start = parser.parse_args(), time.monotonic()
    if options.remove:
        nodes.remove([name for name in nodes.everyone() if nodes.is_plain(name) and int(name.removeprefix(nodes.PLAIN)) >= options.count])
        print(f'{options.count} plain nodes stay; {time.monotonic() - start:.1f} s')
        return
    made = nodes.enroll(nodes.plain(options.count) + (nodes.odd() if options.odd else []))
    print(f'{options.count} nodes are there, {made} of them new; {time.monotonic() - start:.1f} s')


main()
