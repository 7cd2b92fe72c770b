//! What a process and its control groups use at one moment, as the kernel writes it.
//!
//! Files travel as they are, and are read where rules are: what one of them says, and whether it is there at all,
//! differs from kernel to kernel.

use bstr::BString;
use serde::{Deserialize, Serialize};

use super::{Reading, SocketState};

/// One look at a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When: microseconds on a clock that only goes forward.
    pub at: u64,
    /// The same on the clock of the machine: milliseconds since 1970.
    pub wall: i64,
    /// Clock ticks a second, the unit of times in `stat`.
    pub ticks: u32,
    /// The size of a page of memory in bytes.
    pub page: u32,
    /// `/proc/PID/stat`
    pub stat: Reading<BString>,
    /// `/proc/PID/status`
    pub status: Reading<BString>,
    /// `/proc/PID/limits`
    pub limits: Reading<BString>,
    /// How many descriptors it has.
    pub descriptors: Reading<u32>,
    /// TCP sockets of its network namespace, by state.
    pub sockets: Reading<Vec<SocketCount>>,
    /// Files of its control groups, as far as they exist.
    pub groups: Reading<Vec<GroupFile>>,
    /// Files of `/proc/pressure`, which are about the whole machine: name and content.
    pub pressure: Vec<(String, BString)>,
}

/// How many sockets are in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketCount {
    /// The state.
    pub state: SocketState,
    /// How many.
    pub count: u32,
}

/// A file of a control group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFile {
    /// How far above the process's own group: 0 is its own.
    pub above: u32,
    /// Whether it is of the unified hierarchy (version 2).
    pub unified: bool,
    /// The group as the agent sees it.
    pub group: BString,
    /// Its name, as in `memory.max`.
    pub name: String,
    /// What it says.
    pub content: Reading<BString>,
}
