//! The network namespace of a process.
//!
//! In a pod it is the agent's own. Elsewhere a socket is made there by a thread that goes in, makes it, and
//! ends: a socket stays in the namespace in which it was made, whoever uses it (`sock_net`). No thread that
//! serves requests ever changes its namespace.

use std::os::fd::OwnedFd;

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sched::{CloneFlags, setns},
    sys::stat,
};

use super::{access::Guard, target::Target};
use crate::protocol::message::{self, Capabilities, Cause, Failure};

/// A network namespace to ask from.
#[derive(Debug)]
pub(super) enum Network {
    /// The agent's own.
    Shared,
    /// Another one, open.
    Other(OwnedFd),
}

impl Network {
    /// The namespace of a process.
    pub(super) fn of(target: &Target) -> Result<Self, Failure> {
        let doing = format!("enter the network namespace of process {}", target.id().pid);
        match is_shared(target) {
            Ok(true) => return Ok(Self::Shared),
            Ok(false) => {}
            Err(errno) => return Err(target.failure(doing, errno, Guard::Trace)),
        }
        let file = target
            .open_at("ns/net", OFlag::O_RDONLY)
            .map_err(|errno| target.failure(doing.clone(), errno, Guard::Trace))?;
        let network = Self::Other(file);
        match network.within(|| ()) {
            Ok(()) => Ok(network),
            // An answer from another namespace would not be the process's.
            Err(Errno::EPERM) => {
                let needed = Cause::Lacks(Capabilities::SYS_ADMIN);
                Err(Failure::new(doing, needed))
            }
            Err(errno) => Err(Failure::new(doing, Cause::from(errno))),
        }
    }

    /// What the client is told.
    pub(super) const fn told(&self) -> message::Network {
        match self {
            Self::Shared => message::Network::Shared,
            Self::Other(_) => message::Network::Entered,
        }
    }

    /// Does something short within the namespace.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Errno> {
        let Self::Other(file) = self else {
            return Ok(work());
        };
        std::thread::scope(|scope| {
            let inside = move || {
                setns(file, CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            };
            std::thread::Builder::new()
                .name("network".to_owned())
                .stack_size(256 * 1024)
                .spawn_scoped(scope, inside)
                .map_err(|_| Errno::EAGAIN)?
                .join()
                .unwrap_or(Err(Errno::EIO))
        })
    }
}

/// Whether the process has the agent's own network namespace.
///
/// Told by the inode of a file in `/proc/PID/net`, of which each namespace has its own: unlike the link
/// `ns/net`, everybody may look at it (`fs/proc/proc_net.c`).
fn is_shared(target: &Target) -> Result<bool, Errno> {
    let (own, _) = Target::open_number(std::process::id())?;
    Ok(key(&own)? == key(target)?)
}

/// What tells the network namespace of a process from others.
pub(super) fn key(target: &Target) -> Result<(u64, u64), Errno> {
    let status = stat::fstat(&target.open_at("net/dev", OFlag::O_PATH)?)?;
    Ok((status.st_dev, status.st_ino))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::agent::testing::{Running, identify, is_root};

    #[test]
    fn a_process_of_the_same_namespace_is_recognised() {
        let target = Target::open(identify(std::process::id())).unwrap();
        assert!(matches!(Network::of(&target), Ok(Network::Shared)));
    }

    #[test]
    fn a_socket_is_made_in_the_namespace_of_the_process_and_the_thread_stays() {
        if !is_root("make a network namespace") {
            return;
        }
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", "ip link set lo up; echo ready; read line"]);
        let running = Running::start(&mut command);
        let target = Target::open(running.id()).unwrap();
        let network = Network::of(&target).unwrap();
        assert!(matches!(network, Network::Other(_)));
        let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let theirs = target.link("ns/net").unwrap();
        let inside = network
            .within(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap())
            .unwrap();
        assert_eq!(inside.to_str().unwrap(), theirs.to_string());
        assert_eq!(
            std::fs::read_link("/proc/thread-self/ns/net").unwrap(),
            before
        );
    }
}
