//! The rule about what was tried from the pod.

use super::{Confidence, Facts, Finding, Id, Outcome, Severity, Source, fact};
use crate::evidence::provenance::Lookup;

/// Something that the program needs cannot be reached from its pod: no variable is to blame for that.
pub(super) fn unreachable(facts: &Facts<'_>) -> Vec<Finding> {
    let failed = facts
        .checks
        .iter()
        .filter(|check| check.worked == Lookup::Found(false));
    let mut findings: Vec<_> = failed
        .map(|check| finding(&check.to, format!("the pod {}: {}", check.what, check.seen)))
        .collect();
    if let Some(symptom) = facts.symptom.as_ref().filter(|symptom| !symptom.is_own)
        && let Some(Outcome::Unreached(why)) = symptom.tried()
    {
        let to = symptom.to();
        let seen = format!("{} from the pod: {why}", symptom.request);
        match findings.iter_mut().find(|finding| finding.about == to) {
            Some(known) => known.facts.push(fact(seen, Source::Probe)),
            None => findings.push(finding(&to, seen)),
        }
    }
    findings
}

fn finding(to: &str, seen: String) -> Finding {
    Finding {
        id: Id::Unreachable,
        about: to.into(),
        severity: Severity::High,
        confidence: Confidence::Certain,
        cause: format!("the network: the pod cannot reach {to}").into(),
        facts: vec![fact(seen, Source::Probe)],
        refuted_by: "it works when it is tried again".to_owned(),
        next: Vec::new(),
    }
}
