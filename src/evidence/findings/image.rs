//! The rule about replicas.

use std::collections::BTreeMap;

use super::{Confidence, Facts, Finding, Id, Next, Severity, Source, fact};
use crate::evidence::provenance::Lookup;

/// Pods of one owner that run different images: the same tag was moved, or a rollout has stopped half-way.
pub(super) fn replicas_differ(facts: &Facts<'_>) -> Vec<Finding> {
    let Lookup::Found(replicas) = &facts.replicas else {
        return Vec::new();
    };
    let mut by_digest: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    // One that does not run yet has no digest, and proves nothing.
    for replica in replicas
        .iter()
        .filter(|replica| !replica.image_id.is_empty())
    {
        by_digest
            .entry(&replica.image_id)
            .or_default()
            .push(replica);
    }
    if by_digest.len() < 2 {
        return Vec::new();
    }
    let running = by_digest.values().flatten();
    let mut tags: Vec<_> = running
        .clone()
        .map(|replica| replica.image.as_str())
        .collect();
    let mut templates: Vec<_> = running.map(|replica| replica.template.as_str()).collect();
    tags.sort_unstable();
    tags.dedup();
    templates.sort_unstable();
    templates.dedup();
    let is_rollout = templates.len() > 1;
    let (severity, cause) = match (is_rollout, tags.as_slice()) {
        (true, _) => (
            Severity::Low,
            "the replicas run different images, for a rollout is not done".to_owned(),
        ),
        (false, [tag]) => (
            Severity::Medium,
            format!(
                "the replicas run different images under one name: {tag} was moved between their starts"
            ),
        ),
        (false, _) => (
            Severity::Medium,
            "the replicas run different images".to_owned(),
        ),
    };
    let known = by_digest.iter().map(|(digest, replicas)| {
        let pods: Vec<_> = replicas
            .iter()
            .map(|replica| replica.pod.as_str())
            .collect();
        fact(format!("{digest}: {}", pods.join(", ")), Source::Status)
    });
    let owner = facts.owner.as_ref().filter(|_| !is_rollout);
    Vec::from([Finding {
        id: Id::ReplicasDiffer,
        about: facts.owner.clone().unwrap_or_default().into(),
        severity,
        confidence: Confidence::Certain,
        cause: cause.into(),
        facts: known.collect(),
        refuted_by: "the digests are of one image for several platforms".to_owned(),
        next: owner
            .map(|owner| Next {
                what: "name the image by its digest, and start all again".to_owned(),
                command: format!("kubectl -n {} rollout restart {owner}", facts.namespace).into(),
            })
            .into_iter()
            .collect(),
    }])
}
