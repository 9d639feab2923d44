//! How often the watcher asks.

use std::time::Duration;

use openstack::ironic::ProvisionState;

use super::class::Class;

const FASTEST: Duration = Duration::from_secs(1);
const FASTEST_BOOTING: Duration = Duration::from_secs(2);
const SLOWEST: Duration = Duration::from_secs(15);

/// How long after a round the next one is due, if the youngest waiter had waited for `waited` and the round took `cost`.
pub(super) fn pause(class: &Class, waited: Duration, cost: Duration) -> Duration {
    use ProvisionState as S;
    let fastest = match class {
        Class::Listed(
            S::WaitCallBack | S::CleanWait | S::RescueWait | S::ServiceWait | S::DeployHold | S::ServiceHold,
        ) => FASTEST_BOOTING,
        _ => FASTEST,
    };
    (waited / 10).max(4 * cost).clamp(fastest, SLOWEST)
}

/// How long after so many failed rounds the next one is due.
pub(super) fn back_off(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(4)).min(SLOWEST)
}
