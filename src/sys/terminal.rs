//! The size of a terminal.

use std::os::fd::{AsFd, AsRawFd as _};

use nix::{
    errno::Errno,
    libc::{self, winsize},
};

/// Sets the size of a terminal, in characters; its foreground programs hear of it (`SIGWINCH`).
pub fn set_terminal_size(terminal: impl AsFd, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let descriptor = terminal.as_fd().as_raw_fd();
    // SAFETY: the request reads one `winsize`, which lives until the call returns.
    #[expect(unsafe_code, reason = "nix has no TIOCSWINSZ")]
    let result = unsafe { libc::ioctl(descriptor, libc::TIOCSWINSZ, &raw const size) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_sees_the_size() {
        let pair = nix::pty::openpty(None, None).unwrap();
        set_terminal_size(&pair.master, 11, 222).unwrap();
        let (width, height) = terminal_size::terminal_size_of(&pair.slave).unwrap();
        assert_eq!((width.0, height.0), (222, 11));
    }

    #[test]
    fn a_file_has_no_size_in_characters() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(set_terminal_size(&file, 1, 1), Err(Errno::ENOTTY));
    }
}
