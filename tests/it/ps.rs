//! `kdbg ps` on real trees of processes: which one is chosen, and why.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// A tree of processes that says a line once all of it stands; it ends when this is dropped.
struct Tree {
    top: Child,
}

impl Tree {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let mut top = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(top.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Self { top }
    }

    /// The chosen process's number, and the reason.
    fn chosen(&self) -> (u64, String) {
        let report = self.report(&[]);
        (
            report["chosen"]["pid"].as_u64().unwrap(),
            report["chosen"]["because"].as_str().unwrap().to_owned(),
        )
    }

    fn report(&self, more: &[&str]) -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_kdbg"))
            .args(["ps", &format!("pid/{}", self.top.id()), "-o", "json"])
            .args(more)
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Every program here ends with its standard input, and the shells with them.
        drop(self.top.stdin.take());
        self.top.wait().ok();
    }
}

/// A server that listens on a free port and ends with its standard input.
const SERVER: &str = "
import socket, sys
s = socket.create_server(('127.0.0.1', 0))
print('ready', flush=True)
sys.stdin.read()
";

/// A master that listens and forks workers, which inherit the socket.
const PREFORK: &str = "
import os, socket, sys
s = socket.create_server(('127.0.0.1', 0))
for _ in range(3):
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
print('ready', flush=True)
sys.stdin.read()
for _ in range(3):
    os.wait()
";

/// A parent that binds, starts itself again with the socket, and waits, as the reloaders of Flask and Django do.
const RELOADER: &str = "
import os, socket, subprocess, sys
if 'SOCKET' in os.environ:
    s = socket.socket(fileno=int(os.environ['SOCKET']))
    print('ready', flush=True)
    sys.stdin.read()
else:
    s = socket.create_server(('127.0.0.1', 0))
    s.set_inheritable(True)
    os.environ['SOCKET'] = str(s.fileno())
    subprocess.call([sys.executable, *sys.orig_argv[1:]], close_fds=False)
";

#[test]
fn a_server_is_chosen_below_the_shell_that_started_it() {
    let tree = Tree::start("sh", &["-c", "python3 -c \"$0\"; true", SERVER]);
    let (pid, because) = tree.chosen();
    assert_ne!(pid, u64::from(tree.top.id()));
    assert!(because.starts_with("listens on 127.0.0.1:"), "{because}");
}

#[test]
fn a_worker_is_chosen_below_its_master() {
    let tree = Tree::start("python3", &["-c", PREFORK]);
    let (pid, because) = tree.chosen();
    assert_ne!(pid, u64::from(tree.top.id()));
    assert!(
        because.starts_with(&format!(
            "the oldest of 3 workers of {}, listens on 127.0.0.1:",
            tree.top.id()
        )),
        "{because}"
    );
}

#[test]
fn the_child_of_a_reloader_is_chosen() {
    let tree = Tree::start("python3", &["-c", RELOADER]);
    let (pid, because) = tree.chosen();
    assert_ne!(pid, u64::from(tree.top.id()));
    assert!(
        because.starts_with(&format!(
            "started again by {} when a file changes",
            tree.top.id()
        )),
        "{because}"
    );
}

#[test]
fn the_user_may_choose_another_process_of_the_tree() {
    let tree = Tree::start("sh", &["-c", "python3 -c \"$0\"; true", SERVER]);
    let top = tree.top.id().to_string();
    let report = tree.report(&["--process", &top]);
    assert_eq!(report["chosen"]["because"], "as asked for");
    assert_eq!(report["chosen"]["pid"], u64::from(tree.top.id()));
}

#[test]
fn every_field_is_what_proc_says() {
    let tree = Tree::start("python3", &["-c", SERVER, "", "two words"]);
    let report = tree.report(&[]);
    let process = &report["processes"][0];
    assert_eq!(report["processes"].as_array().unwrap().len(), 1);
    assert_eq!(process["pid"], u64::from(tree.top.id()));
    assert_eq!(process["inner_pid"], u64::from(tree.top.id()));
    assert_eq!(process["parent"], u64::from(std::process::id()));
    assert_eq!(process["uid"], u64::from(nix::unistd::geteuid().as_raw()));
    assert_eq!(
        process["folder"],
        std::env::current_dir().unwrap().to_str().unwrap()
    );
    let arguments: Vec<_> = process["arguments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|argument| argument.as_str().unwrap())
        .collect();
    assert_eq!(arguments[1..], ["-c", SERVER, "", "two words"]);
    let executable = std::fs::read_link(format!("/proc/{}/exe", tree.top.id())).unwrap();
    assert_eq!(process["executable"], executable.to_str().unwrap());
}

#[test]
fn the_table_lines_up_and_marks_the_chosen_process() {
    let tree = Tree::start("sh", &["-c", "python3 -c \"$0\"; true", SERVER]);
    let output = Command::new(env!("CARGO_BIN_EXE_kdbg"))
        .args(["ps", &format!("pid/{}", tree.top.id())])
        .output()
        .unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    let column = lines[0].find("UID:GID").unwrap();
    for line in &lines[1..] {
        assert_eq!(line.as_bytes()[column - 1], b' ', "{table}");
        assert_ne!(line.as_bytes()[column], b' ', "{table}");
    }
    assert!(lines[2].starts_with('*'), "{table}");
    // The script in the arguments has line breaks; a row has none.
    assert!(lines[1].contains(r"\nimport socket, sys\n"), "{table}");
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("note: looking at ")
    );
}
