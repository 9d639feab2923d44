//! The clients of the other services, from their groups of the configuration.

use openstack::{Adapter, Auth, Service, Session, cinder, external, glance, ironic, neutron, placement};
use oslo::config::Config;

use crate::config;

/// One client a service; cheap to clone.
#[derive(Clone)]
pub struct Clients {
    pub ironic: ironic::Client,
    pub placement: placement::Client,
    pub neutron: neutron::Client,
    pub cinder: cinder::Client,
    pub glance: glance::Client,
    /// The operator's vendor data services.
    pub vendor_data: external::Client,
}

impl Clients {
    /// Nothing is sent yet. A group that is not configured is an error that names it, except where stock does without:
    /// Cinder and Glance then use Neutron's credentials, because most calls carry the user's token anyway.
    pub fn new(config: &Config) -> Result<Self, String> {
        let service_user = config::service_user_session(config)
            .map_err(|error| error.to_string())?
            .map(Session::new)
            .transpose()
            .map_err(|error| format!("[service_user]: {error}"))?;
        let neutron = session(config, "neutron")?;
        let or_neutrons = |group: &str| -> Result<Session, String> {
            let options = config::session_options(config, group).map_err(|error| error.to_string())?;
            match options {
                Some(options) => Session::new(options).map_err(|error| format!("[{group}]: {error}")),
                None => Ok(neutron.clone()),
            }
        };
        let adapter = |session: Session, group: &str, service: Service| -> Result<Adapter, String> {
            let options = config::adapter_options(config, group).map_err(|error| error.to_string())?;
            Ok(Adapter::new(session, service, options))
        };
        let with_token = |adapter: Adapter| match &service_user {
            Some(session) => adapter.with_service_token(session.clone()),
            None => adapter,
        };
        Ok(Self {
            ironic: ironic::Client::new(adapter(session(config, "ironic")?, "ironic", Service::Baremetal)?),
            placement: placement::Client::new(adapter(
                session(config, "placement")?,
                "placement",
                Service::Placement,
            )?),
            neutron: neutron::Client::new(with_token(adapter(neutron.clone(), "neutron", Service::Network)?)),
            cinder: cinder::Client::new(with_token(adapter(
                or_neutrons("cinder")?,
                "cinder",
                Service::BlockStorage,
            )?)),
            glance: glance::Client::new(with_token(adapter(
                or_neutrons("glance")?,
                "glance",
                Service::Image,
            )?)),
            vendor_data: vendor_data(config)?,
        })
    }
}

fn session(config: &Config, group: &str) -> Result<Session, String> {
    let options = config::required_session(config, group).map_err(|error| error.to_string())?;
    Session::new(options).map_err(|error| format!("[{group}]: {error}"))
}

/// With a token where `[vendordata_dynamic_auth]` says how to get one, else without.
fn vendor_data(config: &Config) -> Result<external::Client, String> {
    let api = config.group("api");
    let auth = config::auth(config, "vendordata_dynamic_auth").map_err(|error| error.to_string())?;
    let options = nova::vendordata::session_options(
        auth.unwrap_or(Auth::None { endpoint: None }),
        api.path("vendordata_dynamic_ssl_certfile"),
        api.seconds("vendordata_dynamic_connect_timeout"),
        api.seconds("vendordata_dynamic_read_timeout"),
    );
    let session = Session::new(options).map_err(|error| format!("[vendordata_dynamic_auth]: {error}"))?;
    Ok(external::Client::new(session))
}
