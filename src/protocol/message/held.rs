//! What a process holds open, and the file systems that it sees.

use bstr::BString;
use serde::{Deserialize, Serialize};

use super::{FileKind, Reading};

/// By what a process holds a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HeldBy {
    /// It is its working directory.
    Folder,
    /// It is its root.
    Root,
    /// It is the program that runs.
    Executable,
    /// A part of it is mapped into its memory.
    Mapping,
    /// By a descriptor with this number.
    Descriptor(u32),
}

/// A file that a process holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFile {
    /// By what.
    pub by: HeldBy,
    /// What it is, as the kernel names it: a path, `socket:[N]`, `pipe:[N]`, `anon_inode:...`.
    pub name: Reading<BString>,
    /// What `stat(2)` says of the open file, not of what has its name now.
    pub stat: Reading<HeldStat>,
    /// How it was opened; `None` for what is held without a descriptor, and when it could not be read.
    pub opened: Option<Opened>,
}

/// What `stat(2)` says of a file that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStat {
    /// Its type; `None` for what has none, as an `anon_inode`.
    pub kind: Option<FileKind>,
    /// The number of its file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Names that it has; 0 once it is deleted.
    pub links: u64,
    /// Its size in bytes.
    pub size: u64,
    /// The bytes that it takes up on its file system: less than the size where it has holes.
    pub allocated: u64,
    /// When its content was last changed: nanoseconds since 1970.
    pub modified: i64,
    /// When it was made: nanoseconds since 1970; `None` where the file system does not know.
    pub born: Option<i64>,
}

/// How a descriptor was opened, from `/proc/PID/fdinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The flags, as in `open(2)`.
    pub flags: u32,
    /// Where the next read or write happens, in bytes.
    pub position: u64,
}

/// A file system that a process sees, and how full it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The number of its mount, the first of a line of `/proc/PID/mountinfo`.
    pub mount: u32,
    /// How full it is.
    pub space: Reading<Space>,
}

/// What `statvfs(3)` says of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Its size in bytes; 0 when it has no limit.
    pub size: u64,
    /// Bytes that are free, those included that only root may use.
    pub free: u64,
    /// Bytes that everybody may use.
    pub available: u64,
    /// How many files it can have; 0 when it has no limit.
    pub inodes: u64,
    /// How many more it can have.
    pub free_inodes: u64,
    /// Whether nothing can be written to it.
    pub read_only: bool,
}
