"""Keystone's side of the cloud: roles, the services' accounts, an ordinary project, endpoints. Safe to repeat."""
from keystoneauth1 import adapter

from cloud import settings
from cloud.api import Service, session_of

ACCOUNTS = ('nova', 'placement', 'glance', 'neutron', 'ironic', 'cinder')
ENDPOINTS = {
    'compute': ('nova', 'http://127.0.0.1:8774/v2.1'),
    'placement': ('placement', 'http://127.0.0.1:8778'),
    'network': ('neutron', 'http://127.0.0.1:9696'),
    'image': ('glance', 'http://127.0.0.1:9292'),
    'baremetal': ('ironic', 'http://127.0.0.1:6385'),
    'block-storage': ('cinder', 'http://127.0.0.1:8776/v3'),
}


def _keystone():
    return Service(adapter.Adapter(session_of('project'), endpoint_override=settings.AUTH_URL))


def _have(kind, name, **more):
    """The id of a role, user, project or service of that name, made if need be."""
    keystone = _keystone()
    found = keystone.get(f'/{kind}s', name=name)[f'{kind}s']
    return found[0]['id'] if found else keystone.post(f'/{kind}s', {kind: dict(name=name, **more)})[kind]['id']


def accounts():
    """The services' users have the roles admin and service in the project "service"; the administrator may act on the system."""
    roles = {name: _have('role', name) for name in ('admin', 'service', 'member', 'reader')}
    project = _have('project', 'service', domain_id='default')
    for name in ACCOUNTS:
        user = _have('user', name, domain_id='default', password=settings.PASSWORD)
        for role in ('admin', 'service'):
            _keystone().put(f'/projects/{project}/users/{user}/roles/{roles[role]}', None)
    _keystone().put(f"/system/users/{_have('user', 'admin')}/roles/{roles['admin']}", None)
    demo = _have('user', 'demo', domain_id='default', password=settings.PASSWORD)
    _keystone().put(f"/projects/{_have('project', 'demo', domain_id='default')}/users/{demo}/roles/{roles['member']}", None)


def endpoints():
    keystone = _keystone()
    for kind, (name, url) in ENDPOINTS.items():
        service = _have('service', name, type=kind)
        known = {each['interface'] for each in keystone.get('/endpoints', service_id=service)['endpoints']}
        for interface in {'public', 'internal', 'admin'} - known:
            keystone.post('/endpoints', dict(endpoint=dict(service_id=service, interface=interface, url=url, region_id=settings.REGION)))


if __name__ == '__main__':
    accounts()
    endpoints()
