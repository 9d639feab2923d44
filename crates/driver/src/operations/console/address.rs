//! Where a console is, as Ironic tells it.

use openstack::ironic::{self, Node};
use serde_json::Value;
use url::{Host, Url};

use super::{ConsoleAddress, ConsoleKind};

/// Where a console is that is on. `Err` says why it cannot be reached: for the log, without the address, which may hold a token.
///
/// A serial console is in `console_info`, as a URL. Of a graphical one that URL is for users of Ironic's own proxy; the VNC server
/// itself is in `driver_internal_info` (`GraphicalConsole.start_console` of Ironic).
pub(crate) fn address(
    kind: ConsoleKind,
    console: &ironic::Console,
    node: Option<&Node>,
) -> Result<ConsoleAddress, String> {
    if !console.console_enabled {
        return Err("the console is switched off".to_owned());
    }
    let info = console.console_info.clone().unwrap_or_default();
    match kind {
        ConsoleKind::Serial if info.kind == "socat" => {
            socket(&info.url).ok_or_else(|| "the serial console is not on a TCP port".to_owned())
        }
        ConsoleKind::Graphical if info.kind == "vnc" => {
            node.and_then(vnc).ok_or_else(|| "Ironic does not say where the VNC server is".to_owned())
        }
        _ if info.kind.is_empty() => Err("Ironic does not say what kind of console the node has".to_owned()),
        _ => Err(format!("the console is of another kind ('{}')", info.kind)),
    }
}

/// `tcp://HOST:PORT`.
fn socket(text: &str) -> Option<ConsoleAddress> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "tcp")?;
    let host = match url.host()? {
        Host::Ipv6(address) => address.to_string(),
        Host::Ipv4(address) => address.to_string(),
        Host::Domain(name) => name.to_lowercase(),
    };
    let port = url.port().filter(|port| *port != 0)?;
    Some(ConsoleAddress { host, port })
}

fn vnc(node: &Node) -> Option<ConsoleAddress> {
    let host = node.driver_internal_info.get("vnc_host")?.as_str()?.to_owned();
    let port = match node.driver_internal_info.get("vnc_port")? {
        Value::String(text) => text.parse().ok()?,
        other => u16::try_from(other.as_u64()?).ok()?,
    };
    Some(ConsoleAddress { host, port })
}

#[cfg(test)]
mod tests {
    use openstack::ironic::{Console, ConsoleInfo, NodeId};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn on(kind: &str, url: &str) -> Console {
        let info = ConsoleInfo { kind: kind.to_owned(), url: url.to_owned() };
        Console { console_enabled: true, console_info: Some(info) }
    }

    fn serial(url: &str) -> Option<(String, u16)> {
        let found = address(ConsoleKind::Serial, &on("socat", url), None).ok()?;
        Some((found.host, found.port))
    }

    #[test]
    fn a_serial_console_is_a_tcp_port() {
        assert_eq!(serial("tcp://10.0.0.5:8023"), Some(("10.0.0.5".to_owned(), 8023)));
        assert_eq!(serial("tcp://[fd00::5]:8023"), Some(("fd00::5".to_owned(), 8023)));
        assert_eq!(serial("tcp://Conductor-1:8023"), Some(("conductor-1".to_owned(), 8023)));
        for wrong in
            ["tcp://10.0.0.5", "http://10.0.0.5:8023", "tcp://10.0.0.5:0", "tcp://10.0.0.5:99999", ""]
        {
            assert_eq!(serial(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_graphical_console_is_where_the_node_says_whatever_the_ports_type() {
        for port in [json!(5900), json!("5900")] {
            let mut node = Node::new(NodeId(Uuid::from_u128(1)));
            node.driver_internal_info.insert("vnc_host".into(), json!("192.0.2.1"));
            node.driver_internal_info.insert("vnc_port".into(), port);
            let found = address(ConsoleKind::Graphical, &on("vnc", "http://ironic:6090/?t=x"), Some(&node));
            assert_eq!(found, Ok(ConsoleAddress { host: "192.0.2.1".to_owned(), port: 5900 }));
        }
    }

    #[test]
    fn what_is_off_or_of_another_kind_or_of_none_is_not_to_be_reached() {
        let node = Node::new(NodeId(Uuid::from_u128(1)));
        let vnc = on("vnc", "http://ironic:6090/");
        let nothing = Console { console_enabled: true, console_info: Some(ConsoleInfo::default()) };
        let cases = [
            (ConsoleKind::Serial, Console::default()),
            (ConsoleKind::Serial, vnc.clone()),
            (ConsoleKind::Serial, nothing),
            (ConsoleKind::Graphical, on("socat", "tcp://10.0.0.5:8023")),
            (ConsoleKind::Graphical, vnc),
        ];
        for (kind, console) in cases {
            assert!(address(kind, &console, Some(&node)).is_err(), "{kind:?} {console:?}");
        }
    }
}
