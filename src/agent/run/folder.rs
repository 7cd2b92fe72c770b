//! Where a command starts.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use bstr::{BStr, BString, ByteSlice as _};
use nix::{
    errno::Errno,
    fcntl::{self, OFlag},
    sys::stat::{self, FileStat, Mode},
};

use crate::{
    agent::{
        access::Guard,
        file_system::number_of,
        target::{Target, into_bytes},
        view::View,
    },
    protocol::message::{Failure, Reading, RunRequest},
};

/// A working directory for a command.
pub(super) struct Folder {
    /// The folder; without one the command starts in `/`.
    pub(super) open: Option<OwnedFd>,
    /// A name by which the command can reach it, or why it is not the one of the process.
    pub(super) name: Reading<BString>,
}

impl Folder {
    /// The folder that was asked for. Only one that was asked for by name has to be there.
    pub(super) fn choose(target: &Target, request: &RunRequest) -> Result<Self, Failure> {
        let Some(path) = &request.folder else {
            return Ok(Self::of_target(target, request.chroot));
        };
        let path: &BStr = path.as_ref();
        if request.chroot {
            let view = View::open(target)?;
            let fail = |errno| view.failure("enter", path, errno);
            let open = view.resolve(path).map_err(fail)?;
            let name = view.name_of(&open).map_err(fail)?;
            return Ok(Self::known(open, name));
        }
        let fail = |errno: Errno| Failure::at("enter", path, errno.into());
        let open =
            fcntl::open(Path::new(OsStr::from_bytes(path)), FLAGS, Mode::empty()).map_err(fail)?;
        let name = link_name(&open).map_err(fail)?;
        Ok(Self::known(open, name))
    }

    /// Starts elsewhere: the folder of the process is there, but may not be entered.
    pub(super) fn refused(target: &Target, errno: Errno) -> Self {
        let failure = target.failure(doing(target), errno, Guard::Trace);
        Self {
            open: None,
            name: Reading::Unavailable(failure),
        }
    }

    fn of_target(target: &Target, chroot: bool) -> Self {
        let open = match target.open_at("cwd", FLAGS) {
            Ok(open) => open,
            Err(errno) => return Self::refused(target, errno),
        };
        let inner = View::open(target).and_then(|view| {
            view.name_of(&open)
                .map_err(|errno| target.failure(doing(target), errno, Guard::Trace))
        });
        let name = match inner {
            Ok(inner) if chroot => inner,
            Ok(inner) => reachable_name(target, &open, inner.as_bstr()),
            Err(_) => format!("/proc/{}/cwd", target.id().pid).into(),
        };
        Self::known(open, name)
    }

    fn known(open: OwnedFd, name: BString) -> Self {
        Self {
            open: Some(open),
            name: Reading::Known(name),
        }
    }
}

const FLAGS: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

fn doing(target: &Target) -> String {
    format!(
        "start in the working directory of process {}",
        target.id().pid
    )
}

/// What a shell may call the folder, so that `cd ..` leads to where it does for the process.
fn reachable_name(target: &Target, folder: &OwnedFd, inner: &BStr) -> BString {
    let pid = target.id().pid;
    let number = |found: Result<FileStat, Errno>| found.ok().map(|stat| number_of(&stat));
    let wanted = number(stat::fstat(folder));
    let through_root = [format!("/proc/{pid}/root").as_bytes(), inner].concat();
    [inner.to_vec(), through_root]
        .into_iter()
        .find(|name| number(stat::stat(Path::new(OsStr::from_bytes(name)))) == wanted)
        .unwrap_or_else(|| format!("/proc/{pid}/cwd").into_bytes())
        .into()
}

fn link_name(folder: &OwnedFd) -> Result<BString, Errno> {
    let link = format!("/proc/self/fd/{}", folder.as_raw_fd());
    fcntl::readlink(link.as_str()).map(into_bytes)
}
