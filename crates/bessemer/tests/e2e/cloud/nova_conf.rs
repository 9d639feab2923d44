//! The `nova.conf` of a cloud, with a secret wherever there is room for one.

use super::services::GROUPS;
use super::{Cloud, HOST};

/// The whole file.
pub fn text(cloud: &Cloud) -> String {
    let groups = GROUPS.map(|group| credentials(cloud, group));
    [service(cloud), groups.concat(), others(cloud)].concat()
}

/// What the compute service reads.
fn service(cloud: &Cloud) -> String {
    let (url, folder, port) = (&cloud.bus.url, cloud.folder().display(), cloud.admin_port);
    let address = cloud.services.address();
    format!(
        "[DEFAULT]\ncompute_driver = ironic.IronicDriver\nhost = {HOST}\nmy_ip = 127.0.0.1\ntransport_url = {url}\n\
         state_path = {folder}/state\nlog_dir = {folder}/log\nreport_interval = 2\n\
         [bessemer]\nadmin_port = {port}\n\
         [api]\nvendordata_providers = StaticJSON,DynamicJSON\nvendordata_jsonfile_path = {folder}/vendor.json\n\
         vendordata_dynamic_targets = testing@{address}/vendordata/testing\n\
         [notifications]\nnotification_format = versioned\n\
         [oslo_messaging_notifications]\ndriver = messagingv2\n\
         [service_user]\nsend_service_user_token = true\n"
    )
}

fn credentials(cloud: &Cloud, group: &str) -> String {
    let (address, password) = (cloud.services.address(), cloud.secrets.of(&format!("password-{group}")));
    format!(
        "[{group}]\nauth_type = password\nauth_url = {address}/identity\nusername = {group}\npassword = {password}\n\
         user_domain_name = Default\nproject_name = service\nproject_domain_name = Default\n"
    )
}

/// What other services of Nova have in the same file.
fn others(cloud: &Cloud) -> String {
    let secret = |place: &str| cloud.secrets.of(place);
    format!(
        "[database]\nconnection = mysql+pymysql://nova:{}@127.0.0.1/nova\n\
         [api_database]\nconnection = mysql+pymysql://nova:{}@127.0.0.1/nova_api\n\
         [keystone_authtoken]\npassword = {}\nmemcache_secret_key = {}\n\
         [key_manager]\nfixed_key = {}\n[vmware]\nhost_password = {}\n\
         [neutron]\nmetadata_proxy_shared_secret = {}\n",
        secret("database"),
        secret("api-database"),
        secret("authtoken"),
        secret("memcache"),
        secret("fixed-key"),
        secret("vmware"),
        secret("metadata")
    )
}
