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
    /// What it comes to, sorted.
    Outline(Vec<Vec<u8>>),
}

/// Runs a command on the target, or on each of its pods when all are meant.
pub(super) async fn run(
    args: &TargetArgs,
    format: OutputFormat,
    printer: &mut Printer,
    look: impl AsyncFn(Target, &mut Printer) -> Result<ExitStatus, CommandError>,
) -> Result<ExitStatus, CommandError> {
    let look = async |target, (), printer: &mut Printer| look(target, printer).await;
    run_prepared(args, format, printer, |_| (), look).await
}

/// The same. `prepare` is called when a pod is found, before an agent is beside it, with what the cluster tells of it.
pub(super) async fn run_prepared<P>(
    args: &TargetArgs,
    format: OutputFormat,
    printer: &mut Printer,
    prepare: impl Fn(Option<Described>) -> P,
    look: impl AsyncFn(Target, P, &mut Printer) -> Result<ExitStatus, CommandError>,
) -> Result<ExitStatus, CommandError> {
    if !args.means_all() {
        let (target, prepared) = super::open_prepared(args, printer, prepare).await?;
        return look(target, prepared, printer).await;
    }
    let gathered = gather(args, printer, prepare, look).await?;
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

/// Runs a command on each pod of the target; for `prepare` see [`run_prepared`].
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
            Ok(answer) => add(&mut groups, answer),
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
    let key = key(&kept, &own);
    Ok(Answer {
        pod,
        kept,
        status,
        key,
        own,
    })
}

/// By what an answer is compared.
fn key(kept: &Kept, own: &[String]) -> Key {
    let sorted = |parts: &mut dyn Iterator<Item = &[u8]>| {
        let mut parts: Vec<_> = parts.map(|part| put_aside(part, own)).collect();
        parts.sort();
        parts
    };
    match (&kept.outline, &kept.essence, &kept.unordered) {
        (Some(lines), ..) => Key::Outline(sorted(&mut lines.iter().map(String::as_bytes))),
        (None, Some(essence), _) => Key::Bytes(put_aside(essence, own)),
        (None, None, Some(parts)) => Key::Parts(sorted(&mut parts.iter().map(Vec::as_slice))),
        (None, None, None) => Key::Bytes(put_aside(&kept.data, own)),
    }
}

/// Puts an answer to those that agree with it.
fn add(groups: &mut Vec<Vec<Answer>>, answer: Answer) {
    let agrees = |group: &&mut Vec<Answer>| {
        let first = group.first();
        first.is_some_and(|first| first.key == answer.key && first.status == answer.status)
    };
    match groups.iter_mut().find(agrees) {
        Some(group) => group.push(answer),
        None => groups.push(vec![answer]),
    }
}

/// Replaces the pod's own words. A word is replaced where it stands by itself: the pod `web-1` is not in `web-10`, nor
/// its address in a longer one; and the pod `web` is not the folder of `/srv/web/app.js`, which all replicas have.
pub(super) fn put_aside(bytes: &[u8], own: &[String]) -> Vec<u8> {
    own.iter().fold(bytes.to_vec(), |bytes, word| {
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while let Some(at) = rest.find(word) {
            let (before, found) = rest.split_at(at);
            let after = found.get(word.len()..).unwrap_or_default();
            out.extend_from_slice(before);
            if stands_alone(&out, word, after) {
                out.extend_from_slice(b"\0own\0");
            } else {
                out.extend_from_slice(word.as_bytes());
            }
            rest = after;
        }
        out.extend_from_slice(rest);
        out
    })
}

fn stands_alone(before: &[u8], word: &str, after: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    if before.last().is_some_and(is_part) || after.first().is_some_and(is_part) {
        return false;
    }
    // A name that is an ordinary word may be that of a folder too; one with a number or an id in it is not.
    let is_ordinary = word.bytes().all(|byte| byte.is_ascii_lowercase());
    !(is_ordinary && before.ends_with(b"/") && !before.ends_with(b"pod/"))
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
            Some(normal) if place > 0 && !matches!(first.key, Key::Bytes(_)) => {
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
        let outline = answer.kept.outline.as_ref().map(|lines| {
            let lines = lines.iter().map(|line| format!("{line}\n"));
            lines.collect::<String>().into_bytes()
        });
        outline
            .as_deref()
            .unwrap_or(&answer.kept.data)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(pod: &str, data: &str, outline: &[&str]) -> Answer {
        let kept = Kept {
            data: data.into(),
            outline: Some(outline.iter().map(|line| (*line).to_owned()).collect()),
            ..Kept::default()
        };
        let own = vec![pod.to_owned()];
        Answer {
            pod: pod.to_owned(),
            key: key(&kept, &own),
            kept,
            status: ExitStatus::Complete,
            own,
        }
    }

    #[test]
    fn pods_agree_in_what_their_answers_come_to_and_differ_in_its_lines() {
        let mut groups = Vec::new();
        for one in [
            answer("web-1", "age 1 s\n", &["listens on :80", "I am web-1"]),
            answer("web-2", "age 2 s\n", &["I am web-2", "listens on :80"]),
            answer("web-3", "age 3 s\n", &["listens on :81", "I am web-3"]),
        ] {
            add(&mut groups, one);
        }
        let pods: Vec<Vec<_>> = groups
            .iter()
            .map(|group| group.iter().map(|one| one.pod.as_str()).collect())
            .collect();
        assert_eq!(pods, [vec!["web-1", "web-2"], vec!["web-3"]]);
        let changes = line_changes(&groups[0][0], &groups[1][0]);
        assert_eq!(
            String::from_utf8(changes).unwrap(),
            "- listens on :80\n+ listens on :81\n"
        );
    }

    #[test]
    fn another_status_is_another_answer() {
        let mut groups = Vec::new();
        add(&mut groups, answer("web-1", "", &[]));
        let mut other = answer("web-2", "", &[]);
        other.status = ExitStatus::Found;
        add(&mut groups, other);
        assert_eq!(groups.len(), 2);
    }

    fn aside(text: &str, own: &[&str]) -> String {
        let own: Vec<String> = own.iter().map(|word| (*word).to_owned()).collect();
        let put = put_aside(text.as_bytes(), &own);
        String::from_utf8_lossy(&put).replace("\0own\0", "*")
    }

    #[test]
    fn the_pods_own_name_and_address_are_put_aside_wherever_they_stand() {
        for (text, wanted) in [
            ("pod/web-1: ok", "pod/*: ok"),
            ("web-1", "*"),
            ("HOSTNAME=web-1\n", "HOSTNAME=*\n"),
            ("web-1.web.shop.svc", "*.web.shop.svc"),
            ("/var/log/web-1.log", "/var/log/*.log"),
            ("\"10.0.0.1:8080\"", "\"*:8080\""),
            ("web-1 web-1", "* *"),
        ] {
            assert_eq!(aside(text, &["web-1", "10.0.0.1"]), wanted);
        }
    }

    #[test]
    fn a_longer_word_with_the_pods_own_in_it_is_another_one() {
        for text in [
            "web-10",
            "my-web-1",
            "web-1-old",
            "10.0.0.12",
            "110.0.0.1",
            "/srv/web/app.js",
        ] {
            assert_eq!(aside(text, &["web-1", "10.0.0.1", "web"]), text);
        }
        assert_eq!(aside("pod/web on web", &["web"]), "pod/* on *");
    }
}
