//! What happened between two looks.

use bstr::{BString, ByteSlice as _};

use super::{Usage, number};
use crate::protocol::message::GroupFile;

/// How long something has waited for each resource, in microseconds: PSI's `some`, the time in which at least one task
/// waited (Documentation/accounting/psi.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressures {
    /// For a processor.
    pub cpu: Option<u64>,
    /// For memory.
    pub memory: Option<u64>,
    /// For input and output.
    pub io: Option<u64>,
}

impl Pressures {
    pub(super) fn of_group(files: &[GroupFile]) -> Self {
        let of = |name: &str| {
            let own = files
                .iter()
                .find(|file| file.above == 0 && file.name == name)?;
            total(own.content.known()?)
        };
        Self {
            cpu: of("cpu.pressure"),
            memory: of("memory.pressure"),
            io: of("io.pressure"),
        }
    }

    pub(super) fn of_machine(files: &[(String, BString)]) -> Self {
        let of = |name: &str| {
            let (_, content) = files.iter().find(|(file, _)| file == name)?;
            total(content)
        };
        Self {
            cpu: of("cpu"),
            memory: of("memory"),
            io: of("io"),
        }
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=17`
fn total(text: &[u8]) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix(b"some "))?;
    some.fields()
        .find_map(|word| number(word.strip_prefix(b"total=")?))
}

/// What happened between two looks. Shares are in thousandths: of one processor, or of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// The time between them in microseconds.
    pub over: u64,
    /// Processor time of the process.
    pub cpu: Option<u64>,
    /// Processor time of its control group.
    pub group_cpu: Option<u64>,
    /// Periods in which the group was stopped, of those in which it wanted to run.
    pub throttled: Option<u64>,
    /// Processes of the group that were killed for want of memory.
    pub killed: Option<u64>,
    /// The share of the time in which a task of the group waited.
    pub pressure: Pressures,
    /// The same for the whole machine.
    pub machine_pressure: Pressures,
}

/// Compares two looks at one process. A counter that went backwards began anew, and gives no rate.
#[must_use]
pub fn rates(before: &Usage, after: &Usage) -> Option<Rates> {
    let over = after.at.checked_sub(before.at).filter(|over| *over > 0)?;
    let grown = |before: Option<u64>, after: Option<u64>| after?.checked_sub(before?);
    let share = |before, after| thousandths(grown(before, after)?, over);
    // The counters are read a little later than the clock.
    let waited = |before, after| share(before, after).map(|share| share.min(1000));
    let pressures = |before: Pressures, after: Pressures| Pressures {
        cpu: waited(before.cpu, after.cpu),
        memory: waited(before.memory, after.memory),
        io: waited(before.io, after.io),
    };
    let (cpu, cpu_before) = (after.group_cpu, before.group_cpu);
    let throttled = grown(cpu_before.periods, cpu.periods)
        .zip(grown(cpu_before.throttled_periods, cpu.throttled_periods));
    Some(Rates {
        over,
        cpu: share(before.cpu, after.cpu),
        group_cpu: share(cpu_before.used, cpu.used),
        throttled: throttled.and_then(|(periods, throttled)| match periods {
            0 => Some(0),
            _ => thousandths(throttled, periods),
        }),
        killed: grown(before.group_memory.killed, after.group_memory.killed),
        pressure: pressures(before.pressure, after.pressure),
        machine_pressure: pressures(before.machine_pressure, after.machine_pressure),
    })
}

fn thousandths(part: u64, whole: u64) -> Option<u64> {
    let share = u128::from(part) * 1000 / u128::from(whole.max(1));
    u64::try_from(share).ok()
}
