//! What the cluster has behind the names that were asked for.

use futures::future::join_all;

use crate::{
    commands::probe::Told,
    evidence::{
        dns::{ClusterName, cluster_name},
        names::{Answer, Behind, Remark, explain},
        provenance::Lookup,
    },
    protocol::message::DnsOutcome,
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
