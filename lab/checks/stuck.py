"""The operator's page for what does not go on."""
import os
import re
import subprocess

from checks import check, expect, lives
from cloud import scenarios, servers, settings
from cloud.api import wait_for

PAGE = settings.LAB_HOME.parent / 'docs' / 'stuck.md'
# The shell of an operator on the host of the compute service.
SHELL = """
. "{home}/openrc"
bessemer() {{ "{binary}" "$@" {files}; }}
"""


def commands():
    """Every command of the page, in its order."""
    text = PAGE.read_text()
    blocks = [line.split('  ')[0] for block in re.findall(r'```\n(.*?)```', text, re.S) for line in block.splitlines()]
    inline = re.findall(r'`(openstack [^`]+)`', re.sub(r'```.*?```', '', text, flags=re.S))
    return blocks + inline


def run(command):
    binary = os.environ.get('BESSEMER', settings.LAB_HOME.parent / 'target' / 'release' / 'bessemer')
    files = ' '.join(f'--config-file {settings.ETC}/nova/{name}.conf' for name in ('nova', 'nova-compute', 'nova-compute-extra'))
    shell = SHELL.format(home=settings.LAB_HOME, binary=binary, files=files)
    done = subprocess.run(['bash', '-euo', 'pipefail', '-c', shell + command], capture_output=True, text=True)
    expect(done.returncode == 0, f'{command}: {(done.stdout + done.stderr).strip()[-400:]}')
    return done.stdout


@check(pace=20)
def stuck_page():
    """Every command of docs/stuck.md while a server is deployed"""
    scenarios.offered(1)
    server = servers.create('lab-stuck')
    node = wait_for('Ironic deploys', lambda: lives.on_a_node(server, 'deploying'), 60)['uuid']
    for command in commands():
        if 'unhold' in command:
            # The Ironic of the lab drops the step `hold` of whoever asks for it: no node can be held.
            run(f'{command} --help')
            continue
        named = command.replace('NODE', node).replace('UUID', server).replace('/var/log/nova/nova-compute.log', f'{settings.LOG}/nova-compute.log')
        shown = run(named)
        if command.startswith('bessemer'):
            expect(server in shown and 'Ironic deploys the node' in shown, f'{command} shows {shown}')
    servers.wait_status(server, 'ACTIVE', 120)
    lives.gone([server])
    scenarios.node_settled(node)
