//! What the kernel knows of a TCP connection: `getsockopt(TCP_INFO)` and `ioctl(SIOCOUTQ)`.

use std::os::fd::{AsFd, AsRawFd as _};

use nix::{errno::Errno, libc};

/// A part of `struct tcp_info` (include/uapi/linux/tcp.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Times that the oldest packet without an answer was sent again.
    pub retransmits: u8,
    /// The smoothed round trip in microseconds; 0 before the first.
    pub round_trip: u32,
    /// Packets sent again since the beginning.
    pub total_retransmits: u32,
}

/// As much of the structure as is used; a younger kernel has more, an older one may have less.
const LENGTH: usize = 104;

/// What the kernel knows of a connection.
pub fn tcp_info(socket: &impl AsFd) -> Result<TcpInfo, Errno> {
    let mut bytes = [0_u8; LENGTH];
    let mut length = LENGTH as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `bytes`, which is borrowed mutably for the whole
    // call, and the number written to `length`; both are plain bytes and numbers.
    #[expect(unsafe_code, reason = "nix has no TCP_INFO")]
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    let word = |offset: usize| {
        let bytes = bytes.get(offset..offset + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    Ok(TcpInfo {
        retransmits: bytes.get(2).copied().unwrap_or_default(),
        round_trip: word(68).unwrap_or_default(),
        total_retransmits: word(100).unwrap_or_default(),
    })
}

/// Bytes that were written and that the other side's kernel has not acknowledged.
pub fn unacknowledged(socket: &impl AsFd) -> Result<u32, Errno> {
    let mut count: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (the number of TIOCOUTQ) writes one `int` to the pointer, which is valid for it.
    #[expect(
        unsafe_code,
        reason = "nix has macros for it, which are unsafe to call too"
    )]
    let result = unsafe {
        libc::ioctl(
            socket.as_fd().as_raw_fd(),
            libc::TIOCOUTQ as _,
            &raw mut count,
        )
    };
    Errno::result(result)?;
    Ok(u32::try_from(count).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn what_was_written_is_acknowledged_by_the_kernel_of_a_peer_that_does_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.write_all(b"hello").unwrap();
        let started = std::time::Instant::now();
        while unacknowledged(&stream).unwrap() > 0 {
            assert!(started.elapsed().as_secs() < 5);
        }
        let info = tcp_info(&stream).unwrap();
        assert_eq!(info.retransmits, 0);
        assert!(info.round_trip > 0);
    }
}
