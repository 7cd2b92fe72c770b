//! The socket tables of a network namespace (`/proc/PID/net`) and the sockets that a process holds.
//!
//! Everybody may read the tables; which process holds a socket only shows in the links of `/proc/PID/fd`.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Cursor},
    net::SocketAddr,
};

use bstr::{BString, ByteSlice as _};
use nix::{
    errno::Errno,
    fcntl::{self, OFlag},
};
use procfs::{
    FromBufReadSI as _,
    net::{TcpNetEntries, TcpState, UdpNetEntries},
};

use super::{
    status::number,
    target::{Target, errno_of, into_bytes},
};
use crate::{
    protocol::message::{Protocol, Socket, SocketState},
    sys::{Names, read_names},
};

/// Calls `each` with every socket of the process's network namespace.
pub(super) fn for_each_socket<E: From<Errno>>(
    target: &Target,
    mut each: impl FnMut(Socket) -> Result<(), E>,
) -> Result<(), E> {
    for_each_inet_socket(target, &mut each)?;
    for_each_unix_socket(target, &mut each)
}

/// Calls `each` with every TCP and UDP socket of the process's network namespace.
pub(super) fn for_each_inet_socket<E: From<Errno>>(
    target: &Target,
    mut each: impl FnMut(Socket) -> Result<(), E>,
) -> Result<(), E> {
    for_each_tcp_socket(target, &mut each)?;
    for name in ["net/udp", "net/udp6"] {
        for_each_row(target, name, parse_udp, &mut each)?;
    }
    Ok(())
}

/// Calls `each` with every TCP socket of the process's network namespace.
pub(super) fn for_each_tcp_socket<E: From<Errno>>(
    target: &Target,
    mut each: impl FnMut(Socket) -> Result<(), E>,
) -> Result<(), E> {
    for name in ["net/tcp", "net/tcp6"] {
        for_each_row(target, name, parse_tcp, &mut each)?;
    }
    Ok(())
}

fn for_each_row<E: From<Errno>>(
    target: &Target,
    name: &str,
    parse: fn(&[u8]) -> Option<Vec<Socket>>,
    each: &mut impl FnMut(Socket) -> Result<(), E>,
) -> Result<(), E> {
    let Some(file) = table(target, name)? else {
        return Ok(());
    };
    let mut lines = Lines::new(file);
    // A part at a time: a busy node has a hundred thousand connections.
    while let Some(part) = lines.next_part()? {
        for socket in parse(part).ok_or(Errno::EBADMSG)? {
            each(socket)?;
        }
    }
    Ok(())
}

pub(super) fn for_each_unix_socket<E: From<Errno>>(
    target: &Target,
    mut each: impl FnMut(Socket) -> Result<(), E>,
) -> Result<(), E> {
    let Some(file) = table(target, "net/unix")? else {
        return Ok(());
    };
    let mut lines = Lines::new(file);
    while let Some(part) = lines.next_part()? {
        // A path may hold line breaks (unix_seq_show, net/unix/af_unix.c): its rest is no line of its own.
        for socket in part.split(|byte| *byte == b'\n').filter_map(parse_unix) {
            each(socket)?;
        }
    }
    Ok(())
}

/// Opens a table; `None` when the kernel does without this protocol.
pub(super) fn table(target: &Target, name: &str) -> Result<Option<File>, Errno> {
    match target.file(name) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::ENOENT) if target.is_alive() => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A table in parts of whole lines.
pub(super) struct Lines {
    reader: BufReader<File>,
    part: Vec<u8>,
    is_open: bool,
}

/// The size of a part in bytes.
const PART: usize = 64 * 1024;

impl Lines {
    pub(super) fn new(file: File) -> Self {
        Self {
            reader: BufReader::with_capacity(PART, file),
            part: Vec::new(),
            is_open: false,
        }
    }

    /// The next part, without the table's heading; `None` at the end.
    pub(super) fn next_part(&mut self) -> Result<Option<&[u8]>, Errno> {
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

/// What the parsers of `procfs` take for the heading of a table.
const HEADING: &[u8] = b"sl\n";

fn parse_tcp(lines: &[u8]) -> Option<Vec<Socket>> {
    let table = Cursor::new([HEADING, lines].concat());
    let entries = TcpNetEntries::from_buf_read(table, procfs::current_system_info()).ok()?;
    let sockets = entries.0.into_iter().map(|entry| Socket {
        protocol: Protocol::Tcp,
        near: Some(entry.local_address),
        far: Some(entry.remote_address),
        path: None,
        state: Some(state_of(&entry.state)),
        unread: entry.rx_queue,
        unsent: entry.tx_queue,
        inode: entry.inode,
        descriptor: None,
    });
    Some(sockets.collect())
}

fn parse_udp(lines: &[u8]) -> Option<Vec<Socket>> {
    let table = Cursor::new([HEADING, lines].concat());
    let entries = UdpNetEntries::from_buf_read(table, procfs::current_system_info()).ok()?;
    let sockets = entries.0.into_iter().map(|entry| Socket {
        protocol: Protocol::Udp,
        near: Some(entry.local_address),
        far: Some(entry.remote_address),
        path: None,
        state: Some(match entry.state {
            procfs::net::UdpState::Established => SocketState::Established,
            procfs::net::UdpState::Close => SocketState::Closed,
        }),
        unread: entry.rx_queue,
        unsent: entry.tx_queue,
        inode: entry.inode,
        descriptor: None,
    });
    Some(sockets.collect())
}

const fn state_of(state: &TcpState) -> SocketState {
    match state {
        TcpState::Established => SocketState::Established,
        TcpState::SynSent => SocketState::SynSent,
        TcpState::SynRecv | TcpState::NewSynRecv => SocketState::SynReceived,
        TcpState::FinWait1 => SocketState::FinWait1,
        TcpState::FinWait2 => SocketState::FinWait2,
        TcpState::TimeWait => SocketState::TimeWait,
        TcpState::Close => SocketState::Closed,
        TcpState::CloseWait => SocketState::CloseWait,
        TcpState::LastAck => SocketState::LastAck,
        TcpState::Listen => SocketState::Listening,
        TcpState::Closing => SocketState::Closing,
    }
}

/// `address: references protocol flags type state inode[ path]`, the path being bytes with anything in them.
fn parse_unix(line: &[u8]) -> Option<Socket> {
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
    Some(Socket {
        protocol: Protocol::Unix,
        near: None,
        far: None,
        path: path.map(BString::from),
        state: None,
        unread: 0,
        unsent: 0,
        inode,
        descriptor: None,
    })
}

/// Whether a socket waits for others to come: a listening TCP socket, or a UDP socket without a peer.
pub(super) fn listens(socket: &Socket) -> Option<SocketAddr> {
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
    fn a_table_that_is_not_understood_is_not_empty() {
        assert_eq!(parse_tcp(b"garbage\n"), None);
        assert_eq!(parse_udp(b"0: 0100007F:xyz\n"), None);
        assert_eq!(parse_tcp(b""), Some(Vec::new()));
    }

    #[test]
    fn ipv6_is_read_in_the_order_of_its_bytes() {
        let line = b"   0: B80D0120000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0\n";
        let sockets = parse_tcp(line).unwrap();
        assert_eq!(sockets[0].near.unwrap().to_string(), "[2001:db8::1]:8080");
        assert_eq!(listens(&sockets[0]), sockets[0].near);
        assert_eq!(sockets[0].inode, 4711);
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
