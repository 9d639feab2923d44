//! When the service says that it serves: to systemd (`Type=notify` and `notify-reload`), over the socket that it names, and to the control
//! plane.

use tokio::net::UnixDatagram;

use crate::cloud::{Cloud, HOST};
use crate::process::Process;
use crate::until::{LONG, until_so};

async fn told(socket: &UnixDatagram) -> String {
    let mut message = [0; 1024];
    let length =
        tokio::time::timeout(LONG, socket.recv(&mut message)).await.expect("systemd is told").unwrap();
    String::from_utf8(message[..length].to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_what_the_service_does() {
    let cloud = Cloud::new(1, "").await;
    let path = cloud.folder().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let process =
        Process::start_with(&cloud.configuration(), cloud.folder(), &[("NOTIFY_SOCKET", path.as_path())]);

    assert_eq!(told(&socket).await.trim(), "READY=1");
    // One try: it serves already.
    cloud.ping().await.unwrap();

    process.reload().await;
    let reloading = told(&socket).await;
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(&socket).await.trim(), "READY=1");

    process.stop().await;
    assert_eq!(told(&socket).await.trim(), "STOPPING=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_plane_does_not_see_it_up_before_it_takes_requests() {
    let cloud = Cloud::new(1, "").await;
    let queue = format!("compute.{HOST}");
    cloud.bus.occupy(&queue).await;
    let process = Process::start(&cloud.configuration(), cloud.folder());
    let reports = || cloud.tables().services[0]["report_count"].as_i64().unwrap();
    until_so("the queue cannot be consumed", || cloud.log().contains("cannot consume the queue")).await;
    assert_eq!(reports(), 0);

    cloud.bus.free(&queue).await;
    until_so("the service is up", || reports() > 0).await;
    // One try: it serves already.
    cloud.ping().await.unwrap();
    process.stop().await;
}
