//! Which of the processes that an agent sees belong to the container that was asked for.
//!
//! An agent in a target's pid namespace sees the target's processes and those of its own container. It may
//! see more: the whole pod with its `pause` (`shareProcessNamespace`) or the whole node (`hostPID`). And it
//! may see nothing but itself, when the runtime has ignored the target. Number 1 says nothing of all that.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::protocol::message::{ContainerId, ContainerMark, Process, Reading};

/// The container that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its id, when the pod's status tells one.
    pub id: Option<ContainerId>,
    /// The uid of its pod.
    pub pod: Option<&'a str>,
    /// Its name in the pod.
    pub name: &'a str,
}

/// The processes of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// They, a parent before its children; never none.
    pub processes: Vec<Process>,
    /// By what they were recognised.
    pub by: Evidence,
    /// How many others could not be told to be of this container or not.
    pub untold: usize,
}

/// By what the processes of a container were recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The container's id is in their cgroup.
    Id,
    /// The kubelet's mount names the pod and the container.
    Mount,
    /// The kubelet's mount names the pod and the container, but their cgroup has another id: the container
    /// has been started again since its status was read.
    Restarted {
        /// The id now.
        id: ContainerId,
    },
    /// Nothing names a container; they are all that is not of the agent's own, and they share one root.
    Remaining,
}

impl Evidence {
    /// The evidence, to follow `the processes of container NAME, `.
    pub fn because(&self) -> String {
        match self {
            Self::Id => "by the container id in their cgroup".to_owned(),
            Self::Mount => "by the pod and the container that their mounts name".to_owned(),
            Self::Restarted { id } => format!(
                "by the pod and the container that their mounts name; it has been started again, its id is now {id}"
            ),
            Self::Remaining => {
                "because they share a root that is not the agent's; nothing names their container"
                    .to_owned()
            }
        }
    }
}

/// No process is known to belong to the container.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotVisible {
    /// The agent is alone.
    #[error(
        "the runtime ignored the target: no process of container `{name}` is visible, only the agent's own container"
    )]
    TargetIgnored {
        /// The container that was asked for.
        name: String,
    },
    /// There are other containers, but not this one.
    #[error("no process of container `{name}` is visible, only of {}", .others.join(", "))]
    Others {
        /// The container that was asked for.
        name: String,
        /// What is visible: names, or ids where there is no name.
        others: Vec<String>,
    },
    /// There are other processes, and nothing tells to which container they belong.
    #[error(
        "which processes belong to container `{name}` cannot be told: neither cgroup nor mounts name the container of {untold} of them"
    )]
    Untold {
        /// The container that was asked for.
        name: String,
        /// How many.
        untold: usize,
    },
}

/// Picks the processes of a container. `own` is the agent's mark, as it tells of itself.
pub fn members(
    processes: &[Process],
    wanted: &Wanted<'_>,
    own: &Reading<ContainerMark>,
) -> Result<Members, NotVisible> {
    let own = own.known().cloned().unwrap_or_default();
    let others: Vec<&Process> = processes
        .iter()
        .filter(|process| {
            let mark = process.container.known();
            // The agent's own container is never the one that was asked for.
            mark.and_then(|mark| mark.is_same_container(&own)) != Some(true)
        })
        .collect();
    let told = |process: &&&Process| fit(process, wanted).is_some();
    let untold = others.iter().filter(|process| !told(process)).count();
    let found = |processes: Vec<&Process>, by, untold| {
        (!processes.is_empty()).then(|| Members {
            processes: in_order(&processes),
            by,
            untold,
        })
    };
    let fitting = |fits: &[Fit]| -> Vec<&Process> {
        let fits = |process: &&Process| fit(process, wanted).is_some_and(|fit| fits.contains(&fit));
        others.iter().copied().filter(fits).collect()
    };
    if !fitting(&[Fit::Id]).is_empty() {
        // A process that has left the container's cgroup still has its mounts.
        let both = fitting(&[Fit::Id, Fit::Mount]);
        return found(both, Evidence::Id, untold).ok_or_else(|| absent(&others, wanted, untold));
    }
    let by_name = fitting(&[Fit::Mount, Fit::Renamed]);
    let by = restarted(&by_name, wanted).map_or(Evidence::Mount, |id| Evidence::Restarted { id });
    found(by_name, by, untold)
        .or_else(|| found(remaining(&others)?, Evidence::Remaining, 0))
        .ok_or_else(|| absent(&others, wanted, untold))
}

/// How a process fits the container that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// It has the id.
    Id,
    /// Its mounts have the name, its cgroup has no id.
    Mount,
    /// Its mounts have the name, its cgroup has another id.
    Renamed,
    /// It is of another container.
    Not,
}

/// `None` when nothing tells.
fn fit(process: &Process, wanted: &Wanted<'_>) -> Option<Fit> {
    let mark = process.container.known()?;
    if wanted.id.is_some_and(|id| mark.ids.contains(&id)) {
        return Some(Fit::Id);
    }
    let has_name = mark.name.as_deref() == Some(wanted.name)
        && wanted
            .pod
            .is_none_or(|pod| mark.pod.as_deref() == Some(pod));
    match (has_name, mark.ids.is_empty()) {
        (true, true) => Some(Fit::Mount),
        (true, false) => Some(Fit::Renamed),
        (false, false) => Some(Fit::Not),
        (false, true) => mark.name.is_some().then_some(Fit::Not),
    }
}

/// The id that the container has now, when it was asked for by another.
fn restarted(by_name: &[&Process], wanted: &Wanted<'_>) -> Option<ContainerId> {
    wanted.id?;
    by_name
        .iter()
        .find_map(|process| process.container.known()?.id())
}

/// All processes that are not of the agent's container, when they can only be those of one.
fn remaining<'a>(others: &[&'a Process]) -> Option<Vec<&'a Process>> {
    let mut roots = BTreeSet::new();
    for process in others {
        let mark = process.container.known()?;
        if process.state == b'Z' {
            continue;
        }
        if !mark.ids.is_empty() || mark.name.is_some() {
            return None;
        }
        roots.insert(mark.root_mount?);
    }
    // With `pause` among them it is the whole pod.
    let is_pod = others.iter().any(|process| process.name == "pause");
    (roots.len() == 1 && !is_pod).then(|| others.to_vec())
}

fn absent(others: &[&Process], wanted: &Wanted<'_>, untold: usize) -> NotVisible {
    let name = wanted.name.to_owned();
    if others.is_empty() {
        return NotVisible::TargetIgnored { name };
    }
    let others: BTreeSet<String> = others
        .iter()
        .filter_map(|process| label(process.container.known()?))
        .collect();
    if others.is_empty() {
        NotVisible::Untold { name, untold }
    } else {
        let others = others.into_iter().collect();
        NotVisible::Others { name, others }
    }
}

/// What to call a container.
fn label(mark: &ContainerMark) -> Option<String> {
    let pod = mark.pod.as_ref();
    match (&mark.name, mark.id()) {
        (Some(name), _) => Some(pod.map_or_else(
            || format!("`{name}`"),
            |pod| format!("`{name}` of pod {pod}"),
        )),
        (None, Some(id)) => Some(id.to_string()),
        (None, None) => None,
    }
}

/// A parent before its children, else by age.
fn in_order(processes: &[&Process]) -> Vec<Process> {
    let mut ordered: Vec<Process> = processes.iter().map(|process| (*process).clone()).collect();
    ordered.sort_by_key(|process| (process.id.started, process.id.pid));
    // Two that started in the same tick: the parent has the lower number, unless numbers were used again.
    let mut position = 0;
    while position < ordered.len() {
        let parent = ordered.get(position).map(|process| process.parent);
        let later = (position + 1..ordered.len())
            .find(|later| ordered.get(*later).map(|process| process.id.pid) == parent);
        match later {
            Some(later) if is_tie(&ordered, position, later) => ordered.swap(position, later),
            _ => position += 1,
        }
    }
    ordered
}

fn is_tie(processes: &[Process], left: usize, right: usize) -> bool {
    let started = |position: usize| processes.get(position).map(|process| process.id.started);
    started(left) == started(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::{Cause, Failure};

    const POD: &str = "0f3c8f0a-7a52-4c0e-9d0b-0d8f6f1b2c3d";
    const OTHER_POD: &str = "11111111-7a52-4c0e-9d0b-0d8f6f1b2c3d";

    fn id(digit: u8) -> ContainerId {
        ContainerId([digit; 32])
    }

    fn mark(digit: Option<u8>, pod: &str, name: Option<&str>, root: u32) -> ContainerMark {
        ContainerMark {
            ids: digit.map(id).into_iter().collect(),
            pod: Some(pod.to_owned()),
            name: name.map(str::to_owned),
            root_mount: Some(root),
        }
    }

    fn process(pid: u32, parent: u32, mark: ContainerMark) -> Process {
        Process {
            container: Reading::Known(mark),
            ..Process::example(pid, parent, &["/app"])
        }
    }

    fn app(pid: u32, parent: u32) -> Process {
        process(pid, parent, mark(Some(1), POD, Some("app"), 100))
    }

    fn debugger(pid: u32) -> Process {
        process(pid, 0, own().known().unwrap().clone())
    }

    fn own() -> Reading<ContainerMark> {
        Reading::Known(mark(Some(9), POD, Some("kdbg-a"), 900))
    }

    const WANTED: Wanted<'_> = Wanted {
        id: Some(ContainerId([1; 32])),
        pod: Some(POD),
        name: "app",
    };

    fn pids(members: &Members) -> Vec<u32> {
        members
            .processes
            .iter()
            .map(|process| process.id.pid)
            .collect()
    }

    #[test]
    fn the_processes_with_the_id_are_the_containers() {
        let all = [app(1, 0), app(7, 1), debugger(20), debugger(30)];
        let members = members(&all, &WANTED, &own()).unwrap();
        assert_eq!(pids(&members), [1, 7]);
        assert_eq!((members.by, members.untold), (Evidence::Id, 0));
    }

    #[test]
    fn an_agent_in_its_own_cgroup_namespace_shows_no_id_for_itself() {
        let bare = mark(None, POD, Some("kdbg-a"), 900);
        let neighbour = ContainerMark {
            pod: None,
            ..mark(Some(1), POD, Some("app"), 100)
        };
        let all = [process(1, 0, neighbour), process(20, 0, bare.clone())];
        let members = members(&all, &WANTED, &Reading::Known(bare)).unwrap();
        assert_eq!(pids(&members), [1]);
    }

    #[test]
    fn a_shared_pid_namespace_holds_several_containers() {
        let mut pause = process(1, 0, mark(Some(3), POD, None, 300));
        pause.name = "pause".into();
        let sidecar = process(5, 0, mark(Some(2), POD, Some("sidecar"), 200));
        let all = [pause, sidecar, app(7, 0), app(8, 7), debugger(20)];
        let members = members(&all, &WANTED, &own()).unwrap();
        assert_eq!(pids(&members), [7, 8]);
    }

    #[test]
    fn on_a_node_the_same_name_in_another_pod_is_not_taken() {
        let init = process(1, 0, ContainerMark::default());
        let elsewhere = process(50, 1, mark(Some(7), OTHER_POD, Some("app"), 700));
        let all = [init.clone(), elsewhere.clone(), app(60, 1), debugger(70)];
        let found = members(&all, &WANTED, &own()).unwrap();
        assert_eq!((pids(&found), found.untold), (vec![60], 1));
        let absent = members(&[init, elsewhere, debugger(70)], &WANTED, &own()).unwrap_err();
        let message = absent.to_string();
        assert_eq!(
            message,
            format!("no process of container `app` is visible, only of `app` of pod {OTHER_POD}")
        );
    }

    #[test]
    fn without_an_id_the_mounts_tell() {
        let wanted = Wanted { id: None, ..WANTED };
        let all = [app(1, 0), debugger(20)];
        assert_eq!(members(&all, &wanted, &own()).unwrap().by, Evidence::Mount);
        // A cgroup that tells nothing, as on a node with one cgroup for all.
        let bare = |pid, name| process(pid, 0, mark(None, POD, Some(name), pid));
        let all = [bare(1, "app"), bare(2, "sidecar"), bare(20, "kdbg-a")];
        let own = Reading::Known(mark(None, POD, Some("kdbg-a"), 20));
        let members = members(&all, &WANTED, &own).unwrap();
        assert_eq!((pids(&members), members.by), (vec![1], Evidence::Mount));
    }

    #[test]
    fn a_container_that_was_started_again_is_named_as_such() {
        let all = [
            process(1, 0, mark(Some(4), POD, Some("app"), 101)),
            debugger(20),
        ];
        let members = members(&all, &WANTED, &own()).unwrap();
        assert_eq!(members.by, Evidence::Restarted { id: id(4) });
    }

    #[test]
    fn alone_means_that_the_runtime_ignored_the_target() {
        let absent = members(&[debugger(1), debugger(9)], &WANTED, &own()).unwrap_err();
        let name = "app".to_owned();
        assert_eq!(absent, NotVisible::TargetIgnored { name });
        let bare = ContainerMark {
            root_mount: Some(900),
            ..ContainerMark::default()
        };
        let alone = [process(1, 0, bare.clone())];
        let absent = members(&alone, &WANTED, &Reading::Known(bare)).unwrap_err();
        assert!(
            absent
                .to_string()
                .starts_with("the runtime ignored the target")
        );
    }

    #[test]
    fn where_nothing_names_a_container_one_foreign_root_is_enough() {
        let rooted = |pid, root| {
            let mark = ContainerMark {
                root_mount: Some(root),
                ..ContainerMark::default()
            };
            process(pid, 0, mark)
        };
        let own = Reading::Known(rooted(0, 9).container.known().unwrap().clone());
        let members_of = |all: &[Process]| members(all, &WANTED, &own);
        let found = members_of(&[rooted(1, 5), rooted(2, 5), rooted(20, 9)]).unwrap();
        assert_eq!((pids(&found), found.by), (vec![1, 2], Evidence::Remaining));
        // Two roots may be two containers.
        let two = [rooted(1, 5), rooted(2, 6), rooted(20, 9)];
        let untold = NotVisible::Untold {
            name: "app".to_owned(),
            untold: 2,
        };
        assert_eq!(members_of(&two), Err(untold));
        let mut pause = rooted(1, 5);
        pause.name = "pause".into();
        assert!(members_of(&[pause, rooted(20, 9)]).is_err());
    }

    #[test]
    fn a_mark_that_could_not_be_read_is_no_answer() {
        let mut hidden = Process::example(3, 1, &["/x"]);
        hidden.container = Reading::Unavailable(Failure::new("look", Cause::Busy));
        let all = [app(1, 0), hidden.clone(), debugger(20)];
        assert_eq!(members(&all, &WANTED, &own()).unwrap().untold, 1);
        let absent = members(&[hidden, debugger(20)], &WANTED, &own());
        assert!(matches!(absent, Err(NotVisible::Untold { untold: 1, .. })));
    }

    #[test]
    fn a_parent_comes_before_its_children_though_its_number_is_higher() {
        let mut child = app(3, 300);
        let mut parent = app(300, 1);
        child.id.started = 5;
        parent.id.started = 5;
        let found = members(&[app(400, 300), child, parent], &WANTED, &own()).unwrap();
        assert_eq!(pids(&found), [300, 3, 400]);
    }
}
