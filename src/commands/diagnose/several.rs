//! The pods of a target, each looked at; those with the same verdict together.
//!
//! What all of them share, as that their images differ, is said once, above.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    DiagnoseArgs, Format,
    bundle::{self, Report},
    look::{Opening, look},
    made_by,
    raw::Raw,
    status,
};
use crate::{
    cli::{error::CommandError, exit::ExitStatus, printer::Printer},
    commands::{fan_out, subject::Subject},
    evidence::findings::{Finding, Id, Source, Verdict},
    extract::Destination,
    render::{
        findings::{JsonVerdict, SCHEMA, text},
        report::Section,
        safe,
        saved::{Saved, SavedError},
    },
    target::Place,
};

/// Looks at all pods of the target.
pub(super) async fn run(
    args: &DiagnoseArgs,
    reference: &Opening,
    destination: Option<&Destination>,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let shared = Mutex::new(Verdict::default());
    let raw = Mutex::new(Raw::new());
    let made_by = made_by();
    let gathered = fan_out::gather(
        &args.target,
        printer,
        |found| args.early(found),
        async |target, early, printer| {
            let named = target.to_string();
            let progress = printer.progress("looking");
            let looking = look(args, reference, &target, early, &named, &progress);
            let verdict = Box::pin(looking).await;
            let status = verdict.and_then(|(mut verdict, files)| {
                let folder = match &target.place {
                    // Only there can two pods have one name.
                    Place::Pod(place) if args.target.cluster.all_namespaces => {
                        format!("{}/{named}", place.namespace)
                    }
                    _ => named.clone(),
                };
                let files = files.into_iter();
                let files = files.map(|(name, content)| (format!("{folder}/{name}"), content));
                raw.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(files);
                let status = status(&verdict);
                take_shared(
                    &mut verdict,
                    &mut shared.lock().unwrap_or_else(PoisonError::into_inner),
                );
                printer.compare_as(essence(&verdict));
                printer.json(&Report {
                    verdict: JsonVerdict(&verdict),
                    target: &named,
                    made_by: &made_by,
                    process: Subject::new(&target),
                })?;
                Ok(status)
            });
            target.close().await;
            status
        },
    )
    .await?;
    let several = Several::of(args.target.named(), made_by, &shared, &gathered)?;
    if let Some(destination) = destination {
        bundle::write(
            destination,
            &several.file,
            &several.text(),
            &several.html()?,
            raw.into_inner().unwrap_or_else(PoisonError::into_inner),
        )?;
        printer.note(&format!("saved in {}", destination.path().display()));
    }
    several.print(args.output, printer)?;
    gathered.repeat_warnings(printer);
    gathered.warn(printer);
    gathered.status()
}

/// Moves what is about all pods to where that is said, once.
fn take_shared(verdict: &mut Verdict, shared: &mut Verdict) {
    let is_shared = |one: &Finding| one.id == Id::ReplicasDiffer;
    for (from, to) in [
        (&mut verdict.causes, &mut shared.causes),
        (&mut verdict.listed, &mut shared.listed),
    ] {
        for one in from.extract_if(.., |one| is_shared(one)) {
            if !to.iter().any(|other| other.about == one.about) {
                to.push(one);
            }
        }
    }
}

/// What two verdicts must have in common to be one: all but what was tried or counted, whose numbers are never the same.
fn essence(verdict: &Verdict) -> Vec<u8> {
    let mut verdict = verdict.clone();
    for one in verdict.causes.iter_mut().chain(&mut verdict.listed) {
        one.facts.retain(|fact| {
            !matches!(
                fact.source,
                Source::Probe | Source::Sockets | Source::File(_)
            )
        });
    }
    for one in &mut verdict.ruled_out {
        one.because.clear();
    }
    text(&verdict).into_bytes()
}

/// What several pods answered.
pub(super) struct Several {
    file: File,
    together: Verdict,
    verdicts: Vec<Verdict>,
}

/// The same as JSON.
#[derive(Serialize, Deserialize)]
struct File {
    schema: u32,
    target: String,
    made_by: String,
    /// What is about all of them.
    together: Box<RawValue>,
    groups: Vec<Group>,
    failed: Vec<Failed>,
}

/// Pods with the same verdict, and the report of the first of them.
#[derive(Serialize, Deserialize)]
struct Group {
    pods: Vec<String>,
    report: Box<RawValue>,
}

/// A pod that has not answered.
#[derive(Serialize, Deserialize)]
struct Failed {
    pod: String,
    error: String,
}

impl Several {
    fn of(
        target: String,
        made_by: String,
        shared: &Mutex<Verdict>,
        gathered: &fan_out::Gathered,
    ) -> Result<Self, CommandError> {
        let together = std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
        let report = Report {
            verdict: JsonVerdict(&together),
            target: &target,
            made_by: &made_by,
            process: (),
        };
        let raw = serde_json::value::to_raw_value(&report).map_err(CommandError::internal)?;
        let mut groups = Vec::new();
        for group in &gathered.groups {
            let Some(first) = group.first() else {
                continue;
            };
            let report = String::from_utf8_lossy(&first.kept.data).into_owned();
            groups.push(Group {
                pods: group.iter().map(|answer| answer.pod.clone()).collect(),
                report: RawValue::from_string(report).map_err(CommandError::internal)?,
            });
        }
        let failed = gathered.failed.iter().map(|(pod, error)| Failed {
            pod: pod.clone(),
            error: error.to_string(),
        });
        Self::read(File {
            schema: SCHEMA,
            target,
            made_by,
            together: raw,
            groups,
            failed: failed.collect(),
        })
        .map_err(CommandError::internal)
    }

    /// Reads what was saved; `None` when it is not of several pods.
    pub(super) fn parse(text: &str) -> Option<Result<Self, SavedError>> {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(rename = "groups")]
            _groups: Vec<serde::de::IgnoredAny>,
        }
        serde_json::from_str::<Kind>(text).ok()?;
        Some(
            serde_json::from_str(text)
                .map_err(SavedError::from)
                .and_then(Self::read),
        )
    }

    fn read(file: File) -> Result<Self, SavedError> {
        if file.schema != SCHEMA {
            return Err(SavedError::Schema(file.schema));
        }
        let verdict = |report: &RawValue| Saved::parse(report.get()).map(|saved| saved.verdict);
        let verdicts = file.groups.iter().map(|group| verdict(&group.report));
        Ok(Self {
            together: verdict(&file.together)?,
            verdicts: verdicts.collect::<Result<_, _>>()?,
            file,
        })
    }

    pub(super) fn names(&self) -> (&str, &str) {
        (&self.file.target, &self.file.made_by)
    }

    /// The exit code that the verdicts ask for.
    pub(super) fn status(&self) -> ExitStatus {
        let all = || self.verdicts.iter().chain([&self.together]);
        ExitStatus::of_comparison(
            all().any(Verdict::is_found),
            self.file.failed.is_empty() && all().all(Verdict::is_complete),
        )
    }

    /// Prints them.
    pub(super) fn print(&self, format: Format, printer: &mut Printer) -> Result<(), CommandError> {
        let page = match format {
            Format::Text => self.text(),
            Format::Json => return printer.json(&self.file),
            Format::Html => self.html()?,
        };
        printer
            .data()
            .write_all(page.as_bytes())
            .map_err(CommandError::output)
    }

    /// What stands above each verdict, and the verdict.
    fn sections(&self) -> Vec<(String, &Verdict)> {
        let is_only = self.verdicts.len() == 1;
        let groups = self.file.groups.iter().zip(&self.verdicts);
        let groups = groups.enumerate().map(|(place, (group, verdict))| {
            let names: Vec<_> = group.pods.iter().map(String::as_str).collect();
            let heading = fan_out::heading(&names, place == 0, is_only);
            (safe(heading.trim_start_matches("# ").as_bytes()), verdict)
        });
        let together = self.together.is_found().then_some(&self.together);
        let together = together.map(|verdict| ("all pods together".to_owned(), verdict));
        together.into_iter().chain(groups).collect()
    }

    fn text(&self) -> String {
        let sections = self.sections();
        let mut parts: Vec<_> = sections
            .iter()
            .map(|(heading, verdict)| format!("# {heading}\n{}", text(verdict)))
            .collect();
        for Failed { pod, error } in &self.file.failed {
            parts.push(format!(
                "# {} has not answered\n{}\n",
                safe(pod.as_bytes()),
                safe(error.as_bytes())
            ));
        }
        parts.join("\n")
    }

    fn html(&self) -> Result<String, CommandError> {
        let sections = self.sections();
        let mut sections: Vec<_> = sections
            .iter()
            .map(|(heading, verdict)| Section {
                heading: Some(heading),
                verdict,
            })
            .collect();
        let failed: Vec<_> = self
            .file
            .failed
            .iter()
            .map(|Failed { pod, error }| (format!("{pod} has not answered"), error))
            .collect();
        let failures: Vec<_> = failed
            .iter()
            .map(|(heading, error)| {
                let verdict = Verdict {
                    unchecked: vec![crate::evidence::findings::Unchecked {
                        what: "this pod".to_owned(),
                        why: (*error).clone(),
                    }],
                    ..Verdict::default()
                };
                (heading, verdict)
            })
            .collect();
        sections.extend(failures.iter().map(|(heading, verdict)| Section {
            heading: Some(heading),
            verdict,
        }));
        bundle::html(&sections, &self.file.target, &self.file.made_by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::findings::{Confidence, Fact, RuledOut, Severity};

    fn finding(id: Id, about: &str, text: &str, source: Source) -> Finding {
        Finding {
            id,
            about: about.into(),
            severity: Severity::Medium,
            confidence: Confidence::Certain,
            cause: format!("{about} is wrong").into(),
            facts: vec![Fact {
                text: text.into(),
                source,
            }],
            refuted_by: String::new(),
            next: Vec::new(),
        }
    }

    fn verdict(milliseconds: &str) -> Verdict {
        let tried = format!("it answers in {milliseconds}");
        Verdict {
            causes: vec![finding(Id::Stale, "LEVEL", &tried, Source::Probe)],
            listed: vec![finding(
                Id::ReplicasDiffer,
                "deploy/page",
                "two digests",
                Source::Status,
            )],
            ruled_out: vec![RuledOut {
                what: "the network".to_owned(),
                because: tried,
            }],
            ..Verdict::default()
        }
    }

    #[test]
    fn what_was_measured_parts_no_pods_and_what_is_true_does() {
        assert_eq!(essence(&verdict("5 ms")), essence(&verdict("7 ms")));
        let mut other = verdict("5 ms");
        other.causes[0].about = "COLOUR".into();
        other.causes[0].cause = "COLOUR is wrong".into();
        assert_ne!(essence(&verdict("5 ms")), essence(&other));
        let mut other = verdict("5 ms");
        other.ruled_out.clear();
        assert_ne!(essence(&verdict("5 ms")), essence(&other));
    }

    #[test]
    fn what_is_about_all_pods_is_said_once() {
        let (mut one, mut two) = (verdict("1 ms"), verdict("2 ms"));
        let mut shared = Verdict::default();
        take_shared(&mut one, &mut shared);
        take_shared(&mut two, &mut shared);
        assert!(one.listed.is_empty() && two.listed.is_empty());
        assert_eq!(shared.listed.len(), 1);
    }

    #[test]
    fn what_was_saved_of_several_pods_is_read_back() {
        let report = |verdict: &Verdict| {
            serde_json::value::to_raw_value(&Report {
                verdict: JsonVerdict(verdict),
                target: "deploy/page",
                made_by: "kdbg 1, today",
                process: (),
            })
            .unwrap()
        };
        let shared = Verdict {
            listed: verdict("1 ms").listed,
            ..Verdict::default()
        };
        let group = |pods: &[&str], verdict: &Verdict| Group {
            pods: pods.iter().map(|&pod| pod.to_owned()).collect(),
            report: report(verdict),
        };
        let own = Verdict {
            listed: Vec::new(),
            ..verdict("1 ms")
        };
        let several = Several::read(File {
            schema: SCHEMA,
            target: "deploy/page".to_owned(),
            made_by: "kdbg 1, today".to_owned(),
            together: report(&shared),
            groups: vec![group(&["a", "b"], &own), group(&["c"], &Verdict::default())],
            failed: vec![Failed {
                pod: "d".to_owned(),
                error: "no agent".to_owned(),
            }],
        })
        .unwrap();
        let text = several.text();
        let headings: Vec<_> = text.lines().filter(|line| line.starts_with("# ")).collect();
        assert_eq!(
            headings,
            [
                "# all pods together",
                "# 2 pods agree: a, b",
                "# c differs",
                "# d has not answered"
            ]
        );
        assert_eq!(several.status(), ExitStatus::Found);
        let page = several.html().unwrap();
        assert_eq!(page.matches("two digests").count(), 1);
        assert!(page.contains("no agent"));
        let kept = serde_json::to_string(&several.file).unwrap();
        let read = Several::parse(&kept).unwrap().unwrap();
        assert_eq!(read.text(), text);
        assert!(Several::parse(report(&own).get()).is_none());
    }
}
