//! The port against a Cinder in process and the disks' records.

use compute::ports::Volumes as _;

use serde_json::json;

use super::testing::{VOLUME, World, lab, made_of, quick};
use super::*;

fn refusal(error: &ports::Error) -> (Refusal, &str) {
    match error {
        ports::Error::Refused { why, message } => (*why, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_reserved_volume_is_connected_written_down_and_completed() {
    let lab = quick().await;
    let mut devices = [lab.reserved()];
    let targets = lab.attach(&mut devices).await.unwrap();
    assert_eq!(targets.len(), 1);
    let target = &targets[0];
    assert_eq!((target.volume_type.as_str(), target.boot_index), ("iscsi", Some(0)));
    assert_eq!((target.volume_id.clone(), &target.properties["target_lun"]), (VOLUME.to_string(), &json!(1)));
    let world = lab.shared.world();
    assert_eq!(world.attachments[0]["status"], "attached");
    let connector = &world.attachments[0]["connector"];
    assert_eq!((&connector["initiator"], &connector["mountpoint"]), (&json!("iqn"), &json!("/dev/sd1")));
    drop(world);
    assert_eq!(lab.recorded().device.volume_size, Some(7));
    let info = lab.recorded().connection.unwrap();
    assert_eq!((&info["driver_volume_type"], &info["serial"]), (&json!("iscsi"), &json!(VOLUME)));
}

#[tokio::test]
async fn a_volume_is_made_awaited_and_attached_and_a_second_try_makes_no_other() {
    let lab = quick().await;
    let asked = lab.disk(made_of("image"));
    let mut devices = [asked.clone()];
    let first = lab.attach(&mut devices).await.unwrap();
    assert!(devices[0].volume_id.is_some() && devices[0].attachment_id.is_some());
    // After a restart the request is as it came.
    let mut devices = [asked];
    let second = lab.attach(&mut devices).await.unwrap();
    assert_eq!(second[0].volume_id, first[0].volume_id);
    let world = lab.shared.world();
    assert_eq!((world.volumes.len(), world.attachments.len()), (1, 1));
    assert_eq!((&world.volumes[0]["imageRef"], &world.volumes[0]["size"]), (&json!("i"), &json!(5)));
}

#[tokio::test]
async fn a_try_that_was_killed_between_two_notes_is_gone_on_with() {
    let lab = quick().await;
    let asked = lab.disk(made_of("blank"));
    lab.attach(&mut [asked.clone()]).await.unwrap();
    // The attachment was made, and the process ended before it was written down.
    lab.shared.world().records[0].device.attachment_id = None;
    lab.attach(&mut [asked]).await.unwrap();
    assert_eq!(lab.shared.world().attachments.len(), 1);
    assert_eq!(json!(lab.recorded().device.attachment_id), lab.shared.world().attachments[0]["id"]);
}

#[tokio::test]
async fn an_attachment_that_another_node_ended_is_made_anew() {
    let lab = quick().await;
    let mut devices = [lab.reserved()];
    lab.shared.world().attachments.clear();
    lab.attach(&mut devices).await.unwrap();
    assert_eq!(lab.shared.world().attachments.len(), 1);
    assert_eq!(json!(devices[0].attachment_id), lab.shared.world().attachments[0]["id"]);
}

#[tokio::test]
async fn a_volume_that_is_attached_already_is_left_alone_by_a_restart() {
    let mut lab = quick().await;
    let asked = lab.reserved();
    let first = lab.attach(&mut [asked.clone()]).await.unwrap();
    lab.shared.log();
    // After a restart the request is as it came.
    lab.resumed = true;
    let second = lab.attach(&mut [asked.clone()]).await.unwrap();
    assert_eq!(lab.shared.log(), ["GET attachments/00000000-0000-0000-0000-0000000000aa"]);
    assert_eq!(second[0].properties, first[0].properties);
    assert_eq!((first[0].renewed, second[0].renewed), (true, false));
    // Another machine is another connection.
    lab.resumed = false;
    assert!(lab.attach(&mut [asked]).await.unwrap()[0].renewed);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_settled_by_a_look() {
    for lost in ["POST attachments", "PUT attachments", "complete"] {
        let lab = quick().await;
        lab.shared.world().lost = Some(lost);
        let mut devices = [lab.disk(made_of("blank"))];
        let targets = lab.attach(&mut devices).await.unwrap();
        assert_eq!(targets[0].properties["target_lun"], 1, "{lost}");
        let world = lab.shared.world();
        let statuses: Vec<_> = world.attachments.iter().map(|attachment| &attachment["status"]).collect();
        assert_eq!(statuses, ["attached"], "{lost}");
    }
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_left_behind() {
    // The volume itself.
    let lab = quick().await;
    lab.shared.world().unwritable = true;
    let kept = BlockDevice { delete_on_termination: false, ..made_of("blank") };
    lab.attach(&mut [lab.disk(kept)]).await.unwrap_err();
    assert_eq!(lab.shared.world().volumes.len(), 0);
    // Its attachment: known to the request that made it, and to Cinder.
    for is_known in [true, false] {
        let lab = quick().await;
        let mut devices = [lab.reserved()];
        let asked = devices.clone();
        lab.shared.world().attachments.clear();
        lab.shared.world().unwritable = true;
        lab.attach(&mut devices).await.unwrap_err();
        assert_eq!(lab.shared.world().attachments.len(), 1);
        let known = if is_known { &devices } else { &asked };
        lab.shared.world().hidden = is_known;
        lab.volumes.detach(&lab.context, &lab.instance, known, false).await.unwrap();
        assert_eq!(lab.shared.world().attachments.len(), 0, "known: {is_known}");
    }
}

#[tokio::test]
async fn a_volume_that_is_still_being_detached_is_deleted_afterwards() {
    let lab = quick().await;
    let mut devices = [lab.reserved()];
    lab.attach(&mut devices).await.unwrap();
    lab.shared.world().detaching = 3;
    lab.volumes.detach(&lab.context, &lab.instance, &devices, true).await.unwrap();
    assert_eq!(lab.shared.world().volumes.len(), 0);
}

#[tokio::test]
async fn a_cancelled_build_does_not_wait_for_a_new_volume() {
    let lab = lab(Options { allocate_interval: Duration::from_hours(1), ..Options::default() }).await;
    lab.cancel.cancel();
    let error = lab.attach(&mut [lab.disk(made_of("blank"))]).await.unwrap_err();
    assert!(refusal(&error).1.ends_with("is not waited for any more"), "{error}");
}

#[tokio::test]
async fn volumes_outside_the_boot_order_have_a_place_each() {
    let lab = quick().await;
    let mut devices =
        [Some(-1), Some(0), None].map(|boot_index| lab.disk(BlockDevice { boot_index, ..made_of("blank") }));
    let targets = lab.attach(&mut devices).await.unwrap();
    let places: BTreeSet<_> = targets.iter().map(|target| target.boot_index).collect();
    assert_eq!(places, [0, 1, 2].map(Some).into());
}

#[tokio::test]
async fn what_a_server_cannot_have_is_refused() {
    let lab = lab(Options { cross_az_attach: false, ..Options::default() }).await;
    let mut devices = [lab.reserved()];
    lab.shared.world().volumes[0]["availability_zone"] = json!("elsewhere");
    let error = lab.attach(&mut devices).await.unwrap_err();
    assert!(refusal(&error).1.contains("not in the same availability_zone"), "{error}");
    lab.shared.world().volumes[0]["multiattach"] = json!(true);
    let error = lab.attach(&mut devices).await.unwrap_err();
    assert!(refusal(&error).0 == Refusal::Disk && refusal(&error).1.contains("'multiattach'"), "{error}");
    lab.shared.world().attachments.clear();
    lab.shared.world().volumes[0]["status"] = json!("error");
    let mut made = [lab.disk(BlockDevice { volume_id: Some(VOLUME), ..made_of("snapshot") })];
    let error = lab.attach(&mut made).await.unwrap_err();
    assert!(refusal(&error).1.ends_with("And its status is error."), "{error}");
}

#[tokio::test]
async fn an_attachment_that_cannot_be_completed_is_deleted() {
    let lab = quick().await;
    let mut devices = [lab.reserved()];
    lab.shared.world().refuses = Some(400);
    lab.attach(&mut devices).await.unwrap_err();
    assert_eq!(lab.shared.world().attachments.len(), 0);
}

#[tokio::test]
async fn a_detach_ends_attachments_and_deletes_what_goes_with_the_server() {
    let lab = quick().await;
    let asked = [
        lab.disk(made_of("image")),
        lab.disk(BlockDevice { delete_on_termination: false, ..made_of("blank") }),
        lab.disk(BlockDevice { destination: "local".to_owned(), ..made_of("image") }),
    ];
    lab.attach(&mut asked.clone()).await.unwrap();
    lab.volumes.detach(&lab.context, &lab.instance, &asked, false).await.unwrap();
    let left = |world: &World| (world.attachments.len(), world.volumes.len());
    assert_eq!(left(&lab.shared.world()), (0, 2));
    // The token has ended meanwhile.
    let late = RequestContext { auth_token: Some("ended".into()), ..lab.context.clone() };
    lab.volumes.detach(&late, &lab.instance, &asked, true).await.unwrap();
    assert_eq!(left(&lab.shared.world()), (0, 1));
}

#[tokio::test]
async fn a_detach_says_that_cinder_was_away_and_does_the_rest() {
    let lab = quick().await;
    let mut devices = [lab.reserved()];
    lab.attach(&mut devices).await.unwrap();
    lab.shared.world().lost = Some("DELETE attachments");
    let error = lab.volumes.detach(&lab.context, &lab.instance, &devices, true).await.unwrap_err();
    assert!(matches!(error, ports::Error::Unavailable(_)), "{error}");
    assert_eq!(lab.shared.world().volumes.len(), 0);
}

#[tokio::test]
async fn a_server_without_volumes_asks_nobody() {
    let lab = quick().await;
    let mut devices = [lab.disk(BlockDevice { destination: "local".to_owned(), ..made_of("image") })];
    assert_eq!(lab.attach(&mut devices).await.unwrap().len(), 0);
    lab.volumes.detach(&lab.context, &lab.instance, &devices, true).await.unwrap();
    assert_eq!(lab.shared.log().len(), 0);
}

#[test]
fn what_ends_a_disk_is_an_answer() {
    let own_credentials = Error::Auth { status: 401, message: "no".to_owned() };
    assert!(matches!(failed(&own_credentials), ports::Error::Unavailable(_)));
    let odd = Error::Decode { service: "volume", message: "no id".to_owned() };
    assert!(matches!(failed(&odd), ports::Error::Broken(_)));
    let mut away = Away::default();
    away.cinder(&odd);
    assert_eq!(away.0, None);
    away.cinder(&own_credentials);
    assert!(away.0.is_some());
}
