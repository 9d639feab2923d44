//! Configurations that the service does not start with.

use std::process::Output;

use crate::process::command;

async fn compute(text: &str) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nova.conf");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let output = command(&["compute", "--config-file", file]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).replace(file, "nova.conf");
    (output, said)
}

#[tokio::test]
async fn a_malformed_option_stops_the_start_with_its_place_and_what_is_allowed() {
    for (text, place, allowed) in [
        (
            "[DEFAULT]\n# often\nreport_interval = soon\n",
            "nova.conf:3: [DEFAULT] report_interval = soon",
            "whole number",
        ),
        ("[DEFAULT]\nhost = no/host\n", "nova.conf:2: [DEFAULT] host = no/host", "host name"),
        ("[ironic]\nshard = a b\n", "nova.conf:2: [ironic] shard = a b", "letters"),
        ("[bessemer]\nadmin_port = 70000\n", "nova.conf:2: [bessemer] admin_port = 70000", "65535"),
    ] {
        let (output, said) = compute(text).await;
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(place) && said.contains(allowed), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn another_driver_than_ironics_is_refused_with_the_remedy() {
    let (output, said) = compute("[DEFAULT]\ncompute_driver = libvirt.LibvirtDriver\n").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("compute_driver") && said.contains("libvirt.LibvirtDriver"), "{said}");
    assert!(said.contains("set it to") && said.contains("ironic.IronicDriver"), "{said}");
}

#[tokio::test]
async fn a_group_without_credentials_stops_the_start() {
    let state = tempfile::tempdir().unwrap();
    let text = format!(
        "[DEFAULT]\ncompute_driver = ironic.IronicDriver\ntransport_url = rabbit://u:p@127.0.0.1:1/\nstate_path = {}\n\
         [bessemer]\nadmin_port = 0\n",
        state.path().display()
    );
    let (output, said) = compute(&text).await;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("auth_type"), "{said}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let output = command(&["compute", "--config-file", "/nowhere/nova.conf"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/nova.conf"));
}
