//! Containers: which one a process belongs to, as far as everybody may see it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The id that a container runtime gives to a container: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerId(pub [u8; 32]);

/// What is not the id of a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a container: 64 hexadecimal digits")]
pub struct NoContainerId(pub String);

impl FromStr for ContainerId {
    type Err = NoContainerId;

    /// Reads an id, bare or as in a pod's status (`containerd://…`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.split_once("://").map_or(text, |(_, digits)| digits);
        parse_digits(digits.as_bytes()).ok_or_else(|| NoContainerId(text.to_owned()))
    }
}

fn parse_digits(digits: &[u8]) -> Option<ContainerId> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let mut id = [0; 32];
    if pairs.len() != id.len() {
        return None;
    }
    for (byte, [high, low]) in id.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(ContainerId(id))
}

impl fmt::Display for ContainerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What `/proc/PID/cgroup` and `/proc/PID/mountinfo` tell of a process's container; both are readable
/// without any privilege. All is empty where they tell nothing: outside of a container, in a sandbox, or in
/// the reader's own cgroup namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContainerMark {
    /// The ids in its cgroup's path, outermost first: more than one for containers in containers.
    pub ids: Vec<ContainerId>,
    /// The uid of its pod, from either file.
    pub pod: Option<String>,
    /// The container's name in the pod, from the file for termination messages that the kubelet mounts.
    pub name: Option<String>,
    /// The number of the mount that is its root. No two mounts of a node have the same at a time, so equal
    /// ones mean one mount namespace; a process of a container may have another one of its own.
    pub root_mount: Option<u32>,
}

impl ContainerMark {
    /// The innermost id.
    pub fn id(&self) -> Option<ContainerId> {
        self.ids.last().copied()
    }

    /// Whether two processes belong to one container; `None` when nothing tells.
    pub fn is_same_container(&self, other: &Self) -> Option<bool> {
        // One of them shows no id when it is in the reader's own cgroup namespace.
        if !self.ids.is_empty() || !other.ids.is_empty() {
            return Some(self.ids == other.ids);
        }
        // A process that has changed its root shows neither name nor root.
        if self.name.is_some() && other.name.is_some() {
            return Some(self.name == other.name && self.pod == other.pod);
        }
        match (self.root_mount, other.root_mount) {
            (Some(ours), Some(theirs)) if ours == theirs => Some(true),
            _ => None,
        }
    }

    /// Adds what `/proc/PID/cgroup` tells.
    ///
    /// Paths differ by driver and runtime: `/kubepods/burstable/pod<uid>/<id>`,
    /// `/kubepods.slice/kubepods-pod<uid>.slice/cri-containerd-<id>.scope`, `…/crio-<id>.scope`,
    /// `…slice:cri-containerd:<id>`; seen from a cgroup namespace they start with `/..`.
    #[must_use]
    pub fn with_cgroup(mut self, text: &[u8]) -> Self {
        for line in text.split(|byte| *byte == b'\n') {
            // `number:controllers:path`
            let Some(path) = line.splitn(3, |byte| *byte == b':').nth(2) else {
                continue;
            };
            let names = || path.split(|byte| *byte == b'/');
            let ids: Vec<_> = names().filter_map(id_of_cgroup).collect();
            // Controllers that are not used stay at the top.
            if ids.len() > self.ids.len() {
                self.ids = ids;
            }
            // The innermost: a kubelet may run in a pod of another.
            self.pod = names().filter_map(pod_of_cgroup).next_back().or(self.pod);
        }
        self
    }

    /// Adds what a line of `/proc/PID/mountinfo` tells; answers whether it was the process's root.
    pub fn add_mount(&mut self, line: &[u8]) -> bool {
        // Numbers of mount and parent, device, root within the file system, mount point.
        let mut fields = line.split(|byte| *byte == b' ');
        let (Some(number), Some(root), Some(point)) = (fields.next(), fields.nth(2), fields.next())
        else {
            return false;
        };
        if let Some((pod, name)) = kubelet_mount(root) {
            self.name = Some(name);
            self.pod = Some(pod);
        }
        let is_root = point == b"/";
        if is_root {
            // The last one covers those before it.
            self.root_mount = std::str::from_utf8(number)
                .ok()
                .and_then(|number| number.parse().ok());
        }
        is_root
    }
}

/// The id in a name of a cgroup's path.
fn id_of_cgroup(name: &[u8]) -> Option<ContainerId> {
    let name = name.strip_suffix(b".scope").unwrap_or(name);
    let (prefix, digits) = name.split_at_checked(name.len().checked_sub(64)?)?;
    // `crio-conmon-<id>` watches the container from outside.
    let is_prefix = match prefix.split_last() {
        None => true,
        Some((last, rest)) => matches!(last, b'-' | b':') && !rest.ends_with(b"conmon"),
    };
    is_prefix.then(|| parse_digits(digits)).flatten()
}

/// The uid in the name of a pod's cgroup: `pod<uid>`, or `kubepods-burstable-pod<uid>.slice` with `_` for `-`.
fn pod_of_cgroup(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    // A name that holds a whole path: `kubepods-pod<uid>.slice:cri-containerd:<id>`.
    let name = name.split(':').next()?;
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let (prefix, uid) = name.rsplit_once("pod")?;
    let uid = uid.replace('_', "-");
    let is_prefix = prefix.is_empty() || prefix.ends_with('-');
    (is_prefix && is_uid(&uid)).then_some(uid)
}

/// A UUID; a static pod's is a digest without hyphens.
fn is_uid(text: &str) -> bool {
    (32..=36).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

/// Pod and container in `…/pods/<uid>/containers/<name>/<file>`, which the kubelet mounts into each container
/// (`makeMounts` and `getTerminationMessagePath`, pkg/kubelet).
fn kubelet_mount(root: &[u8]) -> Option<(String, String)> {
    let mut names = std::str::from_utf8(root).ok()?.rsplit('/');
    let _file = names.next()?;
    let name = names.next().filter(|name| !name.is_empty())?;
    let is_container = names.next()? == "containers";
    let uid = names.next().filter(|uid| is_uid(uid))?;
    (is_container && names.next()? == "pods").then(|| (uid.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7f1c2a9be3d04c58a6f7180b92c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5";
    const OTHER: &str = "0b92c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e57f1c2a9be3d04c58a6f718";
    const POD: &str = "0f3c8f0a-7a52-4c0e-9d0b-0d8f6f1b2c3d";

    fn mark(cgroup: &str) -> ContainerMark {
        let cgroup = cgroup.replace("ID", ID).replace("OTHER", OTHER);
        let cgroup = cgroup
            .replace("P_D", &POD.replace('-', "_"))
            .replace("POD", POD);
        ContainerMark::default().with_cgroup(cgroup.as_bytes())
    }

    #[test]
    fn the_id_is_found_whatever_driver_and_runtime_named_the_cgroup() {
        for cgroup in [
            "11:pids:/kubepods/besteffort/podPOD/ID\n1:name=systemd:/kubepods/besteffort/podPOD/ID\n0::/\n",
            "0::/kubepods/podPOD/ID\n",
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podP_D.slice/cri-containerd-ID.scope\n",
            "0::/kubepods.slice/kubepods-podP_D.slice/crio-ID.scope/container\n",
            "0::/kubepods.slice/kubepods-burstable-podP_D.slice/docker-ID.scope\n",
            "5:cpu:/system.slice/containerd.service/kubepods-besteffort-podP_D.slice:cri-containerd:ID\n",
            // Seen from the cgroup namespace of a container of another pod.
            "0::/../../kubepods-besteffort-podP_D.slice/cri-containerd-ID.scope\n",
            // Controllers that nobody uses, before and behind.
            "3:cpuset:/\n2:memory:/kubepods/podPOD/ID\n0::/\n",
        ] {
            let mark = mark(cgroup);
            assert_eq!(mark.ids, [ID.parse().unwrap()], "{cgroup}");
            assert_eq!(mark.pod.as_deref(), Some(POD), "{cgroup}");
        }
    }

    #[test]
    fn a_neighbour_in_the_pod_shows_its_id_only() {
        for cgroup in ["0::/../ID\n", "0::/../cri-containerd-ID.scope/init.scope\n"] {
            let mark = mark(cgroup);
            assert_eq!(mark.ids, [ID.parse().unwrap()], "{cgroup}");
            assert_eq!(mark.pod, None);
        }
    }

    #[test]
    fn a_cgroup_may_tell_nothing() {
        for cgroup in [
            "",
            "0::/\n",
            "9:name=systemd:/\n0::/\n",
            "0::/user.slice/user-1000.slice/session-2.scope\n",
            "0::/kubepods.slice\n",
            // The runtime's monitor, not the container.
            "0::/kubepods.slice/crio-conmon-ID.scope\n",
            "0::/xID\n",
            "no colons",
        ] {
            assert_eq!(mark(cgroup), ContainerMark::default(), "{cgroup}");
        }
    }

    #[test]
    fn a_container_in_a_container_has_both_ids() {
        let nested = mark("0::/kubepods/podPOD/ID/docker/OTHER\n");
        assert_eq!(nested.ids, [ID.parse().unwrap(), OTHER.parse().unwrap()]);
        assert_eq!(nested.id(), Some(OTHER.parse().unwrap()));
    }

    #[test]
    fn the_kubelets_mounts_name_pod_and_container() {
        for folder in ["/var/lib/kubelet", "/kubelet", ""] {
            let mut mark = ContainerMark::default();
            assert!(mark.add_mount(
                b"733 606 0:117 / / rw,relatime master:2 - overlay overlay rw,lowerdir=/x"
            ));
            let line = format!(
                "740 733 254:1 {folder}/pods/{POD}/containers/app/1f2e3d4c /dev/termination-log rw,relatime - ext4 /dev/root rw"
            );
            assert!(!mark.add_mount(line.as_bytes()));
            assert_eq!(mark.root_mount, Some(733));
            assert_eq!(mark.pod.as_deref(), Some(POD));
            assert_eq!(mark.name.as_deref(), Some("app"));
        }
        let mut mark = ContainerMark::default();
        for line in [
            // What a node sees of a pod, and what is no mount at all.
            "80 29 0:53 / /var/lib/kubelet/pods/0f3c8f0a-7a52-4c0e-9d0b-0d8f6f1b2c3d/volumes/x rw - tmpfs tmpfs rw",
            "81 29 254:1 /pods/containers/app/1 /x rw - ext4 /dev/root rw",
            "81 29",
            "",
        ] {
            assert!(!mark.add_mount(line.as_bytes()), "{line}");
        }
        assert_eq!(mark, ContainerMark::default());
    }

    #[test]
    fn one_container_is_told_from_another_by_what_there_is() {
        let by_id = mark("0::/../ID\n");
        let other = mark("0::/../OTHER\n");
        let ours = mark("0::/\n");
        assert_eq!(by_id.is_same_container(&by_id.clone()), Some(true));
        assert_eq!(by_id.is_same_container(&other), Some(false));
        assert_eq!(by_id.is_same_container(&ours), Some(false));
        assert_eq!(ours.is_same_container(&ours.clone()), None);
        let named = |name: &str| ContainerMark {
            pod: Some(POD.to_owned()),
            name: Some(name.to_owned()),
            ..ContainerMark::default()
        };
        assert_eq!(named("a").is_same_container(&named("a")), Some(true));
        assert_eq!(named("a").is_same_container(&named("b")), Some(false));
        assert_eq!(named("a").is_same_container(&ours), None);
        let mounted = |number| ContainerMark {
            root_mount: Some(number),
            ..ContainerMark::default()
        };
        assert_eq!(mounted(1).is_same_container(&mounted(1)), Some(true));
        assert_eq!(mounted(1).is_same_container(&mounted(2)), None);
    }

    #[test]
    fn ids_are_read_as_a_pods_status_has_them() {
        let id: ContainerId = format!("containerd://{ID}").parse().unwrap();
        assert_eq!(id.to_string(), ID);
        for text in [
            "",
            "docker://",
            "containerd://7f1c",
            &ID.to_uppercase(),
            &ID[1..],
        ] {
            assert!(text.parse::<ContainerId>().is_err(), "{text}");
        }
    }
}
