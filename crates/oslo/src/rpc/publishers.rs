//! What publishing needs of one connection: its channels, and what is known to be declared.

use std::collections::HashSet;
use std::sync::Mutex;

use lapin::Channel;
use tokio::sync::Semaphore;

/// Messages on the way to the broker at once. A confirmation takes the broker a millisecond, or tens of them
/// where it writes to several disks first.
const CHANNELS: usize = 64;

/// The publishing side of one connection.
pub(super) struct Publishers {
    /// Channels that carry nothing now. lapin numbers a message and writes it in two steps, and gives a
    /// returned message to whichever confirmation comes next: a channel carries one message at a time, and is
    /// not used again when that one was given up before its confirmation.
    pub idle: Mutex<Vec<Channel>>,
    pub free: Semaphore,
    /// Names of the exchanges and queues that are known to be there.
    pub declared: Mutex<HashSet<String>>,
}

impl Default for Publishers {
    fn default() -> Self {
        Self { idle: Mutex::default(), free: Semaphore::new(CHANNELS), declared: Mutex::default() }
    }
}
