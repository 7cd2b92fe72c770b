//! Files of the target.

use std::fmt;

use bstr::BString;
use serde::{Deserialize, Serialize};

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
}

impl fmt::Display for FileKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Symlink => "symbolic link",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
            Self::BlockDevice => "block device",
            Self::CharacterDevice => "character device",
        })
    }
}

/// A file, as `lstat(2)` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path, relative to what was asked for; empty for that itself.
    pub path: BString,
    /// Its type.
    pub kind: FileKind,
    /// Its permission bits, the twelve lowest of `st_mode`.
    pub permissions: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its size in bytes; for a device its number.
    pub size: u64,
    /// When its content was last changed: nanoseconds since 1970.
    pub modified: i64,
    /// When it was last changed in any way, which nothing can set back: nanoseconds since 1970.
    pub changed: i64,
    /// Where it points; `None` unless it is a symbolic link.
    pub link: Option<BString>,
}

/// What a file was when it was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHead {
    /// The file; symbolic links have been followed.
    pub entry: Entry,
}

/// What a file was when it had been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTail {
    /// The bytes passed on, holes included.
    pub length: u64,
    /// Its size then; differs from the length only when it grew again.
    pub size: u64,
    /// Whether size, time or content changed while it was read: the bytes may never have stood together.
    pub changed: bool,
}
