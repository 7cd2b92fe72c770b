//! What the cluster declares of a container's environment: from the API's types to those of
//! [`evidence::provenance`](crate::evidence::provenance), which know nothing of an API.
//!
//! Secrets are sealed here, the moment they arrive. What may not be read is a fact with its reason.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use k8s_openapi::{
    api::core::v1::{
        ConfigMap, Container, EnvFromSource, EnvVar as ApiEnvVar, EnvVarSource, Node, Pod,
        ResourceFieldSelector, Secret, Service as ApiService, Volume,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ManagedFieldsEntry, ObjectMeta},
    },
};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::Value as Json;

use super::Cluster;
use crate::evidence::{
    noise::mounts::{Mount, MountKind},
    provenance::{
        Cluster as Declared, ContainerSpec, EnvFrom, EnvVar, Keyring, Lookup, Object, ObjectKind,
        ObjectRef, Port, Service, Value, ValueFrom, divided,
    },
};

/// Reads what the container's spec refers to. What may not be read does not fail it.
pub async fn read(cluster: &Cluster, spec: &ContainerSpec, keys: &Keyring) -> Declared {
    let objects = join_all(references(spec).into_iter().map(async |reference| {
        let object = object(cluster, &reference, &spec.namespace, keys).await;
        (reference, object)
    }));
    let (mut declared, objects) = tokio::join!(services(cluster, &spec.namespace), objects);
    declared.objects.extend(objects);
    declared
}

/// The part of a pod that makes the environment of one container; `None` when it has no such container.
pub fn container_spec(pod: &Pod, container: &str) -> Option<ContainerSpec> {
    let spec = pod.spec.as_ref()?;
    let init = spec.init_containers.iter().flatten();
    let found = spec
        .containers
        .iter()
        .chain(init)
        .find(|one| one.name == container)?;
    Some(ContainerSpec {
        namespace: pod.namespace().unwrap_or_default(),
        service_links: spec.enable_service_links.unwrap_or(true),
        env_from: found
            .env_from
            .iter()
            .flatten()
            .filter_map(env_from)
            .collect(),
        env: found
            .env
            .iter()
            .flatten()
            .map(|one| env(one, pod, found))
            .collect(),
        injected: injected(pod, found),
    })
}

/// Fills in what a container gets of its node where its spec sets no limit. Only few accounts may look at nodes.
pub async fn fill_from_node(
    cluster: &Cluster,
    spec: &mut ContainerSpec,
    pod: &Pod,
    container: &str,
) {
    let missing = |one: &EnvVar| matches!(&one.from, ValueFrom::Resource { value, .. } if value.found().is_none());
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let (true, Some(node)) = (spec.env.iter().any(missing), node) else {
        return;
    };
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let allocatable = match nodes.get(node).await {
        Ok(node) => Ok(node.status.and_then(|status| status.allocatable)),
        Err(error) => Err(format!(
            "no limit is set, and what node {node} has to give cannot be read: {error}"
        )),
    };
    let all = pod.spec.iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(init)
    });
    let declared = all
        .filter(|one| one.name == container)
        .flat_map(|one| one.env.iter().flatten());
    for (one, declared) in spec.env.iter_mut().zip(declared) {
        let field = declared.value_from.as_ref();
        let field = field.and_then(|from| from.resource_field_ref.as_ref());
        if let (ValueFrom::Resource { value, .. }, Some(field)) = (&mut one.from, field)
            && value.found().is_none()
        {
            *value = match &allocatable {
                Ok(amounts) => of_node(field, amounts.as_ref()),
                Err(why) => Lookup::Unreadable(why.clone()),
            };
        }
    }
}

/// `MergeContainerResourceLimits`: a limit that is not set is what the node has to give.
fn of_node(
    field: &ResourceFieldSelector,
    allocatable: Option<&BTreeMap<String, Quantity>>,
) -> Lookup<String> {
    let amount = field
        .resource
        .strip_prefix("limits.")
        .and_then(|name| allocatable?.get(name));
    amount.map_or_else(
        || Lookup::Unreadable("the node does not tell what it has to give".to_owned()),
        |amount| amount_of(field, amount),
    )
}

/// The value of a `resourceFieldRef` as far as the pod's spec tells it.
fn resource_value(field: &ResourceFieldSelector, pod: &Pod, own: &Container) -> Lookup<String> {
    let other = field
        .container_name
        .as_deref()
        .filter(|name| !name.is_empty());
    let mut all = pod.spec.iter().flat_map(|spec| &spec.containers);
    let container = match other {
        Some(name) => all.find(|one| one.name == name),
        None => Some(own),
    };
    let resources = container.and_then(|container| container.resources.as_ref());
    let amount = |set: Option<&BTreeMap<String, Quantity>>, name: &str| set?.get(name).cloned();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    match field.resource.split_once('.') {
        Some(("limits", name)) => match amount(limits, name) {
            Some(amount) => amount_of(field, &amount),
            None => {
                Lookup::Unreadable("no limit is set, so it is what the node had to give".to_owned())
            }
        },
        Some(("requests", name)) => amount_of(
            field,
            &amount(requests, name).unwrap_or(Quantity("0".into())),
        ),
        _ => Lookup::Unreadable(format!("unknown resource {}", field.resource)),
    }
}

fn amount_of(field: &ResourceFieldSelector, amount: &Quantity) -> Lookup<String> {
    let divisor = field.divisor.as_ref().map_or("", |divisor| &divisor.0);
    divided(&field.resource, &amount.0, divisor).map_or_else(
        || Lookup::Unreadable(format!("{} is no quantity", amount.0)),
        Lookup::Found,
    )
}

/// The volumes of a container, with their plugins as the kubelet names them.
pub fn volumes(pod: &Pod, container: &str) -> Vec<Mount> {
    let Some(spec) = pod.spec.as_ref() else {
        return Vec::new();
    };
    let init = spec.init_containers.iter().flatten();
    let mut all = spec.containers.iter().chain(init);
    let found = all.find(|one| one.name == container);
    let mounts = found.and_then(|one| one.volume_mounts.as_ref());
    let plugin = |name: &str| {
        let mut volumes = spec.volumes.iter().flatten();
        let volume = volumes.find(|volume| volume.name == name)?;
        Some(match volume {
            Volume {
                secret: Some(_), ..
            } => "secret",
            Volume {
                config_map: Some(_),
                ..
            } => "configmap",
            Volume {
                projected: Some(_), ..
            } => "projected",
            Volume {
                downward_api: Some(_),
                ..
            } => "downward-api",
            Volume {
                empty_dir: Some(_), ..
            } => "empty-dir",
            _ => "volume",
        })
    };
    mounts
        .into_iter()
        .flatten()
        .filter_map(|mount| {
            Some(Mount {
                point: mount.mount_path.trim_end_matches('/').into(),
                kind: MountKind::Volume {
                    plugin: plugin(&mount.name)?.into(),
                    name: mount.name.clone().into(),
                },
            })
        })
        .collect()
}

/// When a container was started, in milliseconds since 1970.
pub fn started_at(pod: &Pod, container: &str) -> Option<i64> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let mut all = status.container_statuses.iter().flatten().chain(init);
    let running = all
        .find(|one| one.name == container)?
        .state
        .as_ref()?
        .running
        .as_ref()?;
    Some(running.started_at.as_ref()?.0.as_millisecond())
}

/// The objects to which a spec refers.
fn references(spec: &ContainerSpec) -> BTreeSet<ObjectRef> {
    let keys = spec.env.iter().filter_map(|one| match &one.from {
        ValueFrom::Key { object, .. } => Some(object.clone()),
        _ => None,
    });
    spec.env_from
        .iter()
        .map(|one| one.object.clone())
        .chain(keys)
        .collect()
}

async fn services(cluster: &Cluster, namespace: &str) -> Declared {
    let own: Api<ApiService> = Api::namespaced(cluster.client.clone(), namespace);
    let services = match own.list(&ListParams::default()).await {
        Ok(list) => Lookup::Found(list.items.iter().map(service).collect::<Vec<_>>()),
        Err(error) => Lookup::Unreadable(format!("cannot list Services in {namespace}: {error}")),
    };
    let mut declared = Declared {
        services,
        api_server_unread: None,
        objects: BTreeMap::new(),
    };
    if namespace != "default"
        && let Lookup::Found(services) = &mut declared.services
    {
        let default: Api<ApiService> = Api::namespaced(cluster.client.clone(), "default");
        match default.get_opt("kubernetes").await {
            Ok(found) => services.extend(found.as_ref().map(service)),
            Err(error) => {
                declared.api_server_unread =
                    Some(format!("cannot get Service default/kubernetes: {error}"));
            }
        }
    }
    declared
}

async fn object(
    cluster: &Cluster,
    wanted: &ObjectRef,
    namespace: &str,
    keys: &Keyring,
) -> Lookup<Object> {
    let client = cluster.client.clone();
    let found = match wanted.kind {
        ObjectKind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(client, namespace);
            api.get_opt(&wanted.name)
                .await
                .map(|found| found.map(config_map))
        }
        ObjectKind::Secret => {
            let api: Api<Secret> = Api::namespaced(client, namespace);
            api.get_opt(&wanted.name)
                .await
                .map(|found| found.map(|found| secret(found, keys)))
        }
    };
    match found {
        Ok(Some(object)) => Lookup::Found(object),
        Ok(None) => Lookup::Missing,
        Err(error) => Lookup::Unreadable(format!("cannot get {wanted}: {error}")),
    }
}

fn config_map(object: ConfigMap) -> Object {
    Object {
        changed_at: changed_at(&object.metadata),
        data: object
            .data
            .into_iter()
            .flatten()
            .map(|(key, text)| (key, Value::clear(text)))
            .collect(),
    }
}

fn secret(object: Secret, keys: &Keyring) -> Object {
    Object {
        changed_at: changed_at(&object.metadata),
        data: object
            .data
            .into_iter()
            .flatten()
            .map(|(key, bytes)| (key, Value::sealed(keys.seal(&bytes.0))))
            .collect(),
    }
}

/// When the content was last changed, as far as the managers say; metadata counts as content here, which errs towards
/// "may have changed".
fn changed_at(metadata: &ObjectMeta) -> Option<i64> {
    let times = metadata
        .managed_fields
        .iter()
        .flatten()
        .filter_map(|entry| entry.time.as_ref());
    let created = metadata.creation_timestamp.as_ref();
    times
        .chain(created)
        .map(|time| time.0.as_millisecond())
        .max()
}

fn service(object: &ApiService) -> Service {
    let spec = object.spec.as_ref();
    let ports = spec.and_then(|spec| spec.ports.as_ref());
    Service {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        cluster_ip: spec
            .and_then(|spec| spec.cluster_ip.clone())
            .unwrap_or_default(),
        ports: ports
            .into_iter()
            .flatten()
            .map(|port| Port {
                name: port.name.clone().unwrap_or_default(),
                number: u16::try_from(port.port).unwrap_or_default(),
                protocol: port.protocol.clone().unwrap_or_default(),
            })
            .collect(),
        created_at: object
            .creation_timestamp()
            .map(|time| time.0.as_millisecond()),
    }
}

fn env_from(from: &EnvFromSource) -> Option<EnvFrom> {
    let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
        (Some(reference), _) => (ObjectKind::ConfigMap, &reference.name, reference.optional),
        (None, Some(reference)) => (ObjectKind::Secret, &reference.name, reference.optional),
        (None, None) => return None,
    };
    Some(EnvFrom {
        prefix: from.prefix.clone().unwrap_or_default(),
        object: ObjectRef {
            kind,
            name: name.clone(),
        },
        optional: optional.unwrap_or_default(),
    })
}

fn env(variable: &ApiEnvVar, pod: &Pod, container: &Container) -> EnvVar {
    let literal = || ValueFrom::Literal(variable.value.clone().unwrap_or_default());
    let has_value = variable
        .value
        .as_ref()
        .is_some_and(|value| !value.is_empty());
    EnvVar {
        name: variable.name.clone(),
        from: match &variable.value_from {
            Some(from) if !has_value => value_from(from, pod, container).unwrap_or_else(literal),
            _ => literal(),
        },
    }
}

fn value_from(from: &EnvVarSource, pod: &Pod, container: &Container) -> Option<ValueFrom> {
    if let Some(field) = &from.field_ref {
        return Some(ValueFrom::Field {
            path: field.field_path.clone(),
            value: field_value(&field.field_path, pod),
        });
    }
    if let Some(field) = &from.resource_field_ref {
        return Some(ValueFrom::Resource {
            resource: field.resource.clone(),
            value: resource_value(field, pod, container),
        });
    }
    let (kind, name, key, optional) = match (&from.config_map_key_ref, &from.secret_key_ref) {
        (Some(one), _) => (ObjectKind::ConfigMap, &one.name, &one.key, one.optional),
        (None, Some(one)) => (ObjectKind::Secret, &one.name, &one.key, one.optional),
        (None, None) => return None,
    };
    Some(ValueFrom::Key {
        object: ObjectRef {
            kind,
            name: name.clone(),
        },
        key: key.clone(),
        optional: optional.unwrap_or_default(),
    })
}

/// `podFieldSelectorRuntimeValue` of `pkg/kubelet/kubelet_pods.go`, with what the API knows.
fn field_value(path: &str, pod: &Pod) -> Lookup<String> {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let known = |value: Option<String>| match value {
        Some(value) => Lookup::Found(value),
        None => Lookup::Unreadable("the pod's status does not tell it".to_owned()),
    };
    if let Some((map, key)) = path
        .strip_suffix("']")
        .and_then(|path| path.split_once("['"))
    {
        let values = match map {
            "metadata.labels" => pod.labels(),
            "metadata.annotations" => pod.annotations(),
            _ => return Lookup::Unreadable(format!("unknown field {path}")),
        };
        // A key that is not there gives an empty value.
        return Lookup::Found(values.get(key).cloned().unwrap_or_default());
    }
    match path {
        "metadata.name" => Lookup::Found(pod.name_any()),
        "metadata.namespace" => Lookup::Found(pod.namespace().unwrap_or_default()),
        "metadata.uid" => Lookup::Found(pod.uid().unwrap_or_default()),
        "spec.nodeName" => known(spec.and_then(|spec| spec.node_name.clone())),
        "spec.serviceAccountName" => known(spec.and_then(|spec| spec.service_account_name.clone())),
        "status.podIP" => known(status.and_then(|status| status.pod_ip.clone())),
        "status.hostIP" => known(status.and_then(|status| status.host_ip.clone())),
        "status.podIPs" => known(
            status
                .and_then(|status| status.pod_ips.as_ref())
                .map(|all| {
                    let all: Vec<_> = all.iter().map(|one| one.ip.as_str()).collect();
                    all.join(",")
                }),
        ),
        "status.hostIPs" => known(
            status
                .and_then(|status| status.host_ips.as_ref())
                .map(|all| {
                    let all: Vec<_> = all.iter().map(|one| one.ip.as_str()).collect();
                    all.join(",")
                }),
        ),
        _ => Lookup::Unreadable(format!("unknown field {path}")),
    }
}

/// What put a variable into the spec as the pod was admitted: the API server notes who owns the fields of a new object
/// before it hands it to the webhooks, so what they add has no owner (`handlers/create.go`; seen on 1.34).
const WEBHOOK: &str = "an admission webhook (no field manager owns it)";

/// The variables that somebody else than who made the pod has put into the spec, and who: another manager later on, or a
/// webhook as it was created.
fn injected(pod: &Pod, container: &Container) -> BTreeMap<String, String> {
    let entries = || pod.metadata.managed_fields.iter().flatten();
    let owner = entries()
        .find(|entry| {
            fields(entry, container).is_some_and(|fields| fields.get("f:image").is_some())
        })
        .and_then(|entry| entry.manager.clone());
    let mut injected = BTreeMap::new();
    for entry in entries().filter(|entry| entry.manager != owner) {
        let variables = fields(entry, container)
            .and_then(|fields| fields.get("f:env"))
            .and_then(Json::as_object);
        for key in variables.into_iter().flat_map(serde_json::Map::keys) {
            let name = key
                .strip_prefix("k:")
                .and_then(|key| serde_json::from_str::<Json>(key).ok());
            if let Some(name) = name
                .as_ref()
                .and_then(|key| key.get("name"))
                .and_then(Json::as_str)
                && let Some(manager) = &entry.manager
            {
                injected.insert(name.to_owned(), manager.clone());
            }
        }
    }
    if owner.is_some() {
        for name in unowned(pod, container) {
            injected.insert(name, WEBHOOK.to_owned());
        }
    }
    injected
}

/// The variables of which no manager is the owner. None where a name is there twice: the server keeps no owners then.
fn unowned(pod: &Pod, container: &Container) -> Vec<String> {
    let entries = pod.metadata.managed_fields.iter().flatten();
    let owned: Vec<_> = entries
        .filter_map(|entry| fields(entry, container)?.get("f:env")?.as_object())
        .collect();
    let declared: Vec<_> = container
        .env
        .iter()
        .flatten()
        .map(|one| &one.name)
        .collect();
    let distinct: BTreeSet<_> = declared.iter().collect();
    // A list that is owned as a whole has no keys.
    let is_whole = owned.iter().any(|fields| fields.is_empty());
    if is_whole || distinct.len() < declared.len() {
        return Vec::new();
    }
    let is_owned = |name: &str| {
        let key = format!("k:{}", serde_json::json!({"name": name}));
        owned.iter().any(|fields| fields.contains_key(&key))
    };
    let unowned = declared.into_iter().filter(|name| !is_owned(name));
    unowned.cloned().collect()
}

/// What a manager owns of a container.
fn fields<'a>(entry: &'a ManagedFieldsEntry, container: &Container) -> Option<&'a Json> {
    let key = format!("k:{}", serde_json::json!({"name": container.name}));
    let fields = &entry.fields_v1.as_ref()?.0;
    fields.get("f:spec")?.get("f:containers")?.get(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "web-1", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"},
                "managedFields": [
                    {"manager": "kube-controller-manager", "fieldsV1": {"f:spec": {"f:containers": {
                        "k:{\"name\":\"main\"}": {"f:image": {}, "f:env": {
                            "k:{\"name\":\"A\"}": {}, "k:{\"name\":\"EMPTY\"}": {}, "k:{\"name\":\"APP\"}": {},
                            "k:{\"name\":\"IP\"}": {}, "k:{\"name\":\"MEM\"}": {}, "k:{\"name\":\"CPU\"}": {},
                            "k:{\"name\":\"WANTED\"}": {}, "k:{\"name\":\"KEY\"}": {}}}}}}},
                    {"manager": "identity-webhook", "fieldsV1": {"f:spec": {"f:containers": {
                        "k:{\"name\":\"main\"}": {"f:env": {"k:{\"name\":\"ROLE\"}": {}}}}}}},
                ],
            },
            "spec": {
                "nodeName": "node-1",
                "containers": [{
                    "name": "main",
                    "envFrom": [
                        {"prefix": "P_", "configMapRef": {"name": "cm", "optional": true}},
                        {"secretRef": {"name": "s"}},
                    ],
                    "env": [
                        {"name": "A", "value": "$(P_X)"},
                        {"name": "EMPTY"},
                        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                        {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
                        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
                        {"name": "WANTED", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "0"}}},
                        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                        {"name": "ROLE", "value": "arn"},
                    ],
                    "resources": {"limits": {"cpu": "250m"}},
                }],
            },
            "status": {"containerStatuses": [{
                "name": "main", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}},
            }]},
        }))
        .unwrap()
    }

    #[test]
    fn a_spec_becomes_facts() {
        let spec = container_spec(&pod(), "main").unwrap();
        assert!(
            spec.service_links,
            "the API server sets it where nobody does"
        );
        assert_eq!(spec.namespace, "shop");
        assert_eq!(
            (spec.env_from[0].prefix.as_str(), spec.env_from[0].optional),
            ("P_", true)
        );
        let from = |name: &str| &spec.env.iter().find(|one| one.name == name).unwrap().from;
        assert_eq!(*from("A"), ValueFrom::Literal("$(P_X)".into()));
        assert_eq!(*from("EMPTY"), ValueFrom::Literal(String::new()));
        assert!(
            matches!(from("APP"), ValueFrom::Field { value: Lookup::Found(value), .. } if value == "web")
        );
        assert!(
            matches!(
                from("IP"),
                ValueFrom::Field {
                    value: Lookup::Unreadable(_),
                    ..
                }
            ),
            "no status yet"
        );
        assert!(matches!(
            from("MEM"),
            ValueFrom::Resource {
                value: Lookup::Unreadable(_),
                ..
            }
        ));
        for (name, wanted) in [("CPU", "250"), ("WANTED", "0")] {
            assert!(
                matches!(from(name), ValueFrom::Resource { value: Lookup::Found(value), .. } if value == wanted),
                "{name}: {:?}",
                from(name)
            );
        }
        assert!(
            matches!(from("KEY"), ValueFrom::Key { object, .. } if object.kind == ObjectKind::Secret)
        );
        assert_eq!(
            spec.injected.get("ROLE").map(String::as_str),
            Some("identity-webhook")
        );
        assert_eq!(spec.injected.len(), 1);
        assert_eq!(references(&spec).len(), 2);
        assert_eq!(started_at(&pod(), "main"), Some(1_767_225_601_000));
        assert!(container_spec(&pod(), "other").is_none());
    }

    /// As an API server of version 1.34 answered for a pod that a webhook had changed while it was created.
    #[test]
    fn what_a_webhook_adds_to_a_new_pod_has_no_owner() {
        let pod = |managed: Json| -> Pod {
            let env = json!([{"name": "OWN", "value": "1"}, {"name": "INJECTED", "value": "by-the-hook"}]);
            serde_json::from_value(json!({
                "metadata": {"name": "victim", "managedFields": [
                    {"manager": "kubectl-client-side-apply", "operation": "Update", "fieldsV1": {"f:spec": {
                        "f:containers": {"k:{\"name\":\"app\"}": managed}}}},
                    {"manager": "kubelet", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
                ]},
                "spec": {"containers": [{"name": "app", "image": "i", "env": env}]},
            }))
            .unwrap()
        };
        let injected_of = |managed: Json| {
            let injected = container_spec(&pod(managed), "app").unwrap().injected;
            injected.into_keys().collect::<Vec<_>>()
        };
        let own = json!({".": {}, "f:name": {}, "f:value": {}});
        let name = |name: &str| format!("k:{{\"name\":\"{name}\"}}");
        assert_eq!(
            injected_of(json!({"f:image": {}, "f:env": {".": {}, name("OWN"): own}})),
            ["INJECTED"]
        );
        assert_eq!(injected_of(json!({"f:image": {}})), ["INJECTED", "OWN"]);
        // Both are whose pod it is, and a server that tells nothing of the container says nothing of webhooks.
        let both =
            json!({"f:image": {}, "f:env": {".": {}, name("OWN"): own, name("INJECTED"): own}});
        assert!(injected_of(both).is_empty());
        assert!(injected_of(json!({"f:image": {}, "f:env": {}})).is_empty());
        assert!(injected_of(json!({})).is_empty());
    }

    #[test]
    fn a_limit_that_is_not_set_is_what_the_node_has_to_give() {
        let field: ResourceFieldSelector =
            serde_json::from_value(json!({"resource": "limits.memory", "divisor": "1Mi"})).unwrap();
        let node = [("memory".to_owned(), Quantity("2Gi".to_owned()))].into();
        assert_eq!(
            of_node(&field, Some(&node)),
            Lookup::Found("2048".to_owned())
        );
        assert!(of_node(&field, None).unreadable().is_some());
    }

    #[test]
    fn a_secret_is_sealed_when_it_arrives() {
        let object: Secret = serde_json::from_value(
            json!({"metadata": {"name": "s"}, "data": {"k": "aHVudGVyMg=="}}),
        )
        .unwrap();
        let keys = Keyring::new([1; 32]);
        let object = secret(object, &keys);
        assert!(!format!("{object:?}").contains("hunter2"));
        assert!(keys.matches(&object.data["k"], b"hunter2"));
    }
}
