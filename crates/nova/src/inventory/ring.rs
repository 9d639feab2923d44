//! Which service looks after a node: the consistent hash ring of OpenStack's tooz, bit for bit, because a fleet may
//! hold stock services and ours side by side.

use std::collections::{BTreeMap, BTreeSet};

use driver::NodeId;
use md5::{Digest, Md5};

/// Positions that each host takes on the ring (tooz's default, as Nova uses it).
const PARTITIONS: usize = 32;

/// The ring of the compute services that share the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    positions: BTreeMap<u128, String>,
}

impl Ring {
    /// The ring of these hosts, which are lower case already.
    pub fn new(hosts: &BTreeSet<String>) -> Self {
        let mut positions = BTreeMap::new();
        for host in hosts {
            let mut hash = Md5::new_with_prefix(host);
            for _ in 0..PARTITIONS {
                hash.update(host);
                positions.insert(number(&hash), host.clone());
            }
        }
        Self { positions }
    }

    /// The host that a node belongs to; `None` only on an empty ring.
    pub fn host(&self, node: NodeId) -> Option<&str> {
        let key = number(&Md5::new_with_prefix(node.to_string()));
        let after = (std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded);
        self.positions
            .range(after)
            .next()
            .or_else(|| self.positions.iter().next())
            .map(|(_, host)| host.as_str())
    }
}

fn number(hash: &Md5) -> u128 {
    u128::from_be_bytes(hash.clone().finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Ring {
        Ring::new(&["compute1", "compute2", "compute3"].map(String::from).into())
    }

    fn node(text: &str) -> NodeId {
        NodeId::from(uuid::Uuid::parse_str(text).unwrap())
    }

    #[test]
    fn a_node_belongs_to_the_host_that_stock_computes() {
        let ring = three();
        assert_eq!(ring.host(node("00000000-0000-0000-0000-000000000001")), Some("compute3"));
        assert_eq!(ring.host(node("00000000-0000-0000-0000-000000000002")), Some("compute1"));
        assert_eq!(ring.host(node("1be26c0b-03f2-4d2e-ae87-c02d7f33c123")), Some("compute1"));
    }

    #[test]
    fn the_smallest_position_is_the_one_that_stock_has() {
        let (position, host) = three().positions.into_iter().next().unwrap();
        assert_eq!(position, 0x0289_ac8f_06f6_3cc5_f73f_837e_1439_2f57);
        assert_eq!(host, "compute3");
    }

    #[test]
    fn a_single_host_has_every_node() {
        let ring = Ring::new(&BTreeSet::from(["only".to_owned()]));
        assert_eq!(ring.host(node("ffffffff-ffff-ffff-ffff-ffffffffffff")), Some("only"));
    }

    #[test]
    fn an_empty_ring_has_no_host() {
        assert_eq!(Ring::new(&BTreeSet::new()).host(node("00000000-0000-0000-0000-000000000001")), None);
    }
}
