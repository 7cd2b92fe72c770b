//! Writing what a target sent, where a hostile target must not decide.
//!
//! Everything goes below one folder that is held open. A path is taken apart and every part judged; the
//! folders on the way are opened by the kernel without following a link (`openat2` with `RESOLVE_BENEATH`
//! and `RESOLVE_NO_SYMLINKS`), files are created anew (`O_EXCL`), and symbolic links are made last of all,
//! when nothing is written through them any more, and only those that stay inside. Devices, named pipes,
//! sockets, hard links and set-id bits are never made. `kubectl cp` got each of these wrong once
//! (CVE-2018-1002100, CVE-2019-1002101, CVE-2019-11246, -11249, -11251); the tests feed them all.

mod destination;
mod link;
mod name;
mod open;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek as _, SeekFrom, Write as _},
    os::fd::{AsFd, OwnedFd},
};

use bstr::{BStr, BString, ByteSlice as _};
use nix::{
    errno::Errno,
    fcntl::{self, AtFlags, OFlag},
    sys::{
        stat::{self, Mode, SFlag},
        time::TimeSpec,
    },
    unistd::{self, UnlinkatFlags},
};
use thiserror::Error;

pub use destination::{BUNDLE_MARK, Destination, DestinationError};
pub use link::stays_inside;
pub use name::check;

/// Writes files, folders and links below one folder.
pub struct Extractor {
    root: OwnedFd,
    way: open::Way,
    limits: Limits,
    entries: u64,
    /// Made at the end, deepest first: a folder that may not be written to can still be filled until then.
    folders: BTreeMap<BString, Attributes>,
    links: Vec<(BString, BString)>,
}

/// What is refused beyond.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files, folders and links together.
    pub entries: u64,
}

/// What a file or folder is given in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits; set-id and sticky bits are left out, and the owner may always read and write.
    pub permissions: u32,
    /// When its content was last changed: nanoseconds since 1970.
    pub modified: i64,
}

/// Why something is not written. The rest can be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The path has a part that is no name.
    #[error("`{0}` is not a path below the destination")]
    Outside(BString),
    /// A program may run what is in it.
    #[error("a folder named `{0}` would be taken for a git repository, which can run programs")]
    Repository(BString),
    /// A name is longer than file systems allow.
    #[error("a name of {0} bytes is too long")]
    LongName(usize),
    /// Something with this name is there already, or a name that the file system takes for the same.
    #[error("something with that name was already written")]
    Duplicate,
    /// A part of the path is a file.
    #[error("`{0}` is below something that is no folder")]
    NotBelowFolder(BString),
    /// The link leads outside, or through another link.
    #[error("a link to `{0}` could lead outside of the destination")]
    Link(BString),
}

/// Why an entry is not written.
#[derive(Debug, Error)]
pub enum ExtractError {
    /// This entry is not wanted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There are more entries than allowed.
    #[error("there are more than {0} files")]
    TooMany(u64),
    /// The destination cannot be written: nothing more will be.
    #[error("cannot write `{path}`: {source}")]
    Write {
        /// Which file.
        path: BString,
        /// Why.
        source: io::Error,
    },
}

impl Extractor {
    /// Writes below this folder, which must be empty and nobody else's.
    pub fn new(root: OwnedFd, limits: Limits) -> Self {
        Self {
            way: open::Way::new(&root),
            root,
            limits,
            entries: 0,
            folders: BTreeMap::new(),
            links: Vec::new(),
        }
    }

    /// Makes a folder and those above it; one that was only on the way to another is given its attributes.
    pub fn folder(&mut self, path: &BStr, attributes: Attributes) -> Result<(), ExtractError> {
        check(path)?;
        self.count()?;
        self.make_folders(path)?;
        self.folders.insert(path.into(), attributes);
        Ok(())
    }

    /// Creates a file, empty until it is written to. The folders above it are made.
    pub fn file(&mut self, path: &BStr) -> Result<FileWriter, ExtractError> {
        check(path)?;
        self.count()?;
        let (folder, name) = self.parent(path)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = fcntl::openat(folder.as_fd(), name.as_bytes(), flags, mode)
            .map_err(|errno| failure(path, errno))?;
        Ok(FileWriter::new(file.into(), path))
    }

    /// Removes a file whose content did not arrive.
    pub fn discard(&mut self, path: &BStr) -> Result<(), ExtractError> {
        let (folder, name) = self.parent(path)?;
        unistd::unlinkat(folder.as_fd(), name.as_bytes(), UnlinkatFlags::NoRemoveDir)
            .map_err(|errno| failure(path, errno))
    }

    /// Remembers a link for the end, if it stays inside.
    pub fn link(&mut self, path: &BStr, target: &BStr) -> Result<(), ExtractError> {
        check(path)?;
        if !stays_inside(path, target) {
            return Err(Refusal::Link(target.into()).into());
        }
        self.count()?;
        self.links.push((path.into(), target.into()));
        Ok(())
    }

    /// Makes the links; answers those that were not made.
    pub fn links(&mut self) -> Result<Vec<(BString, ExtractError)>, ExtractError> {
        let mut refused = Vec::new();
        for (path, target) in std::mem::take(&mut self.links) {
            let made = self.parent(path.as_ref()).and_then(|(folder, name)| {
                unistd::symlinkat(target.as_slice(), folder.as_fd(), name.as_bytes())
                    .map_err(|errno| failure(path.as_ref(), errno))
            });
            match made {
                Ok(()) => {}
                Err(error @ ExtractError::Refused(_)) => refused.push((path, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    /// Gives the folders their attributes.
    pub fn finish(self) -> Result<(), ExtractError> {
        for (path, attributes) in self.folders.iter().rev() {
            let folder = open::folder(&self.root, path.as_ref(), OFlag::O_RDONLY)
                .map_err(|errno| failure(path.as_ref(), errno))?;
            set_attributes(&folder, *attributes, 0o700)
                .map_err(|errno| failure(path.as_ref(), errno))?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), ExtractError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ExtractError::TooMany(self.limits.entries));
        }
        Ok(())
    }

    /// Opens the folder above a path, making what is missing.
    fn parent<'a>(&mut self, path: &'a BStr) -> Result<(&OwnedFd, &'a BStr), ExtractError> {
        let (above, name) = match path.rfind_byte(b'/') {
            Some(slash) => (
                path.get(..slash).unwrap_or_default(),
                path.get(slash + 1..).unwrap_or_default(),
            ),
            None => (&b""[..], path.as_bytes()),
        };
        let above = BStr::new(above);
        if !above.is_empty() {
            self.make_folders(above)?;
        }
        let folder = self
            .way
            .folder(&self.root, above)
            .map_err(|errno| failure(path, errno))?;
        Ok((folder, BStr::new(name)))
    }

    fn make_folders(&mut self, path: &BStr) -> Result<(), ExtractError> {
        if self.folders.contains_key(path) {
            return Ok(());
        }
        let mut end = 0;
        for part in path.split_str("/") {
            let above = BStr::new(path.get(..end).unwrap_or_default());
            end += part.len() + usize::from(end > 0);
            let here = BStr::new(path.get(..end).unwrap_or_default());
            if self.folders.contains_key(here) {
                continue;
            }
            let folder = self
                .way
                .folder(&self.root, above)
                .map_err(|errno| failure(path, errno))?;
            match stat::mkdirat(folder, part, Mode::S_IRWXU) {
                // A name that the file system takes for another one's is no new folder.
                Ok(()) => {}
                Err(Errno::EEXIST) => {
                    let is_folder = stat::fstatat(folder, part, AtFlags::AT_SYMLINK_NOFOLLOW)
                        .is_ok_and(|stat| {
                            SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
                                == SFlag::S_IFDIR
                        });
                    let refusal = if is_folder {
                        Refusal::Duplicate
                    } else {
                        Refusal::NotBelowFolder(path.into())
                    };
                    return Err(refusal.into());
                }
                Err(errno) => return Err(failure(here, errno)),
            }
            self.folders.insert(
                here.into(),
                Attributes {
                    permissions: 0o700,
                    modified: 0,
                },
            );
        }
        Ok(())
    }
}

fn failure(path: &BStr, errno: Errno) -> ExtractError {
    match errno {
        Errno::EEXIST => Refusal::Duplicate.into(),
        // A link or a file stands where a folder should: an earlier entry put it there.
        Errno::ELOOP | Errno::ENOTDIR | Errno::EXDEV => Refusal::NotBelowFolder(path.into()).into(),
        Errno::ENAMETOOLONG => Refusal::LongName(path.len()).into(),
        errno => ExtractError::Write {
            path: path.into(),
            source: errno.into(),
        },
    }
}

fn set_attributes(file: impl AsFd, attributes: Attributes, least: u32) -> Result<(), Errno> {
    let mode = (attributes.permissions & 0o777 & !0o022) | least;
    stat::fchmod(&file, Mode::from_bits_truncate(mode))?;
    let modified = TimeSpec::new(
        attributes.modified.div_euclid(1_000_000_000),
        attributes.modified.rem_euclid(1_000_000_000),
    );
    // A time that the file system cannot hold is no reason to lose the file.
    let _ = stat::futimens(file, &modified, &modified);
    Ok(())
}

/// A file that is being written. Dropped before its end it stays as it is, for whoever removes the whole.
pub struct FileWriter {
    file: File,
    path: BString,
    length: u64,
    ends_in_hole: bool,
}

impl FileWriter {
    /// Writes to an empty file; the path is what errors call it.
    pub fn new(file: File, path: &BStr) -> Self {
        Self {
            file,
            path: path.into(),
            length: 0,
            ends_in_hole: false,
        }
    }

    /// Appends bytes.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), ExtractError> {
        self.length += bytes.len() as u64;
        self.ends_in_hole = false;
        self.file
            .write_all(bytes)
            .map_err(|error| self.error(error))
    }

    /// Appends a run of zero bytes that takes no room.
    pub fn hole(&mut self, length: u64) -> Result<(), ExtractError> {
        self.length = self.length.saturating_add(length);
        self.ends_in_hole = true;
        let moved = self.file.seek(SeekFrom::Start(self.length));
        moved.map(drop).map_err(|error| self.error(error))
    }

    /// Gives the file its attributes and hands it back.
    pub fn finish(self, attributes: Attributes) -> Result<File, ExtractError> {
        if self.ends_in_hole {
            self.file
                .set_len(self.length)
                .map_err(|error| self.error(error))?;
        }
        set_attributes(&self.file, attributes, 0o600).map_err(|errno| self.error(errno.into()))?;
        Ok(self.file)
    }

    /// The bytes written so far, holes included.
    pub const fn length(&self) -> u64 {
        self.length
    }

    fn error(&self, source: io::Error) -> ExtractError {
        ExtractError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests;
