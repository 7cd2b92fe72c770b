//! What the cluster has behind the names that were asked for.

use bstr::ByteSlice as _;
use futures::future::join_all;

use crate::{
    commands::probe::Told,
    evidence::{
        dns::{ClusterName, cluster_name},
        names::{Answer, Behind, Remark, explain},
        provenance::Lookup,
    },
    protocol::message::{DnsOutcome, DnsQuery, SearchRule},
    target::{
        Place, Target,
        pod::{Cluster, objects},
    },
};

/// So many names of one look-up are joined: a search list has few that have the form of a cluster's.
const MOST_NAMES: usize = 4;

/// Holds what was answered against Services, `EndpointSlices` and pods; on this machine only what a name has the form of.
pub(super) async fn remarks(told: &Told, target: &Target) -> Vec<Remark> {
    let names = names(told);
    let Place::Pod(place) = &target.place else {
        let forms = names
            .iter()
            .filter(|(_, _, answer)| *answer != Answer::NoName);
        return forms
            .map(|(name, form, _)| Remark {
                text: format!("{name} {form}"),
                is_wrong: false,
            })
            .collect();
    };
    let asked = names.iter().map(|(_, form, answer)| async {
        let behind = behind(&place.cluster, form).await;
        explain(form, answer, &behind)
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The names of the cluster among those that were asked for, with what came of them; those that exist when one does.
fn names(told: &Told) -> Vec<(String, ClusterName, Answer)> {
    let mut found: Vec<(String, ClusterName, Answer)> = Vec::new();
    for query in &told.queries {
        let Some(form) = cluster_name(&query.name) else {
            continue;
        };
        let answer = answer(&query.outcome);
        if answer == Answer::NoName && is_far_fetched(query) {
            continue;
        }
        match found.iter_mut().find(|(name, ..)| *name == query.name) {
            Some((_, _, known)) => known.join(answer),
            None => found.push((query.name.clone(), form, answer)),
        }
    }
    let exists = |answer: &Answer| matches!(answer, Answer::Records(_));
    if found.iter().any(|(_, _, answer)| exists(answer)) {
        found.retain(|(_, _, answer)| exists(answer));
    }
    found.truncate(MOST_NAMES);
    found
}

/// `api.example.org` with a suffix of the search list has the form of an endpoint of Service `example`: nobody meant that.
fn is_far_fetched(query: &DnsQuery) -> bool {
    let SearchRule::Suffix(suffix) = &query.rule else {
        return false;
    };
    let name = query.name.trim_end_matches('.');
    let suffix = suffix.to_str_lossy();
    let Some(typed) = name.strip_suffix(suffix.trim_end_matches('.')) else {
        return false;
    };
    let labels: Vec<_> = typed.trim_end_matches('.').split('.').collect();
    labels.len() > 2 && !labels.contains(&"svc") && !typed.starts_with('_')
}

fn answer(outcome: &DnsOutcome) -> Answer {
    const NO_SUCH_NAME: u16 = 3;
    match outcome {
        DnsOutcome::Answered(answer) if answer.rcode == NO_SUCH_NAME => Answer::NoName,
        DnsOutcome::Answered(answer) if answer.rcode == 0 && !answer.answers.is_empty() => {
            let records = answer.answers.iter();
            Answer::Records(records.filter_map(|record| record.address).collect())
        }
        _ => Answer::Other,
    }
}

async fn behind(cluster: &Cluster, form: &ClusterName) -> Behind {
    let mut behind = Behind {
        service: Lookup::Missing,
        endpoints: Lookup::Missing,
        pods: Lookup::Missing,
    };
    match form {
        ClusterName::Pod { address, namespace } => {
            // Dashes stand for dots, or for the colons of IPv6.
            let separator = if address.split('-').count() == 4 {
                "."
            } else {
                ":"
            };
            let address = address.replace('-', separator);
            behind.pods = objects::pods_with(cluster, namespace, &address).await;
        }
        ClusterName::Service { service, namespace }
        | ClusterName::Port {
            service, namespace, ..
        }
        | ClusterName::Endpoint {
            service, namespace, ..
        } => {
            (behind.service, behind.endpoints) = tokio::join!(
                objects::service(cluster, namespace, service),
                objects::endpoints(cluster, namespace, service)
            );
        }
    }
    behind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Via;

    fn query(name: &str, suffix: Option<&str>) -> DnsQuery {
        DnsQuery {
            at: 0,
            took: 0,
            server: ([10, 0, 0, 1], 53).into(),
            via: Via::Udp,
            name: name.to_owned(),
            rule: suffix.map_or(SearchRule::AsIs, |suffix| SearchRule::Suffix(suffix.into())),
            kind: 1,
            attempt: 1,
            outcome: DnsOutcome::TimedOut,
        }
    }

    #[test]
    fn a_name_of_elsewhere_is_no_service_because_of_the_search_list() {
        let suffix = Some("svc.cluster.local");
        assert!(is_far_fetched(&query(
            "api.example.org.svc.cluster.local.",
            suffix
        )));
        for (name, suffix) in [
            ("db.shop.svc.cluster.local.", suffix),
            ("db.shop.svc.cluster.local.", Some("cluster.local")),
            ("db-0.db.shop.svc.cluster.local.", Some("cluster.local")),
            ("db-0.db.shop.svc.cluster.local.", None),
        ] {
            assert!(!is_far_fetched(&query(name, suffix)), "{name} {suffix:?}");
        }
    }
}
