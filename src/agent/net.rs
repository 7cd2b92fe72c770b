//! The socket tables of a network namespace (`/proc/PID/net`) and the sockets that a process holds.
//!
//! Everybody may read the tables; which process holds a socket only shows in the links of `/proc/PID/fd`.

mod table;

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
};

use bstr::{BString, ByteSlice as _};
use nix::{
    errno::Errno,
    fcntl::{self, OFlag},
};

use super::{
    status::number,
    target::{Target, errno_of, into_bytes},
};
use crate::{
    protocol::message::{Protocol, SocketFacts, SocketState},
    sys::{Names, read_names},
};

/// The tables of TCP and UDP: whether a table's sockets are of IPv6, and its file.
pub(super) const TABLES: [(Protocol, bool, &str); 4] = [
    (Protocol::Tcp, false, "net/tcp"),
    (Protocol::Tcp, true, "net/tcp6"),
    (Protocol::Udp, false, "net/udp"),
    (Protocol::Udp, true, "net/udp6"),
];

/// Calls `each` with every socket of these protocols, TCP or UDP, in the process's network namespace.
pub(super) fn for_each_socket_of(
    target: &Target,
    protocols: &[Protocol],
    each: &mut dyn FnMut(SocketFacts),
) -> Result<(), Errno> {
    for (protocol, _, name) in TABLES {
        if protocols.contains(&protocol) {
            for_each_socket(target, name, protocol, &mut |socket| {
                each(socket);
                Ok::<(), Errno>(())
            })?;
        }
    }
    Ok(())
}

/// Calls `each` with every socket of a table of TCP or UDP; a kernel without the protocol has none.
pub(super) fn for_each_socket<E: From<Errno>>(
    target: &Target,
    name: &str,
    protocol: Protocol,
    each: &mut dyn FnMut(SocketFacts) -> Result<(), E>,
) -> Result<(), E> {
    for_each_part(target, name, &mut |part| {
        let part = part.strip_suffix(b"\n").unwrap_or(part);
        for line in part.split(|byte| *byte == b'\n') {
            each(table::parse(line, protocol).ok_or(Errno::EBADMSG)?)?;
        }
        Ok(())
    })
}

/// Calls `each` with every Unix socket of the process's network namespace.
pub(super) fn for_each_unix_socket<E: From<Errno>>(
    target: &Target,
    each: &mut dyn FnMut(SocketFacts) -> Result<(), E>,
) -> Result<(), E> {
    for_each_part(target, "net/unix", &mut |part| {
        // A path may hold line breaks (unix_seq_show, net/unix/af_unix.c): its rest is no line of its own.
        let mut sockets = part.split(|byte| *byte == b'\n').filter_map(parse_unix);
        sockets.try_for_each(&mut *each)
    })
}

/// A table in parts of whole lines: a busy node has a hundred thousand connections.
fn for_each_part<E: From<Errno>>(
    target: &Target,
    name: &str,
    each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    if let Some(file) = table(target, name)? {
        let mut lines = Lines::new(file);
        while let Some(part) = lines.next_part()? {
            each(part)?;
        }
    }
    Ok(())
}

/// Opens a table; `None` when the kernel does without this protocol.
fn table(target: &Target, name: &str) -> Result<Option<File>, Errno> {
    match target.file(name) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::ENOENT) if target.is_alive() => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A table in parts of whole lines.
struct Lines {
    reader: BufReader<File>,
    part: Vec<u8>,
    is_open: bool,
}

/// The size of a part in bytes.
const PART: usize = 64 * 1024;

impl Lines {
    fn new(file: File) -> Self {
        Self {
            reader: BufReader::with_capacity(PART, file),
            part: Vec::new(),
            is_open: false,
        }
    }

    /// The next part, without the table's heading; `None` at the end.
    fn next_part(&mut self) -> Result<Option<&[u8]>, Errno> {
        let fail = |error: std::io::Error| errno_of(&error);
        if !self.is_open {
            self.reader
                .read_until(b'\n', &mut self.part)
                .map_err(fail)?;
            self.is_open = true;
        }
        self.part.clear();
        while self.part.len() < PART {
            let count = self.reader.read_until(b'\n', &mut self.part);
            if count.map_err(fail)? == 0 {
                break;
            }
        }
        Ok((!self.part.is_empty()).then_some(self.part.as_slice()))
    }
}

/// The state by its number (`include/net/tcp_states.h`); UDP has the same numbers.
pub(super) const fn state_of(number: u8) -> Option<SocketState> {
    Some(match number {
        1 => SocketState::Established,
        2 => SocketState::SynSent,
        // 12 is a connection that was not even promised to a listener yet.
        3 | 12 => SocketState::SynReceived,
        4 => SocketState::FinWait1,
        5 => SocketState::FinWait2,
        6 => SocketState::TimeWait,
        // 13: bound, and nothing else yet.
        7 | 13 => SocketState::Closed,
        8 => SocketState::CloseWait,
        9 => SocketState::LastAck,
        10 => SocketState::Listening,
        11 => SocketState::Closing,
        _ => return None,
    })
}

/// `address: references protocol flags type state inode[ path]`, the path being bytes with anything in them.
fn parse_unix(line: &[u8]) -> Option<SocketFacts> {
    let mut rest = line;
    let mut word = || {
        rest = rest.trim_ascii_start();
        let end = rest.find_byte(b' ').unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(word)
    };
    let is_hexadecimal = |word: &[u8]| word.iter().all(u8::is_ascii_hexdigit);
    if !word()?.ends_with(b":") {
        return None;
    }
    for _ in 0..5 {
        if !is_hexadecimal(word()?) {
            return None;
        }
    }
    let inode = number(word()?)?;
    let path = rest.strip_prefix(b" ").filter(|path| !path.is_empty());
    Some(SocketFacts {
        protocol: Protocol::Unix,
        near: None,
        far: None,
        path: path.map(BString::from),
        state: None,
        unread: 0,
        unsent: 0,
        retransmits: 0,
        timer: None,
        uid: 0,
        inode,
        only_v6: None,
        tcp: None,
    })
}

/// Whether a socket waits for others to come: a listening TCP socket, or a UDP socket without a peer.
pub(super) fn listens(socket: &SocketFacts) -> Option<SocketAddr> {
    let has_no_peer = socket.far.is_some_and(|far| far.port() == 0);
    match (socket.protocol, socket.state) {
        (Protocol::Tcp, Some(SocketState::Listening)) => socket.near,
        (Protocol::Udp, _) if has_no_peer => socket.near,
        _ => None,
    }
}

/// An open `/proc/PID/fd`.
pub(super) struct Descriptors {
    folder: std::os::fd::OwnedFd,
}

impl Descriptors {
    /// Opens the folder, which takes less than to follow its links.
    pub(super) fn open(target: &Target) -> Result<Self, Errno> {
        let folder = target.open_at("fd", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        Ok(Self { folder })
    }

    /// Calls `each` with every number, in the order of the folder: ascending.
    pub(super) fn for_each<E: From<Errno>>(
        &self,
        mut each: impl FnMut(u32) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = [0; 4096];
        loop {
            let names: Names<'_> = read_names(&self.folder, &mut buffer)?;
            if names.is_end() {
                return Ok(());
            }
            for (name, _) in names {
                if let Some(descriptor) = number(name.to_bytes()) {
                    each(descriptor)?;
                }
            }
        }
    }

    /// What a descriptor refers to, as the kernel names it.
    pub(super) fn link(&self, descriptor: u32) -> Result<BString, Errno> {
        fcntl::readlinkat(&self.folder, descriptor.to_string().as_str()).map(into_bytes)
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> std::os::fd::BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.folder.as_fd()
    }

    /// Calls `each` with every descriptor of a socket and the socket's inode.
    pub(super) fn for_each_socket(&self, mut each: impl FnMut(u32, u64)) -> Result<(), Errno> {
        self.for_each(|descriptor| {
            match self.link(descriptor) {
                Ok(link) => {
                    if let Some(inode) = socket_inode(&link) {
                        each(descriptor, inode);
                    }
                    Ok(())
                }
                // Closed meanwhile.
                Err(Errno::ENOENT) => Ok(()),
                Err(errno) => Err(errno),
            }
        })
    }
}

/// The inode in `socket:[N]`.
fn socket_inode(link: &[u8]) -> Option<u64> {
    number(link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_socket_keeps_any_path() {
        let line = b"0000000000000000: 00000002 00000000 00010000 0001 01 18223 /run/a b \xff";
        let socket = parse_unix(line).unwrap();
        assert_eq!(socket.inode, 18223);
        assert_eq!(socket.path.unwrap(), b"/run/a b \xff".as_slice());
        let line = b"ffff9a8b: 00000003 00000000 00000000 0001 03 7";
        assert_eq!(parse_unix(line).unwrap().path, None);
        let line = b"0000000000000000: 00000002 00000000 00010000 0001 01     7 @abstract";
        assert_eq!(parse_unix(line).unwrap().path.unwrap(), "@abstract");
        for line in [&b""[..], b"rest of a path", b"a: b c d e f g"] {
            assert_eq!(parse_unix(line), None);
        }
    }

    #[test]
    fn only_links_of_sockets_are_sockets() {
        assert_eq!(socket_inode(b"socket:[12]"), Some(12));
        for link in [
            &b"socket:[]"[..],
            b"pipe:[12]",
            b"/socket:[12]",
            b"socket:[12] (deleted)",
        ] {
            assert_eq!(socket_inode(link), None);
        }
    }
}
