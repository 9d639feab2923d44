"""Cinder's driver in the lab: its volumes exist in the books only, and are reached over iSCSI with a secret, as far as anyone is told."""
from cinder.tests import fake_driver


class Driver(fake_driver.FakeLoggingVolumeDriver):
    def clone_image(self, context, volume, image_location, image_meta, image_service):
        """Every image is there already: nothing is fetched."""
        return {}, True

    def initialize_connection(self, volume, connector):
        data = dict(target_discovered=False, target_portal='127.0.0.1:3260', target_iqn=f'iqn.2010-10.org.openstack:{volume.name}', target_lun=1,
                    volume_id=volume.id, access_mode='rw', auth_method='CHAP', auth_username='lab', auth_password='lab-chap-secret')
        return dict(driver_volume_type='iscsi', data=data)
