"""Vendor data services of the operator's own."""
import contextlib
import http.server
import json
import threading

from checks import check, expect
from cloud import drive, scenarios, servers, service


class _Services(http.server.BaseHTTPRequestHandler):
    """Answers by its path: a status without a body, or what it was sent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        path = self.path.strip('/')
        answer = body if path == 'echo' else b''
        self.send_response(int(path) if path.isdigit() else 200)
        if path != '204':
            self.send_header('Content-Length', str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def _services():
    """The services, and the compute service told to ask them and to fail a build that one of them fails."""
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Services) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_address[1]}'
        settings = f"""
[api]
vendordata_providers = StaticJSON,DynamicJSON
vendordata_dynamic_targets = none@{url}/204,empty@{url}/200,echo@{url}/echo
vendordata_dynamic_failure_fatal = true
"""
        try:
            with service.configured(settings):
                yield
        finally:
            server.shutdown()


@check()
def vendor_data_services():
    """Services that answer 204, an empty 200 and a document, failures fatal: the server has what they answered"""
    with _services():
        scenarios.offered(1)
        server = servers.create('lab-vendordata')
        servers.wait_status(server, 'ACTIVE')
        node = servers.node_of(server)['uuid']
        _, files = drive.files(drive.received(node))
        told = json.loads(files['/openstack/latest/vendor_data2.json'])
        echo = told.pop('echo')
        expect(told == dict(static={}, none={}, empty={}), f'the others are {told}')
        expect((echo['instance-id'], echo['user-data']) == (server, servers.USER_DATA), f'the service was told {echo}')
        servers.delete(server)
        servers.wait_gone(server)
        scenarios.node_settled(node)
