//! A verdict, as text for people and as JSON for programs.

use std::fmt::Write as _;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::{JsonBytes, safe};
use crate::evidence::findings::{
    Confidence, Finding, Next, RuledOut, Severity, Source, Unchecked, Verdict,
};

/// The version of the JSON; a field that changes its meaning raises it.
pub(crate) const SCHEMA: u32 = 1;

/// Sets a verdict for people: the causes, what else is true, what was ruled out, what was not checked.
#[must_use]
pub fn text(verdict: &Verdict) -> String {
    let mut out = String::new();
    match verdict.causes.as_slice() {
        [] if verdict.listed.is_empty() => out.push_str("nothing found\n"),
        [] => out.push_str("no cause found\n"),
        causes => {
            for (position, cause) in causes.iter().enumerate() {
                if position > 0 {
                    out.push('\n');
                }
                finding(&mut out, cause);
            }
        }
    }
    section(
        &mut out,
        "also true, and not to blame as far as can be told:",
        &verdict.listed,
        |out, one| {
            let _ = writeln!(out, "  {} [{}]", safe(&one.cause), one.id.as_str());
            facts(out, one, "    ");
            next(out, &one.next, "    ");
        },
    );
    section(&mut out, "ruled out:", &verdict.ruled_out, |out, one| {
        let _ = writeln!(
            out,
            "  {}: {}",
            safe(one.what.as_bytes()),
            safe(one.because.as_bytes())
        );
    });
    section(&mut out, "not checked:", &verdict.unchecked, |out, one| {
        let _ = writeln!(
            out,
            "  {}: {}",
            safe(one.what.as_bytes()),
            safe(one.why.as_bytes())
        );
    });
    out
}

fn section<T>(out: &mut String, heading: &str, rows: &[T], each: impl Fn(&mut String, &T)) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{heading}");
    for row in rows {
        each(out, row);
    }
}

fn finding(out: &mut String, one: &Finding) {
    let _ = writeln!(out, "cause: {}", safe(&one.cause));
    let _ = writeln!(
        out,
        "  {}, {} [{}]",
        severity(one.severity),
        confidence(one.confidence),
        one.id.as_str()
    );
    out.push_str("evidence:\n");
    facts(out, one, "  ");
    if !one.refuted_by.is_empty() {
        let _ = writeln!(out, "wrong if: {}", safe(one.refuted_by.as_bytes()));
    }
    if !one.next.is_empty() {
        out.push_str("next:\n");
        next(out, &one.next, "  ");
    }
}

fn facts(out: &mut String, one: &Finding, indent: &str) {
    for fact in &one.facts {
        let _ = writeln!(
            out,
            "{indent}{} ({})",
            safe(&fact.text),
            place(&fact.source)
        );
    }
}

fn next(out: &mut String, steps: &[Next], indent: &str) {
    for step in steps {
        let _ = writeln!(out, "{indent}{}", safe(step.what.as_bytes()));
        if !step.command.is_empty() {
            let _ = writeln!(out, "{indent}  {}", safe(&step.command));
        }
    }
}

/// Where a fact is from, for people.
pub(super) fn place(source: &Source) -> String {
    match source {
        Source::Environ => "environ of the process".to_owned(),
        Source::Code { path, line } => format!("{}:{line}", safe(path)),
        Source::File(path) => safe(path),
        Source::Spec => "the container's spec".to_owned(),
        Source::Object(name) => safe(name.as_bytes()),
        Source::Git(name) => format!("git {}", safe(name.as_bytes())),
        Source::Status => "the pods' status".to_owned(),
        Source::Probe => "tried in the pod".to_owned(),
        Source::Sockets => "the kernel's sockets".to_owned(),
    }
}

pub(super) const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "high",
        Severity::Medium => "medium",
        Severity::Low => "low",
    }
}

pub(super) const fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Certain => "certain",
        Confidence::Likely => "likely",
        Confidence::Possible => "possible",
    }
}

/// A verdict as JSON. Bytes that are no text are `{"base64": …}`, so nothing is lost and nothing steers a terminal.
#[derive(Clone, Copy)]
pub struct JsonVerdict<'a>(pub &'a Verdict);

impl Serialize for JsonVerdict<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let verdict = self.0;
        let mut fields = serializer.serialize_struct("Verdict", 5)?;
        fields.serialize_field("schema", &SCHEMA)?;
        fields.serialize_field("causes", &findings(&verdict.causes))?;
        fields.serialize_field("listed", &findings(&verdict.listed))?;
        fields.serialize_field(
            "ruled_out",
            &verdict
                .ruled_out
                .iter()
                .map(JsonPair::from)
                .collect::<Vec<_>>(),
        )?;
        fields.serialize_field(
            "not_checked",
            &verdict
                .unchecked
                .iter()
                .map(JsonPair::from)
                .collect::<Vec<_>>(),
        )?;
        fields.end()
    }
}

/// Findings as JSON, for a report that has more than a verdict.
pub fn findings(all: &[Finding]) -> Vec<JsonFinding<'_>> {
    all.iter().map(JsonFinding).collect()
}

/// A finding as JSON, as a verdict has it.
pub struct JsonFinding<'a>(&'a Finding);

impl Serialize for JsonFinding<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let one = self.0;
        let facts: Vec<_> = one
            .facts
            .iter()
            .map(|fact| JsonFact {
                fact: JsonBytes(&fact.text),
                source: JsonSource(&fact.source),
            })
            .collect();
        let next: Vec<_> = one
            .next
            .iter()
            .map(|step| JsonNext {
                what: &step.what,
                command: (!step.command.is_empty()).then(|| JsonBytes(&step.command)),
            })
            .collect();
        let mut fields = serializer.serialize_struct("Finding", 8)?;
        fields.serialize_field("id", &one.id)?;
        fields.serialize_field("about", &JsonBytes(&one.about))?;
        fields.serialize_field("severity", &one.severity)?;
        fields.serialize_field("confidence", &one.confidence)?;
        fields.serialize_field("cause", &JsonBytes(&one.cause))?;
        fields.serialize_field("facts", &facts)?;
        fields.serialize_field("refuted_by", &one.refuted_by)?;
        fields.serialize_field("next", &next)?;
        fields.end()
    }
}

#[derive(Serialize)]
struct JsonFact<'a> {
    fact: JsonBytes<'a>,
    source: JsonSource<'a>,
}

#[derive(Serialize)]
struct JsonNext<'a> {
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<JsonBytes<'a>>,
}

/// Something with its reason.
#[derive(Serialize)]
struct JsonPair<'a> {
    what: &'a str,
    because: &'a str,
}

impl<'a> From<&'a RuledOut> for JsonPair<'a> {
    fn from(one: &'a RuledOut) -> Self {
        Self {
            what: &one.what,
            because: &one.because,
        }
    }
}

impl<'a> From<&'a Unchecked> for JsonPair<'a> {
    fn from(one: &'a Unchecked) -> Self {
        Self {
            what: &one.what,
            because: &one.why,
        }
    }
}

/// `{"kind": "code", "path": …, "line": …}`
struct JsonSource<'a>(&'a Source);

impl Serialize for JsonSource<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Source", 3)?;
        let kind = match self.0 {
            Source::Environ => "environ",
            Source::Code { .. } => "code",
            Source::File(_) => "file",
            Source::Spec => "spec",
            Source::Object(_) => "object",
            Source::Git(_) => "git",
            Source::Status => "status",
            Source::Probe => "probe",
            Source::Sockets => "sockets",
        };
        fields.serialize_field("kind", kind)?;
        match self.0 {
            Source::Code { path, line } => {
                fields.serialize_field("path", &JsonBytes(path))?;
                fields.serialize_field("line", line)?;
            }
            Source::File(path) => fields.serialize_field("path", &JsonBytes(path))?,
            Source::Object(name) | Source::Git(name) => fields.serialize_field("name", name)?,
            Source::Environ | Source::Spec | Source::Status | Source::Probe | Source::Sockets => {}
        }
        fields.end()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::evidence::findings::{Fact, Id};

    /// A verdict with one of everything.
    pub(in crate::render) fn example(name: &str) -> Verdict {
        let finding = Finding {
            id: Id::ServiceLinkCollision,
            about: name.into(),
            severity: Severity::High,
            confidence: Confidence::Certain,
            cause: format!("the code takes {name} for a port's number").into(),
            facts: vec![
                Fact {
                    text: format!("{name}=tcp://10.0.0.7:9080").into(),
                    source: Source::Environ,
                },
                Fact {
                    text: format!("the code reads {name}").into(),
                    source: Source::Code {
                        path: format!("/app/{name}.py").into(),
                        line: 66,
                    },
                },
            ],
            refuted_by: "the code accepts a URL".to_owned(),
            next: vec![Next {
                what: "set the variable".to_owned(),
                command: format!("kubectl set env deploy/a {name}=9080").into(),
            }],
        };
        let listed = Finding {
            id: Id::Drift,
            cause: "the running code differs from master in 2 files of 20".into(),
            severity: Severity::Low,
            facts: Vec::new(),
            next: Vec::new(),
            ..finding.clone()
        };
        Verdict {
            causes: vec![finding],
            listed: vec![listed],
            ruled_out: vec![RuledOut {
                what: "the network to reviews:9080".to_owned(),
                because: "the pod connects to it".to_owned(),
            }],
            unchecked: vec![Unchecked {
                what: format!("what a restart makes of {name}"),
                why: "Secret a: forbidden".to_owned(),
            }],
        }
    }

    #[test]
    fn a_verdict_reads_from_the_cause_to_what_was_not_checked() {
        assert_snapshot!(text(&example("REVIEWS_PORT")), @r"
        cause: the code takes REVIEWS_PORT for a port's number
          high, certain [env.service-link-collision]
        evidence:
          REVIEWS_PORT=tcp://10.0.0.7:9080 (environ of the process)
          the code reads REVIEWS_PORT (/app/REVIEWS_PORT.py:66)
        wrong if: the code accepts a URL
        next:
          set the variable
            kubectl set env deploy/a REVIEWS_PORT=9080

        also true, and not to blame as far as can be told:
          the running code differs from master in 2 files of 20 [src.drift]

        ruled out:
          the network to reviews:9080: the pod connects to it

        not checked:
          what a restart makes of REVIEWS_PORT: Secret a: forbidden
        ");
        assert_eq!(text(&Verdict::default()), "nothing found\n");
    }

    #[test]
    fn json_has_ids_and_sources_for_programs() {
        let json = serde_json::to_value(JsonVerdict(&example("REVIEWS_PORT"))).unwrap();
        assert_eq!(json["schema"], 1);
        let cause = &json["causes"][0];
        assert_eq!(cause["id"], "env.service-link-collision");
        assert_eq!(
            (cause["severity"].as_str(), cause["confidence"].as_str()),
            (Some("high"), Some("certain"))
        );
        assert_eq!(
            cause["facts"][1]["source"],
            serde_json::json!({"kind": "code", "path": "/app/REVIEWS_PORT.py", "line": 66})
        );
        assert_eq!(
            cause["next"][0]["command"],
            "kubectl set env deploy/a REVIEWS_PORT=9080"
        );
        assert_eq!(json["not_checked"][0]["because"], "Secret a: forbidden");
    }

    #[test]
    fn what_a_target_names_steers_no_terminal() {
        let hostile = text(&example("\u{1b}]0;pwn\u{7}\n\u{202e}"));
        assert!(
            hostile.chars().all(|one| one == '\n' || !one.is_control()),
            "{hostile}"
        );
        assert!(!hostile.contains('\u{202e}'));
        // A name cannot make lines of its own.
        assert_eq!(hostile.lines().count(), text(&example("X")).lines().count());
    }
}
