//! Which container a process belongs to: reads the two files that tell, which everybody may read.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _},
};

use nix::errno::Errno;

use super::target::{Target, errno_of};
use crate::protocol::message::ContainerMark;

/// As much of a `mountinfo` as is read: a node has thousands of mounts, a container some dozens.
const MOUNTS_LIMIT: u64 = 256 * 1024;

/// What the mounts of the processes so far have told, by the number of the root; each namespace is read once.
#[derive(Default)]
pub(super) struct Mounts {
    known: HashMap<u32, ContainerMark>,
}

impl Mounts {
    /// What is told of a process.
    pub(super) fn mark(&mut self, target: &Target) -> Result<ContainerMark, Errno> {
        let cgroup = target.read("cgroup")?;
        Ok(self.of(target)?.with_cgroup(&cgroup))
    }

    fn of(&mut self, target: &Target) -> Result<ContainerMark, Errno> {
        let mut mark = ContainerMark::default();
        let mut line = Vec::new();
        let file = match target.file("mountinfo") {
            Ok(file) => file,
            // What has ended has no mounts any more (`mounts_open_common`, fs/proc_namespace.c).
            Err(Errno::EINVAL) => return Ok(mark),
            Err(errno) => return Err(errno),
        };
        let mut lines = BufReader::with_capacity(4096, file.take(MOUNTS_LIMIT));
        // The file for termination messages is mounted behind the root: nothing of interest follows it.
        while mark.root_mount.is_none() || mark.name.is_none() {
            line.clear();
            let count = lines.read_until(b'\n', &mut line);
            if count.map_err(|error| errno_of(&error))? == 0 {
                break;
            }
            if mark.add_mount(&line)
                && let Some(known) = mark.root_mount.and_then(|root| self.known.get(&root))
            {
                return Ok(known.clone());
            }
        }
        if let Some(root) = mark.root_mount {
            self.known.insert(root, mark.clone());
        }
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::agent::testing::{Container, Running, has_user_namespaces, ourselves};

    fn mark(target: &Target) -> ContainerMark {
        Mounts::default().mark(target).unwrap()
    }

    #[test]
    fn processes_of_one_mount_namespace_have_one_root() {
        let us = mark(&Target::open(ourselves()).unwrap());
        assert!(us.root_mount.is_some());
        let running = Running::shell("echo ready; read line");
        assert_eq!(mark(&Target::open(running.id()).unwrap()), us);
        let mut zombie = Running::shell("echo ready; exit 0");
        let (target, _) = Target::open_number(zombie.id_of_zombie().pid).unwrap();
        assert_eq!(mark(&target).root_mount, None);
    }

    #[test]
    fn a_container_has_a_root_of_its_own() {
        if !has_user_namespaces() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let container = Container::start(root.path(), "pivot", "");
        let inside = mark(&Target::open(container.id()).unwrap());
        let outside = mark(&Target::open(ourselves()).unwrap());
        assert!(inside.root_mount.is_some());
        assert_ne!(inside.root_mount, outside.root_mount);
    }

    #[test]
    fn the_kubelets_mount_is_found_among_real_ones() {
        if !has_user_namespaces() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let uid = "0f3c8f0a-7a52-4c0e-9d0b-0d8f6f1b2c3d";
        let messages = format!("pods/{uid}/containers/app");
        let script = format!(
            "mount -t tmpfs none . && cd . && cd \"$PWD\" && mkdir -p {messages} && touch {messages}/1f2e3d4c log \
             && mount --bind {messages}/1f2e3d4c log && echo ready && read line"
        );
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
        let running = Running::start(command.current_dir(folder.path()));
        let mark = mark(&Target::open(running.id()).unwrap());
        assert_eq!(mark.pod.as_deref(), Some(uid));
        assert_eq!(mark.name.as_deref(), Some("app"));
    }
}
