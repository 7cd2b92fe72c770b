//! One command on several pods: asked side by side, identical answers shown once.
//!
//! What differs from pod to pod by nature (its own name, address and ids) is no difference: answers are compared with
//! those put aside, and shown as the first pod of a group gave them.

use std::collections::BTreeMap;

use bstr::ByteSlice as _;
use futures::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    cli::{
        args::{OutputFormat, TargetArgs},
        error::CommandError,
        exit::ExitStatus,
        printer::{Kept, Printer},
    },
    target::{Candidate, Place, Target, Wanted, pod::Described},
};

/// Pods that are asked at once.
const AT_ONCE: usize = 16;

/// What one pod answered.
pub(super) struct Answer {
    /// Its name.
    pub(super) pod: String,
    pub(super) kept: Kept,
    status: ExitStatus,
    /// The answer with what is the pod's own put aside.
    key: Key,
    own: Vec<String>,
}

/// What two pods must have in common to agree.
#[derive(PartialEq, Eq)]
enum Key {
    Bytes(Vec<u8>),
    /// Sorted: their order says nothing.
    Parts(Vec<Vec<u8>>),
}

/// Runs a command on the target, or on each of its pods when all are meant.
pub(super) async fn run(
    args: &TargetArgs,
    format: OutputFormat,
    printer: &mut Printer,
    look: impl AsyncFn(Target, &mut Printer) -> Result<ExitStatus, CommandError>,
) -> Result<ExitStatus, CommandError> {
    if !args.means_all() {
        let target = super::open(args, printer).await?;
        return look(target, printer).await;
    }
    let gathered = gather(
        args,
        printer,
        |_| (),
        async |target, (), printer| look(target, printer).await,
    )
    .await?;
    match format {
        OutputFormat::Text => text(&gathered.groups, printer)?,
        OutputFormat::Json => json(&gathered.groups, &gathered.failed, printer)?,
    }
    gathered.warn(printer);
    gathered.status()
}

/// What all pods answered.
pub(super) struct Gathered {
    /// Those that answered alike together, the largest group first.
    pub(super) groups: Vec<Vec<Answer>>,
    /// Those that have not answered.
    pub(super) failed: Vec<(String, CommandError)>,
}

/// Runs a command on each pod of the target. `prepare` is called when a pod is found, before an agent is beside it, with
/// what the cluster tells of it.
pub(super) async fn gather<P>(
    args: &TargetArgs,
    printer: &Printer,
    prepare: impl Fn(Option<Described>) -> P,
    look: impl AsyncFn(Target, P, &mut Printer) -> Result<ExitStatus, CommandError>,
) -> Result<Gathered, CommandError> {
    let wanted = args.wanted()?;
    let progress = printer.progress(format!("finding the pods of {}", wanted.selector));
    let mut candidates = wanted.candidates().await?;
    candidates.retain(|candidate| match candidate {
        Candidate::Refused(pod) if pod.is_over() => {
            printer.note(&format!("{} (not asked)", pod.error));
            false
        }
        _ => true,
    });
    let count = candidates.len();
    progress.say(format!("asking {count} pods"));
    let printer_of_one = || printer.keeping();
    let mut answers: Vec<_> = stream::iter(candidates.into_iter().enumerate())
        .map(async |(place, candidate)| {
            let name = candidate.name();
            let prepared = prepare(candidate.described());
            let answer = ask(candidate, prepared, &wanted, printer_of_one(), &look).await;
            (place, name, answer)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    drop(progress);
    answers.sort_by_key(|(place, ..)| *place);
    let mut groups: Vec<Vec<Answer>> = Vec::new();
    let mut failed = Vec::new();
    for (_, pod, answer) in answers {
        match answer {
            Ok(answer) => match groups.iter_mut().find(|group| {
                group
                    .first()
                    .is_some_and(|first| first.key == answer.key && first.status == answer.status)
            }) {
                Some(group) => group.push(answer),
                None => groups.push(vec![answer]),
            },
            Err(error) => failed.push((pod, error)),
        }
    }
    // The largest group is what is normal; the rest differs from it.
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    Ok(Gathered { groups, failed })
}

impl Gathered {
    /// Says which pods have not answered.
    pub(super) fn warn(&self, printer: &Printer) {
        for (pod, error) in &self.failed {
            printer.warning(&format!("pod {pod} has not answered: {error}"));
            for hint in error.all_hints() {
                printer.warning(&format!("pod {pod}: {hint}"));
            }
        }
    }

    /// Says what the pods that answered had to warn of.
    pub(super) fn repeat_warnings(&self, printer: &Printer) {
        repeat_warnings(&self.groups, printer);
    }

    /// A finding anywhere is a finding; a pod that has not answered makes the whole incomplete; none at all is an error.
    pub(super) fn status(self) -> Result<ExitStatus, CommandError> {
        status(&self.groups, self.failed)
    }
}

/// One pod's answer.
async fn ask<P>(
    candidate: Candidate,
    prepared: P,
    wanted: &Wanted,
    mut printer: Printer,
    look: &impl AsyncFn(Target, P, &mut Printer) -> Result<ExitStatus, CommandError>,
) -> Result<Answer, CommandError> {
    let target = candidate.open(wanted).await?;
    if let Place::Pod(place) = &target.place {
        super::say_limits(target.process(), place, &printer);
    }
    let own = own_words(&target);
    let pod = target.to_string();
    let status = look(target, prepared, &mut printer).await?;
    let kept = printer.into_kept();
    let key = match (&kept.essence, &kept.unordered) {
        (Some(essence), _) => Key::Bytes(put_aside(essence, &own)),
        (None, None) => Key::Bytes(put_aside(&kept.data, &own)),
        (None, Some(parts)) => {
            let mut parts: Vec<_> = parts.iter().map(|part| put_aside(part, &own)).collect();
            parts.sort();
            Key::Parts(parts)
        }
    };
    Ok(Answer {
        pod,
        kept,
        status,
        key,
        own,
    })
}

pub(super) fn put_aside(bytes: &[u8], own: &[String]) -> Vec<u8> {
    own.iter().fold(bytes.to_vec(), |bytes, word| {
        bytes.replace(word, "\u{0}own\u{0}")
    })
}

/// What is every pod's own: its name, which is also its host name, its uid, its address, and its container's id.
pub(super) fn own_words(target: &Target) -> Vec<String> {
    match &target.place {
        Place::Machine(_) => Vec::new(),
        Place::Pod(place) => [
            &place.pod,
            &place.uid,
            &place.container_id,
            &place.address,
            &place.agent,
        ]
        .into_iter()
        .filter(|word| !word.is_empty())
        .cloned()
        .collect(),
    }
}

fn text(groups: &[Vec<Answer>], printer: &mut Printer) -> Result<(), CommandError> {
    let only = groups.len() == 1;
    for (place, group) in groups.iter().enumerate() {
        let Some(first) = group.first() else {
            continue;
        };
        let names: Vec<_> = group.iter().map(|answer| answer.pod.as_str()).collect();
        let heading = heading(&names, place == 0, only);
        let out = printer.data();
        let gap = if place > 0 { "\n" } else { "" };
        writeln!(out, "{gap}{heading}").map_err(CommandError::output)?;
        match groups.first().and_then(|normal| normal.first()) {
            Some(normal) if place > 0 && matches!(first.key, Key::Parts(_)) => {
                out.write_all(&line_changes(normal, first))
            }
            _ => out.write_all(&first.kept.data),
        }
        .map_err(CommandError::output)?;
    }
    printer.finish()?;
    repeat_warnings(groups, printer);
    Ok(())
}

fn repeat_warnings(groups: &[Vec<Answer>], printer: &Printer) {
    for answer in groups.iter().flatten() {
        for warning in &answer.kept.warnings {
            printer.warning(&format!("pod {}: {warning}", answer.pod));
        }
    }
}

/// The lines of one answer that another one lacks, and the reverse; for answers whose order says nothing.
fn line_changes(normal: &Answer, other: &Answer) -> Vec<u8> {
    let lines = |answer: &Answer| -> BTreeMap<Vec<u8>, Vec<u8>> {
        answer
            .kept
            .data
            .lines_with_terminator()
            .map(|line| (put_aside(line, &answer.own), line.to_vec()))
            .collect()
    };
    let (normal, other) = (lines(normal), lines(other));
    let only = |these: &BTreeMap<Vec<u8>, Vec<u8>>, those: &BTreeMap<Vec<u8>, Vec<u8>>, sign| {
        these
            .iter()
            .filter(|(key, _)| !those.contains_key(*key))
            .flat_map(|(_, line)| [sign, line.as_slice()].concat())
            .collect::<Vec<u8>>()
    };
    let mut changes = only(&normal, &other, b"- ".as_slice());
    changes.extend(only(&other, &normal, b"+ ".as_slice()));
    if changes.is_empty() {
        // The difference is in what is hidden.
        changes.extend_from_slice(b"  (differs only in values that are redacted)\n");
    }
    changes
}

/// The line above a group's answer. `only`: there is no other group.
pub(super) fn heading(pods: &[&str], is_first: bool, only: bool) -> String {
    let names = pods.join(", ");
    match (pods.len(), is_first) {
        (1, true) if only => format!("# 1 pod: {names}"),
        (1, true) => format!("# {names}"),
        (1, false) => format!("# {names} differs"),
        (count, true) => format!("# {count} pods agree: {names}"),
        (count, false) => format!("# {count} pods differ: {names}"),
    }
}

/// All answers as JSON.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    groups: Vec<GroupRow<'a>>,
    failed: Vec<FailedRow<'a>>,
}

/// Pods with the same answer, and that answer as the first of them gave it.
#[derive(Serialize)]
struct GroupRow<'a> {
    pods: Vec<&'a str>,
    report: Box<RawValue>,
}

/// A pod that has not answered.
#[derive(Serialize)]
struct FailedRow<'a> {
    pod: &'a str,
    error: String,
}

fn json(
    groups: &[Vec<Answer>],
    failed: &[(String, CommandError)],
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let mut rows = Vec::with_capacity(groups.len());
    for group in groups {
        let Some(first) = group.first() else {
            continue;
        };
        let text = String::from_utf8_lossy(&first.kept.data).into_owned();
        rows.push(GroupRow {
            pods: group.iter().map(|answer| answer.pod.as_str()).collect(),
            report: RawValue::from_string(text).map_err(CommandError::internal)?,
        });
    }
    printer.json(&Report {
        schema: 1,
        groups: rows,
        failed: failed
            .iter()
            .map(|(pod, error)| FailedRow {
                pod,
                error: error.to_string(),
            })
            .collect(),
    })
}

fn status(
    groups: &[Vec<Answer>],
    failed: Vec<(String, CommandError)>,
) -> Result<ExitStatus, CommandError> {
    let mut statuses = groups.iter().flatten().map(|answer| answer.status);
    if groups.is_empty() {
        return match failed.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(ExitStatus::Complete),
        };
    }
    let found = statuses.clone().any(|status| status == ExitStatus::Found);
    let complete = failed.is_empty() && statuses.all(|status| status != ExitStatus::Incomplete);
    Ok(ExitStatus::of_comparison(found, complete))
}
