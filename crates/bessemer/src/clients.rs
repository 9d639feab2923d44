//! The clients of the other services, from their groups of the configuration.

use openstack::{
    Adapter, Auth, Service, Session, SessionOptions, cinder, external, glance, ironic, neutron, placement,
};
use oslo::config::{Config, Error};

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
    /// Nothing is sent yet. The error says all that is wrong with the groups. One that is not configured is an error, except where
    /// stock does without: Cinder and Glance then use Neutron's credentials, because most calls carry the user's token anyway.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let mut sessions = Sessions::default();
        let mut problems = Vec::new();
        let mut needed =
            |result: Result<Adapter, Error>| result.map_err(|mut error| problems.append(&mut error.problems));
        let ironic = needed(sessions.required(config, "ironic", Service::Baremetal));
        let placement = needed(sessions.required(config, "placement", Service::Placement));
        let neutron = needed(sessions.required(config, "neutron", Service::Network));
        let cinder = needed(sessions.with_neutrons_auth(config, "cinder", Service::BlockStorage));
        let glance = needed(sessions.with_neutrons_auth(config, "glance", Service::Image));
        let service_user =
            sessions.service_user(config).map_err(|mut error| problems.append(&mut error.problems));
        let vendor_data = vendor_data(config).map_err(|mut error| problems.append(&mut error.problems));
        let (
            Ok(ironic),
            Ok(placement),
            Ok(neutron),
            Ok(cinder),
            Ok(glance),
            Ok(service_user),
            Ok(vendor_data),
        ) = (ironic, placement, neutron, cinder, glance, service_user, vendor_data)
        else {
            return Err(Error { problems });
        };
        let with_token = |adapter: Adapter| match &service_user {
            Some(session) => adapter.with_service_token(session.clone()),
            None => adapter,
        };
        Ok(Self {
            ironic: ironic::Client::new(ironic),
            placement: placement::Client::new(placement),
            neutron: neutron::Client::new(with_token(neutron)),
            cinder: cinder::Client::new(with_token(cinder)),
            glance: glance::Client::new(with_token(glance)),
            vendor_data,
        })
    }
}

/// One session for all groups that say the same: one token, one set of roots, one renewal.
#[derive(Default)]
struct Sessions(Vec<(SessionOptions, Session)>);

impl Sessions {
    fn required(&mut self, config: &Config, group: &str, service: Service) -> Result<Adapter, Error> {
        let session = config::required_session(config, group)?;
        let adapter = config::adapter_options(config, group)?;
        config::has_address(config, group, &session.auth, &adapter)?;
        Ok(Adapter::new(self.get(config, group, session)?, service, adapter))
    }

    /// A group without `auth_type` has its own session options all the same.
    fn with_neutrons_auth(
        &mut self,
        config: &Config,
        group: &str,
        service: Service,
    ) -> Result<Adapter, Error> {
        let adapter = config::adapter_options(config, group)?;
        let own = config::session_options(config, group)?;
        let session = own.unwrap_or_else(|| {
            // Problems of Neutron's credentials are reported for Neutron.
            let auth = config::auth(config, "neutron").ok().flatten();
            config::session_with(config, group, auth.unwrap_or(Auth::None { endpoint: None }))
        });
        Ok(Adapter::new(self.get(config, group, session)?, service, adapter))
    }

    fn service_user(&mut self, config: &Config) -> Result<Option<Session>, Error> {
        let options = config::service_user_session(config)?;
        options.map(|options| self.get(config, "service_user", options)).transpose()
    }

    fn get(&mut self, config: &Config, group: &str, options: SessionOptions) -> Result<Session, Error> {
        if let Some((_, session)) = self.0.iter().find(|(known, _)| known.is_same(&options)) {
            return Ok(session.clone());
        }
        let session =
            Session::new(options.clone()).map_err(|error| config::session_problem(config, group, &error))?;
        self.0.push((options, session.clone()));
        Ok(session)
    }
}

/// With a token where `[vendordata_dynamic_auth]` says how to get one, else without.
fn vendor_data(config: &Config) -> Result<external::Client, Error> {
    let (api, group) = (config.group("api"), "vendordata_dynamic_auth");
    let auth = config::auth(config, group)?.unwrap_or(Auth::None { endpoint: None });
    let tokens = config::session_with(config, group, auth);
    let services = services::vendor_data::session_options(
        &tokens,
        api.path("vendordata_dynamic_ssl_certfile"),
        api.seconds("vendordata_dynamic_connect_timeout"),
        api.seconds("vendordata_dynamic_read_timeout"),
    );
    let tokens = Session::new(tokens).map_err(|error| config::session_problem(config, group, &error))?;
    // Its other files have been read for the tokens.
    let services = Session::new(services).map_err(|error| {
        api.refused("vendordata_dynamic_ssl_certfile", format!("a file that can be used: {error}"))
    })?;
    Ok(external::Client::new(services, tokens))
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::config::tests::config;

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
        let (mut sessions, config) = (Sessions::default(), config(""));
        for (user, password) in [("nova", "a"), ("nova", "a"), ("nova", "b"), ("other", "a")] {
            sessions.get(&config, "ironic", options(user, password)).unwrap();
        }
        assert_eq!(sessions.0.len(), 3);
        let insecure = SessionOptions { insecure: true, ..options("nova", "a") };
        sessions.get(&config, "neutron", insecure).unwrap();
        assert_eq!(sessions.0.len(), 4);
    }

    #[test]
    fn cinder_and_glance_take_only_the_credentials_from_neutron() {
        let config = config(
            "[neutron]\nauth_type=password\nauth_url=http://k\nuser_id=u\npassword=p\ninsecure=true\n\
             [cinder]\ntimeout=5\n[glance]\ninsecure=true\n",
        );
        let mut sessions = Sessions::default();
        sessions.required(&config, "neutron", Service::Network).unwrap();
        sessions.with_neutrons_auth(&config, "glance", Service::Image).unwrap();
        assert_eq!(sessions.0.len(), 1, "the same options");
        sessions.with_neutrons_auth(&config, "cinder", Service::BlockStorage).unwrap();
        let (cinder, _) = &sessions.0[1];
        assert_eq!((cinder.insecure, cinder.timeout), (false, Some(std::time::Duration::from_secs(5))));
        assert!(matches!(cinder.auth, Auth::Password { .. }));
    }

    #[test]
    fn all_that_is_wrong_with_the_groups_is_told_with_its_place() {
        let config = config(
            "[ironic]\nauth_type=none\nendpoint=http://i\ncafile=/nowhere/ca.pem\n\
             [placement]\nauth_type=password\nauth_url=keystone\nuser_id=u\npassword=p\n\
             [neutron]\nauth_type=password\nauth_url=http://k\nuser_id=u\n\
             [glance]\nvalid_interfaces=junk\n\
             [api]\nvendordata_dynamic_ssl_certfile=/nowhere/v.pem\n",
        );
        let error = Clients::new(&config).err().unwrap().to_string();
        for said in [
            "nova.conf:4: [ironic] cafile = /nowhere/ca.pem",
            "nova.conf:7: [placement] auth_url = keystone",
            "[neutron] password: is not set, and auth_type = password (",
            "nova.conf:15: [glance] valid_interfaces = junk",
            "nova.conf:17: [api] vendordata_dynamic_ssl_certfile = /nowhere/v.pem",
        ] {
            assert!(error.contains(said), "{said} in {error}");
        }
        assert!(error.starts_with("5 problems"), "{error}");
    }
}
