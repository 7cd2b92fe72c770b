//! A line of `/proc/PID/net/{tcp,tcp6,udp,udp6}`.
//!
//! It reads (`get_tcp4_sock`, `net/ipv4/tcp_ipv4.c`): `sl local remote st tx:rx tr:when retrnsmt uid timeout inode ...`,
//! most of it in hexadecimal, addresses in the machine's order a word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::state_of;
use crate::{
    agent::status::number,
    protocol::message::{Protocol, SocketFacts},
};

/// Clock ticks a second, as the kernel prints its timers (`USER_HZ`).
const TICKS: u64 = 100;

/// Takes a line apart; `None` when it is not one.
pub(super) fn parse(line: &[u8], protocol: Protocol) -> Option<SocketFacts> {
    let mut words = line
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let mut word = || words.next();
    let is_number = word()?.ends_with(b":");
    let (near, far) = (address(word()?)?, address(word()?)?);
    let state = state_of(u8::try_from(hexadecimal(word()?)?).ok()?)?;
    let (unsent, unread) = pair(word()?)?;
    let (timer, expires) = pair(word()?)?;
    let retransmits = hexadecimal(word()?)?;
    let uid = number(word()?)?;
    word()?;
    let inode = number(word()?)?;
    is_number.then_some(SocketFacts {
        protocol,
        near: Some(near),
        far: Some(far),
        path: None,
        state: Some(state),
        unread: u32::try_from(unread).ok()?,
        unsent: u32::try_from(unsent).ok()?,
        retransmits: u8::try_from(retransmits).unwrap_or(u8::MAX),
        timer: (timer != 0)
            .then(|| u32::try_from(expires.saturating_mul(1000 / TICKS)).unwrap_or(u32::MAX)),
        uid,
        inode,
        only_v6: None,
        tcp: None,
    })
}

/// Two numbers with a colon between them.
fn pair(word: &[u8]) -> Option<(u64, u64)> {
    let colon = word.iter().position(|byte| *byte == b':')?;
    let (left, right) = word.split_at_checked(colon)?;
    Some((hexadecimal(left)?, hexadecimal(right.get(1..)?)?))
}

/// `0100007F:1F90`; an address of IPv6 is four such words without anything between them.
fn address(word: &[u8]) -> Option<SocketAddr> {
    let colon = word.iter().position(|byte| *byte == b':')?;
    let (address, port) = word.split_at_checked(colon)?;
    let port = u16::try_from(hexadecimal(port.get(1..)?)?).ok()?;
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word_at(address, 0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (position, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word_at(address, position * 8)?);
            }
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The bytes of a word that was printed as a number of the machine.
fn word_at(address: &[u8], offset: usize) -> Option<[u8; 4]> {
    let number = hexadecimal(address.get(offset..offset + 8)?)?;
    Some(u32::try_from(number).ok()?.to_ne_bytes())
}

fn hexadecimal(word: &[u8]) -> Option<u64> {
    // `from_str_radix` takes a sign, the kernel writes none.
    if !word.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::message::SocketState;

    const LINE: &str = "   0: 0100007F:1F90 0200000A:C001 08 00000002:00000015 01:00000014 00000003  1000        0 4711 1 0000000000000000 20 4 30 10 -1";

    #[test]
    fn a_line_has_all_that_the_kernel_prints_of_a_socket() {
        let socket = parse(LINE.as_bytes(), Protocol::Tcp).unwrap();
        assert_eq!(socket.near.unwrap().to_string(), "127.0.0.1:8080");
        assert_eq!(socket.far.unwrap().to_string(), "10.0.0.2:49153");
        assert_eq!(socket.state, Some(SocketState::CloseWait));
        assert_eq!((socket.unread, socket.unsent), (21, 2));
        assert_eq!((socket.retransmits, socket.timer), (3, Some(200)));
        assert_eq!((socket.uid, socket.inode), (1000, 4711));
    }

    #[test]
    fn addresses_of_ipv6_are_read_in_the_order_of_their_bytes() {
        let text = "B80D0120000000000000000001000000:0050";
        assert_eq!(
            address(text.as_bytes()).unwrap().to_string(),
            "[2001:db8::1]:80"
        );
        let mapped = "0000000000000000FFFF00000100007F:0050";
        assert_eq!(
            address(mapped.as_bytes()).unwrap().ip().to_canonical(),
            IpAddr::from([127, 0, 0, 1])
        );
    }

    #[test]
    fn a_line_that_is_not_understood_is_no_socket() {
        let changed = |from: &str, to: &str| LINE.replacen(from, to, 1);
        for line in [
            String::new(),
            "sl  local_address rem_address   st".to_owned(),
            changed("0:", "0"),
            changed("1F90", "1F9"),
            changed("1F90", "11F90"),
            changed("0100007F:", "0100007"),
            changed("0100007F", "+100007F"),
            changed(" 08 ", " FF "),
            changed("00000002:00000015", "00000002"),
            changed("00000002:00000015", "1000000002:00000015"),
            changed(" 4711", " x"),
            changed(" 4711 1 0000000000000000 20 4 30 10 -1", ""),
        ] {
            if line == changed("1F90", "1F9") {
                // Shorter is still a number.
                continue;
            }
            assert_eq!(parse(line.as_bytes(), Protocol::Tcp), None, "{line}");
        }
        for length in 0..80 {
            assert_eq!(parse(&LINE.as_bytes()[..length], Protocol::Tcp), None);
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line, Protocol::Udp);
        }
    }
}
