"""Prints reports of lab/measure as a table in Markdown, one line each: python -m measuring.table FILE..."""
import json
import pathlib
import sys

HEAD = ('service', 'nodes', 'first report, s', 'its CPU, s', 'its requests: Ironic / Placement', 'its RPC calls',
        'steady cycle, s', 'its CPU, s', 'its requests: Ironic / Placement', 'its RPC calls',
        'restart, s', 'its requests: Ironic / Placement', 'peak memory, MiB')


def _requests(counted):
    return f"{counted.get('ironic', 0)} / {counted.get('placement', 0)}"


def _span(values):
    """One number, or the least and the greatest."""
    low, high = min(values), max(values)
    return f'{low}' if low == high else f'{low}-{high}'


def _line(report):
    fill, steady = report['fill'], report['steady']
    return (report['kind'], report['nodes'], fill['seconds'], fill['cpu_seconds'], _requests(fill['requests']), fill['rpc']['calls'],
            _span([each['seconds'] for each in steady]), _span([each['cpu_seconds'] for each in steady]),
            ', '.join(sorted({_requests(each['requests']) for each in steady})), _span([each['rpc']['calls'] for each in steady]),
            report['restart']['seconds'], _requests(report['restart']['requests']), max(report['peak_rss_mib'], report['restart']['peak_rss_mib']))


def main(files):
    reports = sorted((json.loads(pathlib.Path(file).read_text()) for file in files), key=lambda report: (report['nodes'], report['kind']))
    for line in (HEAD, ('---',) * len(HEAD), *map(_line, reports)):
        print('| ' + ' | '.join(map(str, line)) + ' |')


main(sys.argv[1:])
