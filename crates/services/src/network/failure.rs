//! What Neutron's failures mean (`nova/network/neutron.py`).

use compute::ports::{self, Refusal};
use openstack::Error;

use crate::failure::{Meaning, meaning};

/// A request that cannot be met, here or anywhere.
pub fn refused(why: Refusal, message: impl Into<String>) -> ports::Error {
    ports::Error::Refused { why, message: message.into() }
}

/// Any other failure of a call: what Neutron refuses stays refused, what may go away by itself is
/// unavailable.
pub fn failed(what: &str, error: &Error) -> ports::Error {
    match error {
        Error::Http { status: 401, .. } => refused(
            Refusal::Unauthenticated,
            format!(
                "Not authorized. {what}: the token is not valid any more; with [service_user] send_service_user_token Neutron \
                 accepts tokens that ended while the request waited"
            ),
        ),
        Error::Http { status: 403, .. } => refused(Refusal::Forbidden, format!("{what}: {error}")),
        _ => match meaning(error) {
            Meaning::Away => ports::Error::Unavailable(format!("{what}: {error}")),
            Meaning::Refused => refused(Refusal::Other, format!("{what}: {error}")),
            Meaning::Broken => ports::Error::Broken(format!("{what}: {error}")),
        },
    }
}

/// Why a port could not be made.
pub fn of_creation(network: &str, address: Option<&str>, error: &Error) -> ports::Error {
    let address = address.unwrap_or("None");
    match error.code() {
        Some("InvalidIpForNetwork") => refused(
            Refusal::Invalid,
            format!(
                "Invalid input received: Fixed IP {address} is not a valid ip address for network {network}."
            ),
        ),
        Some("IpAddressInUse" | "IpAddressAlreadyAllocated") => {
            refused(Refusal::AddressInUse, format!("Fixed IP {address} is already in use."))
        }
        Some("OverQuota") => refused(Refusal::PortQuota, "Maximum number of ports exceeded"),
        Some("IpAddressGenerationFailure") => refused(
            Refusal::AddressesExhausted,
            format!("No fixed IP addresses available for network: {network}"),
        ),
        _ => failed(&format!("a port on network {network} cannot be created"), error),
    }
}

/// Why a port could not be given to the instance.
pub fn of_update(port: &str, error: &Error) -> ports::Error {
    match error.code() {
        Some("MacAddressInUse") => refused(Refusal::PortInUse, format!("Port {port} is still in use.")),
        Some("HostNotCompatibleWithFixedIps") => refused(
            Refusal::AddressNotOnHost,
            format!("The fixed IP associated with port {port} is not compatible with the host."),
        ),
        _ => failed(&format!("port {port} cannot be updated"), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: u16, code: Option<&str>) -> Error {
        Error::Http {
            service: "network",
            status,
            code: code.map(str::to_owned),
            message: "no".into(),
            request_id: None,
        }
    }

    fn why(error: ports::Error) -> Option<Refusal> {
        match error {
            ports::Error::Refused { why, .. } => Some(why),
            ports::Error::Unavailable(_) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_neutron_refuses_has_a_name_and_what_may_pass_is_unavailable() {
        for (status, code, expected) in [
            (400, Some("InvalidIpForNetwork"), Some(Refusal::Invalid)),
            (409, Some("IpAddressInUse"), Some(Refusal::AddressInUse)),
            (409, Some("IpAddressAlreadyAllocated"), Some(Refusal::AddressInUse)),
            (409, Some("OverQuota"), Some(Refusal::PortQuota)),
            (409, Some("IpAddressGenerationFailure"), Some(Refusal::AddressesExhausted)),
            (409, Some("SomethingElse"), Some(Refusal::Other)),
            (400, None, Some(Refusal::Other)),
            (401, None, Some(Refusal::Unauthenticated)),
            (403, Some("PolicyNotAuthorized"), Some(Refusal::Forbidden)),
            (503, None, None),
            (500, Some("HTTPInternalServerError"), None),
        ] {
            assert_eq!(why(of_creation("n", None, &http(status, code))), expected);
        }
        assert_eq!(why(of_update("p", &http(409, Some("MacAddressInUse")))), Some(Refusal::PortInUse));
        assert_eq!(
            why(of_update("p", &http(409, Some("HostNotCompatibleWithFixedIps")))),
            Some(Refusal::AddressNotOnHost)
        );
    }

    #[test]
    fn a_call_that_cannot_be_made_or_understood_is_not_waited_for() {
        let broken = Error::Invalid { field: "request id", message: "no header".into() };
        assert!(matches!(failed("ports", &broken), ports::Error::Broken(_)));
        let catalog = Error::Endpoint { service: "network", message: "none".into() };
        assert!(matches!(failed("ports", &catalog), ports::Error::Unavailable(_)));
    }
}
