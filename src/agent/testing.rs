//! Processes to look at, and an output to look into.

use std::{
    io::{self, BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use super::{Answer, Output, Stop, answer, status::parse_stat};
use crate::protocol::{
    MAX_PAYLOAD,
    message::{Capabilities, Failure, ProcessId, Request, from_bytes},
};

/// Keeps what a probe sends.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) head: Vec<u8>,
    /// Data frames; a hole is an empty one.
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) holes: Vec<u64>,
    pub(super) trailer: Vec<u8>,
    /// Called before each frame, with the number of frames so far.
    pub(super) before: Option<Box<dyn FnMut(usize)>>,
    /// Whether the client takes the request back after the first frame.
    pub(super) cancels: bool,
}

impl Collected {
    pub(super) fn data(&self) -> Vec<u8> {
        self.frames.concat()
    }

    pub(super) fn rows<T: for<'a> serde::Deserialize<'a>>(&self) -> Vec<T> {
        let batches = self.frames.iter();
        batches
            .flat_map(|frame| from_bytes::<Vec<T>>(frame).unwrap())
            .collect()
    }
}

impl Output for Collected {
    fn head(&mut self, payload: &[u8]) -> Result<(), Stop> {
        assert!(self.head.is_empty() && self.frames.is_empty());
        self.head = payload.to_vec();
        Ok(())
    }

    fn data(&mut self, payload: &[u8]) -> Result<(), Stop> {
        assert!(payload.len() <= MAX_PAYLOAD, "{}", payload.len());
        if let Some(before) = &mut self.before {
            before(self.frames.len());
        }
        if self.cancels && !self.frames.is_empty() {
            return Err(Stop::Cancelled);
        }
        self.frames.push(payload.to_vec());
        Ok(())
    }

    fn hole(&mut self, length: u64) -> Result<(), Stop> {
        assert!(length > 0);
        self.holes.push(length);
        Ok(())
    }

    fn fill(
        &mut self,
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<io::Result<usize>, Stop> {
        if let Some(before) = &mut self.before {
            before(self.frames.len());
        }
        let mut buffer = vec![0; MAX_PAYLOAD];
        let filled = read(&mut buffer);
        if let Ok(count @ 1..) = filled {
            self.frames.push(buffer[..count].to_vec());
        }
        Ok(filled)
    }

    fn checkpoint(&self) -> Result<(), Stop> {
        if self.cancels && !self.frames.is_empty() {
            return Err(Stop::Cancelled);
        }
        Ok(())
    }
}

/// Asks, and takes the whole answer.
pub(super) fn ask(request: &Request) -> Result<Collected, Failure> {
    ask_into(request, Collected::default())
}

pub(super) fn ask_into(request: &Request, mut output: Collected) -> Result<Collected, Failure> {
    match answer(request, &mut output) as Answer {
        Ok(trailer) => {
            output.trailer = trailer;
            Ok(output)
        }
        Err(Stop::Failed(failure)) => Err(failure),
        Err(stop) => panic!("{stop:?}"),
    }
}

/// The process that has this number now.
pub(super) fn identify(pid: u32) -> ProcessId {
    let stat = parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).unwrap()).unwrap();
    ProcessId {
        pid,
        started: stat.started,
    }
}

/// The test itself, as a process to look at.
pub(super) fn ourselves() -> ProcessId {
    identify(std::process::id())
}

/// A child that is killed with its test.
pub(super) struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    /// Starts a program and waits for its first line.
    pub(super) fn start(command: &mut Command) -> Self {
        let mut running = Self::start_quietly(command);
        running.line();
        running
    }

    /// Starts a program.
    fn start_quietly(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        Self {
            child,
            lines: BufReader::new(stdout),
        }
    }

    /// Starts a shell script, which must print a line when it is ready.
    pub(super) fn shell(script: &str) -> Self {
        Self::start(Command::new("sh").args(["-c", script]))
    }

    /// Starts a Python program, which must print a line when it is ready.
    pub(super) fn python(script: &str) -> Self {
        Self::start(Command::new("python3").args(["-S", "-c", script]))
    }

    /// The next line that it prints.
    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn id(&self) -> ProcessId {
        identify(self.pid())
    }

    /// Waits until the process has ended, and leaves it unnoticed.
    pub(super) fn id_of_zombie(&mut self) -> ProcessId {
        loop {
            let stat = std::fs::read(format!("/proc/{}/stat", self.pid())).unwrap();
            if parse_stat(&stat).unwrap().has_ended() {
                return self.id();
            }
            std::thread::yield_now();
        }
    }

    /// Kills it and waits until it is gone.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives this thread, and those that it starts, the file-system ids of another user, for good.
pub(super) fn become_stranger() {
    nix::unistd::setfsgid(1001.into());
    nix::unistd::setfsuid(1001.into());
    let sets = crate::sys::capabilities().unwrap();
    // setfsuid keeps the right to take the ids of whoever is looked at.
    let changing = Capabilities::SETUID.0 | Capabilities::SETGID.0;
    let lowered = crate::sys::CapabilitySets {
        effective: sets.effective & !changing,
        ..sets
    };
    crate::sys::set_capabilities(lowered).unwrap();
}

/// Whether this test may do what only root may; says so when not.
pub(super) fn is_root(what: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        println!("skipped, not root: {what}");
    }
    is_root
}

/// A process in user, mount and pid namespaces of its own, with a root of its own that has no program in it.
pub(super) struct Container {
    /// What started it, and takes it along.
    _parent: Running,
    /// Its number outside.
    pub(super) pid: u32,
}

impl Container {
    /// Starts one in an empty folder. `setup` is Python that runs in it before the root is left behind, with
    /// the new root as working directory; `way` is `pivot` or `chroot`.
    pub(super) fn start(root: &std::path::Path, way: &str, setup: &str) -> Self {
        let script = CONTAINER.replace("SETUP", &setup.replace('\n', "\n    "));
        let mut command = Command::new("python3");
        command.args(["-S", "-c", &script]).arg(root).arg(way);
        let mut parent = Running::start_quietly(&mut command);
        let pid = parent.line().parse().unwrap();
        Self {
            _parent: parent,
            pid,
        }
    }

    pub(super) fn id(&self) -> ProcessId {
        identify(self.pid)
    }
}

/// Whether this test may make a [`Container`]; says so when not.
pub(super) fn has_user_namespaces() -> bool {
    let mut command = Command::new("unshare");
    let made = command
        .args(["--user", "--map-root-user", "--mount", "true"])
        .status();
    let made = made.is_ok_and(|status| status.success());
    if !made {
        println!("skipped, no user namespaces for this user: make a container");
    }
    made
}

const CONTAINER: &str = r"
import ctypes, os, platform, sys
libc = ctypes.CDLL(None, use_errno=True)
root, way = sys.argv[1:]
def check(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def write(path, text):
    with open(path, 'w') as file:
        file.write(text)
uid, gid = os.getuid(), os.getgid()
check(libc.unshare(0x10000000 | 0x20000000 | 0x20000))
write('/proc/self/setgroups', 'deny')
write('/proc/self/uid_map', f'0 {uid} 1')
write('/proc/self/gid_map', f'0 {gid} 1')
ready, tell = os.pipe()
child = os.fork()
if child == 0:
    libc.prctl(1, 9, 0, 0, 0)
    check(libc.mount(b'none', b'/', None, 0x4000 | 0x40000, None))
    check(libc.mount(b'tmpfs', root.encode(), b'tmpfs', 0, None))
    os.chdir(root)
    SETUP
    if way == 'pivot':
        os.mkdir('old')
        number = {'x86_64': 155, 'aarch64': 41}[platform.machine()]
        check(libc.syscall(number, b'.', b'old'))
        os.chroot('.')
        check(libc.umount2(b'/old', 2))
        os.rmdir('/old')
    else:
        os.chroot('.')
    if os.path.isdir('/app'):
        os.chdir('/app')
    os.write(tell, b'x')
    sys.stdin.read()
    os._exit(0)
os.close(tell)
if os.read(ready, 1):
    print(child, flush=True)
os.waitpid(child, 0)
";
