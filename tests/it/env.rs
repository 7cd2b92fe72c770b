//! `kdbg env` on real processes: every byte of their environments, and none of their secrets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    process::{Command, Stdio},
};

use insta::assert_snapshot;

use crate::support::running::{
    Running, assert_code, command, idle, is_root, kdbg, python, said, shown,
};

/// A process with these variables beside the two that it needs.
fn with(variables: &[(&str, &[u8])]) -> Running {
    let mut command = idle();
    for (name, value) in variables {
        command.env(name, OsStr::from_bytes(value));
    }
    Running::start(&mut command)
}

/// A process that is started with exactly this block, whatever is in it.
fn with_block(entries: &[&[u8]]) -> Running {
    let list: Vec<_> = entries
        .iter()
        .map(|entry| format!("bytes({entry:?})"))
        .collect();
    let script = format!(
        "import ctypes, sys
entries = [{}]
block = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
words = [sys.executable.encode(), b'-S', b'-c', b'print(\"ready\", flush=True); import sys; sys.stdin.read()']
argv = (ctypes.c_char_p * (len(words) + 1))(*words, None)
ctypes.CDLL(None).execve(words[0], argv, block)",
        list.join(", ")
    );
    Running::start(Command::new(python()).args(["-c", &script]))
}

fn environ(process: &Running) -> Vec<u8> {
    std::fs::read(format!("/proc/{}/environ", process.pid())).unwrap()
}

#[test]
fn entries_are_shown_in_their_order_with_what_is_unusual_about_them() {
    let process = with_block(&[
        b"PATH=/usr/bin:/bin",
        b"DUP=1",
        b"DUP=2",
        b"plain",
        b"=no name",
        b"BINARY=\xff\xfe",
        b"LINES=one\ntwo",
        b"ESCAPE=\x1b]0;pwn\x07",
        b"EMPTY=",
        b"DB_PASSWORD=hunter2",
        b"DATABASE_URL=postgres://app:hunter2@db:5432/app",
    ]);
    let output = kdbg(["env", &process.target()]);
    assert_snapshot!(shown(&output, &[]), @r"
    exit 0
    --- stdout
    PATH=/usr/bin:/bin
    DUP=1
    DUP=2  # duplicate: getenv sees entry 1, a shell sees the last
    plain  # no `=`
    =no name  # no name
    BINARY=\xff\xfe  # not UTF-8
    LINES=one\ntwo
    ESCAPE=\x1b]0;pwn\x07
    EMPTY=
    DB_PASSWORD=[redacted: 7 bytes]
    DATABASE_URL=postgres://app:[redacted: 7 bytes]@db:5432/app
    --- stderr
    note: 2 values are redacted; `--show-secrets` prints them
    ");
}

#[test]
fn json_has_every_byte_and_says_why_something_is_redacted() {
    let process = with_block(&[b"A=\xff", b"plain", b"TOKEN=abc", b"A=2"]);
    let output = kdbg(["env", &process.target(), "-o", "json"]);
    assert_code(&output, 0);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["process"]["pid"], process.pid());
    assert_eq!(report["bytes"], environ(&process).len());
    assert_eq!(
        report["entries"],
        serde_json::json!([
            {"name": "A", "value": {"base64": "/w=="}, "marks": [{"mark": "not-utf8"}]},
            {"name": null, "value": "plain", "marks": [{"mark": "no-equals"}]},
            {"name": "TOKEN", "value": "[redacted: 3 bytes]", "redacted": [{"bytes": 3, "because": "name"}]},
            {"name": "A", "value": "2", "marks": [{"mark": "duplicate", "first": 0}]},
        ])
    );
}

#[test]
fn a_text_chooses_by_name_and_shown_value_and_never_by_what_is_hidden() {
    let process = with_block(&[
        b"REVIEWS_PORT=tcp://10.0.0.7:9080",
        b"LEVEL=reviews and more",
        b"OTHER=1",
        b"DB_PASSWORD=hunter2",
        b"bare reviews",
        b"ESCAPE=\x1breviews",
    ]);
    let output = kdbg(["env", &process.target(), "--grep", "ReViews"]);
    assert_snapshot!(shown(&output, &[]), @r"
    exit 0
    --- stdout
    REVIEWS_PORT=tcp://10.0.0.7:9080
    LEVEL=reviews and more
    bare reviews  # no `=`
    ESCAPE=\x1breviews
    --- stderr
    ");
    // What matches nothing is an answer, and a secret is found by its name only.
    for (text, found) in [("hunter2", vec![]), ("db_pass", vec!["DB_PASSWORD"])] {
        let output = kdbg(["env", &process.target(), "--grep", text, "-o", "json"]);
        assert_code(&output, 0);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let names: Vec<_> = report["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, found, "{text}");
    }
    let output = kdbg([
        "env",
        &process.target(),
        "--grep",
        "hunter2",
        "--show-secrets",
    ]);
    assert_eq!(output.stdout, b"DB_PASSWORD=hunter2\n");
}

#[test]
fn what_cannot_be_chosen_is_refused_with_a_hint() {
    let process = with(&[]);
    let target = process.target();
    for (words, message) in [
        (
            &["--source", "spec"][..],
            "error: a process of this machine has no spec that declares its variables\nhint: name a pod, or leave out `--against` and `--source`\n",
        ),
        (
            &["--against", "spec"],
            "error: a process of this machine has no spec that declares its variables\nhint: name a pod, or leave out `--against` and `--source`\n",
        ),
        (
            &["--grep", "x", "-o", "dotenv"],
            "error: `--source` and `--grep` choose among what is printed as text or JSON\nhint: leave out `-o`, or use `-o json`\n",
        ),
        (
            &["--grep", "x", "-o", "null"],
            "error: `--source` and `--grep` choose among what is printed as text or JSON\nhint: leave out `-o`, or use `-o json`\n",
        ),
    ] {
        let output = kdbg([&["env", &target], words].concat());
        assert_code(&output, 2);
        assert_eq!(said(&output), message, "{words:?}");
        assert_eq!(output.stdout, b"", "{words:?}");
    }
    let output = kdbg(["env", &target, "--source", "heaven"]);
    assert_code(&output, 2);
    assert!(
        said(&output)
            .contains("[possible values: spec, service-link, image, runtime, entrypoint, unknown]"),
        "{}",
        said(&output)
    );
}

#[test]
fn the_null_format_is_what_the_kernel_has() {
    let process = with_block(&[b"A=\xff\x1b[2J", b"plain", b"", b"TOKEN=abc", b"A=2"]);
    let output = kdbg(["env", &process.target(), "-o", "null", "--show-secrets"]);
    assert_eq!(output.stdout, environ(&process));
    // An empty string among them looks like padding.
    assert_code(&output, 3);
}

#[test]
fn text_is_what_tr_makes_of_the_kernels_file() {
    let process = with(&[
        ("ONE", b"1"),
        ("TWO", "größe".as_bytes()),
        ("THREE", b"a=b c"),
    ]);
    let output = kdbg(["env", &process.target()]);
    assert_code(&output, 0);
    let expected = Command::new("sh")
        .args([
            "-c",
            &format!("tr '\\0' '\\n' </proc/{}/environ", process.pid()),
        ])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&expected.stdout)
    );
}

/// A shell that reads the file has the same values as the process.
#[test]
fn a_shell_reads_the_dotenv_format_as_the_process_has_it() {
    let mut values: Vec<(String, Vec<u8>)> = [
        &b""[..],
        b"plain",
        b"two words",
        b" lead and trail ",
        b"it's",
        b"\"quoted\"",
        b"it's \"both\"",
        b"$HOME `id` $(id)",
        b"a\\b",
        b"a\\\\b",
        b"ends\\",
        b"ends\\'",
        b"# no comment",
        b"a#b",
        b"one\ntwo\n",
        b"\ttab\r",
        b"\x1b[2J\x07",
        b"\xff\xfe\x80",
        b"${PATH}",
        b"!history",
        b"~",
        b"*?[x]",
        b"a;b&c|d>e<f(g)",
        b"\x01'\x7f",
    ]
    .iter()
    .enumerate()
    .map(|(number, value)| (format!("V{number}"), value.to_vec()))
    .collect();
    // And some of all characters that mean something somewhere.
    let mut state = 7_u32;
    for number in 0..200 {
        let value = (0..number % 12)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b"'\"\\$`#=\n\r {}a!\xc3\xa9"[(state >> 16) as usize % 16]
            })
            .collect();
        values.push((format!("R{number}"), value));
    }
    let mut target = idle();
    for (name, value) in &values {
        target.env(name, OsStr::from_bytes(value));
    }
    let process = Running::start(&mut target);
    let output = kdbg(["env", &process.target(), "-o", "dotenv"]);
    assert_code(&output, 0);
    assert_eq!(said(&output), "");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), &output.stdout).unwrap();
    for shell in ["dash", "bash", "busybox"] {
        let mut run = Command::new(shell);
        if shell == "busybox" {
            run.arg("sh");
        }
        let Ok(read) = run
            .args(["-c", "set -a; . ./file; exec env -0"])
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .output()
        else {
            println!("skipped: {shell} is not installed");
            continue;
        };
        let seen: BTreeMap<Vec<u8>, Vec<u8>> = read
            .stdout
            .split(|byte| *byte == 0)
            .filter_map(|entry| {
                let sign = entry.iter().position(|byte| *byte == b'=')?;
                Some((entry[..sign].to_vec(), entry[sign + 1..].to_vec()))
            })
            .collect();
        for (name, value) in &values {
            assert_eq!(
                seen.get(name.as_bytes()),
                Some(value),
                "{shell}, {name}: {}",
                String::from_utf8_lossy(value)
            );
        }
    }
}

/// The libraries that read such files read what is not marked as being for a shell as it is.
#[test]
fn dotenv_libraries_read_the_dotenv_format_as_the_process_has_it() {
    let values = [
        ("A", "two words"),
        ("B", "it's"),
        ("C", "\"quoted\""),
        ("D", "$HOME `id`"),
        ("E", "a\\b\\n"),
        ("F", "# no comment"),
        ("G", "one\ntwo\n"),
        ("H", ""),
        ("I", " blanks "),
        ("SHELL_ONLY_1", "ends\\"),
        ("SHELL_ONLY_2", "it's \"both\" ${A}\\"),
        ("J", "after them"),
    ];
    let values = values.map(|(name, value)| (name, value.as_bytes()));
    let process = with(&values);
    let output = kdbg(["env", &process.target(), "-o", "dotenv"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), &output.stdout).unwrap();
    let python = "import dotenv, json; print(json.dumps(dotenv.dotenv_values('file')))";
    let node =
        "console.log(JSON.stringify(require('dotenv').parse(require('fs').readFileSync('file'))))";
    for (program, flag, script) in [("python3", "-c", python), ("node", "-e", node)] {
        let run = Command::new(program)
            .args([flag, script])
            .current_dir(folder.path())
            .output();
        let Some(run) = run.ok().filter(|run| run.status.success()) else {
            println!("skipped: {program} has no library `dotenv`");
            continue;
        };
        let seen: BTreeMap<String, String> = serde_json::from_slice(&run.stdout).unwrap();
        for (name, value) in values.iter().filter(|(name, _)| !name.starts_with("SHELL")) {
            assert_eq!(seen[*name].as_bytes(), *value, "{program}, {name}");
        }
    }
}

#[test]
fn what_a_file_cannot_set_is_a_comment_in_it() {
    let process = with_block(&[b"A=1", b"A=2", b"plain", b"x.y=z", b"UID=7", b"TOKEN=abc"]);
    let output = kdbg(["env", &process.target(), "-o", "dotenv"]);
    assert_snapshot!(shown(&output, &[]), @r"
    exit 0
    --- stdout
    A=1
    # duplicate, getenv does not see it: A=2
    # no `=`: plain
    # no shell can set this name: x.y=z
    # the shell sets this itself: UID=7
    # redacted: TOKEN=[redacted: 3 bytes]
    --- stderr
    warning: 4 of 6 entries cannot be expressed in this format and are comments
    note: 1 value is redacted; `--show-secrets` prints them
    ");
}

/// Whatever the format, and whatever else is printed.
#[test]
fn a_secret_is_printed_nowhere_unless_asked_for() {
    let secrets = [
        "hunter2hunter2",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.sig-nature",
        "argument-secret",
    ];
    let mut target = idle();
    target
        .env("DB_PASSWORD", secrets[0])
        .env("CLOUD", format!("id={}", secrets[1]))
        .env("OPTIONS", format!("-Dsession={}", secrets[2]))
        .args([
            "--api-key",
            secrets[3],
            &format!("--db-password={}", secrets[0]),
        ]);
    let process = Running::start(&mut target);
    let target = process.target();
    let formats =
        ["text", "json", "dotenv", "null"].map(|format| vec!["env", &target, "-o", format, "-vv"]);
    let lists = ["text", "json"].map(|format| vec!["ps", &target, "-o", format, "-vv"]);
    for arguments in formats.iter().chain(&lists) {
        let output = kdbg(arguments);
        assert_code(&output, 0);
        let printed = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            said(&output)
        );
        for secret in secrets {
            assert!(!printed.contains(secret), "{arguments:?}: {printed}");
        }
        let mut arguments = arguments.clone();
        arguments.push("--show-secrets");
        let output = kdbg(&arguments);
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(secrets[0]),
            "{arguments:?}"
        );
    }
}

/// What nginx, postgres and sshd do: a title over the arguments and on into the environment.
#[test]
fn an_environment_that_its_process_has_overwritten_is_incomplete() {
    let script = "
import ctypes
fields = open('/proc/self/stat').read().rsplit(')', 1)[1].split()
start = int(fields[47])
ctypes.memmove(start, b'orker process\\0', 14)
print('ready', flush=True)
import sys; sys.stdin.read()";
    let mut target = Command::new(python());
    target
        .args(["-c", script])
        .env_clear()
        .env("A_SECRET", "hunter2hunter2hunter2")
        .env("PLAIN", "1");
    let process = Running::start(&mut target);
    let output = kdbg(["env", &process.target()]);
    assert_snapshot!(shown(&output, &[]), @r"
    exit 3
    --- stdout
    orker process  # written by the process over its environment; no `=`
    [redacted: 16 bytes]  # may have lost its beginning; no `=`
    PLAIN=[redacted: 1 byte]  # may have lost its beginning
    --- stderr
    warning: the process has overwritten its environment: what stood at its beginning is lost (39 bytes in all)
    note: 2 values are redacted; `--show-secrets` prints them
    ");
}

#[test]
fn a_process_without_an_environment_says_why() {
    let process = with_block(&[]);
    let output = kdbg(["env", &process.target()]);
    let pid = process.pid().to_string();
    assert_snapshot!(shown(&output, &[(&pid, "PID")]), @r"
    exit 0
    --- stdout
    --- stderr
    note: process PID was started with an empty environment
    ");
    if !std::fs::read("/proc/2/comm").is_ok_and(|name| name == b"kthreadd\n") {
        println!("skipped: no thread of the kernel is visible here");
        return;
    }
    if is_root("looks at a thread of the kernel") {
        let output = kdbg(["env", "pid/2"]);
        assert_code(&output, 0);
        assert!(
            said(&output).contains("is a thread of the kernel"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn a_process_that_has_ended_is_said_to() {
    let mut process = with_block(&[b"A=1"]);
    process.leave_as_zombie();
    let output = kdbg(["env", &process.target()]);
    let pid = process.pid().to_string();
    assert_snapshot!(shown(&output, &[(&pid, "PID")]), @r"
    exit 4
    --- stdout
    --- stderr
    error: pid/PID has ended: no process of it is running
    ");
    let output = kdbg(["env", &process.target(), "--process", &pid]);
    assert_snapshot!(shown(&output, &[(&pid, "PID")]), @r"
    exit 0
    --- stdout
    --- stderr
    note: process PID has ended and waits for its parent: its environment is gone
    ");
    process.kill();
    let output = kdbg(["env", &process.target()]);
    assert_snapshot!(shown(&output, &[(&pid, "PID")]), @r"
    exit 4
    --- stdout
    --- stderr
    error: cannot list the processes below PID: there is no process PID
    ");
}

#[test]
fn a_denial_says_which_rule_and_what_helps() {
    if !is_root("looks as one user at the process of another") {
        return;
    }
    let process = with(&[]);
    let mut run = command(["env", &process.target()]);
    let Ok(output) = run.uid(65534).gid(65534).output() else {
        println!("skipped: other users may not run the programs of this build");
        return;
    };
    let pid = process.pid().to_string();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapPrm:"))
        .unwrap();
    let mask = format!("{:#x}", u64::from_str_radix(mask.trim(), 16).unwrap());
    assert_snapshot!(shown(&output, &[(&pid, "PID"), (&mask, "MASK")]), @r"
    exit 4
    --- stdout
    --- stderr
    error: cannot read the environment of process PID: permission denied: permission bits: the file is for its owner only; uid: we are 65534, the process is 0; gid: we are 65534, the process is 0; capability: the process has some that we lack (mask MASK)
    hint: run kdbg as root with CAP_SYS_PTRACE
    ");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let large = vec![b'x'; 100_000];
    let process = with(&[("L1", &large), ("L2", &large), ("L3", &large)]);
    for format in ["text", "json", "dotenv", "null"] {
        let mut child = command(["env", &process.target(), "-o", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_code(&output, 0);
        assert_eq!(said(&output), "");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let process = with(&[]);
    for format in ["text", "json", "dotenv", "null"] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = command(["env", &process.target(), "-o", format])
            .stdout(full)
            .output()
            .unwrap();
        assert_code(&output, 5);
        assert!(
            said(&output).contains("error: cannot write the output: No space left on device"),
            "{}",
            said(&output)
        );
    }
}
