//! The file system as a process sees it.
//!
//! Paths are resolved by the kernel within the process's root (`openat2` with `RESOLVE_IN_ROOT`), never by
//! joining them to `/proc/PID/root`: an absolute link inside the target would then lead into the agent's own
//! files, and a hostile target plants exactly that. Only `O_PATH` descriptors come out of here, so that no
//! fifo or device is opened before its type is known.

use std::{
    borrow::{Borrow, Cow},
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

use bstr::{BStr, BString, ByteSlice as _};
use nix::{
    errno::Errno,
    fcntl::{self, OFlag, OpenHow, ResolveFlag},
    sys::stat::{self, Mode},
};

use super::{
    access::{Denials, Guard},
    file_system::{self, kind_of, number_of},
    status,
    target::{Target, into_bytes},
};
use crate::protocol::message::{Cause, Failure, FileKind};

/// The file system of an open process.
pub(super) struct View<'a> {
    target: &'a Target,
    root: OwnedFd,
    /// What the kernel calls the process's root; more than `/` after a chroot.
    root_name: BString,
    has_openat2: bool,
}

/// As many links as the kernel follows in one path (MAXSYMLINKS, include/linux/namei.h).
const LINK_LIMIT: u32 = 40;

/// How often a path is tried again when something moved while the kernel looked.
const RACE_LIMIT: u32 = 128;

/// As many folders as one path may hold open where there is no openat2.
const DEPTH_LIMIT: usize = 256;

impl<'a> View<'a> {
    /// Opens the file system of a process.
    pub(super) fn open(target: &'a Target) -> Result<Self, Failure> {
        let pid = target.id().pid;
        let fail = |errno| {
            let doing = format!("open the root folder of process {pid}");
            target.failure(doing, errno, Guard::Trace)
        };
        let root = target
            .open_at("root", OFlag::O_PATH | OFlag::O_DIRECTORY)
            .map_err(fail)?;
        let root_name = target.link("root").map_err(fail)?;
        // ENOSYS before Linux 5.6; EPERM from seccomp profiles that are older than the call.
        let has_openat2 = !matches!(
            open_in(&root, BStr::new("."), ResolveFlag::RESOLVE_IN_ROOT),
            Err(Errno::ENOSYS | Errno::EPERM)
        );
        Ok(Self {
            target,
            root,
            root_name,
            has_openat2,
        })
    }

    /// Finds what a path leads to, the way the process would: links are followed, relative paths start at
    /// its working directory, an empty path is the working directory itself.
    pub(super) fn resolve(&self, path: &BStr) -> Result<OwnedFd, Errno> {
        let found = self.find(self.not_ourselves(path).as_bstr())?;
        if self.is_about_us(&found) {
            Err(Errno::EXDEV)
        } else {
            Ok(found)
        }
    }

    /// The kernel takes `self` for whoever asks, which is the agent: names the process instead.
    fn not_ourselves<'p>(&self, path: &'p BStr) -> Cow<'p, [u8]> {
        let aliases = [
            (&b"/proc/self"[..], ""),
            (b"/proc/thread-self", ""),
            (b"/dev/fd", "/fd"),
            (b"/dev/stdin", "/fd/0"),
            (b"/dev/stdout", "/fd/1"),
            (b"/dev/stderr", "/fd/2"),
        ];
        for (alias, folder) in aliases {
            if let Some(rest) = path.strip_prefix(alias)
                && (rest.is_empty() || rest.starts_with(b"/"))
                && let Some(pid) = self.inner_pid()
            {
                return Cow::Owned([format!("/proc/{pid}{folder}").as_bytes(), rest].concat());
            }
        }
        Cow::Borrowed(path.as_bytes())
    }

    fn inner_pid(&self) -> Option<u32> {
        status::parse_status(&self.target.read("status").ok()?)?.inner_pid
    }

    /// Whether a link has led to the agent's own folder in `/proc`: its answer would be about the wrong process.
    fn is_about_us(&self, file: &OwnedFd) -> bool {
        if self.target.id().pid == std::process::id() {
            return false;
        }
        let is_proc = file_system::pseudo_file_system(file) == Ok(Some("proc"));
        is_proc
            && self.name_of(file).is_ok_and(|name| {
                let ours = format!("/proc/{}", std::process::id());
                name.strip_prefix(ours.as_bytes())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            })
    }

    fn find(&self, path: &BStr) -> Result<OwnedFd, Errno> {
        if path.starts_with(b"/") {
            return self.in_root(path);
        }
        let folder = self
            .target
            .open_at("cwd", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        if path.is_empty() {
            return Ok(folder);
        }
        match self.folder_name(&folder) {
            Some(mut name) => {
                name.push(b'/');
                name.extend_from_slice(path);
                self.in_root(name.as_bstr())
            }
            // It was removed, or lies outside of the root (chroot without chdir): what is below can still be
            // reached by name, what is above cannot be told from what the process must not see.
            None if self.has_openat2 => open_in(&folder, path, ResolveFlag::RESOLVE_BENEATH),
            None => walk(&folder, path, Bounds::Beneath),
        }
    }

    /// The name by which the process can reach its working directory, if it can.
    fn folder_name(&self, folder: &OwnedFd) -> Option<BString> {
        let name = inner_name(
            self.root_name.as_bstr(),
            self.target.link("cwd").ok()?.as_bstr(),
        )?;
        let found = self.in_root(name.as_bstr()).ok()?;
        let number = |fd: &OwnedFd| stat::fstat(fd).ok().map(|stat| number_of(&stat));
        (number(&found)? == number(folder)?).then_some(name)
    }

    fn in_root(&self, path: &BStr) -> Result<OwnedFd, Errno> {
        if self.has_openat2 {
            open_in(&self.root, path, ResolveFlag::RESOLVE_IN_ROOT)
        } else {
            walk(&self.root, path, Bounds::InRoot)
        }
    }

    /// What the process calls an open file, all links resolved. ` (deleted)` ends the name of one without.
    pub(super) fn name_of(&self, file: &OwnedFd) -> Result<BString, Errno> {
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let name = into_bytes(fcntl::readlink(link.as_str())?);
        Ok(inner_name(self.root_name.as_bstr(), name.as_bstr()).unwrap_or(name))
    }

    /// Names the reason for an error at a path.
    pub(super) fn failure(&self, verb: &str, path: &BStr, errno: Errno) -> Failure {
        Failure::at(verb, path, self.cause(errno, || Denials::of(self.target)))
    }

    /// The reason behind an error at a file of the process.
    ///
    /// A tree may hold a thousand refusals: who asks whom need be looked up only once.
    pub(super) fn cause<D: Borrow<Denials>>(
        &self,
        errno: Errno,
        denials: impl FnOnce() -> D,
    ) -> Cause {
        match errno {
            Errno::EACCES | Errno::EPERM => {
                Cause::Denied(Box::new(denials().borrow().of_file(errno)))
            }
            Errno::EXDEV => Cause::LeadsOutside,
            other => self.target.cause(other),
        }
    }
}

/// Lets the kernel resolve a path that cannot leave a folder.
fn open_in(folder: &OwnedFd, path: &BStr, resolve: ResolveFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(resolve);
    let mut result = Err(Errno::EAGAIN);
    for _ in 0..RACE_LIMIT {
        result = fcntl::openat2(folder, path.as_bytes(), how);
        // Something was renamed or mounted meanwhile, so that `..` could not be trusted (openat2(2)).
        if !matches!(result, Err(Errno::EAGAIN | Errno::EINTR)) {
            break;
        }
    }
    result
}

/// Where a path of [`walk`] may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bounds {
    /// The folder is the root: absolute links start there and `..` stays there.
    InRoot,
    /// Absolute links and `..` above the folder are errors.
    Beneath,
}

/// Resolves a path as [`open_in`] does, on a kernel without openat2: name by name, following no link but by
/// reading it, with the way back kept open, because `..` of a folder that is moved meanwhile leads anywhere.
fn walk(folder: &OwnedFd, path: &BStr, bounds: Bounds) -> Result<OwnedFd, Errno> {
    let mut names: Vec<BString> = Vec::new();
    push_names(&mut names, path);
    let mut way: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(name) = names.pop() {
        if name == ".." {
            if way.pop().is_none() && bounds == Bounds::Beneath {
                return Err(Errno::EXDEV);
            }
            continue;
        }
        let here = way.last().unwrap_or(folder);
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let found = fcntl::openat(here, name.as_slice(), flags, Mode::empty())?;
        if kind_of(&stat::fstat(&found)?) != Some(FileKind::Symlink) {
            if way.len() == DEPTH_LIMIT {
                return Err(Errno::ENAMETOOLONG);
            }
            way.push(found);
            continue;
        }
        links += 1;
        if links > LINK_LIMIT {
            return Err(Errno::ELOOP);
        }
        // Links of /proc/PID do not go where they say; openat2 refuses them within bounds too.
        if file_system::pseudo_file_system(&found)? == Some("proc") {
            return Err(Errno::EXDEV);
        }
        let link = file_system::link(&found, "")?;
        if link.starts_with(b"/") {
            if bounds == Bounds::Beneath {
                return Err(Errno::EXDEV);
            }
            way.clear();
        }
        push_names(&mut names, link.as_bstr());
    }
    match way.pop() {
        Some(found) => Ok(found),
        None => folder.try_clone().map_err(|_| Errno::EMFILE),
    }
}

/// Puts the names of a path on top of a stack, the first one uppermost.
fn push_names(names: &mut Vec<BString>, path: &BStr) {
    let parts = path.split(|byte| *byte == b'/').rev();
    names.extend(
        parts
            .filter(|part| !matches!(*part, b"" | b"."))
            .map(BString::from),
    );
}

impl AsFd for View<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// What a process whose root the kernel calls `root` calls a file that the kernel calls `name`; `None` when the
/// file is outside of that root. Only chroot(2) gives a root another name than `/`: a container's is its own.
pub(super) fn inner_name(root: &BStr, name: &BStr) -> Option<BString> {
    if root == "/" {
        return name.starts_with(b"/").then(|| name.into());
    }
    match name.strip_prefix(root.as_bytes())? {
        b"" => Some("/".into()),
        rest => rest.starts_with(b"/").then(|| rest.into()),
    }
}

#[cfg(test)]
mod tests;
