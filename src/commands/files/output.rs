//! The tables and the JSON of `kdbg files`.

use std::collections::BTreeSet;

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::{
    cli::{error::CommandError, printer::Printer},
    commands::subject::Subject,
    evidence::{
        files::{
            Bound, FileFacts, Fill, Kind, Limit, Store, flag_names, is_log, kind, letter, path,
        },
        findings::Verdict,
        noise::mounts::MountKind,
    },
    protocol::message::{HeldBy, HeldFile, HeldStat, Reading},
    render::{
        JsonBytes,
        findings::{self, JsonFinding},
        quantity, safe,
        table::{self, Align},
    },
    target::Target,
};

/// Prints all of it for people.
pub(super) fn text(
    facts: &FileFacts,
    verdict: &Verdict,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let width = printer.width();
    let mut page = held_table(facts, width);
    if let Some(stores) = facts.stores.found() {
        page.push('\n');
        page.push_str(&store_table(stores, width));
    }
    if let (Some(limit), Some(held)) = (facts.descriptors.found(), facts.held.found()) {
        page.push_str(&format!("\n{}\n", descriptors(limit, count(held))));
    }
    for log in logs(facts) {
        page.push_str(&format!("{log}\n"));
    }
    if verdict.is_found() || !verdict.unchecked.is_empty() {
        page.push('\n');
        page.push_str(&findings::text(verdict));
    }
    printer
        .data()
        .write_all(page.as_bytes())
        .map_err(CommandError::output)
}

/// What it comes to, to be compared with another pod: which files are open and how, what is mounted, the limit, and what is
/// wrong. Sizes, times and numbers are no difference between two pods.
pub(super) fn outline(facts: &FileFacts, verdict: &Verdict) -> BTreeSet<String> {
    let held = facts.held().iter().filter_map(|file| {
        let path = path(file)?;
        let way = match (file.by, file.opened) {
            (HeldBy::Descriptor(_), Some(opened)) => letter(opened.flags).to_string(),
            (HeldBy::Descriptor(_), None) => "?".to_owned(),
            _ => holder(file),
        };
        let deleted = file.stat.known().is_some_and(HeldStat::is_deleted);
        let deleted = if deleted { ", deleted" } else { "" };
        Some(format!("{way} {}{deleted}", safe(path)))
    });
    let stores = facts.stores.found().into_iter().flatten();
    let stores = stores.map(|store| {
        let what = what(store);
        // The API server makes this volume's name up, another one for each pod.
        let what = match what.split_once("kube-api-access-") {
            Some((before, _)) => format!("{before}kube-api-access"),
            None => what,
        };
        format!("mounted {} {what}", safe(&store.mount.point))
    });
    let limit = facts.descriptors.found().map(|limit| match limit.soft {
        Bound::At(soft) => format!("at most {soft} descriptors"),
        Bound::Unlimited => "descriptors without a limit".to_owned(),
    });
    held.chain(stores)
        .chain(limit)
        .chain(verdict.lines())
        .collect()
}

fn held_table(facts: &FileFacts, width: Option<usize>) -> String {
    let columns = [
        ("FD", Align::Right),
        ("KIND", Align::Left),
        ("SIZE", Align::Right),
        ("OFFSET", Align::Right),
        ("LINKS", Align::Right),
        ("MODIFIED", Align::Left),
        ("FLAGS", Align::Left),
        ("NAME", Align::Left),
    ];
    let rows = facts.held().iter().map(|file| {
        let stat = file.stat.known();
        let of_file = |value: &dyn Fn(&HeldStat) -> String| match (kind(file), stat) {
            (Some(Kind::File | Kind::Folder | Kind::MemFd), Some(stat)) => value(stat),
            (_, Some(_)) => String::new(),
            (_, None) => "?".to_owned(),
        };
        let opened = file.opened;
        vec![
            holder(file),
            kind(file).map_or("?", Kind::as_str).to_owned(),
            of_file(&|stat| stat.size.to_string()),
            match (kind(file), opened) {
                (Some(Kind::File | Kind::MemFd), Some(opened)) => opened.position.to_string(),
                _ => String::new(),
            },
            of_file(&|stat| stat.links.to_string()),
            of_file(&|stat| date(stat.modified)),
            match (file.by, opened) {
                (_, Some(opened)) => flags(opened.flags),
                (HeldBy::Descriptor(_), None) => "?".to_owned(),
                _ => String::new(),
            },
            file.name
                .known()
                .map_or_else(|| "?".to_owned(), |name| safe(name)),
        ]
    });
    table::render(&columns, rows, width)
}

/// As lsof(8) has it, with words for what is no descriptor.
fn holder(file: &HeldFile) -> String {
    match file.by {
        HeldBy::Folder => "cwd".to_owned(),
        HeldBy::Root => "root".to_owned(),
        HeldBy::Executable => "exe".to_owned(),
        HeldBy::Mapping => "mem".to_owned(),
        HeldBy::Descriptor(number) => {
            let letter = file.opened.map_or('?', |opened| letter(opened.flags));
            format!("{number}{letter}")
        }
    }
}

/// What is not said by the letter.
fn flags(flags: u32) -> String {
    let names = flag_names(flags).into_iter().skip(1);
    names.collect::<Vec<_>>().join(",")
}

fn date(nanoseconds: i64) -> String {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).map_or_else(
        |_| "?".to_owned(),
        |time| {
            let time = time.to_zoned(TimeZone::system());
            time.strftime("%Y-%m-%d %H:%M:%S").to_string()
        },
    )
}

fn store_table(stores: &[Store], width: Option<usize>) -> String {
    let columns = [
        ("MOUNTED ON", Align::Left),
        ("IS", Align::Left),
        ("SIZE", Align::Right),
        ("USED", Align::Right),
        ("AVAILABLE", Align::Right),
        ("USE", Align::Right),
        ("INODES", Align::Right),
        ("FREE", Align::Right),
        ("USE", Align::Right),
    ];
    let rows = stores.iter().map(|store| {
        let (bytes, inodes) = (store.bytes(), store.inodes());
        let unknown = if store.space.known().is_some() {
            "-"
        } else {
            "?"
        };
        let of = |fill: Option<Fill>, value: &dyn Fn(Fill) -> String| {
            fill.map_or_else(|| unknown.to_owned(), value)
        };
        let percent = |fill: Fill| format!("{}%", fill.percent());
        let read_only = store.space.known().is_some_and(|space| space.read_only);
        let is = format!(
            "{}{}",
            what(store),
            if read_only { ", read-only" } else { "" }
        );
        vec![
            safe(&store.mount.point),
            is,
            of(bytes, &|fill| quantity::bytes(fill.size)),
            of(bytes, &|fill| quantity::bytes(fill.used)),
            of(bytes, &|fill| quantity::bytes(fill.available)),
            of(bytes, &percent),
            of(inodes, &|fill| fill.size.to_string()),
            of(inodes, &|fill| fill.available.to_string()),
            of(inodes, &percent),
        ]
    });
    table::render(&columns, rows, width)
}

/// What is mounted: the volume of the pod, else the type and the source.
fn what(store: &Store) -> String {
    match &store.mount.kind {
        MountKind::Volume { plugin, name } => format!("{} {}", safe(plugin), safe(name)),
        MountKind::Other {
            file_system,
            source,
        } => format!("{} {}", safe(file_system), safe(source)),
    }
}

fn count(held: &[HeldFile]) -> u64 {
    let is_one = |file: &&HeldFile| matches!(file.by, HeldBy::Descriptor(_));
    held.iter().filter(is_one).count() as u64
}

fn descriptors(limit: &Limit, count: u64) -> String {
    match (limit.soft, limit.hard) {
        (Bound::At(soft), Bound::At(hard)) if hard > soft => {
            format!("{count} descriptors of {soft}, which the process may raise to {hard}")
        }
        (Bound::At(soft), Bound::At(_)) => format!("{count} descriptors of {soft}"),
        (Bound::At(soft), Bound::Unlimited) => {
            format!("{count} descriptors of {soft}, which the process may raise")
        }
        (Bound::Unlimited, _) => format!("{count} descriptors, without a limit"),
    }
}

/// Since when each log that is open for writing has not been written, one line a file.
fn logs(facts: &FileFacts) -> Vec<String> {
    let mut lines = Vec::new();
    for file in facts.held() {
        if let Some((path, stat)) = log(file) {
            let silent = silent(facts, stat);
            let line = format!(
                "log {}: {}, last written {} ago",
                safe(path),
                quantity::bytes(stat.size),
                quantity::seconds(silent)
            );
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

/// A log that is open for writing.
fn log(file: &HeldFile) -> Option<(&bstr::BStr, &HeldStat)> {
    let (path, stat, opened) = (path(file)?, file.stat.known()?, file.opened?);
    let is_one =
        kind(file) == Some(Kind::File) && matches!(letter(opened.flags), 'w' | 'u') && is_log(path);
    is_one.then_some((path, stat))
}

/// Seconds since a file was written.
fn silent(facts: &FileFacts, stat: &HeldStat) -> u64 {
    let modified = stat.modified / 1_000_000;
    u64::try_from(facts.now.saturating_sub(modified) / 1000).unwrap_or(0)
}

/// All of it as JSON.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    schema: u32,
    subject: Subject<'a>,
    files: Vec<FileRow<'a>>,
    volumes: Vec<StoreRow<'a>>,
    descriptors: Option<DescriptorRow>,
    findings: Vec<JsonFinding<'a>>,
    not_checked: Vec<UncheckedRow<'a>>,
    /// What would let in whoever could not read something.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    hints: &'a [String],
}

#[derive(Serialize)]
struct FileRow<'a> {
    by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptor: Option<u32>,
    kind: Option<&'static str>,
    name: Option<JsonBytes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<JsonBytes<'a>>,
    device: Option<u64>,
    inode: Option<u64>,
    links: Option<u64>,
    deleted: Option<bool>,
    size: Option<u64>,
    allocated: Option<u64>,
    modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags_octal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    /// Of a log that is open for writing: seconds since it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    silent_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<String>,
}

#[derive(Serialize)]
struct StoreRow<'a> {
    mounted_on: JsonBytes<'a>,
    is: String,
    file_system: JsonBytes<'a>,
    device: JsonBytes<'a>,
    read_only: Option<bool>,
    bytes: Option<FillRow>,
    inodes: Option<FillRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<String>,
}

#[derive(Serialize)]
struct FillRow {
    size: u64,
    used: u64,
    available: u64,
    percent: u64,
}

#[derive(Serialize)]
struct DescriptorRow {
    open: u64,
    soft_limit: Option<u64>,
    hard_limit: Option<u64>,
}

#[derive(Serialize)]
struct UncheckedRow<'a> {
    what: &'a str,
    because: &'a str,
}

impl<'a> Report<'a> {
    pub(super) fn new(target: &'a Target, facts: &'a FileFacts, verdict: &'a Verdict) -> Self {
        let mut found = findings::findings(&verdict.causes);
        found.extend(findings::findings(&verdict.listed));
        let known = facts.descriptors.found().zip(facts.held.found());
        Self {
            schema: 1,
            subject: Subject::new(target),
            files: facts
                .held()
                .iter()
                .map(|file| FileRow::new(facts, file))
                .collect(),
            volumes: facts
                .stores
                .found()
                .into_iter()
                .flatten()
                .map(StoreRow::new)
                .collect(),
            descriptors: known.map(|(limit, held)| DescriptorRow {
                open: count(held),
                soft_limit: number(limit.soft),
                hard_limit: number(limit.hard),
            }),
            findings: found,
            not_checked: verdict
                .unchecked
                .iter()
                .map(|one| UncheckedRow {
                    what: &one.what,
                    because: &one.why,
                })
                .collect(),
            hints: &facts.remedies,
        }
    }
}

/// A bound; `None` when there is none.
const fn number(bound: Bound) -> Option<u64> {
    match bound {
        Bound::At(number) => Some(number),
        Bound::Unlimited => None,
    }
}

impl<'a> FileRow<'a> {
    fn new(facts: &FileFacts, file: &'a HeldFile) -> Self {
        let stat = file.stat.known();
        let (by, descriptor) = match file.by {
            HeldBy::Folder => ("cwd", None),
            HeldBy::Root => ("root", None),
            HeldBy::Executable => ("exe", None),
            HeldBy::Mapping => ("mapping", None),
            HeldBy::Descriptor(number) => ("descriptor", Some(number)),
        };
        Self {
            by,
            descriptor,
            kind: kind(file).map(Kind::as_str),
            name: file.name.known().map(|name| JsonBytes(name)),
            path: path(file).map(|path| JsonBytes(path)),
            device: stat.map(|stat| stat.device),
            inode: stat.map(|stat| stat.inode),
            links: stat.map(|stat| stat.links),
            deleted: stat.map(HeldStat::is_deleted),
            size: stat.map(|stat| stat.size),
            allocated: stat.map(|stat| stat.allocated),
            modified: stat.and_then(|stat| {
                let time = Timestamp::from_nanosecond(i128::from(stat.modified)).ok()?;
                Some(time.to_string())
            }),
            flags: file.opened.map(|opened| flag_names(opened.flags)),
            flags_octal: file.opened.map(|opened| format!("0{:o}", opened.flags)),
            offset: file.opened.map(|opened| opened.position),
            silent_seconds: log(file).map(|(_, stat)| silent(facts, stat)),
            unavailable: unavailable(&file.name).or_else(|| unavailable(&file.stat)),
        }
    }
}

fn unavailable<T>(reading: &Reading<T>) -> Option<String> {
    match reading {
        Reading::Known(_) => None,
        Reading::Unavailable(failure) => Some(failure.to_string()),
    }
}

impl<'a> StoreRow<'a> {
    fn new(store: &'a Store) -> Self {
        let row = |fill: Fill| FillRow {
            size: fill.size,
            used: fill.used,
            available: fill.available,
            percent: fill.percent(),
        };
        Self {
            mounted_on: JsonBytes(&store.mount.point),
            is: what(store),
            file_system: JsonBytes(&store.file_system),
            device: JsonBytes(&store.device),
            read_only: store.space.known().map(|space| space.read_only),
            bytes: store.bytes().map(row),
            inodes: store.inodes().map(row),
            unavailable: unavailable(&store.space),
        }
    }
}
