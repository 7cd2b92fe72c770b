//! A pod of kdbg's own, for as long as a command asks from it: `--from new` and `--from node`.
//!
//! It is added only when the command line says so, has no rights at all, and goes in four ways: with the command that
//! has started it, also when that is interrupted; with the target, which owns it; a minute after the last session, when its
//! agent ends; and at its deadline. What is left of one whose command was killed, `kdbg cleanup` takes away.

use std::{fmt, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    Cluster, Described, Opened, Place, PodError, PodOptions, Rung, access, admission, container,
    declared,
    inject::{self, Awaited, Prospect},
    push,
    rung::STRANGER,
    witness::Witness,
};
use crate::{
    evidence::choice,
    protocol::message::{Agent, ProcessScope, Request},
    session::Session,
    target::{TargetError, list},
};

/// Its only container.
pub(super) const CONTAINER: &str = "agent";
/// What every pod of kdbg's own is labelled with, and nothing else: no Service and no policy selects it by accident.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kdbg");
/// The rights of the agent in it: none.
const RUNG: Rung = Rung::SameUser(STRANGER);
/// How long an agent without a session rests at most. Its command holds one from the first moment to the last.
const REST_LIMIT: Duration = Duration::from_mins(1);
/// For one request about it, while somebody waits for the command to end.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// From where a pod of kdbg's own asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vantage {
    /// The pod network, from any node.
    New,
    /// The network of the target's node.
    Node,
}

impl Vantage {
    /// What to do where no such pod may be started.
    pub(super) fn instead(self) -> Vec<String> {
        match self {
            Self::New => vec![
                "name a pod that works with `--from POD`, or start one that admission lets in (`kubectl run`) and name that"
                    .to_owned(),
            ],
            Self::Node => vec![
                "name a pod of the namespace that has the network of its node (`hostNetwork`) with `--from POD`, or run kdbg on the node itself"
                    .to_owned(),
                "have the namespace admit such a pod (Pod Security `privileged`) for the time of the incident"
                    .to_owned(),
            ],
        }
    }
}

/// As it is typed.
impl fmt::Display for Vantage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::New => "new",
            Self::Node => "node",
        })
    }
}

/// A pod that is to be started, or has been.
pub struct Temporary {
    cluster: Cluster,
    vantage: Vantage,
    name: String,
    image: String,
    spec: Value,
    /// How long to wait for its agent.
    limit: Duration,
    /// The request that starts it, while nobody knows what came of it.
    creating: Option<JoinHandle<Result<Pod, kube::Error>>>,
    /// Whether it may be there.
    may_exist: bool,
}

impl Temporary {
    /// One for a target; nothing is started yet. The image is what the agent beside the target has, which its node could get.
    pub fn new(target: &Described, image: &str, vantage: Vantage, options: &PodOptions) -> Self {
        let name = name(vantage);
        let spec = spec(&name, &target.object, vantage, image, options);
        Self {
            cluster: target.cluster.clone(),
            vantage,
            name,
            image: image.to_owned(),
            spec,
            limit: options.limit,
            creating: None,
            may_exist: false,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks whether it could be started and taken away again, and starts nothing (`dryRun=All`).
    pub async fn check(&self) -> Result<(), PodError> {
        let removal = access::DELETE_PODS.inside(&self.cluster.namespace);
        let parameters = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let api = self.api();
        let pod = self.pod()?;
        let asking = async {
            tokio::join!(
                access::may(&self.cluster, &removal),
                api.create(&parameters, &pod),
            )
        };
        let answers = timeout(self.limit, asking).await;
        let (may_remove, created) = answers.map_err(|_| self.unanswered())?;
        if may_remove == Ok(false) {
            return Err(PodError::Forbidden {
                verb: removal,
                message: "a pod that kdbg starts has to go again".to_owned(),
            });
        }
        match created {
            // Who does not take part in a dry run says what it has to say when it is no dry run.
            Err(kube::Error::Api(status)) if admission::was_not_asked(&status.message) => Ok(()),
            created => created.map(drop).map_err(|error| self.refused(error)),
        }
    }

    /// Starts it and talks to its agent.
    pub(in crate::target) async fn open(&mut self) -> Result<Opened, PodError> {
        let pod = self.create().await?;
        let opened = self.stand(pod).await;
        opened.map_err(|error| PodError::Elsewhere {
            vantage: self.vantage,
            pod: self.name.clone(),
            source: Box::new(error),
        })
    }

    /// Takes it away, if it may be there.
    pub async fn remove(&mut self) -> Result<(), PodError> {
        if let Some(creating) = self.creating.take() {
            // A request that is on its way would be served after the one that deletes.
            let _ = timeout(ASK_LIMIT, creating).await;
        }
        if !self.may_exist {
            return Ok(());
        }
        delete(&self.cluster, &self.cluster.namespace, &self.name).await?;
        self.may_exist = false;
        Ok(())
    }

    /// What it can show, and what not; to be said beside the answer.
    pub fn remarks(&self, place: &Place) -> Vec<String> {
        let (name, node) = (&self.name, &place.node);
        let mut remarks = vec![match self.vantage {
            Vantage::New => format!(
                "`new` is pod {name} on node {node}: its labels are kdbg's own, so a NetworkPolicy that selects pods like the target by their labels does not hold for it, one that selects all pods of the namespace does"
            ),
            Vantage::Node => format!(
                "`node` is {node}, through pod {name}: most networks hold no NetworkPolicy against it, and it looks names up as the node does, which need not know those of the cluster"
            ),
        }];
        let added = added(&place.object);
        if !added.is_empty() {
            remarks.push(format!(
                "admission has added {} to pod {name}: what it asks may go through that",
                added.join(", ")
            ));
        }
        remarks
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    fn pod(&self) -> Result<Pod, PodError> {
        serde_json::from_value(self.spec.clone()).map_err(|error| PodError::Api {
            verb: access::CREATE_PODS.inside(&self.cluster.namespace),
            message: error.to_string(),
        })
    }

    async fn create(&mut self) -> Result<Pod, PodError> {
        let (api, pod) = (self.api(), self.pod()?);
        self.may_exist = true;
        // Of its own, so that its outcome is known also when this is given up half-way.
        let creating = tokio::spawn(async move { api.create(&PostParams::default(), &pod).await });
        let creating = self.creating.insert(creating);
        // What is late may still come, and is then for `remove`.
        let Ok(created) = timeout(self.limit, creating).await else {
            return Err(self.unanswered());
        };
        self.creating = None;
        let verb = access::CREATE_PODS.inside(&self.cluster.namespace);
        let created = created.map_err(|error| PodError::Api {
            verb,
            message: error.to_string(),
        })?;
        created.map_err(|error| {
            // A server that refuses has not made it; one that fails, or does not answer, may have.
            self.may_exist = !matches!(&error, kube::Error::Api(status) if status.code < 500);
            self.refused(error)
        })
    }

    /// The API server takes longer than the user wants to wait.
    fn unanswered(&self) -> PodError {
        PodError::Deadline {
            seconds: self.limit.as_secs(),
            last: format!(
                "the API server has not said whether pod {} may be started",
                self.name
            ),
        }
    }

    /// Sorts an error of the request that starts it.
    fn refused(&self, error: kube::Error) -> PodError {
        match &error {
            kube::Error::Api(status) if is_of_admission(status.code, &status.message) => {
                PodError::NotAdmitted {
                    vantage: self.vantage,
                    namespace: self.cluster.namespace.clone(),
                    message: status.message.clone(),
                }
            }
            _ => PodError::api(error, &access::CREATE_PODS.inside(&self.cluster.namespace)),
        }
    }

    async fn stand(&self, pod: Pod) -> Result<Opened, PodError> {
        let awaited = Awaited {
            image: &self.image,
            container: CONTAINER,
            prospect: &|pod| prospect(pod, &self.image),
            is_running: false,
        };
        let (session, agent_path) = awaited.converse(&self.cluster, &pod, self.limit).await?;
        // Where it stands was not known when it was made; without the right to look it stays so.
        let pod = match timeout(ASK_LIMIT, self.api().get(&self.name)).await {
            Ok(Ok(pod)) => pod,
            _ => pod,
        };
        session.when_lost(Witness::new(&self.cluster, &pod, None, CONTAINER).testify());
        let (processes, choice) = ourselves(&session).await.map_err(|error| match error {
            TargetError::Pod(error) => error,
            error => PodError::NotVisible {
                pod: self.name.clone(),
                container: CONTAINER.to_owned(),
                reason: error.to_string(),
            },
        })?;
        Ok(Opened {
            session,
            processes,
            choice,
            place: self.place(pod),
            agent_path,
        })
    }

    fn place(&self, pod: Pod) -> Place {
        let status = container::status_of(&pod, CONTAINER);
        let (spec, of_pod) = (pod.spec.as_ref(), pod.status.as_ref());
        Place {
            cluster: self.cluster.clone(),
            namespace: self.cluster.namespace.clone(),
            pod: self.name.clone(),
            of: 1,
            uid: pod.uid().unwrap_or_default(),
            address: of_pod
                .and_then(|status| status.pod_ip.clone())
                .unwrap_or_default(),
            node: spec
                .and_then(|spec| spec.node_name.clone())
                .unwrap_or_default(),
            container: CONTAINER.to_owned(),
            container_id: status.and_then(container::running_id).unwrap_or_default(),
            image: self.image.clone(),
            image_id: status
                .map(|status| status.image_id.clone())
                .unwrap_or_default(),
            rung: RUNG,
            agent: CONTAINER.to_owned(),
            agent_image: self.image.clone(),
            reused: false,
            kept: false,
            refused: Vec::new(),
            missing_image: None,
            volumes: declared::volumes(&pod, CONTAINER),
            object: Box::new(pod),
        }
    }
}

/// The agent as the process: it stands in the network that is meant, with the files of its own container.
async fn ourselves(
    session: &Session,
) -> Result<(Vec<crate::protocol::message::Process>, choice::Choice), TargetError> {
    let agent: Agent = session.request(&Request::Agent)?.head().await?;
    let pid = agent.process.pid;
    let processes = list(session, ProcessScope::Tree(pid)).await?;
    let choice = choice::choose(&processes, Some(pid)).ok_or_else(|| TargetError::Empty {
        target: CONTAINER.to_owned(),
    })?;
    Ok((processes, choice))
}

/// Deletes a pod; one that is not there is as good.
pub(super) async fn delete(cluster: &Cluster, namespace: &str, name: &str) -> Result<(), PodError> {
    let verb = access::DELETE_PODS.inside(namespace);
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let parameters = DeleteParams::default();
    match timeout(ASK_LIMIT, api.delete(name, &parameters)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Ok(()),
        Ok(Err(error)) => Err(PodError::api(error, &verb)),
        Err(_) => Err(PodError::Api {
            verb,
            message: format!("no answer within {} s", ASK_LIMIT.as_secs()),
        }),
    }
}

/// Whether a pod is one that a command has started to ask from it.
pub(super) fn is_ours(pod: &Pod) -> bool {
    let (key, value) = MANAGED_BY;
    let is_labelled = pod.labels().get(key).is_some_and(|found| found == value);
    let name = pod.name_any();
    let digest = ["kdbg-from-new-", "kdbg-from-node-"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix));
    let is_digest = |digest: &str| {
        digest.len() == DIGITS && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    is_labelled && digest.is_some_and(is_digest)
}

/// The selector that finds them all.
pub(super) fn labels() -> String {
    let (key, value) = MANAGED_BY;
    format!("{key}={value}")
}

/// Whether a pod of kdbg's own was started for one of these targets.
pub(super) fn is_for(pod: &Pod, uids: &[String]) -> bool {
    let owners = pod.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| uids.contains(&owner.uid))
}

/// Hexadecimal digits behind the name.
const DIGITS: usize = 8;

fn name(vantage: Vantage) -> String {
    let mut digest = push::part_name();
    digest.truncate(DIGITS);
    format!("kdbg-from-{vantage}-{digest}")
}

/// The pod as it is wanted. Pure.
///
/// It passes Pod Security *restricted*, but for the node's network. It is small, so that quotas have room for it and nobody has to
/// go for it. Names are looked up as any new pod would (`ClusterFirst`), and from the node as the node does (`Default`).
fn spec(name: &str, target: &Pod, vantage: Vantage, image: &str, options: &PodOptions) -> Value {
    let life = options.limit + options.idle;
    let of_target = target.spec.as_ref();
    let mut spec = json!({
        "restartPolicy": "Never",
        "activeDeadlineSeconds": life.as_secs().max(1),
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "containers": [{
            "name": CONTAINER,
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": inject::rest(image, options.idle.min(REST_LIMIT)),
            "securityContext": RUNG.security_context(),
            "resources": {
                "requests": {"cpu": "50m", "memory": "32Mi"},
                "limits": {"cpu": "500m", "memory": "128Mi"},
            },
        }],
        // With them the image beside the target was pulled.
        "imagePullSecrets": of_target.and_then(|spec| spec.image_pull_secrets.as_ref()),
    });
    let place = match vantage {
        Vantage::New => json!({"nodeSelector": {"kubernetes.io/os": "linux"}}),
        Vantage::Node => json!({
            "hostNetwork": true,
            "dnsPolicy": "Default",
            "nodeName": of_target.and_then(|spec| spec.node_name.as_deref()),
            // The target is there, so this may be, whatever has come over the node since.
            "tolerations": [{"operator": "Exists"}],
        }),
    };
    if let (Some(spec), Value::Object(place)) = (spec.as_object_mut(), place) {
        spec.extend(place);
    }
    let (key, value) = MANAGED_BY;
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {key: value},
            // Not as its controller, and without holding up its deletion: that would need a right of its own.
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "Pod",
                "name": target.name_any(),
                "uid": target.uid().unwrap_or_default(),
            }],
        },
        "spec": spec,
    })
}

/// What admission has added beside the agent.
fn added(pod: &Pod) -> Vec<String> {
    let containers = pod.spec.iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(init)
    });
    containers
        .filter(|container| container.name != CONTAINER)
        .map(|container| format!("container {}", container.name))
        .collect()
}

/// Reads out of the pod what can be expected of its agent. Pure.
fn prospect(pod: &Pod, image: &str) -> Prospect {
    let state = container::status_of(pod, CONTAINER).and_then(|status| status.state.as_ref());
    // How its container has ended says more than that the pod has.
    let has_ended = state.is_some_and(|state| state.terminated.is_some());
    if !has_ended && let Some(lost) = inject::lost(pod) {
        return Prospect::None(lost);
    }
    if state.is_none()
        && let Some(reason) = container::unscheduled(pod)
    {
        return Prospect::Waiting(format!("no node takes it: {reason}"));
    }
    inject::prospect_of(state, image, CONTAINER)
}

/// Whether it is admission that does not want a pod: policies, quotas and webhooks choose their own codes. What RBAC, a
/// busy server and a server that does not know us answer is not theirs.
fn is_of_admission(code: u16, message: &str) -> bool {
    (400..500).contains(&code)
        && ![401, 404, 409, 429].contains(&code)
        && !message.contains("cannot create resource")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::pod::ClusterOptions;

    fn target() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"}},
            "spec": {
                "nodeName": "node-1",
                "containers": [{"name": "app"}],
                "imagePullSecrets": [{"name": "pull"}],
                "serviceAccountName": "web",
            },
        }))
        .unwrap()
    }

    fn options() -> PodOptions {
        PodOptions {
            cluster: ClusterOptions::default(),
            container: None,
            image: "registry/kdbg-agent:1".to_owned(),
            idle: Duration::from_mins(15),
            limit: Duration::from_secs(30),
            privileged: true,
            chroot: false,
            keep: false,
        }
    }

    fn made(vantage: Vantage) -> Value {
        spec(
            "kdbg-from-x-0",
            &target(),
            vantage,
            "registry/kdbg-agent:1",
            &options(),
        )
    }

    /// What Pod Security *restricted* wants is in the standard; a cluster test holds it to the real thing.
    #[test]
    fn a_new_pod_has_no_rights_no_token_and_no_labels_but_kdbgs() {
        let pod = made(Vantage::New);
        assert_eq!(
            pod["metadata"]["labels"],
            json!({"app.kubernetes.io/managed-by": "kdbg"})
        );
        assert_eq!(
            pod["metadata"]["ownerReferences"],
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u-1"}])
        );
        let spec = &pod["spec"];
        assert_eq!(
            spec["containers"][0]["securityContext"],
            json!({
                "runAsUser": 65532, "runAsGroup": 65532, "runAsNonRoot": true,
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            })
        );
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(spec["enableServiceLinks"], false);
        assert_eq!(spec["restartPolicy"], "Never");
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
        for absent in [
            "hostNetwork",
            "nodeName",
            "serviceAccountName",
            "tolerations",
            "dnsPolicy",
            "volumes",
        ] {
            assert_eq!(spec[absent], Value::Null, "{absent}");
        }
    }

    #[test]
    fn it_ends_by_itself_whatever_becomes_of_the_command() {
        let spec = &made(Vantage::New)["spec"];
        assert_eq!(spec["activeDeadlineSeconds"], 15 * 60 + 30);
        assert_eq!(spec["terminationGracePeriodSeconds"], 0);
        assert_eq!(
            spec["containers"][0]["command"],
            json!(["/usr/bin/kdbg-agent", "rest", "--idle", "60"])
        );
    }

    #[test]
    fn the_nodes_pod_has_its_network_and_its_resolver_and_no_other_right() {
        let node = made(Vantage::Node);
        let spec = &node["spec"];
        assert_eq!(spec["hostNetwork"], true);
        assert_eq!(spec["dnsPolicy"], "Default");
        assert_eq!(spec["nodeName"], "node-1");
        for absent in ["hostPID", "hostIPC", "volumes"] {
            assert_eq!(spec[absent], Value::Null, "{absent}");
        }
        assert_eq!(spec["containers"], made(Vantage::New)["spec"]["containers"]);
    }

    #[test]
    fn the_api_takes_the_pod_as_it_is_written() {
        for vantage in [Vantage::New, Vantage::Node] {
            let written = made(vantage);
            let pod: Pod = serde_json::from_value(written.clone()).unwrap();
            // What the types do not know would be lost here.
            let mut read = serde_json::to_value(&pod).unwrap();
            read["apiVersion"] = "v1".into();
            read["kind"] = "Pod".into();
            assert_eq!(read, written);
        }
    }

    #[test]
    fn only_pods_of_kdbg_are_its_own_and_only_of_their_targets() {
        let named = |name: &str, manager: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {
                "name": name, "labels": {"app.kubernetes.io/managed-by": manager},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u-1"}],
            }}))
            .unwrap()
        };
        for vantage in [Vantage::New, Vantage::Node] {
            assert!(is_ours(&named(&name(vantage), "kdbg")));
            assert!(!is_ours(&named(&name(vantage), "Helm")));
        }
        for other in [
            "kdbg",
            "kdbg-from-new-",
            "kdbg-from-new-0123abcg",
            "kdbg-from-old-0123abcd",
        ] {
            assert!(!is_ours(&named(other, "kdbg")), "{other}");
        }
        let pod = named("kdbg-from-new-0123abcd", "kdbg");
        assert!(is_for(&pod, &["u-1".to_owned()]));
        assert!(!is_for(&pod, &["u-2".to_owned()]));
    }

    fn seen(status: &Value) -> Prospect {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "kdbg-from-new-0123abcd"},
            "spec": {"containers": [{"name": "agent"}]},
            "status": status,
        }))
        .unwrap();
        prospect(&pod, "registry/kdbg-agent:1")
    }

    fn of_container(state: &Value) -> Value {
        json!([{"name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
    }

    #[test]
    fn a_pod_that_nobody_takes_is_waited_for_with_the_schedulers_words() {
        let status = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient cpu."},
        ]});
        let Prospect::Waiting(text) = seen(&status) else {
            panic!("a node may come free");
        };
        assert_eq!(
            text,
            "no node takes it: 0/3 nodes are available: 3 Insufficient cpu."
        );
    }

    #[test]
    fn a_pod_that_will_not_start_ends_the_wait_with_the_reason() {
        let text = |status: &Value| match seen(status) {
            Prospect::None(error) => error.to_string(),
            Prospect::Waiting(text) => panic!("it will not start: {text}"),
        };
        let kubelet = json!({"phase": "Failed", "reason": "OutOfpods", "message": "Node didn't have enough resource: pods"});
        assert!(
            text(&kubelet).contains("ended (OutOfpods)"),
            "{}",
            text(&kubelet)
        );
        let pull = json!({"phase": "Pending", "containerStatuses":
            of_container(&json!({"waiting": {"reason": "ErrImagePull", "message": "no such host"}}))});
        assert!(
            text(&pull).contains("ErrImagePull: no such host"),
            "{}",
            text(&pull)
        );
        // The container's own end says more than the pod's.
        let missing = json!({"phase": "Failed", "containerStatuses": of_container(&json!({"terminated": {
            "exitCode": 128, "reason": "StartError", "message": "exec: \"sh\": executable file not found in $PATH"}}))});
        assert!(
            text(&missing).contains("carries no agent"),
            "{}",
            text(&missing)
        );
    }

    #[test]
    fn policies_and_quotas_are_told_from_rights_and_from_a_busy_server() {
        assert!(is_of_admission(
            403,
            "violates PodSecurity \"restricted:latest\": host namespaces"
        ));
        assert!(is_of_admission(
            403,
            "exceeded quota: small, requested: pods=1"
        ));
        assert!(is_of_admission(400, "admission webhook denied the request"));
        let rbac = r#"pods is forbidden: User "dev" cannot create resource "pods" in API group """#;
        assert!(!is_of_admission(403, rbac));
        assert!(!is_of_admission(429, "too many requests"));
        assert!(!is_of_admission(500, "failed calling webhook"));
    }

    #[test]
    fn what_admission_has_added_is_named() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [{"name": "agent"}, {"name": "mesh-proxy"}],
            "initContainers": [{"name": "mesh-init"}],
        }}))
        .unwrap();
        assert_eq!(added(&pod), ["container mesh-proxy", "container mesh-init"]);
        assert_eq!(added(&target()), ["container app"]);
    }
}
