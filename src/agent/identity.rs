//! Looking at a process as its own user: what an agent can do that may change its ids but not trace.
//!
//! Root with a container's default capabilities cannot look into a process of another user: `ptrace_may_access`
//! gives nothing for uid 0, and `CAP_SYS_PTRACE` is not among the fourteen. But it compares *file-system* ids,
//! and `CAP_SETUID` and `CAP_SETGID` are. So a thread takes the file-system ids of the process for as long as
//! it looks at it. `setfsuid` away from 0 lowers the capabilities that concern files, which are raised again:
//! without them, folders of mode 0700 in the process's root would be closed.
//!
//! These ids belong to a thread. A thread that it starts meanwhile has them too (`copy_creds`, kernel/cred.c).
//! Nothing is gained over what these capabilities are for; a process that has protected itself stays closed.

use std::marker::PhantomData;

use nix::{
    errno::Errno,
    unistd::{Gid, Uid, setfsgid, setfsuid},
};

use super::{access::Denials, status::Status, target::Target};
use crate::{
    protocol::message::{Capabilities, ProcessId},
    sys::{CapabilitySets, capabilities, set_capabilities},
};

/// This thread has the file-system ids of a process; its own come back when this is dropped.
#[must_use = "its own ids come back when this is dropped"]
pub(super) struct Borrowed {
    own: Own,
    /// It concerns this thread.
    _not_send: PhantomData<*const ()>,
}

/// What a thread goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Own {
    uid: Uid,
    gid: Gid,
    sets: CapabilitySets,
}

impl Borrowed {
    /// Takes the ids of a process, if that lets this thread look at it and its own ids do not.
    pub(super) fn of(process: ProcessId) -> Option<Self> {
        let own = Own::read().ok().filter(Own::may_gain)?;
        let target = Target::open(process).ok()?;
        let (uid, gid) = Denials::of(&target).ids_that_help()?;
        own.become_like(uid, gid)
    }

    /// The same for an open process whose status has been read.
    pub(super) fn of_open(target: &Target, status: &Status) -> Option<Self> {
        let own = Own::read().ok().filter(Own::may_gain)?;
        let (uid, gid) = Denials::with_status(target, Some(status)).ids_that_help()?;
        own.become_like(uid, gid)
    }

    /// The user and group whose ids this thread has.
    #[expect(
        clippy::unused_self,
        reason = "they are this thread's as long as it lives"
    )]
    pub(super) fn ids(&self) -> (u32, u32) {
        let (uid, gid) = file_system_ids();
        (uid.as_raw(), gid.as_raw())
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if self.own.come_back().is_err() {
            // The real ids may always be taken back, so this does not happen. Should it, the thread would
            // answer other requests as somebody else: better none.
            std::process::abort();
        }
    }
}

impl Own {
    fn read() -> Result<Self, Errno> {
        let (uid, gid) = file_system_ids();
        Ok(Self {
            uid,
            gid,
            sets: capabilities()?,
        })
    }

    /// Whether the thread may change its ids, and could gain by it; cheap, for every process of a list.
    fn may_gain(&self) -> bool {
        let effective = Capabilities(self.sets.effective);
        let has = |capability| effective.contain(capability);
        let sees_all = has(Capabilities::SYS_PTRACE)
            && (has(Capabilities::DAC_OVERRIDE) || has(Capabilities::DAC_READ_SEARCH));
        !sees_all && (has(Capabilities::SETUID) || has(Capabilities::SETGID))
    }

    fn become_like(self, uid: u32, gid: u32) -> Option<Borrowed> {
        let borrowed = Borrowed {
            own: self,
            _not_send: PhantomData,
        };
        let like = Own {
            uid: uid.into(),
            gid: gid.into(),
            ..self
        };
        // Dropped on failure, with whatever has changed until then.
        like.come_back().is_ok().then_some(borrowed)
    }

    /// Makes the thread be like this.
    fn come_back(&self) -> Result<(), Errno> {
        // The user last: without CAP_SETGID in effect, the group could not be changed.
        setfsgid(self.gid);
        setfsuid(self.uid);
        set_capabilities(self.sets)?;
        // Neither says whether it worked.
        if Self::read()? == *self {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }
}

/// They answer the old id, and -1 is none that could be set.
fn file_system_ids() -> (Uid, Gid) {
    (
        setfsuid(Uid::from_raw(u32::MAX)),
        setfsgid(Gid::from_raw(u32::MAX)),
    )
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt as _, process::Command};

    use super::*;
    use crate::agent::testing::{Running, is_root};

    /// The set that container runtimes give by default.
    const CONTAINER: u64 = 0xa804_25fb;

    fn status() -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let wanted = |line: &&str| {
            ["Uid", "Gid", "Cap"]
                .iter()
                .any(|key| line.starts_with(key))
        };
        let lines: Vec<_> = status.lines().filter(wanted).collect();
        lines.join("\n") + "\n"
    }

    #[test]
    fn ids_are_taken_for_a_while_and_only_where_they_help() {
        if !is_root("change the ids of a thread") {
            return;
        }
        let other = Running::start(
            Command::new("sh")
                .args(["-c", "echo ready; read line"])
                .uid(1000)
                .gid(2000),
        );
        let (other, own) = (other.id(), Running::shell("echo ready; read line"));
        std::thread::spawn(move || {
            // With CAP_SYS_PTRACE nothing is to be gained.
            let before = status();
            assert!(Borrowed::of(other).is_none());
            assert_eq!(status(), before);

            let sets = capabilities().unwrap();
            set_capabilities(CapabilitySets {
                effective: CONTAINER & sets.permitted,
                permitted: CONTAINER & sets.permitted,
                inheritable: 0,
            })
            .unwrap();
            let before = status();
            assert!(Borrowed::of(own.id()).is_none(), "{before}");
            let borrowed = Borrowed::of(other).unwrap();
            assert!(status().contains("Uid:\t0\t0\t0\t1000\nGid:\t0\t0\t0\t2000\n"));
            let effective = format!("CapEff:\t{CONTAINER:016x}\n");
            assert!(status().contains(&effective), "{}", status());
            let child = std::thread::spawn(status).join().unwrap();
            assert_eq!(child, status());
            drop(borrowed);
            assert_eq!(status(), before);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn without_the_right_to_change_ids_nothing_changes() {
        if !is_root("lower the capabilities of a thread") {
            return;
        }
        let running = Running::start(
            Command::new("sh")
                .args(["-c", "echo ready; read line"])
                .uid(1000)
                .gid(1000),
        );
        let id = running.id();
        std::thread::spawn(move || {
            let without = |sets: u64| CapabilitySets {
                effective: sets,
                permitted: sets,
                inheritable: 0,
            };
            // CAP_SETUID without CAP_SETGID, then neither.
            for sets in [Capabilities::SETUID.0, 0] {
                set_capabilities(without(sets)).unwrap();
                let before = status();
                assert!(Borrowed::of(id).is_none());
                assert_eq!(status(), before);
            }
        })
        .join()
        .unwrap();
    }
}
