//! `transport_url`: brokers, credentials, virtual host, and options in the query.
//!
//! `rabbit://[user:pass@]host[:port][,[user:pass@]host[:port]…]/virtual_host?option=value` (oslo.messaging
//! `TransportURL.parse`).

use secrecy::SecretString;

use super::Error;

/// AMQP's port; oslo.messaging uses it with TLS as well.
const DEFAULT_PORT: u16 = 5672;

/// One broker and who we are there.
#[derive(Clone, Debug)]
pub struct Host {
    /// Name or address, an IPv6 address without its brackets.
    pub name: String,
    /// TCP port.
    pub port: u16,
    /// User; empty when the URL names none.
    pub username: String,
    /// Password; empty when the URL names none.
    pub password: SecretString,
}

/// A parsed `transport_url`. Its `Debug` shows no password.
#[derive(Clone, Debug)]
pub struct TransportUrl {
    /// The brokers of one cluster, in the order given; at least one.
    pub hosts: Vec<Host>,
    /// The virtual host, `/` by default.
    pub virtual_host: String,
    /// Options of `[oslo_messaging_rabbit]` that hold for this transport only, in the order given.
    pub query: Vec<(String, String)>,
}

impl TransportUrl {
    /// Parses a URL. Without a host it is `guest:guest@localhost:5672`.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| Error::Url("no scheme; expected rabbit://user:password@host:5672/".to_owned()))?;
        // `kombu+memory` and the like: what follows `+` never chose the driver.
        match scheme.split('+').next().unwrap_or_default() {
            "rabbit" | "kombu" | "amqp" => {}
            other => return Err(Error::Url(format!("scheme {other:?} is not supported; use rabbit://"))),
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));

        let mut hosts = Vec::new();
        for piece in authority.split(',').filter(|piece| !piece.is_empty()) {
            hosts.push(parse_host(piece)?);
        }
        if hosts.is_empty() {
            hosts.push(Host {
                name: "localhost".to_owned(),
                port: DEFAULT_PORT,
                username: "guest".to_owned(),
                password: SecretString::from("guest"),
            });
        }
        let mut virtual_host = decode(path, "virtual host")?;
        if virtual_host.is_empty() {
            "/".clone_into(&mut virtual_host);
        }
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok(Self { hosts, virtual_host, query })
    }
}

fn parse_host(piece: &str) -> Result<Host, Error> {
    // Credentials are each host's own: a later host does not inherit them.
    let (credentials, address) = piece.rsplit_once('@').unwrap_or(("", piece));
    let (username, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (name, port) = if let Some(rest) = address.strip_prefix('[') {
        let (name, after) = rest
            .split_once(']')
            .ok_or_else(|| Error::Url("an IPv6 address lacks its closing bracket".to_owned()))?;
        (name, after.strip_prefix(':').unwrap_or(after))
    } else if address.matches(':').count() > 1 {
        return Err(Error::Url("an IPv6 address must stand in brackets: [::1]:5672".to_owned()));
    } else {
        address.split_once(':').unwrap_or((address, ""))
    };
    if name.is_empty() {
        return Err(Error::Url("a host has no name; expected user:password@host:5672".to_owned()));
    }
    let port = match port {
        "" => DEFAULT_PORT,
        // The text may be half a password with an unescaped `@` or `/` in it: it is not shown.
        port => port.parse().map_err(|_| {
            let reason = "a port is no number from 1 to 65535; is a special character of the password not \
                          percent-encoded?";
            Error::Url(reason.to_owned())
        })?,
    };
    Ok(Host {
        name: name.to_owned(),
        port,
        username: decode(username, "user name")?,
        password: SecretString::from(decode(password, "password")?),
    })
}

/// Percent-decodes; the error names the part, not its text.
fn decode(text: &str, part: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).map_err(|_| Error::Url(format!("the {part} is not UTF-8 once percent-decoded")))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    fn parse(url: &str) -> TransportUrl {
        TransportUrl::parse(url).unwrap()
    }

    #[test]
    fn one_host_with_everything() {
        let url = parse("rabbit://nova:p%40ss%3A@mq.example:5673/nova%2Fcell1?ssl=1&ssl_ca_file=/etc/ca.pem");
        let host = &url.hosts[0];
        assert_eq!((host.name.as_str(), host.port, host.username.as_str()), ("mq.example", 5673, "nova"));
        assert_eq!(host.password.expose_secret(), "p@ss:");
        assert_eq!(url.virtual_host, "nova/cell1");
        assert_eq!(url.query[1], ("ssl_ca_file".to_owned(), "/etc/ca.pem".to_owned()));
    }

    #[test]
    fn several_hosts_do_not_share_credentials() {
        let url = parse("rabbit://a:b@one:1,two,c:d@[fd00::1]:3/v");
        let seen: Vec<_> =
            url.hosts.iter().map(|host| (host.name.as_str(), host.port, host.username.as_str())).collect();
        assert_eq!(seen, [("one", 1, "a"), ("two", 5672, ""), ("fd00::1", 3, "c")]);
    }

    #[test]
    fn an_at_sign_in_a_password_belongs_to_the_password() {
        assert_eq!(parse("rabbit://u:p@ss@h").hosts[0].password.expose_secret(), "p@ss");
    }

    #[test]
    fn no_host_is_the_local_guest() {
        let url = parse("rabbit://");
        assert_eq!((url.hosts[0].name.as_str(), url.hosts[0].username.as_str()), ("localhost", "guest"));
    }

    #[test]
    fn the_virtual_host_loses_one_slash_and_is_never_empty() {
        for (url, expected) in
            [("rabbit://h", "/"), ("rabbit://h/", "/"), ("rabbit://h//", "/"), ("rabbit://h/nova", "nova")]
        {
            assert_eq!(parse(url).virtual_host, expected, "{url}");
        }
    }

    #[test]
    fn what_follows_a_plus_in_the_scheme_is_ignored() {
        assert_eq!(parse("kombu+rabbit://h").hosts[0].name, "h");
        assert!(TransportUrl::parse("kafka://h").is_err());
    }

    #[test]
    fn neither_debug_nor_an_error_shows_the_password() {
        assert!(!format!("{:?}", parse("rabbit://u:s3cret@h")).contains("s3cret"));
        let error = TransportUrl::parse("rabbit://u:s3cret/more@h").unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(rabbit://)?[a-z0-9@:,/%?&=\\[\\]é#]{0,40}") {
            let _ = TransportUrl::parse(&text);
        }
    }
}
