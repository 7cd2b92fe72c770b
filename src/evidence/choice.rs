//! Which process of a target is the one to look at.
//!
//! The first process of a container is often not the one that serves: a shell, `tini`, a reloader or a
//! master that only waits for its workers. The one that listens is what the user means, and among equals
//! the one that runs the code. The choice is always shown, with its reason.

use std::collections::{HashMap, HashSet};

use bstr::{BStr, BString, ByteSlice as _};

use crate::protocol::message::{Address, Process, Reading};

/// The process to look at.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The process.
    pub process: Process,
    /// Why this one.
    pub reason: Reason,
}

/// Why a process was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The user named it.
    Asked,
    /// There is no other.
    Only,
    /// It is what the target's name says, and no other process is a better answer.
    First,
    /// It is what the target's name says; several below it listen, each for itself.
    Several {
        /// How many.
        listeners: usize,
    },
    /// It listens.
    Listens {
        /// Where.
        on: Vec<Address>,
    },
    /// Its parent listens too, but only starts workers like this one.
    Worker {
        /// Where it listens.
        on: Vec<Address>,
        /// The parent.
        of: u32,
        /// How many there are, this one included.
        siblings: usize,
    },
    /// Its parent runs the same program and listens too, but only restarts this one when a file changes.
    Reloaded {
        /// Where it listens.
        on: Vec<Address>,
        /// The parent.
        by: u32,
    },
    /// The processes above it only start and wait: shells, `tini`, process managers.
    Launched {
        /// The launcher that the target's name says.
        by: u32,
        /// Its name.
        name: BString,
    },
}

/// Programs whose only work is to start another one and wait for it.
const LAUNCHERS: [&str; 26] = [
    "ash",
    "bash",
    "busybox",
    "catatonit",
    "dash",
    "docker-init",
    "dumb-init",
    "env",
    "gosu",
    "ksh",
    "npm",
    "nodemon",
    "pnpm",
    "runsv",
    "runsvdir",
    "s6-supervise",
    "s6-svscan",
    "setpriv",
    "sh",
    "su-exec",
    "sudo",
    "supervisord",
    "timeout",
    "tini",
    "unshare",
    "yarn",
];

/// The descendants of `root`, itself first, in the order of their start.
pub fn descendants(processes: &[Process], root: u32) -> Vec<Process> {
    let mut wanted = HashSet::from([root]);
    // A child may stand before its parent (numbers are used again), so look until nothing is added.
    loop {
        let before = wanted.len();
        wanted.extend(
            processes
                .iter()
                .filter(|process| wanted.contains(&process.parent))
                .map(|process| process.id.pid)
                .collect::<Vec<_>>(),
        );
        if wanted.len() == before {
            break;
        }
    }
    let mut tree: Vec<_> = processes
        .iter()
        .filter(|process| wanted.contains(&process.id.pid))
        .cloned()
        .collect();
    tree.sort_by_key(|process| (process.id.pid != root, process.id.started, process.id.pid));
    tree
}

/// The one process with this name, or the one above all others with it; else all that have it.
pub fn only_tree(processes: &[Process], name: &BStr, except: &[u32]) -> Result<u32, Vec<Process>> {
    let named: Vec<_> = processes
        .iter()
        .filter(|process| !except.contains(&process.id.pid) && is_named(process, name))
        .collect();
    let parents: HashMap<u32, u32> = processes
        .iter()
        .map(|process| (process.id.pid, process.parent))
        .collect();
    let pids: HashSet<u32> = named.iter().map(|process| process.id.pid).collect();
    let below_another = |pid: u32| {
        std::iter::successors(parents.get(&pid).copied(), |pid| parents.get(pid).copied())
            .take(parents.len())
            .any(|ancestor| pids.contains(&ancestor))
    };
    let tops: Vec<_> = named
        .iter()
        .filter(|process| !below_another(process.id.pid))
        .collect();
    match tops.as_slice() {
        [only] => Ok(only.id.pid),
        _ => Err(tops.into_iter().map(|process| (*process).clone()).collect()),
    }
}

fn is_named(process: &Process, name: &BStr) -> bool {
    let base = |path: &BString| {
        path.rsplit_str("/")
            .next()
            .is_some_and(|base| base == name.as_bytes())
    };
    process.name == name
        || process.executable.known().is_some_and(base)
        || process.arguments.first().is_some_and(base)
}

/// Chooses among the processes of a target; the first is the one that its name says. `None` when there is
/// none, or the one that was asked for is not among them.
pub fn choose(processes: &[Process], asked: Option<u32>) -> Option<Choice> {
    if let Some(pid) = asked {
        let process = processes
            .iter()
            .find(|process| process.id.pid == pid)?
            .clone();
        return Some(Choice {
            process,
            reason: Reason::Asked,
        });
    }
    let alive: Vec<&Process> = processes
        .iter()
        .filter(|process| process.state != b'Z')
        .collect();
    let first = *alive.first()?;
    let chosen = match alive.as_slice() {
        [_] => (first, Reason::Only),
        _ => serving(&alive, first)
            .or_else(|| launched(&alive, first))
            .unwrap_or((first, Reason::First)),
    };
    Some(Choice {
        process: chosen.0.clone(),
        reason: chosen.1,
    })
}

fn listens(process: &Process) -> &[Address] {
    match &process.listening {
        Reading::Known(addresses) => addresses,
        Reading::Unavailable(_) => &[],
    }
}

/// The process that answers requests: the lowest in the tree that listens. Where several trees listen, one
/// cannot stand for the others (an init with all its services), so it stays with the one that was named.
fn serving<'a>(processes: &[&'a Process], first: &'a Process) -> Option<(&'a Process, Reason)> {
    let listening: Vec<&Process> = processes
        .iter()
        .copied()
        .filter(|process| !listens(process).is_empty())
        .collect();
    let tops: Vec<&Process> = listening
        .iter()
        .copied()
        .filter(|process| {
            !listening
                .iter()
                .any(|other| is_ancestor(other, process, processes))
        })
        .collect();
    let mut chosen = match tops.as_slice() {
        [] => return None,
        [only] => *only,
        several => {
            return Some((
                first,
                Reason::Several {
                    listeners: several.len(),
                },
            ));
        }
    };
    let mut reason = Reason::Listens {
        on: listens(chosen).to_vec(),
    };
    // From a listener to those below it that share one of its sockets: workers, or a reloaded child.
    while let Some(next) = below(&listening, chosen) {
        let siblings = listening
            .iter()
            .filter(|process| process.parent == chosen.id.pid)
            .count();
        let on = listens(next).to_vec();
        reason = if siblings == 1 && runs_the_same(next, chosen) {
            Reason::Reloaded {
                on,
                by: chosen.id.pid,
            }
        } else {
            Reason::Worker {
                on,
                of: chosen.id.pid,
                siblings,
            }
        };
        chosen = next;
    }
    Some((chosen, reason))
}

/// Whether both run the same command. A reloader names its interpreter by the full path when it starts itself again
/// (werkzeug: `sys.executable`), whatever it was called by before.
fn runs_the_same(process: &Process, other: &Process) -> bool {
    let program = |process: &Process| process.executable.known().cloned();
    let same_program = process.arguments.first() == other.arguments.first()
        || program(process).is_some_and(|path| program(other) == Some(path));
    same_program && process.arguments.get(1..) == other.arguments.get(1..)
}

fn is_ancestor(above: &Process, process: &Process, processes: &[&Process]) -> bool {
    let parent = |pid: u32| {
        processes
            .iter()
            .find(|process| process.id.pid == pid)
            .map(|process| process.parent)
    };
    std::iter::successors(parent(process.id.pid), |pid| parent(*pid))
        .take(processes.len())
        .any(|pid| pid == above.id.pid)
}

/// The oldest child that listens where its parent does.
fn below<'a>(listening: &[&'a Process], parent: &Process) -> Option<&'a Process> {
    let shares = |process: &&&Process| {
        listens(process)
            .iter()
            .any(|address| listens(parent).contains(address))
    };
    listening
        .iter()
        .filter(|process| process.parent == parent.id.pid && process.id != parent.id)
        .filter(shares)
        .min_by_key(|process| process.id)
        .copied()
}

/// When nothing listens: the process under the launchers.
fn launched<'a>(processes: &[&'a Process], first: &Process) -> Option<(&'a Process, Reason)> {
    let mut chosen = None;
    let mut current = first;
    while is_launcher(current) {
        let next = processes
            .iter()
            .copied()
            .filter(|process| process.parent == current.id.pid)
            .min_by_key(|process| process.id)?;
        chosen = Some(next);
        current = next;
    }
    chosen.map(|process| {
        (
            process,
            Reason::Launched {
                by: first.id.pid,
                name: first.name.clone(),
            },
        )
    })
}

fn is_launcher(process: &Process) -> bool {
    let base = |path: &BString| {
        path.rsplit_str("/")
            .next()
            .is_some_and(|base| LAUNCHERS.iter().any(|name| name.as_bytes() == base))
    };
    base(&process.name) || process.executable.known().is_some_and(base)
}

impl Choice {
    /// The reason, to follow `pid N (name)`.
    pub fn because(&self) -> String {
        match &self.reason {
            Reason::Asked => "as asked for".to_owned(),
            Reason::Only => "the only process".to_owned(),
            Reason::First => {
                "the process that was named; none of those below it listens".to_owned()
            }
            Reason::Several { listeners } => {
                format!(
                    "the process that was named; {listeners} below it listen, choose one with `--process`"
                )
            }
            Reason::Listens { on } => format!("listens on {}", join(on)),
            Reason::Worker {
                on,
                of,
                siblings: 1,
            } => format!("the worker of {of}, listens on {}", join(on)),
            Reason::Worker { on, of, siblings } => format!(
                "the oldest of {siblings} workers of {of}, listens on {}",
                join(on)
            ),
            Reason::Reloaded { on, by } => format!(
                "started again by {by} when a file changes, listens on {}",
                join(on)
            ),
            Reason::Launched { by, name } => format!("what {by} ({name}) has started"),
        }
    }
}

fn join(addresses: &[Address]) -> String {
    addresses
        .iter()
        .map(Address::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Protocol;

    fn process(pid: u32, parent: u32, arguments: &[&str], ports: &[u16]) -> Process {
        let listening = ports.iter().map(|port| Address {
            protocol: Protocol::Tcp,
            address: ([0, 0, 0, 0], *port).into(),
        });
        Process {
            listening: Reading::Known(listening.collect()),
            ..Process::example(pid, parent, arguments)
        }
    }

    fn chosen(processes: &[Process]) -> (u32, String) {
        let choice = choose(processes, None).unwrap();
        (choice.process.id.pid, choice.because())
    }

    #[test]
    fn a_lone_process_is_chosen() {
        assert_eq!(
            chosen(&[process(1, 0, &["/app"], &[])]),
            (1, "the only process".to_owned())
        );
    }

    #[test]
    fn the_server_below_a_shell_or_tini_is_chosen() {
        let tree = [
            process(1, 0, &["/sbin/tini"], &[]),
            process(7, 1, &["/bin/sh"], &[]),
            process(8, 7, &["python3", "app.py"], &[8080]),
        ];
        assert_eq!(chosen(&tree), (8, "listens on :8080".to_owned()));
    }

    #[test]
    fn the_child_of_a_reloader_is_chosen_though_both_hold_the_socket() {
        let tree = [
            process(1, 0, &["python3", "app.py"], &[5000]),
            process(9, 1, &["python3", "app.py"], &[5000]),
        ];
        assert_eq!(
            chosen(&tree),
            (
                9,
                "started again by 1 when a file changes, listens on :5000".to_owned()
            )
        );
    }

    #[test]
    fn a_reloader_may_start_itself_again_by_the_full_path_of_its_interpreter() {
        let mut tree = [
            process(1, 0, &["python3", "app.py"], &[5000]),
            process(9, 1, &["/usr/bin/python3", "app.py"], &[5000]),
        ];
        for process in &mut tree {
            process.executable = Reading::Known("/usr/bin/python3.11".into());
        }
        assert!(chosen(&tree).1.starts_with("started again by 1"));
        tree[1].executable = Reading::Known("/opt/python".into());
        assert!(chosen(&tree).1.starts_with("the worker of 1"));
    }

    #[test]
    fn the_oldest_worker_of_a_prefork_server_is_chosen() {
        let tree = [
            process(1, 0, &["php-fpm: master process"], &[9000]),
            process(12, 1, &["php-fpm: pool www"], &[9000]),
            process(11, 1, &["php-fpm: pool www"], &[9000]),
        ];
        assert_eq!(
            chosen(&tree),
            (
                11,
                "the oldest of 2 workers of 1, listens on :9000".to_owned()
            )
        );
    }

    #[test]
    fn a_helper_of_the_server_that_listens_elsewhere_is_not_chosen() {
        let tree = [
            process(1, 0, &["server"], &[8080]),
            process(2, 1, &["exporter"], &[9100]),
        ];
        assert_eq!(chosen(&tree).0, 1);
    }

    #[test]
    fn among_services_that_have_nothing_to_do_with_each_other_none_is_chosen() {
        let tree = [
            process(1, 0, &["/sbin/init"], &[]),
            process(2, 1, &["sshd"], &[22]),
            process(3, 1, &["sh"], &[]),
            process(4, 3, &["nginx"], &[80]),
            process(5, 4, &["nginx"], &[80]),
        ];
        let because = "the process that was named; 2 below it listen, choose one with `--process`";
        assert_eq!(chosen(&tree), (1, because.to_owned()));
    }

    #[test]
    fn without_a_listener_the_process_below_the_launchers_is_chosen() {
        let tree = [
            process(1, 0, &["/bin/sh"], &[]),
            process(2, 1, &["timeout"], &[]),
            process(3, 2, &["worker"], &[]),
        ];
        assert_eq!(chosen(&tree), (3, "what 1 (sh) has started".to_owned()));
    }

    #[test]
    fn a_program_that_is_no_launcher_is_kept_though_it_has_children() {
        let tree = [
            process(1, 0, &["consumer"], &[]),
            process(2, 1, &["helper"], &[]),
        ];
        assert_eq!(chosen(&tree).0, 1);
    }

    #[test]
    fn a_zombie_is_never_chosen() {
        let mut zombie = process(1, 0, &["sh"], &[]);
        zombie.state = b'Z';
        assert!(choose(&[zombie], None).is_none());
    }

    #[test]
    fn the_user_overrides_the_choice_within_the_target_only() {
        let tree = [
            process(1, 0, &["sh"], &[]),
            process(2, 1, &["server"], &[80]),
        ];
        assert_eq!(choose(&tree, Some(1)).unwrap().process.id.pid, 1);
        assert!(choose(&tree, Some(99)).is_none());
    }

    #[test]
    fn a_name_means_the_top_of_the_only_tree_that_has_it() {
        let all = [
            process(1, 0, &["init"], &[]),
            process(5, 1, &["/usr/sbin/nginx"], &[80]),
            process(6, 5, &["nginx: worker process"], &[80]),
            process(7, 1, &["nginx"], &[]),
        ];
        let mut worker = all[1].clone();
        worker.id.pid = 6;
        worker.parent = 5;
        assert_eq!(only_tree(&all[..3], "nginx".into(), &[]), Ok(5));
        assert_eq!(
            only_tree(
                &[all[0].clone(), all[1].clone(), worker],
                "nginx".into(),
                &[]
            ),
            Ok(5)
        );
        let candidates = only_tree(&all, "nginx".into(), &[]).unwrap_err();
        assert_eq!(
            candidates
                .iter()
                .map(|process| process.id.pid)
                .collect::<Vec<_>>(),
            [5, 7]
        );
        assert_eq!(only_tree(&all, "nginx".into(), &[7]), Ok(5));
    }

    #[test]
    fn a_tree_is_complete_whatever_the_order_of_its_processes() {
        let all = [
            process(9, 3, &["c"], &[]),
            process(3, 40, &["b"], &[]),
            process(40, 1, &["a"], &[]),
            process(2, 1, &["other"], &[]),
        ];
        let pids: Vec<_> = descendants(&all, 40)
            .iter()
            .map(|process| process.id.pid)
            .collect();
        assert_eq!(pids, [40, 3, 9]);
    }
}
