//! The clients of the other services, from their groups of the configuration.

use openstack::{
    Adapter, Auth, Service, Session, SessionOptions, cinder, external, glance, ironic, neutron, placement,
};
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
        let mut sessions = Sessions::default();
        let service_user = config::service_user_session(config)
            .map_err(|error| error.to_string())?
            .map(|options| sessions.get("service_user", options))
            .transpose()?;
        let ironic = sessions.required(config, "ironic")?;
        let placement = sessions.required(config, "placement")?;
        let neutron = sessions.required(config, "neutron")?;
        let cinder = sessions.optional(config, "cinder")?.unwrap_or_else(|| neutron.clone());
        let glance = sessions.optional(config, "glance")?.unwrap_or_else(|| neutron.clone());
        let adapter = |session: Session, group: &str, service: Service| -> Result<Adapter, String> {
            let options = config::adapter_options(config, group).map_err(|error| error.to_string())?;
            Ok(Adapter::new(session, service, options))
        };
        let with_token = |adapter: Adapter| match &service_user {
            Some(session) => adapter.with_service_token(session.clone()),
            None => adapter,
        };
        Ok(Self {
            ironic: ironic::Client::new(adapter(ironic, "ironic", Service::Baremetal)?),
            placement: placement::Client::new(adapter(placement, "placement", Service::Placement)?),
            neutron: neutron::Client::new(with_token(adapter(neutron, "neutron", Service::Network)?)),
            cinder: cinder::Client::new(with_token(adapter(cinder, "cinder", Service::BlockStorage)?)),
            glance: glance::Client::new(with_token(adapter(glance, "glance", Service::Image)?)),
            vendor_data: vendor_data(config)?,
        })
    }
}

/// One session for all groups that say the same: one token, one set of roots, one renewal.
#[derive(Default)]
struct Sessions(Vec<(SessionOptions, Session)>);

impl Sessions {
    fn required(&mut self, config: &Config, group: &str) -> Result<Session, String> {
        let options = config::required_session(config, group).map_err(|error| error.to_string())?;
        self.get(group, options)
    }

    fn optional(&mut self, config: &Config, group: &str) -> Result<Option<Session>, String> {
        let options = config::session_options(config, group).map_err(|error| error.to_string())?;
        options.map(|options| self.get(group, options)).transpose()
    }

    fn get(&mut self, group: &str, options: SessionOptions) -> Result<Session, String> {
        if let Some((_, session)) = self.0.iter().find(|(known, _)| known.is_same(&options)) {
            return Ok(session.clone());
        }
        let session = Session::new(options.clone()).map_err(|error| format!("[{group}]: {error}"))?;
        self.0.push((options, session.clone()));
        Ok(session)
    }
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

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn options(user: &str, password: &str) -> SessionOptions {
        SessionOptions::new(Auth::Password {
            auth_url: "http://127.0.0.1:5000/v3".to_owned(),
            user: openstack::Named::Id(user.to_owned()),
            password: SecretString::from(password),
            scope: openstack::Scope::System,
        })
    }

    #[test]
    fn groups_that_say_the_same_share_a_session() {
        let mut sessions = Sessions::default();
        for (user, password) in [("nova", "a"), ("nova", "a"), ("nova", "b"), ("other", "a")] {
            sessions.get("ironic", options(user, password)).unwrap();
        }
        assert_eq!(sessions.0.len(), 3);
        let insecure = SessionOptions { insecure: true, ..options("nova", "a") };
        sessions.get("neutron", insecure).unwrap();
        assert_eq!(sessions.0.len(), 4);
    }
}
