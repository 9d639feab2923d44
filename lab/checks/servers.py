"""Servers that simply work."""
import concurrent.futures
import subprocess

from checks import check, expect, same_as_stock
from cloud import drive, placement_view, scenarios, servers, service


@check()
def three_servers():
    """Three at once to ACTIVE with key, user data, files and config drive, and deleted: everything as with stock"""
    scenarios.offered(3)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        stories = list(pool.map(lambda _: scenarios.life(), range(3)))
    for story in stories:
        same_as_stock('life', story)


@check()
def bare():
    """No network, no config drive"""
    scenarios.offered(1)
    same_as_stock('bare', scenarios.bare())


@check()
def own_port():
    """A port that the user made is used, and given back"""
    scenarios.offered(1)
    same_as_stock('own-port', scenarios.own_port())


@check()
def wrapped_base64():
    """User data and a file in lines, as the base64 command prints them, are in the config drive as they were"""
    scenarios.offered(1)
    script = b'#!/bin/sh\n' + b'date >>/var/log/boots\n' * 20
    printed = subprocess.run(['base64'], input=script, capture_output=True, check=True).stdout.decode()
    expect(printed.count('\n') > 2, 'the base64 command prints one line')
    server = servers.create('lab-wrapped', user_data=printed, personality=[dict(path='/etc/wrapped', contents=printed)])
    servers.wait_status(server, 'ACTIVE')
    node = servers.node_of(server)['uuid']
    _, files = drive.files(drive.received(node))
    for path in ('/openstack/latest/user_data', '/ec2/latest/user-data', '/openstack/content/0000'):
        expect(files.get(path) == script, f'{path} holds {files.get(path)}')
    servers.delete(server)
    servers.wait_gone(server)
    scenarios.node_settled(node)


@check()
def bookable_at_once():
    """A freed node can be booked again within 5 s, not a cycle later"""
    scenarios.offered(1)
    before = scenarios.free_nodes()
    scenarios.life()
    scenarios.offered(len(before), seconds=5 if service.KIND == 'bessemer' else 120)
    expect(all(placement_view.inventory(node)['reserved'] == 0 for node in before), 'a free node is still reserved')
