//! `ss`: the sockets of the target's network namespace, and who holds them. Names are never looked up.

use std::{collections::HashMap, ffi::OsString, io::Write, net::SocketAddr};

use bstr::ByteSlice as _;
use lexopt::Arg::{Long, Short};

use super::{Trouble, ask, harmless};
use crate::protocol::message::{
    ConnectionRecord, ConnectionsRequest, NetProcess, Protocol, Request, SocketFacts, SocketState,
};

/// Prints the sockets.
pub(super) fn run(arguments: &[OsString], out: &mut dyn Write) -> Result<u8, Trouble> {
    let wanted = Wanted::parse(arguments)?;
    let request = Request::Connections(ConnectionsRequest {
        process: ask::target()?,
        unix: wanted.shows_protocol(Protocol::Unix),
    });
    let mut found = Found::default();
    ask::rows(&request, |record| {
        found.add(record);
        Ok(())
    })?;
    let mut table = vec![wanted.titles()];
    for socket in found.sockets.iter().filter(|socket| wanted.shows(socket)) {
        table.push(wanted.line(socket, &found));
    }
    print(&table, out)?;
    if wanted.processes && found.unseen > 0 {
        let unseen = found.unseen;
        return Err(Trouble::said(
            0,
            format!(
                "the descriptors of {unseen} processes cannot be seen: a socket without a name may be theirs"
            ),
        ));
    }
    Ok(0)
}

/// What the probe has told.
#[derive(Default)]
struct Found {
    sockets: Vec<SocketFacts>,
    /// Where the table begins that is under way.
    table: usize,
    /// Which table that is.
    which: Option<(Protocol, bool)>,
    process: Option<NetProcess>,
    /// By inode, in ss's words.
    holders: HashMap<u64, Vec<u8>>,
    unseen: usize,
}

impl Found {
    fn add(&mut self, record: ConnectionRecord) {
        match record {
            ConnectionRecord::Table(table) => {
                let which = Some((table.protocol, table.is_v6));
                // It comes again from elsewhere: what came before was broken off.
                if self.which == which {
                    self.sockets.truncate(self.table);
                }
                (self.table, self.which) = (self.sockets.len(), which);
            }
            ConnectionRecord::Socket(socket) => self.sockets.push(*socket),
            ConnectionRecord::Process(process) => self.process = Some(process),
            ConnectionRecord::Held(held) => {
                let Some(process) = &self.process else {
                    return;
                };
                let name = harmless(&process.name);
                for one in held {
                    let numbers = format!(",pid={},fd={})", process.id.pid, one.descriptor);
                    let all = self.holders.entry(one.inode).or_default();
                    if !all.is_empty() {
                        all.push(b',');
                    }
                    all.extend([b"(\"", name.as_slice(), b"\"", numbers.as_bytes()].concat());
                }
            }
            ConnectionRecord::Unseen(_) => self.unseen += 1,
            ConnectionRecord::Network(_) | ConnectionRecord::Counters(_) => {}
        }
    }
}

/// What the arguments ask for.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of ss")]
struct Wanted {
    tcp: bool,
    udp: bool,
    unix: bool,
    v4: bool,
    v6: bool,
    all: bool,
    listening: bool,
    processes: bool,
    no_titles: bool,
}

impl Wanted {
    fn parse(arguments: &[OsString]) -> Result<Self, Trouble> {
        let mut wanted = Self::default();
        let mut parser = lexopt::Parser::from_args(arguments.iter().cloned());
        while let Some(argument) = parser.next()? {
            match argument {
                Short('t') | Long("tcp") => wanted.tcp = true,
                Short('u') | Long("udp") => wanted.udp = true,
                Short('x') | Long("unix") => wanted.unix = true,
                Short('4') | Long("ipv4") => wanted.v4 = true,
                Short('6') | Long("ipv6") => wanted.v6 = true,
                Short('a') | Long("all") => wanted.all = true,
                Short('l') | Long("listening") => wanted.listening = true,
                Short('p') | Long("processes") => wanted.processes = true,
                Short('H') | Long("no-header") => wanted.no_titles = true,
                // Numbers are all there is.
                Short('n' | 'W') | Long("numeric" | "wide") => {}
                lexopt::Arg::Value(word) => {
                    return Err(Trouble::Unknown(word.to_string_lossy().into_owned()));
                }
                other => return Err(other.unexpected().into()),
            }
        }
        if wanted.listening && wanted.unix {
            // The probe does not tell which of these wait for connections.
            return Err(Trouble::Unknown("-l with -x".to_owned()));
        }
        Ok(wanted)
    }

    const fn is_any_protocol(&self) -> bool {
        !self.tcp && !self.udp && !self.unix
    }

    const fn shows_protocol(&self, protocol: Protocol) -> bool {
        let is_any = self.is_any_protocol();
        match protocol {
            Protocol::Tcp => self.tcp || is_any,
            Protocol::Udp => self.udp || is_any,
            Protocol::Unix => self.unix || (is_any && !self.v4 && !self.v6),
        }
    }

    fn shows(&self, socket: &SocketFacts) -> bool {
        let is_v6 = socket.near.is_some_and(|near| near.is_ipv6());
        let is_family = match (self.v4, self.v6) {
            (false, false) | (true, true) => true,
            (v4, _) => socket.protocol == Protocol::Unix || is_v6 != v4,
        };
        let is_state = match socket.state {
            _ if self.all => true,
            Some(SocketState::Listening | SocketState::Closed) => self.listening,
            // Not there yet, or no longer: only `-a` shows them.
            Some(SocketState::TimeWait | SocketState::SynReceived) => false,
            Some(_) | None => !self.listening,
        };
        self.shows_protocol(socket.protocol) && is_family && is_state
    }

    /// Whether the kind of socket is told: only where several may come.
    const fn names_kinds(&self) -> bool {
        (self.tcp as u8) + (self.udp as u8) + (self.unix as u8) != 1
    }

    fn titles(&self) -> Vec<Vec<u8>> {
        if self.no_titles {
            return Vec::new();
        }
        let words = [
            "Netid",
            "State",
            "Recv-Q",
            "Send-Q",
            "Local Address:Port",
            "Peer Address:Port",
            "Process",
        ];
        let skipped = usize::from(!self.names_kinds());
        words
            .iter()
            .skip(skipped)
            .map(|word| word.as_bytes().to_vec())
            .collect()
    }

    fn line(&self, socket: &SocketFacts, found: &Found) -> Vec<Vec<u8>> {
        let mut line = Vec::new();
        if self.names_kinds() {
            let kind = match socket.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Unix => "unix",
            };
            line.push(kind.as_bytes().to_vec());
        }
        line.push(state(socket).as_bytes().to_vec());
        line.push(socket.unread.to_string().into_bytes());
        line.push(socket.unsent.to_string().into_bytes());
        line.push(match (&socket.near, &socket.path) {
            (Some(_), _) => address(socket.near, socket.only_v6 != Some(true)),
            (None, Some(path)) => [
                &harmless(path),
                &b" "[..],
                socket.inode.to_string().as_bytes(),
            ]
            .concat(),
            (None, None) => format!("* {}", socket.inode).into_bytes(),
        });
        line.push(match socket.protocol {
            Protocol::Unix => b"*".to_vec(),
            Protocol::Tcp | Protocol::Udp => address(socket.far, socket.only_v6 != Some(true)),
        });
        if self.processes
            && let Some(holders) = found
                .holders
                .get(&socket.inode)
                .filter(|_| socket.inode != 0)
        {
            line.push([b"users:(", holders.as_slice(), b")"].concat());
        }
        line
    }
}

const fn state(socket: &SocketFacts) -> &'static str {
    match socket.state {
        Some(SocketState::Established) => "ESTAB",
        Some(SocketState::SynSent) => "SYN-SENT",
        Some(SocketState::SynReceived) => "SYN-RECV",
        Some(SocketState::FinWait1) => "FIN-WAIT-1",
        Some(SocketState::FinWait2) => "FIN-WAIT-2",
        Some(SocketState::TimeWait) => "TIME-WAIT",
        Some(SocketState::Closed) => "UNCONN",
        Some(SocketState::CloseWait) => "CLOSE-WAIT",
        Some(SocketState::LastAck) => "LAST-ACK",
        Some(SocketState::Listening) => "LISTEN",
        Some(SocketState::Closing) => "CLOSING",
        None => "-",
    }
}

/// `10.0.0.1:80`, `[::1]:80`, `0.0.0.0:*` without a port, and `*:80` for a socket of IPv6 that takes IPv4 too.
fn address(address: Option<SocketAddr>, takes_both: bool) -> Vec<u8> {
    let Some(address) = address else {
        return b"*:*".to_vec();
    };
    let host = match address {
        SocketAddr::V6(v6) if v6.ip().is_unspecified() && takes_both => "*".to_owned(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        SocketAddr::V4(v4) => v4.ip().to_string(),
    };
    let port = match address.port() {
        0 => "*".to_owned(),
        port => port.to_string(),
    };
    format!("{host}:{port}").into_bytes()
}

/// In columns, the last without padding.
fn print(table: &[Vec<Vec<u8>>], out: &mut dyn Write) -> Result<(), Trouble> {
    let columns = table.iter().map(Vec::len).max().unwrap_or_default();
    let width = |place: usize| {
        let cells = table.iter().filter_map(|line| line.get(place));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for line in table.iter().filter(|line| !line.is_empty()) {
        let mut text = Vec::new();
        for (cell, width) in line.iter().zip(&widths) {
            text.extend_from_slice(cell);
            let padding = width.saturating_sub(cell.chars().count()) + 1;
            text.extend(std::iter::repeat_n(b' ', padding));
        }
        out.write_all(text.trim_ascii_end())?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
