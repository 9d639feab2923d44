"""Volumes in Cinder, and servers that boot from one."""
from cloud import database, furnish
from cloud.api import ApiError, cinder, ironic, wait_for

FROM_VOLUME = dict(flavor='bm.bfv', imageRef=None, config_drive=None, personality=None)


def create(name):
    """A volume of 1 GiB, made of the lab's image. Gives its id once it is available."""
    made = cinder().post('/volumes', dict(volume=dict(name=name, size=1, imageRef=furnish.image())))['volume']['id']
    wait_status(made, 'available')
    return made


def show(volume):
    """The volume, or None once it is gone."""
    found = cinder().get(f'/volumes/{volume}', missing_ok=True)
    return found and found['volume']


def wait_status(volume, status, seconds=60):
    wait_for(f'volume {volume} {status}', lambda: show(volume)['status'] == status, seconds)


def wait_gone(volume, seconds=60):
    wait_for(f'volume {volume} gone', lambda: show(volume) is None, seconds)


def delete(volume):
    cinder().delete(f'/volumes/{volume}', missing_ok=True)
    wait_gone(volume)


def disk(index, volume=None, doomed=False):
    """A disk of a new server as the API takes it: on that volume, or on a new one that is empty."""
    source = dict(source_type='volume', uuid=volume) if volume else dict(source_type='blank', volume_size=1)
    return dict(source, destination_type='volume', boot_index=index, delete_on_termination=doomed)


def everyone():
    return [each['id'] for each in cinder().get('/volumes', all_tenants=1)['volumes']]


def attachments():
    """Every attachment that Cinder has, as its database shows it."""
    return database.rows('cinder', 'select * from volume_attachment where deleted = 0')


def targets(node=None):
    """What a node connects to, or every node does."""
    return ironic().get('/v1/volume/targets', detail=True, **dict(node=node) if node else {})['targets']


def force_away():
    """Every volume goes, whoever has it."""
    database.run('cinder', 'update volume_attachment set deleted = 1 where deleted = 0')
    for volume in everyone():
        try:
            cinder().post(f'/volumes/{volume}/action', {'os-reset_status': dict(status='available', attach_status='detached')})
            delete(volume)
        except ApiError as refusal:
            if refusal.status != 404:
                raise
