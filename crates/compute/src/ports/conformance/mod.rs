//! What every adapter of a port keeps, as tests that each of them runs: the sentences that the manager relies
//! on, checked against a control plane that the test can arrange.
//!
//! An adapter implements the trait of its port's module ([`instances::ControlPlane`], [`machines::Cloud`],
//! [`networks::Cloud`], [`volumes::Cloud`], [`requests::ControlPlane`], [`vendor_data::Operator`]) and calls [`conformance!`](crate::conformance) in its tests. Where a sentence rests on
//! what Nova, Neutron or Cinder do, it names the place in a stock Nova.

// They are tests: a failure is a panic.
#![allow(clippy::missing_panics_doc)]

pub mod instances;
pub mod machines;
pub mod networks;
pub mod requests;
pub mod vendor_data;
pub mod volumes;

/// Makes a test of each sentence of a port: `conformance!(instances, new())`. The expression makes a new
/// cloud, and is awaited.
#[macro_export]
macro_rules! conformance {
    (instances, $new:expr) => {
        $crate::conformance!(
            @instances,
            $new,
            [
                a_change_is_made_and_the_copy_follows,
                a_change_that_finds_another_task_is_refused_and_changes_nothing,
                a_change_that_finds_a_delete_says_so_and_changes_nothing,
                a_change_that_expects_no_task_is_refused_where_there_is_one,
                a_change_of_an_instance_that_is_gone_says_so,
                a_deleted_instance_is_read_and_is_deleted,
                an_instance_that_never_was_is_none,
                the_instances_of_this_host_are_those_that_live,
                the_instances_that_wait_for_their_end_say_since_when,
                the_deleted_instances_of_this_host_are_found_among_others,
                the_instances_that_are_rescued_say_since_when,
                the_instances_of_this_host_come_in_pages_with_their_networks,
                a_home_is_taken_and_left,
                what_a_build_did_to_the_networks_is_known_until_it_is_over,
                the_addresses_are_read_as_they_were_stored,
                the_name_of_a_disk_is_read_as_it_was_stored,
                a_record_is_removed_once_and_again_is_no_error,
                a_fault_is_stored_and_one_of_an_instance_that_is_gone_is_no_error,
                an_action_that_begins_again_after_a_restart_is_one,
                an_action_that_had_not_begun_before_a_restart_begins,
                an_action_that_never_began_has_no_end_and_that_is_no_error,
            ]
        );
    };
    (machines, $new:expr) => {
        $crate::conformance!(
            @machines,
            $new,
            [
                a_node_with_a_server_is_withheld_until_it_is_free_again,
                a_node_that_is_being_cleaned_is_withheld,
                a_node_that_ironic_hides_is_away,
                a_home_is_on_a_node_of_this_service,
                what_an_instance_holds_is_released_and_again_is_no_error,
                a_report_writes_what_changed_and_the_next_one_nothing,
            ]
        );
    };
    (networks, $new:expr) => {
        $crate::conformance!(
            @networks,
            $new,
            [
                a_second_allocation_finds_the_ports_of_the_first,
                what_was_deallocated_is_gone_and_again_is_no_error,
                a_port_that_the_user_brought_outlives_the_server,
                a_port_that_only_the_request_knows_outlives_the_server,
                a_refresh_without_a_change_is_what_was_allocated,
                the_port_of_an_interface_is_made_once_bound_and_released,
                a_port_that_was_made_and_not_bound_is_found_and_released,
                a_port_brought_for_an_interface_outlives_it,
                a_healing_finds_what_the_cache_has_lost_and_drops_what_is_gone,
                an_address_is_added_once_and_removed_once,
            ]
        );
    };
    (volumes, $new:expr) => {
        $crate::conformance!(
            @volumes,
            $new,
            [
                a_volume_is_attached_once_and_a_resumed_build_does_not_attach_it_again,
                a_detach_ends_the_attachment_keeps_the_volume_and_again_is_no_error,
                a_detach_of_a_server_that_ends_deletes_what_goes_with_it,
            ]
        );
    };
    (requests, $new:expr) => {
        $crate::conformance!(
            @requests,
            $new,
            [a_request_is_the_same_after_a_restart, what_is_no_request_of_a_kind_is_none]
        );
    };
    (vendor_data, $new:expr) => {
        $crate::conformance!(
            @vendor_data,
            $new,
            [the_additions_are_the_same_for_the_same_server, a_source_that_is_away_is_unavailable]
        );
    };
    (@$port:ident, $new:expr, [$($sentence:ident),* $(,)?]) => { $(
        #[tokio::test]
        async fn $sentence() {
            $crate::ports::conformance::$port::$sentence(&$new.await).await;
        }
    )* };
}
