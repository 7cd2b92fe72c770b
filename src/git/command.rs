//! Running the git command line against a remote, and nothing else.
//!
//! git gets no terminal, no hooks, no pager and no environment that redirects it; the user's own settings for
//! credentials, proxies and ssh stay. It runs in a process group of its own, so that the helpers it starts
//! (ssh, remote-https, index-pack) end with it when a fetch stalls or is cancelled.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::url::{ALLOWED_PROTOCOLS, redact};

/// Variables that begin with `GIT_` and stay: how to reach a server and which settings files count.
const KEPT: [&str; 10] = [
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_ASKPASS",
    "GIT_EXEC_PATH",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_COUNT",
    "GIT_PROXY_COMMAND",
];
/// Beginnings of more such names: certificates, proxies, and settings given by the environment.
const KEPT_PREFIXES: [&str; 5] = [
    "GIT_SSL_",
    "GIT_PROXY_SSL_",
    "GIT_HTTP_",
    "GIT_CONFIG_KEY_",
    "GIT_CONFIG_VALUE_",
];

/// How often a waiting loop looks at the child and at the cancellation.
const TICK: Duration = Duration::from_millis(50);
/// How long git may take to remove its temporary files after a polite signal.
const GRACE: Duration = Duration::from_secs(2);
/// How long the last words of a finished git are waited for; a daemon it left behind may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// So many lines of git's words are kept for an error.
const KEPT_LINES: usize = 20;
/// Longer lines are cut.
const LINE_LIMIT: usize = 4096;
/// More output than this is not a list of refs that was asked for.
const STDOUT_LIMIT: u64 = 1 << 20;

/// A git command to run.
pub(super) struct GitCommand {
    command: Command,
}

/// How a git command ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It exited.
    Exited(ExitStatus),
    /// It said nothing for the whole timeout and was killed.
    Stalled,
    /// The caller asked for an end and it was killed.
    Cancelled,
}

/// What a git command did and said.
pub(super) struct Outcome {
    pub(super) ended: Ended,
    /// Its standard output.
    pub(super) stdout: Vec<u8>,
    /// The last lines that were not progress, without credentials and control characters.
    pub(super) stderr: String,
}

impl GitCommand {
    /// Prepares `program` to run in `directory`, which must be one that only the user can write to: git reads
    /// settings from the repository around it.
    pub(super) fn new(program: &OsString, directory: &Path) -> Self {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let kept = KEPT.contains(&text.as_ref())
                || KEPT_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
            if text.starts_with("GIT_") && !kept {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(directory)
            // Messages are told apart by their words.
            .env("LC_ALL", "C")
            .env_remove("LANGUAGE")
            .env("GIT_ALLOW_PROTOCOL", allowed_protocols())
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            // ssh asks the terminal itself; from a background process group that would stop it for ever.
            .env("SSH_ASKPASS_REQUIRE", "force");
        if let Some(above) = directory.parent() {
            // A repository in the home directory must not be found from the cache below it.
            command.env("GIT_CEILING_DIRECTORIES", above);
        }
        if std::env::var_os("SSH_ASKPASS").is_none() {
            command.env("SSH_ASKPASS", "false");
        }
        command.args(["--no-optional-locks", "--no-replace-objects"]);
        for setting in [
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.pager=cat",
            "safe.bareRepository=explicit",
            "protocol.ext.allow=never",
            "protocol.fd.allow=never",
            "submodule.recurse=false",
            "fetch.recurseSubmodules=false",
            "fetch.writeCommitGraph=false",
            "fetch.fsckObjects=false",
            "gc.auto=0",
            "maintenance.auto=false",
            // The clone is read by a library that knows no other storage of refs.
            "init.defaultRefFormat=files",
        ] {
            command.args(["-c", setting]);
        }
        Self { command }
    }

    /// Adds an argument.
    pub(super) fn arg(&mut self, argument: impl AsRef<std::ffi::OsStr>) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub(super) fn args<'a>(&mut self, arguments: impl IntoIterator<Item = &'a str>) -> &mut Self {
        self.command.args(arguments);
        self
    }

    /// Runs the command; every line of its standard error goes to `on_line` first, which says whether it was
    /// progress. `stall_timeout` is the longest silence.
    pub(super) fn run(
        mut self,
        stall_timeout: Duration,
        cancel: &AtomicBool,
        on_line: &mut dyn FnMut(&str) -> bool,
    ) -> io::Result<Outcome> {
        let mut child = self
            .command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // reader threads -> this loop: lines of stderr, and stdout once it is closed
        let (line_tx, line_rx) = mpsc::channel::<String>();
        let (stdout_tx, stdout_rx) = mpsc::channel::<Vec<u8>>();
        if let Some(stderr) = child.stderr.take() {
            std::thread::spawn(move || send_lines(stderr, &line_tx));
        }
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut content = Vec::new();
                let _ = stdout.take(STDOUT_LIMIT).read_to_end(&mut content);
                let _ = stdout_tx.send(content);
            });
        }
        let mut group = Group {
            child,
            reaped: false,
        };
        let mut kept = LastLines::default();
        let mut last_heard = Instant::now();
        let ended = loop {
            match line_rx.recv_timeout(TICK) {
                Ok(line) => {
                    last_heard = Instant::now();
                    if !on_line(&line) {
                        kept.push(&line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(TICK.min(Duration::from_millis(2)));
                }
            }
            if cancel.load(Ordering::Relaxed) {
                group.end();
                break Ended::Cancelled;
            }
            if let Some(status) = group.try_wait()? {
                break Ended::Exited(status);
            }
            if last_heard.elapsed() > stall_timeout {
                group.end();
                break Ended::Stalled;
            }
        };
        let deadline = Instant::now() + LAST_WORDS;
        while let Ok(line) =
            line_rx.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if !on_line(&line) {
                kept.push(&line);
            }
        }
        let stdout = stdout_rx.recv_timeout(LAST_WORDS).unwrap_or_default();
        Ok(Outcome {
            ended,
            stdout,
            stderr: kept.text(),
        })
    }
}

/// The user may have allowed fewer transports; never more.
fn allowed_protocols() -> String {
    let users = std::env::var("GIT_ALLOW_PROTOCOL").ok();
    ALLOWED_PROTOCOLS
        .into_iter()
        .filter(|name| {
            users
                .as_deref()
                .is_none_or(|allowed| allowed.split(':').any(|other| other == *name))
        })
        .collect::<Vec<_>>()
        .join(":")
}

/// A child that leads its own process group, which ends with it when it is dropped early.
struct Group {
    child: Child,
    reaped: bool,
}

impl Group {
    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.reaped |= status.is_some();
        Ok(status)
    }

    /// Asks the group to end, so that git removes its temporary files, then ends it.
    fn end(&mut self) {
        let Ok(pid) = i32::try_from(self.child.id()).map(Pid::from_raw) else {
            return;
        };
        let _ = killpg(pid, Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        // The leader is left unreaped while its group is signalled: its number cannot be given to others.
        while Instant::now() < deadline && is_running(pid) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = killpg(pid, Signal::SIGKILL);
        let _ = self.child.wait();
        self.reaped = true;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            self.end();
        }
    }
}

fn is_running(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive))
}

/// Cuts git's standard error into lines, which end with a return as long as a number is counting.
fn send_lines(mut stderr: impl Read, line_tx: &mpsc::Sender<String>) {
    let mut chunk = [0; 4096];
    let mut line = Vec::new();
    let send = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line).into_owned();
        line.clear();
        text.trim().is_empty() || line_tx.send(text).is_ok()
    };
    loop {
        let count = match stderr.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for byte in chunk.iter().take(count) {
            if matches!(byte, b'\r' | b'\n') {
                if !send(&mut line) {
                    return;
                }
            } else if line.len() < LINE_LIMIT {
                line.push(*byte);
            }
        }
    }
    send(&mut line);
}

/// The end of what git said.
#[derive(Default)]
struct LastLines {
    lines: std::collections::VecDeque<String>,
}

impl LastLines {
    fn push(&mut self, line: &str) {
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        let printable = |letter: char| if letter.is_control() { '?' } else { letter };
        self.lines.push_back(redact(
            &line.trim_end().chars().map(printable).collect::<String>(),
        ));
    }

    fn text(&self) -> String {
        self.lines
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> GitCommand {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        GitCommand { command }
    }

    #[test]
    fn lines_end_with_returns_too() {
        let mut seen = Vec::new();
        let outcome = shell(r"printf 'one\rtwo\r\nthree' >&2; echo out; exit 3")
            .run(
                Duration::from_secs(5),
                &AtomicBool::new(false),
                &mut |line| {
                    seen.push(line.to_owned());
                    line == "two"
                },
            )
            .unwrap();
        assert_eq!(seen, ["one", "two", "three"]);
        assert_eq!(outcome.stderr, "one\nthree");
        assert_eq!(outcome.stdout, b"out\n");
        assert!(matches!(outcome.ended, Ended::Exited(status) if status.code() == Some(3)));
    }

    #[test]
    fn a_silent_command_and_its_helpers_are_ended() {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
        let started = Instant::now();
        let outcome = shell(&script)
            .run(
                Duration::from_millis(300),
                &AtomicBool::new(false),
                &mut |_| false,
            )
            .unwrap();
        assert!(matches!(outcome.ended, Ended::Stalled));
        assert!(started.elapsed() < Duration::from_secs(10));
        let helper: i32 = std::fs::read_to_string(pid_file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while is_alive(helper) {
            assert!(Instant::now() < deadline, "the helper {helper} still runs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_alive(pid: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    #[test]
    fn a_helper_that_keeps_the_pipe_open_does_not_hold_us_up() {
        let started = Instant::now();
        let outcome = shell("sleep 5 & exit 0")
            .run(
                Duration::from_secs(20),
                &AtomicBool::new(false),
                &mut |_| false,
            )
            .unwrap();
        assert!(matches!(outcome.ended, Ended::Exited(status) if status.success()));
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn words_of_a_server_cannot_reach_the_terminal() {
        let outcome = shell(r"printf 'remote: \033]0;x\007 https://u:pw@h.invalid/a\n' >&2")
            .run(Duration::from_secs(5), &AtomicBool::new(false), &mut |_| {
                false
            })
            .unwrap();
        assert_eq!(outcome.stderr, "remote: ?]0;x? https://***@h.invalid/a");
    }
}
