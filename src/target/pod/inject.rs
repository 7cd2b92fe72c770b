//! The agent's container: found again, or added to the pod, and then waited for.
//!
//! An ephemeral container can never be removed or restarted, so there is at most one of a kind: its name carries the
//! digest of everything that decides what it can do. The wait does not trust the pod's status, which lags behind by a
//! second: a program can be run in the container long before (measured: 0.15 s after the patch, the status following
//! a second later). The status is watched for reasons only.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, WatchParams},
    core::WatchEvent,
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Cluster, Found, PodError, Rung, Verb, container, exec::exec, images, push};
use crate::{
    protocol::SILENCE_LIMIT,
    session::{Session, SessionError},
};

/// The agent of kdbg's own image.
const AGENT_PATH: &str = "/usr/bin/kdbg-agent";
/// Between two attempts to run something in a container that is not there yet.
const ATTEMPT_AFTER: Duration = Duration::from_millis(25);
/// Between two looks at the pod when it cannot be watched.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// One attempt to run something; a kubelet that hangs must not use up the whole deadline unnoticed.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

/// What a container of a foreign image does: it waits for the agent to be carried in, which then rests as it would in
/// its own image.
const REST: &str = r#"
trap 'exit 0' TERM
passed=0
while [ "$passed" -lt "$1" ]; do
  for agent in /tmp/kdbg-agent-* /var/tmp/kdbg-agent-* /dev/shm/kdbg-agent-* "$HOME"/kdbg-agent-* ./kdbg-agent-*; do
    if [ -x "$agent" ]; then exec "$agent" rest --idle "$1"; fi
  done
  sleep 1
  passed=$((passed + 1))
done
"#;

/// The container as it is wanted.
pub(super) struct Wanted<'a> {
    pub(super) image: &'a str,
    pub(super) rung: Rung,
    /// The container whose processes are to be seen.
    pub(super) target: &'a str,
    pub(super) idle: Duration,
}

impl Wanted<'_> {
    /// The name of the first container of this kind in a pod: equal names mean equal abilities.
    fn base_name(&self) -> String {
        let decisive = (
            self.image,
            self.rung.security_context().to_string(),
            self.target,
        );
        let digest = blake3::hash(format!("{decisive:?}").as_bytes()).to_hex();
        format!("kdbg-{}-{}", self.rung.letter(), &digest.as_str()[..8])
    }

    /// What the container does until it is used, and between uses.
    fn rest(&self) -> Vec<String> {
        let idle = self.idle.as_secs().to_string();
        let words: &[&str] = if images::is_own(self.image) {
            &[AGENT_PATH, "rest", "--idle", &idle]
        } else {
            &["sh", "-c", REST, "kdbg", &idle]
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn spec(&self, name: &str) -> Value {
        json!({
            "name": name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": self.rest(),
            "targetContainerName": self.target,
            "securityContext": self.rung.security_context(),
        })
    }
}

/// The agent's container in a pod.
pub(super) enum Entry {
    /// It runs, or may still start.
    Present(String),
    /// There is none that could be used; a new one gets this name.
    Absent(String),
}

/// Looks for the container among those that the pod has.
pub(super) fn look(pod: &Pod, wanted: &Wanted<'_>) -> Entry {
    let base = wanted.base_name();
    let mut number = 1;
    loop {
        let name = if number == 1 {
            base.clone()
        } else {
            format!("{base}-{number}")
        };
        let exists = pod
            .spec
            .iter()
            .flat_map(|spec| spec.ephemeral_containers.iter().flatten())
            .any(|container| container.name == name);
        if !exists {
            return Entry::Absent(name);
        }
        let ended = ephemeral_status(pod, &name)
            .and_then(|status| status.state.as_ref()?.terminated.as_ref())
            // What its image lacks, another container of it would lack too.
            .is_some_and(|ended| {
                !has_no_such_program(ended.message.as_deref().unwrap_or_default())
            });
        if !ended {
            return Entry::Present(name);
        }
        number += 1;
    }
}

/// The status of an ephemeral container by its name.
pub(super) fn ephemeral_status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    pod.status
        .as_ref()?
        .ephemeral_container_statuses
        .as_ref()?
        .iter()
        .find(|status| status.name == name)
}

/// Why a container was not added.
pub(super) enum NotAdded {
    /// Admission does not want this rung here; another one may pass.
    Refused(String),
    /// Nothing will help.
    Error(PodError),
}

/// Adds the container to the pod. A refusal leaves nothing behind.
pub(super) async fn add(
    cluster: &Cluster,
    pod: &Pod,
    wanted: &Wanted<'_>,
    name: &str,
) -> Result<Pod, NotAdded> {
    let patch = json!({"spec": {"ephemeralContainers": [wanted.spec(name)]}});
    let result = api(cluster)
        .patch_ephemeral_containers(
            &pod.name_any(),
            &PatchParams::default(),
            &Patch::Strategic(patch),
        )
        .await;
    let verb = Verb::new("patch", "", "pods/ephemeralcontainers").inside(&cluster.namespace);
    result.map_err(|error| match &error {
        kube::Error::Api(status) if status.is_not_found() => NotAdded::Error(
            if status
                .details
                .as_ref()
                .is_some_and(|details| !details.name.is_empty())
            {
                PodError::NotFound {
                    object: format!("pod/{}", pod.name_any()),
                    namespace: cluster.namespace.clone(),
                }
            } else {
                PodError::Unsupported
            },
        ),
        kube::Error::Api(status) => match refusal(&status.message, name) {
            Admission::Account => NotAdded::Error(PodError::api(error, &verb)),
            Admission::Pod { violator } => NotAdded::Error(PodError::Violator {
                pod: pod.name_any(),
                violator,
                message: status.message.clone(),
            }),
            // Anything else that is refused with a client error is admission's: webhooks choose their own codes.
            Admission::Container if (400..500).contains(&status.code) => {
                NotAdded::Refused(status.message.clone())
            }
            Admission::Container => NotAdded::Error(PodError::api(error, &verb)),
        },
        _ => NotAdded::Error(PodError::api(error, &verb)),
    })
}

/// Who refused a patch, and because of whom.
#[derive(Debug, PartialEq, Eq)]
enum Admission {
    /// RBAC: the account may not do it.
    Account,
    /// Policy, because of something that is in the pod already.
    Pod { violator: String },
    /// Policy, because of our container.
    Container,
}

/// Reads who is at fault out of a refusal. Pod Security evaluates the whole pod, and names the containers in quotes
/// (k8s.io/pod-security-admission, `policy/check_*.go`).
fn refusal(message: &str, ours: &str) -> Admission {
    if message.contains("cannot patch resource") {
        return Admission::Account;
    }
    let Some((_, violations)) = message.split_once("violates PodSecurity") else {
        return Admission::Container;
    };
    let named = named_containers(violations);
    match named.iter().find(|name| **name != ours) {
        Some(other) => Admission::Pod {
            violator: format!("container {other}"),
        },
        None if named.is_empty() => Admission::Pod {
            violator: "the pod itself".to_owned(),
        },
        None => Admission::Container,
    }
}

/// The names after `container "a"` and `containers "a", "b"`.
fn named_containers(violations: &str) -> Vec<&str> {
    let lists = violations
        .split("container")
        .skip(1)
        .filter_map(|text| text.strip_prefix('s').unwrap_or(text).strip_prefix(" \""));
    let mut names = Vec::new();
    for mut list in lists {
        while let Some((name, rest)) = list.split_once('"') {
            names.push(name);
            let Some(next) = rest.strip_prefix(", \"") else {
                break;
            };
            list = next;
        }
    }
    names
}

/// Waits until the agent in a container answers.
pub(super) async fn converse(
    cluster: &Cluster,
    pod: &Pod,
    target: &Found,
    wanted: &Wanted<'_>,
    name: &str,
    limit: Duration,
) -> Result<Session, PodError> {
    let last = Arc::new(Mutex::new(
        "the cluster has said nothing of it yet".to_owned(),
    ));
    let say = |text: String| {
        *last.lock().unwrap_or_else(PoisonError::into_inner) = text;
    };
    let pod_name = pod.name_any();
    let talking = attempts(cluster, &pod_name, wanted, name);
    let watching = watch(cluster, pod, target, wanted, name, &say);
    let result = timeout(limit, async {
        tokio::select! {
            biased;
            session = talking => session,
            error = watching => Err(error),
        }
    })
    .await;
    result.unwrap_or_else(|_| {
        Err(PodError::Deadline {
            seconds: limit.as_secs(),
            last: last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        })
    })
}

/// Tries to run the agent until it is there, and carries it there when the image has none of this build.
async fn attempts(
    cluster: &Cluster,
    pod: &str,
    wanted: &Wanted<'_>,
    name: &str,
) -> Result<Session, PodError> {
    let mut path = AGENT_PATH.to_owned();
    loop {
        match attempt(cluster, pod, name, &path).await {
            Ok(session) => return Ok(session),
            Err(Attempt::Early) => sleep(ATTEMPT_AFTER).await,
            Err(Attempt::NoAgent(message)) if path != AGENT_PATH => {
                return Err(PodError::NoAgent {
                    image: wanted.image.to_owned(),
                    message: format!("and the one that was carried there does not run: {message}"),
                });
            }
            Err(Attempt::NoAgent(message)) => {
                tracing::info!(message, "the image has no agent of this build");
                path = push::provide(cluster, pod, name, wanted.image).await?;
            }
            Err(Attempt::Failed(error)) => return Err(error),
        }
    }
}

enum Attempt {
    /// The container is not there yet.
    Early,
    /// It is there, and has no agent that this client could talk to.
    NoAgent(String),
    Failed(PodError),
}

async fn attempt(cluster: &Cluster, pod: &str, name: &str, path: &str) -> Result<Session, Attempt> {
    let command = [path, "serve"];
    let starting = exec(&cluster.client, &cluster.namespace, pod, name, &command);
    let program = match timeout(ATTEMPT_LIMIT, starting).await {
        Err(_) => return Err(Attempt::Early),
        Ok(Err(error)) => return Err(refused(error, &cluster.namespace)),
        Ok(Ok(program)) => program,
    };
    let end = program.end.clone();
    let reason = match timeout(SILENCE_LIMIT, Session::open(program.stdout, program.stdin)).await {
        Ok(Ok(session)) => return Ok(session),
        Ok(Err(reason)) => reason,
        Err(_) => SessionError::Silent,
    };
    let said = end.failure();
    match said.as_deref() {
        Some(message) if is_early(message) => Err(Attempt::Early),
        Some(message) if has_no_such_program(message) => Err(Attempt::NoAgent(message.to_owned())),
        _ if matches!(reason, SessionError::Stranger { .. }) => {
            Err(Attempt::NoAgent(reason.to_string()))
        }
        _ => Err(Attempt::Failed(PodError::NoConversation {
            container: name.to_owned(),
            source: reason,
            said: end.complaints().or(said),
        })),
    }
}

/// An exec that the API server itself refused.
fn refused(error: kube::Error, namespace: &str) -> Attempt {
    let verb = match &error {
        kube::Error::Api(status) if status.message.contains("cannot create resource") => "create",
        _ => "get",
    };
    match &error {
        kube::Error::Api(status) if is_early(&status.message) => Attempt::Early,
        _ => Attempt::Failed(PodError::api(
            error,
            &Verb::new(verb, "", "pods/exec").inside(namespace),
        )),
    }
}

/// What kubelets and runtimes say of a container that is not there yet, or not quite.
fn is_early(message: &str) -> bool {
    [
        "container not found",
        "is not valid for pod",
        "CONTAINER_CREATED",
        "container is not created or running",
        "not running",
    ]
    .iter()
    .any(|text| message.contains(text))
}

/// What runtimes say of a program that the image does not have.
fn has_no_such_program(message: &str) -> bool {
    [
        "executable file not found",
        "no such file or directory",
        "exec format error",
    ]
    .iter()
    .any(|text| message.contains(text))
}

/// Watches the pod until it is certain that the agent will not start, and says meanwhile what there is to wait for.
async fn watch(
    cluster: &Cluster,
    pod: &Pod,
    target: &Found,
    wanted: &Wanted<'_>,
    name: &str,
    say: &impl Fn(String),
) -> PodError {
    let judge = |pod: &Pod| match prospect(pod, target, wanted, name) {
        Prospect::None(error) => Some(error),
        Prospect::Waiting(reason) => {
            say(reason);
            None
        }
    };
    if let Some(error) = judge(pod) {
        return error;
    }
    let mut version = pod.resource_version().unwrap_or_default();
    let name_of_pod = pod.name_any();
    let parameters = WatchParams::default().fields(&format!("metadata.name={name_of_pod}"));
    loop {
        match api(cluster).watch(&parameters, &version).await {
            Ok(events) => {
                let mut events = events.boxed();
                while let Ok(Some(event)) = events.try_next().await {
                    match event {
                        WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                            if let Some(error) = judge(&pod) {
                                return error;
                            }
                            version = pod.resource_version().unwrap_or_default();
                        }
                        WatchEvent::Deleted(_) => {
                            return PodError::TargetLost {
                                what: format!("pod {name_of_pod} was deleted"),
                            };
                        }
                        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => break,
                    }
                }
            }
            // Without the right to watch, or through a proxy that does not let watches live.
            Err(error) => tracing::debug!(%error, "the pod cannot be watched"),
        }
        sleep(LOOK_AFTER).await;
        match api(cluster).get(&name_of_pod).await {
            Ok(pod) => {
                if let Some(error) = judge(&pod) {
                    return error;
                }
                version = pod.resource_version().unwrap_or_default();
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                return PodError::TargetLost {
                    what: format!("pod {name_of_pod} was deleted"),
                };
            }
            Err(error) => say(format!("the API server does not answer: {error}")),
        }
    }
}

/// What can be expected of an agent's container.
enum Prospect {
    /// It may still start; this is what it waits for.
    Waiting(String),
    /// It will not.
    None(PodError),
}

/// Reads the prospects of the agent's container out of the pod. Pure.
fn prospect(pod: &Pod, target: &Found, wanted: &Wanted<'_>, name: &str) -> Prospect {
    let lost = |what: String| Prospect::None(PodError::TargetLost { what });
    let pod_name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        return lost(format!("pod {pod_name} was being deleted"));
    }
    let status = pod.status.clone().unwrap_or_default();
    if let Some(phase @ ("Failed" | "Succeeded")) = status.phase.as_deref() {
        let reason = status.reason.or(status.message);
        return lost(format!(
            "pod {pod_name} ended ({})",
            reason.unwrap_or_else(|| phase.to_owned())
        ));
    }
    let restarted = container::status_of(pod, &target.name).filter(|status| {
        status.restart_count > target.restarts || container::running_id(status).is_none()
    });
    if let Some(status) = restarted {
        return lost(format!(
            "container {} ended or was restarted ({})",
            target.name,
            container::describe(status)
        ));
    }
    let Some(state) = ephemeral_status(pod, name).and_then(|status| status.state.as_ref()) else {
        return Prospect::Waiting("the kubelet has not taken it up yet".to_owned());
    };
    let not_starting = |reason: String, image: bool| {
        Prospect::None(PodError::NotStarting {
            container: name.to_owned(),
            reason,
            image: image.then(|| wanted.image.to_owned()),
        })
    };
    let no_program = |text: String| {
        Prospect::None(PodError::NoAgent {
            image: wanted.image.to_owned(),
            message: if images::is_own(wanted.image) {
                format!("or it cannot be started: {text}")
            } else {
                "and none can be carried there: it has no shell".to_owned()
            },
        })
    };
    if let Some(ended) = &state.terminated {
        if let Some(message) = &ended.message
            && has_no_such_program(message)
        {
            return no_program(message.clone());
        }
        let reason = ended.reason.as_deref().unwrap_or("it ended");
        let message = ended.message.as_deref().unwrap_or_default();
        return not_starting(
            format!("{reason} (exit code {}) {message}", ended.exit_code)
                .trim_end()
                .to_owned(),
            false,
        );
    }
    let Some(waiting) = &state.waiting else {
        return Prospect::Waiting("it runs, and nothing can be run in it yet".to_owned());
    };
    let reason = waiting.reason.as_deref().unwrap_or("waiting");
    let text = match &waiting.message {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    };
    match reason {
        "ErrImageNeverPull"
        | "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ImageInspectError"
        | "RegistryUnavailable" => not_starting(text, true),
        // A container that the runtime could not start is never tried again when it is an ephemeral one.
        "RunContainerError" | "CreateContainerError" if has_no_such_program(&text) => {
            no_program(text)
        }
        "CreateContainerConfigError" | "RunContainerError" => not_starting(text, false),
        _ => Prospect::Waiting(format!("the kubelet says: {text}")),
    }
}

fn api(cluster: &Cluster) -> Api<Pod> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::pod::{User, container::Reason};

    const WANTED: Wanted<'static> = Wanted {
        image: "registry/kdbg-agent:1",
        rung: Rung::Root,
        target: "app",
        idle: Duration::from_secs(900),
    };

    fn found() -> Found {
        Found {
            name: "app".to_owned(),
            id: "abc".to_owned(),
            image: String::new(),
            image_id: String::new(),
            restarts: 0,
            user: Some(User { uid: 1, gid: 1 }),
            reason: Reason::Only,
        }
    }

    fn pod(ephemeral: &[(&str, Value)], app_restarts: i32) -> Pod {
        let containers: Vec<_> = ephemeral
            .iter()
            .map(|(name, _)| json!({"name": name, "image": "i"}))
            .collect();
        let statuses: Vec<_> = ephemeral
            .iter()
            .filter(|(_, state)| !state.is_null())
            .map(|(name, state)| json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}))
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "app"}], "ephemeralContainers": containers},
            "status": {
                "phase": "Running",
                "containerStatuses": [{
                    "name": "app", "image": "i", "imageID": "", "ready": true, "restartCount": app_restarts,
                    "containerID": "containerd://abc", "state": {"running": {}},
                }],
                "ephemeralContainerStatuses": statuses,
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_container_that_runs_or_may_start_is_used_again_and_an_ended_one_is_not() {
        let base = WANTED.base_name();
        let second = format!("{base}-2");
        let ended = json!({"terminated": {"exitCode": 0}});
        let named = |pod: &Pod| match look(pod, &WANTED) {
            Entry::Present(name) => (true, name),
            Entry::Absent(name) => (false, name),
        };
        assert_eq!(named(&pod(&[], 0)), (false, base.clone()));
        assert_eq!(
            named(&pod(&[(&base, json!({"running": {}}))], 0)),
            (true, base.clone())
        );
        assert_eq!(
            named(&pod(&[(&base, Value::Null)], 0)),
            (true, base.clone())
        );
        assert_eq!(
            named(&pod(&[(&base, ended.clone())], 0)),
            (false, second.clone())
        );
        assert_eq!(
            named(&pod(
                &[(&base, ended), (&second, json!({"running": {}}))],
                0
            )),
            (true, second)
        );
    }

    #[test]
    fn another_rung_target_or_image_is_another_container() {
        let other = Wanted {
            rung: Rung::Ptrace,
            ..WANTED
        };
        assert_ne!(other.base_name()[7..], WANTED.base_name()[7..]);
        assert!(other.base_name().starts_with("kdbg-c-"));
        let target = Wanted {
            target: "proxy",
            ..WANTED
        };
        assert_ne!(target.base_name(), WANTED.base_name());
    }

    #[test]
    fn an_image_that_does_not_come_ends_the_wait_with_its_reason() {
        let waiting =
            json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}});
        let Prospect::None(PodError::NotStarting { reason, image, .. }) =
            prospect(&pod(&[("k", waiting)], 0), &found(), &WANTED, "k")
        else {
            panic!("it will not start");
        };
        assert_eq!(reason, "ImagePullBackOff: Back-off pulling");
        assert_eq!(image.as_deref(), Some("registry/kdbg-agent:1"));
    }

    #[test]
    fn an_image_without_a_shell_is_told_from_one_whose_agent_does_not_start() {
        let failed = json!({"waiting": {
            "reason": "RunContainerError",
            "message": r#"failed to create shim task: exec: "sh": executable file not found in $PATH"#,
        }});
        let error = |image| {
            let wanted = Wanted { image, ..WANTED };
            match prospect(&pod(&[("k", failed.clone())], 0), &found(), &wanted, "k") {
                Prospect::None(error) => error.to_string(),
                Prospect::Waiting(text) => panic!("it will not start: {text}"),
            }
        };
        assert_eq!(
            error("shop/web:7"),
            "image shop/web:7 carries no agent, and none can be carried there: it has no shell"
        );
        assert!(error("registry/kdbg-agent:1").contains("executable file not found"));
    }

    #[test]
    fn creation_is_waited_for_with_what_the_kubelet_says() {
        let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
        let Prospect::Waiting(text) = prospect(&pod(&[("k", waiting)], 0), &found(), &WANTED, "k")
        else {
            panic!("it may start");
        };
        assert_eq!(text, "the kubelet says: ContainerCreating");
    }

    #[test]
    fn a_target_that_restarts_ends_the_wait() {
        let Prospect::None(PodError::TargetLost { what }) =
            prospect(&pod(&[("k", Value::Null)], 1), &found(), &WANTED, "k")
        else {
            panic!("the agent goes with its target");
        };
        assert!(what.starts_with("container app ended or was restarted"));
    }

    #[test]
    fn a_refusal_says_whose_fault_it_is() {
        assert_eq!(
            refusal(
                r#"pods "web" is forbidden: User "dev" cannot patch resource "pods/ephemeralcontainers" in API group "" in the namespace "shop""#,
                "kdbg-b-1"
            ),
            Admission::Account
        );
        assert_eq!(
            refusal(
                r#"pods "web" is forbidden: violates PodSecurity "restricted:latest": runAsUser=0 (container "kdbg-b-1" must not set runAsUser=0)"#,
                "kdbg-b-1"
            ),
            Admission::Container
        );
        assert_eq!(
            refusal(
                r#"pods "web" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true (pod or container "app" must set securityContext.runAsNonRoot=true)"#,
                "kdbg-b-1"
            ),
            Admission::Pod {
                violator: "container app".to_owned()
            }
        );
        assert_eq!(
            refusal(
                r#"pods "web" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities (containers "kdbg-b-1", "app" must set securityContext.capabilities.drop=["ALL"])"#,
                "kdbg-b-1"
            ),
            Admission::Pod {
                violator: "container app".to_owned()
            }
        );
        assert_eq!(
            refusal(
                r#"pods "web" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)"#,
                "kdbg-b-1"
            ),
            Admission::Pod {
                violator: "the pod itself".to_owned()
            }
        );
        assert_eq!(
            refusal(
                r#"admission webhook "policy.example" denied the request: no debug containers here"#,
                "kdbg-b-1"
            ),
            Admission::Container
        );
    }
}
