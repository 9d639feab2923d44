//! Credentials inside URLs, hidden.

/// `text` with the passwords of a URL replaced by `***`; text that is no URL stays.
///
/// A URL may name several hosts separated by commas, each with its own credentials, as oslo.messaging's
/// transport URL does. Where it is unclear how far a password reaches, more is hidden rather than less.
#[must_use]
pub fn mask_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if tail.contains('@') {
        // A password with an unescaped slash.
        return format!("{scheme}://***");
    }
    let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
    let authority = if authority.contains('@') {
        let hosts: Option<Vec<_>> = authority.split(',').map(masked_host).collect();
        match hosts {
            Some(hosts) => hosts.join(","),
            None => return format!("{scheme}://***"),
        }
    } else {
        authority.to_owned()
    };
    let query = query
        .map(|query| format!("?{}", query.split('&').map(masked_parameter).collect::<Vec<_>>().join("&")))
        .unwrap_or_default();
    format!("{scheme}://{authority}{path}{query}")
}

/// `None` for what is neither credentials and a host nor a host alone: a piece of a password with a comma in
/// it.
fn masked_host(host: &str) -> Option<String> {
    if let Some((credentials, host)) = host.rsplit_once('@') {
        let user = credentials.split_once(':').map(|(user, _)| user);
        return Some(
            user.map_or_else(|| format!("{credentials}@{host}"), |user| format!("{user}:***@{host}")),
        );
    }
    let port =
        host.rsplit_once(']').map_or(host, |(_, port)| port).split_once(':').map_or("", |(_, port)| port);
    port.bytes().all(|b| b.is_ascii_digit()).then(|| host.to_owned())
}

fn masked_parameter(parameter: &str) -> String {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let lower = name.to_lowercase();
    let secret = ["password", "secret", "token"].iter().any(|word| lower.contains(word));
    if secret && !value.is_empty() { format!("{name}=***") } else { parameter.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn passwords_of_urls_are_hidden() {
        for (text, masked) in [
            ("rabbit://nova:s3cret@mq1:5672/", "rabbit://nova:***@mq1:5672/"),
            ("rabbit://u:p@h1,u2:p2@h2:1//v?ssl=1", "rabbit://u:***@h1,u2:***@h2:1//v?ssl=1"),
            ("rabbit://u:p@h1,h2:5672,[::1]:5672/", "rabbit://u:***@h1,h2:5672,[::1]:5672/"),
            ("rabbit://u:a@b@h/", "rabbit://u:***@h/"),
            ("rabbit://u:pa,ss@h/", "rabbit://***"),
            ("rabbit://u:pa/ss@h/", "rabbit://***"),
            ("http://h:5000/v3?a_password=x&b=y", "http://h:5000/v3?a_password=***&b=y"),
            ("http://user@h/", "http://user@h/"),
            ("not a url: x@y", "not a url: x@y"),
        ] {
            assert_eq!(mask_credentials(text), masked);
        }
    }

    proptest! {
        #[test]
        fn a_password_between_user_and_host_never_shows(password in "[a-zA-Z0-9!@/?#:.%-]{8,20}") {
            prop_assume!(!password.contains("://"));
            let masked = mask_credentials(&format!("rabbit://nova:{password}@mq:5672/vhost"));
            prop_assert!(!masked.contains(&password));
        }
    }
}
