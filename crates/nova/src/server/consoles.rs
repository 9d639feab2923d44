//! Consoles: nova-api asks how a user reaches one, and a proxy whether a token still leads to it.
//!
//! Facts: `nova/compute/manager.py` (`get_serial_console`, `get_vnc_console`, `get_spice_console`, `get_mks_console`,
//! `validate_console_port`) and the Ironic driver's methods of these names.

use compute::instance::{Instance, VmState};
use compute::manager::consoles::Error;
use driver::ConsoleKind;
use oslo::rpc::{Failure, Request};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::Worker;
use super::outcome::{self, nova};
use crate::consoles::Consoles;

/// The protocol of a console; each has a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Serial,
    Vnc,
    /// Ironic has none.
    Spice,
    /// Ironic has none.
    Mks,
}

/// The answer to `get_…_console`.
pub async fn get(
    worker: &dyn Worker,
    consoles: &Consoles,
    protocol: Protocol,
    request: &Request,
    instance: &Instance,
) -> Result<Value, Failure> {
    let asked = request.args.get("console_type").and_then(Value::as_str).unwrap_or_default();
    let options = consoles.options();
    let (is_known, served) = match protocol {
        Protocol::Serial => (true, options.serial.as_ref().map(|url| Some((ConsoleKind::Serial, url)))),
        Protocol::Vnc => {
            (asked == "novnc", options.vnc.as_ref().map(|url| Some((ConsoleKind::Graphical, url))))
        }
        Protocol::Spice => (["spice-html5", "spice-direct"].contains(&asked), options.spice.then_some(None)),
        Protocol::Mks => (asked == "webmks", options.mks.then_some(None)),
    };
    let Some(served) = served else { return Err(unavailable(asked)) };
    if !is_known {
        let text = format!("Invalid console type {asked}");
        return Err(nova("ConsoleTypeInvalid", 400, &text, &[("console_type", asked)]));
    }
    let Some((kind, base_url)) = served else { return Err(Failure::not_implemented()) };
    let found = worker.console(&request.context, instance.id, instance.node, kind).await;
    let address = found.map_err(|error| failure(&error, kind, instance))?;
    let access = consoles.authorize(&request.context, instance.id, asked, base_url, &address).await;
    let access = access.map_err(outcome::failure)?;
    Ok(json!({
        "host": address.host,
        "port": address.port,
        "internal_access_path": null,
        "token": access.token.expose_secret(),
        "access_url": access.url.expose_secret(),
    }))
}

/// The answer to `validate_console_port`. The proxy sends the port as text.
pub async fn validate(worker: &dyn Worker, request: &Request, instance: &Instance) -> Result<Value, Failure> {
    let kind = match request.args.get("console_type").and_then(Value::as_str).unwrap_or_default() {
        "serial" => ConsoleKind::Serial,
        "spice-html5" | "spice-direct" | "webmks" => return Err(Failure::not_implemented()),
        _ => ConsoleKind::Graphical,
    };
    let port = match request.args.get("port") {
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
        None => None,
    };
    let Some(port) = port else { return Ok(Value::Bool(false)) };
    let found = worker.is_console_at(&request.context, instance.id, instance.node, kind, port).await;
    found.map(Value::Bool).map_err(|error| failure(&error, kind, instance))
}

fn failure(error: &Error, kind: ConsoleKind, instance: &Instance) -> Failure {
    let id = instance.id.to_string();
    match error {
        Error::NowhereYet if instance.vm_state == VmState::Building => {
            let text = format!("Instance {id} is not ready");
            nova("InstanceNotReady", 409, &text, &[("instance_id", &id)])
        }
        Error::NowhereYet => {
            let text = format!("Instance {id} could not be found.");
            nova("InstanceNotFound", 404, &text, &[("instance_id", &id)])
        }
        Error::Unavailable(reason) => {
            tracing::info!(instance = %id, reason, "the server's console cannot be had");
            unavailable(match kind {
                ConsoleKind::Serial => "serial",
                ConsoleKind::Graphical => "vnc",
            })
        }
    }
}

fn unavailable(kind: &str) -> Failure {
    let text = format!("Unavailable console type {kind}.");
    nova("ConsoleTypeUnavailable", 400, &text, &[("console_type", kind)])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use driver::ConsoleAddress;
    use oslo::context::RequestContext;
    use oslo::rpc::Endpoint as _;

    use super::*;
    use crate::conductor::testing::{Script, raised};
    use crate::consoles::Options;
    use crate::server::fake::Fake;
    use crate::server::{Endpoint, Ports};
    use crate::testing;

    const ID: &str = "2f7cfcfd-4a5b-4cc2-b73c-9ac0dc18007d";

    fn enabled() -> Options {
        Options {
            serial: Some("ws://127.0.0.1:6083/".to_owned()),
            vnc: Some("http://127.0.0.1:6080/vnc_auto.html".to_owned()),
            ..Options::default()
        }
    }

    /// A cloud whose nodes have a console, and whose conductor makes a token.
    fn fake() -> Fake {
        let console = ConsoleAddress { host: "192.0.2.1".to_owned(), port: 5900 };
        let conductor = Script::default().then(Ok(json!([{"id": 3, "token": "t-1", "expires": 5}, "t-1"])));
        Fake { console: Some(console), conductor, ..Fake::default() }
    }

    async fn send(fake: &Fake, options: Options, method: &str, more: Value) -> Result<Value, Failure> {
        let fake = Arc::new(fake.clone());
        let consoles = Consoles::new(fake.conductor.conductor(), options);
        let (worker, instances, machines) = (fake.clone(), fake.clone(), fake.clone());
        let ports = Ports { worker, instances, machines, undo: fake, consoles };
        let endpoint = Endpoint::new(ports, std::time::Duration::from_mins(1));
        let mut args = testing::args(&testing::stop_message());
        for (name, value) in crate::conductor::arguments(more) {
            match name.as_str() {
                "node" | "vm_state" => args["instance"]["nova_object.data"][name] = value,
                _ => drop(args.insert(name, value)),
            }
        }
        let request =
            Request { version: "6.0".into(), ..Request::new(method, args, RequestContext::admin()) };
        endpoint.admit(&request).await?;
        endpoint.dispatch(request).await
    }

    #[tokio::test]
    async fn a_user_gets_the_proxys_url_with_a_token() {
        for (method, kind, url) in [
            ("get_serial_console", "serial", "ws://127.0.0.1:6083/?token=t-1"),
            ("get_vnc_console", "novnc", "http://127.0.0.1:6080/vnc_auto.html?path=%3Ftoken%3Dt-1"),
        ] {
            let fake = fake();
            let answer = send(&fake, enabled(), method, json!({"console_type": kind})).await.unwrap();
            let expected = json!({"host": "192.0.2.1", "port": 5900, "internal_access_path": null,
                "token": "t-1", "access_url": url});
            assert_eq!(answer, expected);
            let token = &fake.conductor.sent()[0].args["objinst"]["nova_object.data"];
            assert_eq!((&token["console_type"], &token["instance_uuid"]), (&json!(kind), &json!(ID)));
            assert!(!fake.log.lines().iter().any(|line| line.starts_with("fault")), "{:?}", fake.log.lines());
        }
    }

    #[tokio::test]
    async fn what_cannot_be_had_is_refused_as_in_stock_with_a_fault() {
        let off = || Fake { console: None, ..fake() };
        let other = Options { spice: true, mks: true, ..Options::default() };
        let nowhere = json!({"console_type": "serial", "node": null, "vm_state": "building"});
        let cases = [
            (
                fake(),
                Options::default(),
                "get_serial_console",
                json!({"console_type": "serial"}),
                400,
                "serial.",
            ),
            (fake(), Options::default(), "get_vnc_console", json!({"console_type": "novnc"}), 400, "novnc."),
            (fake(), enabled(), "get_vnc_console", json!({"console_type": "xvpvnc"}), 400, "xvpvnc"),
            (off(), enabled(), "get_serial_console", json!({"console_type": "serial"}), 400, "serial."),
            (off(), enabled(), "get_vnc_console", json!({"console_type": "novnc"}), 400, "vnc."),
            (fake(), enabled(), "get_serial_console", nowhere, 409, "is not ready"),
            (
                fake(),
                enabled(),
                "get_spice_console",
                json!({"console_type": "spice-html5"}),
                400,
                "spice-html5.",
            ),
            (
                fake(),
                other.clone(),
                "get_spice_console",
                json!({"console_type": "x"}),
                400,
                "Invalid console type x",
            ),
            (fake(), other.clone(), "get_spice_console", json!({"console_type": "spice-html5"}), 500, ""),
            (fake(), other, "get_mks_console", json!({"console_type": "webmks"}), 500, ""),
        ];
        for (fake, options, method, args, code, text) in cases {
            let failure = send(&fake, options, method, args.clone()).await.unwrap_err();
            assert!(failure.message.ends_with(text), "{method} {args}: {failure}");
            let fault = fake.log.lines().pop().unwrap();
            assert!(fault.starts_with(&format!("fault {code} ")), "{method} {args}: {fault}");
            assert_eq!(failure.is("NotImplementedError"), code == 500, "{failure}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_gone_has_no_fault_and_a_conductor_that_fails_is_told() {
        let fake = fake();
        let gone = json!({"console_type": "serial", "node": null});
        let failure = send(&fake, enabled(), "get_serial_console", gone).await.unwrap_err();
        assert!(failure.is("InstanceNotFound"), "{failure}");
        assert_eq!(fake.log.lines().len(), 1, "{:?}", fake.log.lines());
        let fake = Fake { conductor: Script::default().then(raised("TokenInUse")), ..fake };
        let asked = json!({"console_type": "serial"});
        assert!(send(&fake, enabled(), "get_serial_console", asked).await.is_err());
    }

    #[tokio::test]
    async fn a_port_is_right_as_text_and_as_a_number() {
        for (port, is_right) in
            [(json!("5900"), true), (json!(5900), true), (json!("5901"), false), (json!("x"), false)]
        {
            let args = json!({"port": port, "console_type": "novnc"});
            let answer = send(&fake(), Options::default(), "validate_console_port", args).await;
            assert_eq!(answer, Ok(json!(is_right)));
        }
        let off = Fake { console: None, ..fake() };
        let args = json!({"port": "5900", "console_type": "serial"});
        let failure = send(&off, Options::default(), "validate_console_port", args).await.unwrap_err();
        assert!(failure.is("ConsoleTypeUnavailable"), "{failure}");
    }
}
