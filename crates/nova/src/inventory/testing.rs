//! What the unit tests of the inventory are made of.

use super::Rules;

pub use compute::testing::{instance, node};

pub fn rules() -> Rules {
    Rules {
        host_ip: "127.0.0.1".to_owned(),
        reserved_host_cpus: 0,
        reserved_host_memory_mb: 512,
        reserved_host_disk_mb: 0,
        initial_ratios: [4.0, 1.0, 1.0],
        ratios: [None; 3],
        excluded_image_types: Vec::new(),
        skip_reserve_in_use: false,
        owner_trait: true,
    }
}
