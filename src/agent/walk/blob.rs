//! The name that git gives to the content of a file.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    errno::Errno,
    fcntl::{self, OFlag},
    sys::stat::{self, FileStat, Mode},
};

use crate::{
    agent::{
        file_system::{is_unchanged, kind_of, look, size_of},
        target::errno_of,
    },
    object::{BlobHasher, HashKind, ObjectId},
    protocol::message::FileKind,
};

/// How often a file is read again that changes while it is read.
const RETRIES: u32 = 3;

/// Most source files fit in at once.
const BUFFER: usize = 256 * 1024;

/// Reads files into one buffer, which is used again for each.
pub(super) struct BlobReader {
    kind: HashKind,
    buffer: Box<[u8]>,
    /// A user whose files may not be opened without a new access time: saves the attempt for the next.
    strict_owner: Option<u32>,
}

/// Why a file has no name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Nameless {
    /// The kernel says so.
    Kernel(Errno),
    /// It changed each time it was read, or became something else.
    KeepsChanging,
    /// See [`crate::object::CollisionAttack`].
    CollisionAttack,
    /// Nobody wants to know any more.
    Over,
}

impl From<Errno> for Nameless {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

impl BlobReader {
    pub(super) fn new(kind: HashKind) -> Self {
        Self {
            kind,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            strict_owner: None,
        }
    }

    /// Names a file of a folder. `stat` is what it looks like, and is brought up to date.
    pub(super) fn name_at(
        &mut self,
        folder: &OwnedFd,
        name: &std::ffi::CStr,
        stat: &mut FileStat,
        is_over: &AtomicBool,
    ) -> Result<ObjectId, Nameless> {
        for _ in 0..=RETRIES {
            let mut file = self.open(folder, name, stat.st_uid)?;
            if let Some(id) = self.name_open(&mut file, stat, is_over)? {
                return Ok(id);
            }
            *stat = look(folder, name)?;
            if kind_of(stat) != Some(FileKind::File) {
                break;
            }
        }
        Err(Nameless::KeepsChanging)
    }

    /// Names an open file.
    pub(super) fn name_file(
        &mut self,
        file: &mut File,
        stat: &mut FileStat,
        is_over: &AtomicBool,
    ) -> Result<ObjectId, Nameless> {
        for _ in 0..=RETRIES {
            io::Seek::rewind(file).map_err(|error| errno_of(&error))?;
            if let Some(id) = self.name_open(file, stat, is_over)? {
                return Ok(id);
            }
            *stat = stat::fstat(&*file)?;
        }
        Err(Nameless::KeepsChanging)
    }

    /// Hashes as many bytes as `stat` says; `None` when the file is no longer what it says.
    fn name_open(
        &mut self,
        file: &mut File,
        stat: &FileStat,
        is_over: &AtomicBool,
    ) -> Result<Option<ObjectId>, Nameless> {
        let size = size_of(stat);
        let mut hasher = BlobHasher::new(self.kind, size);
        let mut left = size;
        while left > 0 {
            let room =
                usize::try_from(left).map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
            let room = self.buffer.get_mut(..room).unwrap_or_default();
            let count = match file.read(room) {
                Ok(0) => return Ok(None),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(errno_of(&error).into()),
            };
            hasher.update(self.buffer.get(..count).unwrap_or_default());
            left = left.saturating_sub(u64::try_from(count).unwrap_or(left));
            if left > 0 && is_over.load(Ordering::Relaxed) {
                return Err(Nameless::Over);
            }
        }
        if !is_unchanged(stat, &stat::fstat(&*file)?) {
            return Ok(None);
        }
        hasher
            .finish()
            .map(Some)
            .map_err(|_| Nameless::CollisionAttack)
    }

    /// Opens a file that was a regular one a moment ago. Should it have become a fifo, this does not wait.
    fn open(&mut self, folder: &OwnedFd, name: &std::ffi::CStr, owner: u32) -> Result<File, Errno> {
        let flags = OFlag::O_RDONLY
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_CLOEXEC
            | OFlag::O_NOCTTY;
        if self.strict_owner != Some(owner) {
            match fcntl::openat(folder, name, flags | OFlag::O_NOATIME, Mode::empty()) {
                Err(Errno::EPERM) => self.strict_owner = Some(owner),
                result => return result.map(File::from),
            }
        }
        fcntl::openat(folder, name, flags, Mode::empty()).map(File::from)
    }
}
