//! What the tests of commands share: a process to look at, and a run of `kdbg` to look at it.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// A process to look at. It ends with its test.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts a program that says a line once it is ready.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Self { child }
    }

    /// Starts a program that says nothing and needs no time to be ready.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self {
            child: command.stdin(Stdio::null()).spawn().unwrap(),
        }
    }

    /// A process in a folder that does nothing, with an environment of two variables.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let mut command = idle();
        Self::start(command.current_dir(folder))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As `kdbg` is told.
    pub(crate) fn target(&self) -> String {
        format!("pid/{}", self.pid())
    }

    /// Ends it, and has it gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it, and leaves it unnoticed by its parent.
    pub(crate) fn leave_as_zombie(&mut self) {
        self.child.kill().unwrap();
        let state = format!("/proc/{}/stat", self.pid());
        wait_until("the process is a zombie", || {
            std::fs::read_to_string(&state).unwrap().contains(") Z ")
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Python itself: what is called `python3` may be a script that changes the environment first.
pub(crate) fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let asked = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .unwrap();
        String::from_utf8(asked.stdout).unwrap().trim().to_owned()
    })
}

/// A program that says it is ready and then waits for ever. A shell may not start another program for it,
/// or the environment is what the shell makes of it.
pub(crate) fn idle() -> Command {
    let mut command = Command::new(python());
    command
        .args([
            "-S",
            "-c",
            "print('ready', flush=True); import sys; sys.stdin.read()",
        ])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("LC_ALL", "C.UTF-8");
    command
}

/// Runs `kdbg` to its end.
pub(crate) fn kdbg<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    command(arguments).output().unwrap()
}

/// `kdbg`, ready to be started.
pub(crate) fn command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kdbg"));
    command
        .args(arguments)
        .env_remove("KDBG_LOG")
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    command
}

/// Exit code, standard output and standard error, for a snapshot. Replaces each first word by the second.
pub(crate) fn shown(output: &Output, replaced: &[(&str, &str)]) -> String {
    let code = output.status.code().map_or_else(
        || format!("signal {:?}", output.status.signal()),
        |code| code.to_string(),
    );
    let mut text = format!(
        "exit {code}\n--- stdout\n{}--- stderr\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    for (from, to) in replaced {
        text = text.replace(from, to);
    }
    text
}

/// Standard error as text.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Fails with what was said unless a run ended with this code.
#[track_caller]
pub(crate) fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
}

/// Whether the test may do what only root may; says so when not.
pub(crate) fn is_root(what: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("skipped, not root: {what}");
    }
    is_root
}

/// Waits for something that happens soon.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut happens: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happens() {
        assert!(
            started.elapsed() < Duration::from_secs(90),
            "waited in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A file system of one megabyte; `None` when it cannot be mounted. It is unmounted with its test.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(crate) fn mount() -> Option<Self> {
        if !is_root("mounts a small file system to fill") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder.path())
            .status()
            .unwrap();
        if !mounted.success() {
            eprintln!("skipped: this container may not mount a tmpfs");
            return None;
        }
        Some(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0.path()).status().ok();
    }
}

/// A run of `kdbg` that is held up half-way: its agent is stopped.
pub(crate) struct HeldUp {
    child: Child,
    agent: nix::unistd::Pid,
}

impl HeldUp {
    /// Starts a run and stops its agent once something has happened.
    pub(crate) fn when(mut command: Command, mut happened: impl FnMut() -> bool) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until("the run is half-way", &mut happened);
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let mut agent = 0;
        // The thread that started the agent is its parent in this list, whichever it was.
        wait_until("the agent is found", || {
            let tasks = format!("/proc/{}/task", child.id());
            agent = std::fs::read_dir(tasks)
                .unwrap()
                .filter_map(|task| {
                    std::fs::read_to_string(task.unwrap().path().join("children")).ok()
                })
                .chain(std::fs::read_to_string(&children))
                .find_map(|text| text.split_whitespace().next()?.parse().ok())
                .unwrap_or(0);
            agent != 0
        });
        let agent = nix::unistd::Pid::from_raw(agent);
        nix::sys::signal::kill(agent, nix::sys::signal::SIGSTOP).unwrap();
        Self { child, agent }
    }

    /// Lets the agent go on.
    pub(crate) fn go_on(&self) {
        nix::sys::signal::kill(self.agent, nix::sys::signal::SIGCONT).unwrap();
    }

    /// Ends the run as Ctrl-C, or whoever runs it, would.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn output(self) -> Output {
        self.child.wait_with_output().unwrap()
    }
}
