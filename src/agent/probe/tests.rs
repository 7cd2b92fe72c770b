use std::{fs, process::Command};

use crate::{
    agent::testing::{Collected, Running, ask, ask_into, become_stranger, is_root, ourselves},
    protocol::message::{
        Cause, ConnectionsRequest, FileKind, HeldBy, HeldFile, ProcFile, ProcessId, Reading,
        Request,
    },
};

fn environment(process: ProcessId) -> Vec<u8> {
    ask(&Request::Environment(process)).unwrap().data()
}

/// A process with exactly this environment block, which a shell or `Command` would tidy up.
fn with_environment(entries: &str) -> Running {
    let script = format!(
        "import ctypes, sys\n\
         entries = {entries}\n\
         libc = ctypes.CDLL(None)\n\
         words = lambda items: (ctypes.c_char_p * (len(items) + 1))(*items, None)\n\
         program = b'/bin/sh'\n\
         libc.execve(program, words([b'sh', b'-c', b'echo ready; read line']), words(entries))"
    );
    Running::python(&script)
}

#[test]
fn an_environment_arrives_byte_for_byte() {
    let running = with_environment(
        r"[b'A=1', b'A=2', b'no equals sign', b'', b'=x', b'B=\xff\xfe', b'C=line\nbreak\x1b[0m']",
    );
    assert_eq!(
        environment(running.id()),
        b"A=1\0A=2\0no equals sign\0\0=x\0B=\xff\xfe\0C=line\nbreak\x1b[0m\0"
    );
}

#[test]
fn an_environment_of_megabytes_arrives_whole() {
    let running = with_environment("[b'V%d=' % n + b'x' * 100_000 for n in range(15)]");
    let expected: Vec<u8> = (0..15)
        .flat_map(|number| format!("V{number}={}\0", "x".repeat(100_000)).into_bytes())
        .collect();
    assert!(environment(running.id()) == expected);
}

#[test]
fn an_environment_that_was_written_over_shows_what_is_there() {
    // As setproctitle does: the arguments grow into the environment block.
    let script = "
import ctypes
with open('/proc/self/stat', 'rb') as stat:
    fields = stat.read().rsplit(b')', 1)[1].split()
start, end = int(fields[45]), int(fields[47])
title = b'worker: ' + b'x' * (end - start)
ctypes.memmove(start, title, len(title))
print(flush=True)
input()";
    let mut command = Command::new("python3");
    command.args(["-S", "-c", script]);
    command.env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.env("LAST", "kept");
    let running = Running::start(&mut command);
    let environment = environment(running.id());
    assert!(
        environment.starts_with(b"xxxxxxxx"),
        "{}",
        bstr::BStr::new(&environment)
    );
}

#[test]
fn a_process_that_ends_between_two_reads_is_gone() {
    let mut running = Some(with_environment(
        "[b'V%d=' % n + b'x' * 100_000 for n in range(15)]",
    ));
    let id = running.as_ref().unwrap().id();
    let output = Collected {
        before: Some(Box::new(move |frames| {
            if frames == 1
                && let Some(mut running) = running.take()
            {
                running.kill();
            }
        })),
        ..Collected::default()
    };
    let failure = ask_into(&Request::Environment(id), output).map(|_| ());
    assert_eq!(failure.unwrap_err().cause, Cause::Gone(id));
}

#[test]
fn a_process_that_ended_before_is_gone_for_every_probe() {
    let mut running = Running::shell("echo ready; read line");
    let process = running.id();
    running.kill();
    let path = bstr::BString::from("/");
    for request in [
        Request::Environment(process),
        Request::ReadFile {
            process,
            path: path.clone(),
        },
        Request::List { process, path },
        Request::ProcFile {
            process,
            file: ProcFile::Status,
        },
        Request::Files(process),
        Request::Connections(ConnectionsRequest {
            process,
            unix: false,
        }),
    ] {
        let failure = ask(&request).map(|_| ()).unwrap_err();
        assert_eq!(failure.cause, Cause::Gone(process), "{request:?}");
    }
}

#[test]
fn files_of_proc_arrive_as_they_are() {
    for file in ProcFile::ALL {
        let process = ourselves();
        let data = ask(&Request::ProcFile { process, file }).unwrap().data();
        let path = format!("/proc/{}/{}", process.pid, file.name());
        match file {
            ProcFile::Cgroup | ProcFile::Limits | ProcFile::Mountinfo => {
                assert_eq!(data, fs::read(path).unwrap());
            }
            ProcFile::Maps => assert!(data.ends_with(b"\n") && data.len() > 1000),
            ProcFile::Status => assert!(data.starts_with(b"Name:\t")),
        }
    }
}

#[test]
fn descriptors_of_another_user_are_denied() {
    if !is_root("switch the user of a thread") {
        return;
    }
    let denied = std::thread::spawn(|| {
        let running = Running::shell("echo ready; read line");
        become_stranger();
        ask(&Request::Files(running.id())).map(|_| ())
    });
    let failure = denied.join().unwrap().unwrap_err();
    assert!(matches!(failure.cause, Cause::Denied(_)), "{failure}");
}

fn descriptors(process: ProcessId) -> Vec<(u32, HeldFile)> {
    let files: Vec<HeldFile> = ask(&Request::Files(process)).unwrap().rows();
    let descriptors = files.into_iter().filter_map(|file| match file.by {
        HeldBy::Descriptor(number) => Some((number, file)),
        _ => None,
    });
    descriptors.collect()
}

#[test]
fn open_files_are_told_with_position_and_deletion() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, "0123456789").unwrap();
    let script = format!(
        "import os\nfile = os.open({path:?}, os.O_RDONLY)\nos.read(file, 4)\n\
         appended = os.open({path:?}, os.O_WRONLY | os.O_APPEND)\nos.unlink({path:?})\n\
         pipe = os.pipe()\nprint(file, appended, pipe[0], flush=True)\n\
         print(file, appended, pipe[0], flush=True)\ninput()"
    );
    let mut running = Running::python(&script);
    let numbers: Vec<u32> = running
        .line()
        .split(' ')
        .map(|word| word.parse().unwrap())
        .collect();
    let files = descriptors(running.id());
    assert!(files.is_sorted_by_key(|(number, _)| *number));
    let of = |number: u32| &files.iter().find(|(other, _)| *other == number).unwrap().1;
    let stat = |number: u32| of(number).stat.known().unwrap();

    let name = format!("{} (deleted)", path.display());
    assert_eq!(of(numbers[0]).name, Reading::Known(name.into()));
    assert_eq!(of(numbers[0]).opened.unwrap().position, 4);
    let file = stat(numbers[0]);
    assert_eq!(
        (file.kind, file.size, file.links),
        (Some(FileKind::File), 10, 0)
    );
    let flags = u32::try_from(nix::libc::O_APPEND | nix::libc::O_WRONLY).unwrap();
    assert_eq!(of(numbers[1]).opened.unwrap().flags & flags, flags);
    let pipe = stat(numbers[2]);
    assert_eq!((pipe.kind, pipe.links), (Some(FileKind::Fifo), 1));
    assert!(of(numbers[2]).name.known().unwrap().starts_with(b"pipe:["));
}
