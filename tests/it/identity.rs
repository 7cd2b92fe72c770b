//! Which processes an agent can look at, by who it is: a real agent, real processes, the real kernel. The
//! expected cells are those that were measured by hand (`MEASURED` in `src/agent/access/tests.rs`); an agent
//! that may change its ids has the row `R16` in place of `R3`.

#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use kdbg::{
    object::HashKind,
    protocol::message::{
        Cause, Denial, FailedCheck, Failure, FileHead, HeldBy, HeldFile, Process, ProcessId,
        ProcessScope, Reading, Request, TreeRecord, WalkRequest,
    },
    session::{RequestError, Session},
};
use tokio::process::{Child, Command};

use crate::support::running::Running;

/// The capabilities that a container runtime gives by default, as `setpriv` names them.
const CONTAINER: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
                         +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

/// Says `ready` and waits.
const WAIT: &str = "print('ready', flush=True); input()";

/// The targets, by the names of the measured table: options of `setpriv`, and Python that runs first.
const TARGETS: [(&str, &str, &str); 6] = [
    (
        "T1",
        "--reuid 1000 --regid 1000 --clear-groups --bounding-set -all",
        "",
    ),
    (
        "T2",
        "--reuid 0 --regid 0 --clear-groups --bounding-set CONTAINER",
        "",
    ),
    (
        "T3",
        "--reuid 1000 --regid 1000 --clear-groups",
        "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0);",
    ),
    (
        "T4b",
        "--bounding-set CONTAINER",
        "import ctypes, os; os.setgroups([]); os.setresgid(1000, 1000, 1000); os.setresuid(1000, 1000, 1000); \
         ctypes.CDLL(None).prctl(4, 1, 0, 0, 0);",
    ),
    (
        "T5",
        "--reuid 1000 --regid 1000 --clear-groups --inh-caps -all,+net_bind_service --ambient-caps +net_bind_service",
        "",
    ),
    ("T8", "--reuid 1000 --regid 2000 --clear-groups", ""),
];

/// The agents, and the targets that they can look at.
const READERS: [(&str, &str, &[&str]); 4] = [
    (
        "R1",
        "--reuid 1000 --regid 1000 --clear-groups --bounding-set -all",
        &["T1", "T4b"],
    ),
    // R16: R3, with the ids of the target.
    (
        "R3",
        "--reuid 0 --regid 0 --clear-groups --bounding-set CONTAINER",
        &["T1", "T2", "T4b", "T5", "T8"],
    ),
    // With the right to change ids, but as somebody else.
    (
        "R7",
        "--reuid 0 --regid 0 --clear-groups --bounding-set -all",
        &[],
    ),
    (
        "R15",
        "--reuid 0 --regid 0 --clear-groups --bounding-set -all,+sys_ptrace,+dac_read_search",
        &["T1", "T2", "T3", "T4b", "T5", "T8"],
    ),
];

fn setpriv(options: &str) -> Vec<String> {
    let words = options.split_whitespace();
    words
        .map(|word| word.replace("CONTAINER", CONTAINER))
        .collect()
}

fn may_run() -> bool {
    let may = nix::unistd::geteuid().is_root();
    if !may {
        println!("skipped, not root: start processes of other users");
    }
    may
}

/// A folder that everybody may read: a file, one of the target's own user, and a folder that is closed to
/// all but root.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let set =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(folder.path(), 0o755);
    fs::write(folder.path().join("marker"), "here").unwrap();
    let closed = folder.path().join("tree/closed");
    fs::create_dir_all(&closed).unwrap();
    fs::write(closed.join("secret"), "secret").unwrap();
    set(&closed.join("secret"), 0o600);
    set(&closed, 0o700);
    let agent = folder.path().join("kdbg-agent");
    fs::copy(env!("CARGO_BIN_EXE_kdbg-agent"), &agent).unwrap();
    set(&agent, 0o755);
    folder
}

fn start_target(options: &str, before: &str, folder: &Path) -> Running {
    let mut command = std::process::Command::new("setpriv");
    command
        .args(setpriv(options))
        .args(["python3", "-S", "-c", &format!("{before}{WAIT}")])
        // What is installed for all users.
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("MARK", "here")
        .current_dir(folder);
    Running::start(&mut command)
}

async fn start_agent(options: &str, program: &Path) -> (Session, Child) {
    let mut agent = Command::new("setpriv")
        .args(setpriv(options))
        .arg(program)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let session = Session::open(agent.stdout.take().unwrap(), agent.stdin.take().unwrap());
    (session.await.unwrap(), agent)
}

async fn describe(session: &Session, pid: u32) -> Process {
    let request = Request::Processes(ProcessScope::Tree(pid));
    let processes = session.request(&request).unwrap().records().await;
    processes.unwrap().remove(0)
}

/// What of a process can be looked at: the whole of it, or nothing and why.
async fn look(session: &Session, pid: u32, marker: &Path) -> Result<(), Failure> {
    let process = describe(session, pid).await;
    let environment = environment(session, process.id).await;
    let file = file(session, process.id, marker).await;
    let held = session.request(&Request::Files(process.id)).unwrap();
    let held: Result<Vec<HeldFile>, _> = held.records().await;
    let names = held.map_err(failure).and_then(|mut files| {
        files.retain(|file| matches!(file.by, HeldBy::Descriptor(_)));
        assert!(files.len() >= 3);
        files
            .into_iter()
            .try_for_each(|file| known(file.name).map(drop))
    });
    let cells = [
        ("environ", environment.map(drop)),
        ("root/", file.map(drop)),
        ("exe", known(process.executable).map(drop)),
        ("cwd", known(process.folder).map(drop)),
        ("fd/", known(process.listening).map(drop)),
        ("fd/*", names),
    ];
    let is_ok = cells[0].1.is_ok();
    for (name, cell) in &cells {
        assert_eq!(cell.is_ok(), is_ok, "{name}: {cell:?}");
    }
    cells.into_iter().next().unwrap().1
}

fn known<T>(reading: Reading<T>) -> Result<T, Failure> {
    match reading {
        Reading::Known(value) => Ok(value),
        Reading::Unavailable(failure) => Err(failure),
    }
}

fn failure(error: RequestError) -> Failure {
    match error {
        RequestError::Failed(failure) => failure,
        other => panic!("{other}"),
    }
}

async fn environment(session: &Session, process: ProcessId) -> Result<Vec<u8>, Failure> {
    let mut reply = session.request(&Request::Environment(process)).unwrap();
    let environment = reply.bytes(1 << 20).await.map_err(failure)?;
    assert!(
        environment
            .windows(10)
            .any(|window| window == b"MARK=here\0")
    );
    Ok(environment)
}

async fn file(session: &Session, process: ProcessId, path: &Path) -> Result<Vec<u8>, Failure> {
    let path = path.to_str().unwrap().into();
    let mut reply = session
        .request(&Request::ReadFile { process, path })
        .unwrap();
    let _: FileHead = reply.head().await.map_err(failure)?;
    let content = reply.bytes(1 << 20).await.map_err(failure)?;
    assert_eq!(content, b"here");
    Ok(content)
}

fn denial(failure: Failure) -> Denial {
    match failure.cause {
        Cause::Denied(denial) => *denial,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_sees_what_the_kernel_lets_somebody_like_it_see() {
    if !may_run() {
        return;
    }
    let folder = folder();
    let marker = folder.path().join("marker");
    let targets: Vec<(&str, Running)> = TARGETS
        .iter()
        .map(|(name, options, before)| (*name, start_target(options, before, folder.path())))
        .collect();
    for (reader, options, expected) in READERS {
        let (session, agent) = start_agent(options, &folder.path().join("kdbg-agent")).await;
        // All at once and twice, so that a thread which went on with the ids of one would fail another.
        let looks = (0..2)
            .flat_map(|_| &targets)
            .map(async |(name, target)| (*name, look(&session, target.pid(), &marker).await));
        for (name, result) in futures::future::join_all(looks).await {
            let is_expected = expected.contains(&name);
            assert_eq!(result.is_ok(), is_expected, "{reader} {name}: {result:?}");
            if let Err(failure) = result {
                assert!(!denial(failure).failed.is_empty(), "{reader} {name}");
            }
        }
        assert_eq!(file_system_ids(agent.id().unwrap()).len(), 1, "{reader}");
        session.close().await;
    }
}

/// The ids of the threads of a process.
fn file_system_ids(pid: u32) -> std::collections::BTreeSet<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let ids = |path: PathBuf| {
        let status = fs::read_to_string(path.join("status")).ok()?;
        let lines = status.lines();
        let wanted = |line: &&str| {
            ["Uid:", "Gid:", "CapEff:"]
                .iter()
                .any(|key| line.starts_with(key))
        };
        Some(lines.filter(wanted).collect::<Vec<_>>().join(" "))
    };
    tasks.filter_map(|task| ids(task.unwrap().path())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_the_agent_itself_lacks() {
    if !may_run() {
        return;
    }
    let folder = folder();
    let cases: [(usize, usize, &[FailedCheck], &str); 4] = [
        // Root with default capabilities, of a process that has protected itself.
        (
            1,
            2,
            &[FailedCheck::Uid, FailedCheck::Gid, FailedCheck::Dumpable],
            "CAP_SYS_PTRACE",
        ),
        // The user of the process, with another group, or without its capability.
        (0, 5, &[FailedCheck::Gid], "gid 2000"),
        (0, 4, &[], "CAP_SYS_PTRACE"),
        (
            2,
            0,
            &[FailedCheck::Permissions, FailedCheck::Uid, FailedCheck::Gid],
            "uid 1000",
        ),
    ];
    for (reader, target, failed, remedy) in cases {
        let (_, options, before) = TARGETS[target];
        let target = start_target(options, before, folder.path());
        let program = folder.path().join("kdbg-agent");
        let (session, _agent) = start_agent(READERS[reader].1, &program).await;
        let process = describe(&session, target.pid()).await.id;
        let denial = denial(environment(&session, process).await.unwrap_err());
        if failed.is_empty() {
            assert!(matches!(denial.failed[..], [FailedCheck::Capabilities(_)]));
        } else {
            assert_eq!(denial.failed, failed);
        }
        assert!(
            denial.remedies().concat().contains(remedy),
            "{:?}",
            denial.remedies()
        );
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_only_root_may_enter_stay_open_to_an_agent_with_the_ids_of_another() {
    if !may_run() {
        return;
    }
    let folder = folder();
    let target = start_target(TARGETS[0].1, "", folder.path());
    let (session, _agent) = start_agent(READERS[1].1, &folder.path().join("kdbg-agent")).await;
    let process = describe(&session, target.pid()).await.id;
    let tree = folder.path().join("tree");
    let request = Request::Walk(WalkRequest {
        process,
        roots: vec![tree.to_str().unwrap().into()],
        hash: Some(HashKind::Sha1),
        hash_limit: u64::MAX,
        leave_out: Vec::new(),
        leave_out_paths: Vec::new(),
    });
    let rows: Vec<TreeRecord> = session.request(&request).unwrap().records().await.unwrap();
    let hashed = rows.iter().filter_map(|row| match row {
        TreeRecord::Entry { entry, id, .. } => Some((entry.path.to_string(), id.is_some())),
        TreeRecord::Unreadable { path, failure, .. } => panic!("{path}: {failure}"),
        TreeRecord::Root { .. } | TreeRecord::Skipped { .. } => None,
    });
    assert!(
        hashed
            .clone()
            .any(|row| row == ("closed/secret".to_owned(), true)),
        "{rows:?}"
    );
    session.close().await;
}
