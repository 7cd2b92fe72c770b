//! A place that holds the whole, or nothing.
//!
//! What is written lies beside the destination under a name of its own until it is complete, readable by
//! nobody else, and is then renamed. Whatever ends this program but SIGKILL removes it.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
};
use tempfile::{NamedTempFile, TempDir};
use thiserror::Error;

/// The file that every bundle of `kdbg snapshot` has.
pub const BUNDLE_MARK: &str = "manifest.json";

/// Where something goes once it is complete.
#[derive(Clone, Debug)]
pub struct Destination {
    path: PathBuf,
    parent: PathBuf,
    name: OsString,
    force: bool,
}

/// Why nothing can go there.
#[derive(Debug, Error)]
pub enum DestinationError {
    /// The path does not end with a name.
    #[error("`{}` does not name a file or folder that could be made", .0.display())]
    NoName(PathBuf),
    /// Something is there already.
    #[error("`{}` exists already", .0.display())]
    Exists(PathBuf),
    /// A folder is there that kdbg did not make: it is not replaced, whatever is said.
    #[error("`{}` is a folder that kdbg did not make, and is not replaced", .0.display())]
    Foreign(PathBuf),
    /// There is no folder to put it in.
    #[error("there is no folder `{}`", .0.display())]
    NoFolder(PathBuf),
    /// The file system refuses.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The destination.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Destination {
    /// Checks a destination before anything is fetched for it. With `force`, what is there is replaced.
    pub fn new(path: &Path, force: bool) -> Result<Self, DestinationError> {
        let name = path
            .file_name()
            .ok_or_else(|| DestinationError::NoName(path.to_owned()))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        // By its own name: the way to it may lead through what is replaced.
        let Ok(parent) = parent.canonicalize() else {
            return Err(DestinationError::NoFolder(parent));
        };
        if !parent.is_dir() {
            return Err(DestinationError::NoFolder(parent));
        }
        if !force && path.symlink_metadata().is_ok() {
            return Err(DestinationError::Exists(path.to_owned()));
        }
        if path.symlink_metadata().is_ok_and(|there| there.is_dir()) && !is_replaceable(path) {
            return Err(DestinationError::Foreign(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            name: name.to_owned(),
            parent,
            force,
        })
    }

    /// The path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that it goes into.
    pub fn parent(&self) -> &Path {
        &self.parent
    }

    /// A folder to fill (mode 0700); it is removed unless it is published.
    pub fn folder(&self) -> Result<TempDir, DestinationError> {
        tempfile::Builder::new()
            .prefix(&self.prefix())
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&self.parent)
            .map_err(|error| self.error(error))
    }

    /// A file to fill (mode 0600); it is removed unless it is published.
    pub fn file(&self) -> Result<NamedTempFile, DestinationError> {
        tempfile::Builder::new()
            .prefix(&self.prefix())
            .tempfile_in(&self.parent)
            .map_err(|error| self.error(error))
    }

    /// A file without a name, for what is only passed through.
    pub fn spool(&self) -> io::Result<fs::File> {
        tempfile::tempfile_in(&self.parent)
    }

    /// Gives a complete folder its name.
    pub fn publish_folder(&self, folder: TempDir) -> Result<(), DestinationError> {
        match rename(folder.path(), &self.path, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EEXIST) if self.force => {
                rename(folder.path(), &self.path, RenameFlags::RENAME_EXCHANGE)
                    .map_err(|errno| self.error(errno.into()))?;
                // What was there before has the other name now.
                let _ = match fs::symlink_metadata(folder.path()) {
                    Ok(old) if !old.is_dir() => fs::remove_file(folder.path()),
                    _ => folder.close(),
                };
                Ok(())
            }
            Err(Errno::EEXIST) => Err(DestinationError::Exists(self.path.clone())),
            Err(errno) => Err(self.error(errno.into())),
            Ok(()) => {
                // It is no longer there to be removed.
                let _ = folder.keep();
                Ok(())
            }
        }
    }

    /// Gives a complete file its name.
    pub fn publish_file(&self, file: NamedTempFile) -> Result<(), DestinationError> {
        let published = if self.force {
            file.persist(&self.path)
        } else {
            file.persist_noclobber(&self.path)
        };
        match published {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(DestinationError::Exists(self.path.clone()))
            }
            Err(error) => Err(self.error(error.error)),
        }
    }

    /// An error of the file system while writing there.
    pub fn error(&self, source: io::Error) -> DestinationError {
        DestinationError::Write {
            path: self.path.clone(),
            source,
        }
    }

    fn prefix(&self) -> OsString {
        let mut prefix = OsString::from(".");
        prefix.push(&self.name);
        // Leaves room for the random part in a name of 255 bytes.
        let mut prefix = prefix
            .to_string_lossy()
            .chars()
            .take(50)
            .collect::<String>();
        prefix.push('.');
        prefix.into()
    }
}

/// Whether nothing of the user's goes with a folder: it is empty, or a bundle. One wrong name must not cost more.
fn is_replaceable(folder: &Path) -> bool {
    let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    is_empty || folder.join(BUNDLE_MARK).is_file()
}

/// Renames, or fails where the kernel or the file system does not know the flag and something is there.
fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, flags) {
        Err(Errno::EINVAL | Errno::ENOSYS) if flags == RenameFlags::RENAME_NOREPLACE => {
            if to.symlink_metadata().is_ok() {
                return Err(Errno::EEXIST);
            }
            fs::rename(from, to).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
        }
        result => result,
    }
}
