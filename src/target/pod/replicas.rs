//! What made a pod, and what else that made.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};

use super::Cluster;
use crate::evidence::{
    findings::Replica,
    provenance::{Lookup, Running},
};

/// The label by which a Deployment tells the pods of its templates apart.
const TEMPLATE: &str = "pod-template-hash";

/// What made a pod, as kubectl takes it (`deploy/web`); `None` for a pod that nothing made.
pub fn owner(pod: &Pod) -> Option<String> {
    let owner = pod
        .owner_references()
        .iter()
        .find(|owner| owner.controller.unwrap_or_default())?;
    let template = pod.labels().get(TEMPLATE);
    let of_deployment = template
        .and_then(|template| {
            owner
                .name
                .strip_suffix(template.as_str())?
                .strip_suffix('-')
        })
        .filter(|_| owner.kind == "ReplicaSet");
    let name = of_deployment.unwrap_or(&owner.name);
    let kind = match owner.kind.as_str() {
        "ReplicaSet" if of_deployment.is_some() => "deploy",
        "ReplicaSet" => "rs",
        "StatefulSet" => "sts",
        "DaemonSet" => "ds",
        other => return Some(format!("{}/{name}", other.to_lowercase())),
    };
    Some(format!("{kind}/{name}"))
}

/// The pods of the same owner, this one included; `Missing` for a pod that nothing made.
pub async fn replicas(cluster: &Cluster, pod: &Pod, container: &str) -> Lookup<Vec<Replica>> {
    let Some(wanted) = owner(pod) else {
        return Lookup::Missing;
    };
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    match pods.list(&ListParams::default()).await {
        Ok(list) => Lookup::Found(
            list.items
                .iter()
                .filter(|other| owner(other).as_ref() == Some(&wanted))
                .filter(|other| other.metadata.deletion_timestamp.is_none())
                .map(|other| replica(other, container))
                .collect(),
        ),
        Err(error) => Lookup::Unreadable(format!(
            "cannot list pods in {}: {error}",
            cluster.namespace
        )),
    }
}

/// What runs of one image in the namespace of a pod: its own container, and all.
pub async fn of_image(
    cluster: &Cluster,
    pod: &Pod,
    container: &str,
) -> Lookup<(Running, Vec<Running>)> {
    let Some(own) = running(pod).into_iter().find(|(name, _)| name == container) else {
        return Lookup::Missing;
    };
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    match pods.list(&ListParams::default()).await {
        Ok(list) => {
            let all = list.items.iter().flat_map(running).map(|(_, one)| one);
            Lookup::Found((own.1, all.collect()))
        }
        Err(error) => Lookup::Unreadable(format!(
            "cannot list pods in {}: {error}",
            cluster.namespace
        )),
    }
}

/// The containers of a pod that run, by their names.
fn running(pod: &Pod) -> Vec<(String, Running)> {
    let spec = pod.spec.as_ref();
    let containers = spec.map(|spec| spec.containers.as_slice());
    let image = |name: &str| {
        let mut containers = containers.into_iter().flatten();
        containers.find(|one| one.name == name)?.image.clone()
    };
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    statuses
        .filter_map(|status| {
            let running = status.state.as_ref()?.running.as_ref()?;
            let one = Running {
                pod: pod.name_any(),
                node: spec.and_then(|spec| spec.node_name.clone())?,
                image: image(&status.name)?,
                id: status.image_id.clone(),
                started_at: running
                    .started_at
                    .as_ref()
                    .map(|time| time.0.as_millisecond()),
            };
            Some((status.name.clone(), one))
        })
        .collect()
}

fn replica(pod: &Pod, container: &str) -> Replica {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let image = containers
        .filter(|one| one.name == container)
        .find_map(|one| one.image.clone());
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let running = statuses
        .filter(|one| one.name == container)
        .map(|one| one.image_id.clone());
    Replica {
        pod: pod.name_any(),
        image: image.unwrap_or_default(),
        image_id: running.into_iter().next().unwrap_or_default(),
        template: pod.labels().get(TEMPLATE).cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_owner_is_named_as_kubectl_takes_it() {
        let owner_of = |kind: &str, name: &str| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {
                "name": "x",
                "labels": {"pod-template-hash": "5d4f"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": true}
                ],
            }}))
            .unwrap();
            owner(&pod)
        };
        assert_eq!(owner_of("ReplicaSet", "web-5d4f").unwrap(), "deploy/web");
        assert_eq!(owner_of("ReplicaSet", "web-own").unwrap(), "rs/web-own");
        assert_eq!(owner_of("StatefulSet", "db").unwrap(), "sts/db");
        assert_eq!(owner_of("Job", "once").unwrap(), "job/once");
        assert_eq!(owner(&Pod::default()), None);
    }
}
