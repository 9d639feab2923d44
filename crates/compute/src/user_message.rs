//! What a user may read of a failure. Faults and events are the user's: what a service refuses is said in its own
//! words; where a service is and why it cannot be reached is for the log alone, as with stock.

use driver::Error as DriverError;

/// Of an error of Ironic's.
pub fn of_ironic(error: &openstack::Error) -> String {
    match error.status() {
        Some(400..500) if !error.is_unauthorized() => format!("Ironic refuses: {}", error.message()),
        _ => "Ironic cannot be reached, or failed".to_owned(),
    }
}

/// Of an operation on a node; what it does not say is logged.
pub fn of_driver(error: DriverError) -> String {
    match error {
        DriverError::Remote(error) => {
            tracing::warn!(%error, "an operation on a node failed");
            of_ironic(&error)
        }
        other => other.to_string(),
    }
}

/// Whether Ironic is away, rather than that it answers with a failure: the operation may be asked for again until it
/// answers.
pub fn is_away(error: &DriverError) -> bool {
    matches!(error, DriverError::Remote(error) if error.is_transient() && error.status() != Some(500))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_and_an_address_is_not() {
        let refused = openstack::Error::Http {
            service: "baremetal",
            status: 403,
            code: None,
            message: "the node is protected".to_owned(),
            request_id: None,
        };
        assert_eq!(of_driver(refused.into()), "Ironic refuses: the node is protected");
        let away = openstack::Error::Connect {
            service: "baremetal",
            address: "10.0.0.5:6385".to_owned(),
            message: "connection refused".to_owned(),
        };
        assert!(!of_driver(away.into()).contains("10.0.0.5"));
        let failed = DriverError::DeployFailed("no disk".to_owned());
        assert_eq!(of_driver(failed), "no disk");
    }
}
