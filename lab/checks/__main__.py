"""Runs the checks, one after the other, each on a clean cloud. Prints a line for each and a summary; fails if one failed."""
import argparse
import sys
import time

from checks import ALL, cleaning
from checks import (  # noqa: F401 - they register themselves, in the order in which they run
    service,
    picture,
    servers,
    power,
    rebuilds,
    rescue,
    interfaces,
    deleting,
    vendordata,
    moving,
    volumes,
    failures,
    restarts,
    outages,
    hidden,
    consoles,
    stuck,
    unsupported,
)
from cloud import scenarios
from cloud import service as compute


class Pace:
    """Ironic's pace, changed only when the next check wants another."""

    def __init__(self):
        self.now = None

    def set(self, seconds):
        if seconds != self.now:
            compute.pace(seconds)
            self.now = seconds


def arguments():
    parser = argparse.ArgumentParser(prog='lab/check', description='Checks the compute service against the real cloud of the lab.')
    parser.add_argument('name', nargs='*', help='the checks to run (default: all)')
    parser.add_argument('--list', action='store_true', help='show what is checked')
    options = parser.parse_args()
    unknown = [name for name in options.name if name not in ALL]
    if unknown:
        parser.error(f"no check {', '.join(unknown)}; there are: {', '.join(ALL)}")
    return options


def run(check, pace):
    """One check from a clean cloud to a clean cloud; gives what went wrong, or None."""
    try:
        pace.set(check.pace)
        if not compute.pid():
            compute.start()
        cleaning.switched_on()
        check.run()
        cleaning.nothing_left()
    except Exception as trouble:  # a check may fail in any way; the next one runs all the same
        return '\n'.join([said(trouble), *cleaned()])
    return None


def said(trouble):
    return f'{type(trouble).__name__}: {trouble}'


def cleaned():
    """Cleans up after a check that failed; gives what could not be, which the next check may fail of."""
    try:
        cleaning.clean()
    except Exception as trouble:
        return [f'and could not be cleaned up after: {said(trouble)}']
    return []


def main():
    options = arguments()
    chosen = [ALL[name] for name in options.name or ALL]
    if options.list:
        for check in chosen:
            print(f'{check.name:26} {check.title}')
        return 0
    scenarios.prepare()
    cleaning.clean()
    pace, failed, began = Pace(), 0, time.monotonic()
    for check in chosen:
        since = time.monotonic()
        trouble = run(check, pace)
        failed += trouble is not None
        print(f"{'FAILED' if trouble else 'ok':7} {check.name:26} {time.monotonic() - since:6.1f} s  {check.title}", flush=True)
        for line in (trouble or '').splitlines():
            print(f'        {line}', flush=True)
    pace.set(0)
    print(f'{time.monotonic() - began:.0f} s with {compute.KIND}')
    print(f'{len(chosen) - failed} passed, {failed} failed')
    return 1 if failed else 0


sys.exit(main())
