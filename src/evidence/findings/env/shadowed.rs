//! A variable that is set more than once.

use bstr::ByteSlice as _;

use super::{describe, injected_fact, source_of};
use crate::evidence::{
    environment::Mark,
    findings::{Confidence, Facts, Finding, Id, Severity, Source, Variables, fact},
    provenance::{Declaration, Declared, Lookup, Variable},
};

/// Two entries of the spec set one variable to different values, or the environment holds a name twice.
pub(in crate::evidence::findings) fn shadowed(facts: &Facts<'_>) -> Vec<Finding> {
    let Lookup::Found(variables) = &facts.variables else {
        return Vec::new();
    };
    let mut findings: Vec<_> = variables
        .declarations
        .variables
        .iter()
        .filter_map(|(name, variable)| shadowed_finding(variables, name, variable))
        .collect();
    findings.extend(duplicates(variables));
    findings
}

fn shadowed_finding(variables: &Variables<'_>, name: &str, variable: &Variable) -> Option<Finding> {
    let winner = &variable.winner;
    let differs = |beaten: &&Declared| match (&beaten.value, &winner.value) {
        // The spec is there to beat links, and that an entry refers to the one before is meant so.
        _ if !beaten.by.is_in_spec() || refers_to(&winner.by, name) => false,
        (Lookup::Found(beaten), Lookup::Found(winner)) => beaten != winner,
        // Nobody knows whether they differ.
        _ => false,
    };
    let beaten = variable.shadowed.iter().rev().find(differs)?;
    let mut known = vec![
        fact(
            format!("{} sets {name}", describe(&beaten.by)),
            source_of(&beaten.by),
        ),
        fact(
            format!(
                "{} sets it again, and the last one counts",
                describe(&winner.by)
            ),
            source_of(&winner.by),
        ),
    ];
    known.extend(injected_fact(variables, name.into()));
    Some(Finding {
        id: Id::Shadowed,
        about: name.into(),
        severity: Severity::Low,
        confidence: Confidence::Certain,
        cause: format!(
            "{} beats {} for {name}, and they differ",
            describe(&winner.by),
            describe(&beaten.by)
        )
        .into(),
        facts: known,
        refuted_by: "somebody wants it so".to_owned(),
        next: Vec::new(),
    })
}

fn refers_to(declaration: &Declaration, name: &str) -> bool {
    matches!(declaration, Declaration::Expansion { references } if references.iter().any(|one| one == name))
}

fn duplicates(variables: &Variables<'_>) -> Vec<Finding> {
    let environment = variables.environment;
    let mut findings = Vec::new();
    for entry in &environment.entries {
        let first = entry.marks.iter().find_map(|mark| match mark {
            Mark::Duplicate { first } => environment.entries.get(*first),
            _ => None,
        });
        let Some(first) =
            first.filter(|first| environment.value(first) != environment.value(entry))
        else {
            continue;
        };
        let name = environment.name(first).as_bstr();
        findings.push(Finding {
            id: Id::Shadowed,
            about: name.to_owned(),
            severity: Severity::Low,
            confidence: Confidence::Certain,
            cause: format!("the process has {name} twice, with different values").into(),
            facts: vec![fact(
                format!("getenv finds the first {name}, a shell the last"),
                Source::Environ,
            )],
            refuted_by: "nothing reads it".to_owned(),
            next: Vec::new(),
        });
    }
    findings
}
