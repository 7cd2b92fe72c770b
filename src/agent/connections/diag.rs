//! Sockets over `NETLINK_SOCK_DIAG`, as `ss` asks for them (`include/uapi/linux/{sock_diag,inet_diag}.h`).
//!
//! A dump needs no right: a namespace shows its own sockets to everybody in it (`inet_diag_dump_icsk`,
//! `net/ipv4/inet_diag.c`). The messages are plain numbers and are taken apart by hand, with every offset checked.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
            setsockopt, socket, sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

use super::{End, Network};
use crate::{
    agent::{
        net::state_of,
        netlink::{
            HEADER, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, attributes, u16_at, u32_at,
            u64_at,
        },
    },
    protocol::message::{Cause, Failure, Protocol, SocketFacts, SocketState, TcpFacts},
};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// Attributes: `INET_DIAG_INFO` and `INET_DIAG_SKV6ONLY`.
const INFO: u16 = 2;
const ONLY_V6: u16 = 11;
/// The length of `struct inet_diag_msg`.
const MESSAGE: usize = 72;
/// `inet_diag_dump` fills at most so much at a time.
const BUFFER: usize = 64 * 1024;
/// The kernel answers at once; more time than this means that nothing comes.
const LIMIT_SECONDS: i64 = 5;

/// A way to ask for sockets.
pub(super) struct Diag {
    netlink: OwnedFd,
}

/// Opens a netlink socket in a network namespace, where it stays.
pub(super) fn open(network: &Network) -> Result<Diag, Failure> {
    let opened = network.within(|| {
        socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )
    });
    opened
        .and_then(|netlink| {
            let netlink = netlink?;
            setsockopt(
                &netlink,
                sockopt::ReceiveTimeout,
                &TimeVal::seconds(LIMIT_SECONDS),
            )?;
            Ok(Diag { netlink })
        })
        .map_err(|errno| Failure::new("open a sock_diag socket", Cause::from(errno)))
}

impl Diag {
    /// Asks for all sockets of a table. An answer that is not read to its end must be the last that is asked for.
    pub(super) fn dump(&self, protocol: Protocol, is_v6: bool) -> Result<Dump<'_>, Errno> {
        sendto(
            self.netlink.as_raw_fd(),
            &question(protocol, is_v6),
            &NetlinkAddr::new(0, 0),
            MsgFlags::empty(),
        )?;
        let mut dump = Dump {
            netlink: &self.netlink,
            protocol,
            buffer: vec![0; BUFFER],
            filled: 0,
        };
        dump.fill()?;
        // A refusal comes first and alone.
        match Part::of(dump.bytes()) {
            Some((Part::Error(errno), _)) => Err(errno),
            _ => Ok(dump),
        }
    }
}

/// An answer under way.
pub(super) struct Dump<'a> {
    netlink: &'a OwnedFd,
    protocol: Protocol,
    buffer: Vec<u8>,
    filled: usize,
}

impl Dump<'_> {
    fn fill(&mut self) -> Result<(), Errno> {
        // With MSG_TRUNC the true length is told, so that a cut message is noticed.
        self.filled = recv(
            self.netlink.as_raw_fd(),
            &mut self.buffer,
            MsgFlags::MSG_TRUNC,
        )?;
        if self.filled > self.buffer.len() {
            return Err(Errno::EMSGSIZE);
        }
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// Calls `each` with every socket.
    pub(super) fn for_each(
        &mut self,
        mut each: impl FnMut(SocketFacts) -> Result<(), End>,
    ) -> Result<(), End> {
        loop {
            let mut rest = self.bytes();
            while !rest.is_empty() {
                let (part, after) = Part::of(rest).ok_or(Errno::EBADMSG)?;
                rest = after;
                match part {
                    Part::Socket(bytes) => {
                        each(parse(bytes, self.protocol).ok_or(Errno::EBADMSG)?)?;
                    }
                    Part::Done => return Ok(()),
                    Part::Error(errno) => return Err(errno.into()),
                    Part::Other => {}
                }
            }
            self.fill()?;
        }
    }
}

/// A message of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Socket(&'a [u8]),
    Done,
    Error(Errno),
    Other,
}

impl<'a> Part<'a> {
    /// The first message, and what follows; `None` when it is cut.
    fn of(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let content = bytes.get(HEADER..length)?;
        let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        let error = || u32_at(content, 0).unwrap_or_default().cast_signed();
        let part = match u16_at(bytes, 4)? {
            BY_FAMILY => Self::Socket(content),
            // A dump ends with its result: 0, or an error that came half-way.
            NLMSG_DONE if error() < 0 => Self::Error(Errno::from_raw(error().saturating_neg())),
            NLMSG_DONE => Self::Done,
            NLMSG_ERROR => Self::Error(Errno::from_raw(error().saturating_neg())),
            _ => Self::Other,
        };
        Some((part, after))
    }
}

/// `struct inet_diag_req_v2` with its header: every state, and `tcp_info`.
fn question(protocol: Protocol, is_v6: bool) -> Vec<u8> {
    const LENGTH: u32 = 16 + 56;
    let family = if is_v6 { libc::AF_INET6 } else { libc::AF_INET };
    let protocol = match protocol {
        Protocol::Udp => libc::IPPROTO_UDP,
        Protocol::Tcp | Protocol::Unix => libc::IPPROTO_TCP,
    };
    let mut message = Vec::with_capacity(72);
    message.extend(LENGTH.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    message.extend([0; 8]);
    let byte = |number: i32| u8::try_from(number).unwrap_or_default();
    message.extend([byte(family), byte(protocol), 1 << (INFO - 1), 0]);
    message.extend(u32::MAX.to_ne_bytes());
    // No socket in particular.
    message.extend([0; 48]);
    message
}

/// `struct inet_diag_msg` and its attributes.
fn parse(bytes: &[u8], protocol: Protocol) -> Option<SocketFacts> {
    let is_v6 = i32::from(*bytes.first()?) == libc::AF_INET6;
    let state = state_of(*bytes.get(1)?)?;
    let timer = *bytes.get(2)?;
    let mut socket = SocketFacts {
        protocol,
        near: Some(address(bytes, 8, 4, is_v6)?),
        far: Some(address(bytes, 24, 6, is_v6)?),
        path: None,
        state: Some(state),
        unread: u32_at(bytes, 56)?,
        unsent: u32_at(bytes, 60)?,
        retransmits: *bytes.get(3)?,
        timer: (timer != 0).then(|| u32_at(bytes, 52)).flatten(),
        uid: u32_at(bytes, 64)?,
        inode: u32_at(bytes, 68)?.into(),
        only_v6: None,
        tcp: None,
    };
    for attribute in attributes(bytes.get(MESSAGE..)?) {
        match attribute? {
            (INFO, info) if protocol == Protocol::Tcp => socket.tcp = tcp_facts(info),
            (ONLY_V6, value) => socket.only_v6 = value.first().map(|value| *value != 0),
            _ => {}
        }
    }
    // Of a socket that waits for the last packets nothing is kept, and the numbers are none.
    if matches!(state, SocketState::TimeWait | SocketState::Listening) {
        socket.tcp = None;
    }
    Some(socket)
}

fn address(bytes: &[u8], at: usize, port: usize, is_v6: bool) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(bytes.get(port..port + 2)?.try_into().ok()?);
    let ip: IpAddr = if is_v6 {
        Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?).into()
    } else {
        Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?).into()
    };
    Some(SocketAddr::new(ip, port))
}

/// A part of `struct tcp_info`; an older kernel has less of it, which then counts as 0.
fn tcp_facts(info: &[u8]) -> Option<TcpFacts> {
    let word = |offset| u32_at(info, offset);
    Some(TcpFacts {
        backoff: *info.get(4)?,
        timeout: word(8)?,
        unacknowledged: word(24)?,
        total_retransmits: word(100)?,
        round_trip: word(68)?,
        last_sent: word(44)?,
        last_received: word(52)?,
        last_acknowledged: word(56)?,
        bytes_acknowledged: u64_at(info, 120).unwrap_or_default(),
        bytes_received: u64_at(info, 128).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_that_is_cut_is_no_socket() {
        let mut message = vec![0; MESSAGE];
        message[0] = 2;
        message[1] = 1;
        assert!(parse(&message, Protocol::Tcp).is_some());
        for length in 0..MESSAGE {
            assert_eq!(parse(&message[..length], Protocol::Tcp), None, "{length}");
        }
        message[1] = 99;
        assert_eq!(parse(&message, Protocol::Tcp), None, "an unknown state");
    }

    #[test]
    fn the_end_of_a_dump_may_be_an_error() {
        let part = |kind: u16, error: i32| {
            let mut message = Vec::new();
            message.extend(20_u32.to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend([0; 10]);
            message.extend(error.to_ne_bytes());
            Part::of(&message).map(|(part, _)| format!("{part:?}"))
        };
        assert_eq!(part(NLMSG_DONE, 0).unwrap(), "Done");
        assert_eq!(part(NLMSG_DONE, -2).unwrap(), "Error(ENOENT)");
        assert_eq!(part(NLMSG_ERROR, -1).unwrap(), "Error(EPERM)");
        assert_eq!(Part::of(&[0; 15]), None);
        // A length shorter than its own header would make a reader go round for ever.
        assert_eq!(
            Part::of(&[4, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            None
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, Protocol::Tcp);
            let _ = Part::of(&bytes);
        }
    }
}
