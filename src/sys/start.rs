//! What happens in a new process between its birth and its program.
//!
//! `Command::pre_exec` is unsafe because only one thread of the parent lives on in the child: a lock that another
//! one held stays locked for ever, the allocator's for example. What runs here makes system calls and nothing else.

use std::{
    io,
    os::fd::OwnedFd,
    os::unix::process::{CommandExt as _, parent_id},
    process::Command,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
    },
    unistd::{chroot, fchdir, setsid},
};

/// How a program is to find itself when it starts. It always gets a session of its own and the default actions
/// for signals.
#[derive(Debug)]
pub struct Surroundings {
    /// Its standard input is a terminal that is to be its controlling one.
    pub terminal: bool,
    /// What is to be its root folder.
    pub root: Option<OwnedFd>,
    /// What is to be its working directory.
    pub folder: Option<OwnedFd>,
    /// What it gets when the thread that started it ends.
    pub orphaned: Signal,
}

/// What could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The root folder could not be set.
    Root = 1,
    /// The working directory could not be set.
    Folder = 2,
    /// The terminal could not be made the controlling one.
    Terminal = 3,
    /// The session, the signals, or what happens when its parent ends.
    Session = 4,
    /// The program itself could not be executed.
    Program = 5,
}

/// The child can tell its parent one number; the step is in the bits that no error uses.
const STEP_SHIFT: u32 = 16;

/// Has a command start in these surroundings; an error of its `spawn` is for [`failed_step`].
pub fn surround(command: &mut Command, surroundings: Surroundings) {
    let parent = std::process::id();
    let steps = move || arrive(&surroundings, parent);
    // SAFETY: the closure makes system calls through wrappers that neither allocate nor lock (the path that
    // `chroot` takes fits its buffer on the stack), and builds an error from a number, which allocates nothing.
    #[expect(unsafe_code, reason = "there is no other way into the child")]
    unsafe {
        command.pre_exec(steps);
    }
}

/// Which step a failed `spawn` has failed at, and why.
#[must_use]
pub fn failed_step(error: &io::Error) -> (Step, Errno) {
    let number = error.raw_os_error().unwrap_or(libc::EIO);
    let step = match number >> STEP_SHIFT {
        1 => Step::Root,
        2 => Step::Folder,
        3 => Step::Terminal,
        4 => Step::Session,
        _ => Step::Program,
    };
    (step, Errno::from_raw(number & ((1 << STEP_SHIFT) - 1)))
}

fn arrive(surroundings: &Surroundings, parent: u32) -> io::Result<()> {
    let fail = |step: Step| {
        move |errno: Errno| {
            io::Error::from_raw_os_error(((step as i32) << STEP_SHIFT) | errno as i32)
        }
    };
    setsid().map_err(fail(Step::Session))?;
    reset_signals().map_err(fail(Step::Session))?;
    prctl::set_pdeathsig(surroundings.orphaned).map_err(fail(Step::Session))?;
    // It may have ended before it was to be told.
    if parent_id() != parent {
        return Err(fail(Step::Session)(Errno::ESRCH));
    }
    if surroundings.terminal {
        take_terminal().map_err(fail(Step::Terminal))?;
    }
    if let Some(root) = &surroundings.root {
        fchdir(root)
            .and_then(|()| chroot("."))
            .map_err(fail(Step::Root))?;
    }
    if let Some(folder) = &surroundings.folder {
        fchdir(folder).map_err(fail(Step::Folder))?;
    }
    Ok(())
}

/// Whoever started us may have had signals ignored (`nohup`, a shell's background), which a program inherits.
fn reset_signals() -> Result<(), Errno> {
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGTERM,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ] {
        // SAFETY: no handler is installed, only removed.
        #[expect(unsafe_code, reason = "unsafe for the handlers that it may install")]
        let result =
            unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) };
        result?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

fn take_terminal() -> Result<(), Errno> {
    // SAFETY: the request takes a number and touches no memory.
    #[expect(unsafe_code, reason = "nix has no TIOCSCTTY")]
    let result = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, process::Stdio};

    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            terminal: false,
            root: None,
            folder: None,
            orphaned: Signal::SIGKILL,
        }
    }

    #[test]
    fn a_program_leads_a_session_in_the_folder_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "pwd; cut -d' ' -f6 /proc/$$/stat; echo $$"]);
        surround(
            &mut command,
            Surroundings {
                folder: Some(File::open(folder.path()).unwrap().into()),
                ..surroundings()
            },
        );
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[0], folder.path().to_str().unwrap());
        assert_eq!(lines[1], lines[2]);
    }

    #[test]
    fn a_failure_names_its_step() {
        let fails = |path: &str, surroundings: Surroundings| {
            let mut command = Command::new(path);
            command.stdin(Stdio::null());
            surround(&mut command, surroundings);
            failed_step(&command.spawn().unwrap_err())
        };
        let file = || Some(File::open("/proc/self/exe").unwrap().into());
        let text = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(
            fails("/nonexistent", surroundings()),
            (Step::Program, Errno::ENOENT)
        );
        assert_eq!(
            fails(text.path().to_str().unwrap(), surroundings()),
            (Step::Program, Errno::EACCES)
        );
        assert_eq!(
            fails(
                "/bin/true",
                Surroundings {
                    folder: file(),
                    ..surroundings()
                }
            ),
            (Step::Folder, Errno::ENOTDIR)
        );
        assert_eq!(
            fails(
                "/bin/true",
                Surroundings {
                    root: file(),
                    ..surroundings()
                }
            ),
            (Step::Root, Errno::ENOTDIR)
        );
        assert_eq!(
            fails(
                "/bin/true",
                Surroundings {
                    terminal: true,
                    ..surroundings()
                }
            ),
            (Step::Terminal, Errno::ENOTTY)
        );
    }
}
