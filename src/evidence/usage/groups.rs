//! The control group of a process.

use bstr::ByteSlice as _;

use super::{field, number};
use crate::protocol::message::GroupFile;

/// Version 1 says so when there is no limit (`PAGE_COUNTER_MAX`, `include/linux/page_counter.h`), a little less than this.
const NO_LIMIT: u64 = 1 << 62;

/// Processor time of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Used, in microseconds.
    pub used: Option<u64>,
    /// How much it may use, in thousandths of a processor; `None` when it is not limited, too.
    pub limit: Option<u64>,
    /// Periods in which it wanted to run.
    pub periods: Option<u64>,
    /// Periods in which it was stopped because it had used up what it may.
    pub throttled_periods: Option<u64>,
    /// How long it was stopped, in microseconds.
    pub throttled: Option<u64>,
}

/// Memory of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// In use, the page cache included, in bytes.
    pub used: Option<u64>,
    /// The same without what can be dropped at once: what the kubelet calls the working set.
    pub working_set: Option<u64>,
    /// How much it may use; `None` when it is not limited, too.
    pub limit: Option<u64>,
    /// From where on the kernel slows it down (`memory.high`).
    pub high: Option<u64>,
    /// The most that it has used.
    pub peak: Option<u64>,
    /// Processes of it that the kernel has killed because memory was used up.
    pub killed: Option<u64>,
    /// Times that it met its limit.
    pub met_limit: Option<u64>,
}

/// Processes and threads of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// There are.
    pub count: Option<u64>,
    /// There may be; `None` when it is not limited, too.
    pub limit: Option<u64>,
}

/// The files of one group.
#[derive(Clone, Copy)]
struct Level<'a> {
    files: &'a [GroupFile],
    above: u32,
}

impl<'a> Level<'a> {
    fn text(&self, name: &str) -> Option<&'a [u8]> {
        let file = self
            .files
            .iter()
            .find(|file| file.above == self.above && file.name == name)?;
        file.content.known().map(|content| content.as_slice())
    }

    fn number(&self, name: &str) -> Option<u64> {
        number(self.text(name)?.trim_ascii())
    }

    fn field(&self, name: &str, key: &str) -> Option<u64> {
        field(self.text(name)?, key)
    }
}

/// The groups from that of the process upwards.
fn levels(files: &[GroupFile]) -> impl Iterator<Item = Level<'_>> + Clone {
    let mut all: Vec<u32> = files.iter().map(|file| file.above).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(move |above| Level { files, above })
}

/// The group whose limit is met first: that with the lowest one, and the process's own when none has one.
fn decisive<'a>(
    files: &'a [GroupFile],
    is_one: impl Fn(&Level<'a>) -> bool,
    limit: impl Fn(&Level<'a>) -> Option<u64>,
) -> Option<Level<'a>> {
    let mut levels = levels(files).filter(|level| is_one(level));
    let first = levels.clone().next();
    let limited = levels.by_ref().filter(|level| limit(level).is_some());
    limited.min_by_key(|level| limit(level)).or(first)
}

impl Cpu {
    pub(super) fn of(files: &[GroupFile]) -> Self {
        let has = |level: &Level<'_>| {
            level.text("cpu.stat").is_some()
                || level.text("cpu.max").is_some()
                || quota(level).is_some()
        };
        let Some(level) = decisive(files, has, quota) else {
            return Self::default();
        };
        let used = level.field("cpu.stat", "usage_usec");
        // Of version 1, in a hierarchy of its own.
        let used_before = || {
            let mut levels = levels(files);
            levels
                .find_map(|level| level.number("cpuacct.usage"))
                .map(|used| used / 1000)
        };
        let throttled = level.field("cpu.stat", "throttled_usec");
        let throttled_before = || {
            level
                .field("cpu.stat", "throttled_time")
                .map(|time| time / 1000)
        };
        Self {
            used: used.or_else(used_before),
            limit: quota(&level),
            periods: level.field("cpu.stat", "nr_periods"),
            throttled_periods: level.field("cpu.stat", "nr_throttled"),
            throttled: throttled.or_else(throttled_before),
        }
    }
}

/// How much a group may use, in thousandths of a processor.
fn quota(level: &Level<'_>) -> Option<u64> {
    let (quota, period) = match level.text("cpu.max") {
        Some(text) => {
            let mut words = text.fields();
            // `max` is no number, and no limit.
            (number(words.next()?)?, number(words.next()?)?)
        }
        // -1 is no number here, and no limit.
        None => (
            level.number("cpu.cfs_quota_us")?,
            level.number("cpu.cfs_period_us")?,
        ),
    };
    quota.checked_mul(1000)?.checked_div(period)
}

impl Memory {
    pub(super) fn of(files: &[GroupFile]) -> Self {
        let unified = decisive(
            files,
            |level| level.text("memory.current").is_some(),
            |level| level.number("memory.max"),
        );
        if let Some(level) = unified {
            return Self::unified(&level);
        }
        let first = |level: &Level<'_>| level.text("memory.usage_in_bytes").is_some();
        decisive(files, first, limit_before)
            .map_or_else(Self::default, |level| Self::before(&level))
    }

    fn unified(level: &Level<'_>) -> Self {
        let used = level.number("memory.current");
        let droppable = level.field("memory.stat", "inactive_file");
        Self {
            used,
            working_set: used
                .zip(droppable)
                .map(|(used, some)| used.saturating_sub(some)),
            limit: level.number("memory.max"),
            high: level.number("memory.high"),
            peak: level.number("memory.peak"),
            killed: level.field("memory.events", "oom_kill"),
            met_limit: level.field("memory.events", "max"),
        }
    }

    fn before(level: &Level<'_>) -> Self {
        let used = level.number("memory.usage_in_bytes");
        let droppable = level.field("memory.stat", "total_inactive_file");
        Self {
            used,
            working_set: used
                .zip(droppable)
                .map(|(used, some)| used.saturating_sub(some)),
            limit: limit_before(level),
            high: None,
            peak: level.number("memory.max_usage_in_bytes"),
            killed: level.field("memory.oom_control", "oom_kill"),
            met_limit: level.number("memory.failcnt"),
        }
    }
}

/// The limit of version 1, that of the groups above included.
fn limit_before(level: &Level<'_>) -> Option<u64> {
    let own = level.number("memory.limit_in_bytes");
    let all = level.field("memory.stat", "hierarchical_memory_limit");
    own.into_iter()
        .chain(all)
        .min()
        .filter(|limit| *limit < NO_LIMIT)
}

impl Tasks {
    pub(super) fn of(files: &[GroupFile]) -> Self {
        let has = |level: &Level<'_>| level.text("pids.current").is_some();
        let limit = |level: &Level<'_>| level.number("pids.max");
        decisive(files, has, limit).map_or_else(Self::default, |level| Self {
            count: level.number("pids.current"),
            limit: limit(&level),
        })
    }
}
