//! The rule about what was tried from the pod.

use super::{Confidence, Facts, Finding, Id, Severity, Source, fact};
use crate::evidence::provenance::Lookup;

/// Something that the program needs cannot be reached from its pod: no variable is to blame for that.
pub(super) fn unreachable(facts: &Facts<'_>) -> Vec<Finding> {
    let failed = facts
        .checks
        .iter()
        .filter(|check| check.worked == Lookup::Found(false));
    failed
        .map(|check| Finding {
            id: Id::Unreachable,
            about: check.to.as_str().into(),
            severity: Severity::High,
            confidence: Confidence::Certain,
            cause: format!("the network: the pod cannot reach {}", check.to).into(),
            facts: vec![fact(
                format!("the pod {}: {}", check.what, check.seen),
                Source::Probe,
            )],
            refuted_by: "it works when it is tried again".to_owned(),
            next: Vec::new(),
        })
        .collect()
}
