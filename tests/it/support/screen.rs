//! A person at a terminal: a real one, whose keys a test types and whose output it reads.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kdbg::sys::{Surroundings, set_terminal_size, surround};
use nix::{
    libc,
    pty::openpty,
    sys::{
        signal::{Signal, kill},
        termios::tcgetattr,
    },
    unistd::Pid,
};

use super::running::wait_until;

/// A program at a terminal of its own.
pub(crate) struct Screen {
    child: Child,
    keys: File,
    /// Its settings are read here: they stay when the program has ended.
    inner: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
    stopped: Option<Pid>,
}

impl Screen {
    /// Starts a program at a terminal of this size.
    pub(crate) fn start(mut command: Command, rows: u16, columns: u16) -> Self {
        let pair = openpty(None, None).unwrap();
        set_terminal_size(&pair.master, rows, columns).unwrap();
        let side = || Stdio::from(pair.slave.try_clone().unwrap());
        command
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .env("TERM", "test-term");
        surround(
            &mut command,
            Surroundings {
                terminal: true,
                root: None,
                folder: None,
                orphaned: Signal::SIGKILL,
            },
        );
        let child = command.spawn().unwrap();
        let keys = File::from(pair.master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut output, target) = (keys.try_clone().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut part) {
                target.lock().unwrap().extend_from_slice(&part[..count]);
            }
        });
        Self {
            child,
            keys,
            inner: pair.slave,
            shown,
            stopped: None,
        }
    }

    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        set_terminal_size(&self.keys, rows, columns).unwrap();
    }

    pub(crate) fn shows(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).contains(text)
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        let started = Instant::now();
        while !self.shows(text) {
            assert!(
                started.elapsed() < Duration::from_secs(90),
                "`{text}` is not shown, but: {}",
                String::from_utf8_lossy(&self.shown.lock().unwrap())
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What `stty -g` would say.
    pub(crate) fn settings(&self) -> [u32; 4] {
        let settings: libc::termios = tcgetattr(&self.inner).unwrap().into();
        [
            settings.c_iflag,
            settings.c_oflag,
            settings.c_cflag,
            settings.c_lflag,
        ]
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    pub(crate) fn kill_agent(&self) {
        kill(self.agent(), Signal::SIGKILL).unwrap();
    }

    /// Until the test ends.
    pub(crate) fn stop_agent(&mut self) {
        let agent = self.agent();
        kill(agent, Signal::SIGSTOP).unwrap();
        self.stopped = Some(agent);
    }

    fn agent(&self) -> Pid {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut agent = None;
        wait_until("the agent is found", || {
            agent = std::fs::read_dir(&tasks).unwrap().find_map(|task| {
                let children = task.unwrap().path().join("children");
                let text = std::fs::read_to_string(children).ok()?;
                text.split_whitespace().next()?.parse().ok()
            });
            agent.is_some()
        });
        Pid::from_raw(agent.unwrap())
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the program has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if let Some(agent) = self.stopped {
            kill(agent, Signal::SIGCONT).ok();
        }
    }
}
