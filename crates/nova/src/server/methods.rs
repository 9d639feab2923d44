//! Every method that a nova-api, a nova-conductor or another nova-compute can call, and what becomes of it.
//!
//! Facts: `nova/compute/rpcapi.py`, `nova/compute/manager.py`.

use compute::request::Kind;
use serde_json::{Map, Value};

use super::consoles::Protocol;
use super::outcome::{EventEnd, Record};
use crate::requests;

/// What a method leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// An operation, which is journalled before the request is acknowledged.
    Operation(Kind),
    /// News from Neutron, Ironic or Cinder.
    Events,
    /// The addresses of an instance are read again.
    InjectNetworkInfo,
    SetHostEnabled,
    CacheImages,
    /// A user wants to reach a console.
    Console(Protocol),
    /// A console proxy asks whether a token's port is right.
    ValidateConsolePort,
    Refuse(Refusal),
}

impl Route {
    /// The operation that must survive us before the request is acknowledged.
    pub fn journalled(self) -> Option<Kind> {
        match self {
            Self::Operation(kind) => Some(kind),
            // Done or refused at once.
            Self::Events
            | Self::InjectNetworkInfo
            | Self::SetHostEnabled
            | Self::CacheImages
            | Self::Console(_)
            | Self::ValidateConsolePort
            | Self::Refuse(_) => None,
        }
    }
}

/// A method that is refused: with which failure, recorded how, leaving what to take back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub record: Record,
    pub leftover: Leftover,
}

/// Why a method is refused; decides the failure that the caller gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Ironic cannot do it: `NotImplementedError`, as in stock.
    Unsupported,
    /// Ironic can, this release does not yet.
    NotYet,
    /// The move is refused before it begins: the conductor tries elsewhere and the server stays as it is.
    MovePreCheck,
    /// 409 for a server that is off, 501 for one that runs.
    SetPassword,
    /// 409 for a server that is off, 501 for one that runs.
    Diagnostics,
    /// 400: no volume can be attached.
    ReserveVolume,
    /// The server boots from a volume, onto which Ironic writes no image.
    OnVolume,
}

/// What the caller prepared for a method and must be taken back when it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    Nothing,
    /// The image that the API made in Glance for a snapshot.
    Image,
    /// The migration that waits for its end.
    Migration,
    /// The claim on a node that the scheduler made for a server without one.
    Claim,
    /// The claim that a resize moved to the migration, and the migration.
    Resize,
    /// The claim on this host's node that an evacuation made, and its migration.
    Evacuation,
    /// The volume's attachment and the disk's record.
    Attachment,
    /// The volume that is marked as being detached.
    Detaching,
    /// Both volumes of a swap.
    Swap,
    /// The new image's properties in the server's record.
    Rebuild,
}

const NOTHING: Record = Record { event: EventEnd::None, fault: false, revert: false };
/// Only the fault: what a method that somebody waits for and that changes no task leaves.
pub const FAULT: Record = Record { event: EventEnd::None, fault: true, revert: false };
const EVENT: Record = Record { event: EventEnd::Failure, fault: true, revert: false };
const FULL: Record = Record { event: EventEnd::Failure, fault: true, revert: true };

const fn operation(kind: Kind) -> (&'static str, Route) {
    (requests::method(kind).name, Route::Operation(kind))
}

const fn refuse(reason: Reason, record: Record) -> Route {
    Route::Refuse(Refusal { reason, record, leftover: Leftover::Nothing })
}

const fn undo(reason: Reason, record: Record, leftover: Leftover) -> Route {
    Route::Refuse(Refusal { reason, record, leftover })
}

/// The methods of the compute API, 6.5 and below.
const METHODS: &[(&str, Route)] = {
    use Leftover::{Attachment, Claim, Detaching, Image, Migration, Resize, Swap};
    use Reason::{MovePreCheck, NotYet, Unsupported};
    &[
        operation(Kind::Create),
        operation(Kind::Stop),
        operation(Kind::Start),
        operation(Kind::Reboot),
        operation(Kind::Rescue),
        operation(Kind::Unrescue),
        operation(Kind::SoftDelete),
        operation(Kind::Restore),
        operation(Kind::CrashDump),
        operation(Kind::Rebuild),
        operation(Kind::AttachInterface),
        operation(Kind::DetachInterface),
        operation(Kind::AddAddress),
        operation(Kind::RemoveAddress),
        operation(Kind::Delete),
        ("external_instance_event", Route::Events),
        ("inject_network_info", Route::InjectNetworkInfo),
        ("set_host_enabled", Route::SetHostEnabled),
        ("cache_images", Route::CacheImages),
        ("get_serial_console", Route::Console(Protocol::Serial)),
        ("get_vnc_console", Route::Console(Protocol::Vnc)),
        ("get_spice_console", Route::Console(Protocol::Spice)),
        ("get_mks_console", Route::Console(Protocol::Mks)),
        ("validate_console_port", Route::ValidateConsolePort),
        // What Ironic can do and this release cannot yet.
        (
            "reserve_block_device_name",
            refuse(Reason::ReserveVolume, Record { event: EventEnd::None, ..FULL }),
        ),
        ("shelve_offload_instance", refuse(NotYet, FULL)),
        ("unshelve_instance", undo(NotYet, FULL, Claim)),
        // What Ironic cannot do.
        ("pause_instance", refuse(Unsupported, FULL)),
        ("unpause_instance", refuse(Unsupported, FULL)),
        ("suspend_instance", refuse(Unsupported, FULL)),
        ("resume_instance", refuse(Unsupported, FULL)),
        ("snapshot_instance", undo(Unsupported, Record { event: EventEnd::Success, ..FULL }, Image)),
        ("backup_instance", undo(Unsupported, FULL, Image)),
        ("shelve_instance", undo(Unsupported, FULL, Image)),
        ("set_admin_password", refuse(Reason::SetPassword, FULL)),
        ("get_console_output", refuse(Unsupported, FAULT)),
        ("get_diagnostics", refuse(Reason::Diagnostics, FAULT)),
        ("get_instance_diagnostics", refuse(Reason::Diagnostics, FAULT)),
        ("get_rdp_console", refuse(Unsupported, FAULT)),
        ("quiesce_instance", refuse(Unsupported, NOTHING)),
        ("unquiesce_instance", refuse(Unsupported, NOTHING)),
        ("allow_share", refuse(Unsupported, EVENT)),
        ("deny_share", refuse(Unsupported, EVENT)),
        ("attach_volume", undo(Unsupported, EVENT, Attachment)),
        ("detach_volume", undo(Unsupported, EVENT, Detaching)),
        ("swap_volume", undo(Unsupported, EVENT, Swap)),
        ("volume_snapshot_create", refuse(Unsupported, NOTHING)),
        ("volume_snapshot_delete", refuse(Unsupported, NOTHING)),
        ("remove_volume_connection", refuse(Unsupported, NOTHING)),
        ("get_host_uptime", refuse(Unsupported, NOTHING)),
        ("host_power_action", refuse(Unsupported, NOTHING)),
        ("host_maintenance_mode", refuse(Unsupported, NOTHING)),
        // Moves: none is possible.
        ("prep_resize", undo(Unsupported, FULL, Resize)),
        ("resize_instance", undo(Unsupported, FULL, Migration)),
        ("finish_resize", undo(Unsupported, FULL, Migration)),
        ("confirm_resize", undo(Unsupported, FULL, Migration)),
        ("revert_resize", undo(Unsupported, FULL, Migration)),
        ("finish_revert_resize", undo(Unsupported, FULL, Migration)),
        ("check_can_live_migrate_destination", refuse(MovePreCheck, EVENT)),
        ("check_can_live_migrate_source", refuse(MovePreCheck, EVENT)),
        ("pre_live_migration", refuse(Unsupported, EVENT)),
        ("live_migration", undo(Unsupported, EVENT, Migration)),
        ("live_migration_force_complete", refuse(Unsupported, EVENT)),
        ("live_migration_abort", refuse(Unsupported, EVENT)),
        ("post_live_migration_at_destination", refuse(Unsupported, EVENT)),
        ("rollback_live_migration_at_destination", refuse(Unsupported, EVENT)),
        ("drop_move_claim_at_destination", refuse(Unsupported, NOTHING)),
        ("check_instance_shared_storage", refuse(Unsupported, FAULT)),
        ("prep_snapshot_based_resize_at_dest", refuse(MovePreCheck, EVENT)),
        ("prep_snapshot_based_resize_at_source", undo(Unsupported, FULL, Migration)),
        ("finish_snapshot_based_resize_at_dest", undo(Unsupported, FULL, Migration)),
        ("revert_snapshot_based_resize_at_dest", undo(Unsupported, FULL, Migration)),
        ("finish_revert_snapshot_based_resize_at_source", undo(Unsupported, FULL, Migration)),
        ("confirm_snapshot_based_resize_at_source", undo(Unsupported, FULL, Migration)),
    ]
};

/// What becomes of a request; `None` for a method that no release has.
pub fn route(method: &str, args: &Map<String, Value>) -> Option<Route> {
    let route = METHODS.iter().find(|(name, _)| *name == method).map(|(_, route)| *route)?;
    let refused = (route == Route::Operation(Kind::Rebuild)).then(|| refused_rebuild(args)).flatten();
    Some(refused.map_or(route, Route::Refuse))
}

/// What arrives as a rebuild and is none that Ironic can do: an evacuation, and a rebuild of a server that boots from a volume.
fn refused_rebuild(args: &Map<String, Value>) -> Option<Refusal> {
    if args.get("recreate").and_then(Value::as_bool) == Some(true) {
        return Some(Refusal { reason: Reason::Unsupported, record: FULL, leftover: Leftover::Evacuation });
    }
    let refusal = Refusal { reason: Reason::OnVolume, record: FULL, leftover: Leftover::Rebuild };
    requests::rebuild::boots_from_volume(args).then_some(refusal)
}

/// The names of all methods, for tests.
#[cfg(test)]
pub fn names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_method_stands_twice() {
        assert_eq!(names().collect::<BTreeSet<_>>().len(), names().count());
    }

    #[test]
    fn every_operation_has_a_method_that_is_journalled() {
        for kind in Kind::ALL {
            let route = route(requests::method(kind).name, &Map::new());
            assert_eq!(route.and_then(Route::journalled), Some(kind));
        }
    }

    /// What the page of methods says of a route.
    fn outcome(route: Route) -> String {
        let reason = match route {
            Route::Operation(kind) => return format!("done: operation `{}`", kind.name()),
            Route::Console(Protocol::Serial | Protocol::Vnc) => {
                return "done, where the machine has one".to_owned();
            }
            Route::Console(Protocol::Spice | Protocol::Mks) => return "refused: 400".to_owned(),
            Route::CacheImages => {
                return "done: nothing can be cached, each image is `unsupported`".to_owned();
            }
            Route::Events | Route::InjectNetworkInfo | Route::SetHostEnabled | Route::ValidateConsolePort => {
                return "done".to_owned();
            }
            Route::Refuse(refusal) => refusal,
        };
        let why = match reason.reason {
            Reason::Unsupported => "`NotImplementedError`, as in nova-compute",
            Reason::NotYet => "not in this release",
            Reason::MovePreCheck => "`MigrationPreCheckError`",
            Reason::SetPassword => "409 while the server is off, else 501",
            Reason::Diagnostics => "400 while the server is off, else 501",
            Reason::ReserveVolume | Reason::OnVolume => "400",
        };
        let left = if reason.leftover == Leftover::Nothing {
            ""
        } else {
            "; what the caller prepared is taken back"
        };
        format!("refused: {why}{left}")
    }

    #[test]
    fn every_method_of_novas_rpcapi_is_known_and_the_page_of_methods_says_what_becomes_of_it() {
        let nova = include_str!("../../tests/data/rpcapi-methods.txt");
        let page = include_str!("../../../../docs/methods.md");
        for method in nova.lines().filter(|line| !line.starts_with('#')) {
            assert!(names().any(|name| name == method), "{method}");
        }
        for (name, route) in METHODS {
            let row = format!("| `{name}` | {} |\n", outcome(*route));
            assert!(page.contains(&row), "docs/methods.md lacks {row}");
        }
        assert_eq!(page.matches("\n| `").count(), METHODS.len());
    }

    #[test]
    fn what_a_scheduler_and_an_api_of_any_release_call_has_a_route() {
        for method in [
            "build_and_run_instance",
            "terminate_instance",
            "external_instance_event",
            "stop_instance",
            "snapshot_instance",
            "prep_resize",
            "check_can_live_migrate_destination",
            "get_console_output",
            "reserve_block_device_name",
        ] {
            assert!(route(method, &Map::new()).is_some(), "{method}");
        }
        assert_eq!(route("format_disk", &Map::new()), None);
    }
}
