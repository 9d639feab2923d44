//! What the tests of this crate are made of.

use compute::instance::{Flavor, Instance};
use driver::InstanceId;
use uuid::Uuid;

/// A server of a project, on its way to a node.
pub fn instance() -> Instance {
    Instance {
        project_id: "b38b1b5e7a4e4c8a9f3d5c8e2a7f6d10".to_owned(),
        user_id: "5f1c0a7be33d4f8f9c1b6d2e8a4f7c35".to_owned(),
        hostname: "server".to_owned(),
        display_name: "server".to_owned(),
        availability_zone: Some("nova".to_owned()),
        image_ref: Some(Uuid::from_u128(2).to_string()),
        flavor: Flavor {
            name: "bm".to_owned(),
            vcpus: 8,
            memory_mb: 16384,
            root_gb: 100,
            ..Flavor::default()
        },
        ..Instance::new(InstanceId(Uuid::from_u128(0x1111)))
    }
}
