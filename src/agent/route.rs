//! Which way the kernel would send a packet: `RTM_GETROUTE` over netlink, as `ip route get` asks.
//!
//! The messages are a few numbers each and built by hand (include/uapi/linux/{netlink,rtnetlink}.h).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::{
    errno::Errno,
    libc,
    net::if_::if_indextoname,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
        socket,
    },
};
use std::os::fd::AsRawFd as _;

use super::netlink::{self, HEADER, NLM_F_REQUEST, NLMSG_ERROR, u16_at, u32_at};
use crate::protocol::message::Route;

/// `RTM_F_FIB_MATCH`: answer with the entry of the table instead of what follows from it.
const FIB_MATCH: u32 = 0x2000;
const ROUTE_HEADER: usize = 12;

/// The way to an address, asked in this thread's network namespace.
pub(super) fn route_to(address: IpAddr) -> Result<Route, Errno> {
    let answer = match ask(address, 0) {
        Ok(answer) => answer,
        // The kernel answers with the error that a connection would meet: the way is refused, which is a fact.
        Err(errno @ (Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL)) => {
            return Ok(Route {
                refused: Some(errno as i32),
                ..Route::default()
            });
        }
        Err(errno) => return Err(errno),
    };
    let mut route = parse(&answer).ok_or(Errno::EBADMSG)?;
    // Kernels before 4.13 do not know the flag and answer the same again, whose prefix is the whole address.
    route.entry = ask(address, FIB_MATCH)
        .ok()
        .and_then(|answer| entry(&answer, address));
    Ok(route)
}

fn ask(address: IpAddr, flags: u32) -> Result<Vec<u8>, Errno> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let question = question(address, flags);
    sendto(
        netlink.as_raw_fd(),
        &question,
        &NetlinkAddr::new(0, 0),
        MsgFlags::empty(),
    )?;
    let mut answer = vec![0; 8192];
    // The kernel answers before `sendto` returns.
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    answer.truncate(length);
    if u16_at(&answer, 4) == Some(NLMSG_ERROR) {
        let error = u32_at(&answer, HEADER).unwrap_or_default().cast_signed();
        return Err(Errno::from_raw(error.saturating_neg()));
    }
    Ok(answer)
}

fn question(address: IpAddr, flags: u32) -> Vec<u8> {
    let (family, bytes) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let (family, bits) = (byte(family), byte(bytes.len() * 8));
    let length = HEADER + ROUTE_HEADER + 4 + bytes.len();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or_default().to_ne_bytes());
    message.extend(libc::RTM_GETROUTE.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    // struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags.
    message.extend([family, bits, 0, 0, 0, 0, 0, 0]);
    message.extend(flags.to_ne_bytes());
    message.extend(
        u16::try_from(4 + bytes.len())
            .unwrap_or_default()
            .to_ne_bytes(),
    );
    message.extend(libc::RTA_DST.to_ne_bytes());
    message.extend(bytes);
    message
}

fn parse(answer: &[u8]) -> Option<Route> {
    let mut route = Route::default();
    for (kind, value) in attributes(answer)? {
        match kind {
            libc::RTA_OIF => {
                let index = u32_at(value, 0)?;
                route.interface = if_indextoname(index)
                    .ok()
                    .map(|name| name.to_string_lossy().into_owned());
            }
            libc::RTA_GATEWAY => route.gateway = address_of(value),
            libc::RTA_PREFSRC => route.source = address_of(value),
            _ => {}
        }
    }
    Some(route)
}

/// The prefix of the entry that decided.
fn entry(answer: &[u8], asked: IpAddr) -> Option<String> {
    let bits = *answer.get(HEADER + 1)?;
    let prefix = attributes(answer)?
        .into_iter()
        .find(|(kind, _)| *kind == libc::RTA_DST)
        .and_then(|(_, value)| address_of(value));
    let unspecified = match asked {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Some(format!("{}/{bits}", prefix.unwrap_or(unspecified)))
}

/// The attributes behind a `struct rtmsg`.
fn attributes(answer: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let length = usize::try_from(u32_at(answer, 0)?).ok()?;
    let rest = answer
        .get(..length.min(answer.len()))?
        .get(HEADER + ROUTE_HEADER..)?;
    netlink::attributes(rest).collect()
}

fn address_of(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(value).ok()?;
    Some(Ipv6Addr::from(octets).into())
}

/// Families and lengths of addresses fit a byte.
fn byte<T: TryInto<u8>>(value: T) -> u8 {
    value.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_goes_over_lo() {
        let route = route_to(Ipv4Addr::LOCALHOST.into()).unwrap();
        assert_eq!(route.interface.as_deref(), Some("lo"));
        assert_eq!(route.source, Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(route.refused, None);
    }

    #[test]
    fn an_answer_that_is_cut_is_no_route() {
        assert_eq!(parse(&[0; 10]), None);
        let mut answer = vec![0; 28];
        answer[..4].copy_from_slice(&36_u32.to_ne_bytes());
        answer.extend([200, 0, 1, 0, 1, 2, 3, 4]);
        assert_eq!(parse(&answer), None);
    }
}
