//! The interfaces(5) file for networks whose addresses are injected (`[DEFAULT] flat_injected`).
//!
//! Its statements are those of Nova's own template; the lines around them are not.

use std::fmt::Write as _;

use crate::Error;
use crate::network::{NetworkInfo, Subnet, Vif};
use crate::network_data::block;

/// The statements of one address family.
struct Family {
    address: String,
    netmask: String,
    broadcast: Option<String>,
    gateway: String,
    dns: String,
}

/// The text of the file, or `None` when no network is injected.
///
/// Interfaces are called `eth0`, `eth1`, …, counted over all VIFs that have subnets. A VIF with a DHCP server
/// is left out.
pub(crate) fn render(info: &NetworkInfo) -> Result<Option<String>, Error> {
    let mut interfaces = Vec::new();
    let with_subnets = info.0.iter().filter_map(|vif| {
        vif.network.as_ref().filter(|network| !network.subnets.is_empty()).map(|network| (vif, network))
    });
    for (number, (vif, network)) in with_subnets.enumerate() {
        let subnets = [network.first_subnet(4), network.first_subnet(6)];
        if !network.injected() || subnets.iter().flatten().any(|subnet| subnet.dhcp_server().is_some()) {
            continue;
        }
        let [v4, v6] = subnets.map(|subnet| subnet.and_then(|subnet| family(subnet).transpose()).transpose());
        interfaces.push((number, vif, v4?, v6?));
    }
    if interfaces.is_empty() {
        return Ok(None);
    }

    let mut text =
        "# Written when this server was built; see interfaces(5).\n\nauto lo\niface lo inet loopback\n"
            .to_owned();
    for (number, vif, v4, v6) in interfaces {
        let name = format!("eth{number}");
        let _ = write!(text, "\nauto {name}\n");
        for (keyword, family) in [("inet", v4), ("inet6", v6)] {
            if let Some(family) = family {
                stanza(&mut text, &name, keyword, vif, &family);
            }
        }
    }
    Ok(Some(text))
}

fn family(subnet: &Subnet) -> Result<Option<Family>, Error> {
    let Some(ip) = subnet.ips.first() else { return Ok(None) };
    let block = block(subnet.cidr.as_deref())?;
    let v4 = subnet.version == Some(4);
    Ok(Some(Family {
        address: ip.address.clone().unwrap_or_default(),
        netmask: if v4 { block.netmask().to_string() } else { block.prefix().to_string() },
        broadcast: block.broadcast().map(|address| address.to_string()),
        gateway: subnet.gateway_address().unwrap_or_default().to_owned(),
        dns: subnet.dns.iter().filter_map(|dns| dns.address.as_deref()).collect::<Vec<_>>().join(" "),
    }))
}

fn stanza(text: &mut String, name: &str, keyword: &str, vif: &Vif, family: &Family) {
    let _ = writeln!(text, "iface {name} {keyword} static");
    let lines = [
        ("hwaddress ether", vif.address.as_deref().unwrap_or_default()),
        ("address", &family.address),
        ("netmask", &family.netmask),
        ("broadcast", family.broadcast.as_deref().unwrap_or_default()),
        ("gateway", &family.gateway),
        ("dns-nameservers", &family.dns),
    ];
    for (statement, value) in lines {
        if !value.is_empty() {
            let _ = writeln!(text, "    {statement} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rendered(vifs: Value) -> Option<String> {
        render(&serde_json::from_value(vifs).unwrap()).unwrap()
    }

    fn vif(injected: bool, subnets: &Value) -> Value {
        json!({"id": "p", "address": "aa:bb:cc:dd:ee:ff", "network": {"subnets": subnets, "meta": {"injected": injected}}})
    }

    #[test]
    fn an_injected_network_is_written_with_both_families() {
        let subnets = json!([
            {"cidr": "10.0.0.0/24", "version": 4, "ips": [{"address": "10.0.0.5"}], "gateway": {"address": "10.0.0.1"},
             "dns": [{"address": "8.8.8.8"}, {"address": "9.9.9.9"}]},
            {"cidr": "2001:db8::/64", "version": 6, "ips": [{"address": "2001:db8::5"}]}]);
        let text = rendered(json!([vif(false, &subnets), vif(true, &subnets)])).unwrap();
        let (_, interface) = text.split_once("loopback\n").unwrap();
        assert_eq!(
            interface,
            "
auto eth1
iface eth1 inet static
    hwaddress ether aa:bb:cc:dd:ee:ff
    address 10.0.0.5
    netmask 255.255.255.0
    broadcast 10.0.0.255
    gateway 10.0.0.1
    dns-nameservers 8.8.8.8 9.9.9.9
iface eth1 inet6 static
    hwaddress ether aa:bb:cc:dd:ee:ff
    address 2001:db8::5
    netmask 64
"
        );
    }

    #[test]
    fn nothing_injected_means_no_file() {
        let dhcp = json!([{"cidr": "10.0.0.0/24", "version": 4, "ips": [{"address": "10.0.0.5"}],
            "meta": {"dhcp_server": "10.0.0.2"}}]);
        assert_eq!(rendered(json!([])), None);
        assert_eq!(rendered(json!([vif(true, &dhcp), vif(true, &json!([]))])), None);
    }
}
