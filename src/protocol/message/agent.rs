//! The agent itself: who it is and what it may do.

use serde::{Deserialize, Serialize};

use super::{Capabilities, ContainerMark, Credentials, ProcessId, Reading};

/// What an agent says of itself, so that a client can tell what it will not see and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its process.
    pub process: ProcessId,
    /// Its release and build, as [`Hello::name`](crate::protocol::Hello::name).
    pub build: String,
    /// Its ids.
    pub credentials: Credentials,
    /// The capabilities that it uses.
    pub effective: Capabilities,
    /// Those that it could use.
    pub permitted: Capabilities,
    /// Those that a program it starts could get at most.
    pub bounding: Capabilities,
    /// Whether it may not gain privileges (`allowPrivilegeEscalation: false`); `None` before Linux 4.10.
    pub no_new_privileges: Option<bool>,
    /// Whether system calls are filtered; `None` in a kernel without seccomp.
    pub seccomp: Option<Seccomp>,
    /// Whether its user namespace is the node's; its ids and capabilities count in that only.
    pub is_initial_user_namespace: Reading<bool>,
    /// Which of its uids are which of the namespace above; empty when not told.
    pub uid_map: Vec<IdRange>,
    /// The same for gids.
    pub gid_map: Vec<IdRange>,
    /// `kernel.yama.ptrace_scope`, 0 to 3; `None` in a kernel without Yama.
    pub ptrace_scope: Reading<Option<u8>>,
    /// Which container it belongs to.
    pub container: Reading<ContainerMark>,
}

/// The field `Seccomp` of `/proc/PID/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// No filter.
    Off,
    /// Only reading, writing and ending.
    Strict,
    /// A profile, as `RuntimeDefault`.
    Filter,
}

/// A line of `/proc/PID/uid_map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// The same id outside.
    pub outside: u32,
    /// How many follow one another.
    pub count: u32,
}
