//! Sockets.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// The protocol of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// UDP over IPv4 or IPv6.
    Udp,
    /// A socket of the file system or of the abstract name space.
    Unix,
}

/// Where a process listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Address and port.
    pub address: SocketAddr,
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Unix => "unix",
        })
    }
}

impl fmt::Display for Address {
    /// `:8080` for every address, `127.0.0.1:8080` otherwise; UDP is said, TCP is not.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.address.ip().is_unspecified() {
            write!(formatter, ":{}", self.address.port())?;
        } else {
            write!(formatter, "{}", self.address)?;
        }
        if self.protocol == Protocol::Udp {
            formatter.write_str("/udp")
        } else {
            Ok(())
        }
    }
}

/// The state of a TCP socket (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SocketState {
    /// A connection.
    Established,
    /// Our SYN is under way.
    SynSent,
    /// Their SYN came.
    SynReceived,
    /// We closed first, their acknowledgement is missing.
    FinWait1,
    /// We closed first, they have not.
    FinWait2,
    /// Closed, waiting for stray packets.
    TimeWait,
    /// Not connected.
    Closed,
    /// They closed, we have not.
    CloseWait,
    /// They closed first, our FIN is under way.
    LastAck,
    /// Waiting for connections.
    Listening,
    /// Both closed at once.
    Closing,
}
