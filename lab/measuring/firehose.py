"""Counts Nova's RPC messages through the broker's firehose, which copies every published message to one exchange."""
import collections
import contextlib
import json
import socket
import subprocess
import threading
import time

import amqp

from cloud import settings

VHOST = 'nova'


def _rabbitctl(*arguments):
    subprocess.run(['bash', '-c', '. "$0/lib.sh"; rabbitctl "$@"', str(settings.LAB_HOME), *arguments], check=True, capture_output=True)


class Firehose:
    """From entering to leaving, remembers when which method was called by a compute service, and each message's size."""

    def __init__(self):
        self._seen = []
        self._over = threading.Event()

    def __enter__(self):
        _rabbitctl('trace_on', '-p', VHOST)
        self._link = amqp.Connection('127.0.0.1:5672', userid='openstack', password=settings.PASSWORD, virtual_host=VHOST)
        self._link.connect()
        channel = self._link.channel()
        queue = channel.queue_declare(exclusive=True, auto_delete=True).queue
        channel.queue_bind(queue, 'amq.rabbitmq.trace', 'publish.#')
        channel.basic_consume(queue, no_ack=True, callback=self._note)
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self._link.close()
        _rabbitctl('trace_off', '-p', VHOST)

    def _drain(self):
        while not self._over.is_set():
            with contextlib.suppress(socket.timeout, TimeoutError):
                self._link.drain_events(timeout=0.5)

    def _note(self, message):
        body = message.body if isinstance(message.body, bytes) else message.body.encode()
        self._seen.append((time.time(), _method(message, body), len(body)))

    def between(self, start, end):
        """Calls by method, and the bytes of all messages, in a span of time. Heartbeats of the service record are not counted as calls."""
        span = [(method, size) for when, method, size in self._seen if start <= when < end]
        calls = collections.Counter(method for method, _ in span if method and method != 'Service.save')
        return dict(calls=sum(calls.values()), by_method=dict(calls.most_common()), bytes=sum(size for _, size in span))


def _method(message, body):
    """What a message to the conductor or the scheduler asks for; None for replies and for messages to others."""
    routing = message.headers.get('routing_keys') or ['']
    if not str(routing[0]).startswith(('conductor', 'scheduler')):
        return None
    with contextlib.suppress(ValueError, KeyError, TypeError):
        call = json.loads(json.loads(body)['oslo.message'])
        return _object_method(call['args']) if call['method'].startswith('object_') else call['method']
    return None


def _object_method(arguments):
    name = arguments.get('objname') or arguments['objinst']['nova_object.name']
    return f"{name}.{arguments.get('objmethod', 'backport')}"
