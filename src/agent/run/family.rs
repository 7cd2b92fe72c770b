//! What a command has started, and its end.
//!
//! A process outlives its command by leaving its parent (it is then the agent's, which is a subreaper, and not the
//! target's process 1), by a session of its own, or both. So three signs count: a line of parents that leads to the
//! command, the command's session, and a variable that the command's environment was given. Only descendants of
//! the agent are looked at: nothing of the target can be meant.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use bstr::ByteSlice as _;
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::agent::serve::lock;

/// How long a command may take to end after SIGHUP.
pub(super) const GRACE: Duration = Duration::from_millis(700);
/// How long it is tried to kill it; what sleeps in the kernel for longer cannot be ended by anybody.
const KILL_LIMIT: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(10);

/// A command and all that it has started.
pub(in crate::agent) struct Family {
    leader: Pid,
    /// `NAME=value` in the environment of every member that has not emptied its own.
    mark: Vec<u8>,
    /// Held while members are being ended; whether that is over.
    closed: Mutex<bool>,
}

impl Family {
    /// The family of a process that leads a session.
    pub(super) fn new(leader: u32, mark: Vec<u8>) -> Self {
        Self {
            leader: pid_of(leader),
            mark,
            closed: Mutex::new(false),
        }
    }

    /// The command itself, and its process group.
    pub(super) const fn leader(&self) -> Pid {
        self.leader
    }

    /// Ends every member: SIGHUP, and SIGKILL for what is there after the deadline. Returns when none is left.
    pub(in crate::agent) fn end(&self, deadline: Instant) {
        let closed = lock(&self.closed);
        if *closed || self.is_over() {
            return;
        }
        self.signal(Signal::SIGHUP);
        // What is stopped hears of nothing else.
        self.signal(Signal::SIGCONT);
        wait_for(deadline, || self.is_over());
        wait_for(Instant::now() + KILL_LIMIT, || {
            self.signal(Signal::SIGKILL);
            self.is_over()
        });
    }

    /// Asks every member to end.
    fn hang_up(&self) {
        if !*lock(&self.closed) {
            self.signal(Signal::SIGHUP);
            self.signal(Signal::SIGCONT);
        }
    }

    /// Says that its numbers may belong to others from now on.
    pub(super) fn close(&self) {
        *lock(&self.closed) = true;
    }

    /// Buries the members that nobody else will.
    pub(super) fn bury(&self) {
        self.bury_among(&processes());
    }

    fn bury_among(&self, all: &HashMap<Pid, Process>) {
        let is_ours = |process: &&Process| {
            process.has_ended
                && process.parent == ourselves()
                && process.session == self.leader
                && process.pid != self.leader
        };
        all.values().filter(is_ours).for_each(|process| {
            // Somebody else's child, or gone already: then there is nothing to do.
            let _ = waitpid(process.pid, Some(WaitPidFlag::WNOHANG));
        });
    }

    /// Whether none is left. The list of processes is read before each of them is: one that is born in between,
    /// of a parent that ends in between, is seen the second time.
    fn is_over(&self) -> bool {
        (0..2).all(|_| {
            let all = processes();
            self.bury_among(&all);
            self.members_among(&all).is_empty()
        })
    }

    fn signal(&self, signal: Signal) {
        for pid in self.members_among(&processes()) {
            // It may have ended since.
            let _ = kill(pid, signal);
        }
    }

    /// Those that have not ended.
    fn members_among(&self, all: &HashMap<Pid, Process>) -> Vec<Pid> {
        let is_member = |process: &&Process| {
            let ancestors = ancestors(process.pid, all);
            !process.has_ended
                && ancestors.contains(&ourselves())
                && (process.session == self.leader
                    || process.pid == self.leader
                    || ancestors.contains(&self.leader)
                    || self.has_marked(process.pid))
        };
        all.values().filter(is_member).map(|it| it.pid).collect()
    }

    fn has_marked(&self, pid: Pid) -> bool {
        // Unreadable for a member that has changed its user: the other two signs have to do.
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environment| environment.split_str(b"\0").any(|entry| entry == self.mark))
    }
}

/// All families of a conversation, so that it can end them.
#[derive(Default)]
pub(in crate::agent) struct Families {
    all: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    families: Vec<Arc<Family>>,
    ending: bool,
}

impl Families {
    /// Adds a command that has started; ends it when the conversation is ending.
    pub(in crate::agent) fn add(&self, family: &Arc<Family>) {
        let mut known = lock(&self.all);
        known.families.retain(|family| !*lock(&family.closed));
        known.families.push(Arc::clone(family));
        let ending = known.ending;
        drop(known);
        if ending {
            family.end(Instant::now());
        }
    }

    /// Ends all of them.
    pub(in crate::agent) fn end(&self) {
        let families = {
            let mut known = lock(&self.all);
            known.ending = true;
            std::mem::take(&mut known.families)
        };
        let deadline = Instant::now() + GRACE;
        for family in &families {
            family.hang_up();
        }
        for family in &families {
            family.end(deadline);
        }
    }
}

/// Kills everything that this process has started, however it has hidden. For the agent's own end: nothing that
/// it started may land on the target's process 1.
pub fn end_descendants() {
    wait_for(Instant::now() + KILL_LIMIT, || {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                // A child of a process that has ended is ours: without children there are no descendants.
                Err(_) => return true,
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) => {}
            }
        }
        let all = processes();
        for process in all.values() {
            if !process.has_ended && ancestors(process.pid, &all).contains(&ourselves()) {
                // It may have ended since.
                let _ = kill(process.pid, Signal::SIGKILL);
            }
        }
        false
    });
}

fn wait_for(deadline: Instant, mut happens: impl FnMut() -> bool) {
    while !happens() && Instant::now() < deadline {
        thread::sleep(STEP);
    }
}

struct Process {
    pid: Pid,
    parent: Pid,
    session: Pid,
    has_ended: bool,
}

fn ourselves() -> Pid {
    Pid::this()
}

fn pid_of(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap_or(i32::MAX))
}

/// Every process that can be seen, by its number.
fn processes() -> HashMap<Pid, Process> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    names
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("stat")).ok()?;
            parse(pid, &line).map(|process| (process.pid, process))
        })
        .collect()
}

/// Fields 3, 4 and 6 of `/proc/PID/stat`.
fn parse(pid: i32, line: &[u8]) -> Option<Process> {
    let rest = line.get(line.rfind_byte(b')')? + 2..)?.to_str().ok()?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process {
        pid: Pid::from_raw(pid),
        parent: Pid::from_raw(parent),
        session: Pid::from_raw(session),
        has_ended: matches!(state, "Z" | "X"),
    })
}

/// The line of parents, without the process itself. They were not all read at the same time: a circle ends it.
fn ancestors(pid: Pid, all: &HashMap<Pid, Process>) -> Vec<Pid> {
    let mut line = Vec::new();
    let mut process = all.get(&pid);
    while let Some(parent) = process.map(|process| process.parent)
        && !line.contains(&parent)
    {
        line.push(parent);
        process = all.get(&parent);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_parsed_whatever_its_name() {
        let process = parse(7, b"7 (a) Z 1 2) S 5 6 4 0 -1 rest").unwrap();
        let numbers = [process.pid, process.parent, process.session].map(Pid::as_raw);
        assert_eq!((numbers, process.has_ended), ([7, 5, 4], false));
        assert!(parse(7, b"7 (a) Z 1 2 3 0").unwrap().has_ended);
        assert!(parse(7, b"7 (a").is_none());
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let process = |pid: i32, parent: i32| {
            let line = format!("{pid} (x) S {parent} 0 0 0");
            parse(pid, line.as_bytes()).map(|process| (process.pid, process))
        };
        let all = [process(1, 2), process(2, 1), process(3, 1)];
        let all: HashMap<_, _> = all.into_iter().flatten().collect();
        let line = ancestors(Pid::from_raw(3), &all);
        assert_eq!(line, [1, 2].map(Pid::from_raw));
    }
}
