"""Writes every service's configuration files from lab/templates to $LAB_DIR/etc. Values come from the environment (lab/lib.sh)."""
import getpass
import os
import shutil

import jinja2

from cloud import settings

TEMPLATES = settings.LAB_HOME / 'templates'


def _values():
    return dict(ip='127.0.0.1', user=getpass.getuser(), password=settings.PASSWORD, compute_host=settings.COMPUTE_HOST,
                run=settings.RUN, log=settings.LOG, state=settings.LAB_DIR / 'state', venv=os.environ['LAB_VENV'],
                debug=os.environ.get('LAB_DEBUG', 'false'), delay=os.environ.get('LAB_DELAY', '0'))


def write(*only):
    """Renders the named files, or all of them."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    for name in only or [name for name in environment.list_templates() if not name.endswith('.j2')]:
        path = settings.ETC / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(environment.get_template(name).render(_values()).lstrip())


if __name__ == '__main__':
    write()
    # Nova's WSGI loader takes the first file of its list as the paste file, and wants it beside the others.
    shutil.copy(f"{os.environ['LAB_VENV']}/etc/nova/api-paste.ini", settings.ETC / 'nova')
    extra = settings.ETC / 'nova' / 'nova-compute-extra.conf'
    if not extra.exists():
        extra.write_text('# Local settings of the compute service; the lab never overwrites this file.\n')
