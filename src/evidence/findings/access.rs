//! The rule about what could not be looked at.

use super::{Confidence, Facts, Finding, Id, Next, Severity, Source, fact};

/// What could not be looked at, one finding each.
pub(super) fn denied(facts: &Facts<'_>) -> Vec<Finding> {
    facts
        .denied
        .iter()
        .map(|denied| Finding {
            id: Id::AccessDenied,
            about: denied.what.as_str().into(),
            severity: Severity::Low,
            confidence: Confidence::Certain,
            cause: format!("{} could not be read", denied.what).into(),
            facts: vec![fact(denied.why.as_str(), Source::Probe)],
            refuted_by: String::new(),
            next: (!denied.needs.is_empty())
                .then(|| Next {
                    what: denied.needs.clone(),
                    command: bstr::BString::default(),
                })
                .into_iter()
                .collect(),
        })
        .collect()
}
