//! A variable whose `ConfigMap` or Secret has changed since the process was started.

use bstr::ByteSlice as _;

use super::{
    MOST_PLACES, Place, declared_now, describe, injected_fact, reads_by_name, shown, source_of,
    value_shown,
};
use crate::evidence::{
    findings::{Confidence, Facts, Finding, Id, Next, Severity, Source, Variables, fact},
    provenance::{Agreement, Attributed, Declaration, Lookup, Origin},
};

/// An object that declares a variable has changed since the container started.
pub(in crate::evidence::findings) fn stale(facts: &Facts<'_>) -> Vec<Finding> {
    let Lookup::Found(variables) = &facts.variables else {
        return Vec::new();
    };
    let read = reads_by_name(facts);
    let mut findings = Vec::new();
    for variable in &variables.attribution.variables {
        let Origin::Spec { declaration, .. } = &variable.origin else {
            continue;
        };
        let confidence = match variable.agreement {
            Agreement::Stale => Confidence::Certain,
            Agreement::Undecided => Confidence::Possible,
            _ => continue,
        };
        let places = read.get(&variable.name).map_or(&[][..], Vec::as_slice);
        findings.push(stale_finding(
            facts,
            variables,
            variable,
            declaration,
            confidence,
            places,
        ));
    }
    findings
}

fn stale_finding(
    facts: &Facts<'_>,
    variables: &Variables<'_>,
    variable: &Attributed,
    declaration: &Declaration,
    confidence: Confidence,
    places: &[Place<'_>],
) -> Finding {
    let name = &variable.name;
    let declared = describe(declaration);
    let now = declared_now(variables, name).map_or_else(
        || fact(format!("{declared} is gone"), source_of(declaration)),
        |declared_now| {
            let shown = shown(facts, name, declared_now, variable.secret);
            fact(
                format!("{declared} has another value now{shown}"),
                source_of(declaration),
            )
        },
    );
    let mut known = vec![
        fact(
            format!("{name}={}", value_shown(facts, variables, variable)),
            Source::Environ,
        ),
        now,
    ];
    known.extend(injected_fact(variables, name.as_bstr()));
    for place in places.iter().take(MOST_PLACES) {
        known.extend(place.facts());
    }
    let cause = match confidence {
        Confidence::Certain => {
            format!("{name} is of before {declared} was changed; a restart changes it")
        }
        _ => format!(
            "{name} is not what {declared} says now: it was changed since, or the entrypoint set it"
        ),
    };
    let command = facts
        .owner
        .as_ref()
        .map(|owner| format!("kubectl -n {} rollout restart {owner}", facts.namespace));
    Finding {
        id: Id::Stale,
        about: name.clone(),
        severity: if places.is_empty() {
            Severity::Low
        } else {
            Severity::Medium
        },
        confidence,
        cause: cause.into(),
        facts: known,
        refuted_by: format!("the entrypoint sets {name} to this value each time"),
        next: vec![Next {
            what: "restart it to get the new value".to_owned(),
            command: command.unwrap_or_default().into(),
        }],
    }
}
