//! What the instances on a node use, and the counters that Nova's weighers read (`nova/compute/stats.py`).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use compute::instance::{Instance, TaskState, VmState};

/// The usage of one node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// Virtual CPUs of the flavors.
    pub vcpus: i64,
    /// MiB.
    pub memory_mb: i64,
    /// GiB.
    pub local_gb: i64,
    /// How many are on the node.
    pub instances: i64,
    /// Instances that something is being done to.
    pub workload: i64,
    /// Counters by their names in the record's `stats`.
    pub counters: BTreeMap<String, i64>,
}

impl Usage {
    /// The usage of these instances. `volume_backed` instances take no local root disk.
    pub fn of<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> Self {
        let mut usage = Self::default();
        for instance in instances {
            usage.add(instance);
        }
        usage
    }

    fn add(&mut self, instance: &Instance) {
        let flavor = &instance.flavor;
        let root_gb =
            if instance.image_ref.as_deref().unwrap_or_default().is_empty() { 0 } else { flavor.root_gb };
        self.vcpus += flavor.vcpus;
        self.memory_mb += flavor.memory_mb;
        self.local_gb += root_gb + flavor.ephemeral_gb + flavor.swap_mb / 1024;
        self.instances += 1;
        let task = instance.task_state.as_ref().map_or_else(|| "None".to_owned(), name);
        if instance.task_state.is_some() {
            self.workload += 1;
        }
        if instance.vm_state == VmState::Building || instance.task_state.as_ref().is_some_and(is_io_heavy) {
            *self.counters.entry("io_workload".to_owned()).or_default() += 1;
        } else {
            self.counters.entry("io_workload".to_owned()).or_default();
        }
        for key in [
            "num_instances".to_owned(),
            format!("num_vm_{}", name(&instance.vm_state)),
            format!("num_task_{task}"),
            format!("num_os_type_{}", instance.os_type.as_deref().unwrap_or("None")),
            format!("num_proj_{}", instance.project_id),
        ] {
            *self.counters.entry(key).or_default() += 1;
        }
    }
}

/// Tasks that Nova counts as input and output heavy.
fn is_io_heavy(task: &TaskState) -> bool {
    matches!(
        name(task).as_str(),
        "resize_migrating"
            | "rebuilding"
            | "resize_prep"
            | "image_snapshot"
            | "image_backup"
            | "rescuing"
            | "unshelving"
    )
}

/// The control plane's word for a state.
fn name(state: &impl serde::Serialize) -> String {
    match json!(state) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::testing::instance;

    #[test]
    fn an_idle_node_uses_nothing_and_counts_nothing() {
        assert_eq!(Usage::of([]), Usage::default());
    }

    #[test]
    fn an_active_server_is_counted_by_state_task_and_project() {
        let mut server = instance();
        server.vm_state = VmState::Active;
        server.task_state = None;
        let usage = Usage::of([&server]);
        assert_eq!((usage.vcpus, usage.memory_mb, usage.local_gb), (8, 16384, 100));
        assert_eq!(usage.workload, 0);
        assert_eq!(usage.counters["num_vm_active"], 1);
        assert_eq!(usage.counters["num_task_None"], 1);
        assert_eq!(usage.counters["num_os_type_None"], 1);
        assert_eq!(usage.counters[&format!("num_proj_{}", server.project_id)], 1);
        assert_eq!(usage.counters["io_workload"], 0);
    }

    #[test]
    fn a_server_being_built_is_a_workload() {
        let mut server = instance();
        server.task_state = Some(TaskState::BlockDeviceMapping);
        let usage = Usage::of([&server]);
        assert_eq!(usage.workload, 1);
        assert_eq!(usage.counters["num_task_block_device_mapping"], 1);
        assert_eq!(usage.counters["io_workload"], 1);
    }

    #[test]
    fn a_server_that_boots_from_a_volume_takes_no_root_disk() {
        let mut server = instance();
        server.image_ref = Some(String::new());
        assert_eq!(Usage::of([&server]).local_gb, 0);
    }
}
