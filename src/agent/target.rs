//! A process that stays the same one: opened once, and everything about it read through that.
//!
//! A descriptor of `/proc/PID` belongs to the process, not to its number (fs/proc/base.c keeps a `struct
//! pid` in the inode): once the process has ended every look-up through it fails, even after the kernel
//! has given the number to another process.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use bstr::BString;
use nix::{
    errno::Errno,
    fcntl::{self, OFlag},
    sys::stat::Mode,
};

use super::{
    access::{Denials, Guard},
    status::{self, Stat},
};
use crate::protocol::message::{Cause, Failure, ProcessId};

/// An open process.
pub(super) struct Target {
    id: ProcessId,
    folder: OwnedFd,
}

impl Target {
    /// Opens exactly this process.
    pub(super) fn open(id: ProcessId) -> Result<Self, Failure> {
        let doing = || format!("look at process {}", id.pid);
        let gone = || Failure::new(doing(), Cause::Gone(id));
        let (target, stat) = match Self::open_number(id.pid) {
            Ok(found) => found,
            Err(Errno::ENOENT | Errno::ESRCH) => return Err(gone()),
            Err(errno) => return Err(Self::refused(id.pid, doing(), errno)),
        };
        if target.id != id || stat.has_ended() {
            return Err(gone());
        }
        Ok(target)
    }

    /// Opens whichever process has this number now.
    pub(super) fn open_number(pid: u32) -> Result<(Self, Stat), Errno> {
        let mut target = Self {
            id: ProcessId { pid, started: 0 },
            folder: open_folder(pid)?,
        };
        let stat = target.stat()?;
        target.id.started = stat.started;
        Ok((target, stat))
    }

    /// The failure to open the process with this number.
    pub(super) fn refused(pid: u32, doing: String, errno: Errno) -> Failure {
        let id = ProcessId { pid, started: 0 };
        match (errno, open_folder(pid)) {
            (Errno::EACCES | Errno::EPERM, Ok(folder)) => {
                let denials = Denials::of(&Self { id, folder });
                let denial = denials.of_process(Guard::Trace);
                Failure::new(doing, Cause::Denied(Box::new(denial)))
            }
            (Errno::ENOENT | Errno::ESRCH, _) => Failure::new(doing, Cause::NoSuchProcess { pid }),
            _ => Failure::new(doing, Cause::from(errno)),
        }
    }

    /// Which process it is.
    pub(super) const fn id(&self) -> ProcessId {
        self.id
    }

    /// Opens something of `/proc/PID`.
    pub(super) fn open_at(&self, name: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        fcntl::openat(self, name, flags | OFlag::O_CLOEXEC, Mode::empty())
    }

    /// Opens a file of `/proc/PID` for reading.
    pub(super) fn file(&self, name: &str) -> Result<File, Errno> {
        self.open_at(name, OFlag::O_RDONLY).map(File::from)
    }

    /// Reads a short file of `/proc/PID`.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Errno> {
        let mut bytes = Vec::with_capacity(2048);
        self.file(name)?
            .read_to_end(&mut bytes)
            .map_err(|error| errno_of(&error))?;
        Ok(bytes)
    }

    /// Where a link of `/proc/PID` points.
    pub(super) fn link(&self, name: &str) -> Result<BString, Errno> {
        fcntl::readlinkat(self, name).map(into_bytes)
    }

    /// The line of `/proc/PID/stat`.
    pub(super) fn stat(&self) -> Result<Stat, Errno> {
        status::parse_stat(&self.read("stat")?).ok_or(Errno::EBADMSG)
    }

    /// Fails when the process has ended.
    ///
    /// What a probe holds open may look empty then instead of failing: the environment of a process that
    /// ends while it is read is cut short (`environ_read`, fs/proc/base.c), and its mount namespace, with all
    /// that was mounted in it, may go with it. So this comes after a probe's work, not before it.
    pub(super) fn check_alive(&self, doing: &str) -> Result<(), Failure> {
        if self.is_alive() {
            Ok(())
        } else {
            Err(Failure::new(doing, Cause::Gone(self.id)))
        }
    }

    /// Whether the process still runs. A refusal (`hidepid`) does not count as its end.
    pub(super) fn is_alive(&self) -> bool {
        match self.stat() {
            Ok(stat) => !stat.has_ended(),
            Err(errno) => !matches!(errno, Errno::ENOENT | Errno::ESRCH),
        }
    }

    /// Names the reason for an error at something of `/proc/PID`.
    pub(super) fn failure(&self, doing: impl Into<String>, errno: Errno, guard: Guard) -> Failure {
        let cause = match errno {
            Errno::EACCES | Errno::EPERM if self.is_alive() => {
                Cause::Denied(Box::new(Denials::of(self).of_process(guard)))
            }
            other => self.cause(other),
        };
        Failure::new(doing, cause)
    }

    /// The reason behind an error that is not a refusal, or stands for the end of the process.
    pub(super) fn cause(&self, errno: Errno) -> Cause {
        match errno {
            Errno::ESRCH => Cause::Gone(self.id),
            _ if !self.is_alive() => Cause::Gone(self.id),
            Errno::EBADMSG => Cause::Unparsable,
            other => Cause::from(other),
        }
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

fn open_folder(pid: u32) -> Result<OwnedFd, Errno> {
    fcntl::open(
        format!("/proc/{pid}").as_str(),
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

/// The number of an error, `EIO` for one that is not of the kernel.
pub(super) fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// A name as the kernel gave it.
pub(super) fn into_bytes(name: std::ffi::OsString) -> BString {
    use std::os::unix::ffi::OsStringExt as _;
    name.into_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::{Running, identify};

    #[test]
    fn a_number_that_was_given_to_another_process_is_gone() {
        let id = identify(std::process::id());
        assert!(Target::open(id).is_ok());
        let older = ProcessId {
            started: id.started + 1,
            ..id
        };
        let failure = Target::open(older).map(|_| ()).unwrap_err();
        assert_eq!(failure.cause, Cause::Gone(older));
    }

    #[test]
    fn a_process_that_ends_while_open_is_gone() {
        let mut running = Running::shell("echo ready; read line");
        let target = Target::open(running.id()).unwrap();
        target.check_alive("look").unwrap();
        running.kill();
        assert!(!target.is_alive());
        assert!(target.check_alive("look").unwrap_err().is_gone());
        for name in ["environ", "root", "cwd", "stat"] {
            let errno = target.open_at(name, OFlag::O_RDONLY).unwrap_err();
            assert!(target.failure("look", errno, Guard::Trace).is_gone());
        }
    }

    #[test]
    fn a_zombie_has_ended() {
        let mut running = Running::shell("echo ready; exit 0");
        let id = running.id_of_zombie();
        assert!(Target::open(id).map(|_| ()).unwrap_err().is_gone());
        running.kill();
    }

    #[test]
    fn no_process_has_number_0() {
        let errno = Target::open_number(0).map(|_| ()).unwrap_err();
        let failure = Target::refused(0, "look".to_owned(), errno);
        assert_eq!(failure.cause, Cause::NoSuchProcess { pid: 0 });
    }
}
