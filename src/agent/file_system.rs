//! What `stat(2)` and `statfs(2)` say, in the words of the protocol.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

use bstr::BString;
use nix::{
    NixPath,
    errno::Errno,
    fcntl::{self, AtFlags, OFlag},
    libc,
    sys::{
        stat::{self, FileStat, Mode, SFlag},
        statfs,
    },
};

use super::target::into_bytes;
use crate::protocol::message::{Entry, FileKind};

/// The type of a file; `None` for what is none, as an `anon_inode`.
pub(super) fn kind_of(stat: &FileStat) -> Option<FileKind> {
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    Some(match kind {
        SFlag::S_IFREG => FileKind::File,
        SFlag::S_IFDIR => FileKind::Folder,
        SFlag::S_IFLNK => FileKind::Symlink,
        SFlag::S_IFIFO => FileKind::Fifo,
        SFlag::S_IFSOCK => FileKind::Socket,
        SFlag::S_IFBLK => FileKind::BlockDevice,
        SFlag::S_IFCHR => FileKind::CharacterDevice,
        _ => return None,
    })
}

/// A file as it travels.
pub(super) fn entry(
    path: BString,
    kind: FileKind,
    stat: &FileStat,
    link: Option<BString>,
) -> Entry {
    let is_device = matches!(kind, FileKind::BlockDevice | FileKind::CharacterDevice);
    Entry {
        path,
        kind,
        permissions: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: if is_device {
            stat.st_rdev
        } else {
            size_of(stat)
        },
        modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        changed: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        link,
    }
}

/// The size of a file, which the kernel never makes negative.
pub(super) fn size_of(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// A time of `stat(2)`, as one number.
pub(super) fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

/// Whether two looks at a file saw the same file with the same content.
pub(super) fn is_unchanged(before: &FileStat, after: &FileStat) -> bool {
    let key = |stat: &FileStat| {
        (
            (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_size),
            (stat.st_mtime, stat.st_mtime_nsec),
            (stat.st_ctime, stat.st_ctime_nsec),
        )
    };
    key(before) == key(after)
}

/// `lstat(2)`, relative to a folder, that mounts nothing.
pub(super) fn look<P: ?Sized + NixPath>(folder: impl AsFd, name: &P) -> Result<FileStat, Errno> {
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT;
    stat::fstatat(folder, name, flags)
}

/// Where a symbolic link points.
pub(super) fn link<P: ?Sized + NixPath>(folder: impl AsFd, name: &P) -> Result<BString, Errno> {
    fcntl::readlinkat(folder, name).map(into_bytes)
}

/// Opens for reading what an `O_PATH` descriptor refers to: the same file, whatever its name means by now.
///
/// Never blocks: `O_NONBLOCK` for a file under a lease (fcntl(2)) and for what is not a regular file.
pub(super) fn reopen(file: &OwnedFd) -> Result<File, Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    quietly(OFlag::O_NONBLOCK, |flags| {
        fcntl::open(path.as_str(), flags, Mode::empty())
    })
    .map(File::from)
}

/// Opens for listing the folder that an `O_PATH` descriptor refers to.
pub(super) fn reopen_folder(folder: &OwnedFd) -> Result<OwnedFd, Errno> {
    quietly(OFlag::O_DIRECTORY, |flags| {
        fcntl::openat(folder, ".", flags, Mode::empty())
    })
}

/// Opens for reading without a new access time, where the kernel allows it: to the owner and root only.
fn quietly(flags: OFlag, open: impl Fn(OFlag) -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    match open(flags | OFlag::O_NOATIME) {
        Err(Errno::EPERM) => open(flags),
        result => result,
    }
}

/// The name of the file system that a file is on, when the kernel makes its content up while it is read:
/// sizes mean nothing there, trees have no end, and reading may have an effect.
pub(super) fn pseudo_file_system(file: impl AsFd) -> Result<Option<&'static str>, Errno> {
    let magic = statfs::fstatfs(file)?.filesystem_type().0;
    let Ok(magic) = u32::try_from(magic) else {
        return Ok(None);
    };
    let known = PSEUDO_FILE_SYSTEMS.iter().find(|known| known.0 == magic);
    Ok(known.map(|known| known.1))
}

/// include/uapi/linux/magic.h; those without a name there are defined where they are used.
#[rustfmt::skip]
const PSEUDO_FILE_SYSTEMS: &[(u32, &str)] = &[
    (0x0000_9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x4341_5d53, "smackfs"),
    (0x5a3c_69f0, "apparmorfs"),
    (0x0000_1cd1, "devpts"),
    (0xcafe_4a11, "bpf"),
    (0x1980_0202, "mqueue"),
    (0x6573_5543, "fusectl"),
    (0x6265_6570, "configfs"),
    (0x6165_676c, "pstore"),
    (0xde5e_81e4, "efivarfs"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x0000_0187, "autofs"),
    (0x6759_6969, "rpc_pipefs"),
    (0x6e66_7364, "nfsd"),
    (0x6e73_6673, "nsfs"),
    (0x0765_5821, "resctrl"),
    (0x6c6f_6f70, "binder"),
    (0x0a64_7361, "functionfs"),
    (0x0000_9fa2, "usbdevfs"),
    (0xabba_1974, "xenfs"),
];

/// What `st_dev` and `st_ino` say: the same for two looks at one file, and for no two files.
pub(super) type FileNumber = (libc::dev_t, libc::ino_t);

/// The number of a file.
pub(super) const fn number_of(stat: &FileStat) -> FileNumber {
    (stat.st_dev, stat.st_ino)
}
