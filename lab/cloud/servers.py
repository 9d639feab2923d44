"""Servers as a user makes, awaits and deletes them."""
import base64

from cloud import furnish
from cloud.api import ApiError, ironic, neutron, nova, wait_for

USER_DATA = base64.b64encode(b'#cloud-config\nruncmd: [touch, /lab]\n').decode()


PERSONALITY = [dict(path='/etc/lab', contents=base64.b64encode(b'made in the lab\n').decode())]
# The last microversion that still takes files to inject.
WITH_FILES = '2.56'


def create(name, flavor='bm.lab', **more):
    """Asks for a server with everything that travels in a config drive; `more` overrides (None leaves out). Gives its uuid."""
    body = dict(name=name, flavorRef=furnish.flavor(flavor), imageRef=furnish.image(), networks=[dict(uuid=furnish.network())], key_name=furnish.KEY,
                user_data=USER_DATA, config_drive=True, metadata=dict(purpose='lab'), personality=PERSONALITY)
    body = {key: value for key, value in (body | more).items() if value is not None}
    return nova().post('/servers', dict(server=body), version=WITH_FILES)['server']['id']


def show(server):
    """The server, or None once it is gone."""
    found = nova().get(f'/servers/{server}', missing_ok=True)
    return found and found['server']


def wait_status(server, status, seconds=120):
    """Waits for `status` with no task going on; another end state than the one awaited is an error at once."""
    def reached():
        now = show(server)
        if now is None:
            raise AssertionError(f'server {server} is gone, not {status}')
        if now['status'] == 'ERROR' and status != 'ERROR':
            raise AssertionError(f"server {server} is in ERROR: {now.get('fault', {}).get('message')}")
        return now if now['status'] == status and now['OS-EXT-STS:task_state'] is None else None
    return wait_for(f'server {server} {status}', reached, seconds)


def delete(server):
    nova().delete(f'/servers/{server}', missing_ok=True)


def wait_gone(server, seconds=120):
    def gone():
        now = show(server)
        if now and now['status'] == 'ERROR' and now['OS-EXT-STS:task_state'] is None:
            raise AssertionError(f"the delete of {server} ended in ERROR: {now.get('fault', {}).get('message')}")
        return now is None
    wait_for(f'server {server} gone', gone, seconds)


def act(server, **action):
    return nova().post(f'/servers/{server}/action', action)


# The last microversion before every rebuild asks for another image on the volume, too; with stock no later one works.
REBUILD = '2.92'


def rebuild(server, image, version=REBUILD, **more):
    """Asks for a rebuild; `more` goes along."""
    return nova().post(f'/servers/{server}/action', dict(rebuild=dict(imageRef=image, **more)), version=version)


def node_of(server):
    """The node that carries the server, in full, or None."""
    found = ironic().get('/v1/nodes/detail', instance_uuid=server)['nodes']
    return found[0] if found else None


def ports_of(server):
    return neutron().get('/v2.0/ports', device_id=server)['ports']


def actions_of(server):
    """The server's instance actions with their events, oldest first. Works for a deleted server, too."""
    listed = nova().get(f'/servers/{server}/os-instance-actions')['instanceActions']
    path = f'/servers/{server}/os-instance-actions/'
    return [nova().get(path + action['request_id'])['instanceAction'] for action in reversed(listed)]


def answer_of(call, *args, **kwargs):
    """What the API answers to a request that it may refuse: (status, message)."""
    try:
        call(*args, **kwargs)
    except ApiError as refusal:
        return dict(status=refusal.status, message=refusal.message)
    return dict(status=202, message=None)
