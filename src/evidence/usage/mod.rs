//! What a process and its control groups use: from the kernel's files to numbers, and from two looks to rates.
//!
//! The kernel counts in two ways. Version 2 of the control groups has `memory.max`, version 1 `memory.limit_in_bytes`; one
//! counts in microseconds, the other in nanoseconds; limits may be set on the group of the process or on one above it.
//! Here both become the same numbers. A number that is `None` is one that the kernel does not have, or that could not be
//! read; [`Usage::unread`] tells them apart.

mod groups;
mod rates;

use bstr::{BStr, ByteSlice as _};

pub use groups::{Cpu, Memory, Tasks};
pub use rates::{Pressures, Rates, rates};

use super::files::{Bound, limit};
use crate::protocol::message::{Reading, Sample, SocketCount};

/// One look, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// When: microseconds on a clock that only goes forward.
    pub at: u64,
    /// The same: milliseconds since 1970.
    pub wall: i64,
    /// The letter of the process's state.
    pub state: Option<char>,
    /// Processor time that the process has used, in microseconds.
    pub cpu: Option<u64>,
    /// How long the process has run, in microseconds of the clock since the boot; from `starttime`.
    pub started_ticks: Option<u64>,
    /// Its threads.
    pub threads: Option<u64>,
    /// Its resident memory in bytes.
    pub resident: Option<u64>,
    /// Its memory in swap in bytes.
    pub swapped: Option<u64>,
    /// Its descriptors.
    pub descriptors: Option<u64>,
    /// How many it may have; `None` when unlimited, too.
    pub descriptor_limit: Option<u64>,
    /// TCP sockets of its network namespace.
    pub sockets: Option<Vec<SocketCount>>,
    /// Processor time of its control group.
    pub group_cpu: Cpu,
    /// Memory of its control group.
    pub group_memory: Memory,
    /// Processes and threads of its control group.
    pub group_tasks: Tasks,
    /// How long its control group has waited, in microseconds.
    pub pressure: Pressures,
    /// How long the whole machine has waited.
    pub machine_pressure: Pressures,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

impl Usage {
    /// Reads a sample.
    #[must_use]
    pub fn of(sample: &Sample) -> Self {
        let mut usage = Self {
            at: sample.at,
            wall: sample.wall,
            ..Self::default()
        };
        if let Some(stat) = usage.read(&sample.stat) {
            usage.add_stat(stat.as_bstr(), sample.ticks);
        }
        if let Some(status) = usage.read(&sample.status) {
            usage.resident = kibibytes(status, "VmRSS:");
            usage.swapped = kibibytes(status, "VmSwap:");
        }
        if let Some(limits) = usage.read(&sample.limits) {
            usage.descriptor_limit = match limit(limits, "Max open files").map(|limit| limit.soft) {
                Some(Bound::At(most)) => Some(most),
                _ => None,
            };
        }
        usage.descriptors = usage
            .read(&sample.descriptors)
            .map(|count| u64::from(*count));
        usage.sockets = usage.read(&sample.sockets).cloned();
        if let Some(files) = usage.read(&sample.groups) {
            usage.group_cpu = Cpu::of(files);
            usage.group_memory = Memory::of(files);
            usage.group_tasks = Tasks::of(files);
            usage.pressure = Pressures::of_group(files);
            let failures = files.iter().filter_map(|file| match &file.content {
                Reading::Unavailable(failure) => Some(failure.to_string()),
                Reading::Known(_) => None,
            });
            usage.unread.extend(failures);
        }
        usage.machine_pressure = Pressures::of_machine(&sample.pressure);
        usage.unread.dedup();
        usage
    }

    /// What was read; notes why something was not.
    fn read<'a, T>(&mut self, reading: &'a Reading<T>) -> Option<&'a T> {
        match reading {
            Reading::Known(value) => Some(value),
            Reading::Unavailable(failure) => {
                self.unread.push(failure.to_string());
                None
            }
        }
    }

    /// `pid (name) state ppid …`: the name is chosen by the process, so fields are counted from its last parenthesis.
    fn add_stat(&mut self, stat: &BStr, ticks: u32) {
        let Some(end) = stat.rfind_byte(b')') else {
            return;
        };
        let fields: Vec<&[u8]> = stat.get(end + 1..).unwrap_or_default().fields().collect();
        // proc(5) counts from 1, and the state is field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        self.state = field(3)
            .and_then(|word| word.first())
            .map(|byte| char::from(*byte));
        self.threads = field(20).and_then(number);
        self.started_ticks = field(22).and_then(number);
        let (user, system): (Option<u64>, Option<u64>) =
            (field(14).and_then(number), field(15).and_then(number));
        let used = user
            .zip(system)
            .and_then(|(user, system)| user.checked_add(system));
        self.cpu = used
            .and_then(|used| used.checked_mul(1_000_000))
            .and_then(|used| used.checked_div(u64::from(ticks)));
    }

    /// What one could not read, as warnings; each once.
    pub fn is_whole(&self) -> bool {
        self.unread.is_empty()
    }
}

/// A decimal number.
fn number(word: &[u8]) -> Option<u64> {
    word.to_str().ok()?.parse().ok()
}

/// A line `Key:   17 kB`, in bytes.
fn kibibytes(text: &[u8], key: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key.as_bytes()))?;
    number(line.fields().next()?)?.checked_mul(1024)
}

/// A line `key 17`.
fn field(text: &[u8], key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once_str(" ")?;
        (name == key.as_bytes()).then(|| number(value.trim_ascii()))?
    })
}

#[cfg(test)]
mod tests;
