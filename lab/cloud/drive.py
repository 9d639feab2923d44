"""A config drive as Ironic received it: base64 of gzip of an ISO 9660 image, opened and read."""
import base64
import gzip
import io
import json

import pycdlib

from cloud import database, normal


def received(node):
    """The image that Ironic keeps for a node's instance, or None. Its API masks it, so it is read where Ironic keeps it."""
    kept = json.loads(database.value('ironic', 'select instance_info from nodes where uuid = %s', node)).get('configdrive')
    return kept and gzip.decompress(base64.b64decode(kept))


def files(image):
    """{path: bytes} of an image, by its Rock Ridge or Joliet names."""
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(image))
    kind = 'rr_path' if iso.has_rock_ridge() else 'joliet_path'
    found = {}
    for folder, _, names in iso.walk(**{kind: '/'}):
        for name in names:
            path = f'{folder.rstrip("/")}/{name}'
            into = io.BytesIO()
            iso.get_file_from_iso_fp(into, **{kind: path})
            found[path] = into.getvalue()
    label = iso.pvd.volume_identifier.decode().strip()
    iso.close()
    return label, found


def _content(path, data, names):
    if not path.endswith('.json'):
        return dict(bytes=len(data))
    parsed = json.loads(data)
    return dict(shape=normal.printable_shape(parsed), content=normal.document(_without_secrets(parsed), names))


def _without_secrets(parsed):
    """What is random by design says nothing in a comparison."""
    return {key: value for key, value in parsed.items() if key not in ('admin_pass', 'random_seed')} if isinstance(parsed, dict) else parsed


def seen(node, names):
    """What a comparison needs to know of a node's config drive: its label, and for each file its size or its JSON."""
    image = received(node)
    if image is None:
        return None
    label, found = files(image)
    return dict(label=label, files={normal.text(path, names): _content(path, data, names) for path, data in sorted(found.items())})
