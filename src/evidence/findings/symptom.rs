//! Rules about what somebody complains of: a URL that was asked for from the pod.
//!
//! An answer shows where the fault is not. It never makes a cause worse than it is: it says which of the causes it can
//! come from, and a cause that it cannot come from is not to blame for it.

use std::net::IpAddr;

use super::{
    Confidence, Facts, Finding, Id, Next, Outcome, RuledOut, Severity, Source, Symptom, fact,
};
use crate::evidence::provenance::{Declaration, Lookup, Origin};

/// The first status that says that something is wrong.
const FIRST_ERROR: u16 = 400;
/// The first status that says that it is wrong over there.
const FIRST_SERVER_ERROR: u16 = 500;

impl Symptom {
    /// Whom it asks: `reviews:9080`.
    pub(super) fn to(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// What came of it, when it could be tried.
    pub(super) const fn tried(&self) -> Option<&Outcome> {
        self.outcome.found()
    }
}

/// The symptom shows: who is asked does not answer, or answers with an error.
pub(super) fn reproduced(facts: &Facts<'_>) -> Vec<Finding> {
    let Some(symptom) = &facts.symptom else {
        return Vec::new();
    };
    let Some(outcome) = symptom.tried() else {
        return Vec::new();
    };
    let seen = match outcome {
        Outcome::Status(status, _) if *status < FIRST_ERROR => return Vec::new(),
        // That is `net.unreachable`.
        Outcome::Unreached(_) if !symptom.is_own => return Vec::new(),
        Outcome::Status(_, seen) => format!("answers {seen}"),
        Outcome::Broken(why) => format!("does not answer as it should: {why}"),
        Outcome::Unreached(why) => format!("cannot be reached: {why}"),
    };
    let is_theirs = matches!(outcome, Outcome::Status(status, _) if *status < FIRST_SERVER_ERROR);
    let cause = if symptom.is_own {
        format!("the symptom shows: asked in its own pod, the process {seen}")
    } else {
        format!(
            "the symptom is not of this pod alone: {} itself {seen}",
            symptom.to()
        )
    };
    vec![Finding {
        id: Id::SymptomReproduced,
        about: symptom.to().into(),
        // What asks for the wrong thing gets such an answer, too.
        severity: if is_theirs {
            Severity::Medium
        } else {
            Severity::High
        },
        // It says what is seen, and of the process itself not why.
        confidence: if symptom.is_own || is_theirs {
            Confidence::Possible
        } else {
            Confidence::Likely
        },
        cause: cause.into(),
        facts: vec![fact(
            format!("{}: it {seen}", symptom.request),
            Source::Probe,
        )],
        refuted_by: "the program asks in another way, and gets another answer".to_owned(),
        next: next(facts, symptom),
    }]
}

/// Where to look on.
fn next(facts: &Facts<'_>, symptom: &Symptom) -> Vec<Next> {
    let labels: Vec<_> = symptom.host.split('.').collect();
    let (Some(service), false) = (labels.first(), symptom.is_own) else {
        return Vec::new();
    };
    let namespace = labels.get(1).copied().unwrap_or(&facts.namespace);
    let Lookup::Found(variables) = &facts.variables else {
        return Vec::new();
    };
    let full = format!("{namespace}/{service}");
    let is_service = variables.declarations.variables.values().any(|variable| {
        std::iter::once(&variable.winner)
            .chain(&variable.shadowed)
            .any(|declared| matches!(&declared.by, Declaration::ServiceLink { service, .. } if *service == full))
    });
    if !is_service {
        return Vec::new();
    }
    vec![Next {
        what: "look at what answers there".to_owned(),
        command: format!("kdbg diagnose svc/{service} -n {namespace}").into(),
    }]
}

/// What the symptom shows not to be the cause.
pub(super) fn ruled_out(facts: &Facts<'_>) -> Option<RuledOut> {
    let symptom = facts.symptom.as_ref()?;
    let Outcome::Status(status, seen) = symptom.tried()? else {
        return None;
    };
    let because = format!("{} from the pod answers {seen}", symptom.request);
    let is_well = *status < FIRST_ERROR;
    let (what, note) = match (symptom.is_own, is_well) {
        (true, true) => (
            "that the process does not answer".to_owned(),
            "; what it says was not judged",
        ),
        (true, false) => return None,
        (false, true) => (format!("{} and the network to it", symptom.to()), ""),
        (false, false) => (format!("the network to {}", symptom.to()), ""),
    };
    Some(RuledOut {
        what,
        because: format!("{because}{note}"),
    })
}

/// Whether a finding is about something that the symptom has no part in: it is true, and not to blame for it.
///
/// Only where another cause is of the very Service that the symptom asks. Else nobody can tell: the page of a process,
/// asked by whatever name leads there, may need anything.
pub(super) fn is_beside(facts: &Facts<'_>, finding: &Finding, all: &[Finding]) -> bool {
    let is_about_a_service = matches!(finding.id, Id::ServiceLinkCollision | Id::Unreachable);
    let is_of_symptom = |about: &[u8]| {
        let symptom = facts.symptom.as_ref();
        symptom.is_some_and(|symptom| symptom.to().as_bytes() == about)
    };
    is_about_a_service
        && !is_touched_by(facts, finding)
        && !is_of_symptom(&finding.about)
        && all.iter().any(|other| is_touched_by(facts, other))
}

/// Whether a finding is about the very Service that the symptom asks.
pub(super) fn is_touched_by(facts: &Facts<'_>, finding: &Finding) -> bool {
    facts.symptom.as_ref().is_some_and(|symptom| {
        !symptom.is_own
            && finding.id == Id::ServiceLinkCollision
            && prefix_of(facts, finding)
                .is_some_and(|prefix| Some(prefix) == prefix_of_host(facts, symptom))
    })
}

/// Puts what the symptom shows beside the cause that it comes from.
pub(super) fn join(facts: &Facts<'_>, causes: &mut [Finding]) {
    let Some(symptom) = &facts.symptom else {
        return;
    };
    let Some(Outcome::Status(status, seen)) = symptom.tried() else {
        return;
    };
    for cause in causes {
        if *status < FIRST_ERROR && is_touched_by(facts, cause) {
            cause.facts.push(fact(
                format!(
                    "{} from the pod answers {seen}: asked under its own address it is well, and the variable's value is no such address",
                    symptom.request
                ),
                Source::Probe,
            ));
        }
    }
}

/// The prefix of the link that a collision is about, as in `REVIEWS`.
fn prefix_of(facts: &Facts<'_>, finding: &Finding) -> Option<String> {
    let Lookup::Found(variables) = &facts.variables else {
        return None;
    };
    match &variables.attribution.get(&finding.about)?.origin {
        Origin::ServiceLink { prefix, .. } => Some(prefix.clone()),
        _ => None,
    }
}

/// The prefix that links to the symptom's host would have; there are none to an address or to another namespace.
fn prefix_of_host(facts: &Facts<'_>, symptom: &Symptom) -> Option<String> {
    if symptom.host.parse::<IpAddr>().is_ok() {
        return None;
    }
    let mut labels = symptom.host.split('.');
    let name = labels.next()?;
    let is_elsewhere =
        |namespace: &str| !facts.namespace.is_empty() && namespace != facts.namespace;
    (!labels.next().is_some_and(is_elsewhere)).then(|| name.replace('-', "_").to_uppercase())
}
