//! Address blocks such as `10.0.0.0/24`: the arithmetic that network files need.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of addresses, as written in a subnet's `cidr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Reads `address/prefix`; a missing prefix means the single address. `None` when it is neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address = address.parse::<IpAddr>().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(longest), |prefix| prefix.parse().ok())?;
        (prefix <= longest).then_some(Self { address, prefix })
    }

    /// The length of the network part in bits.
    pub(crate) fn prefix(self) -> u8 {
        self.prefix
    }

    /// `255.255.255.0`, or for IPv6 the same in its notation: `ffff:ffff:ffff:ffff::`.
    pub(crate) fn netmask(self) -> IpAddr {
        match self.address {
            IpAddr::V4(_) => Ipv4Addr::from_bits(mask_v4(self.prefix)).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(mask_v6(self.prefix)).into(),
        }
    }

    /// The block's first address.
    pub(crate) fn network(self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & mask_v4(self.prefix)).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & mask_v6(self.prefix)).into(),
        }
    }

    /// The IPv4 broadcast address; blocks of one or two addresses and IPv6 have none.
    pub(crate) fn broadcast(self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) if self.prefix <= 30 => {
                Some(Ipv4Addr::from_bits(address.to_bits() | !mask_v4(self.prefix)))
            }
            _ => None,
        }
    }

    /// Whether the address lies in the block.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && Self { address, prefix: self.prefix }.network() == self.network()
    }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_knows_its_mask_network_and_broadcast() {
        let block = Cidr::parse("10.88.3.7/22").unwrap();
        assert_eq!(block.netmask().to_string(), "255.255.252.0");
        assert_eq!(block.network().to_string(), "10.88.0.0");
        assert_eq!(block.broadcast().unwrap().to_string(), "10.88.3.255");
        assert_eq!(Cidr::parse("2001:db8::/64").unwrap().netmask().to_string(), "ffff:ffff:ffff:ffff::");
    }

    #[test]
    fn the_shortest_and_the_longest_prefixes_hold() {
        assert_eq!(Cidr::parse("0.0.0.0/0").unwrap().netmask().to_string(), "0.0.0.0");
        assert_eq!(Cidr::parse("::/0").unwrap().netmask().to_string(), "::");
        assert_eq!(Cidr::parse("10.0.0.1").unwrap().netmask().to_string(), "255.255.255.255");
        assert_eq!(Cidr::parse("10.0.0.1/31").unwrap().broadcast(), None);
        assert!(Cidr::parse("0.0.0.0/0").unwrap().contains("1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn nonsense_is_no_block() {
        assert!(
            ["", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/"].iter().all(|text| Cidr::parse(text).is_none())
        );
    }
}
