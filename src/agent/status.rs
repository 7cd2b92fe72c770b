//! `/proc/PID/stat` and `/proc/PID/status`, as far as probes need them.
//!
//! Parsed from bytes: the name of a process is chosen by it and need not be UTF-8, may hold parentheses
//! and line breaks, and the crate `procfs` refuses such a status.

use bstr::{BString, ByteSlice as _};

use crate::protocol::message::{Capabilities, Credentials, Identity, Seccomp};

/// A line of `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Field 2, `comm`.
    pub(super) name: BString,
    /// Field 3.
    pub(super) state: u8,
    /// Field 4.
    pub(super) parent: u32,
    /// Field 20.
    pub(super) threads: u32,
    /// Field 22.
    pub(super) started: u64,
}

impl Stat {
    /// Whether the process has ended and only waits to be noticed: its memory, files and folders are gone.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Reads a line of `/proc/PID/stat`.
pub(super) fn parse_stat(line: &[u8]) -> Option<Stat> {
    let opening = line.find_byte(b'(')?;
    let closing = line.rfind_byte(b')')?;
    let name = line.get(opening + 1..closing)?;
    let mut fields = line.get(closing + 2..)?.split(|byte| *byte == b' ');
    // `nth` counts from the field after the last one it gave.
    let state = *fields.next()?.first()?;
    let parent = number(fields.next()?)?;
    let threads = number(fields.nth(15)?)?;
    let started = number(fields.nth(1)?)?;
    Some(Stat {
        name: name.into(),
        state,
        parent,
        threads,
        started,
    })
}

/// What is used of `/proc/PID/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// `Uid`: real, effective, saved, file system.
    pub(super) uids: [u32; 4],
    /// `Gid`, the same.
    pub(super) gids: [u32; 4],
    /// `CapPrm`
    pub(super) permitted: Capabilities,
    /// `CapEff`
    pub(super) effective: Capabilities,
    /// `CapBnd`
    pub(super) bounding: Capabilities,
    /// `NoNewPrivs`; `None` before Linux 4.10.
    pub(super) no_new_privileges: Option<bool>,
    /// `Seccomp`
    pub(super) seccomp: Option<Seccomp>,
    /// The last number of `NSpid`; older kernels do not have it.
    pub(super) inner_pid: Option<u32>,
    /// `VmRSS` in bytes; 0 for what has no memory.
    pub(super) resident: u64,
}

impl Status {
    /// The process as the rules of the kernel see a target.
    pub(super) const fn identity(&self) -> Identity {
        Identity {
            uids: self.uids,
            gids: self.gids,
            capabilities: self.permitted,
        }
    }

    /// Its ids.
    pub(super) const fn credentials(&self) -> Credentials {
        Credentials {
            uids: self.uids,
            gids: self.gids,
        }
    }
}

/// Reads `/proc/PID/status`; `None` when it has no ids.
pub(super) fn parse_status(text: &[u8]) -> Option<Status> {
    let mut status = Status::default();
    let mut has_ids = (false, false);
    for line in text.lines() {
        let Some((key, value)) = line.split_once_str(b":") else {
            continue;
        };
        let mut words = value
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        match key {
            b"Uid" => (status.uids, has_ids.0) = (four(words)?, true),
            b"Gid" => (status.gids, has_ids.1) = (four(words)?, true),
            b"CapPrm" => status.permitted = mask(words.next()?)?,
            b"CapEff" => status.effective = mask(words.next()?)?,
            b"CapBnd" => status.bounding = mask(words.next()?)?,
            b"NoNewPrivs" => status.no_new_privileges = Some(words.next()? != b"0"),
            b"Seccomp" => {
                status.seccomp = match words.next()? {
                    b"0" => Some(Seccomp::Off),
                    b"1" => Some(Seccomp::Strict),
                    _ => Some(Seccomp::Filter),
                }
            }
            b"NSpid" => status.inner_pid = words.next_back().and_then(number),
            b"VmRSS" => status.resident = number::<u64>(words.next()?)?.saturating_mul(1024),
            _ => {}
        }
    }
    (has_ids == (true, true)).then_some(status)
}

/// A decimal number.
pub(super) fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    word.to_str().ok()?.parse().ok()
}

fn four<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Option<[u32; 4]> {
    Some([
        number(words.next()?)?,
        number(words.next()?)?,
        number(words.next()?)?,
        number(words.next()?)?,
    ])
}

fn mask(word: &[u8]) -> Option<Capabilities> {
    u64::from_str_radix(word.to_str().ok()?, 16)
        .ok()
        .map(Capabilities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_rest_of_the_line() {
        let line = b"7 (a) S 1 (\xff\n) R 42 7 7 0 -1 4194304 9 0 0 0 1 2 0 0 20 0 3 0 123456 8192 5 184 1 1\n";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat.name, b"a) S 1 (\xff\n".as_slice());
        assert_eq!(stat.state, b'R');
        assert_eq!(stat.parent, 42);
        assert_eq!(stat.threads, 3);
        assert_eq!(stat.started, 123_456);
    }

    #[test]
    fn our_own_files_are_understood() {
        let stat = parse_stat(&std::fs::read("/proc/self/stat").unwrap()).unwrap();
        assert_eq!(stat.parent, nix::unistd::getppid().as_raw().cast_unsigned());
        let status = parse_status(&std::fs::read("/proc/self/status").unwrap()).unwrap();
        assert_eq!(status.uids[1], nix::unistd::geteuid().as_raw());
        assert_eq!(status.gids[0], nix::unistd::getgid().as_raw());
        assert_eq!(status.inner_pid, Some(std::process::id()));
        assert!(status.resident > 0);
    }

    #[test]
    fn damage_is_refused() {
        for line in [
            &b""[..],
            b"7",
            b"7 (",
            b"7 ()",
            b"7 (a)",
            b"7 (a) S",
            b") ( S 1",
        ] {
            assert_eq!(parse_stat(line), None, "{:?}", line.as_bstr());
        }
        assert_eq!(parse_status(b"Name:\tx\nUid:\t1\t2\t3\n"), None);
        assert_eq!(parse_status(b"Uid:\t1\t2\t3\t4\n"), None);
    }
}
