//! The agent's container: found again, or added to the pod, and then waited for.
//!
//! An ephemeral container can never be removed or restarted, so there is at most one of a kind: its name carries the
//! digest of everything that decides what it can do. The wait does not trust the pod's status, which lags behind by a
//! second: a program can be run in the container long before (measured: 0.15 s after the patch, the status following
//! a second later). The status is watched for reasons only.

mod pace;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, EphemeralContainer, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, WatchParams},
    core::WatchEvent,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::pace::Pace;
use super::{
    Cluster, Found, PodError, Rung, access,
    admission::{self, Admission},
    container,
    exec::exec,
    images,
    push::{self, Present},
};
use crate::session::{Session, SessionError};

/// The agent of kdbg's own image.
const AGENT_PATH: &str = "/usr/bin/kdbg-agent";
/// Between two looks at the pod when it cannot be watched.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// One attempt to run something; a kubelet that hangs must not use up the whole deadline unnoticed.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

/// The codes of a program that was ended with SIGKILL, and with SIGTERM.
const KILLED: u8 = 137;
const TOLD_TO_END: u8 = 143;

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

    fn spec(&self, name: &str) -> Value {
        json!({
            "name": name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": rest(self.image, self.idle),
            "targetContainerName": self.target,
            "securityContext": self.rung.security_context(),
        })
    }
}

/// What an agent's container does until it is used, and between uses.
pub(super) fn rest(image: &str, idle: Duration) -> Vec<String> {
    let idle = idle.as_secs().to_string();
    let words: &[&str] = if images::is_own(image) {
        &[AGENT_PATH, "rest", "--idle", &idle]
    } else {
        &["sh", "-c", REST, "kdbg", &idle]
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// An agent's container whose agent has answered.
pub(super) struct Standing {
    /// Its name.
    pub(super) container: String,
    /// The agent's program in it.
    pub(super) path: String,
    /// Whether it was there before.
    pub(super) reused: bool,
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
        let exists = ephemeral(pod).any(|container| container.name == name);
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

/// Whether a container's name is one that kdbg gives: `kdbg-a-0123abcd`, with a number behind the second and later ones.
pub(super) fn is_ours(name: &str) -> bool {
    let mut parts = name.split('-');
    let digest = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.next() == Some("kdbg")
        && parts
            .next()
            .is_some_and(|rung| matches!(rung, "a" | "b" | "c" | "d"))
        && parts.next().is_some_and(digest)
        && parts
            .next()
            .is_none_or(|number| number.parse::<u32>().is_ok())
        && parts.next().is_none()
}

/// The ephemeral containers that a pod has, also those that have ended.
pub(super) fn ephemeral(pod: &Pod) -> impl Iterator<Item = &EphemeralContainer> {
    pod.spec
        .iter()
        .flat_map(|spec| spec.ephemeral_containers.iter().flatten())
}

/// What the kubelet says of an ephemeral container.
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
    patch(cluster, pod, wanted, name, &PatchParams::default())
        .await
        .map_err(|error| not_added(error, cluster, pod, name))
}

/// What would become of the container, were it added.
#[derive(Debug)]
pub(super) enum Verdict {
    Admitted,
    /// Admission does not want this rung here; another one may pass.
    Refused(String),
    /// Not everybody who decides could be asked.
    Unknown(String),
    /// Nothing will help.
    Error(PodError),
}

/// Asks whether the container would be added, and adds nothing (`dryRun=All`).
pub(super) async fn ask(cluster: &Cluster, pod: &Pod, wanted: &Wanted<'_>, name: &str) -> Verdict {
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    match patch(cluster, pod, wanted, name, &parameters).await {
        Ok(_) => Verdict::Admitted,
        Err(kube::Error::Api(status))
            if admission::refusal(&status.message, pod, name) == Admission::Unasked =>
        {
            Verdict::Unknown(status.message.clone())
        }
        Err(error) => match not_added(error, cluster, pod, name) {
            NotAdded::Refused(message) => Verdict::Refused(message),
            NotAdded::Error(error) => Verdict::Error(error),
        },
    }
}

async fn patch(
    cluster: &Cluster,
    pod: &Pod,
    wanted: &Wanted<'_>,
    name: &str,
    parameters: &PatchParams,
) -> Result<Pod, kube::Error> {
    let patch = json!({"spec": {"ephemeralContainers": [wanted.spec(name)]}});
    api(cluster)
        .patch_ephemeral_containers(&pod.name_any(), parameters, &Patch::Strategic(patch))
        .await
}

/// Sorts an error of the patch by what it means.
fn not_added(error: kube::Error, cluster: &Cluster, pod: &Pod, name: &str) -> NotAdded {
    let verb = access::PATCH_EPHEMERAL.inside(&cluster.namespace);
    let kube::Error::Api(status) = &error else {
        return NotAdded::Error(PodError::api(error, &verb));
    };
    if status.is_not_found() {
        let is_pod = status
            .details
            .as_ref()
            .is_some_and(|details| !details.name.is_empty());
        return NotAdded::Error(if is_pod {
            PodError::NotFound {
                object: format!("pod/{}", pod.name_any()),
                namespace: cluster.namespace.clone(),
            }
        } else {
            PodError::Unsupported
        });
    }
    match admission::refusal(&status.message, pod, name) {
        Admission::Pod(violators) => NotAdded::Error(PodError::Violator {
            pod: pod.name_any(),
            violator: admission::listed(&violators),
            message: status.message.clone(),
        }),
        // Anything else that is refused with a client error is admission's: webhooks choose their own codes.
        Admission::Container if (400..500).contains(&status.code) => {
            NotAdded::Refused(status.message.clone())
        }
        Admission::Account | Admission::Container | Admission::Unasked => {
            NotAdded::Error(PodError::api(error, &verb))
        }
    }
}

/// Waits until the agent in an ephemeral container answers; with its path there.
pub(super) async fn converse(
    cluster: &Cluster,
    pod: &Pod,
    target: &Found,
    wanted: &Wanted<'_>,
    name: &str,
    limit: Duration,
) -> Result<(Session, String), PodError> {
    let awaited = Awaited {
        image: wanted.image,
        container: name,
        prospect: &|pod| prospect(pod, target, wanted, name),
        is_running: runs(pod, name),
    };
    awaited.converse(cluster, pod, limit).await
}

/// A container whose agent is waited for.
pub(super) struct Awaited<'a> {
    pub(super) image: &'a str,
    /// Its name.
    pub(super) container: &'a str,
    /// Reads out of its pod what can be expected of it.
    pub(super) prospect: &'a (dyn Fn(&Pod) -> Prospect + Sync),
    /// Whether the kubelet has said that it runs.
    pub(super) is_running: bool,
}

impl Awaited<'_> {
    /// Waits until the agent in it answers; with its path there.
    pub(super) async fn converse(
        &self,
        cluster: &Cluster,
        pod: &Pod,
        limit: Duration,
    ) -> Result<(Session, String), PodError> {
        let last = Arc::new(Mutex::new(
            "the cluster has said nothing of it yet".to_owned(),
        ));
        let say = |text: String| {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = text;
        };
        let pod_name = pod.name_any();
        let pace = Pace::new(Instant::now(), self.is_running);
        let head_start = pace.head_start();
        let talking = attempts(cluster, &pod_name, self, pace, &say);
        let watching = async {
            sleep(head_start).await;
            watch(cluster, pod, self, &say).await
        };
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
}

/// Tries to run the agent until it is there, and carries it there when the image has none of this build.
async fn attempts(
    cluster: &Cluster,
    pod: &str,
    awaited: &Awaited<'_>,
    mut pace: Pace,
    say: &impl Fn(String),
) -> Result<(Session, String), PodError> {
    let (name, image) = (awaited.container, awaited.image);
    let mut path = AGENT_PATH.to_owned();
    // Of one that lies there by the name of this build, only talking to it shows whether it is that.
    let mut is_carried = false;
    // Should two come through, the one that is dropped ends with its connection.
    let mut under_way = FuturesUnordered::new();
    loop {
        let (began, outcome) = tokio::select! {
            Some(over) = under_way.next() => over,
            () = sleep_until(pace.next(Instant::now())), if pace.has_lane() => {
                let began = Instant::now();
                pace.begin(began);
                under_way.push(attempt(cluster, pod, name, path.clone(), began));
                continue;
            }
        };
        match outcome {
            Err(Attempt::Early) => pace.refused(began, Instant::now()),
            _ => pace.end(began),
        }
        match outcome {
            Ok(session) => return Ok((session, path)),
            // It runs no more, or not yet.
            Err(Attempt::Early) => {}
            Err(Attempt::Silent) => {
                say("the cluster started the agent in it, and no byte came of it".to_owned());
            }
            Err(Attempt::NoAgent(message)) if is_carried => {
                return Err(PodError::NoAgent {
                    image: image.to_owned(),
                    message: format!("and the one that was carried there does not run: {message}"),
                });
            }
            Err(Attempt::NoAgent(message)) => {
                tracing::info!(message, "no agent of this build");
                under_way.clear();
                let present = if path == AGENT_PATH {
                    Present::Used
                } else {
                    Present::Replaced
                };
                let (found, was_there) = push::provide(cluster, pod, name, image, present).await?;
                (path, is_carried) = (found, !was_there);
                pace = Pace::new(Instant::now(), true);
            }
            Err(Attempt::Failed(error)) => return Err(error),
        }
    }
}

/// Whether the kubelet has said that the agent's container runs. It may have ended since.
fn runs(pod: &Pod, name: &str) -> bool {
    ephemeral_status(pod, name)
        .and_then(|status| status.state.as_ref()?.running.as_ref())
        .is_some()
}

enum Attempt {
    /// The container is not there yet.
    Early,
    /// The cluster took the program and has given no byte of it.
    Silent,
    /// It is there, and has no agent that this client could talk to.
    NoAgent(String),
    Failed(PodError),
}

async fn attempt(
    cluster: &Cluster,
    pod: &str,
    name: &str,
    path: String,
    began: Instant,
) -> (Instant, Result<Session, Attempt>) {
    (began, converse_once(cluster, pod, name, &path).await)
}

async fn converse_once(
    cluster: &Cluster,
    pod: &str,
    name: &str,
    path: &str,
) -> Result<Session, Attempt> {
    let command = [path, "serve"];
    let starting = exec(&cluster.client, &cluster.namespace, pod, name, &command);
    let program = match timeout(ATTEMPT_LIMIT, starting).await {
        Err(_) => return Err(Attempt::Early),
        Ok(Err(error)) => return Err(refused(error, &cluster.namespace)),
        Ok(Ok(program)) => program,
    };
    let end = program.end.clone();
    let reason = match timeout(ATTEMPT_LIMIT, Session::open(program.stdout, program.stdin)).await {
        Ok(Ok(session)) => return Ok(session),
        Ok(Err(reason)) => reason,
        // A node that is that busy may still start the next one.
        Err(_) => return Err(Attempt::Silent),
    };
    let said = end.failure();
    match said.as_deref() {
        Some(message) if is_early(message) => Err(Attempt::Early),
        Some(message) if has_no_such_program(message) => Err(Attempt::NoAgent(message.to_owned())),
        _ if matches!(reason, SessionError::Stranger { .. }) => {
            Err(Attempt::NoAgent(reason.to_string()))
        }
        // One that was carried there may have been damaged since. Whoever was killed ended with its container.
        _ if path != AGENT_PATH
            && let Some(code) = end.code()
            && ![KILLED, TOLD_TO_END].contains(&code) =>
        {
            let words = end.complaints().map(|words| format!(": {words}"));
            let words = words.unwrap_or_default();
            Err(Attempt::NoAgent(format!(
                "it ended with code {code} before it said anything{words}"
            )))
        }
        _ => Err(Attempt::Failed(PodError::NoConversation {
            container: name.to_owned(),
            source: reason,
            said: end.complaints().or(said),
        })),
    }
}

/// Names the verb that an exec would have needed. A websocket is a GET; from Kubernetes 1.35 on the server asks for
/// `create` too (feature gate `AuthorizePodWebsocketUpgradeCreatePermission`).
pub(super) fn not_executed(error: kube::Error, namespace: &str) -> PodError {
    let verb = match &error {
        kube::Error::Api(status) if status.message.contains("cannot create resource") => {
            access::CREATE_EXEC
        }
        _ => access::GET_EXEC,
    };
    PodError::api(error, &verb.inside(namespace))
}

/// An exec that the API server itself refused.
fn refused(error: kube::Error, namespace: &str) -> Attempt {
    match &error {
        kube::Error::Api(status) if is_early(&status.message) => Attempt::Early,
        _ => Attempt::Failed(not_executed(error, namespace)),
    }
}

/// What kubelets and runtimes say of a container that is not there yet, not quite, or no more: which of them, its status says.
fn is_early(message: &str) -> bool {
    [
        "container not found",
        "is not valid for pod",
        "CONTAINER_CREATED",
        "CONTAINER_EXITED",
        "failed to create exec",
        "in a stopped container",
        "container is not created or running",
        "not running",
        // A pod that no node has, or whose kubelet has not heard of it yet.
        "does not have a host assigned",
        "pod does not exist",
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
    awaited: &Awaited<'_>,
    say: &impl Fn(String),
) -> PodError {
    let judge = |pod: &Pod| match (awaited.prospect)(pod) {
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
            Err(error) => {
                let error = PodError::api(error, &access::WATCH_PODS.inside(&cluster.namespace));
                tracing::info!(%error, "the pod is looked at once a second instead");
            }
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
pub(super) enum Prospect {
    /// It may still start; this is what it waits for.
    Waiting(String),
    /// It will not.
    None(PodError),
}

/// Reads the prospects of the agent's container out of the pod. Pure.
fn prospect(pod: &Pod, target: &Found, wanted: &Wanted<'_>, name: &str) -> Prospect {
    if let Some(lost) = lost(pod) {
        return Prospect::None(lost);
    }
    let restarted = container::status_of(pod, &target.name).filter(|status| {
        status.restart_count > target.restarts || container::running_id(status).is_none()
    });
    if let Some(status) = restarted {
        return Prospect::None(PodError::TargetLost {
            what: format!(
                "container {} ended or was restarted ({})",
                target.name,
                container::describe(status)
            ),
        });
    }
    let state = ephemeral_status(pod, name).and_then(|status| status.state.as_ref());
    prospect_of(state, wanted.image, name)
}

/// Why a pod can have no agent any more.
pub(super) fn lost(pod: &Pod) -> Option<PodError> {
    let pod_name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        let what = format!("pod {pod_name} was being deleted");
        return Some(PodError::TargetLost { what });
    }
    let status = pod.status.as_ref()?;
    let phase @ ("Failed" | "Succeeded") = status.phase.as_deref()? else {
        return None;
    };
    let reason = status.reason.as_deref().or(status.message.as_deref());
    let what = format!("pod {pod_name} ended ({})", reason.unwrap_or(phase));
    Some(PodError::TargetLost { what })
}

/// Reads the prospects of an agent's container out of its state.
pub(super) fn prospect_of(state: Option<&ContainerState>, image: &str, name: &str) -> Prospect {
    let Some(state) = state else {
        return Prospect::Waiting("the kubelet has not taken it up yet".to_owned());
    };
    let not_starting = |reason: String, by_image: bool| {
        Prospect::None(PodError::NotStarting {
            container: name.to_owned(),
            reason,
            image: by_image.then(|| image.to_owned()),
        })
    };
    let no_program = |text: String| {
        Prospect::None(PodError::NoAgent {
            image: image.to_owned(),
            message: if images::is_own(image) {
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
mod tests;
