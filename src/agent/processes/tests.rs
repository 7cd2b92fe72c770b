use std::{net::TcpListener, process::Command, time::Instant};

use super::*;
use crate::{
    agent::testing::{Container, Running, ask, become_stranger, has_user_namespaces, is_root},
    protocol::message::{Protocol, Request},
};

fn list(scope: ProcessScope) -> Vec<Process> {
    ask(&Request::Processes(scope)).unwrap().rows()
}

fn one(pid: u32) -> Process {
    let mut processes = list(ProcessScope::Tree(pid));
    processes.retain(|process| process.id.pid == pid);
    processes.pop().unwrap()
}

#[test]
fn our_own_process_is_described() {
    let us = one(std::process::id());
    assert_eq!(us.parent, nix::unistd::getppid().as_raw().cast_unsigned());
    assert_eq!(us.inner_pid, us.id.pid);
    let arguments: Vec<BString> = std::env::args_os().map(into_bytes).collect();
    assert_eq!(us.arguments, arguments);
    let executable = std::env::current_exe().unwrap().into_os_string();
    assert_eq!(us.executable, Reading::Known(into_bytes(executable)));
    let folder = std::env::current_dir().unwrap().into_os_string();
    assert_eq!(us.folder, Reading::Known(into_bytes(folder)));
    assert!(us.threads >= 1 && us.resident > 1_000_000);
    let age = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let age = i64::try_from(age).unwrap() - us.started_at;
    assert!((-100..3_600_000).contains(&age), "{age} ms");
}

#[test]
fn a_tree_is_a_process_and_its_descendants() {
    let running = Running::shell("sh -c 'sleep 5 & wait' & sleep 5 & echo ready; read line");
    let deadline = Instant::now() + Duration::from_secs(10);
    let family = loop {
        let family = list(ProcessScope::Tree(running.pid()));
        let sleeping = family.iter().filter(|process| process.name == "sleep");
        if sleeping.count() == 2 || Instant::now() > deadline {
            break family;
        }
    };
    assert_eq!(family.len(), 4);
    let is_known = |pid: u32| family.iter().any(|process| process.id.pid == pid);
    for process in &family {
        assert!(process.id.pid == running.pid() || is_known(process.parent));
    }
    let all = list(ProcessScope::All);
    assert!(all.len() > family.len());
    assert!(all.is_sorted_by_key(|process| process.id.pid));
}

#[test]
fn the_tree_of_nobody_is_an_error() {
    let mut running = Running::shell("echo ready; read line");
    let pid = running.pid();
    running.kill();
    let failure = ask(&Request::Processes(ProcessScope::Tree(pid))).map(|_| ());
    assert_eq!(failure.unwrap_err().cause, Cause::NoSuchProcess { pid });
}

#[test]
fn arguments_are_kept_as_they_are() {
    let split = |bytes: &[u8]| split_arguments(bytes);
    assert_eq!(split(b""), Vec::<BString>::new());
    assert_eq!(split(b"a\0\0b \n\0"), ["a", "", "b \n"]);
    assert_eq!(split(b"\0"), [""]);
    // setproctitle: no NUL at the end, or many
    assert_eq!(split(b"nginx: worker process"), ["nginx: worker process"]);
    assert_eq!(split(b"title\0\0\0"), ["title", "", ""]);
    assert_eq!(split(b"\xff\xfe\0"), [BString::from(b"\xff\xfe")]);
}

#[test]
fn empty_and_long_arguments_arrive() {
    let long = "x".repeat(100_000);
    let mut command = Command::new("python3");
    let wait = "print(flush=True); input()";
    command.args(["-S", "-c", wait, "", "b", "", &long]);
    let running = Running::start(&mut command);
    let process = one(running.pid());
    assert!(process.arguments_cut);
    assert_eq!(process.arguments[3], wait);
    assert_eq!(process.arguments[4..7], ["", "b", ""]);
    let total: usize = process.arguments.iter().map(|word| word.len() + 1).sum();
    assert_eq!(total, ARGUMENTS_LIMIT + 1);
}

#[test]
fn listening_addresses_are_those_of_the_process() {
    let script = "
import socket, sys
def bind(family, kind, address):
    s = socket.socket(family, kind); s.bind((address, 0)); return s
a = bind(socket.AF_INET, socket.SOCK_STREAM, '127.0.0.1'); a.listen()
b = bind(socket.AF_INET, socket.SOCK_DGRAM, '0.0.0.0')
c = bind(socket.AF_INET, socket.SOCK_STREAM, '127.0.0.1')
d = socket.create_connection(a.getsockname())
print(a.getsockname()[1], b.getsockname()[1], flush=True)
print(a.getsockname()[1], b.getsockname()[1], flush=True)
input()";
    let mut running = Running::python(script);
    let ports: Vec<u16> = running
        .line()
        .split(' ')
        .map(|port| port.parse().unwrap())
        .collect();
    let ours = TcpListener::bind("127.0.0.1:0").unwrap();
    let listening = one(running.pid()).listening;
    let expected = [
        (Protocol::Tcp, format!("127.0.0.1:{}", ports[0])),
        (Protocol::Udp, format!("0.0.0.0:{}", ports[1])),
    ]
    .map(|(protocol, address)| Address {
        protocol,
        address: address.parse().unwrap(),
    });
    assert_eq!(listening, Reading::Known(expected.to_vec()));
    drop(ours);
}

#[test]
fn a_container_has_its_own_numbers_and_folders() {
    if !has_user_namespaces() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let container = Container::start(root.path(), "pivot", "os.mkdir('app')");
    let process = one(container.pid);
    assert_eq!(process.inner_pid, 1);
    assert_eq!(process.folder, Reading::Known("/app".into()));
    // Ids are told as the agent has them, not as the container has.
    assert_eq!(
        process.credentials.uids,
        [nix::unistd::geteuid().as_raw(); 4]
    );
}

#[test]
fn what_another_user_protects_is_denied_not_absent() {
    if !is_root("switch the user of a thread") {
        return;
    }
    let running = Running::shell("echo ready; read line");
    let pid = running.pid();
    let process = std::thread::spawn(move || {
        // All capabilities of the thread go with the real ids; the system call is that of one thread.
        become_stranger();
        one(pid)
    });
    let process = process.join().unwrap();
    let Reading::Unavailable(failure) = process.listening else {
        panic!("{:?}", process.listening);
    };
    assert!(matches!(failure.cause, Cause::Denied(_)), "{failure}");
    assert_eq!(process.name, "sh");
}

#[test]
fn a_deleted_executable_and_folder_are_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let gone = folder.path().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let mut child = Command::new(&program)
        .arg("60")
        .current_dir(&gone)
        .spawn()
        .unwrap();
    std::fs::remove_file(&program).unwrap();
    std::fs::remove_dir(&gone).unwrap();
    let process = one(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    let deleted = |path: &std::path::Path| {
        Reading::Known(BString::from(format!("{} (deleted)", path.display())))
    };
    assert_eq!(process.executable, deleted(&program));
    assert_eq!(process.folder, deleted(&gone));
}

#[test]
fn a_zombie_is_listed() {
    let mut running = Running::shell("echo ready; exit 0");
    let id = running.id_of_zombie();
    let process = one(id.pid);
    assert_eq!(process.state, b'Z');
    assert_eq!(process.arguments, Vec::<BString>::new());
    assert!(process.executable.known().is_none());
}

#[test]
fn a_list_bears_processes_that_come_and_go() {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                Command::new("true").status().unwrap();
            }
        });
        for _ in 0..20 {
            let all = list(ProcessScope::All);
            assert!(
                all.iter()
                    .any(|process| process.id.pid == std::process::id())
            );
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
