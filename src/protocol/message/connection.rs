//! The sockets of a network namespace with what the kernel knows of each, and who holds them.

use std::net::SocketAddr;

use bstr::BString;
use serde::{Deserialize, Serialize};

use super::{Failure, Network, ProcessId, Protocol, SocketState};

/// Which sockets to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionsRequest {
    /// Of whose network namespace.
    pub process: ProcessId,
    /// Also those of the file system and of the abstract name space.
    pub unix: bool,
}

/// A part of what is known of a namespace's sockets: first the tables, then who holds what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectionRecord {
    /// Whose namespace it is. First.
    Network(Network),
    /// A table follows.
    Table(SocketTable),
    /// A socket of a table.
    Socket(Box<SocketFacts>),
    /// What the kernel has counted since the namespace was made.
    Counters(Counters),
    /// A process of the namespace.
    Process(NetProcess),
    /// Some of the sockets that the process named last holds.
    Held(Vec<Held>),
    /// The descriptors of the process named last cannot be followed.
    Unseen(Failure),
}

/// How a table was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketTable {
    /// The protocol of its sockets.
    pub protocol: Protocol,
    /// Whether it holds sockets of IPv6.
    pub is_v6: bool,
    /// From where.
    pub way: Way,
}

/// Where a table of sockets is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// `NETLINK_SOCK_DIAG`, which tells most.
    SockDiag,
    /// A file of `/proc/PID/net`, and why not the other way, where there is one.
    ProcNet(Option<Failure>),
}

/// A socket, as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketFacts {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its own address; `None` for a Unix socket.
    pub near: Option<SocketAddr>,
    /// Its peer's address; `None` for a Unix socket.
    pub far: Option<SocketAddr>,
    /// The path of a Unix socket; an abstract name starts with `@`.
    pub path: Option<BString>,
    /// Its state; `None` for a Unix socket.
    pub state: Option<SocketState>,
    /// Bytes that the process has not read yet (the peer's end counts as one); of a TCP listener the connections
    /// that wait to be accepted.
    pub unread: u32,
    /// Bytes that the peer has not acknowledged yet; of a TCP listener how many connections may wait, where known.
    pub unsent: u32,
    /// How often the oldest packet without an answer was sent again.
    pub retransmits: u8,
    /// Milliseconds until its timer expires, where one runs.
    pub timer: Option<u32>,
    /// The user whose process made it.
    pub uid: u32,
    /// The inode by which descriptors name it; 0 when no descriptor does: waiting to be accepted, or closed.
    pub inode: u64,
    /// Whether a socket of IPv6 takes no connections of IPv4; `None` when it is not told.
    pub only_v6: Option<bool>,
    /// What TCP keeps of the connection; `None` when the kernel does not tell.
    pub tcp: Option<TcpFacts>,
}

/// A part of `struct tcp_info` (include/uapi/linux/tcp.h). Times are milliseconds before the reading; for a
/// connection that was never made they mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpFacts {
    /// How often the retransmission timer was doubled.
    pub backoff: u8,
    /// The retransmission timer in microseconds.
    pub timeout: u32,
    /// Packets without acknowledgement.
    pub unacknowledged: u32,
    /// Packets sent again since the beginning.
    pub total_retransmits: u32,
    /// The smoothed round trip in microseconds; 0 before the first.
    pub round_trip: u32,
    /// Since data was sent; since the connection was made when none was.
    pub last_sent: u32,
    /// Since data came; since the connection was made when none did.
    pub last_received: u32,
    /// Since anything at all came.
    pub last_acknowledged: u32,
    /// Bytes that the peer has acknowledged.
    pub bytes_acknowledged: u64,
    /// Bytes that came.
    pub bytes_received: u64,
}

/// Counters of TCP in a namespace (`/proc/PID/net/netstat`); `None` when the kernel has no such counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Connections dropped because too many waited to be accepted.
    pub listen_overflows: Option<u64>,
    /// Connections that a listener dropped for any reason.
    pub listen_drops: Option<u64>,
}

/// A process that has its sockets in the namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetProcess {
    /// Which one.
    pub id: ProcessId,
    /// Its short name (`comm`), at most 15 bytes.
    pub name: BString,
}

/// A descriptor of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The descriptor.
    pub descriptor: u32,
    /// The socket's inode.
    pub inode: u64,
}
