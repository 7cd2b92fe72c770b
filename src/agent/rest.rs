//! What the agent's container does while nobody uses it: wait, and end when nobody has come for long.
//!
//! Commands are executed into the container beside this process, and are no children of it. So it looks
//! from time to time whether a process of its own container is alive. A command shorter than the time
//! between two looks is noticed all the same, because the kernel tells when the agent's file is opened.

use std::{
    collections::HashSet,
    os::fd::{AsFd as _, BorrowedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        inotify::{AddWatchFlags, InitFlags, Inotify},
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{container::Mounts, processes::all_numbers, target::Target};
use crate::protocol::message::{ContainerMark, ProcessId};

/// The longest time between two looks at the processes.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// The shortest.
const LOOK_SOONEST: Duration = Duration::from_millis(50);

/// Waits until no other process of its container has been alive for `idle`, or until it is told to end.
pub fn rest(idle: Duration) -> Result<(), Errno> {
    let signals = Signals::take()?;
    let executable = watch_executable();
    let mut neighbours = Neighbours::new()?;
    let pause = (idle / 20).clamp(LOOK_SOONEST, LOOK_AFTER);
    let mut used = Instant::now();
    loop {
        let left = idle.saturating_sub(used.elapsed());
        match signals.wait(pause.min(left), executable.as_ref())? {
            Woken::Told => return Ok(()),
            Woken::Opened => used = Instant::now(),
            Woken::Late => {}
        }
        if neighbours.is_one_alive() {
            used = Instant::now();
        } else if used.elapsed() >= idle {
            return Ok(());
        }
    }
}

/// The signals that end it, and the one that says that a child has ended.
///
/// Number 1 of a pid namespace is sent no signal that it does not handle, unless it blocks it (`sig_ignored`,
/// kernel/signal.c); so they are blocked, and read from a descriptor.
struct Signals(SignalFd);

enum Woken {
    /// It shall end.
    Told,
    /// Somebody has started the agent's program.
    Opened,
    /// Nothing has happened.
    Late,
}

impl Signals {
    fn take() -> Result<Self, Errno> {
        let set: SigSet = [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGCHLD,
        ]
        .into_iter()
        .collect();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Self)
    }

    fn wait(&self, timeout: Duration, executable: Option<&Inotify>) -> Result<Woken, Errno> {
        let readable = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let watched: Option<BorrowedFd<'_>> = executable.map(Inotify::as_fd);
        let mut descriptors: Vec<_> = [Some(self.0.as_fd()), watched]
            .into_iter()
            .flatten()
            .map(readable)
            .collect();
        // Rounded up, so that the last moment is not spent in a loop.
        let timeout = PollTimeout::try_from(timeout + Duration::from_millis(1));
        match poll(&mut descriptors, timeout.unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        while let Some(signal) = self.0.read_signal()? {
            if signal.ssi_signo != Signal::SIGCHLD as u32 {
                return Ok(Woken::Told);
            }
            reap();
        }
        // Read until it is empty; what exactly has happened does not matter.
        let mut woken = Woken::Late;
        while executable
            .is_some_and(|watch| watch.read_events().is_ok_and(|events| !events.is_empty()))
        {
            woken = Woken::Opened;
        }
        Ok(woken)
    }
}

/// Takes notice of the children that have ended: orphans, when this is number 1.
fn reap() {
    let any = Pid::from_raw(-1);
    while waitpid(any, Some(WaitPidFlag::WNOHANG))
        .is_ok_and(|status| status != WaitStatus::StillAlive)
    {}
}

/// Has the kernel tell when the program is started again; `None` where it cannot, as when its file is not
/// readable. Then only what lives long enough is noticed.
fn watch_executable() -> Option<Inotify> {
    let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
    let watch = Inotify::init(flags).ok()?;
    watch
        .add_watch("/proc/self/exe", AddWatchFlags::IN_OPEN)
        .ok()?;
    Some(watch)
}

/// The other processes of the container.
pub(super) struct Neighbours {
    own: ContainerMark,
    /// Processes that are known to belong elsewhere.
    strangers: HashSet<ProcessId>,
}

impl Neighbours {
    pub(super) fn new() -> Result<Self, Errno> {
        let (target, _) = Target::open_number(std::process::id())?;
        Ok(Self {
            own: Mounts::default().mark(&target)?,
            strangers: HashSet::new(),
        })
    }

    /// Whether one is alive. While the processes cannot be listed, one may be.
    fn is_one_alive(&mut self) -> bool {
        let Ok(numbers) = all_numbers() else {
            return true;
        };
        let mut strangers = HashSet::new();
        let mut mounts = Mounts::default();
        let ours = std::process::id();
        let is_alive = numbers.into_iter().filter(|pid| *pid != ours).any(|pid| {
            // Gone by now, or hidden: nothing of this container is.
            let Ok((target, stat)) = Target::open_number(pid) else {
                return false;
            };
            if stat.has_ended() {
                return false;
            }
            let is_stranger =
                self.strangers.contains(&target.id()) || !self.is_neighbour(&target, &mut mounts);
            if is_stranger {
                strangers.insert(target.id());
            }
            !is_stranger
        });
        if !is_alive {
            // Only those that still live.
            self.strangers = strangers;
        }
        is_alive
    }

    /// Those that are alive.
    pub(super) fn list(&self) -> Result<Vec<Target>, Errno> {
        let ours = std::process::id();
        let mut mounts = Mounts::default();
        let others = all_numbers()?.into_iter().filter(|pid| *pid != ours);
        Ok(others
            .filter_map(|pid| Target::open_number(pid).ok())
            .filter(|(target, stat)| !stat.has_ended() && self.is_neighbour(target, &mut mounts))
            .map(|(target, _)| target)
            .collect())
    }

    fn is_neighbour(&self, target: &Target, mounts: &mut Mounts) -> bool {
        let Ok(mark) = mounts.mark(target) else {
            return false;
        };
        self.own
            .is_same_container(&mark)
            // Whoever has moved into the target's root shows no mounts.
            .unwrap_or(mark.root_mount.is_none())
    }
}
