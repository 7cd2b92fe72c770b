//! `kdbg env --all-processes`: what the processes of a container were started with, beside its first one.

use std::collections::BTreeMap;

use bstr::BString;
use futures::future::join_all;
use serde::Serialize;

use super::{EnvArgs, EnvFormat, explained, shown_from};
use crate::{
    cli::{error::CommandError, exit::ExitStatus, printer::Printer},
    commands::{fetch::is_final, subject::Subject},
    evidence::{
        environment::Environment,
        provenance::Attribution,
        redact::{Redactor, Source},
    },
    protocol::message::Process,
    render::{JsonBytes, safe},
    session::RequestError,
    target::Target,
};

/// A process with what it was started with, as far as it may be shown.
struct One<'a> {
    process: &'a Process,
    lines: Result<Lines, RequestError>,
}

/// Entries as they are, with how they are shown. Entries without a name stand under their whole text.
#[derive(Default)]
struct Lines {
    entries: BTreeMap<BString, (BString, String)>,
    overwritten: bool,
}

/// Prints them, and says whether all could be read.
pub(super) async fn print(
    args: &EnvArgs,
    target: &Target,
    declared: explained::Asking,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let redactor = Redactor::new(args.show_secrets);
    let mut processes: Vec<_> = target.processes.iter().collect();
    processes.sort_by_key(|process| (process.started_at, process.id.pid));
    let (declared, blocks) = tokio::join!(
        explained::declared(target, declared),
        join_all(
            processes
                .iter()
                .map(|process| super::read(&target.session, process))
        )
    );
    let declared = declared?;
    let mut all = Vec::new();
    for (process, block) in processes.into_iter().zip(blocks) {
        let lines = match block {
            Ok(environment) => {
                let attribution = declared.as_ref().map(|one| one.explain(&environment).0);
                Ok(Lines::new(&environment, attribution.as_ref(), redactor))
            }
            // One of several may end while they are read.
            Err(error) if is_final(&error) && process.id == target.process().id => {
                return Err(error.into());
            }
            Err(error) => Err(error),
        };
        all.push(One { process, lines });
    }
    match args.output {
        EnvFormat::Text => text(&all, printer)?,
        EnvFormat::Json => json(&all, target, printer)?,
        EnvFormat::Dotenv | EnvFormat::Null => {
            return Err(CommandError::usage(
                "`--all-processes` prints differences, as text or as JSON",
            )
            .hint("leave out `-o`, or use `-o json`"));
        }
    }
    let complete = all
        .iter()
        .all(|one| one.lines.as_ref().is_ok_and(|lines| !lines.overwritten));
    Ok(ExitStatus::of_comparison(false, complete))
}

impl Lines {
    fn new(environment: &Environment, known: Option<&Attribution>, redactor: Redactor) -> Self {
        let mut entries = BTreeMap::new();
        for (position, entry) in environment.entries.iter().enumerate() {
            let secret = known
                .and_then(|known| known.variables.iter().find(|one| one.entry == position))
                .is_some_and(|one| one.secret);
            let source = if secret {
                Source::Secret
            } else {
                Source::Unknown
            };
            let value = shown_from(environment, entry, redactor, source);
            let value = safe(&value.bytes());
            let (name, line) = if entry.name_length.is_some() {
                let name = BString::from(environment.name(entry));
                let line = format!("{}={value}", safe(&name));
                (name, line)
            } else {
                (environment.bytes(entry).into(), value)
            };
            // `getenv` finds the first of a name.
            entries
                .entry(name)
                .or_insert_with(|| (environment.bytes(entry).into(), line));
        }
        Self {
            entries,
            overwritten: environment.overwritten,
        }
    }

    /// What another one has that this one lacks or has differently, and the reverse; by name, as they are shown.
    fn changes<'a>(&'a self, other: &'a Self) -> Vec<Change<'a>> {
        let names = self.entries.keys().chain(other.entries.keys());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names.dedup();
        let shown = |lines: &'a Self, name| lines.entries.get(name).map(|(_, line)| line.as_str());
        let bytes = |lines: &'a Self, name| lines.entries.get(name).map(|(bytes, _)| bytes);
        names
            .into_iter()
            .filter(|name| bytes(self, *name) != bytes(other, *name))
            .map(|name| Change {
                name: JsonBytes(name),
                first: shown(self, name),
                here: shown(other, name),
            })
            .collect()
    }
}

/// A variable that two processes do not share: each side as it is shown, `null` where it is not set.
#[derive(Serialize)]
struct Change<'a> {
    name: JsonBytes<'a>,
    first: Option<&'a str>,
    here: Option<&'a str>,
}

fn named(process: &Process) -> String {
    format!("{} ({})", process.id.pid, safe(&process.name))
}

fn text(all: &[One<'_>], printer: &mut Printer) -> Result<(), CommandError> {
    let readable = |one: &&One<'_>| one.lines.is_ok();
    let first = all.iter().find(readable);
    for one in all {
        let out = printer.data();
        let heading = named(one.process);
        let written = match (&one.lines, first) {
            (Err(error), _) => writeln!(out, "# {heading}: not readable: {error}"),
            (Ok(lines), Some(first)) if first.process.id == one.process.id => {
                let mut text = String::new();
                for (_, line) in lines.entries.values() {
                    text.push_str(line);
                    text.push('\n');
                }
                write!(out, "# {heading}\n{text}")
            }
            (
                Ok(lines),
                Some(One {
                    process,
                    lines: Ok(of_first),
                }),
            ) => {
                let beside = named(process);
                let changes = of_first.changes(lines);
                if changes.is_empty() {
                    writeln!(out, "# {heading}: the same as {beside}")
                } else {
                    write!(
                        out,
                        "# {heading}: differs from {beside}\n{}",
                        signed(&changes)
                    )
                }
            }
            (Ok(_), _) => Ok(()),
        };
        written.map_err(CommandError::output)?;
        if one.lines.as_ref().is_ok_and(|lines| lines.overwritten) {
            printer.warning(&format!(
                "process {heading} has overwritten its environment: what it lacks may have been there"
            ));
        }
    }
    Ok(())
}

fn signed(changes: &[Change<'_>]) -> String {
    let mut text = String::new();
    for change in changes {
        let is_hidden = change.first == change.here;
        for (sign, side) in [('-', change.first), ('+', change.here)] {
            if let Some(line) = side {
                let note = if is_hidden {
                    "  # differs in what is redacted"
                } else {
                    ""
                };
                text.push_str(&format!("{sign} {line}{note}\n"));
            }
        }
    }
    text
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    process: Subject<'a>,
    processes: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    pid: u32,
    name: JsonBytes<'a>,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    overwritten: bool,
    /// Of the first that could be read; of the others only what differs from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<Change<'a>>>,
}

fn json(all: &[One<'_>], target: &Target, printer: &mut Printer) -> Result<(), CommandError> {
    let first = all
        .iter()
        .find_map(|one| Some((one.process.id, one.lines.as_ref().ok()?)));
    let rows = all.iter().map(|one| {
        let lines = one.lines.as_ref().ok();
        let is_first = first.is_some_and(|(id, _)| id == one.process.id);
        let others = first.zip(lines).filter(|_| !is_first);
        Row {
            pid: one.process.id.pid,
            name: JsonBytes(&one.process.name),
            error: one.lines.as_ref().err().map(ToString::to_string),
            overwritten: lines.is_some_and(|lines| lines.overwritten),
            entries: lines.filter(|_| is_first).map(|lines| {
                lines
                    .entries
                    .values()
                    .map(|(_, line)| line.as_str())
                    .collect()
            }),
            changes: others.map(|((_, first), lines)| first.changes(lines)),
        }
    });
    printer.json(&Report {
        schema: 1,
        process: Subject::new(target),
        processes: rows.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(block: &str) -> Lines {
        Lines::new(&Environment::parse(block), None, Redactor::new(false))
    }

    #[test]
    fn what_a_worker_has_beside_the_first_process_is_signed() {
        let first = lines("A=1\0B=2\0GONE=x\0API_TOKEN=one\0");
        let worker = lines("B=2\0A=1\0RUN_MAIN=true\0API_TOKEN=two\0");
        assert_eq!(
            signed(&first.changes(&worker)),
            "- API_TOKEN=[redacted: 3 bytes]  # differs in what is redacted\n\
             + API_TOKEN=[redacted: 3 bytes]  # differs in what is redacted\n\
             - GONE=x\n\
             + RUN_MAIN=true\n"
        );
        assert!(first.changes(&first).is_empty());
    }
}
