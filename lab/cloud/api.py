"""The APIs of the cloud as a caller sees them: one small client per service, plain JSON in and out."""
import dataclasses
import functools
import time

from keystoneauth1 import adapter, session
from keystoneauth1.identity import v3

from cloud import settings


class ApiError(Exception):
    """An answer of 400 or above. `status` is its code, `message` what the service says."""

    def __init__(self, method, path, answer):
        self.status = answer.status_code
        self.message = _message(answer)
        super().__init__(f'{method} {path}: {self.status} {self.message}')


def _message(answer):
    """The fault's own words: Nova and Neutron wrap them in one key, Ironic in JSON in a string."""
    try:
        body = answer.json()
    except ValueError:
        return answer.text[:300]
    fault = next(iter(body.values()), body) if isinstance(body, dict) else body
    return fault.get('message') or fault.get('faultstring') or str(fault) if isinstance(fault, dict) else str(fault)


@dataclasses.dataclass
class Service:
    """One API. A path goes in, the answer's JSON comes out, or an ApiError; with `missing_ok` a 404 gives None."""

    http: adapter.Adapter

    def call(self, method, path, body=None, missing_ok=False, version=None, **query):
        options = {'microversion': version} if version else {}
        # A connection that is kept open ends when its service restarts.
        retries = 3 if method == 'GET' else 0
        answer = self.http.request(path, method, json=body, params=query, raise_exc=False, connect_retries=retries, **options)
        if answer.status_code == 404 and missing_ok:
            return None
        if answer.status_code >= 400:
            raise ApiError(method, path, answer)
        return answer.json() if answer.content and 'json' in answer.headers.get('Content-Type', '') else None

    def get(self, path, **options):
        return self.call('GET', path, **options)

    def post(self, path, body, **options):
        return self.call('POST', path, body, **options)

    def put(self, path, body, **options):
        return self.call('PUT', path, body, **options)

    def patch(self, path, body, **options):
        return self.call('PATCH', path, body, **options)

    def delete(self, path, **options):
        return self.call('DELETE', path, **options)


# Ironic is asked with a system token, as its operators do; everything else as the administrator of a project.
_SCOPES = {
    'project': dict(project_name='admin', project_domain_id='default'),
    'system': dict(system_scope='all'),
}
_MICROVERSIONS = {'compute': '2.96', 'baremetal': '1.93', 'placement': '1.36', 'block-storage': '3.70'}


@functools.cache
def session_of(scope):
    auth = v3.Password(auth_url=settings.AUTH_URL, username='admin', password=settings.PASSWORD, user_domain_id='default', **_SCOPES[scope])
    return session.Session(auth=auth, app_name='lab')


@functools.cache
def _service(kind, scope='project'):
    return Service(adapter.Adapter(session_of(scope), service_type=kind, region_name=settings.REGION, default_microversion=_MICROVERSIONS.get(kind)))


def nova():
    return _service('compute')


def ironic():
    return _service('baremetal', 'system')


def neutron():
    return _service('network')


def placement():
    return _service('placement')


def glance():
    return _service('image')


def cinder():
    return _service('block-storage')


def wait_for(what, condition, seconds=120, pause=0.25):
    """Polls `condition` until it gives something true, and gives that back. `what` names it when the time is over."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f'{what}: not within {seconds} s')
        time.sleep(pause)
