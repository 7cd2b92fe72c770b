//! Starting a command: its program, its surroundings, its environment.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use bstr::{BStr, BString, ByteSlice as _};
use nix::{
    errno::Errno,
    fcntl::{self, FcntlArg, OFlag},
    pty,
    sys::{
        signal::Signal,
        stat::Mode,
        termios::{self, InputFlags, SetArg},
    },
    unistd::{getegid, geteuid},
};

use super::folder::Folder;
use crate::{
    agent::{
        access::Guard,
        applets, status,
        target::{Target, errno_of},
    },
    protocol::message::{Capabilities, Cause, Failure, Reading, RunHead, RunRequest, Terminal},
    sys::{Step, Surroundings, failed_step, set_terminal_size, surround},
};

/// Whether a command could be started.
pub(super) enum Start {
    /// It runs.
    Running(Box<Running>),
    /// Its program cannot be executed.
    Refused(Errno),
}

/// A command that runs.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) ends: Ends,
    pub(super) head: RunHead,
    /// What is in its environment and in no other.
    pub(super) mark: Vec<u8>,
}

/// Our ends of what the command reads and writes. Reading and writing them does not wait.
pub(super) struct Ends {
    pub(super) input: File,
    pub(super) output: File,
    /// A terminal has no second output.
    pub(super) errors: Option<File>,
    /// The other side of its terminal.
    pub(super) terminal: Option<OwnedFd>,
}

/// Where programs usually are.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The shells of an image for debugging, best first; with what makes a shell of them.
const SHELLS: &[&[&str]] = &[&["busybox", "ash"], &["/bin/ash"], &["/bin/sh"]];
/// The shells of a target.
const SHELLS_OF_TARGET: &[&[&str]] = &[
    &["/bin/bash"],
    &["/bin/ash"],
    &["/bin/sh"],
    &["/busybox/sh"],
    &["busybox", "ash"],
];
/// A pipe holds 64 KiB unless asked for more; this much lets a command work on while its output is sent.
const PIPE_SIZE: i32 = 1024 * 1024;

/// Starts what was asked for.
///
/// `user` and its group are who the command is to be; without them it is who we are. `applets` are the agent's own
/// programs, which must outlive the command.
pub(super) fn start(
    target: &Target,
    request: &RunRequest,
    user: Option<(u32, u32)>,
    applets: Option<&applets::Folder>,
) -> Result<Start, Failure> {
    let starter = Starter {
        target,
        request,
        user,
        mark: make_mark(),
        path: path(target, applets),
        applets,
    };
    if !request.command.is_empty() {
        let arguments: Vec<_> = request.command.iter().map(|it| it.as_bstr()).collect();
        return starter.start(&arguments);
    }
    let shells = if request.chroot {
        SHELLS_OF_TARGET
    } else {
        SHELLS
    };
    for shell in shells {
        let arguments: Vec<_> = shell.iter().map(|it| BStr::new(*it)).collect();
        match starter.start(&arguments)? {
            Start::Refused(Errno::ENOENT | Errno::EACCES | Errno::ENOTDIR) => {}
            started => return Ok(started),
        }
    }
    Err(Failure::new("start a shell", Cause::NoShell))
}

struct Starter<'a> {
    target: &'a Target,
    request: &'a RunRequest,
    user: Option<(u32, u32)>,
    mark: BString,
    path: BString,
    applets: Option<&'a applets::Folder>,
}

/// The variable by which what a command starts is found again.
const MARK: &str = "KDBG_SESSION";

impl Starter<'_> {
    fn start(&self, arguments: &[&BStr]) -> Result<Start, Failure> {
        let folder = Folder::choose(self.target, self.request)?;
        match self.start_in(arguments, folder)? {
            Attempt::Done(start) => Ok(start),
            Attempt::FolderRefused(errno) if self.request.folder.is_none() => {
                let folder = Folder::refused(self.target, errno);
                match self.start_in(arguments, folder)? {
                    Attempt::Done(start) => Ok(start),
                    Attempt::FolderRefused(errno) => {
                        Err(Failure::new("start in `/`", errno.into()))
                    }
                }
            }
            Attempt::FolderRefused(errno) => {
                let path = self.request.folder.clone().unwrap_or_default();
                Err(Failure::at("enter", path.as_bstr(), errno.into()))
            }
        }
    }

    fn start_in(&self, arguments: &[&BStr], folder: Folder) -> Result<Attempt, Failure> {
        let [program, rest @ ..] = arguments else {
            return Ok(Attempt::Done(Start::Refused(Errno::ENOENT)));
        };
        let fail = |errno: Errno| Failure::new("prepare the command", errno.into());
        let mut command = Command::new(OsStr::from_bytes(program));
        command.args(rest.iter().map(|it| OsStr::from_bytes(it)));
        self.set_environment(&mut command, folder.name.known());
        if let Some((uid, gid)) = self.user {
            // Takes the other groups away too.
            command.uid(uid).gid(gid);
        }
        let terminal = self.request.terminal.as_ref();
        let terminal = terminal
            .map(|wanted| give_terminal(&mut command, wanted))
            .transpose()?;
        if terminal.is_none() {
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
        }
        let root = self.root()?;
        let open = match folder.open {
            Some(open) => open,
            None => match &root {
                Some(root) => root.try_clone().map_err(|error| fail(errno_of(&error)))?,
                None => fcntl::open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
                    .map_err(fail)?,
            },
        };
        let surroundings = Surroundings {
            terminal: terminal.is_some(),
            root,
            folder: Some(open),
            // Closing its terminal tells a shell the same, and gives it time to tell its jobs.
            orphaned: if terminal.is_some() {
                Signal::SIGHUP
            } else {
                Signal::SIGKILL
            },
        };
        surround(&mut command, surroundings);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return self.refusal(&error),
        };
        // It holds the terminal's inner side, whose last holder's end we want to see.
        drop(command);
        let head = RunHead {
            pid: child.id(),
            program: BString::from(*program),
            path: self.path.clone(),
            user: self.user().0,
            group: self.user().1,
            folder: folder.name,
            applets: self.applets.map(applets::Folder::links),
        };
        let ends = match Ends::of(&mut child, terminal) {
            Ok(ends) => ends,
            Err(errno) => {
                // Nothing would ever read what it writes.
                let _ = child.kill();
                let _ = child.wait();
                return Err(fail(errno));
            }
        };
        let mark = format!("{MARK}={}", self.mark).into_bytes();
        Ok(Attempt::Done(Start::Running(Box::new(Running {
            child,
            ends,
            head,
            mark,
        }))))
    }

    fn user(&self) -> (u32, u32) {
        self.user
            .unwrap_or_else(|| (geteuid().as_raw(), getegid().as_raw()))
    }

    fn root(&self) -> Result<Option<OwnedFd>, Failure> {
        if !self.request.chroot {
            return Ok(None);
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        self.target
            .open_at("root", flags)
            .map(Some)
            .map_err(|errno| {
                let doing = format!("open the root folder of process {}", self.target.id().pid);
                self.target.failure(doing, errno, Guard::Trace)
            })
    }

    fn refusal(&self, error: &io::Error) -> Result<Attempt, Failure> {
        let pid = self.target.id().pid;
        let (step, errno) = failed_step(error);
        match step {
            Step::Program => Ok(Attempt::Done(Start::Refused(errno))),
            Step::Folder => Ok(Attempt::FolderRefused(errno)),
            Step::Root if errno == Errno::EPERM => Err(Failure::new(
                format!("make the root folder of process {pid} our own"),
                Cause::Lacks(Capabilities::SYS_CHROOT),
            )),
            Step::Root => Err(Failure::new(
                format!("make the root folder of process {pid} our own"),
                self.target.cause(errno),
            )),
            Step::Terminal => Err(Failure::new("give the command a terminal", errno.into())),
            Step::Session => Err(Failure::new("give the command a session", errno.into())),
        }
    }

    fn set_environment(&self, command: &mut Command, folder: Option<&BString>) {
        let pid = self.target.id().pid;
        let inner = || status::parse_status(&self.target.read("status").ok()?)?.inner_pid;
        let (target_pid, target_root) = if self.request.chroot {
            // Its own /proc counts from its own process 1.
            (inner().unwrap_or(pid), "/".to_owned())
        } else {
            (pid, format!("/proc/{pid}/root"))
        };
        if self.request.chroot || std::env::var_os("HOME").is_none() {
            command.env("HOME", "/");
        }
        command
            .env("PATH", OsStr::from_bytes(&self.path))
            .env("TARGET_PID", target_pid.to_string())
            .env("TARGET_ROOT", target_root)
            .env(
                "PWD",
                folder.map_or(OsStr::new("/"), |it| OsStr::from_bytes(it)),
            )
            .env(
                "PS1",
                OsString::from_vec(prompt(&self.request.title, self.user().0)),
            );
        if let Some(script) = self.applets.and_then(applets::Folder::script) {
            command.env("ENV", script);
        }
        if let Some(terminal) = &self.request.terminal {
            command.env("TERM", OsStr::from_bytes(&terminal.name));
        }
        for (name, value) in &self.request.environment {
            command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
        }
        command.env(MARK, OsStr::from_bytes(&self.mark));
    }
}

enum Attempt {
    Done(Start),
    FolderRefused(Errno),
}

impl Ends {
    fn of(child: &mut Child, terminal: Option<OwnedFd>) -> Result<Self, Errno> {
        let ends = if let Some(terminal) = terminal {
            Self::of_terminal(terminal)?
        } else {
            Self::of_pipes(child)?
        };
        for end in [Some(&ends.input), Some(&ends.output), ends.errors.as_ref()]
            .into_iter()
            .flatten()
        {
            do_not_wait(end)?;
        }
        Ok(ends)
    }

    fn of_terminal(terminal: OwnedFd) -> Result<Self, Errno> {
        let clone = || terminal.try_clone().map_err(|error| errno_of(&error));
        Ok(Self {
            input: clone()?.into(),
            output: clone()?.into(),
            errors: None,
            terminal: Some(terminal),
        })
    }

    fn of_pipes(child: &mut Child) -> Result<Self, Errno> {
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Errno::EBADF);
        };
        for end in [input.as_fd(), output.as_fd(), errors.as_fd()] {
            // Slower, not wrong: the user's limit of pipe memory may be used up.
            let _ = fcntl::fcntl(end, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
        }
        Ok(Self {
            input: OwnedFd::from(input).into(),
            output: OwnedFd::from(output).into(),
            errors: Some(OwnedFd::from(errors).into()),
            terminal: None,
        })
    }
}

fn do_not_wait(end: &File) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl::fcntl(end, FcntlArg::F_GETFL)?);
    fcntl::fcntl(end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Opens a terminal, gives one side to the command, and answers the other.
fn give_terminal(command: &mut Command, wanted: &Terminal) -> Result<OwnedFd, Failure> {
    let fail = |errno: Errno| Failure::new("open a terminal", errno.into());
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let outer = pty::posix_openpt(flags).map_err(fail)?;
    pty::grantpt(&outer).map_err(fail)?;
    pty::unlockpt(&outer).map_err(fail)?;
    let name = pty::ptsname_r(&outer).map_err(fail)?;
    let inner = fcntl::open(name.as_str(), flags, Mode::empty()).map_err(fail)?;
    let size = wanted.size;
    set_terminal_size(&inner, size.rows, size.columns).map_err(fail)?;
    if let Ok(mut settings) = termios::tcgetattr(&inner) {
        // So that erasing takes a whole character away.
        settings.input_flags |= InputFlags::IUTF8;
        termios::tcsetattr(&inner, SetArg::TCSANOW, &settings).map_err(fail)?;
    }
    let side = || {
        let clone = inner.try_clone().map_err(|error| fail(errno_of(&error)));
        clone.map(Stdio::from)
    };
    command.stdin(side()?).stdout(side()?).stderr(side()?);
    Ok(outer.into())
}

/// A value that no other run has.
fn make_mark() -> BString {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{}-{count}-{}", std::process::id(), now.as_nanos()).into()
}

/// Where the command's programs are looked for.
fn path(target: &Target, applets: Option<&applets::Folder>) -> BString {
    let Some(applets) = applets else {
        let environment = target.read("environ").unwrap_or_default();
        let own = environment
            .split_str(b"\0")
            .find_map(|entry| entry.strip_prefix(b"PATH="));
        return own.unwrap_or(USUAL_PATH.as_bytes()).into();
    };
    let own = std::env::var_os("PATH").filter(|path| !path.is_empty());
    let mut path = own.map_or_else(|| USUAL_PATH.as_bytes().to_vec(), OsString::into_vec);
    if let Some(folder) = agent_folder()
        && !path
            .split_str(b":")
            .any(|it| it == folder.as_os_str().as_bytes())
    {
        path.push(b':');
        path.extend(folder.into_os_string().into_vec());
    }
    match applets.links() {
        // First: they look from where the target stands, and others of their names do not.
        Reading::Known(links) => [links.as_slice(), b":", &path].concat().into(),
        Reading::Unavailable(_) => path.into(),
    }
}

/// Where the agent can be called by its name. One that runs from memory cannot be.
fn agent_folder() -> Option<PathBuf> {
    let program = fs::read_link("/proc/self/exe").ok()?;
    let is_there = program.file_name()? == "kdbg-agent" && program.exists();
    is_there.then(|| program.parent().map(Path::to_path_buf))?
}

/// A prompt for any shell: they all expand `$PWD`, and nothing else in it can be expanded.
fn prompt(title: &BString, user: u32) -> Vec<u8> {
    let title = title.iter().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' | b':' => *byte,
        _ => b'?',
    });
    let sign = if user == 0 { b"# " } else { b"$ " };
    let mut prompt = vec![b'['];
    prompt.extend(title);
    prompt.extend_from_slice(b" $PWD]");
    prompt.extend_from_slice(sign);
    prompt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_holds_nothing_that_a_shell_would_run() {
        let shown = String::from_utf8(prompt(&"pod/a $(id) `x`\n".into(), 0)).unwrap();
        assert!(shown.starts_with("[pod/a???id???x?? $PWD]"), "{shown}");
    }

    #[test]
    fn marks_differ() {
        assert_ne!(make_mark(), make_mark());
    }
}
