//! RPC over TLS, against a real RabbitMQ.

#![allow(clippy::unwrap_used)] // all of this is test

mod common;

use std::path::Path;
use std::process::Command;

use common::{Broker, LONG, Running, Serving, Steered, call, options, unique};
use oslo::rpc::{RabbitOptions, ServerOptions};
use serde_json::json;

/// Makes `ca.pem`, and `broker.pem` for localhost with its key, in a folder.
fn certificates(folder: &Path) {
    let script = "set -e
        key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        openssl req -x509 $key -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
        openssl req $key -subj /CN=localhost -keyout broker.key -out broker.csr
        echo subjectAltName=DNS:localhost,IP:127.0.0.1 >ext
        openssl x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out broker.pem";
    let made = Command::new("sh").args(["-c", script]).current_dir(folder).output();
    let made = made.expect("this test makes certificates with openssl, which must be installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_over_tls_to_a_broker_that_the_ca_knows() {
    let broker = Broker::start();
    let folder = broker.directory().to_owned();
    certificates(&folder);
    let port = free_port();
    let file = |name: &str| folder.join(name).display().to_string();
    let listen = format!(
        "rabbit_networking:start_ssl_listener({{\"127.0.0.1\", {port}, auto}}, [{{cacertfile, \"{}\"}}, {{certfile, \"{}\"}}, {{keyfile, \"{}\"}}], 2).",
        file("ca.pem"),
        file("broker.pem"),
        file("broker.key"),
    );
    broker.ctl(&["eval", &listen]).await;
    let (_, credentials) = broker.url.split_once("//").unwrap();
    let (credentials, _) = credentials.split_once('@').unwrap();
    let url = format!("rabbit://{credentials}@localhost:{port}/");
    let rabbit =
        RabbitOptions { ssl: true, ssl_ca_file: Some(folder.join("ca.pem")), ..options(&unique("exchange")) };
    let running = Running::new(&url, rabbit);
    let topic = unique("topic");
    let serving =
        Serving::start(&running.transport, ServerOptions::new(&topic, "host"), Steered::new()).await;
    let args = json!({"over": "tls"});
    assert_eq!(call(&running.client(), &topic, "echo", args.clone(), LONG).await.unwrap(), args);
    serving.stop().await;
}
