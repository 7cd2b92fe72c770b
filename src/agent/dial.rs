//! Connecting, with the reason when it does not work.
//!
//! A refused connection and an unreachable host differ by who says so: a TCP reset comes from the address
//! itself, an ICMP message from a router or a firewall on the way. The kernel keeps such messages on the error
//! queue of a socket that asks for it (`IP_RECVERR`); `tcp_v4_err` (net/ipv4/tcp_ipv4.c) puts them there
//! while a connection is being made.

use std::{
    io::IoSliceMut,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc,
    poll::PollFlags,
    sys::socket::{
        AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrStorage, connect,
        recvmsg, setsockopt, socket,
        sockopt::{Ipv4RecvErr, Ipv6RecvErr, TcpNoDelay},
    },
};

use super::{Stop, network::Network, route::route_to, steps::Steps};
use crate::{
    protocol::message::{
        Cause, ConnectOutcome, Connection, Failure, Icmp, Phase, ProbeRecord, Reading,
    },
    sys::{tcp_info, unacknowledged},
};

/// Connects to an address, tells the client how that went, and answers the connection.
pub(super) fn dial(
    steps: &mut Steps<'_>,
    network: &Network,
    address: SocketAddr,
    limit: u32,
) -> Result<Option<TcpStream>, Stop> {
    let route = network
        .within(|| route_to(address.ip()))
        .and_then(|route| route)
        .map_err(|errno| {
            Failure::new(
                format!("ask for the route to {}", address.ip()),
                Cause::from(errno),
            )
        });
    let at = steps.now();
    let (outcome, stream) = attempt(steps, network, address, limit, Phase::Connect)?;
    let source = stream.as_ref().and_then(|stream| stream.local_addr().ok());
    let took = steps.now() - at;
    steps.tell(ProbeRecord::Connection(Box::new(Connection {
        at,
        took,
        address,
        source,
        route: Reading::from(route),
        outcome,
    })))?;
    Ok(stream)
}

/// Connects to an address, as a part of something else.
pub(super) fn attempt(
    steps: &mut Steps<'_>,
    network: &Network,
    address: SocketAddr,
    limit: u32,
    phase: Phase,
) -> Result<(ConnectOutcome, Option<TcpStream>), Stop> {
    match start(network, address) {
        Ok(socket) => wait(steps, socket, limit, phase),
        Err((errno, socket)) => Ok((failed(errno, socket.as_ref()), None)),
    }
}

/// A socket in a network namespace that asks for the messages behind its errors.
pub(super) fn socket_for(
    network: &Network,
    address: SocketAddr,
    kind: SockType,
) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = network.within(move || socket(family, kind, flags, None))??;
    ask_for_messages(&socket, address.is_ipv6(), true);
    Ok(socket)
}

fn ask_for_messages(socket: &OwnedFd, is_v6: bool, wanted: bool) {
    // Without them, errors are only less precise.
    let _ = if is_v6 {
        setsockopt(socket, Ipv6RecvErr, &wanted)
    } else {
        setsockopt(socket, Ipv4RecvErr, &wanted)
    };
}

type Refused = (Errno, Option<OwnedFd>);

fn start(network: &Network, address: SocketAddr) -> Result<OwnedFd, Refused> {
    let socket = socket_for(network, address, SockType::Stream).map_err(|errno| (errno, None))?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(errno) => Err((errno, Some(socket))),
    }
}

fn wait(
    steps: &mut Steps<'_>,
    socket: OwnedFd,
    limit: u32,
    phase: Phase,
) -> Result<(ConnectOutcome, Option<TcpStream>), Stop> {
    let deadline = steps.within(limit);
    let info = |stream: &TcpStream| tcp_info(stream).unwrap_or_default();
    if !steps.wait(&[(&socket, PollFlags::POLLOUT)], deadline, phase)? {
        let retransmits = info(&TcpStream::from(socket)).retransmits.into();
        return Ok((ConnectOutcome::TimedOut { retransmits }, None));
    }
    let stream = TcpStream::from(socket);
    match stream.take_error() {
        Ok(None) => {}
        Ok(Some(error)) | Err(error) => {
            let errno = super::target::errno_of(&error);
            return Ok((failed(errno, Some(&stream.into())), None));
        }
    }
    let is_v6 = stream.peer_addr().is_ok_and(|peer| peer.is_ipv6());
    let socket = OwnedFd::from(stream);
    // From here on an ICMP message is a hint; with the option set it would end the connection.
    ask_for_messages(&socket, is_v6, false);
    // A probe sends what it has at once; where that does not work it is only later.
    let _ = setsockopt(&socket, TcpNoDelay, &true);
    let stream = TcpStream::from(socket);
    let info = info(&stream);
    let outcome = ConnectOutcome::Connected {
        round_trip: (info.round_trip > 0).then_some(info.round_trip),
        retransmits: info.total_retransmits,
    };
    Ok((outcome, Some(stream)))
}

fn failed(errno: Errno, socket: Option<&OwnedFd>) -> ConnectOutcome {
    ConnectOutcome::Failed {
        errno: errno as i32,
        icmp: socket.and_then(icmp),
    }
}

/// The ICMP message behind the error of a socket. One that this machine sent itself counts: no neighbour
/// has answered for the address.
pub(super) fn icmp(socket: &OwnedFd) -> Option<Icmp> {
    let mut byte = [0];
    let mut space = cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    let mut slices = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
    )
    .ok()?;
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, from)
            if error.ee_origin == libc::SO_EE_ORIGIN_ICMP =>
        {
            Some(Icmp {
                from: from.map(|from| IpAddr::from(from.sin_addr.s_addr.to_ne_bytes())),
                is_v6: false,
                kind: error.ee_type,
                code: error.ee_code,
            })
        }
        ControlMessageOwned::Ipv6RecvErr(error, from)
            if error.ee_origin == libc::SO_EE_ORIGIN_ICMP6 =>
        {
            Some(Icmp {
                from: from.map(|from| IpAddr::from(from.sin6_addr.s6_addr)),
                is_v6: true,
                kind: error.ee_type,
                code: error.ee_code,
            })
        }
        _ => None,
    })
}

/// Of bytes that were written to a connection, those that the other side's kernel has acknowledged.
pub(super) fn acknowledged(stream: &TcpStream, sent: u64) -> u64 {
    // A connection that was reset acknowledges nothing more; what it still holds was not.
    unacknowledged(stream).map_or(0, |rest| sent.saturating_sub(rest.into()))
}
