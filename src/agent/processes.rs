//! The processes that the agent sees.
//!
//! Whatever vanishes while the list is made is left out of it; whatever is there but guarded is told as such.

use std::{
    collections::{HashMap, HashSet},
    io::Read as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bstr::{BString, ByteSlice as _};
use nix::{
    errno::Errno,
    fcntl::{self, OFlag},
    sys::stat::Mode,
    unistd::{SysconfVar, sysconf},
};

use super::{
    Answer, Output, Records, Stop,
    access::{Denials, Guard},
    container::Mounts,
    identity::Borrowed,
    net::{Descriptors, for_each_socket_of, listens},
    status::{self, Stat, Status, number},
    target::{Target, errno_of, into_bytes},
    view::inner_name,
};
use crate::{
    protocol::message::{Address, Cause, Failure, Process, ProcessScope, Protocol, Reading},
    sys::read_names,
};

/// The most of a process's arguments that is passed on.
const ARGUMENTS_LIMIT: usize = 64 * 1024;

/// Lists the processes, in the order of their numbers.
pub(super) fn answer(scope: ProcessScope, output: &mut dyn Output) -> Answer {
    let fail = |errno| Stop::io("list the processes in", "/proc".into(), errno);
    let mut numbers = all_numbers().map_err(fail)?;
    if let ProcessScope::Tree(top) = scope {
        let family = descendants(top, &numbers)?;
        numbers.retain(|pid| family.contains(pid));
    }
    let clock = Clock::read();
    let mut networks = Networks::default();
    let mut mounts = Mounts::default();
    let mut records = Records::new(output);
    for pid in numbers {
        // Gone by now, or hidden altogether (`hidepid`).
        let Ok((target, stat)) = Target::open_number(pid) else {
            continue;
        };
        let Some(process) = describe(&target, stat, &clock, &mut networks, &mut mounts) else {
            continue;
        };
        let arguments: usize = process.arguments.iter().map(|word| word.len() + 1).sum();
        records.push(process, 512 + arguments)?;
    }
    records.finish()
}

/// The numbers in `/proc`, ascending.
pub(super) fn all_numbers() -> Result<Vec<u32>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let folder = fcntl::open("/proc", flags, Mode::empty())?;
    let mut buffer = vec![0; 32 * 1024];
    let mut numbers = Vec::new();
    loop {
        let names = read_names(&folder, &mut buffer)?;
        if names.is_end() {
            break;
        }
        numbers.extend(names.filter_map(|(name, _)| number::<u32>(name.to_bytes())));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A process and all that descend from it.
fn descendants(top: u32, numbers: &[u32]) -> Result<HashSet<u32>, Failure> {
    if let Err(errno) = Target::open_number(top) {
        let doing = format!("list the processes below {top}");
        return Err(Target::refused(top, doing, errno));
    }
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for &pid in numbers {
        if let Ok((_, stat)) = Target::open_number(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut family = HashSet::new();
    let mut pending = vec![top];
    while let Some(pid) = pending.pop() {
        // Numbers that are given out again while the list is made could close a circle.
        if family.insert(pid) {
            pending.extend(children.remove(&pid).unwrap_or_default());
        }
    }
    Ok(family)
}

/// All that is told of a process; `None` when it vanishes meanwhile.
fn describe(
    target: &Target,
    stat: Stat,
    clock: &Clock,
    networks: &mut Networks,
    mounts: &mut Mounts,
) -> Option<Process> {
    let id = target.id();
    let status = status::parse_status(&target.read("status").ok()?)?;
    let (arguments, arguments_cut) = arguments(target).ok()?;
    let _borrowed = Borrowed::of_open(target, &status);
    let mut refusal = Refusal::new(target, &status);
    let root = target.link("root").unwrap_or_else(|_| "/".into());
    let mut link = |name: &str, what: &str| {
        let reading = target
            .link(name)
            // What lies outside of its root keeps the kernel's name: the process has none for it.
            .map(|path| inner_name(root.as_bstr(), path.as_bstr()).unwrap_or(path))
            .map_err(|errno| refusal.explain(what, errno, Guard::Trace));
        Reading::from(reading)
    };
    let executable = link("exe", "find the executable of");
    let folder = link("cwd", "find the working directory of");
    let listening = networks
        .listening(target)
        .map_err(|(errno, guard)| refusal.explain("list the sockets of", errno, guard));
    let listening = Reading::from(listening);
    let container = mounts
        .mark(target)
        .map_err(|errno| refusal.explain("find the container of", errno, Guard::Trace));
    let container = Reading::from(container);
    // What looked empty or not there may have been the end of the process.
    let is_whole = [executable.known(), folder.known()]
        .iter()
        .all(Option::is_some);
    if !is_whole && target.stat().is_err() {
        return None;
    }
    Some(Process {
        id,
        parent: stat.parent,
        inner_pid: status.inner_pid.unwrap_or(id.pid),
        state: stat.state,
        name: stat.name,
        credentials: status.credentials(),
        started_at: clock.started_at(id.started),
        threads: stat.threads,
        resident: status.resident,
        arguments,
        arguments_cut,
        executable,
        folder,
        listening,
        container,
    })
}

/// Explains what a process refuses, looking at its credentials only once.
struct Refusal<'a> {
    target: &'a Target,
    status: &'a Status,
    denials: Option<Denials>,
}

impl<'a> Refusal<'a> {
    const fn new(target: &'a Target, status: &'a Status) -> Self {
        Self {
            target,
            status,
            denials: None,
        }
    }

    fn explain(&mut self, what: &str, errno: Errno, guard: Guard) -> Failure {
        let cause = match errno {
            Errno::EACCES | Errno::EPERM => {
                let denials = self
                    .denials
                    .get_or_insert_with(|| Denials::with_status(self.target, Some(self.status)));
                Cause::Denied(Box::new(denials.of_process(guard)))
            }
            // A kernel thread has no executable, a zombie nothing at all; neither has ended for `ps`.
            Errno::ENOENT => Cause::NotFound,
            other => self.target.cause(other),
        };
        Failure::new(format!("{what} process {}", self.target.id().pid), cause)
    }
}

/// The arguments, and whether they were cut.
///
/// They end with a NUL each; a process that writes its title over them (setproctitle) may leave none, or
/// many. All of it is kept, as empty arguments are.
fn arguments(target: &Target) -> Result<(Vec<BString>, bool), Errno> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(ARGUMENTS_LIMIT + 1).unwrap_or(u64::MAX);
    target
        .file("cmdline")?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| errno_of(&error))?;
    let is_cut = bytes.len() > ARGUMENTS_LIMIT;
    bytes.truncate(ARGUMENTS_LIMIT);
    Ok((split_arguments(&bytes), is_cut))
}

fn split_arguments(bytes: &[u8]) -> Vec<BString> {
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes
        .strip_suffix(b"\0")
        .unwrap_or(bytes)
        .split(|byte| *byte == 0)
        .map(BString::from)
        .collect()
}

/// What listens in the network namespaces seen so far; each is read once.
#[derive(Default)]
struct Networks {
    known: HashMap<BString, HashMap<u64, Address>>,
}

impl Networks {
    /// Where a process listens, in the order of the addresses.
    fn listening(&mut self, target: &Target) -> Result<Vec<Address>, (Errno, Guard)> {
        let guarded = |guard| move |errno| (errno, guard);
        let descriptors = Descriptors::open(target).map_err(guarded(Guard::Bits))?;
        let mut inodes = Vec::new();
        descriptors
            .for_each_socket(|_, inode| inodes.push(inode))
            .map_err(guarded(Guard::BitsAndTrace))?;
        if inodes.is_empty() {
            return Ok(Vec::new());
        }
        let network = self.of(target).map_err(guarded(Guard::Trace))?;
        let mut addresses: Vec<Address> = inodes
            .iter()
            .filter_map(|inode| network.get(inode).copied())
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }

    /// The listening sockets of a process's network namespace, by inode.
    fn of(&mut self, target: &Target) -> Result<&HashMap<u64, Address>, Errno> {
        let name = into_bytes(fcntl::readlinkat(target, "ns/net")?);
        if !self.known.contains_key(&name) {
            let mut network = HashMap::new();
            let protocols = [Protocol::Tcp, Protocol::Udp];
            for_each_socket_of(target, &protocols, &mut |socket| {
                if let Some(address) = listens(&socket) {
                    let protocol = socket.protocol;
                    network.insert(socket.inode, Address { protocol, address });
                }
            })?;
            self.known.insert(name.clone(), network);
        }
        self.known.get(&name).ok_or(Errno::ENOENT)
    }
}

/// Turns the kernel's clock ticks since the boot into a date.
struct Clock {
    booted_at: i64,
    ticks_per_second: i64,
}

impl Clock {
    /// Reads both clocks, once for a list: two readings differ by as much as the clock was adjusted.
    fn read() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(0);
        let up = std::fs::read("/proc/uptime").unwrap_or_default();
        let up = up
            .split(|byte| *byte == b' ')
            .next()
            .and_then(number::<f64>);
        let up = Duration::try_from_secs_f64(up.unwrap_or(0.0)).unwrap_or_default();
        let up = i64::try_from(up.as_millis()).unwrap_or(0);
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        Self {
            booted_at: now - up,
            ticks_per_second: ticks.filter(|ticks| *ticks > 0).unwrap_or(100),
        }
    }

    /// Milliseconds since 1970.
    fn started_at(&self, ticks: u64) -> i64 {
        let ticks = i64::try_from(ticks).unwrap_or(0);
        let after_boot = ticks.saturating_mul(1000) / self.ticks_per_second;
        self.booted_at.saturating_add(after_boot)
    }
}

#[cfg(test)]
mod tests;
