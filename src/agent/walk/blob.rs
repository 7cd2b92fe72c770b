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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::object::blob_id;

    fn folder(path: &std::path::Path) -> OwnedFd {
        fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn a_file_that_changed_since_it_was_looked_at_is_read_again() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path());
        let path = temporary.path().join("file");
        let mut reader = BlobReader::new(HashKind::Sha1);
        let is_over = AtomicBool::new(false);
        for (before, after) in [("longer", "short"), ("short", "longer"), ("same", "size")] {
            fs::write(&path, before).unwrap();
            let mut stat = look(&folder, c"file").unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, after).unwrap();
            let id = reader
                .name_at(&folder, c"file", &mut stat, &is_over)
                .unwrap();
            assert_eq!(Ok(id), blob_id(HashKind::Sha1, after.as_bytes()));
            assert_eq!(size_of(&stat), after.len() as u64);
        }
    }

    #[test]
    fn a_file_that_never_is_what_it_says_has_no_name() {
        // sysfs files say 4096 and hold less.
        let folder = folder("/sys/kernel".as_ref());
        let mut stat = look(&folder, c"uevent_seqnum").unwrap();
        let is_over = AtomicBool::new(false);
        let named =
            BlobReader::new(HashKind::Sha1).name_at(&folder, c"uevent_seqnum", &mut stat, &is_over);
        assert!(matches!(named, Err(Nameless::KeepsChanging)), "{named:?}");
    }

    #[test]
    fn a_file_that_became_a_fifo_is_not_waited_for() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path());
        let path = temporary.path().join("file");
        fs::write(&path, "x").unwrap();
        let mut stat = look(&folder, c"file").unwrap();
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        let is_over = AtomicBool::new(false);
        let named = BlobReader::new(HashKind::Sha1).name_at(&folder, c"file", &mut stat, &is_over);
        assert!(matches!(named, Err(Nameless::KeepsChanging)), "{named:?}");
    }

    #[test]
    fn a_large_file_is_given_up_when_nobody_wants_it() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path());
        fs::write(temporary.path().join("file"), vec![0; 2 * BUFFER]).unwrap();
        let mut stat = look(&folder, c"file").unwrap();
        let is_over = AtomicBool::new(true);
        let named = BlobReader::new(HashKind::Sha1).name_at(&folder, c"file", &mut stat, &is_over);
        assert!(matches!(named, Err(Nameless::Over)), "{named:?}");
    }
}
