//! The compute node records, as captured and as written.

use crate::inventory::books::ComputeNodes as _;
use time::macros::datetime;

use super::*;
use crate::conductor::testing::{Script, raised};

const NODE: &str = "3aab6bf4-d3d1-4adb-a773-0cfc2bc497dc";
const NOW: OffsetDateTime = datetime!(2026-11-23 02:18:00 UTC);

fn service(host: &str, seen: &str, forced_down: bool) -> Object {
    let mut service = object("Service");
    service.insert("host", host);
    service.insert("last_seen_up", seen);
    service.insert("forced_down", forced_down);
    service
}

fn options() -> Options {
    Options { host: "Own".into(), ..Options::default() }
}

fn names(members: &BTreeSet<String>) -> Vec<&str> {
    members.iter().map(String::as_str).collect()
}

#[test]
fn services_that_are_up_share_the_ring_and_ours_always_does() {
    let services = [
        service("Fresh", "2026-11-23T02:17:00Z", false),
        service("stale", "2026-11-23T02:16:59Z", false),
        service("forced", "2026-11-23T02:17:59Z", true),
    ];
    assert_eq!(names(&members(&services, &options(), NOW)), ["fresh", "own"]);
}

#[test]
fn a_service_that_never_reported_is_as_old_as_its_record() {
    let mut fresh = object("Service");
    fresh.insert("last_seen_up", Value::Null);
    fresh.insert("created_at", "2026-11-23T02:17:30Z");
    assert!(is_up(&fresh, NOW, Duration::from_mins(1)));
    assert!(!is_up(&fresh, NOW, Duration::from_secs(20)));
}

#[test]
fn a_shard_is_ours_alone_and_a_conductor_group_is_shared_with_its_peers() {
    let services =
        [service("peer", "2026-11-23T02:17:59Z", false), service("other", "2026-11-23T02:17:59Z", false)];
    let sharded = Options { sharded: true, ..options() };
    assert_eq!(names(&members(&services, &sharded, NOW)), ["own"]);
    let grouped = Options { peers: Some(vec!["Own".into(), "peer".into()]), ..options() };
    assert_eq!(names(&members(&services, &grouped, NOW)), ["own", "peer"]);
}

fn captured() -> Object {
    let list: Value =
        serde_json::from_str(include_str!("../../../tests/data/compute_node_list.json")).unwrap();
    Object::from_value(list).unwrap().into_items().remove(0)
}

#[test]
fn a_captured_record_is_read_with_plain_values() {
    let record = record(&captured()).unwrap();
    assert_eq!((record.id, record.node.to_string().as_str()), (6, NODE));
    assert_eq!(record.host.as_deref(), Some("lab-ironic"));
    assert!(!record.deleted);
    assert_eq!(record.fields["supported_hv_specs"], json!([["x86_64", "baremetal", "hvm"]]));
    assert_eq!(record.fields["pci_device_pools"], json!([]));
    assert_eq!(record.fields["stats"]["uptime"], Value::Null);
}

#[test]
fn the_specs_that_are_written_are_the_objects_that_stock_writes() {
    let specs = json!([["x86_64", "baremetal", "hvm"]]);
    let written = wire("supported_hv_specs", &specs);
    assert_eq!(
        written,
        json!([{
            "nova_object.name": "HVSpec", "nova_object.namespace": "nova", "nova_object.version": "1.2",
            "nova_object.data": {"arch": "x86_64", "hv_type": "baremetal", "vm_mode": "hvm"},
            "nova_object.changes": ["arch", "hv_type", "vm_mode"],
        }])
    );
    assert_eq!(plain("supported_hv_specs", &written), specs);
}

#[test]
fn a_save_names_the_record_and_writes_only_what_changed() {
    let changed = RecordFields::from([("memory_mb_used".to_owned(), json!(512))]);
    let node = NODE.parse().unwrap();
    let save = change(6, node, &changed, None).unwrap();
    assert_eq!(save.changes(), ["memory_mb_used"]);
    assert_eq!((save.int("id"), save.str("uuid")), (Some(6), Some(NODE)));
    assert!(change(6, node, &RecordFields::new(), None).is_none());
}

#[test]
fn taking_a_record_brings_it_back_and_makes_it_ours() {
    let save = change(6, NODE.parse().unwrap(), &RecordFields::new(), Some(("own", 4))).unwrap();
    assert_eq!(save.changes(), ["deleted", "deleted_at", "host", "service_id"]);
    assert_eq!(save.get("deleted_at"), Some(&Value::Null));
    assert_eq!((save.bool("deleted"), save.int("service_id")), (Some(false), Some(4)));
}

#[test]
fn a_new_record_is_made_whole_in_one_call() {
    let fields = record(&captured()).unwrap().fields;
    let made = creation(NODE.parse().unwrap(), "own", 4, &fields);
    assert_eq!(made.str("uuid"), Some(NODE));
    for database in ["id", "created_at", "mapped"] {
        assert!(!made.is_set(database), "{database}");
    }
    assert!(made.changes().iter().any(|field| field == "free_ram_mb"));
}

/// An answer with so many records, numbered from `first` on; every second one is another host's.
fn page(first: usize, count: usize) -> Value {
    let members = (first..first + count).map(|number| {
        let mut member = captured();
        member.insert("id", number);
        member.insert("uuid", uuid::Uuid::from_u128(number as u128).to_string());
        member.insert("host", if number % 2 == 0 { "Own" } else { "other" });
        member.into_value()
    });
    let mut list = object("ComputeNodeList");
    list.insert("objects", members.collect::<Vec<_>>());
    list.into_value()
}

#[tokio::test(start_paused = true)]
async fn the_records_of_a_cell_are_read_in_pages_and_those_of_other_hosts_left_out() {
    let script = Script::default().then(Ok(page(0, PAGE))).then(Ok(page(PAGE, 3)));
    let inventory = Records::new(script.conductor(), options(), 4);
    let found = inventory.records_of_this_host(&RequestContext::admin()).await.unwrap();
    assert_eq!(found.len(), PAGE / 2 + 2);
    let markers: Vec<Value> =
        script.sent().iter().map(|sent| sent.args["kwargs"]["marker"].clone()).collect();
    assert_eq!(markers, [Value::Null, json!(PAGE - 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_marker_went_away_is_begun_anew() {
    let script =
        Script::default().then(Ok(page(0, PAGE))).then(raised("MarkerNotFound")).then(Ok(page(0, 2)));
    let inventory = Records::new(script.conductor(), options(), 4);
    assert_eq!(inventory.records_of_this_host(&RequestContext::admin()).await.unwrap().len(), 1);
}
