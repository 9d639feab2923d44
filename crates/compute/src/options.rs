//! What the operator configured.

use std::path::PathBuf;
use std::time::Duration;

use configdrive::Format;

/// What becomes of the machines of servers that were deleted without this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaping {
    /// `running_deleted_instance_poll_interval`: how often they are looked for.
    pub interval: Duration,
    /// `running_deleted_instance_timeout`: for how long the server must be deleted.
    pub timeout: Duration,
    /// `running_deleted_instance_action`.
    pub action: ReapAction,
}

/// What is done to the machine of a server that was deleted without this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReapAction {
    /// An operator reads of it in the log.
    Log,
    /// It is switched off.
    Shutdown,
    /// It is torn down and cleaned like any other.
    Reap,
}

/// How the manager works.
#[derive(Debug, Clone)]
pub struct Options {
    /// This service's host name, as it stands in the configuration.
    pub host: String,
    /// `[DEFAULT] state_path`; ours is a folder in it.
    pub state_path: PathBuf,
    /// `max_concurrent_builds`: how many creates do work of ours at once; those that wait for Ironic do not count. 0 is
    /// no bound.
    pub max_concurrent_builds: usize,
    /// `scheduler_instance_sync_interval`: how often the scheduler compares its memory with ours; `None`: never.
    pub sync_interval: Option<Duration>,
    /// `reclaim_instance_interval`: how long a server that was deleted so can be restored; `None`: the service ends none.
    pub reclaim_after: Option<Duration>,
    /// `sync_power_state_interval`: how often the power of the machines is compared with what the control plane shows; `None`: never.
    pub power_sync_interval: Option<Duration>,
    /// What becomes of the machines of servers that were deleted without this service; `None`: nothing.
    pub reaping: Option<Reaping>,
    /// `heal_instance_info_cache_interval`: how often the network information of some servers is compared with the network
    /// service's; `None`: never.
    pub heal_interval: Option<Duration>,
    /// `shutdown_timeout`: how long an operating system may take to shut down, unless the image says otherwise.
    pub shutdown_timeout: Duration,
    /// `rescue_timeout`: how long a server may stay rescued; `None`: as long as its user likes.
    pub rescue_timeout: Option<Duration>,
    /// About builds.
    pub create: CreateOptions,
    /// About consoles.
    pub consoles: ConsoleOptions,
}

/// What the operator configured about builds.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// `network_allocate_retries`.
    pub network_retries: u32,
    /// `default_access_ip_network_name`.
    pub access_network: Option<String>,
    /// `default_ephemeral_format`.
    pub ephemeral_format: Option<String>,
    /// `[compute] consecutive_build_service_disable_threshold` is not 0.
    pub count_failures: bool,
    /// `[workarounds] disable_group_policy_check_upcall` is false.
    pub check_group_policy: bool,
    /// About config drives.
    pub config_drive: ConfigDriveOptions,
}

/// What the operator configured about config drives.
#[derive(Debug, Clone)]
pub struct ConfigDriveOptions {
    /// `force_config_drive`.
    pub force: bool,
    /// `config_drive_format`.
    pub format: Format,
    /// Written into the image as its publisher.
    pub publisher: String,
    /// `[api] dhcp_domain`.
    pub dhcp_domain: String,
    /// `[api] config_drive_skip_versions`.
    pub skip_versions: Vec<String>,
    /// Whether `injected_network_template` is set.
    pub inject_network: bool,
}

/// How long consoles are waited for.
#[derive(Debug, Clone)]
pub struct ConsoleOptions {
    /// `rpc_response_timeout`: how long whoever asks waits for the answer.
    pub answer: Duration,
    /// `[ironic] serial_console_state_timeout`: how long Ironic may take to switch one on; `None` as long as it takes.
    pub serial: Option<Duration>,
    /// `[ironic] vnc_console_state_timeout`, likewise.
    pub graphical: Option<Duration>,
}

impl Default for ConsoleOptions {
    fn default() -> Self {
        let (serial, graphical) = (Some(Duration::from_secs(10)), Some(Duration::from_mins(1)));
        Self { answer: Duration::from_mins(1), serial, graphical }
    }
}
