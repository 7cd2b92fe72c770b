//! `kdbg-agent` as a container's entrypoint, in pid and mount namespaces of its own where those can be had.

#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const AGENT: &str = env!("CARGO_BIN_EXE_kdbg-agent");

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_agent_says_which_build_and_which_file_it_is() {
    let build = run(AGENT, &["build"]);
    assert_eq!(build, format!("{}\n", kdbg::protocol::Hello::ours().name()));
    let expected = run("sha256sum", &[AGENT]);
    let digest = run(AGENT, &["digest"]);
    assert_eq!(digest.trim_end(), expected.split(' ').next().unwrap());
}

#[test]
fn a_command_that_is_none_is_a_usage_error() {
    for arguments in [
        &["rest"][..],
        &["rest", "--idle"],
        &["rest", "--idle", "-1"],
        &["rest", "--idle", "soon"],
        &["build", "more"],
        &["end", "now"],
    ] {
        let output = Command::new(AGENT).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

/// A process that waits in a container of its own; `script` runs as its number 1, `$AGENT` is the program.
struct Container(Child);

impl Container {
    fn start(script: &str) -> Self {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--mount", "--pid", "--fork"])
            .args(["--kill-child", "--mount-proc", "sh", "-c", script])
            .env("AGENT", AGENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Waits for the end; answers the code and how long it took.
    fn end(&mut self) -> (Option<i32>, Duration) {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return (status.code(), started.elapsed());
            }
            assert!(started.elapsed() < Duration::from_secs(90), "does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has_namespaces() -> bool {
    let has = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "true",
        ])
        .status()
        .is_ok_and(|status| status.success());
    if !has {
        println!("skipped, no namespaces for this user: start a container");
    }
    has
}

#[test]
fn an_idle_container_ends() {
    if !has_namespaces() {
        return;
    }
    let mut container = Container::start("exec \"$AGENT\" rest --idle 0.5");
    let (code, took) = container.end();
    assert_eq!(code, Some(0));
    assert!(took >= Duration::from_millis(450), "{took:?}");
    assert!(took < Duration::from_mins(1), "{took:?}");
}

#[test]
fn a_process_of_the_container_keeps_it_alive_and_one_of_another_does_not() {
    if !has_namespaces() {
        return;
    }
    // The shell is number 1 of another mount namespace: the target. The sleeper beside `rest` is a session.
    let mut container = Container::start(
        "unshare --mount sh -c '(sleep 2; echo over) & exec \"$AGENT\" rest --idle 0.5'; echo $?; exec sleep 1",
    );
    let started = Instant::now();
    assert_eq!(container.line(), "over\n");
    assert_eq!(container.line(), "0\n");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(2400), "{took:?}");
    assert!(took < Duration::from_mins(1), "{took:?}");
}

#[test]
fn a_session_that_was_shorter_than_a_glance_counts() {
    if !has_namespaces() {
        return;
    }
    // Number 1 is the target; `build` is over within some milliseconds, between two looks.
    let mut container = Container::start(
        "unshare --mount \"$AGENT\" rest --idle 2 & rest=$!; sleep 1; \
         nsenter --preserve-credentials -t $rest -m \"$AGENT\" build; wait $rest; echo over",
    );
    let started = Instant::now();
    container.line();
    assert_eq!(container.line(), "over\n");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(2900), "{took:?}");
}

#[test]
fn it_is_told_to_end_from_its_own_container_unless_somebody_uses_it() {
    if !has_namespaces() {
        return;
    }
    let mut container = Container::start(
        r#"inside() { exec nsenter --preserve-credentials -t $rest -m "$@"; }
        unshare --mount "$AGENT" rest --idle 60 & rest=$!; sleep 0.5
        inside sleep 30 & user=$!; sleep 0.5
        echo $user $rest
        (inside "$AGENT" end); echo $?
        kill $user; wait $user
        "$AGENT" end 2>/dev/null; echo $?
        (inside "$AGENT" end); echo $?
        wait $rest; echo over $?"#,
    );
    let numbers = container.line();
    let (user, rest) = numbers.trim_end().split_once(' ').unwrap();
    let lines: Vec<_> = (0..6).map(|_| container.line()).collect();
    let expected = [
        &format!("in use: process {user}\n"),
        "3\n",
        // From a container where nobody rests.
        "3\n",
        &format!("told {rest} to end\n"),
        "0\n",
        "over 0\n",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn as_number_1_it_ends_at_once_when_told_to_and_leaves_no_zombie() {
    if !has_namespaces() {
        return;
    }
    // What is started first is left to number 1 as an orphan, and ends.
    let mut container = Container::start(
        "(sleep 0.3 & echo $!); sh -c 'sleep 1; ps -eo stat,comm' & exec \"$AGENT\" rest --idle 60",
    );
    container.line();
    let mut states = String::new();
    while !states.contains("ps") {
        let line = container.line();
        assert!(!line.is_empty(), "{states}");
        states.push_str(&line);
    }
    assert!(!states.contains("sleep"), "{states}");
    let unshare = container.0.id();
    let first = run("pgrep", &["-P", &unshare.to_string()]);
    run("kill", &["-s", "TERM", first.trim_end()]);
    let (code, took) = container.end();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(30), "{took:?}");
}
