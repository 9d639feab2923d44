"""What a user needs before the first server: a network, an image, a flavor, a key. Made once, found afterwards."""
import functools

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from cloud.api import glance, neutron, nova

KEY = 'lab-key'
ANOTHER_KEY = 'lab-key-2'
NETWORK = 'lab-net'
IMAGE = 'lab-tiny'
ANOTHER_IMAGE = 'lab-other'
PROVISION = 'provision'

# A flavor asks for one machine of a resource class and for nothing that bare metal does not divide.
FLAVORS = {
    'bm.lab': {'resources:CUSTOM_BAREMETAL': '1', 'trait:CUSTOM_LAB': 'required'},
    'bm.fragile': {'resources:CUSTOM_FRAGILE': '1'},
    'bm.bfv': {'resources:CUSTOM_BFV': '1'},
    'bm.serial': {'resources:CUSTOM_SERIAL': '1'},
    'bm.twin': {'resources:CUSTOM_TWIN': '1'},
}
_NOTHING_ELSE = {'resources:VCPU': '0', 'resources:MEMORY_MB': '0', 'resources:DISK_GB': '0'}


def provisioning_network():
    """The network on which Ironic would boot its ramdisk: flat on the physical network."""
    if not _named(neutron().get('/v2.0/networks', name=PROVISION)['networks'], PROVISION):
        _network(PROVISION, '10.77.0.0/16', **{'provider:network_type': 'flat', 'provider:physical_network': 'physnet1', 'shared': True})


@functools.cache
def network():
    return _named(neutron().get('/v2.0/networks', name=NETWORK)['networks'], NETWORK) or _network(NETWORK, '10.88.0.0/24')


def _network(name, cidr, **more):
    made = neutron().post('/v2.0/networks', dict(network=dict(name=name, **more)))['network']['id']
    neutron().post('/v2.0/subnets', dict(subnet=dict(network_id=made, name=name, ip_version=4, cidr=cidr, enable_dhcp=False,
                                                     dns_nameservers=['10.88.0.53'] if name == NETWORK else [])))
    return made


@functools.cache
def image(name=IMAGE, **properties):
    found = _named(glance().get('/v2/images', name=name)['images'], name)
    if found:
        return found
    made = glance().post('/v2/images', dict(name=name, disk_format='raw', container_format='bare', min_disk=1, **properties))['id']
    glance().http.put(f'/v2/images/{made}/file', data=bytes(1 << 20), headers={'Content-Type': 'application/octet-stream'})
    return made


@functools.cache
def flavor(name):
    found = _named(nova().get('/flavors')['flavors'], name)
    if found:
        return found
    made = nova().post('/flavors', dict(flavor=dict(name=name, ram=16384, vcpus=8, disk=100)))['flavor']['id']
    nova().post(f'/flavors/{made}/os-extra_specs', dict(extra_specs=FLAVORS[name] | _NOTHING_ELSE))
    return made


def another_image():
    """One with properties of its own, among them a trait that every machine of the lab has."""
    return image(ANOTHER_IMAGE, os_type='linux', **{'trait:CUSTOM_LAB': 'required'})


def key(name=KEY):
    if nova().get(f'/os-keypairs/{name}', missing_ok=True):
        return
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    line = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    nova().post('/os-keypairs', dict(keypair=dict(name=name, public_key=f'{line} lab', type='ssh')))


def _named(found, name):
    return next((each['id'] for each in found if each['name'] == name), None)


def everything():
    provisioning_network()
    network()
    image()
    another_image()
    for name in FLAVORS:
        flavor(name)
    key()
    key(ANOTHER_KEY)


if __name__ == '__main__':
    everything()
