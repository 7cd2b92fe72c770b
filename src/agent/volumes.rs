//! How full the file systems are that a process sees.
//!
//! A file system whose server is dead answers nobody, and whoever asks cannot be woken: each is asked in a thread that
//! is left behind when it does not come back.

use std::{
    os::fd::OwnedFd,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use bstr::ByteSlice as _;
use nix::{
    errno::Errno,
    sys::statvfs::{FsFlags, fstatvfs},
};

use super::{
    Answer, Output, Records,
    access::Guard,
    mounts::{self, Mount},
    status::number,
    target::Target,
    view::View,
};
use crate::protocol::message::{Cause, Failure, ProcessId, Reading, Space, Volume};

/// How long a file system may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// As for every worker of the agent (`serve`).
const STACK: usize = 512 * 1024;
/// Threads that are left behind at most; what is asked after that is not answered.
const LEFT_BEHIND: usize = 4;

/// Sends how full each file system is, in the order of the mounts. What is covered by another mount is left out, and so
/// is what holds no files of its own.
pub(super) fn answer(process: ProcessId, output: &mut dyn Output) -> Answer {
    let target = Target::open(process)?;
    let doing = format!("list the mounts of process {}", process.pid);
    let fail = |errno| target.failure(doing.as_str(), errno, Guard::Trace);
    let mut pending = shown(mounts::of(&target).map_err(fail)?);
    // Refused once is refused for all.
    drop(View::open(&target)?);
    let mut records = Records::new(output);
    let mut left_behind = 0;
    while !pending.is_empty() {
        if left_behind == LEFT_BEHIND {
            for mount in pending.drain(..) {
                records.push(unanswered(&mount, "it was not asked"), 96)?;
            }
            break;
        }
        let answers = ask(process, pending.clone());
        loop {
            match answers.recv_timeout(PATIENCE) {
                Ok(answer) => {
                    pending.remove(0);
                    if let Some(volume) = answer {
                        records.push(volume, 96)?;
                    }
                    records.checkpoint()?;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let silent = pending.remove(0);
                    records.push(unanswered(&silent, "it did not answer"), 96)?;
                    records.flush()?;
                    left_behind += 1;
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    target.check_alive(&doing)?;
                    for mount in pending.drain(..) {
                        records.push(unanswered(&mount, "it could not be asked"), 96)?;
                    }
                    break;
                }
            }
            if pending.is_empty() {
                break;
            }
        }
    }
    target.check_alive(&doing)?;
    records.finish()
}

/// The mounts that hold files and that nothing covers at their own place.
fn shown(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut shown: Vec<Mount> = Vec::new();
    for mount in mounts {
        shown.retain(|other| other.point != mount.point);
        shown.push(mount);
    }
    shown.retain(|mount| !IS_NO_STORE.contains(&mount.file_system.as_slice()));
    shown
}

/// File systems that store nothing (fs/*/super.c), and `autofs`, which mounts something when it is asked.
#[rustfmt::skip]
const IS_NO_STORE: &[&[u8]] = &[
    b"autofs", b"binfmt_misc", b"bpf", b"cgroup", b"cgroup2", b"configfs", b"debugfs", b"devpts", b"efivarfs",
    b"fusectl", b"hugetlbfs", b"mqueue", b"nsfs", b"proc", b"pstore", b"resctrl", b"rpc_pipefs", b"securityfs",
    b"selinuxfs", b"smackfs", b"sysfs", b"tracefs",
];

/// Asks for all of them, in their order, in a thread with the ids of this one. `None` is one that is covered.
fn ask(process: ProcessId, mounts: Vec<Mount>) -> Receiver<Option<Volume>> {
    let (answers_tx, answers_rx) = channel();
    let asking = move || {
        let Ok(target) = Target::open(process) else {
            return;
        };
        let Ok(view) = View::open(&target) else {
            return;
        };
        for mount in mounts {
            // Whoever asked may have given up.
            if answers_tx.send(volume(&view, &mount)).is_err() {
                return;
            }
        }
    };
    // Without a thread the sender is dropped, and the channel says so.
    let _ = thread::Builder::new()
        .name("volumes".to_owned())
        .stack_size(STACK)
        .spawn(asking);
    answers_rx
}

fn volume(view: &View<'_>, mount: &Mount) -> Option<Volume> {
    let space = view
        .resolve(mount.point.as_bstr())
        .and_then(|found| Ok((mount_of(&found)? == mount.number).then_some(found)))
        .and_then(|found| found.map(|found| space(&found)).transpose());
    let space = match space {
        // Its name is covered by something else, or was taken away meanwhile.
        Ok(None) | Err(Errno::ENOENT | Errno::ENOTDIR) => return None,
        Ok(Some(space)) => Reading::Known(space),
        Err(errno) => Reading::Unavailable(view.failure(DOING, mount.point.as_bstr(), errno)),
    };
    Some(Volume {
        mount: mount.number,
        space,
    })
}

const DOING: &str = "look at the file system on";

fn unanswered(mount: &Mount, why: &str) -> Volume {
    let doing = format!("look at the file system on `{}` ({why})", mount.point);
    let cause = Cause::Io {
        errno: Errno::ETIMEDOUT as i32,
    };
    Volume {
        mount: mount.number,
        space: Reading::Unavailable(Failure::new(doing, cause)),
    }
}

/// The number of the mount that an open file is on.
fn mount_of(file: &OwnedFd) -> Result<u32, Errno> {
    use std::os::fd::AsRawFd as _;
    let info = std::fs::read(format!("/proc/thread-self/fdinfo/{}", file.as_raw_fd()))
        .map_err(|error| super::target::errno_of(&error))?;
    info.lines()
        .find_map(|line| number(line.strip_prefix(b"mnt_id:")?.trim_ascii()))
        .ok_or(Errno::EBADMSG)
}

fn space(file: &OwnedFd) -> Result<Space, Errno> {
    let told = fstatvfs(file)?;
    let unit = told.fragment_size();
    Ok(Space {
        size: unit.saturating_mul(told.blocks()),
        free: unit.saturating_mul(told.blocks_free()),
        available: unit.saturating_mul(told.blocks_available()),
        inodes: told.files(),
        free_inodes: told.files_free(),
        read_only: told.flags().contains(FsFlags::ST_RDONLY),
    })
}
