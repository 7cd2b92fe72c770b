//! `kdbg files --watch`: what grows, look after look.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::{FilesArgs, fetch};
use crate::{
    cli::{args::OutputFormat, error::CommandError, exit::ExitStatus, printer::Printer},
    evidence::files::{self, FileFacts, Kind, kind, path},
    protocol::message::{HeldFile, HeldStat},
    render::{JsonBytes, quantity, safe},
    target::Target,
};

/// A file that has another size than at the last look.
struct Grown<'a> {
    path: &'a [u8],
    stat: &'a HeldStat,
    /// Bytes a second; negative when it was cut.
    rate: i64,
}

/// Looks again and again; the exit code is that of a look at what is open.
pub(super) async fn watch(
    args: &FilesArgs,
    target: &Target,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let named = args.target.named();
    let mut ticks = interval(args.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = Instant::now();
    ticks.tick().await;
    let mut before = look(target, &named, args.stalled_after).await?;
    printer.note(&format!(
        "watching {} files every {:?}; a file is shown when its size changes",
        before.1.len(),
        args.interval
    ));
    loop {
        if args.duration.is_some_and(|all| started.elapsed() >= all) {
            let verdict = super::verdict(&before.2);
            return Ok(ExitStatus::of_comparison(
                verdict.is_found(),
                verdict.unchecked.is_empty(),
            ));
        }
        ticks.tick().await;
        let after = look(target, &named, args.stalled_after).await?;
        let over = u64::try_from((after.0 - before.0).as_micros()).unwrap_or(u64::MAX);
        print(
            args.output,
            &after.2,
            &grown(&before.1, &after.2, over),
            printer,
        )?;
        printer.finish()?;
        before = after;
    }
}

type Seen = BTreeMap<(u64, u64), HeldStat>;

async fn look(
    target: &Target,
    named: &str,
    stalled_after: Duration,
) -> Result<(Instant, Seen, FileFacts), CommandError> {
    let facts = fetch::facts(target, named, stalled_after).await?;
    let seen = regular(&facts)
        .map(|(_, stat)| ((stat.device, stat.inode), stat.clone()))
        .collect();
    Ok((Instant::now(), seen, facts))
}

/// The regular files that are known.
fn regular(facts: &FileFacts) -> impl Iterator<Item = (&HeldFile, &HeldStat)> {
    let files = facts
        .held()
        .iter()
        .filter(|file| kind(file) == Some(Kind::File));
    files.filter_map(|file| Some((file, file.stat.known()?)))
}

/// What has changed its size, the fastest first. A file that is new at the second look has no rate yet.
fn grown<'a>(before: &Seen, after: &'a FileFacts, over: u64) -> Vec<Grown<'a>> {
    let mut grown: BTreeMap<(u64, u64), Grown<'a>> = BTreeMap::new();
    for (file, stat) in regular(after) {
        let number = (stat.device, stat.inode);
        let rate = before
            .get(&number)
            .filter(|old| old.size != stat.size)
            .and_then(|old| files::growth(old, stat, over));
        if let (Some(rate), Some(path)) = (rate, path(file)) {
            grown.entry(number).or_insert(Grown { path, stat, rate });
        }
    }
    let mut grown: Vec<_> = grown.into_values().collect();
    grown.sort_by_key(|one| std::cmp::Reverse(one.rate.unsigned_abs()));
    grown
}

/// One look as JSON.
#[derive(Serialize)]
struct Look<'a> {
    schema: u32,
    at: String,
    growing: Vec<GrownRow<'a>>,
    volumes: Vec<VolumeRow<'a>>,
}

#[derive(Serialize)]
struct GrownRow<'a> {
    path: JsonBytes<'a>,
    size: u64,
    allocated: u64,
    deleted: bool,
    bytes_per_second: i64,
}

#[derive(Serialize)]
struct VolumeRow<'a> {
    mounted_on: JsonBytes<'a>,
    available: Option<u64>,
    available_inodes: Option<u64>,
}

fn print(
    format: OutputFormat,
    facts: &FileFacts,
    grown: &[Grown<'_>],
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let now = Timestamp::from_millisecond(facts.now).unwrap_or_default();
    let out = printer.data();
    match format {
        OutputFormat::Text => {
            let time = now
                .to_zoned(TimeZone::system())
                .strftime("%H:%M:%S")
                .to_string();
            for one in grown {
                let sign = if one.rate < 0 { '-' } else { '+' };
                let rate = quantity::bytes(one.rate.unsigned_abs());
                let left = facts
                    .store_of(one.path.into())
                    .and_then(files::Store::bytes);
                let left = left.map_or(String::new(), |fill| {
                    format!(", {} can be had there", quantity::bytes(fill.available))
                });
                let deleted = if one.stat.is_deleted() {
                    ", deleted"
                } else {
                    ""
                };
                writeln!(
                    out,
                    "{time}  {sign}{rate}/s  {}: {}{deleted}{left}",
                    safe(one.path),
                    quantity::bytes(one.stat.size)
                )
                .map_err(CommandError::output)?;
            }
        }
        OutputFormat::Json => {
            let look = Look {
                schema: 1,
                at: now.to_string(),
                growing: grown
                    .iter()
                    .map(|one| GrownRow {
                        path: JsonBytes(one.path),
                        size: one.stat.size,
                        allocated: one.stat.allocated,
                        deleted: one.stat.is_deleted(),
                        bytes_per_second: one.rate,
                    })
                    .collect(),
                volumes: facts
                    .stores
                    .found()
                    .into_iter()
                    .flatten()
                    .map(|store| VolumeRow {
                        mounted_on: JsonBytes(&store.mount.point),
                        available: store.bytes().map(|fill| fill.available),
                        available_inodes: store.inodes().map(|fill| fill.available),
                    })
                    .collect(),
            };
            serde_json::to_writer(&mut *out, &look)
                .map_err(|error| CommandError::output(error.into()))?;
            out.write_all(b"\n").map_err(CommandError::output)?;
        }
    }
    Ok(())
}
