//! What systemd is told (`Type=notify` and `notify-reload`), over the socket that it names.

use tokio::net::UnixDatagram;

use crate::cloud::Cloud;
use crate::process::Process;
use crate::until::LONG;

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
