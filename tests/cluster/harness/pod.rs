//! Pods: how the tests write them down, and how they read what became of them.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::{Value, json};

/// Returns a container of a test image, hardened as *restricted* asks. `image` is like `python:user`.
///
/// Fields of `more` are added to it or replace what stands there.
pub(crate) fn container(name: &str, image: &str, more: Value) -> Value {
    let mut security = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if !image.ends_with(":root") {
        security["runAsNonRoot"] = true.into();
    }
    let mut container = json!({
        "name": name,
        "image": image_name(image),
        "imagePullPolicy": "IfNotPresent",
        "securityContext": security,
    });
    merge(&mut container, more);
    container
}

/// Returns what makes a container ready only when it answers on a port. Without it a container is ready when it has started.
pub(crate) fn answering(port: u16, path: &str) -> Value {
    json!({"readinessProbe": {"httpGet": {"path": path, "port": port}, "periodSeconds": 1, "failureThreshold": 60}})
}

/// Returns a pod labelled `app: NAME`. Fields of `more` are added to its spec or replace what stands there.
pub(crate) fn pod(name: &str, containers: &[Value], more: Value) -> Value {
    // Every image ends at once when it is told to; a longer grace would only hide one that does not.
    let mut spec = json!({"containers": containers, "terminationGracePeriodSeconds": 5});
    merge(&mut spec, more);
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

/// Returns the full name of a test image. `KDBG_TEST_REGISTRY` is where `scripts/image --push` has put them.
pub(crate) fn image_name(image: &str) -> String {
    if image.contains('/') {
        return image.to_owned();
    }
    let registry = std::env::var("KDBG_TEST_REGISTRY").unwrap_or_else(|_| "kdbg.local".to_owned());
    format!("{registry}/{image}")
}

/// Returns an object with the fields of `more` added to it or in place of what stands there.
pub(crate) fn merged(mut object: Value, more: Value) -> Value {
    merge(&mut object, more);
    object
}

fn merge(target: &mut Value, more: Value) {
    match (target, more) {
        (Value::Object(target), Value::Object(more)) => {
            for (key, value) in more {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, more) => *target = more,
    }
}

/// How far a pod has come.
pub(crate) struct Phase {
    /// All containers are ready.
    pub(crate) ready: bool,
    /// Why waiting any longer is in vain.
    pub(crate) hopeless: Option<String>,
}

impl Phase {
    pub(crate) fn of(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let hopeless = statuses(pod)
            .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
            .find(|waiting| {
                matches!(
                    waiting.reason.as_deref(),
                    Some(
                        "ErrImageNeverPull"
                            | "InvalidImageName"
                            | "CreateContainerConfigError"
                            | "CreateContainerError"
                    )
                )
            })
            .map(|waiting| format!("{waiting:?}"));
        Self { ready, hopeless }
    }
}

/// Returns the states of all containers of a pod, ephemeral ones too.
pub(crate) fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| {
        [
            &status.init_container_statuses,
            &status.container_statuses,
            &status.ephemeral_container_statuses,
        ]
        .into_iter()
        .flatten()
        .flatten()
    })
}

/// Returns why the first container of a pod that waits does so.
pub(crate) fn waiting_reason(pod: &Pod) -> Option<&str> {
    statuses(pod).find_map(|container| {
        container
            .state
            .as_ref()?
            .waiting
            .as_ref()?
            .reason
            .as_deref()
    })
}

/// Returns one line about a pod: its phase and the state of each container.
pub(crate) fn describe(pod: &Pod) -> String {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.clone())
        .unwrap_or_else(|| "no phase".to_owned());
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let unscheduled = conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status != "True")
        .map(|condition| {
            format!(
                "not scheduled: {}",
                condition.message.clone().unwrap_or_default()
            )
        });
    let containers = statuses(pod).map(|container| {
        format!(
            "{} {}",
            container.name,
            serde_json::to_string(&container.state).unwrap_or_default()
        )
    });
    [phase]
        .into_iter()
        .chain(unscheduled)
        .chain(containers)
        .collect::<Vec<_>>()
        .join(", ")
}
