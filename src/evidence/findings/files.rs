//! The rules about what a process holds open: space that nobody sees, file systems that are full, descriptors that run
//! out, logs that have fallen silent.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice as _};
use nix::libc;

use super::{Confidence, Facts, Finding, Id, Next, Severity, Source, fact};
use crate::{
    evidence::files::{Activity, Bound, FileFacts, Fill, Kind, Store, is_log, kind, letter, path},
    protocol::message::{HeldBy, HeldFile, HeldStat},
    render::{quantity, safe},
};

/// Less deleted space than this is not worth a word where it is not a large part of its file system.
const MUCH: u64 = 64 << 20;
/// The part of a file system that is a large one: 1/20.
const LARGE_PART: u64 = 20;
/// A file system is full when less than this can be had: a write of one page fails soon.
const NOTHING: u64 = 64 << 10;
/// It is nearly full when less than this, and less than a twentieth, can be had.
const LITTLE: u64 = 512 << 20;
/// A process with a lower limit of descriptors has shut itself in, and wants no more.
const SHUT_IN: u64 = 16;
/// Lines that a log should have had in its silence, by its own mean, for that to be strange.
const MISSED: u64 = 100;
/// A line of a log, at least.
const LINE: u64 = 40;

/// Runs all rules about files, in an order that stays the same.
#[must_use]
pub fn files(facts: &FileFacts) -> Vec<Finding> {
    let mut findings = volume_full(facts);
    findings.extend(descriptors_near(facts));
    findings.extend(deleted_open(facts));
    findings.extend(log_stalled(facts));
    findings.sort_by_cached_key(|finding| {
        (
            finding.severity,
            finding.confidence,
            finding.id,
            finding.about.clone(),
        )
    });
    findings
}

/// The same for all that is known of a container.
pub(super) fn of_container(facts: &Facts<'_>) -> Vec<Finding> {
    facts.files.found().map(files).unwrap_or_default()
}

/// The descriptors of one open file.
struct Open<'a> {
    path: &'a BStr,
    stat: &'a HeldStat,
    descriptors: Vec<u32>,
    flags: u32,
}

impl Open<'_> {
    fn is_written(&self) -> bool {
        matches!(letter(self.flags), 'w' | 'u')
    }

    fn has(&self, flag: i32) -> bool {
        self.flags.cast_signed() & flag == flag
    }

    fn source(&self, facts: &FileFacts) -> Source {
        let first = self.descriptors.first().copied().unwrap_or_default();
        Source::File(format!("/proc/{}/fd/{first}", facts.process.pid).into())
    }
}

/// The regular files that are open by a descriptor and fully known, each once.
fn open_files(facts: &FileFacts) -> Vec<Open<'_>> {
    let mut found: BTreeMap<(u64, u64), Open<'_>> = BTreeMap::new();
    for file in facts.held() {
        if kind(file) != Some(Kind::File) {
            continue;
        }
        let (HeldBy::Descriptor(number), Some(path), Some(stat), Some(opened)) =
            (file.by, path(file), file.stat.known(), file.opened)
        else {
            continue;
        };
        found
            .entry((stat.device, stat.inode))
            .and_modify(|open| {
                open.descriptors.push(number);
                // Whoever may write decides.
                if letter(opened.flags) != 'r' {
                    open.flags = opened.flags;
                }
            })
            .or_insert(Open {
                path,
                stat,
                descriptors: vec![number],
                flags: opened.flags,
            });
    }
    found.into_values().collect()
}

/// A file that nobody finds any more and that still takes up room. What a program deletes by itself right after making it
/// (a temporary file) is meant so, as long as it stays small.
fn deleted_open(facts: &FileFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for open in open_files(facts) {
        if !open.stat.is_deleted() {
            continue;
        }
        let held = open.stat.allocated;
        let store = facts.store_of(open.path);
        let fill = store.and_then(Store::bytes);
        let is_large_part = fill.is_some_and(|fill| held >= fill.size.div_ceil(LARGE_PART));
        let is_temporary = open.has(libc::O_TMPFILE) || is_temporary(open.path);
        let is_worth_it = is_large_part || (held >= MUCH && !is_temporary);
        if held == 0 || !is_worth_it {
            continue;
        }
        findings.push(deleted_finding(facts, &open, store, fill, is_large_part));
    }
    findings
}

/// Where programs put what they delete at once.
fn is_temporary(path: &BStr) -> bool {
    let folders = [&b"/tmp/"[..], b"/var/tmp/", b"/dev/shm/", b"/run/shm/"];
    folders.iter().any(|folder| path.starts_with(folder))
}

fn deleted_finding(
    facts: &FileFacts,
    open: &Open<'_>,
    store: Option<&Store>,
    fill: Option<Fill>,
    is_large_part: bool,
) -> Finding {
    let held = quantity::bytes(open.stat.allocated);
    let descriptors: Vec<_> = open.descriptors.iter().map(ToString::to_string).collect();
    let mut known = vec![fact(
        format!(
            "{} is deleted (0 links), is open as descriptor {} and takes up {held}",
            safe(open.path),
            descriptors.join(", ")
        ),
        open.source(facts),
    )];
    if let (Some(store), Some(fill)) = (store, fill) {
        known.push(store_fact(store, fill, Unit::Bytes));
    }
    let first = open.descriptors.first().copied().unwrap_or_default();
    Finding {
        id: Id::DeletedOpen,
        about: open.path.into(),
        severity: if is_large_part {
            Severity::Medium
        } else {
            Severity::Low
        },
        confidence: Confidence::Certain,
        cause: format!(
            "{held} are taken up by {}, which is deleted and which the process holds open: `du` does not see them",
            safe(open.path)
        )
        .into(),
        facts: known,
        refuted_by: "the program deletes the file by itself and means to keep the space while it runs"
            .to_owned(),
        next: vec![Next {
            what: "have the process open its file anew (SIGHUP for many, a restart for all); or empty it, where what is \
                   in it is not needed"
                .to_owned(),
            command: format!("truncate -s 0 /proc/{}/fd/{first}", facts.process.pid).into(),
        }],
    }
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Inodes,
}

fn store_fact(store: &Store, fill: Fill, unit: Unit) -> super::Fact {
    let number = |count| match unit {
        Unit::Bytes => quantity::bytes(count),
        Unit::Inodes => format!("{count} files"),
    };
    fact(
        format!(
            "{}: {} % used, {} of {} can be had (statvfs)",
            safe(store.mount.to_string().as_bytes()),
            fill.percent(),
            number(fill.available),
            number(fill.size)
        ),
        Source::File(store.mount.point.clone()),
    )
}

/// A file system on which nothing more can be written, by bytes or by files. One that is read-only is always full.
fn volume_full(facts: &FileFacts) -> Vec<Finding> {
    let Some(stores) = facts.stores.found() else {
        return Vec::new();
    };
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    // Several mounts of one file system are as full as each other; the one with a file open on it says most.
    let mut stores: Vec<_> = stores.iter().collect();
    stores.sort_by_cached_key(|store| written_on(facts, store).is_none());
    for store in stores {
        let is_writable = store.space.known().is_some_and(|space| !space.read_only);
        for (unit, fill) in [(Unit::Bytes, store.bytes()), (Unit::Inodes, store.inodes())] {
            let Some(fill) = fill.filter(|_| is_writable) else {
                continue;
            };
            let Some(fullness) = Fullness::of(fill, unit) else {
                continue;
            };
            if seen.insert((store.device.clone(), unit == Unit::Bytes)) {
                findings.push(full_finding(facts, store, fill, unit, fullness));
            }
        }
    }
    findings
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fullness {
    Full,
    Nearly,
}

impl Fullness {
    fn of(fill: Fill, unit: Unit) -> Option<Self> {
        let (nothing, little) = match unit {
            // A file system of a few blocks is full when no block is left.
            Unit::Bytes => (NOTHING.min(fill.size / 1000), LITTLE),
            Unit::Inodes => (0, 1000),
        };
        if fill.available <= nothing {
            return Some(Self::Full);
        }
        (fill.percent() > 95 && fill.available < little).then_some(Self::Nearly)
    }
}

/// A file on a file system that the process has open for writing.
fn written_on<'a>(facts: &'a FileFacts, store: &Store) -> Option<Open<'a>> {
    let is_on = |open: &Open<'_>| {
        let on = facts.store_of(open.path).map(|on| &on.device);
        open.is_written() && on == Some(&store.device)
    };
    let mut written: Vec<_> = open_files(facts).into_iter().filter(is_on).collect();
    // One that still has a name says more.
    written.sort_by_key(|open| open.stat.is_deleted());
    written.into_iter().next()
}

fn full_finding(
    facts: &FileFacts,
    store: &Store,
    fill: Fill,
    unit: Unit,
    fullness: Fullness,
) -> Finding {
    let written = written_on(facts, store);
    let point = safe(&store.mount.point);
    let what = match unit {
        Unit::Bytes => "no space is left",
        Unit::Inodes => "no more files can be made, though there may be space",
    };
    let cause = match fullness {
        Fullness::Full => format!("the file system on {point} is full: {what}"),
        Fullness::Nearly => format!("the file system on {point} is nearly full"),
    };
    let mut known = vec![store_fact(store, fill, unit)];
    if let Some(open) = &written {
        known.push(fact(
            format!("the process has {} on it open for writing", safe(open.path)),
            open.source(facts),
        ));
    }
    let reserved = store
        .space
        .known()
        .filter(|space| unit == Unit::Bytes && space.free > space.available);
    if let Some(space) = reserved {
        known.push(fact(
            format!(
                "{} more are kept for root",
                quantity::bytes(space.free - space.available)
            ),
            Source::File(store.mount.point.clone()),
        ));
    }
    Finding {
        id: Id::VolumeFull,
        about: store.mount.point.clone(),
        severity: match (fullness, written.is_some()) {
            (Fullness::Full, true) => Severity::High,
            (Fullness::Full, false) => Severity::Medium,
            (Fullness::Nearly, _) => Severity::Low,
        },
        confidence: if reserved.is_some() && facts.uid == 0 {
            Confidence::Likely
        } else {
            Confidence::Certain
        },
        cause: cause.into(),
        facts: known,
        refuted_by: match unit {
            Unit::Bytes => "a file of some size can be written there".to_owned(),
            Unit::Inodes => "a file can be made there".to_owned(),
        },
        next: Vec::new(),
    }
}

/// A process that is about to fail with "too many open files".
fn descriptors_near(facts: &FileFacts) -> Vec<Finding> {
    let (Some(limit), Some(held)) = (facts.descriptors.found(), facts.held.found()) else {
        return Vec::new();
    };
    let Bound::At(most) = limit.soft else {
        return Vec::new();
    };
    // The limit bounds the numbers. Some above it were inherited or moved there; many, and it was lowered afterwards, as
    // a sandbox does.
    let is_below = |file: &&HeldFile| matches!(file.by, HeldBy::Descriptor(number) if u64::from(number) < most);
    let is_above = |file: &&HeldFile| matches!(file.by, HeldBy::Descriptor(number) if u64::from(number) >= most);
    let count = held.iter().filter(is_below).count() as u64;
    let above = held.iter().filter(is_above).count() as u64;
    let is_lowered = above.saturating_mul(10) > most;
    if most < SHUT_IN || is_lowered || count < most.saturating_mul(9).div_ceil(10) {
        return Vec::new();
    }
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for file in held.iter().filter(is_below) {
        *kinds
            .entry(kind(file).map_or("unknown", Kind::as_str))
            .or_default() += 1;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let kinds: Vec<_> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let hard = match limit.hard {
        Bound::At(hard) if hard > most => format!("the process may raise it to {hard} by itself"),
        Bound::At(_) => "the hard limit is the same".to_owned(),
        Bound::Unlimited => "the process may raise it by itself".to_owned(),
    };
    let pid = facts.process.pid;
    Vec::from([Finding {
        id: Id::DescriptorLimitNear,
        about: "open files".into(),
        severity: if count == most {
            Severity::High
        } else {
            Severity::Medium
        },
        confidence: Confidence::Certain,
        cause: if count == most {
            format!("the process has all {most} descriptors that it may have: whatever it opens next fails")
        } else {
            format!("the process has {count} descriptors of the {most} that it may have")
        }
        .into(),
        facts: vec![
            fact(
                format!("{count} descriptors are open: {}", kinds.join(", ")),
                Source::File(format!("/proc/{pid}/fd").into()),
            ),
            fact(
                format!("the soft limit of open files is {most}; {hard}"),
                Source::File(format!("/proc/{pid}/limits").into()),
            ),
        ],
        refuted_by: "the process raises its limit when it needs more, or keeps just under it".to_owned(),
        next: vec![Next {
            what: "see whether the number grows".to_owned(),
            command: format!("kdbg watch {}", facts.target).into(),
        }],
    }])
}

/// A log that the process has written and writes no more, although it works.
///
/// Silence alone says nothing: an error log is silent when all is well. So it takes a reason for which writing fails (its
/// file system is full), or a log that was written so steadily that its silence is not its own way, while the process is
/// as busy as ever.
fn log_stalled(facts: &FileFacts) -> Vec<Finding> {
    let findings = open_files(facts).into_iter().filter_map(|open| {
        let log = Log::of(facts, &open)?;
        let store = facts.store_of(open.path);
        let full = store.and_then(|store| {
            let full = |unit, fill: Option<Fill>| {
                let fill = fill?;
                let is_full = Fullness::of(fill, unit) == Some(Fullness::Full);
                is_full.then(|| store_fact(store, fill, unit))
            };
            full(Unit::Bytes, store.bytes())
        });
        let (severity, confidence, mut known) = match (full, log.steady(facts)) {
            (Some(full), _) => (Severity::Medium, Confidence::Likely, vec![full]),
            (None, Some(steady)) => (Severity::Low, Confidence::Possible, steady),
            (None, None) => return None,
        };
        known.insert(
            0,
            fact(
                format!(
                    "{} is open for writing, has {} and was last written {} ago",
                    safe(open.path),
                    quantity::bytes(open.stat.size),
                    quantity::seconds(log.silent)
                ),
                open.source(facts),
            ),
        );
        Some(Finding {
            id: Id::LogStalled,
            about: BString::from(open.path),
            severity,
            confidence,
            cause: format!(
                "the log {} has not been written for {}, and the process runs",
                safe(open.path),
                quantity::seconds(log.silent)
            )
            .into(),
            facts: known,
            refuted_by: "the program had nothing to say, or says it elsewhere now".to_owned(),
            next: Vec::new(),
        })
    });
    findings.collect()
}

/// A log that has fallen silent. Times in seconds.
struct Log {
    silent: u64,
    /// Bytes a second, from when it was made until its last line; `None` when that is not known.
    mean: Option<f64>,
    /// From when it was made until its last line.
    written: u64,
}

impl Log {
    fn of(facts: &FileFacts, open: &Open<'_>) -> Option<Self> {
        let is_candidate = open.is_written()
            && !open.stat.is_deleted()
            && open.stat.size > 0
            && is_log(open.path)
            && !is_about_trouble(open.path);
        let modified = open.stat.modified / 1_000_000;
        let silent = facts.now.checked_sub(modified)?;
        let silent = u64::try_from(silent / 1000).ok()?;
        // What this process never wrote is not its log.
        let wrote = modified > facts.started_at;
        if !is_candidate || !wrote || silent < facts.stalled_after.as_secs() {
            return None;
        }
        let lived = open
            .stat
            .born
            .and_then(|born| open.stat.modified.checked_sub(born));
        let written = lived
            .and_then(|lived| u64::try_from(lived / 1_000_000_000).ok())
            .unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "a mean need not be exact")]
        let mean = (written > 0).then(|| open.stat.size as f64 / written as f64);
        Some(Self {
            silent,
            mean,
            written,
        })
    }

    /// What shows that this silence is not the log's own way.
    fn steady(&self, facts: &FileFacts) -> Option<Vec<super::Fact>> {
        let activity = facts.activity.found().filter(|one| one.is_as_ever())?;
        #[expect(clippy::cast_precision_loss, reason = "a mean need not be exact")]
        let missed = self.mean? * self.silent as f64;
        #[expect(clippy::cast_precision_loss, reason = "both are small")]
        let is_much = missed >= (MISSED * LINE) as f64;
        // A log of a minute says little about an hour.
        if !is_much || self.written < self.silent {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is shown, and not negative"
        )]
        let missed = quantity::bytes(missed as u64);
        Some(vec![
            fact(
                format!(
                    "by its mean over the {} before, {missed} should have come since",
                    quantity::seconds(self.written)
                ),
                Source::Probe,
            ),
            fact(
                format!(
                    "the process uses {}.{} % of a processor, {}.{} % in the mean since its start",
                    activity.now / 10,
                    activity.now % 10,
                    activity.mean / 10,
                    activity.mean % 10
                ),
                Source::File(format!("/proc/{}/stat", facts.process.pid).into()),
            ),
        ])
    }
}

impl Activity {
    /// Whether the process is at least half as busy as it was in the mean, and does anything at all.
    const fn is_as_ever(&self) -> bool {
        self.now >= 10 && self.now.saturating_mul(2) >= self.mean
    }
}

/// Logs that are silent when all is well.
fn is_about_trouble(path: &BStr) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    let words = [
        &b"err"[..],
        b"warn",
        b"fatal",
        b"crash",
        b"panic",
        b"slow",
        b"audit",
        b"alert",
        b"fail",
        b"exception",
    ];
    words.iter().any(|word| name.contains_str(word))
}

/// Whether the rule about logs needs to know how busy the process is.
#[must_use]
pub fn asks_for_activity(facts: &FileFacts) -> bool {
    let mut open = open_files(facts).into_iter();
    open.any(|open| Log::of(facts, &open).is_some())
}

#[cfg(test)]
mod tests;
