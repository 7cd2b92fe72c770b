//! A verdict as one HTML file that needs nothing else, to attach to an incident.
//!
//! Everything in it may be a target's: the template escapes all of it, control characters are shown as elsewhere, and
//! the page forbids scripts and loading by its own policy, should an escape ever be missing.

use minijinja::{AutoEscape, Environment, value::Serde};
use serde::Serialize;

use super::{
    findings::{confidence, place, severity},
    safe,
};
use crate::evidence::findings::{Finding, Verdict};

/// A verdict with what stands above it, when there are several.
pub struct Section<'a> {
    /// The pods that it is of; none when it is the only one.
    pub heading: Option<&'a str>,
    /// What was found.
    pub verdict: &'a Verdict,
}

/// Makes the report. `title` names the target, `made_by` the program and the time.
///
/// An error is one in the template, which is part of the program: a bug, and no fault of what is put into it.
pub fn html(
    sections: &[Section<'_>],
    title: &str,
    made_by: &str,
) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let report = Report {
        title: safe(title.as_bytes()),
        made_by: safe(made_by.as_bytes()),
        sections: sections.iter().map(part).collect(),
    };
    environment.render_str(include_str!("report.html"), Serde(&report))
}

fn part(section: &Section<'_>) -> Part {
    let verdict = section.verdict;
    Part {
        heading: section.heading.map(|heading| safe(heading.as_bytes())),
        causes: verdict.causes.iter().map(Row::of).collect(),
        listed: verdict.listed.iter().map(Row::of).collect(),
        ruled_out: pairs(
            verdict
                .ruled_out
                .iter()
                .map(|one| (&one.what, &one.because)),
        ),
        unchecked: pairs(verdict.unchecked.iter().map(|one| (&one.what, &one.why))),
    }
}

#[derive(Serialize)]
struct Report {
    title: String,
    made_by: String,
    sections: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    heading: Option<String>,
    causes: Vec<Row>,
    listed: Vec<Row>,
    ruled_out: Vec<Pair>,
    unchecked: Vec<Pair>,
}

#[derive(Serialize)]
struct Row {
    id: &'static str,
    severity: &'static str,
    confidence: &'static str,
    cause: String,
    facts: Vec<FactRow>,
    refuted_by: String,
    next: Vec<Step>,
}

#[derive(Serialize)]
struct FactRow {
    text: String,
    source: String,
}

#[derive(Serialize)]
struct Step {
    what: String,
    command: String,
}

#[derive(Serialize)]
struct Pair {
    what: String,
    because: String,
}

impl Row {
    fn of(one: &Finding) -> Self {
        Self {
            id: one.id.as_str(),
            severity: severity(one.severity),
            confidence: confidence(one.confidence),
            cause: safe(&one.cause),
            facts: one
                .facts
                .iter()
                .map(|fact| FactRow {
                    text: safe(&fact.text),
                    source: place(&fact.source),
                })
                .collect(),
            refuted_by: safe(one.refuted_by.as_bytes()),
            next: one
                .next
                .iter()
                .map(|step| Step {
                    what: safe(step.what.as_bytes()),
                    command: safe(&step.command),
                })
                .collect(),
        }
    }
}

fn pairs<'a>(rows: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<Pair> {
    rows.map(|(what, because)| Pair {
        what: safe(what.as_bytes()),
        because: safe(because.as_bytes()),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::render::findings::tests::example;

    fn made(verdict: &Verdict, title: &str, made_by: &str) -> String {
        let section = Section {
            heading: Some(title),
            verdict,
        };
        html(&[section], title, made_by).unwrap()
    }

    /// The page without what the template itself has: only that may have tags.
    fn tags(page: &str) -> Vec<&str> {
        let mut tags: Vec<_> = page
            .split('<')
            .skip(1)
            .map(|rest| rest.split(['>', ' ']).next().unwrap_or_default())
            .collect();
        tags.sort_unstable();
        tags
    }

    #[test]
    fn the_report_holds_cause_evidence_and_command_in_one_file() {
        let page = made(
            &example("REVIEWS_PORT"),
            "deploy/productpage-v1",
            "kdbg 0.1.0",
        );
        for text in [
            "<title>kdbg: deploy&#x2f;productpage-v1</title>",
            "the code takes REVIEWS_PORT for a port&#x27;s number",
            "high, certain · env.service-link-collision",
            "REVIEWS_PORT=tcp:&#x2f;&#x2f;10.0.0.7:9080",
            "kubectl set env deploy&#x2f;a REVIEWS_PORT=9080",
            "Ruled out",
            "Not checked",
        ] {
            assert!(page.contains(text), "{text} is not in:\n{page}");
        }
        for outside in ["src=", "href=", "@import", "url(", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(made(&Verdict::default(), "a", "b").contains("No cause found."));
    }

    #[test]
    fn hostile_names_are_text() {
        for hostile in [
            "<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>",
            "{{ 7*7 }}{% raw %}",
            "</style><style>*{display:none}",
            "<!--",
            "' onmouseover='x",
            "\u{1b}]0;pwn\u{7}\u{202e}",
        ] {
            let page = made(&example(hostile), hostile, hostile);
            let plain = made(&example("X"), "X", "X");
            assert_eq!(tags(&page), tags(&plain), "{hostile}");
            assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'));
            assert!(!page.contains("49</"), "a name is no template");
        }
    }

    proptest! {
        #[test]
        fn no_name_ever_adds_a_tag(name in "\\PC{0,40}") {
            let page = made(&example(&name), &name, &name);
            let plain = made(&example("X"), "X", "X");
            prop_assert_eq!(tags(&page), tags(&plain));
        }
    }
}
