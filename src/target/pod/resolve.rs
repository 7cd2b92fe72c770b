//! From a name to pods.

use std::fmt::Debug;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        batch::v1::Job,
        core::v1::{Pod, Service},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{Api, Resource, ResourceExt as _, api::ListParams, core::Selector as Labels};
use serde::de::DeserializeOwned;

use super::{Cluster, PodError, Verb, access};
use crate::target::{Kind, Selector};

/// More pods than this are not looked at by one command.
const LIST_LIMIT: u32 = 500;

/// Finds the pods that a selector means, best first: ready before running before the rest, then by name.
pub(super) async fn pods(
    cluster: &Cluster,
    selector: &Selector,
    all_namespaces: bool,
) -> Result<Vec<Pod>, PodError> {
    let mut pods = match selector {
        Selector::Object {
            kind: Kind::Pod,
            name,
        } if !all_namespaces => {
            let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
            let pod = pods.get_opt(name).await;
            vec![found(pod, cluster, selector, &access::GET_PODS)?]
        }
        Selector::Object {
            kind: Kind::Pod,
            name,
        } => {
            let parameters = ListParams::default().fields(&format!("metadata.name={name}"));
            list(cluster, None, &parameters).await?
        }
        Selector::Object { kind, name } => {
            let (namespace, labels) = labels_of(cluster, *kind, name, selector).await?;
            let parameters = ListParams::default().labels_from(&labels);
            list(cluster, Some(&namespace), &parameters).await?
        }
        Selector::Labels(labels) => {
            let parameters = ListParams::default().labels(labels);
            let namespace = (!all_namespaces).then_some(cluster.namespace.as_str());
            list(cluster, namespace, &parameters).await?
        }
        Selector::Pid(_) | Selector::Name(_) => Vec::new(),
    };
    if pods.is_empty() {
        return Err(PodError::NoPods {
            selector: selector.to_string(),
            namespace: (!all_namespaces).then(|| cluster.namespace.clone()),
        });
    }
    pods.sort_by_cached_key(|pod| (rank(pod), pod.namespace(), pod.name_any()));
    Ok(pods)
}

/// The pods with these labels, in the namespace or in all.
pub(super) async fn labelled(
    cluster: &Cluster,
    labels: &str,
    all_namespaces: bool,
) -> Result<Vec<Pod>, PodError> {
    let namespace = (!all_namespaces).then_some(cluster.namespace.as_str());
    list(cluster, namespace, &ListParams::default().labels(labels)).await
}

/// All pods of the namespace, or of all namespaces, page by page.
pub(super) async fn every(cluster: &Cluster, all_namespaces: bool) -> Result<Vec<Pod>, PodError> {
    let (api, verb): (Api<Pod>, _) = if all_namespaces {
        (Api::all(cluster.client.clone()), access::LIST_PODS)
    } else {
        let verb = access::LIST_PODS.inside(&cluster.namespace);
        (
            Api::namespaced(cluster.client.clone(), &cluster.namespace),
            verb,
        )
    };
    let mut parameters = ListParams::default().limit(LIST_LIMIT);
    let mut pods = Vec::new();
    loop {
        let page = api
            .list(&parameters)
            .await
            .map_err(|error| PodError::api(error, &verb))?;
        pods.extend(page.items);
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => parameters = parameters.continue_token(&token),
            _ => return Ok(pods),
        }
    }
}

/// How far a pod is from being worth a look: ready, running, on its way, ended, going.
fn rank(pod: &Pod) -> u8 {
    let status = pod.status.as_ref();
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        });
    match status.and_then(|status| status.phase.as_deref()) {
        _ if pod.metadata.deletion_timestamp.is_some() => 4,
        Some("Running") if ready => 0,
        Some("Running") => 1,
        Some("Pending") => 2,
        _ => 3,
    }
}

async fn list(
    cluster: &Cluster,
    namespace: Option<&str>,
    parameters: &ListParams,
) -> Result<Vec<Pod>, PodError> {
    let api: Api<Pod> = match namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    };
    let verb = match namespace {
        Some(namespace) => access::LIST_PODS.inside(namespace),
        None => access::LIST_PODS,
    };
    api.list(&parameters.clone().limit(LIST_LIMIT))
        .await
        .map(|list| list.items)
        .map_err(|error| PodError::api(error, &verb))
}

/// The namespace of an object that has pods, and the labels by which it finds them.
async fn labels_of(
    cluster: &Cluster,
    kind: Kind,
    name: &str,
    selector: &Selector,
) -> Result<(String, Labels), PodError> {
    let labels = match kind {
        Kind::Deployment => {
            let object: Deployment = get(cluster, name, kind, selector).await?;
            object.spec.map(|spec| spec.selector)
        }
        Kind::StatefulSet => {
            let object: StatefulSet = get(cluster, name, kind, selector).await?;
            object.spec.map(|spec| spec.selector)
        }
        Kind::DaemonSet => {
            let object: DaemonSet = get(cluster, name, kind, selector).await?;
            object.spec.map(|spec| spec.selector)
        }
        Kind::ReplicaSet => {
            let object: ReplicaSet = get(cluster, name, kind, selector).await?;
            object.spec.map(|spec| spec.selector)
        }
        Kind::Job => {
            let object: Job = get(cluster, name, kind, selector).await?;
            object.spec.and_then(|spec| spec.selector)
        }
        Kind::Service => {
            let object: Service = get(cluster, name, kind, selector).await?;
            object
                .spec
                .and_then(|spec| spec.selector)
                .map(|labels| LabelSelector {
                    match_labels: Some(labels),
                    match_expressions: None,
                })
        }
        Kind::Pod => None,
    };
    let none = || PodError::NoSelector {
        object: selector.to_string(),
    };
    let labels = labels.ok_or_else(none)?;
    let labels = Labels::try_from(labels).map_err(|_| none())?;
    // An empty selector would match every pod of the namespace.
    if labels.selects_all() {
        return Err(none());
    }
    Ok((cluster.namespace.clone(), labels))
}

async fn get<K>(
    cluster: &Cluster,
    name: &str,
    kind: Kind,
    selector: &Selector,
) -> Result<K, PodError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let verb = access::get_of(kind).inside(&cluster.namespace);
    found(api.get_opt(name).await, cluster, selector, &verb)
}

fn found<K>(
    result: Result<Option<K>, kube::Error>,
    cluster: &Cluster,
    selector: &Selector,
    verb: &Verb,
) -> Result<K, PodError> {
    result
        .map_err(|error| PodError::api(error, &verb.clone().inside(&cluster.namespace)))?
        .ok_or_else(|| PodError::NotFound {
            object: selector.to_string(),
            namespace: cluster.namespace.clone(),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ready_pod_is_worth_more_than_one_that_ends() {
        let pod = |phase: &str, ready: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "web"},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap()
        };
        let mut leaving = pod("Running", "True");
        leaving.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let ranks = [
            pod("Running", "True"),
            pod("Running", "False"),
            pod("Pending", "False"),
            pod("Failed", "False"),
            leaving,
        ]
        .map(|pod| rank(&pod));
        assert_eq!(ranks, [0, 1, 2, 3, 4]);
    }
}
