//! What an error of a call to Ironic means for the operation that made it.

use crate::{Error, error::user_message, unseen::Unseen};

/// Why a step did not happen, by what the runner does about it.
#[derive(Debug)]
pub(crate) enum Setback {
    /// The node is locked, or in a transition that allows no change: observe again a little later, within the limit of
    /// `api_max_retries`.
    Busy(openstack::Error),
    /// Ironic cannot be reached, or its answer was lost: observe again later, for as long as the driver's patience lasts.
    Away(Error),
    /// Ironic does not show the node, and nothing proves that it is gone: observe again later, for as long as it takes.
    Hidden(String),
    /// Ironic is well and at its concurrency limit: queue, for as long as it takes.
    Full,
    /// Refused, as things were when they were observed: observe again once. If the same step is due still, that was the answer.
    Refused(openstack::Error),
    /// The operation is over.
    Over(Error),
}

impl Setback {
    /// The word for it in metrics and logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Busy(_) => "busy",
            Self::Away(_) => "away",
            Self::Hidden(_) => "hidden",
            Self::Full => "full",
            Self::Refused(_) => "refused",
            Self::Over(_) => "over",
        }
    }

    /// Why the operation waits now, for the operator. Names no address.
    pub(crate) fn reason(&self, step: &str) -> String {
        match self {
            Self::Busy(_) => format!("the node is locked (step {step})"),
            Self::Away(Error::Unreachable(_)) => format!("Ironic cannot be reached (step {step})"),
            Self::Away(error) => format!("{error} (step {step})"),
            Self::Hidden(_) => format!("Ironic does not show the node (step {step})"),
            Self::Full => format!("Ironic is at its concurrency limit (step {step})"),
            Self::Refused(_) | Self::Over(_) => format!("Ironic refused step {step}"),
        }
    }
}

impl From<openstack::Error> for Setback {
    fn from(error: openstack::Error) -> Self {
        if error.is_conflict() {
            Self::Busy(error)
        } else if is_verdict(&error) {
            Self::Over(Error::Retry(format!("Ironic refuses: {}", error.message())))
        } else if is_full(&error) {
            Self::Full
        } else if is_away(&error) {
            Self::Away(Error::Unreachable(error))
        } else {
            Self::Refused(error)
        }
    }
}

impl From<Unseen> for Setback {
    fn from(unseen: Unseen) -> Self {
        match unseen {
            Unseen::Hidden(text) => Self::Hidden(text),
            Unseen::Failed(error) => error.into(),
        }
    }
}

/// What Ironic refuses for good, in its own words.
pub(crate) fn refused(error: &openstack::Error) -> Error {
    Error::Retry(user_message(error))
}

/// Whether Ironic cannot be asked now and may be later: it is away, or our credentials, the catalog or something
/// between us and Ironic is wrong until an operator has put it right.
pub(crate) fn is_away(error: &openstack::Error) -> bool {
    error.is_transient() || needs_operator(error) || is_without_conductor(error)
}

/// Whether no living conductor manages the node (`NoValidHost`: 404, and 400 where a node is changed): one that is started again
/// takes it over.
fn is_without_conductor(error: &openstack::Error) -> bool {
    error.message().contains("No conductor service registered")
}

/// Whether only an operator can help.
pub(crate) fn needs_operator(error: &openstack::Error) -> bool {
    use openstack::Error as E;
    error.is_unauthorized() || is_denied(error) || matches!(error, E::Endpoint { .. } | E::Decode { .. })
}

/// Whether Ironic's policy denies it to our user (`HTTPForbidden`). A 403 of another text is about the node: it is protected.
fn is_denied(error: &openstack::Error) -> bool {
    error.status() == Some(403) && error.message().contains("Access was denied to the following resource")
}

/// Ironic answers 500 to a deployment or tear-down that fails its own checks (`InstanceDeployFailure` has no status of its
/// own): "Failed to validate …". That is an answer, not an outage.
fn is_verdict(error: &openstack::Error) -> bool {
    error.status() == Some(500) && error.message().contains("Failed to validate")
}

/// Whether Ironic refuses because it is at work on as much as it takes at once (`ConcurrentActionLimit`,
/// `NoFreeConductorWorker`): both are a 503 like an outage, and tell themselves apart by their text alone.
fn is_full(error: &openstack::Error) -> bool {
    let texts = ["concurrent action limit", "lack of free conductor workers"];
    error.status() == Some(503) && texts.iter().any(|text| error.message().contains(text))
}

/// Whether Ironic says that the instance's uuid is on another node already (`InstanceAssociated`).
pub(crate) fn is_elsewhere(error: &openstack::Error) -> bool {
    error.is_conflict() && error.message().contains("already associated with a node")
}

/// Whether Ironic refuses the image itself (`InvalidImage`): no node will take it.
pub(crate) fn is_bad_image(error: &openstack::Error) -> bool {
    error.message().contains("InvalidImage")
}

/// Whether Ironic says that the VIF is attached already (`VifAlreadyAttached`).
pub(crate) fn is_attached(error: &openstack::Error) -> bool {
    error.is_conflict() && error.message().contains("already attached")
}

/// Whether Ironic says that the VIF cannot be attached (`VifInvalidForAttach` is a 409, everything else a 400).
pub(crate) fn is_unattachable(error: &openstack::Error) -> bool {
    error.is_bad_request() || (error.is_conflict() && error.message().contains("Unable to attach VIF"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::http;

    #[test]
    fn errors_are_told_apart_by_what_to_do() {
        let cases = [
            (http(409, "Node x is locked by host y, please retry"), "busy"),
            (http(409, "Node x can not be updated while a state transition is in progress."), "busy"),
            (http(503, "Service Unavailable"), "away"),
            (
                http(503, "Requested action cannot be performed due to lack of free conductor workers."),
                "full",
            ),
            (
                http(
                    503,
                    "Unable to process request at this time. The concurrent action limit for provisioning has been \
                     reached. Please contact your administrator and try again later.",
                ),
                "full",
            ),
            (http(500, "MessagingTimeout"), "away"),
            (http(429, "slow down"), "away"),
            (http(500, "Failed to validate deploy or power info for node x: no image"), "over"),
            (http(400, "The requested action \"deploy\" can not be performed"), "refused"),
            (http(404, "Node x could not be found."), "refused"),
            (
                http(
                    404,
                    "No valid host was found. Reason: No conductor service registered which supports driver ipmi for conductor group \"a\".",
                ),
                "away",
            ),
            (
                http(
                    400,
                    "No valid host was found. Reason: No conductor service registered which supports driver ipmi.",
                ),
                "away",
            ),
            (http(403, "Node x is protected and cannot be undeployed, rebuilt or deleted"), "refused"),
            (http(403, "Access was denied to the following resource: baremetal:node:update"), "away"),
            (openstack::Error::Lost { service: "baremetal", message: String::new() }, "away"),
            (openstack::Error::Auth { status: 401, message: String::new() }, "away"),
            (openstack::Error::Endpoint { service: "baremetal", message: String::new() }, "away"),
        ];
        for (error, expected) in cases {
            let text = error.to_string();
            assert_eq!(Setback::from(error).name(), expected, "{text}");
        }
    }

    #[test]
    fn the_texts_of_ironic_that_matter_are_recognised() {
        let elsewhere =
            "Instance a is already associated with a node, it cannot be associated with this other node b";
        assert!(is_elsewhere(&http(409, elsewhere)));
        assert!(!is_elsewhere(&http(409, "Node b is associated with instance c.")));
        let attached = http(409, "Unable to attach VIF because VIF v is already attached to Ironic Port p");
        assert!(is_attached(&attached));
        assert!(is_unattachable(&http(409, "Unable to attach VIF v to node n. Reason: no")));
        assert!(is_unattachable(&http(400, "Unable to attach VIF v, not enough free physical ports.")));
        assert!(!is_unattachable(&http(409, "Node n is locked by host h")));
    }
}
