"""A user reaches the consoles of two servers, one with a serial line and one with a screen, through Nova's proxies."""
import select
import time
from urllib.parse import parse_qs, urlsplit

from websockify.websocket import WebSocket, WebSocketWantReadError

from cloud import database, nodes, observe, scenarios, servers
from cloud.api import ApiError, ironic, nova, wait_for

GREETING = b'lab console\n'


class _WebSocket(WebSocket):
    """The library's client leaves the query, and with it the token, out of its request."""

    def __init__(self, url):
        super().__init__()
        self.query = urlsplit(url).query

    def send_request(self, type, path):
        super().send_request(type, f'{path}?{self.query}')


class Session:
    """A session on a console, as a browser opens it."""

    def __init__(self, url, seconds=40):
        self.socket, self.got, self.end = _WebSocket(url), b'', time.monotonic() + seconds
        self.socket.connect(url, protocols=['binary'])
        self.is_open = True

    def send(self, data):
        self.socket.sendmsg(data)

    def read(self, count):
        """So many bytes, or fewer from a session that was closed."""
        while len(self.got) < count and self.is_open and self.socket.socket:
            select.select([self.socket.socket], [], [], max(0.0, self.end - time.monotonic()))
            if time.monotonic() > self.end:
                raise TimeoutError(f'{self.got!r} is all that the console says')
            try:
                message = self.socket.recvmsg()
            except WebSocketWantReadError:
                continue
            except OSError:
                message = None
            self.is_open = message is not None
            self.got += message or b''
        data, self.got = self.got[:count], self.got[count:]
        return data

    def close(self):
        if self.socket.socket:
            self.socket.socket.close()


def websocket(url):
    """Where the websocket of a console's URL is. The page of noVNC reads its own parameter `path` for that."""
    parts = urlsplit(url)
    path = parse_qs(parts.query).get('path')
    return f'ws://{parts.netloc}/{path[0]}' if path else url


def _is_let_in(session, screen):
    """Whether the console answers behind the proxy."""
    if screen:
        if session.read(12) != b'RFB 003.008\n':
            return False
        session.send(b'RFB 003.008\n')
        if session.read(2) != b'\x01\x01':
            return False
        session.send(b'\x01')
    if session.read(len(GREETING)) != GREETING:
        return False
    session.send(b'hello')
    return session.read(5) == b'hello'


def through_proxy(url, screen=False):
    """Whether the proxy lets somebody with this URL reach the console."""
    session = Session(websocket(url))
    try:
        return _is_let_in(session, screen)
    finally:
        session.close()


def ask(server, protocol, kind):
    """What nova-api answers to a user who wants a console: the status, the message or the URL."""
    try:
        body = dict(remote_console=dict(protocol=protocol, type=kind))
        return dict(status=200, url=nova().post(f'/servers/{server}/remote-consoles', body)['remote_console']['url'])
    except ApiError as refusal:
        return dict(status=refusal.status, message=refusal.message)


def of_node(node):
    return ironic().get(f'/v1/nodes/{node}/states/console')


def switch(node, on):
    nodes.patiently(ironic().put, f'/v1/nodes/{node}/states/console', dict(enabled=on))
    wait_for('the console is switched', lambda: of_node(node)['console_enabled'] == on, 30)


def _answer(server, protocol, kind):
    """The same, comparable, with the state of the server and of the node's console afterwards."""
    answer = ask(server, protocol, kind)
    after = servers.show(server)
    return answer | dict(server=after['status'], task=after['OS-EXT-STS:task_state'],
                         console_enabled=of_node(servers.node_of(server)['uuid'])['console_enabled'])


def faults(server):
    found = database.rows('nova_cell1', 'select code, message from instance_faults where instance_uuid = %s order by id', server)
    return [dict(each) for each in found]


def tokens(server):
    return database.value('nova_cell1', 'select count(*) from console_auth_tokens where instance_uuid = %s', server)


def _ended(server, node):
    servers.delete(server)
    servers.wait_gone(server)
    scenarios.node_settled(node)
    return dict(tokens=tokens(server), console_enabled=of_node(node)['console_enabled'])


def serial(name='lab-serial'):
    """A server on a node with a serial console, which its operator switches on."""
    scenarios.offered(1, 'CUSTOM_SERIAL')
    server = servers.create(name, flavor='bm.serial')
    servers.wait_status(server, 'ACTIVE')
    node, names, story = servers.node_of(server)['uuid'], observe.names_of(server), {}
    switch(node, False)
    story['switched off'] = _answer(server, 'serial', 'serial')
    switch(node, True)
    story['switched on'] = _answer(server, 'serial', 'serial')
    story['reached'] = through_proxy(story['switched on']['url'])
    story['again'] = _answer(server, 'serial', 'serial')
    story['reached again'] = through_proxy(story['again']['url'])
    story['a made-up token'] = through_proxy(f"{story['again']['url'].split('=')[0]}=00000000-0000-4000-8000-000000000000")
    story['as a screen'] = _answer(server, 'vnc', 'novnc')
    story |= dict(tokens=tokens(server), faults=faults(server), actions=observe.actions(server, names))
    story['deleted'] = _ended(server, node)
    switch(node, False)
    return observe.comparable(story, names)


def screen(name='lab-screen'):
    """A server on a node with a graphical console, which is switched on for its user."""
    scenarios.offered(1)
    server = servers.create(name)
    servers.wait_status(server, 'ACTIVE')
    node, names, story = servers.node_of(server)['uuid'], observe.names_of(server), {}
    switch(node, False)
    story['switched off'] = _answer(server, 'vnc', 'novnc')
    story['reached'] = through_proxy(story['switched off']['url'], screen=True)
    story['switched on'] = _answer(server, 'vnc', 'novnc')
    story['as a serial console'] = _answer(server, 'serial', 'serial')
    story['spice'] = _answer(server, 'spice', 'spice-html5')
    story['mks'] = _answer(server, 'mks', 'webmks')
    story |= dict(tokens=tokens(server), faults=faults(server), actions=observe.actions(server, names))
    story['deleted'] = _ended(server, node)
    switch(node, False)
    return observe.comparable(story, names)


def story():
    return dict(serial=serial(), screen=screen())
