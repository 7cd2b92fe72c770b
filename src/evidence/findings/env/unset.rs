//! A variable that the code reads and the process does not have.

use bstr::{BString, ByteSlice as _};

use super::{MOST_PLACES, Place, is_plain, noun, reads_by_name, source_of};
use crate::evidence::{
    findings::{Confidence, Facts, Finding, Id, Next, Severity, Source, Variables, fact},
    provenance::{Lookup, WhyAbsent},
    reads::{Language, Unset, UseKind},
};

/// The code reads a variable, has no default for it, and the process does not have it.
pub(in crate::evidence::findings) fn read_but_unset(facts: &Facts<'_>) -> Vec<Finding> {
    let Lookup::Found(variables) = &facts.variables else {
        return Vec::new();
    };
    // What was overwritten may have been there.
    if variables.environment.overwritten {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (name, places) in reads_by_name(facts) {
        let has_default = places
            .iter()
            .any(|place| place.read.unset == Unset::Default);
        let is_own = |place: &Place<'_>| place.file.own && place.file.built.is_none();
        let own: Vec<_> = places.into_iter().filter(is_own).collect();
        if own.is_empty() || has_default || variables.attribution.get(&name).is_some() {
            continue;
        }
        let Some((severity, confidence)) = weight(&own) else {
            continue;
        };
        findings.push(unset_finding(
            facts, variables, &name, &own, severity, confidence,
        ));
    }
    findings
}

/// How much an unset variable matters: programs ask for many that nobody needs to set.
fn weight(places: &[Place<'_>]) -> Option<(Severity, Confidence)> {
    // What Spring asks for may be in its own files as well.
    let is_spring =
        |place: &Place<'_>| matches!(place.file.reads.language, Language::Java | Language::Kotlin);
    let raises = places
        .iter()
        .any(|place| place.read.unset == Unset::Raises && !is_spring(place));
    let kind = places
        .iter()
        .filter_map(|place| place.read.kind())
        .min_by_key(|one| one.shown_by);
    match kind.map(|one| one.kind) {
        Some(UseKind::Boolean) if !raises => None,
        _ if raises => Some((Severity::Medium, Confidence::Likely)),
        Some(UseKind::Url | UseKind::Host | UseKind::Port) => {
            Some((Severity::Medium, Confidence::Likely))
        }
        Some(UseKind::Number | UseKind::Path) => Some((Severity::Low, Confidence::Possible)),
        _ => None,
    }
}

fn unset_finding(
    facts: &Facts<'_>,
    variables: &Variables<'_>,
    name: &BString,
    places: &[Place<'_>],
    severity: Severity,
    confidence: Confidence,
) -> Finding {
    let kind = places
        .iter()
        .filter_map(|place| place.read.kind())
        .min_by_key(|one| one.shown_by);
    let role = kind.map_or_else(String::new, |one| format!(" for {}", noun(one.kind)));
    let mut known = vec![fact(format!("there is no {name}"), Source::Environ)];
    let absent = variables
        .attribution
        .absent
        .iter()
        .find(|absent| absent.name.as_bytes() == name.as_bytes());
    match absent {
        Some(absent) => {
            let why = match absent.why {
                WhyAbsent::SinceStart => "declared since the container started: a restart sets it",
                WhyAbsent::Removed => {
                    "declared, but something between the start and this process has removed it"
                }
                WhyAbsent::Undecided | WhyAbsent::Overwritten => {
                    "declared now, and the process does not have it"
                }
            };
            known.push(fact(format!("{name} is {why}"), source_of(&absent.by)));
        }
        None if variables.has_spec => known.push(fact(
            format!("neither env nor envFrom sets {name}"),
            Source::Spec,
        )),
        None => {}
    }
    for place in places.iter().take(MOST_PLACES) {
        known.extend(place.facts());
    }
    let command = match &facts.owner {
        Some(owner) if is_plain(name) => format!(
            "kubectl -n {} set env {owner} {name}=VALUE",
            facts.namespace
        ),
        _ => String::new(),
    };
    Finding {
        id: Id::ReadButUnset,
        about: name.clone(),
        severity,
        confidence,
        cause: format!(
            "the code needs {name}{role} and has no default, and the process does not have it"
        )
        .into(),
        facts: known,
        refuted_by: format!("the code does not get to these places, or works without {name}"),
        next: vec![Next {
            what: format!("set {name}"),
            command: command.into(),
        }],
    }
}
