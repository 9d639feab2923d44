//! Options that hold the address of a service.

use oslo::config::{Error, Group};
use url::Url;

/// The address in an option.
pub(super) fn address(group: Group<'_>, name: &str) -> Result<Option<String>, Error> {
    match group.filled(name) {
        Some(text) if !is_address(&text) => {
            Err(group.refused(name, "an address that begins with http:// or https://").into())
        }
        given => Ok(given),
    }
}

/// An http or https address, in which the project may be left open: `%(project_id)s`.
pub(super) fn is_address(text: &str) -> bool {
    let mut text = text.trim().to_owned();
    for name in ["project_id", "tenant_id"] {
        for pattern in [format!("%({name})s"), format!("$({name})s")] {
            text = text.replace(&pattern, name);
        }
    }
    Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_the_project_open() {
        assert!(is_address("http://c/v3/%(project_id)s") && is_address("https://c:1"));
        assert!(!is_address("c/v3") && !is_address("ironic:6385"));
    }
}
