//! What one held file is.

use bstr::{BStr, ByteSlice as _};
use nix::libc;

use crate::protocol::message::{FileKind, HeldFile, HeldStat};

/// What something held open is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, opened with `O_PATH`.
    Symlink,
    /// A pipe, with or without a name.
    Pipe,
    /// A socket.
    Socket,
    /// A block or character device.
    Device,
    /// `memfd_create(2)`: a file that never had a name.
    MemFd,
    /// Memory that is shared without a file: System V, `MAP_SHARED` of nothing, asynchronous I/O.
    SharedMemory,
    /// `eventfd(2)`
    EventFd,
    /// `epoll_create(2)`
    Epoll,
    /// `timerfd_create(2)`
    TimerFd,
    /// `signalfd(2)`
    SignalFd,
    /// `inotify(7)` or `fanotify(7)`
    Watch,
    /// `pidfd_open(2)`
    PidFd,
    /// `io_uring_setup(2)`
    IoUring,
    /// A namespace.
    Namespace,
    /// Something else that the kernel makes up.
    Anonymous,
}

impl Kind {
    /// Its name, as in the tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Symlink => "symlink",
            Self::Pipe => "pipe",
            Self::Socket => "socket",
            Self::Device => "device",
            Self::MemFd => "memfd",
            Self::SharedMemory => "shm",
            Self::EventFd => "eventfd",
            Self::Epoll => "epoll",
            Self::TimerFd => "timerfd",
            Self::SignalFd => "signalfd",
            Self::Watch => "inotify",
            Self::PidFd => "pidfd",
            Self::IoUring => "io_uring",
            Self::Namespace => "namespace",
            Self::Anonymous => "anonymous",
        }
    }
}

/// What a held file is; `None` when neither its name nor its type could be read.
#[must_use]
pub fn kind(file: &HeldFile) -> Option<Kind> {
    let name = file.name.known().map(|name| name.as_slice());
    let by_name = name.and_then(kind_of_name);
    let stat = file.stat.known();
    by_name.or_else(|| match stat.and_then(|stat| stat.kind) {
        Some(FileKind::File) => Some(Kind::File),
        Some(FileKind::Folder) => Some(Kind::Folder),
        Some(FileKind::Symlink) => Some(Kind::Symlink),
        Some(FileKind::Fifo) => Some(Kind::Pipe),
        Some(FileKind::Socket) => Some(Kind::Socket),
        Some(FileKind::BlockDevice | FileKind::CharacterDevice) => Some(Kind::Device),
        None => stat.map(|_| Kind::Anonymous),
    })
}

/// What the kernel's own names say (`*_dname` and `anon_inode_getfd`): no path of a file system begins like these, but
/// for those of shared memory, which a file of the same name in the root folder could have. None has.
fn kind_of_name(name: &[u8]) -> Option<Kind> {
    const NAMES: &[(&[u8], Kind)] = &[
        (b"socket:[", Kind::Socket),
        (b"pipe:[", Kind::Pipe),
        (b"anon_inode:[eventfd]", Kind::EventFd),
        (b"anon_inode:[eventpoll]", Kind::Epoll),
        (b"anon_inode:[timerfd]", Kind::TimerFd),
        (b"anon_inode:[signalfd]", Kind::SignalFd),
        (b"anon_inode:inotify", Kind::Watch),
        (b"anon_inode:[fanotify]", Kind::Watch),
        (b"anon_inode:[pidfd]", Kind::PidFd),
        (b"pidfd:[", Kind::PidFd),
        (b"anon_inode:[io_uring]", Kind::IoUring),
        (b"anon_inode:", Kind::Anonymous),
        (b"/memfd:", Kind::MemFd),
        (b"/SYSV", Kind::SharedMemory),
        (b"/[aio]", Kind::SharedMemory),
        (b"/dev/zero (deleted)", Kind::SharedMemory),
    ];
    let known = NAMES.iter().find(|(prefix, _)| name.starts_with(prefix));
    known.map(|(_, kind)| *kind).or_else(|| {
        let namespaces: [&[u8]; 8] = [
            b"mnt:[",
            b"net:[",
            b"pid:[",
            b"user:[",
            b"uts:[",
            b"ipc:[",
            b"cgroup:[",
            b"time:[",
        ];
        let is_one = namespaces.iter().any(|prefix| name.starts_with(prefix));
        is_one.then_some(Kind::Namespace)
    })
}

/// What the kernel puts behind the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";

impl HeldStat {
    /// Whether no name leads to the file any more: its space is freed when the last process lets go of it.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        self.links == 0
    }
}

/// The path that a held file has, or had; `None` for what never had one or could not be read.
#[must_use]
pub fn path(file: &HeldFile) -> Option<&BStr> {
    let name = file.name.known()?.as_bstr();
    if !name.starts_with(b"/")
        || matches!(kind_of_name(name), Some(Kind::MemFd | Kind::SharedMemory))
    {
        return None;
    }
    Some(name.strip_suffix(DELETED).unwrap_or(name).as_bstr())
}

/// How a descriptor may be used, as lsof(8) says it: `r`, `w`, `u` for both, `-` for neither (`O_PATH`).
#[must_use]
pub fn letter(flags: u32) -> char {
    let flags = flags.cast_signed();
    if flags & libc::O_PATH != 0 {
        return '-';
    }
    match flags & libc::O_ACCMODE {
        libc::O_RDONLY => 'r',
        libc::O_WRONLY => 'w',
        libc::O_RDWR => 'u',
        _ => '-',
    }
}

/// The flags that a descriptor was opened with, by their names in open(2) without `O_`.
#[must_use]
pub fn flag_names(flags: u32) -> Vec<&'static str> {
    let access = match letter(flags) {
        'r' => "RDONLY",
        'w' => "WRONLY",
        'u' => "RDWR",
        _ => "PATH",
    };
    let known = [
        (libc::O_APPEND, "APPEND"),
        (libc::O_CLOEXEC, "CLOEXEC"),
        (libc::O_DIRECT, "DIRECT"),
        (libc::O_NONBLOCK, "NONBLOCK"),
        (libc::O_SYNC, "SYNC"),
        (libc::O_DSYNC, "DSYNC"),
        (libc::O_TMPFILE, "TMPFILE"),
        (libc::O_DIRECTORY, "DIRECTORY"),
        (libc::O_NOATIME, "NOATIME"),
    ];
    let mut rest = flags.cast_signed();
    let mut names = vec![access];
    for (flag, name) in known {
        // SYNC has the bit of DSYNC, and TMPFILE that of DIRECTORY: said once.
        if rest & flag == flag {
            rest &= !flag;
            names.push(name);
        }
    }
    names
}

/// Whether a path looks like that of a log: by its ending, or by its folder.
#[must_use]
pub fn is_log(path: &BStr) -> bool {
    let mut names = path.rsplit(|byte| *byte == b'/');
    let name = names.next().unwrap_or_default().to_ascii_lowercase();
    // `app.log.1`, `app.log-20261121`, `access_log.2026-11-21`
    let is_number = |char: char| char.is_ascii_digit() || matches!(char, '.' | '-' | '_');
    let stem = name.trim_end_with(is_number);
    let ends = [&b".log"[..], b"_log", b"-log", b".out", b".err"];
    if stem == b"log" || ends.iter().any(|end| stem.ends_with(end)) {
        return true;
    }
    names.any(|folder| matches!(folder, b"log" | b"logs"))
}

/// How much a file has grown between two looks at it, in bytes a second; negative when it was cut. `None` when the
/// second look saw another file, or the same at the same time.
#[must_use]
pub fn growth(before: &HeldStat, after: &HeldStat, microseconds: u64) -> Option<i64> {
    let same = (before.device, before.inode) == (after.device, after.inode);
    let grown = i128::from(after.size) - i128::from(before.size);
    let rate = grown
        .checked_mul(1_000_000)?
        .checked_div(i128::from(microseconds))?;
    i64::try_from(rate).ok().filter(|_| same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::{Cause, Failure, HeldBy, Reading};

    fn named(name: &str, kind: Option<FileKind>) -> HeldFile {
        HeldFile {
            by: HeldBy::Descriptor(3),
            name: Reading::Known(name.into()),
            stat: Reading::Known(HeldStat {
                kind,
                device: 1,
                inode: 2,
                links: 0,
                size: 0,
                allocated: 0,
                modified: 0,
                born: None,
            }),
            opened: None,
        }
    }

    #[test]
    fn names_of_the_kernel_say_what_something_is() {
        for (name, stat, expected) in [
            ("/a/b", Some(FileKind::File), Kind::File),
            ("/a/b (deleted)", Some(FileKind::File), Kind::File),
            ("/a", Some(FileKind::Folder), Kind::Folder),
            ("/run/fifo", Some(FileKind::Fifo), Kind::Pipe),
            ("pipe:[7]", Some(FileKind::Fifo), Kind::Pipe),
            ("socket:[7]", Some(FileKind::Socket), Kind::Socket),
            ("/dev/null", Some(FileKind::CharacterDevice), Kind::Device),
            ("anon_inode:[eventfd]", None, Kind::EventFd),
            ("anon_inode:[eventpoll]", None, Kind::Epoll),
            ("anon_inode:inotify", None, Kind::Watch),
            ("anon_inode:[perf_event]", None, Kind::Anonymous),
            ("/memfd:pulse (deleted)", Some(FileKind::File), Kind::MemFd),
            (
                "/SYSV00000000 (deleted)",
                Some(FileKind::File),
                Kind::SharedMemory,
            ),
            ("net:[4026531840]", Some(FileKind::File), Kind::Namespace),
        ] {
            assert_eq!(kind(&named(name, stat)), Some(expected), "{name}");
        }
        let failure = Failure::new("x", Cause::Busy);
        let unknown = HeldFile {
            name: Reading::Unavailable(failure.clone()),
            stat: Reading::Unavailable(failure),
            ..named("", None)
        };
        assert_eq!(kind(&unknown), None);
    }

    #[test]
    fn what_never_had_a_path_has_none() {
        assert_eq!(path(&named("/a (deleted)", None)).unwrap(), "/a");
        for name in ["/memfd:x (deleted)", "pipe:[1]", "anon_inode:[eventfd]", ""] {
            assert_eq!(path(&named(name, None)), None, "{name}");
        }
    }

    #[test]
    fn flags_are_named_as_in_open() {
        assert_eq!(flag_names(0o100_001 | 0o2000), ["WRONLY", "APPEND"]);
        assert_eq!(flag_names(0o2_000_002), ["RDWR", "CLOEXEC"]);
        assert_eq!(flag_names(0o4_010_000), ["RDONLY", "SYNC"]);
        assert_eq!(flag_names(0o20_200_002), ["RDWR", "TMPFILE"]);
        assert_eq!(flag_names(0o10_000_000), ["PATH"]);
        assert_eq!(
            (letter(0), letter(1), letter(2), letter(3)),
            ('r', 'w', 'u', '-')
        );
        // What a younger kernel adds does no harm.
        assert!(!flag_names(u32::MAX).is_empty());
    }

    #[test]
    fn logs_are_known_by_their_names_and_folders() {
        for name in [
            "/app/server.log",
            "/app/server.LOG.1",
            "/app/server.log-20261121",
            "/opt/tomcat/catalina.out",
            "/x/access_log",
            "/x/access_log.2026-11-21",
            "/var/log/messages",
            "/app/logs/today",
            "log",
        ] {
            assert!(is_log(name.into()), "{name}");
        }
        for name in [
            "/app/catalog",
            "/app/blog",
            "/data/00001.sst",
            "/app/logic.py",
            "/login",
            "",
        ] {
            assert!(!is_log(name.into()), "{name}");
        }
    }

    #[test]
    fn growth_is_of_one_file_only() {
        let stat = |inode, size| HeldStat {
            inode,
            size,
            ..named("", None).stat.known().unwrap().clone()
        };
        assert_eq!(growth(&stat(1, 100), &stat(1, 300), 2_000_000), Some(100));
        assert_eq!(growth(&stat(1, 300), &stat(1, 0), 1_000_000), Some(-300));
        assert_eq!(growth(&stat(1, 1), &stat(2, 300), 1_000_000), None);
        assert_eq!(growth(&stat(1, 0), &stat(1, 1), 0), None);
        assert_eq!(growth(&stat(1, 0), &stat(1, u64::MAX), 1), None);
    }
}
