//! Why something could not be read: a state of its own, never an absence.

use std::fmt;

use bstr::BStr;
use serde::{Deserialize, Serialize};

use super::{FileKind, ProcessId};

/// A fact, or the reason for which it could not be had. No rule may treat the second as an absence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reading<T> {
    /// It was read.
    Known(T),
    /// It was not, because of this.
    Unavailable(Failure),
}

impl<T> Reading<T> {
    /// The value, when there is one.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unavailable(_) => None,
        }
    }
}

impl<T> From<Result<T, Failure>> for Reading<T> {
    fn from(result: Result<T, Failure>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(failure) => Self::Unavailable(failure),
        }
    }
}

/// What was tried and why it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("cannot {doing}: {cause}")]
pub struct Failure {
    /// What was tried, as in `read the environment of process 12`.
    pub doing: String,
    /// Why it failed.
    pub cause: Cause,
    /// What would help, where whoever has asked knows that better than the rules of this machine do. It does not travel.
    #[serde(skip)]
    pub advice: Option<Vec<String>>,
}

/// The reasons for a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// There is no process with this number.
    NoSuchProcess {
        /// The number.
        pid: u32,
    },
    /// The process ended, or its number belongs to another one now.
    Gone(ProcessId),
    /// The kernel refused; the checks say which rule and what would help.
    Denied(Box<Denial>),
    /// The path does not exist.
    NotFound,
    /// The path is not a folder.
    NotAFolder(FileKind),
    /// The path is not a regular file.
    NotAFile(FileKind),
    /// Symbolic links run in a circle.
    LinkLoop,
    /// Another error of the kernel, by its number.
    Io {
        /// `errno`.
        errno: i32,
    },
    /// The content kept changing while it was read.
    KeepsChanging,
    /// The file is larger than what was asked for.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The file is one half of a SHA-1 collision attack; git refuses it too.
    CollisionAttack,
    /// The client took the request back.
    Cancelled,
    /// The agent has too many requests at hand.
    Busy,
    /// The request cannot be understood.
    BadRequest,
    /// A file of `/proc` does not look as it should.
    Unparsable,
    /// The path leads through a link that goes where no name does (`/proc/PID/fd/N`, `/proc/PID/cwd`), or
    /// above a working directory that is outside of the process's root.
    LeadsOutside,
    /// There is no shell among the programs that could be run.
    NoShell,
    /// The kernel allows it only with these capabilities, and the agent lacks them.
    Lacks(Capabilities),
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchProcess { pid } => write!(formatter, "there is no process {pid}"),
            Self::Gone(process) => write!(formatter, "process {} has ended", process.pid),
            Self::Denied(denial) => denial.fmt(formatter),
            Self::NotFound => formatter.write_str("no such file or folder"),
            Self::NotAFolder(kind) => write!(formatter, "it is a {kind}, not a folder"),
            Self::NotAFile(kind) => write!(formatter, "it is a {kind}, not a regular file"),
            Self::LinkLoop => formatter.write_str("its symbolic links run in a circle"),
            Self::Io { errno } => {
                write!(formatter, "{}", nix::errno::Errno::from_raw(*errno).desc())
            }
            Self::KeepsChanging => formatter.write_str("it kept changing while it was read"),
            Self::TooLarge { size, limit } => write!(
                formatter,
                "its {size} bytes are more than the limit of {limit}"
            ),
            Self::CollisionAttack => {
                formatter.write_str("its content is part of a SHA-1 collision attack")
            }
            Self::Cancelled => formatter.write_str("the request was taken back"),
            Self::Busy => formatter.write_str("the agent has too many requests at hand"),
            Self::BadRequest => formatter.write_str("the agent does not understand the request"),
            Self::Unparsable => {
                formatter.write_str("the kernel's answer does not look as expected")
            }
            Self::LeadsOutside => {
                formatter.write_str("it leads outside of the files that the process sees by name")
            }
            Self::NoShell => formatter.write_str("there is no shell"),
            Self::Lacks(capabilities) => write!(formatter, "it needs {capabilities}"),
        }
    }
}

/// Why the kernel refused to show a process, told by its own rules.
///
/// Reading `/proc/PID/{environ,cwd,root,exe,fd,maps}` passes `ptrace_may_access(PTRACE_MODE_READ_FSCREDS)`
/// (kernel/ptrace.c) and, for files of mode 0400, the inode's own permission check (fs/proc/base.c).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// Who asked.
    pub reader: Identity,
    /// Who was looked at.
    pub target: Identity,
    /// Every rule that the reader fails; empty when none of the known rules explains it.
    pub failed: Vec<FailedCheck>,
}

/// What the rules compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Real, effective, saved and file-system user id.
    pub uids: [u32; 4],
    /// Real, effective, saved and file-system group id.
    pub gids: [u32; 4],
    /// The capabilities that count: effective ones of a reader, permitted ones of a target.
    pub capabilities: Capabilities,
}

/// A set of capabilities, as the hexadecimal masks in `/proc/PID/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// `CAP_DAC_OVERRIDE`
    pub const DAC_OVERRIDE: Self = Self(1 << 1);
    /// `CAP_DAC_READ_SEARCH`
    pub const DAC_READ_SEARCH: Self = Self(1 << 2);
    /// `CAP_SETGID`
    pub const SETGID: Self = Self(1 << 6);
    /// `CAP_SETUID`
    pub const SETUID: Self = Self(1 << 7);
    /// `CAP_SYS_CHROOT`
    pub const SYS_CHROOT: Self = Self(1 << 18);
    /// `CAP_SYS_ADMIN`
    pub const SYS_ADMIN: Self = Self(1 << 21);
    /// `CAP_SYS_PTRACE`
    pub const SYS_PTRACE: Self = Self(1 << 19);

    /// Whether all of `others` are in this set.
    #[must_use]
    pub const fn contain(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// What `others` has and this set lacks.
    #[must_use]
    pub const fn missing(self, others: Self) -> Self {
        Self(others.0 & !self.0)
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = [
            (Self::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
            (Self::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
            (Self::SETGID, "CAP_SETGID"),
            (Self::SETUID, "CAP_SETUID"),
            (Self::SYS_ADMIN, "CAP_SYS_ADMIN"),
            (Self::SYS_CHROOT, "CAP_SYS_CHROOT"),
            (Self::SYS_PTRACE, "CAP_SYS_PTRACE"),
        ];
        match known.iter().find(|(capability, _)| capability == self) {
            Some((_, name)) => formatter.write_str(name),
            None => write!(formatter, "the capabilities {:#x}", self.0),
        }
    }
}

/// A rule of the kernel that a reader fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailedCheck {
    /// The reader's file-system uid is not the target's real, effective and saved uid.
    Uid,
    /// The reader's file-system gid is not the target's real, effective and saved gid.
    Gid,
    /// The target is not dumpable: it changed its ids without exec, has file capabilities, or asked for it.
    Dumpable,
    /// The target has capabilities that the reader lacks.
    Capabilities(Capabilities),
    /// The target lives in a user namespace in which the reader's capabilities do not count.
    UserNamespace,
    /// The file's own permission bits: it belongs to another user and the reader may not override that.
    Permissions,
    /// Yama forbids attaching (`/proc/sys/kernel/yama/ptrace_scope`); memory only, other reads are not affected.
    Yama {
        /// The value of the setting, 1 to 3.
        scope: u8,
    },
}

impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failed.is_empty() {
            return formatter.write_str("permission denied, by a rule outside of the kernel's own (AppArmor, SELinux or seccomp)");
        }
        formatter.write_str("permission denied: ")?;
        for (position, check) in self.failed.iter().enumerate() {
            if position > 0 {
                formatter.write_str("; ")?;
            }
            self.explain(*check, formatter)?;
        }
        Ok(())
    }
}

impl Denial {
    fn explain(&self, check: FailedCheck, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match check {
            FailedCheck::Uid => write!(formatter, "uid: we are {}, the process is {}", self.reader.uids[3], Ids(self.target.uids)),
            FailedCheck::Gid => write!(formatter, "gid: we are {}, the process is {}", self.reader.gids[3], Ids(self.target.gids)),
            FailedCheck::Dumpable => formatter.write_str("dumpable: the process has protected itself (it changed its user without exec, or its file has capabilities)"),
            FailedCheck::Capabilities(missing) => write!(formatter, "capability: the process has some that we lack (mask {:#x})", missing.0),
            FailedCheck::UserNamespace => formatter.write_str("namespace: our capabilities do not count in the user namespace of the process"),
            FailedCheck::Permissions => formatter.write_str("permission bits: the file is for its owner only"),
            FailedCheck::Yama { scope } => write!(formatter, "Yama: ptrace_scope is {scope}"),
        }
    }

    /// What would let the reader in, each a sentence that starts with a verb.
    #[must_use]
    pub fn remedies(&self) -> Vec<String> {
        let has = |wanted: fn(&FailedCheck) -> bool| self.failed.iter().any(wanted);
        let mut remedies = Vec::new();
        if has(|check| matches!(check, FailedCheck::UserNamespace)) {
            remedies.push(
                "run kdbg in the user namespace of the process or in its parent, as root"
                    .to_owned(),
            );
        } else if has(|check| matches!(check, FailedCheck::Dumpable | FailedCheck::Capabilities(_)))
        {
            remedies.push("run kdbg as root with CAP_SYS_PTRACE".to_owned());
        } else if has(|check| {
            matches!(
                check,
                FailedCheck::Uid | FailedCheck::Gid | FailedCheck::Permissions
            )
        }) {
            remedies.push(format!(
                "run kdbg as root, or as uid {} with gid {}",
                self.target.uids[1], self.target.gids[1]
            ));
        }
        if has(|check| matches!(check, FailedCheck::Yama { .. })) {
            remedies.push(
                "run kdbg with CAP_SYS_PTRACE, or set kernel.yama.ptrace_scope to 0".to_owned(),
            );
        }
        remedies
    }
}

/// Real, effective and saved id: one number when they agree.
struct Ids([u32; 4]);

impl fmt::Display for Ids {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [real, effective, saved, _] = self.0;
        if real == effective && effective == saved {
            write!(formatter, "{real}")
        } else {
            write!(
                formatter,
                "{real} (real), {effective} (effective), {saved} (saved)"
            )
        }
    }
}

impl Failure {
    /// A failure while doing something.
    pub fn new(doing: impl Into<String>, cause: Cause) -> Self {
        Self {
            doing: doing.into(),
            cause,
            advice: None,
        }
    }

    /// A failure while doing something to a path.
    #[must_use]
    pub fn at(verb: &str, path: &BStr, cause: Cause) -> Self {
        Self::new(format!("{verb} `{path}`"), cause)
    }

    /// What would help, each a sentence that starts with a verb.
    #[must_use]
    pub fn remedies(&self) -> Vec<String> {
        if let Some(advice) = &self.advice {
            return advice.clone();
        }
        match &self.cause {
            Cause::Denied(denial) => denial.remedies(),
            Cause::NoShell => vec![
                "name a command after `--`, or run the target's own shell with `--chroot`"
                    .to_owned(),
            ],
            Cause::Lacks(capabilities) => vec![format!("run kdbg as root with {capabilities}")],
            _ => Vec::new(),
        }
    }

    /// Whether the process is not there, rather than not readable.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self.cause, Cause::NoSuchProcess { .. } | Cause::Gone(_))
    }
}
