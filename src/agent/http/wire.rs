//! Bytes to and from a server, plain or over TLS, without ever blocking.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use nix::poll::PollFlags;
use rustls::ClientConnection;

use crate::agent::dial::acknowledged;

/// A connection, and what has gone over it.
pub(super) struct Wire {
    tcp: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Bytes that the kernel took, the handshake's included.
    sent: u64,
    /// Those of the handshake.
    sent_before: u64,
    received: u64,
}

impl Wire {
    pub(super) fn new(tcp: TcpStream, tls: Option<ClientConnection>) -> Self {
        Self {
            tcp,
            tls: tls.map(Box::new),
            sent: 0,
            sent_before: 0,
            received: 0,
        }
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub(super) fn tls(&self) -> Option<&ClientConnection> {
        self.tls.as_deref()
    }

    /// From here on the request counts.
    pub(super) fn begin(&mut self) {
        self.sent_before = self.sent;
        self.received = 0;
    }

    /// Bytes that the kernel took for the request.
    pub(super) fn sent(&self) -> u64 {
        self.sent - self.sent_before
    }

    /// Those of them that the server's kernel has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        acknowledged(&self.tcp, self.sent).saturating_sub(self.sent_before)
    }

    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Whether all that was written has gone to the kernel.
    pub(super) fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    /// For what to wait.
    pub(super) fn interest(&self) -> PollFlags {
        if self.is_flushed() {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLIN | PollFlags::POLLOUT
        }
    }

    /// A step of the handshake; answers whether it is over, and `WouldBlock` when it has to wait.
    pub(super) fn shake_hands(&mut self) -> io::Result<bool> {
        self.flush()?;
        let Some(tls) = &mut self.tls else {
            return Ok(true);
        };
        if !tls.is_handshaking() {
            return Ok(true);
        }
        let mut counted = Counted(&self.tcp, &mut self.received);
        if tls.read_tls(&mut counted)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let processed = tls.process_new_packets();
        // The alert that says why goes out as well.
        let flushed = self.flush();
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        match flushed {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())),
        }
    }

    /// Reads what is there; 0 at the end, `WouldBlock` when nothing is.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(tls) = &mut self.tls else {
                return Counted(&self.tcp, &mut self.received).read(buffer);
            };
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Closed without saying so in TLS; whether something is missing shows in HTTP.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            tls.read_tls(&mut Counted(&self.tcp, &mut self.received))?;
            tls.process_new_packets()
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    /// Writes as much as is taken; `WouldBlock` when nothing is.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            let count = (&self.tcp).write(bytes)?;
            self.sent += count as u64;
            return Ok(count);
        };
        let count = tls.writer().write(bytes)?;
        match self.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock && count > 0 => Ok(count),
            Err(error) => Err(error),
            Ok(()) if count == 0 && !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            Ok(()) => Ok(count),
        }
    }

    /// Hands to the kernel what TLS holds.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        while tls.wants_write() {
            let count = tls.write_tls(&mut &self.tcp)?;
            self.sent += count as u64;
        }
        Ok(())
    }
}

/// A connection whose bytes are counted.
struct Counted<'a>(&'a TcpStream, &'a mut u64);

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&mut &*self.0).read(buffer)?;
        *self.1 += count as u64;
        Ok(count)
    }
}
