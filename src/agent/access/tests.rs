use std::{os::unix::process::CommandExt as _, process::Command};

use super::*;
use crate::{
    agent::testing::{
        Running, ask, become_stranger, has_user_namespaces, identify, is_root, ourselves,
    },
    protocol::message::{Cause, Request},
};

/// The set that container runtimes give by default.
const CONTAINER: u64 = 0xa804_25fb;
/// What `setfsuid` away from 0 drops from the effective set (`CAP_FS_SET`, include/linux/capability.h).
const OF_FILES: u64 = 0x1f | 1 << 9 | 1 << 27 | 1 << 32;
const NET_BIND: u64 = 1 << 10;
const PTRACE: u64 = Capabilities::SYS_PTRACE.0;
const DAC: u64 = Capabilities::DAC_OVERRIDE.0 | Capabilities::DAC_READ_SEARCH.0;
const ALL: u64 = (1 << 41) - 1;

const fn identity(uid: u32, gid: u32, capabilities: u64) -> Identity {
    Identity {
        uids: [uid; 4],
        gids: [gid; 4],
        capabilities: Capabilities(capabilities),
    }
}

/// Targets and whether they are dumpable.
fn targets() -> Vec<(&'static str, Identity, bool)> {
    vec![
        ("T1", identity(1000, 1000, 0), true),
        ("T2", identity(0, 0, CONTAINER), true),
        // prctl(PR_SET_DUMPABLE, 0)
        ("T3", identity(1000, 1000, 0), false),
        // root that became another user without exec, and the same that made itself dumpable again
        ("T4", identity(1000, 1000, 0), false),
        ("T4b", identity(1000, 1000, 0), true),
        ("T5", identity(1000, 1000, NET_BIND), true),
        // its executable is not readable for it
        ("T6", identity(1000, 1000, 0), false),
        ("T7", identity(0, 0, 0), true),
        ("T8", identity(1000, 2000, 0), true),
        // its executable has a capability
        ("T9", identity(1000, 1000, NET_BIND), false),
    ]
}

/// A reader; `R16` takes the user and the group of the target.
fn reader_named(name: &str, target: &Identity) -> Identity {
    let by_file_system = |uid: u32, gid: u32, capabilities: u64| Identity {
        uids: [0, 0, 0, uid],
        gids: [0, 0, 0, gid],
        capabilities: Capabilities(capabilities),
    };
    match name {
        "R1" | "R5" | "R10" => identity(1000, 1000, 0),
        "R1g" => identity(1000, 0, 0),
        "R2" => identity(1001, 1001, 0),
        "R3" => identity(0, 0, CONTAINER),
        "R4" => identity(0, 0, CONTAINER | PTRACE),
        "R6" => identity(1001, 1001, PTRACE),
        "R7" => identity(0, 0, 0),
        "R8" => identity(0, 0, ALL),
        "R9" => identity(0, 0, DAC),
        "R11" => by_file_system(1000, 1000, CONTAINER & !OF_FILES),
        "R12" => identity(0, 0, PTRACE),
        "R13" => identity(1000, 1000, NET_BIND),
        "R15" => identity(0, 0, PTRACE | Capabilities::DAC_READ_SEARCH.0),
        "R16" => by_file_system(target.uids[1], target.gids[1], CONTAINER),
        other => panic!("{other}"),
    }
}

/// Reader, targets, and which of `environ`, `cwd`, `fd/`, `fd/3`, `maps` and `mem` could be read (`+`) on a
/// real kernel (6.18, no Yama, all in one user namespace).
const MEASURED: &[(&str, &str, &str)] = &[
    ("R1", "T1 T4b", "++++++"),
    ("R1", "T2 T3 T4 T6 T7 T9", "------"),
    ("R1", "T5 T8", "--+---"),
    ("R1g", "T1 T4b T5 T8", "--+---"),
    ("R1g", "T2 T3 T4 T6 T7 T9", "------"),
    ("R2", "T1 T2 T3 T4 T4b T5 T6 T7 T8 T9", "------"),
    ("R3", "T1 T3 T4 T4b T5 T6 T8 T9", "--+---"),
    ("R3", "T2 T7", "++++++"),
    ("R4", "T1 T2 T3 T4 T4b T5 T6 T7 T8 T9", "++++++"),
    ("R5", "T1 T4b", "++++++"),
    ("R5", "T2 T3 T4 T6 T7 T9", "------"),
    ("R5", "T5 T8", "--+---"),
    ("R6", "T1 T2 T3 T4 T4b T5 T6 T7 T8 T9", "-+--+-"),
    ("R7", "T1 T4b T5 T8", "------"),
    ("R7", "T2 T3 T4 T6 T9", "--+---"),
    ("R7", "T7", "++++++"),
    ("R8", "T1 T2 T3 T4 T4b T5 T6 T7 T8 T9", "++++++"),
    ("R9", "T1 T2 T3 T4 T4b T5 T6 T8 T9", "--+---"),
    ("R9", "T7", "++++++"),
    ("R10", "T1 T4b", "++++++"),
    ("R10", "T2 T3 T4 T6 T7 T9", "------"),
    ("R10", "T5 T8", "--+---"),
    ("R11", "T1 T4b T5", "++++++"),
    ("R11", "T2 T7", "------"),
    ("R11", "T3 T4 T6 T9", "------"),
    ("R11", "T8", "--+---"),
    ("R12", "T1 T4b T5 T8", "-+--+-"),
    ("R12", "T2 T3 T4 T6 T7 T9", "++++++"),
    ("R13", "T1 T4b T5", "++++++"),
    ("R13", "T2 T3 T4 T6 T7 T9", "------"),
    ("R13", "T8", "--+---"),
    ("R15", "T1 T2 T3 T4 T4b T5 T6 T7 T8 T9", "++++++"),
    ("R16", "T1 T2 T4b T5 T7 T8", "++++++"),
    ("R16", "T3 T4 T6 T9", "--+---"),
];

#[test]
fn the_rules_agree_with_what_a_kernel_does() {
    let guards = [
        Guard::BitsAndTrace,
        Guard::Trace,
        Guard::Bits,
        Guard::BitsAndTrace,
        Guard::Trace,
        Guard::BitsAndAttach { yama: 0 },
    ];
    let mut cells = 0;
    for (name, measured_targets, expected) in MEASURED {
        for target_name in measured_targets.split(' ') {
            let (_, target, dumpable) = targets()
                .into_iter()
                .find(|target| target.0 == target_name)
                .unwrap();
            let reader = reader_named(name, &target);
            for (guard, expected) in guards.into_iter().zip(expected.chars()) {
                let failed = explain(&reader, &target, dumpable, UserNamespace::Same, guard);
                let is_allowed = failed.is_empty();
                assert_eq!(
                    is_allowed,
                    expected == '+',
                    "{name} {target_name} {guard:?} {failed:?}"
                );
                cells += 1;
            }
        }
    }
    assert_eq!(cells, 16 * 10 * 6);
}

#[test]
fn every_failed_rule_is_named() {
    let target = Identity {
        uids: [0, 1000, 1000, 1000],
        gids: [2000; 4],
        capabilities: Capabilities(NET_BIND),
    };
    let reader = identity(1000, 1000, 0);
    let guard = Guard::BitsAndAttach { yama: 1 };
    assert_eq!(
        explain(&reader, &target, false, UserNamespace::Same, guard),
        [
            FailedCheck::Permissions,
            FailedCheck::Uid,
            FailedCheck::Gid,
            FailedCheck::Dumpable,
            FailedCheck::Capabilities(Capabilities(NET_BIND)),
            FailedCheck::Yama { scope: 1 },
        ]
    );
}

#[test]
fn yama_guards_memory_only_and_yields_to_the_capability() {
    let target = identity(1000, 1000, 0);
    let failed =
        |reader: &Identity, guard| explain(reader, &target, true, UserNamespace::Same, guard);
    let reader = identity(1000, 1000, 0);
    assert_eq!(failed(&reader, Guard::BitsAndTrace), []);
    let attach = Guard::BitsAndAttach { yama: 2 };
    assert_eq!(failed(&reader, attach), [FailedCheck::Yama { scope: 2 }]);
    let reader = identity(0, 0, ALL);
    assert_eq!(failed(&reader, attach), []);
    let never = Guard::BitsAndAttach { yama: 3 };
    assert_eq!(failed(&reader, never), [FailedCheck::Yama { scope: 3 }]);
}

#[test]
fn capabilities_count_downwards_only() {
    let target = identity(1000, 1000, 0);
    let reader = identity(0, 0, ALL);
    let failed = |reader: &Identity, namespace| {
        explain(reader, &target, true, namespace, Guard::BitsAndTrace)
    };
    assert_eq!(failed(&reader, UserNamespace::Below), []);
    assert!(failed(&reader, UserNamespace::Foreign).contains(&FailedCheck::UserNamespace));
    // The same ids do not help across namespaces without the capability.
    let reader = identity(1000, 1000, 0);
    assert_eq!(
        failed(&reader, UserNamespace::Below),
        [FailedCheck::UserNamespace]
    );
}

#[test]
fn id_maps_tell_where_a_namespace_is() {
    let initial = b"         0          0 4294967295\n";
    let child = b"         0     100000      65536\n";
    // The initial namespace, read from within a child that has no number for its ids.
    let parent = b"         0 4294967295 4294967295\n";
    assert_eq!(compare_maps(initial, initial), UserNamespace::Same);
    assert_eq!(compare_maps(initial, child), UserNamespace::Below);
    assert_eq!(compare_maps(child, parent), UserNamespace::Foreign);
}

/// The refusal that a process with these ids meets at `environ` of a process of root.
#[test]
fn a_real_refusal_names_its_rules() {
    if !is_root("start a process that another user protects") {
        return;
    }
    // The probe runs in a thread with another file-system user, as the agent does in a pod.
    let refused = std::thread::spawn(|| {
        let running = Running::start(
            Command::new("sh")
                .args(["-c", "echo ready; read line"])
                .uid(1000)
                .gid(1000),
        );
        become_stranger();
        ask(&Request::Environment(running.id())).map(|_| ())
    });
    let failure = refused.join().unwrap().unwrap_err();
    let Cause::Denied(denial) = failure.cause else {
        panic!("{failure:?}");
    };
    // setfsuid keeps CAP_SYS_PTRACE but drops what overrides permission bits.
    assert_eq!(denial.reader.uids[3], 1001);
    assert_eq!(denial.target.uids, [1000; 4]);
    let expected = if denial.reader.capabilities.contain(Capabilities::SYS_PTRACE) {
        vec![FailedCheck::Permissions]
    } else {
        vec![FailedCheck::Permissions, FailedCheck::Uid, FailedCheck::Gid]
    };
    assert_eq!(denial.failed, expected);
}

#[test]
fn a_process_that_protects_itself_is_told_from_one_that_does_not() {
    if !is_root("start processes of another user") {
        return;
    }
    let script = "import ctypes\nctypes.CDLL(None).prctl(4, PROTECT, 0, 0, 0)\nprint('ready', flush=True)\ninput()";
    for (protect, dumpable) in [("0", false), ("1", true)] {
        let script = script.replace("PROTECT", protect);
        let running = Running::start(
            Command::new("python3")
                .args(["-S", "-c", &script])
                .uid(1000)
                .gid(1000),
        );
        let target = Target::open(running.id()).unwrap();
        let denials = Denials::of(&target);
        assert_eq!(denials.dumpable, dumpable);
        assert_eq!(denials.namespace, UserNamespace::Same);
        assert_eq!(denials.target, identity(1000, 1000, 0));
    }
}

#[test]
fn a_process_in_a_child_namespace_is_below_us() {
    if !has_user_namespaces() {
        return;
    }
    let running = Running::start(Command::new("unshare").args([
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        "echo ready; read line",
    ]));
    let target = Target::open(running.id()).unwrap();
    assert_eq!(Denials::of(&target).namespace, UserNamespace::Below);
}

#[test]
fn a_stranger_is_told_every_rule() {
    if nix::unistd::geteuid().is_root() {
        // Once more, as somebody who may nothing.
        let name = "agent::access::tests::a_stranger_is_told_every_rule";
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .current_dir("/")
            .uid(1001)
            .gid(1001)
            .status();
        match status {
            Ok(status) => assert!(status.success()),
            Err(error) => println!("skipped, another user cannot run this test: {error}"),
        }
        return;
    }
    let first = identify(1);
    let failure = ask(&Request::Environment(first)).map(|_| ()).unwrap_err();
    let Cause::Denied(denial) = failure.cause else {
        panic!("{failure:?}");
    };
    for check in [FailedCheck::Permissions, FailedCheck::Uid, FailedCheck::Gid] {
        assert!(denial.failed.contains(&check), "{denial:?}");
    }
    assert_eq!(denial.target.uids, [0; 4]);
    let scope = crate::protocol::message::ProcessScope::Tree(1);
    let processes = ask(&Request::Processes(scope)).unwrap();
    let processes = processes.rows::<crate::protocol::message::Process>();
    for reading in [&processes[0].executable, &processes[0].folder] {
        let cause = match reading {
            crate::protocol::message::Reading::Unavailable(failure) => &failure.cause,
            crate::protocol::message::Reading::Known(path) => panic!("{path}"),
        };
        assert!(matches!(cause, Cause::Denied(_)), "{cause}");
    }
}

#[test]
fn we_may_look_at_ourselves() {
    assert!(ask(&Request::Environment(ourselves())).is_ok());
}
