//! Whole trees of files.

use bstr::BString;
use serde::{Deserialize, Serialize};

use super::{Entry, Failure, ProcessId};
use crate::object::{HashKind, ObjectId};

/// Which files to list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkRequest {
    /// Whose view of the file system.
    pub process: ProcessId,
    /// The folders (or single files) to start from, as the process sees them; relative ones start at its
    /// working directory. An empty path is the working directory itself, whatever it is called by now.
    pub roots: Vec<BString>,
    /// Names the files as git would, with this hash; `None` lists them only.
    pub hash: Option<HashKind>,
    /// Files above this size are listed but not hashed, and reported as too large.
    pub hash_limit: u64,
    /// Files and folders with one of these names are left out, wherever they lie.
    pub leave_out: Vec<BString>,
    /// Folders with these absolute paths, as the process names them, are left out unless one is a root.
    pub leave_out_paths: Vec<BString>,
}

/// A row of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TreeRecord {
    /// A root begins. Rows of several roots may arrive interleaved; each names its root by position.
    Root {
        /// Its position in the request.
        root: u32,
        /// Its path as the kernel names it now, links followed.
        path: BString,
    },
    /// A file, folder or link below a root.
    Entry {
        /// Under which root.
        root: u32,
        /// What it is; the path is relative to the root.
        entry: Entry,
        /// Its blob's name, for files and symbolic links when asked for. A file without one is followed by
        /// `Unreadable`, which says why.
        id: Option<ObjectId>,
    },
    /// Something that is there but could not be read: a root, the names of a folder, the content of a file.
    Unreadable {
        /// Under which root.
        root: u32,
        /// Its path, relative to the root.
        path: BString,
        /// Why.
        failure: Failure,
    },
    /// Something that is there and was left out on purpose.
    Skipped {
        /// Under which root.
        root: u32,
        /// Its path, relative to the root.
        path: BString,
        /// Why.
        skip: Skip,
    },
}

/// Why a part of a tree was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Skip {
    /// The kernel makes it up while it is read (`proc`, `sysfs`, `cgroup`, ...).
    PseudoFileSystem(String),
    /// It lies below another root and is listed there.
    OtherRoot(u32),
    /// Its name or path was to be left out.
    LeftOut,
}
