//! Where a variable comes from, in words.

use crate::evidence::provenance::{Agreement, Attributed, Declaration, LinkState, Origin};

/// What an origin adds to its kind, and whether it still says the same; `None` when there is nothing to add.
#[must_use]
pub fn remark(variable: &Attributed) -> Option<String> {
    let mut remarks: Vec<String> = origin(&variable.origin).into_iter().collect();
    remarks.extend(agreement(&variable.agreement));
    if let Some(beaten) = variable.shadowed.last() {
        let beaten = match beaten {
            Origin::Spec {
                declaration: Declaration::Literal,
                injected_by: None,
            } => Some("another value in env".to_owned()),
            other => origin(other),
        };
        let beaten = beaten.unwrap_or_else(|| "the image's".to_owned());
        remarks.push(format!("beats {beaten}"));
    }
    (!remarks.is_empty()).then(|| remarks.join("; "))
}

fn origin(origin: &Origin) -> Option<String> {
    Some(match origin {
        // That it stands in env is what the heading says.
        Origin::Spec {
            declaration: Declaration::Literal,
            injected_by: None,
        }
        | Origin::Image
        | Origin::Runtime
        | Origin::Entrypoint { shell: false }
        | Origin::Unknown { .. } => return None,
        Origin::Spec {
            declaration,
            injected_by,
        } => match injected_by {
            Some(manager) => format!("{declaration}, which {manager} has put there"),
            None => declaration.to_string(),
        },
        Origin::ServiceLink { service, state, .. } => match (service, state) {
            (Some(service), LinkState::Changed) => {
                format!("Service {service}, which has another address or port now")
            }
            (Some(service), _) => format!("Service {service}"),
            (None, LinkState::NotRead) => "by its shape; Services could not be read".to_owned(),
            (None, LinkState::Sampled) => {
                "by its shape; the kubelet gave the agent's container the same".to_owned()
            }
            (None, _) => "a Service that is gone".to_owned(),
        },
        Origin::Entrypoint { shell: true } => "a shell leaves it".to_owned(),
    })
}

fn agreement(agreement: &Agreement) -> Option<String> {
    match agreement {
        Agreement::Same => None,
        Agreement::Stale => Some("a restart changes it".to_owned()),
        Agreement::Overridden => Some("the entrypoint has set another value".to_owned()),
        Agreement::Undecided => {
            Some("it says something else now, or the entrypoint has changed it".to_owned())
        }
        Agreement::NotCompared { why } => Some(why.clone()),
    }
}
