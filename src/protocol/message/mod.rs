//! What client and agent say: requests, and the shape of each answer.
//!
//! Messages are [postcard](https://postcard.jamesmunns.com/wire-format) inside frames. A list travels as
//! data frames that each hold a `Vec` of records, so that the first rows arrive before the last were found.
//! Paths, arguments and environments are bytes, as the kernel has them; only a renderer makes text of them.
//!
//! Append enum variants, never reorder them; golden-bytes tests below hold their place.

mod agent;
mod connection;
mod container;
mod failure;
mod file;
mod held;
mod probe;
mod process;
mod run;
mod sample;
mod socket;
mod tree;

use bstr::BString;
use serde::{Deserialize, Serialize};

pub use agent::{Agent, IdRange, Seccomp};
pub use connection::{
    ConnectionRecord, ConnectionsRequest, Counters, Held, NetProcess, SocketFacts, SocketTable,
    TcpFacts, Way,
};
pub use container::{ContainerId, ContainerMark, NoContainerId};
pub use failure::{Capabilities, Cause, Denial, FailedCheck, Failure, Identity, Reading};
pub use file::{Entry, FileHead, FileKind, FileTail};
pub use held::{HeldBy, HeldFile, HeldStat, Opened, Space, Volume};
pub use probe::{
    Answered, BodyEnd, ConnectOutcome, Connection, DnsOutcome, DnsQuery, DnsRecord, Ending,
    Exchange, HostsLine, Http2State, HttpBody, HttpHead, HttpProtocol, HttpRequest, HttpUpload,
    HttpVersion, Icmp, Libc, LibcKind, LookupRequest, Network, Phase, ProbeRecord, Resolution,
    ResolverSetup, Route, SearchRule, Source, TcpRequest, TlsSession, TrustStore, Trusted,
    Uploaded, Via,
};
pub use process::{Credentials, Process, ProcessId, ProcessScope};
pub use run::{RunEnd, RunHead, RunRequest, RunSignal, Terminal, TerminalSize};
pub use sample::{GroupFile, Sample, SocketCount};
pub use socket::{Address, Protocol, SocketState};
pub use tree::{Skip, TreeRecord, WalkRequest};

/// What a client asks of an agent. Each opens one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Which processes there are. Data: `Vec<Process>`.
    Processes(ProcessScope),
    /// The environment block of a process. Data: the bytes of `/proc/PID/environ`.
    Environment(ProcessId),
    /// The files below folders. Data: `Vec<TreeRecord>`.
    Walk(WalkRequest),
    /// One file. Head: [`FileHead`]; data and holes: its content; trailer: [`FileTail`].
    ReadFile {
        /// Whose view of the file system.
        process: ProcessId,
        /// The path as the process sees it; relative paths start at its working directory.
        path: BString,
    },
    /// A folder, or one file. Head: [`Entry`] of the path itself; data: `Vec<Entry>` of a folder's entries.
    List {
        /// Whose view of the file system.
        process: ProcessId,
        /// The path as the process sees it; relative paths start at its working directory.
        path: BString,
    },
    /// A file of `/proc/PID`. Data: its bytes.
    ProcFile {
        /// Of which process.
        process: ProcessId,
        /// Which file.
        file: ProcFile,
    },
    /// The agent itself. Head: [`Agent`].
    Agent,
    /// A part of one file. Head: [`FileHead`]; data and holes: the bytes from `offset` on, less than `length`
    /// of them when the file ends before; trailer: [`FileTail`].
    ReadRange {
        /// Whose view of the file system.
        process: ProcessId,
        /// The path as the process sees it; relative paths start at its working directory.
        path: BString,
        /// Where to begin.
        offset: u64,
        /// How many bytes at most.
        length: u64,
    },
    /// A command beside a process. Head: [`RunHead`]; data and error data: what it writes; trailer: [`RunEnd`].
    /// Meanwhile the client sends input, sizes and signals on the same stream.
    Run(RunRequest),
    /// A connection from where the process stands. Data: `Vec<ProbeRecord>`.
    Tcp(TcpRequest),
    /// A name, looked up as the process would. Data: `Vec<ProbeRecord>`.
    Lookup(LookupRequest),
    /// One request over HTTP. Data: `Vec<ProbeRecord>`. A body that is not in it comes as input on the same stream.
    Http(Box<HttpRequest>),
    /// The sockets of the process's network namespace with all that the kernel tells, and who holds them.
    /// Data: `Vec<ConnectionRecord>`.
    Connections(ConnectionsRequest),
    /// What the process holds: files, and all else that has a descriptor. Data: `Vec<HeldFile>`.
    Files(ProcessId),
    /// How full the file systems are that it sees. Data: `Vec<Volume>`.
    Volumes(ProcessId),
    /// What the process and its control groups use now. Head: [`Sample`].
    Sample(ProcessId),
}

impl Request {
    /// Whether the client sends more on the same stream.
    #[must_use]
    pub fn has_input(&self) -> bool {
        match self {
            Self::Run(_) => true,
            Self::Http(request) => matches!(request.body, HttpUpload::Input { .. }),
            _ => false,
        }
    }

    /// What is asked for, to follow `the request to`.
    #[must_use]
    pub const fn doing(&self) -> &'static str {
        match self {
            Self::Processes(_) => "list the processes",
            Self::Environment(_) => "read the environment",
            Self::Walk(_) => "walk the running tree",
            Self::ReadFile { .. } => "read a file",
            Self::List { .. } => "list a folder",
            Self::ProcFile { .. } => "read a file of /proc",
            Self::Agent => "tell who the agent is",
            Self::ReadRange { .. } => "read a part of a file",
            Self::Run(_) => "run a command",
            Self::Tcp(_) => "connect",
            Self::Lookup(_) => "look up a name",
            Self::Http(_) => "send an HTTP request",
            Self::Connections(_) => "list the connections",
            Self::Files(_) => "list what is held open",
            Self::Volumes(_) => "look at the file systems",
            Self::Sample(_) => "look at what is used",
        }
    }
}

/// The files of `/proc/PID` that are passed on as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProcFile {
    /// `cgroup`
    Cgroup,
    /// `limits`
    Limits,
    /// `maps`
    Maps,
    /// `mountinfo`
    Mountinfo,
    /// `status`
    Status,
}

impl ProcFile {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Cgroup,
        Self::Limits,
        Self::Maps,
        Self::Mountinfo,
        Self::Status,
    ];

    /// Its name in `/proc/PID`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Limits => "limits",
            Self::Maps => "maps",
            Self::Mountinfo => "mountinfo",
            Self::Status => "status",
        }
    }
}

/// Encodes a message.
#[must_use]
pub fn to_bytes<T: Serialize>(message: &T) -> Vec<u8> {
    // These types hold no map, float or unsized sequence: nothing that postcard refuses.
    postcard::to_stdvec(message).unwrap_or_default()
}

/// Decodes a message; `None` when the bytes are not one, or more than one.
#[must_use]
pub fn from_bytes<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Some(message),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
