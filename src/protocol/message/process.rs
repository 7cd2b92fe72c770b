//! Processes.

use bstr::BString;
use serde::{Deserialize, Serialize};

use super::{Address, ContainerMark, Reading};

/// A process for as long as it lives: numbers are used again, a number with its start time is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number in the agent's pid namespace.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: clock ticks between the boot and its start.
    pub started: u64,
}

/// Which processes to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessScope {
    /// All that the agent sees.
    All,
    /// This one and its descendants.
    Tree(u32),
}

/// User and group ids, in the order of `/proc/PID/status`: real, effective, saved, file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User ids.
    pub uids: [u32; 4],
    /// Group ids.
    pub gids: [u32; 4],
}

/// What is known of a process without reading its memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Which one.
    pub id: ProcessId,
    /// Its parent's number; 0 when the parent is outside of the agent's pid namespace.
    pub parent: u32,
    /// Its number in its own, innermost pid namespace (`NSpid`).
    pub inner_pid: u32,
    /// Its state letter, as in `/proc/PID/stat`: `R`, `S`, `D`, `Z`, `T`, ...
    pub state: u8,
    /// Its short name (`comm`), at most 15 bytes.
    pub name: BString,
    /// Its ids.
    pub credentials: Credentials,
    /// When it started: milliseconds since 1970.
    pub started_at: i64,
    /// Its number of threads.
    pub threads: u32,
    /// Its resident memory in bytes.
    pub resident: u64,
    /// Its arguments as it shows them now (a process may overwrite them); empty for a kernel thread or a zombie.
    pub arguments: Vec<BString>,
    /// Whether the arguments were longer than what is passed on (64 KiB).
    pub arguments_cut: bool,
    /// Its executable.
    pub executable: Reading<BString>,
    /// Its working directory, as it sees it.
    pub folder: Reading<BString>,
    /// The TCP addresses on which it listens, and those of its UDP sockets that are not connected.
    pub listening: Reading<Vec<Address>>,
    /// Which container it belongs to.
    pub container: Reading<ContainerMark>,
}

#[cfg(test)]
impl Process {
    /// A process for tests: it works in `/app`, and listens nowhere.
    pub(crate) fn example(pid: u32, parent: u32, arguments: &[&str]) -> Self {
        let program = arguments.first().copied().unwrap_or_default();
        Self {
            id: ProcessId {
                pid,
                started: u64::from(pid),
            },
            parent,
            inner_pid: pid,
            state: b'S',
            name: program.rsplit('/').next().unwrap_or_default().into(),
            credentials: Credentials {
                uids: [1000; 4],
                gids: [1000; 4],
            },
            started_at: 0,
            threads: 1,
            resident: 0,
            arguments: arguments
                .iter()
                .map(|argument| BString::from(*argument))
                .collect(),
            arguments_cut: false,
            executable: Reading::Known(program.into()),
            folder: Reading::Known("/app".into()),
            listening: Reading::Known(Vec::new()),
            container: Reading::Known(ContainerMark::default()),
        }
    }
}
