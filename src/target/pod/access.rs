//! What kdbg may do in a cluster: the permissions that it needs, whether the account has them, and the role that
//! gives it exactly those.
//!
//! `TABLE` is the only list of them. The requests name their verbs by the constants here, so an error, a review and
//! the printed role cannot differ.

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use super::{Cluster, PodError, Verb};
use crate::target::{Kind, Selector};

pub(super) const GET_PODS: Verb = Verb::pods("get");
pub(super) const LIST_PODS: Verb = Verb::pods("list");
pub(super) const WATCH_PODS: Verb = Verb::pods("watch");
pub(super) const PATCH_EPHEMERAL: Verb = Verb::new("patch", "", "pods/ephemeralcontainers");
pub(super) const GET_EXEC: Verb = Verb::new("get", "", "pods/exec");
pub(super) const CREATE_EXEC: Verb = Verb::new("create", "", "pods/exec");
/// Only `--from new` and `--from node` ask for this and the next one, and `kdbg cleanup` for the next one when there is
/// something to delete.
pub(super) const CREATE_PODS: Verb = Verb::pods("create");
/// See [`CREATE_PODS`].
pub(super) const DELETE_PODS: Verb = Verb::pods("delete");
/// `kdbg doctor` asks for this when it may, and a command whose image the node cannot get. It is no part of the role,
/// as a Role cannot give it: nodes belong to no namespace.
pub(super) const GET_NODES: Verb = Verb::new("get", "", "nodes");
/// Only `kdbg doctor` asks for this, and only when it may.
pub(super) const GET_NAMESPACES: Verb = Verb::new("get", "", "namespaces");
/// `kdbg net` asks for these in all namespaces, and then in the pod's own, to name the peers of connections. They are
/// no part of the role: a Role cannot give the first, and what is not allowed is only not known.
pub(super) const LIST_SERVICES: Verb = Verb::new("list", "", "services");
/// See [`LIST_SERVICES`].
pub(super) const LIST_SLICES: Verb = Verb::new("list", "discovery.k8s.io", "endpointslices");
/// See [`LIST_SERVICES`].
pub(super) const LIST_NODES: Verb = Verb::new("list", "", "nodes");
/// See [`LIST_SERVICES`]: which pod had an address that nobody has any more.
pub(super) const LIST_EVENTS: Verb = Verb::new("list", "", "events");
/// See [`LIST_SERVICES`]: one `ConfigMap` of the network, when a connection looks like one around a Service.
pub(super) const GET_CONFIG_MAPS: Verb = Verb::new("get", "", "configmaps");

/// Which request finds an object of a kind.
pub(super) const fn get_of(kind: Kind) -> Verb {
    match kind {
        Kind::Pod => GET_PODS,
        Kind::Deployment => Verb::new("get", "apps", "deployments"),
        Kind::StatefulSet => Verb::new("get", "apps", "statefulsets"),
        Kind::DaemonSet => Verb::new("get", "apps", "daemonsets"),
        Kind::ReplicaSet => Verb::new("get", "apps", "replicasets"),
        Kind::Job => Verb::new("get", "batch", "jobs"),
        Kind::Service => Verb::new("get", "", "services"),
    }
}

/// When a permission is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// By every command, and so on every target.
    Always,
    /// By commands on one pod, named.
    Named,
    /// By commands on the pods of something else, of labels, or of all namespaces, and by `kdbg cleanup`.
    Listed,
    /// By commands on an object of this kind.
    Of(Kind),
    /// By commands that start a pod of kdbg's own (`--from new`, `--from node`).
    Started,
}

/// Something that kdbg asks of the API server.
#[derive(Clone, Debug)]
pub struct Permission {
    /// What.
    pub verb: Verb,
    /// What for; begins with a verb.
    pub purpose: &'static str,
    /// What happens without it, one sentence, when that is not the end of the command.
    pub otherwise: Option<&'static str>,
}

/// All that commands ask for. `kdbg cleanup` adds nothing to a pod, and does without the patch; the
/// reviews of `kdbg doctor` are allowed to everybody (`system:basic-user`).
const TABLE: [(When, Verb, &str, Option<&str>); 16] = [
    (When::Named, GET_PODS, "find the pod by its name", None),
    (
        When::Listed,
        LIST_PODS,
        "find the pods of a target or of labels",
        None,
    ),
    (
        When::Listed,
        GET_PODS,
        "see how the pod is, where it cannot be watched, and that an agent has ended",
        Some("without it, a pod that cannot be watched either is waited for without reasons"),
    ),
    (
        When::Of(Kind::Deployment),
        get_of(Kind::Deployment),
        "find `deploy/NAME`",
        None,
    ),
    (
        When::Of(Kind::StatefulSet),
        get_of(Kind::StatefulSet),
        "find `sts/NAME`",
        None,
    ),
    (
        When::Of(Kind::DaemonSet),
        get_of(Kind::DaemonSet),
        "find `ds/NAME`",
        None,
    ),
    (
        When::Of(Kind::ReplicaSet),
        get_of(Kind::ReplicaSet),
        "find `rs/NAME`",
        None,
    ),
    (
        When::Of(Kind::Job),
        get_of(Kind::Job),
        "find `job/NAME`",
        None,
    ),
    (
        When::Of(Kind::Service),
        get_of(Kind::Service),
        "find `svc/NAME`",
        None,
    ),
    (
        When::Always,
        PATCH_EPHEMERAL,
        "add the agent's container to the pod",
        None,
    ),
    (
        When::Always,
        GET_EXEC,
        "run the agent in its container",
        None,
    ),
    (
        When::Always,
        CREATE_EXEC,
        "run the agent in its container, from Kubernetes 1.35 on",
        None,
    ),
    (
        When::Always,
        WATCH_PODS,
        "see at once why an agent does not start",
        Some("without it, the pod is looked at once a second instead"),
    ),
    (
        When::Started,
        CREATE_PODS,
        "start a pod to ask from (`--from new`, `--from node`)",
        None,
    ),
    (When::Started, DELETE_PODS, "take that pod away again", None),
    (
        When::Started,
        LIST_PODS,
        "find such pods whose command was killed, for `kdbg cleanup TARGET`",
        Some("without it, `kdbg cleanup` removes them by their own names only"),
    ),
];

/// The permissions that commands on a target need; on all kinds of targets without one. `starts_pods` is whether they ask
/// from a pod of kdbg's own.
pub fn permissions(
    selector: Option<&Selector>,
    namespace: Option<&str>,
    starts_pods: bool,
) -> Vec<Permission> {
    let by_name =
        |kind| matches!(selector, Some(Selector::Object { kind: asked, .. }) if *asked == kind);
    // A pod that is looked for in all namespaces is found in a list.
    let is_named = by_name(Kind::Pod) && namespace.is_some();
    let mut permissions: Vec<Permission> = Vec::new();
    for (when, verb, purpose, otherwise) in &TABLE {
        let is_needed = match when {
            When::Always => true,
            When::Named => selector.is_none() || is_named,
            When::Listed => !is_named,
            When::Of(kind) => selector.is_none() || by_name(*kind),
            When::Started => starts_pods,
        };
        let verb = Verb {
            namespace: namespace.map(str::to_owned),
            ..verb.clone()
        };
        let is_known = permissions.iter().any(|known| known.verb == verb);
        if is_needed && !is_known {
            permissions.push(Permission {
                verb,
                purpose,
                otherwise: *otherwise,
            });
        }
    }
    permissions
}

/// Whether the account may do something; the text is why that is not known.
pub(super) type Allowed = Result<bool, String>;

/// Asks for each of the permissions whether the account has it.
pub(super) async fn review<'a>(
    cluster: &Cluster,
    verbs: impl IntoIterator<Item = &'a Verb>,
) -> Vec<Allowed> {
    join_all(verbs.into_iter().map(|verb| may(cluster, verb))).await
}

/// Asks whether the account may do something.
pub(super) async fn may(cluster: &Cluster, verb: &Verb) -> Allowed {
    let (resource, subresource) = match verb.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (verb.resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(verb.group.to_owned()),
                namespace: verb.namespace.clone(),
                resource: Some(resource.to_owned()),
                subresource,
                verb: Some(verb.verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            non_resource_attributes: None,
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    let status = answer
        .map_err(|error| error.to_string())?
        .status
        .ok_or("the API server has not decided")?;
    match status.evaluation_error {
        Some(error) if !status.allowed => Err(error),
        _ => Ok(status.allowed),
    }
}

/// Who the API server takes us for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The groups.
    pub groups: Vec<String>,
}

impl Account {
    /// Asks the API server.
    pub(super) async fn ask(cluster: &Cluster) -> Result<Self, PodError> {
        let api: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
        let verb = Verb::new("create", "authentication.k8s.io", "selfsubjectreviews");
        let review = api
            .create(&PostParams::default(), &SelfSubjectReview::default())
            .await
            .map_err(|error| PodError::api(error, &verb))?;
        let user = review
            .status
            .and_then(|status| status.user_info)
            .unwrap_or_default();
        Ok(Self {
            name: user.username.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
        })
    }

    /// The account as a binding names it.
    fn subject(&self) -> Value {
        let account = self
            .name
            .strip_prefix("system:serviceaccount:")
            .and_then(|account| account.split_once(':'));
        match account {
            Some((namespace, name)) => {
                json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
            }
            None => {
                json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": self.name})
            }
        }
    }
}

/// The role that gives exactly these permissions, and its binding to the account when that is known. For one namespace,
/// or for all.
pub fn role(
    permissions: &[Permission],
    namespace: Option<&str>,
    account: Option<&Account>,
) -> Vec<Value> {
    let (role, binding, metadata) = match namespace {
        Some(namespace) => (
            "Role",
            "RoleBinding",
            json!({"name": "kdbg", "namespace": namespace}),
        ),
        None => ("ClusterRole", "ClusterRoleBinding", json!({"name": "kdbg"})),
    };
    let mut objects = vec![json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": role,
        "metadata": metadata,
        "rules": rules(permissions),
    })];
    if let Some(account) = account {
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": binding,
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": "kdbg"},
            "subjects": [account.subject()],
        }));
    }
    objects
}

/// One rule for all resources of a group that have the same verbs.
fn rules(permissions: &[Permission]) -> Vec<Value> {
    let mut verbs: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for Permission { verb, .. } in permissions {
        verbs
            .entry((verb.group, verb.resource))
            .or_default()
            .push(verb.verb);
    }
    let mut rules: BTreeMap<(&str, Vec<&str>), Vec<&str>> = BTreeMap::new();
    for ((group, resource), mut verbs) in verbs {
        verbs.sort_unstable();
        rules.entry((group, verbs)).or_default().push(resource);
    }
    rules
        .into_iter()
        .map(|((group, verbs), resources)| {
            json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(selector: &str, namespace: Option<&str>) -> Vec<String> {
        let selector = selector.parse().unwrap();
        permissions(Some(&selector), namespace, false)
            .iter()
            .map(|permission| permission.verb.to_string())
            .collect()
    }

    #[test]
    fn a_pod_by_name_needs_no_list_and_a_deployment_needs_one_and_itself() {
        assert_eq!(
            texts("web-1", Some("shop")),
            [
                "get pods in namespace shop",
                "patch pods/ephemeralcontainers in namespace shop",
                "get pods/exec in namespace shop",
                "create pods/exec in namespace shop",
                "watch pods in namespace shop",
            ]
        );
        let deployment = texts("deploy/web", Some("shop"));
        for verb in ["list pods", "get deployments.apps"] {
            let verb = format!("{verb} in namespace shop");
            assert!(deployment.contains(&verb), "{deployment:?}");
        }
        assert!(texts("web-1", None).contains(&"list pods in all namespaces".to_owned()));
    }

    #[test]
    fn the_role_has_each_permission_once_and_nothing_else() {
        let permissions = permissions(None, Some("shop"), false);
        let account = Account {
            name: "system:serviceaccount:ops:helper".to_owned(),
            groups: Vec::new(),
        };
        let objects = role(&permissions, Some("shop"), Some(&account));
        assert_eq!(
            objects[0]["rules"],
            json!([
                {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]},
                {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": [""], "resources": ["pods/ephemeralcontainers"], "verbs": ["patch"]},
                {"apiGroups": ["apps"], "resources": ["daemonsets", "deployments", "replicasets", "statefulsets"], "verbs": ["get"]},
                {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]},
            ])
        );
        assert_eq!(
            objects[1]["subjects"][0],
            json!({"kind": "ServiceAccount", "name": "helper", "namespace": "ops"})
        );
    }

    #[test]
    fn pods_are_created_and_deleted_only_where_a_command_starts_one() {
        let selector = "web-1".parse().unwrap();
        let with = permissions(Some(&selector), Some("shop"), true);
        let with = role(&with, Some("shop"), None);
        assert_eq!(
            with[0]["rules"][0],
            json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "delete", "get", "list", "watch"]})
        );
        for text in texts("web-1", Some("shop")) {
            assert!(
                !text.contains("create pods in") && !text.contains("delete"),
                "{text}"
            );
        }
    }

    #[test]
    fn for_all_namespaces_it_is_a_cluster_role() {
        let objects = role(&permissions(None, None, false), None, None);
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0]["kind"], "ClusterRole");
        assert_eq!(objects[0]["metadata"], json!({"name": "kdbg"}));
    }
}
