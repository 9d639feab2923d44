//! Why Ironic did not show what was to be observed.

/// Why nothing was observed.
#[derive(Debug)]
pub(crate) enum Unseen {
    /// Ironic does not show what was looked for, and nothing proves that it is gone.
    Hidden(String),
    /// Ironic could not be asked, or refused.
    Failed(openstack::Error),
}

impl From<openstack::Error> for Unseen {
    fn from(error: openstack::Error) -> Self {
        if error.is_not_found() { Self::Hidden(error.to_string()) } else { Self::Failed(error) }
    }
}
