//! Which container a process belongs to, in real cgroups: those of a kubelet with its own driver, made by hand.

#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use kdbg::{
    evidence::container::{Evidence, Wanted, members},
    protocol::message::{Agent, ContainerId, Process, ProcessScope, Request},
    session::Session,
};
use tokio::process::{Child, Command};

use crate::support::running::Running;

const AGENT: &str = env!("CARGO_BIN_EXE_kdbg-agent");
const POD: &str = "0f3c8f0a-7a52-4c0e-9d0b-0d8f6f1b2c3d";

fn id(digit: u8) -> ContainerId {
    ContainerId([digit; 32])
}

/// The cgroups of a pod with two containers; they vanish with their test.
struct Pod {
    top: PathBuf,
    /// Ids are found wherever they are, so no two tests have the same.
    ids: [ContainerId; 2],
}

impl Pod {
    /// `None` where cgroups cannot be made.
    fn make(ids: [ContainerId; 2]) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let mount = mounts
            .lines()
            .find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
                [_, point, "cgroup2", ..] => Some(point),
                _ => None,
            });
        let top =
            Path::new(mount?).join(format!("kdbg-test-{}-{}", std::process::id(), ids[0].0[0]));
        let pod = Self { top, ids };
        let made = ids
            .into_iter()
            .all(|id| fs::create_dir_all(pod.container(id)).is_ok());
        if !made {
            println!("skipped, no cgroup can be made here");
        }
        made.then_some(pod)
    }

    fn container(&self, id: ContainerId) -> PathBuf {
        self.top.join(format!("kubepods/pod{POD}/{id}"))
    }

    /// A shell script in one of its containers.
    fn command(&self, id: ContainerId, script: &str) -> std::process::Command {
        let mut command = std::process::Command::new("sh");
        let procs = self.container(id).join("cgroup.procs");
        command
            .args(["-c", &format!("echo $$ > \"$PROCS\" && {script}")])
            .env("PROCS", procs)
            .env("AGENT", AGENT);
        command
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let pod = self.top.join(format!("kubepods/pod{POD}"));
        // What has just been killed stays in its cgroup until it is buried.
        for _ in 0..100 {
            let mut folders: Vec<_> = self.ids.map(|id| self.container(id)).into();
            folders.extend([pod.clone(), self.top.join("kubepods"), self.top.clone()]);
            for folder in folders {
                let _ = fs::remove_dir(folder);
            }
            if !self.top.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

async fn open(command: std::process::Command) -> (Session, Child) {
    let mut agent = Command::from(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let session = Session::open(agent.stdout.take().unwrap(), agent.stdin.take().unwrap());
    (session.await.unwrap(), agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_is_told_from_the_agent_in_and_out_of_a_cgroup_namespace() {
    let Some(pod) = Pod::make([id(1), id(2)]) else {
        return;
    };
    let target = Running::start(&mut pod.command(id(1), "echo ready && read line"));
    let neighbour = Running::start(&mut pod.command(id(2), "echo ready && read line"));
    for (start, sees_itself) in [
        ("exec \"$AGENT\" serve", true),
        ("exec unshare --cgroup \"$AGENT\" serve", false),
    ] {
        let (session, mut agent) = open(pod.command(id(2), start)).await;
        let own: Agent = session
            .request(&Request::Agent)
            .unwrap()
            .head()
            .await
            .unwrap();
        let own_ids = &own.container.known().unwrap().ids;
        let expected: Vec<_> = sees_itself.then(|| id(2)).into_iter().collect();
        assert_eq!(*own_ids, expected);

        let request = Request::Processes(ProcessScope::All);
        let processes: Vec<Process> = session.request(&request).unwrap().records().await.unwrap();
        let wanted = Wanted {
            id: Some(id(1)),
            pod: Some(POD),
            name: "app",
        };
        let members = members(&processes, &wanted, &own.container).unwrap();
        let pids: Vec<u32> = members
            .processes
            .iter()
            .map(|process| process.id.pid)
            .collect();
        assert_eq!((pids, members.by), (vec![target.pid()], Evidence::Id));
        let beside = processes
            .iter()
            .find(|process| process.id.pid == neighbour.pid());
        let beside = beside.unwrap().container.known().unwrap();
        let own = own.container.known().unwrap();
        assert_eq!(beside.is_same_container(own), Some(true));
        session.close().await;
        agent.wait().await.unwrap();
    }
}

#[test]
fn only_the_processes_of_its_own_cgroup_keep_an_agent_resting() {
    let Some(pod) = Pod::make([id(3), id(4)]) else {
        return;
    };
    // All of this machine shares its mounts and its pid namespace with it.
    let target = Running::start(&mut pod.command(id(3), "echo ready && read line"));
    let session = pod.command(id(4), "exec sleep 1.5").spawn();
    let started = Instant::now();
    let rest = pod
        .command(id(4), "exec \"$AGENT\" rest --idle 0.5")
        .status()
        .unwrap();
    let took = started.elapsed();
    assert!(rest.success());
    assert!(took >= Duration::from_millis(1800), "{took:?}");
    assert!(took < Duration::from_mins(1), "{took:?}");
    session.unwrap().wait().unwrap();
    drop(target);
}
