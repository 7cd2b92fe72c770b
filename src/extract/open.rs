//! Opening folders below another one without following a link.

use std::os::fd::OwnedFd;

use bstr::{BStr, BString, ByteSlice as _};
use nix::{
    errno::Errno,
    fcntl::{self, OFlag, OpenHow, ResolveFlag},
    sys::stat::Mode,
};

/// The folder that was opened last: entries of a tree come folder by folder.
pub(super) struct Way {
    path: BString,
    folder: Option<OwnedFd>,
    pub(super) has_openat2: bool,
}

impl Way {
    pub(super) fn new(root: &OwnedFd) -> Self {
        Self {
            path: BString::default(),
            folder: None,
            // ENOSYS before Linux 5.6, EPERM from old seccomp profiles.
            has_openat2: beneath(root, BStr::new("."), OFlag::O_PATH).is_ok(),
        }
    }

    /// Opens a folder; the root for an empty path.
    pub(super) fn folder<'a>(
        &'a mut self,
        root: &'a OwnedFd,
        path: &BStr,
    ) -> Result<&'a OwnedFd, Errno> {
        if path.is_empty() {
            return Ok(root);
        }
        if self.folder.is_none() || self.path != path {
            self.folder = None;
            let opened = if self.has_openat2 {
                folder(root, path, OFlag::O_PATH)
            } else {
                by_parts(root, path, OFlag::O_PATH)
            };
            self.folder = Some(opened?);
            self.path = path.into();
        }
        self.folder.as_ref().ok_or(Errno::ENOENT)
    }
}

/// Opens a folder below another.
pub(super) fn folder(root: &OwnedFd, path: &BStr, access: OFlag) -> Result<OwnedFd, Errno> {
    match beneath(root, path, access) {
        Err(Errno::ENOSYS | Errno::EPERM | Errno::ENAMETOOLONG) => by_parts(root, path, access),
        result => result,
    }
}

fn beneath(root: &OwnedFd, path: &BStr, access: OFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(access | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
    fcntl::openat2(root, path.as_bytes(), how)
}

/// The same on a kernel without openat2, and for paths that are longer than the kernel takes at once.
fn by_parts(root: &OwnedFd, path: &BStr, access: OFlag) -> Result<OwnedFd, Errno> {
    let mut opened: Option<OwnedFd> = None;
    let mut parts = path.split_str("/").peekable();
    while let Some(part) = parts.next() {
        if matches!(part, b"" | b"." | b"..") {
            return Err(Errno::EXDEV);
        }
        let here = opened.as_ref().unwrap_or(root);
        let access = if parts.peek().is_some() {
            OFlag::O_PATH
        } else {
            access
        };
        let flags = access | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        opened = Some(fcntl::openat(here, part, flags, Mode::empty())?);
    }
    opened.ok_or(Errno::ENOENT)
}
