//! Neutron's refusals by the names that Nova has for them (`nova/exception.py`).

use compute::ports;
use openstack::Error;

/// A request that cannot be met, here or anywhere.
pub fn refused(class: &str, message: impl Into<String>) -> ports::Error {
    ports::Error::Refused { class: class.to_owned(), message: message.into() }
}

/// Any other failure of a call: what Neutron refuses stays refused, what may go away by itself is unavailable.
pub fn failed(what: &str, error: &Error) -> ports::Error {
    match error {
        Error::Http { status: 401, .. } => refused(
            "Unauthorized",
            format!(
                "Not authorized. {what}: the token is not valid any more; with [service_user] send_service_user_token Neutron \
                 accepts tokens that ended while the request waited"
            ),
        ),
        Error::Http { status: 403, .. } => refused("Forbidden", format!("{what}: {error}")),
        Error::Http { code, .. } if !error.is_transient() => {
            refused(code.as_deref().unwrap_or("NovaException"), format!("{what}: {error}"))
        }
        _ => ports::Error::Unavailable(format!("{what}: {error}")),
    }
}

/// Why a port could not be made.
pub fn of_creation(network: &str, address: Option<&str>, error: &Error) -> ports::Error {
    let address = address.unwrap_or("None");
    match error.code() {
        Some("InvalidIpForNetwork") => refused(
            "InvalidInput",
            format!(
                "Invalid input received: Fixed IP {address} is not a valid ip address for network {network}."
            ),
        ),
        Some("IpAddressInUse" | "IpAddressAlreadyAllocated") => {
            refused("FixedIpAlreadyInUse", format!("Fixed IP {address} is already in use."))
        }
        Some("OverQuota") => refused("PortLimitExceeded", "Maximum number of ports exceeded"),
        Some("IpAddressGenerationFailure") => {
            refused("NoMoreFixedIps", format!("No fixed IP addresses available for network: {network}"))
        }
        _ => failed(&format!("a port on network {network} cannot be created"), error),
    }
}

/// Why a port could not be given to the instance.
pub fn of_update(port: &str, error: &Error) -> ports::Error {
    match error.code() {
        Some("MacAddressInUse") => refused("PortInUse", format!("Port {port} is still in use.")),
        Some("HostNotCompatibleWithFixedIps") => refused(
            "FixedIpInvalidOnHost",
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

    fn class(error: ports::Error) -> String {
        match error {
            ports::Error::Refused { class, .. } => class,
            other => format!("{other:?}").split('(').next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn what_neutron_refuses_has_novas_name_and_what_may_pass_is_unavailable() {
        for (status, code, expected) in [
            (400, Some("InvalidIpForNetwork"), "InvalidInput"),
            (409, Some("IpAddressInUse"), "FixedIpAlreadyInUse"),
            (409, Some("IpAddressAlreadyAllocated"), "FixedIpAlreadyInUse"),
            (409, Some("OverQuota"), "PortLimitExceeded"),
            (409, Some("IpAddressGenerationFailure"), "NoMoreFixedIps"),
            (409, Some("SomethingElse"), "SomethingElse"),
            (400, None, "NovaException"),
            (401, None, "Unauthorized"),
            (403, Some("PolicyNotAuthorized"), "Forbidden"),
            (503, None, "Unavailable"),
            (500, Some("HTTPInternalServerError"), "Unavailable"),
        ] {
            assert_eq!(class(of_creation("n", None, &http(status, code))), expected);
        }
        assert_eq!(class(of_update("p", &http(409, Some("MacAddressInUse")))), "PortInUse");
        assert_eq!(
            class(of_update("p", &http(409, Some("HostNotCompatibleWithFixedIps")))),
            "FixedIpInvalidOnHost"
        );
    }
}
