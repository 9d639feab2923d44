//! Marked secrets in every place that can hold one, everything logged that can be, builds that succeed and builds that fail:
//! nothing that anybody else may read shows one of them.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use ironic_sim::{Call, Fault, Kind, Matcher, Node, State};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cloud::Cloud;
use crate::cloud::services;
use crate::process::command;
use crate::until::until_so;

/// Whatever is said anywhere in the program, by whichever library.
const LOUD: &str = "debug = true\nuse_stderr = true\ndefault_log_levels = amqp=TRACE,oslo.messaging=TRACE,\
    urllib3.connectionpool=TRACE,lapin=TRACE,amq_protocol=TRACE,async_io=TRACE,hyper=TRACE,hyper_util=TRACE,reqwest=TRACE,\
    rustls=TRACE,h2=TRACE,mio=TRACE,tower=TRACE,tower_http=TRACE,axum=TRACE,tokio=TRACE,metrics=TRACE,bessemer=TRACE,\
    compute=TRACE,configdrive=TRACE,driver=TRACE,nova=TRACE,openstack=TRACE,oslo=TRACE\n";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_shows_anywhere() {
    let cloud = Cloud::new(2, LOUD).await;
    let [first, second] = [cloud.nodes[0], cloud.nodes[1]];
    let process = cloud.start().await;

    cloud.sim.hold(State::Deploying);
    let built = cloud.create_server(first).await;
    let node = cloud.sim.wait_for(first, |node| node.configdrive.is_some()).await;
    take_drive(&cloud, &node);
    let journal = cloud.journal();
    assert_eq!(journal.len(), 1);
    assert_eq!(std::fs::metadata(&journal[0]).unwrap().permissions().mode() & 0o777, 0o600);
    // The search finds what is there: the entry has the secrets until the build ends.
    assert!(!cloud.secrets.shown_in(&std::fs::read(&journal[0]).unwrap()).is_empty());
    cloud.sim.release();
    cloud.active(&built).await;

    be_rescued(&cloud, &built, first).await;
    fail_to_deploy(&cloud, second).await;
    be_refused_by_neutron(&cloud, second).await;
    be_refused_by_ironic(&cloud, second).await;

    // The delete meets a Placement that quotes tokens.
    refuse(&cloud, "placement", "PUT", "inventories", 400);
    refuse(&cloud, "placement", "DELETE", "allocations", 503);
    cloud.delete_server(&built).await;
    cloud.deleted(&built).await;
    until_so("the journal is empty", || cloud.journal().is_empty()).await;

    let metrics = metrics(cloud.admin_port).await;
    assert!(metrics.contains("bessemer_operations_total"), "{metrics}");
    silent(&cloud, "the metrics", metrics.as_bytes());
    process.stop().await;
    let file = cloud.configuration();
    let output = command(&["config", "--config-file", file.to_str().unwrap()]).output().await.unwrap();
    assert!(output.status.success());
    silent(&cloud, "bessemer config", &output.stdout);
    silent(&cloud, "bessemer config, stderr", &output.stderr);
    for name in ["stdout", "stderr", "log/nova-compute.log"] {
        silent(&cloud, name, &std::fs::read(cloud.folder().join(name)).unwrap());
    }
    let log = cloud.log();
    assert!(log.contains(" DEBUG ") && !log.contains(" TRACE "), "as loud as it gets");
    assert_eq!(log.matches("refused for X-Auth-Token: ***").count(), 3, "what quoted a token is in the log");
    for file in files(&cloud.state()) {
        silent(&cloud, &file.display().to_string(), &std::fs::read(&file).unwrap());
    }
    for notification in cloud.bus.notifications().await {
        silent(&cloud, "a notification", notification.to_string().as_bytes());
    }
    {
        let tables = cloud.tables();
        assert!(!tables.faults.is_empty());
        for fault in &tables.faults {
            silent(&cloud, "a fault", serde_json::to_string(fault).unwrap().as_bytes());
        }
        for event in &tables.events {
            silent(&cloud, "an event", format!("{event:?}").as_bytes());
        }
        for (method, args) in &tables.tasks {
            // The request itself goes on whole; why it does, is told to everybody.
            silent(&cloud, method, args["filter_properties"].to_string().as_bytes());
        }
    }
    cloud.assert_understood();
}

/// What Ironic received has the secrets in it, as it should; and is one itself.
fn take_drive(cloud: &Cloud, node: &Node) {
    let drive = node.configdrive.as_ref().and_then(|drive| drive.as_str()).unwrap();
    let mut image = Vec::new();
    GzDecoder::new(&*STANDARD.decode(drive).unwrap()).read_to_end(&mut image).unwrap();
    let image = String::from_utf8_lossy(&image);
    for place in ["admin-password", "user-data", "injected-file", "static-vendordata", "dynamic-vendordata"] {
        assert!(image.contains(&cloud.secrets.of(place)), "{place} is not in the config drive");
    }
    for at in [0, drive.len() / 2, drive.len() - 40] {
        cloud.secrets.keep(&drive[at..at + 40]);
    }
}

/// The password of a rescue is in the journal until the rescue ends, and nowhere else but in Ironic.
async fn be_rescued(cloud: &Cloud, id: &str, node: uuid::Uuid) {
    cloud.sim.hold(State::Rescuing);
    let password = cloud.secrets.of("rescue-password");
    let arguments = json!({"rescue_password": password, "rescue_image_ref": null, "clean_shutdown": true});
    cloud.act(id, "rescue_instance", "rescuing", arguments).await;
    let rescuing = cloud.sim.wait_for_state(node, State::Rescuing).await;
    assert_eq!(rescuing.rescue_password, Some(password));
    assert!(!cloud.secrets.shown_in(&std::fs::read(&cloud.journal()[0]).unwrap()).is_empty());
    cloud.sim.release();
    until_so("the server is rescued", || cloud.tables().state(id) == ("rescued".to_owned(), None)).await;
    until_so("the journal is empty", || cloud.journal().is_empty()).await;
}

/// Ironic fails the deployment; the build goes back to the conductor.
async fn fail_to_deploy(cloud: &Cloud, node: uuid::Uuid) {
    cloud.sim.fail_deploy(node, "Failed to deploy: the power supply is on fire");
    let id = cloud.create_server(node).await;
    until_so("the build is rescheduled", || cloud.tables().tasks.len() == 1).await;
    {
        let tables = cloud.tables();
        let (method, args) = &tables.tasks[0];
        assert_eq!(method, "build_instances");
        let reason = args["filter_properties"]["retry"]["exc_reason"].as_str().unwrap();
        assert!(reason.contains("on fire"), "{reason}");
        assert_eq!(args["admin_password"], cloud.secrets.of("admin-password"));
    }
    until_so("the build ends", || cloud.tables().outcomes(&id).iter().all(|(_, result)| result.is_some()))
        .await;
    until_so("the node is free", || cloud.sim.node(node).provision_state == State::Available).await;
}

/// Neutron refuses a port and quotes the user's token.
async fn be_refused_by_neutron(cloud: &Cloud, node: uuid::Uuid) {
    refuse(cloud, "network", "POST", "ports", 409);
    let id = cloud.create_server(node).await;
    cloud.in_error(&id).await;
    assert!(!cloud.services.lock().placement.allocations.contains_key(&id));
    cloud.delete_server(&id).await;
    cloud.deleted(&id).await;
}

/// Ironic refuses the deployment and quotes the token.
async fn be_refused_by_ironic(cloud: &Cloud, node: uuid::Uuid) {
    let before = cloud.tables().tasks.len();
    let token = cloud.secrets.of("token1-ironic");
    let text = format!("X-Auth-Token: {token} and '{token}': configdrive is not of type 'object'");
    let body = ironic_sim::error_body(400, &text);
    let matcher = Matcher::call(Call::SetProvision).node(node).detail("active");
    cloud.sim.fault(Fault { matcher, times: u32::MAX, kind: Kind::Status(400, body) });
    let id = cloud.create_server(node).await;
    until_so("the build is rescheduled", || cloud.tables().tasks.len() == before + 1).await;
    cloud.sim.clear_faults();
    until_so("the build ends", || cloud.tables().outcomes(&id).iter().all(|(_, result)| result.is_some()))
        .await;
}

fn refuse(cloud: &Cloud, service: &'static str, method: &'static str, path: &'static str, status: u16) {
    cloud.services.lock().faults.push(services::Fault { service, method, path, status, times: 1 });
}

fn silent(cloud: &Cloud, what: &str, text: &[u8]) {
    let shown = cloud.secrets.shown_in(text);
    assert!(shown.is_empty(), "{what} shows secrets:\n{}", shown.join("\n\n"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

async fn metrics(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
