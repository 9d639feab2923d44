//! The config drive of a build or a rebuild: gathers what its files are made of, and makes the image (as `nova/virt/configdrive.py` does).

use std::sync::Arc;

use async_trait::async_trait;
use configdrive::{File, Metadata, decode_base64};
use driver::NoDrive;
use openstack::ironic::Node;
use oslo::context::RequestContext;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::{Shared, caller, server};
use crate::instance::{BlockDevice, Instance};
use crate::ports;
use crate::request::InjectedFile;

/// Makes the config drive when the deployment is about to be asked for.
pub(super) struct Drive {
    pub shared: Arc<Shared>,
    pub context: RequestContext,
    pub instance: Instance,
    pub image: Option<uuid::Uuid>,
    pub admin_password: Option<SecretString>,
    pub injected_files: Vec<InjectedFile>,
    pub block_devices: Vec<BlockDevice>,
}

impl Drive {
    async fn metadata(&self, node: &Node) -> Result<Metadata, NoDrive> {
        let ports = &self.shared.ports;
        let options = &self.shared.options.create.config_drive;
        let caller = caller(&self.context);
        let node_ports = ports.driver.ports(&caller, node.uuid).await.map_err(|error| of_ironic(&error))?;
        let groups =
            ports.driver.client().port_groups(&caller, node.uuid).await.map_err(|error| of_ironic(&error))?;
        let vendor_data = ports.vendor_data.vendor_data(&self.context, &self.instance, self.image).await;
        let vendor_data = vendor_data.map_err(|error| of_port("the vendor data", error))?;
        let security_groups = ports.networks.security_group_names(&self.instance).await;
        let security_groups = security_groups.map_err(|error| of_port("the security groups", error))?;
        let instance = &self.instance;
        Ok(Metadata {
            display_name: Some(instance.display_name.clone()),
            meta: instance.metadata.clone(),
            launch_index: instance.launch_index,
            availability_zone: instance.availability_zone.clone(),
            project_id: Some(instance.project_id.clone()),
            reservation_id: instance.reservation_id.clone(),
            flavor_name: instance.flavor.name.clone(),
            key_name: instance.key_name.clone(),
            key_data: instance.key_data.clone(),
            keypair: instance.keypair.as_ref().map(|key| configdrive::KeyPair {
                name: key.name.clone(),
                kind: key.kind.clone(),
                public_key: key.public_key.clone(),
            }),
            ec2_ids: configdrive::Ec2Ids {
                instance: instance.ec2_ids.instance_id.clone(),
                ami: instance.ec2_ids.ami_id.clone(),
                kernel: instance.ec2_ids.kernel_id.clone(),
                ramdisk: instance.ec2_ids.ramdisk_id.clone(),
            },
            security_groups,
            root_device_name: instance.root_device_name.clone(),
            default_ephemeral_device: instance.default_ephemeral_device.clone(),
            default_swap_device: instance.default_swap_device.clone(),
            block_devices: self.block_devices.iter().filter(|d| server::is_listed(d)).map(listed).collect(),
            user_data: user_data(instance).map_err(NoDrive::Failed)?,
            injected_files: files(&self.injected_files).map_err(NoDrive::Failed)?,
            admin_password: self.admin_password.clone(),
            network_info: instance.network.clone(),
            ports: node_ports
                .iter()
                .map(|port| configdrive::NodePort {
                    uuid: port.uuid,
                    address: port.address.clone(),
                    port_group: port.portgroup_uuid,
                    vif: configdrive::vif_port_id(&port.internal_info, &port.extra),
                })
                .collect(),
            port_groups: groups
                .into_iter()
                .map(|group| configdrive::NodePortGroup {
                    uuid: group.uuid,
                    vif: configdrive::vif_port_id(&group.internal_info, &group.extra),
                    address: group.address,
                    mode: group.mode,
                    properties: group.properties,
                })
                .collect(),
            static_vendor_data: vendor_data.fixed,
            dynamic_vendor_data: vendor_data.dynamic,
            dhcp_domain: options.dhcp_domain.clone(),
            skip_versions: options.skip_versions.clone(),
            inject_network: options.inject_network,
            ..Metadata::new(instance.id.0, instance.hostname.clone())
        })
    }
}

/// The user data, decoded. `Err`, as below: what cannot be decoded, in words for the user.
pub(super) fn user_data(instance: &Instance) -> Result<Option<SecretSlice<u8>>, String> {
    let Some(text) = &instance.user_data else { return Ok(None) };
    let bytes =
        decode_base64(text.expose_secret()).map_err(|error| format!("user_data is not base64: {error}"))?;
    Ok(Some(bytes.into()))
}

/// The injected files, their contents decoded.
pub(super) fn files(injected: &[InjectedFile]) -> Result<Vec<File>, String> {
    let file = |file: &InjectedFile| {
        let contents = decode_base64(file.contents.expose_secret()).map_err(|error| {
            format!("the contents of the injected file (personality) {} are not base64: {error}", file.path)
        })?;
        Ok(File::new(file.path.clone(), contents))
    };
    injected.iter().map(file).collect()
}

/// What is away may come back; where it is away is for the log alone.
fn of_ironic(error: &openstack::Error) -> NoDrive {
    if error.is_transient() {
        tracing::warn!(%error, "the node's ports cannot be read for the config drive");
        return NoDrive::Away("the node's ports cannot be read".to_owned());
    }
    NoDrive::Failed(driver::user_message(error))
}

fn of_port(what: &str, error: ports::Error) -> NoDrive {
    match error {
        ports::Error::Unavailable(why) => {
            tracing::warn!(%why, "{what} cannot be read for the config drive");
            NoDrive::Away(format!("{what} cannot be read"))
        }
        other => NoDrive::Failed(other.to_string()),
    }
}

fn listed(device: &BlockDevice) -> configdrive::BlockDevice {
    configdrive::BlockDevice {
        device_name: device.device_name.clone(),
        source_type: device.source.clone(),
        destination_type: device.destination.clone(),
        guest_format: device.guest_format.clone(),
    }
}

#[async_trait]
impl driver::ConfigDrive for Drive {
    async fn build(&self, node: &Node) -> Result<Option<SecretString>, NoDrive> {
        let options = self.shared.options.create.config_drive.clone();
        if !server::needs_config_drive(&self.instance, &options) {
            return Ok(None);
        }
        // Making the image is work of ours.
        let _slot = self.shared.slots.acquire().await.ok();
        let metadata = self.metadata(node).await?;
        let made = tokio::task::spawn_blocking(move || {
            let files = configdrive::files(&metadata)?;
            let image = configdrive::build_image(&files, options.format, &options.publisher)?;
            configdrive::encode(image)
        });
        match made.await {
            Ok(Ok(drive)) => Ok(Some(drive)),
            Ok(Err(error)) => Err(NoDrive::Failed(error.to_string())),
            Err(error) => Err(NoDrive::Failed(error.to_string())),
        }
    }
}
