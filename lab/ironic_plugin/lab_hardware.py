"""Ironic's drivers in the lab: machines with consoles that one can really connect to.

A serial console is a TCP port that greets and then repeats what it gets, one session at a time, as `ipmitool-socat` serves it. A screen is a
port that speaks as much of RFB as a proxy needs to let a user through, and then does the same.
"""
import socketserver
import threading

from ironic.console.container import base as container
from ironic.drivers import base
from ironic.drivers.fake_hardware import FakeHardware

HOST = '127.0.0.1'
GREETING = b'lab console\n'


class _Serial(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(GREETING)
        while data := self.request.recv(1024):
            self.request.sendall(data)


class _Screen(_Serial):
    def handle(self):
        self.request.sendall(b'RFB 003.008\n')
        self.request.recv(12)
        self.request.sendall(b'\x01\x01')   # one way to authenticate: none
        self.request.recv(1)
        super().handle()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class _Ports:
    """One listening port a node, always the same, as long as its console is on."""

    def __init__(self, handler):
        self.handler, self.open, self.known = handler, {}, {}

    def start(self, node):
        self.stop(node)
        server = self.open[node] = _Server((HOST, self.known.get(node, 0)), self.handler)
        self.known[node] = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return self.known[node]

    def stop(self, node):
        if server := self.open.pop(node, None):
            server.shutdown()
            server.server_close()


class SocatConsole(base.ConsoleInterface):
    ports = _Ports(_Serial)

    def get_properties(self):
        return {}

    def validate(self, task):
        pass

    def start_console(self, task):
        port = self.ports.start(task.node.uuid)
        task.node.set_driver_internal_info('lab_console_port', port)

    def stop_console(self, task):
        self.ports.stop(task.node.uuid)

    def get_console(self, task):
        port = task.node.driver_internal_info['lab_console_port']
        return {'type': 'socat', 'url': f'tcp://{HOST}:{port}'}


class Screens(container.BaseConsoleContainer):
    provider_name = 'lab'
    ports = _Ports(_Screen)

    def start_container(self, task, app_name, app_info):
        return HOST, self.ports.start(task.node.uuid)

    def stop_container(self, task):
        self.ports.stop(task.node.uuid)

    def stop_all_containers(self):
        for node in list(self.ports.open):
            self.ports.stop(node)


class LabHardware(FakeHardware):
    @property
    def supported_console_interfaces(self):
        return [SocatConsole] + super().supported_console_interfaces
