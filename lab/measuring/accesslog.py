"""The API servers' request logs: who asked what, when, and how long it took."""
import collections
import dataclasses
import os
import re

from cloud import settings

SERVICES = {'ironic': 'ironic-api', 'placement': 'placement', 'keystone': 'keystone', 'neutron': 'neutron', 'glance': 'glance'}
_LINE = re.compile(r'^(\d+) (\d+)us (\d+) (\S+) (\S+) sz=(\d+) ua="(.*)"')
_VALUE = re.compile(r'(marker|limit|in_tree|name)=[^&]*')
_UUID = re.compile(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')
# openstacksdk, which stock uses for Ironic, puts the service's name in front of its own; so does Bessemer.
AGENTS = {'stock': re.compile(r'nova-compute'), 'bessemer': re.compile(r'^bessemer/')}


@dataclasses.dataclass(frozen=True)
class Request:
    start: float
    seconds: float
    service: str
    method: str
    path: str
    status: int
    size: int

    @property
    def end(self):
        return self.start + self.seconds

    @property
    def lists_nodes(self):
        """A look at all nodes, and not one for a particular server or for the rest of a page."""
        return (self.service == 'ironic' and self.method == 'GET' and bool(re.match(r'/v1/nodes/?(detail)?(\?|$)', self.path))
                and not re.search(r'[?&](instance_uuid|associated|marker|provision_state)=', self.path))

    @property
    def shape(self):
        """The request with what is particular to one node taken out, so that equal ones can be counted."""
        path = _UUID.sub('{uuid}', self.path)
        path = _VALUE.sub(r'\1=*', path)
        return f'{self.method} {path[:120]}'


class Logs:
    """Everything a compute service of a kind asks from now on."""

    def __init__(self, kind):
        self._agent = AGENTS[kind]
        self._from = {service: os.path.getsize(self._path(name)) for service, name in SERVICES.items()}

    @staticmethod
    def _path(name):
        return settings.LOG / f'{name}.access'

    def requests(self):
        found = []
        for service, name in SERVICES.items():
            with open(self._path(name), errors='replace') as log:
                log.seek(self._from[service])
                found += [request for request in (self._parse(service, line) for line in log) if request]
        return sorted(found, key=lambda request: request.start)

    def _parse(self, service, line):
        match = _LINE.match(line)
        if not match or not self._agent.search(match[7]):
            return None
        return Request(int(match[1]) / 1000, int(match[2]) / 1e6, service, match[4], match[5], int(match[3]), int(match[6]))


def by_service(requests):
    return dict(collections.Counter(request.service for request in requests))


def by_shape(requests, most=30):
    counted = collections.Counter((request.service, request.shape) for request in requests)
    return [[service, shape, count] for (service, shape), count in counted.most_common(most)]
