//! Access to consoles through Nova's proxies: which there are, and the tokens that let a user through.
//!
//! A token is made by nova-conductor, which keeps only its hash. Facts: `nova/objects/console_auth_token.py`,
//! `nova/compute/manager.py` (`get_serial_console`, `get_vnc_console`, `_cleanup_expired_console_auth_tokens`).

use std::time::Duration;

use compute::ports;
use driver::{ConsoleAddress, InstanceId};
use oslo::context::RequestContext;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use url::form_urlencoded;

use crate::conductor::{Conductor, Repeat};
use crate::instances::save::object;

/// What `nova.conf` says of consoles.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `[serial_console] base_url`, if `[serial_console] enabled`.
    pub serial: Option<String>,
    /// `[vnc] novncproxy_base_url`, if `[vnc] enabled`.
    pub vnc: Option<String>,
    /// `[spice] enabled`.
    pub spice: bool,
    /// `[mks] enabled`.
    pub mks: bool,
    /// `[consoleauth] token_ttl`: how long a token is valid.
    pub token_ttl: Duration,
    /// `instance_delete_interval`: how often expired tokens are removed; `None`: never.
    pub clean_interval: Option<Duration>,
}

/// How a user reaches a console.
#[derive(Debug, Clone)]
pub struct Access {
    /// What the proxy asks Nova about.
    pub token: SecretString,
    /// The proxy's URL, with the token.
    pub url: SecretString,
}

/// The consoles of a stock Nova. Cheap to clone.
#[derive(Clone)]
pub struct Consoles {
    conductor: Conductor,
    options: Options,
}

impl Consoles {
    /// The consoles that these options allow.
    pub fn new(conductor: Conductor, options: Options) -> Self {
        Self { conductor, options }
    }

    /// What `nova.conf` says of them.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Makes a token for an instance's console of this type (`serial`, `novnc`), whose proxy is at `base_url`. One try: who asked does
    /// not wait for long, and a token that no one has expires.
    pub async fn authorize(
        &self,
        context: &RequestContext,
        instance: InstanceId,
        console_type: &str,
        base_url: &str,
        address: &ConsoleAddress,
    ) -> ports::Result<Access> {
        let mut token = object("ConsoleAuthToken");
        token.set("console_type", console_type);
        token.set("host", address.host.as_str());
        token.set("port", address.port);
        token.set("internal_access_path", Value::Null);
        token.set("instance_uuid", instance.0.to_string());
        token.set("access_url_base", base_url);
        let ttl = json!({ "ttl": self.options.token_ttl.as_secs() });
        let acted = self.conductor.act(context, token, "authorize", ttl, Repeat::Never).await;
        let acted = acted.map_err(|error| error.about(instance))?;
        let Value::String(token) = acted.result else {
            return Err(ports::Error::Broken("nova-conductor made no console token".to_owned()));
        };
        let token = SecretString::from(token);
        let url = access_url(console_type, base_url, &token);
        Ok(Access { token, url })
    }

    /// Removes expired tokens from Nova's database every period, until the shutdown. Every compute service does it for all.
    pub async fn clean(self, shutdown: CancellationToken) {
        let Some(interval) = self.options.clean_interval else { return shutdown.cancelled().await };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let cleaning = async {
            let mut failing = false;
            loop {
                ticks.tick().await;
                let cleaned = self
                    .conductor
                    .class(
                        &RequestContext::admin(),
                        "ConsoleAuthToken",
                        "clean_expired_console_auths",
                        json!([]),
                        json!({}),
                        Repeat::Never,
                    )
                    .await;
                match &cleaned {
                    Err(error) if !failing => {
                        warn!(%error, "expired console tokens could not be removed; trying again at the next period");
                    }
                    Err(error) => debug!(%error, "expired console tokens still cannot be removed"),
                    Ok(_) => debug!("expired console tokens are removed"),
                }
                failing = cleaned.is_err();
            }
        };
        shutdown.run_until_cancelled(cleaning).await.unwrap_or(());
    }
}

/// `ConsoleAuthToken.access_url`: noVNC takes the token inside the parameter `path`, other clients as the parameter `token`.
fn access_url(console_type: &str, base_url: &str, token: &SecretString) -> SecretString {
    let token = token.expose_secret();
    if console_type != "novnc" {
        return format!("{base_url}?token={token}").into();
    }
    let (base_url, fragment) =
        base_url.split_once('#').map_or((base_url, None), |(url, end)| (url, Some(end)));
    let (page, query) = base_url.split_once('?').unwrap_or((base_url, ""));
    let mut parameters: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    match parameters.iter_mut().find(|(name, _)| name == "path") {
        Some((_, path)) => *path = format!("{path}?token={token}"),
        None => parameters.push(("path".to_owned(), format!("?token={token}"))),
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let fragment = fragment.map(|end| format!("#{end}")).unwrap_or_default();
    format!("{page}?{query}{fragment}").into()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::conductor::testing::{Script, raised};

    fn url(console_type: &str, base_url: &str) -> String {
        access_url(console_type, base_url, &"t-1".to_owned().into()).expose_secret().to_owned()
    }

    #[test]
    fn the_token_is_where_the_client_looks_for_it() {
        assert_eq!(url("serial", "ws://127.0.0.1:6083/"), "ws://127.0.0.1:6083/?token=t-1");
        for (base_url, expected) in [
            ("http://a:6080/vnc_auto.html", "http://a:6080/vnc_auto.html?path=%3Ftoken%3Dt-1"),
            ("https://a/vnc_lite.html?path=novnc", "https://a/vnc_lite.html?path=novnc%3Ftoken%3Dt-1"),
            (
                "https://a/v.html?autoconnect=1&path=x&empty=#top",
                "https://a/v.html?autoconnect=1&path=x%3Ftoken%3Dt-1#top",
            ),
        ] {
            assert_eq!(url("novnc", base_url), expected);
        }
    }

    fn address() -> ConsoleAddress {
        ConsoleAddress { host: "192.0.2.1".to_owned(), port: 5900 }
    }

    async fn authorize(script: &Script) -> ports::Result<Access> {
        let options = Options { token_ttl: Duration::from_mins(10), ..Options::default() };
        let consoles = Consoles::new(script.conductor(), options);
        let id = InstanceId(Uuid::from_u128(7));
        consoles.authorize(&RequestContext::admin(), id, "novnc", "http://a/v.html", &address()).await
    }

    #[tokio::test]
    async fn a_token_is_made_by_the_conductor_and_never_shown_in_a_log() {
        let script = Script::default().then(Ok(json!([{"id": 3, "token": "t-1", "expires": 5}, "t-1"])));
        let access = authorize(&script).await.unwrap();
        assert_eq!(access.url.expose_secret(), "http://a/v.html?path=%3Ftoken%3Dt-1");
        assert!(!format!("{access:?}").contains("t-1"));
        let sent = &script.sent()[0];
        assert_eq!(sent.what, "ConsoleAuthToken.authorize");
        assert_eq!(sent.args["kwargs"], json!({"ttl": 600}));
        let data = &sent.args["objinst"]["nova_object.data"];
        assert_eq!((&data["host"], &data["port"]), (&json!("192.0.2.1"), &json!(5900)));
        assert_eq!(data["internal_access_path"], Value::Null);
    }

    #[tokio::test]
    async fn a_conductor_that_makes_no_token_is_asked_once() {
        for answer in [raised("TokenInUse"), raised("DBConnectionError"), Ok(json!([{}, null]))] {
            let script = Script::default().then(answer);
            assert!(authorize(&script).await.is_err());
            assert_eq!(script.names(), ["ConsoleAuthToken.authorize"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn expired_tokens_are_removed_every_period_whatever_the_conductor_answers() {
        let script = Script::default().then(raised("DBConnectionError")).then(Ok(Value::Null));
        let options = Options { clean_interval: Some(Duration::from_mins(5)), ..Options::default() };
        let consoles = Consoles::new(script.conductor(), options);
        let shutdown = CancellationToken::new();
        let cleaning = tokio::spawn(consoles.clean(shutdown.clone()));
        tokio::time::sleep(Duration::from_mins(11)).await;
        shutdown.cancel();
        cleaning.await.unwrap();
        assert_eq!(script.names(), ["ConsoleAuthToken.clean_expired_console_auths"; 3]);
    }
}
