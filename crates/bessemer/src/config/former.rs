//! Tests: every former name that a release of Nova reads for an option of ours is read here too.

use super::SERVICES;
use super::tests::try_config;

/// Made by `tools/option-names`, which says what its columns are.
const TABLE: &str = include_str!("former-names.txt");

/// The groups with keystoneauth's options.
fn groups_of_keystoneauth() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().map(|(group, _)| *group).chain(["cinder", "service_user", "vendordata_dynamic_auth"])
}

/// Options with one former name each: group, name, and the former name with its group.
fn former_names() -> Vec<(String, String, String, String)> {
    let mut found = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (option, former) = (words.next().unwrap(), words.next().unwrap());
        let (group, name) = option.split_once('.').unwrap();
        let groups = if group == "*" { groups_of_keystoneauth().collect() } else { vec![group] };
        for group in groups {
            let (former_group, former) = former.split_once('.').unwrap_or((group, former));
            found.push([group, name, former_group, former].map(str::to_owned).into());
        }
    }
    found
}

#[test]
fn every_former_name_of_our_options_is_read() {
    let ours = try_config("").unwrap();
    let (mut read, mut missing) = (0, Vec::new());
    for (group, name, former_group, former) in former_names() {
        if ours.group(&group).entry(&name).is_none() {
            continue;
        }
        let config = ["1", "5", "x", "iso9660", "both", "PLAIN", "StaticJSON"]
            .iter()
            .find_map(|value| try_config(&format!("[{former_group}]\n{former} = {value}\n")).ok())
            .unwrap();
        let from = config.group(&group).entry(&name).unwrap().source().to_string();
        if from.ends_with("nova.conf:2") {
            read += 1;
        } else {
            missing.push(format!("[{group}] {name}: [{former_group}] {former}"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(read > 70, "{read}");
}
