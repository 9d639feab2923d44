"""The command behind lab/measure: prepares a cloud with N nodes that knows no compute service, starts one, watches it, tells what it cost.

fill    from the start of the process until Placement holds N providers with an inventory
cycle   from one look at all of Ironic's nodes to the next; its `seconds` end with the last request that follows from it
restart the same service once more, with everything known already, from its start to the end of its first look
"""
import argparse
import json
import pathlib
import time

from cloud import copies, nodes, placement_view, service, settings
from cloud.api import wait_for
from measuring.accesslog import Logs, by_service, by_shape
from measuring.firehose import Firehose
from measuring.process import Watch

# Looks at all nodes that are closer together than this belong to one cycle.
ONE_CYCLE = 3
# A look has ended when the service asked nothing for so long.
QUIET = 6
# So many nodes are enrolled through Ironic's API; what is beyond is copied in its database.
ENROLLED = 1000
EXTRA = settings.ETC / 'nova' / 'nova-compute-extra.conf'


def arguments():
    parser = argparse.ArgumentParser(prog='lab/measure')
    parser.add_argument('nodes', type=int)
    parser.add_argument('kind', nargs='?', default='bessemer', choices=('bessemer', 'stock'))
    parser.add_argument('--json', type=pathlib.Path)
    parser.add_argument('--cycles', type=int, default=3, help='steady cycles to measure')
    parser.add_argument('--interval', type=int, default=0, help='update_resources_interval in seconds (default: Nova\'s, 60)')
    parser.add_argument('--timeout', type=int, default=1800)
    return parser.parse_args()


def prepare(options):
    """Exactly N nodes in Ironic, none of them known to Nova or Placement."""
    service.KIND = options.kind
    service.stop()
    copies.remove()
    others = [name for name in nodes.everyone() if not nodes.is_plain(name) or int(name.removeprefix(nodes.PLAIN)) >= options.nodes]
    nodes.remove(others)
    nodes.enroll(nodes.plain(min(options.nodes, ENROLLED)))
    if options.nodes > ENROLLED:
        copies.make(nodes.plain(1)[0].name, [each.name for each in nodes.plain(options.nodes)[ENROLLED:]])
    service.forget()
    EXTRA.write_text(f'[DEFAULT]\nupdate_resources_interval = {options.interval}\n')


def cycles(requests, after):
    """The complete cycles that began after a moment: (start, end of the last request, start of the next, requests)."""
    starts, last = [], 0.0
    for request in requests:
        if request.lists_nodes:
            if request.start - last > ONE_CYCLE and request.start > after:
                starts.append(request.start)
            last = request.start
    found = []
    for start, following in zip(starts, starts[1:]):
        inside = [request for request in requests if start <= request.start < following]
        found.append((start, max(request.end for request in inside), following, inside))
    return found


def is_cycle(inside, kind, count):
    """Stock also lists the nodes for other tasks, which ask nothing of Placement."""
    return kind != 'stock' or sum(request.service == 'placement' for request in inside) >= count


def measure(options):
    logs, begin = Logs(options.kind), time.time()
    with Firehose() as firehose:
        starter = service.launch()
        with Watch(wait_for('a process', service.pid, 10, 0.01)) as watch:
            begin = time.time()
            filled = _filled(options, watch)
            steady = wait_for('steady cycles', lambda: _steady(options, logs, filled, watch), options.timeout, 2)
            time.sleep(1)
            report = _report(options, logs, firehose, watch, begin, filled, steady)
        starter.wait()
    return report


def restart(options):
    service.stop()
    logs = Logs(options.kind)
    starter = service.launch()
    with Watch(wait_for('a process', service.pid, 10, 0.01)) as watch:
        begin = time.time()
        wait_for('a look after the restart', lambda: _looked(logs, watch), options.timeout, 1)
        requests = logs.requests()
        end = max(request.end for request in requests)
        report = dict(seconds=round(end - begin, 2), cpu_seconds=watch.cpu(begin, end), requests=by_service(requests), peak_rss_mib=watch.peak())
    starter.wait()
    return report


def _looked(logs, watch):
    _check(watch)
    requests = logs.requests()
    return any(request.lists_nodes for request in requests) and time.time() - max(request.end for request in requests) > QUIET


def _check(watch):
    if not watch.alive():
        raise AssertionError(f'the compute service ended: see {settings.LOG}/compute.out')


def _filled(options, watch):
    def full():
        _check(watch)
        return placement_view.reported() >= options.nodes
    wait_for(f'{options.nodes} nodes in Placement', full, options.timeout, 0.1)
    return time.time()


def _steady(options, logs, filled, watch):
    _check(watch)
    found = [cycle for cycle in cycles(logs.requests(), filled) if is_cycle(cycle[3], options.kind, options.nodes)]
    return found[:options.cycles] if len(found) >= options.cycles else None


def _report(options, logs, firehose, watch, begin, filled, steady):
    # What follows the fill for a moment (Nova's records, the rest of the report) still belongs to it.
    fill = [request for request in logs.requests() if request.start < filled + 0.5]
    return dict(
        nodes=options.nodes, kind=options.kind, interval=options.interval or 60,
        fill=dict(seconds=round(filled - begin, 2), cpu_seconds=watch.cpu(begin, filled), rss_mib=watch.rss(filled),
                  requests=by_service(fill), rpc=firehose.between(begin, filled + 0.5), shapes=by_shape(fill)),
        steady=[dict(seconds=round(end - start, 2), cpu_seconds=watch.cpu(start, following), period=round(following - start, 1),
                     requests=by_service(inside), rpc=firehose.between(start, following), shapes=by_shape(inside))
                for start, end, following, inside in steady],
        peak_rss_mib=watch.peak())


def main():
    options = arguments()
    prepare(options)
    try:
        report = measure(options) | dict(restart=restart(options))
    finally:
        service.stop()
        EXTRA.write_text('# Local settings of the compute service; the lab never overwrites this file.\n')
    text = json.dumps(report, indent=1)
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + '\n')


main()
