//! Which container of a pod is meant, whether an agent can stand beside it, and what its status says of it. Pure.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use kube::ResourceExt as _;

use super::{PodError, Refusal, User};

/// What kubectl takes as the container when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Marks the API server's image of a static pod: the kubelet ignores what is added to it.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    /// Its id without the runtime's prefix: 64 hexadecimal digits.
    pub(super) id: String,
    pub(super) image: String,
    pub(super) image_id: String,
    pub(super) restarts: i32,
    /// The user of its first process, as far as it is told.
    pub(super) user: Option<User>,
    /// Why it is this one.
    pub(super) reason: Reason,
}

/// Why a container was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Asked,
    Annotated,
    Only,
}

/// Finds the container that is meant, and refuses what no agent can stand beside.
pub(super) fn find(pod: &Pod, asked: Option<&str>) -> Result<Found, PodError> {
    let name = pod.name_any();
    let refuse = |refusal| PodError::Refused {
        pod: name.clone(),
        refusal,
    };
    if let Some(refusal) = unsuitable(pod) {
        return Err(refuse(refusal));
    }
    let (container, reason) = choose(pod, asked)?;
    let Some(status) = status_of(pod, &container.name) else {
        return Err(refuse(Refusal::NotStarted {
            container: container.name.clone(),
        }));
    };
    let Some(id) = running_id(status) else {
        return Err(refuse(Refusal::NotRunning {
            container: container.name.clone(),
            state: describe(status),
        }));
    };
    Ok(Found {
        name: container.name.clone(),
        id,
        image: status.image.clone(),
        image_id: status.image_id.clone(),
        restarts: status.restart_count,
        user: user(pod, container, status),
        reason,
    })
}

/// Why no ephemeral container can look into any container of this pod.
fn unsuitable(pod: &Pod) -> Option<Refusal> {
    let spec = pod.spec.as_ref();
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(Refusal::Terminating);
    }
    if pod.annotations().contains_key(MIRROR) {
        return Some(Refusal::Static {
            node: spec.and_then(|spec| spec.node_name.clone()),
        });
    }
    let windows = spec
        .and_then(|spec| spec.os.as_ref())
        .is_some_and(|os| os.name == "windows")
        || spec
            .and_then(|spec| spec.node_selector.as_ref())
            .and_then(|labels| labels.get("kubernetes.io/os"))
            .is_some_and(|os| os == "windows");
    if windows {
        return Some(Refusal::Windows);
    }
    let status = pod.status.as_ref();
    match status.and_then(|status| status.phase.as_deref()) {
        Some("Succeeded" | "Failed") => Some(Refusal::Ended {
            reason: status
                .and_then(|status| status.reason.clone().or_else(|| status.message.clone())),
        }),
        _ if spec.is_some_and(|spec| spec.node_name.is_none()) => Some(Refusal::Unscheduled {
            reason: unscheduled(pod),
        }),
        _ => None,
    }
}

/// Why no node has the pod, in the scheduler's words.
pub(super) fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status != "True")?
        .message
        .clone()
}

/// The containers that run: those of the pod, and init containers that stay (sidecars).
fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| {
        let sidecars = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|container| container.restart_policy.as_deref() == Some("Always"));
        spec.containers.iter().chain(sidecars)
    })
}

fn choose<'a>(pod: &'a Pod, asked: Option<&str>) -> Result<(&'a Container, Reason), PodError> {
    let by_name = |name: &str| {
        let init = pod
            .spec
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten());
        containers(pod)
            .chain(init)
            .find(|container| container.name == name)
    };
    let names = || {
        containers(pod)
            .map(|container| container.name.clone())
            .collect()
    };
    if let Some(asked) = asked {
        return by_name(asked)
            .map(|container| (container, Reason::Asked))
            .ok_or_else(|| PodError::NoSuchContainer {
                pod: pod.name_any(),
                container: asked.to_owned(),
                containers: names(),
            });
    }
    // An annotation that names a container which is not there is as good as none; kubectl warns and goes on.
    let annotated = pod.annotations().get(DEFAULT_CONTAINER);
    if let Some(container) = annotated.and_then(|name| by_name(name)) {
        return Ok((container, Reason::Annotated));
    }
    match pod.spec.as_ref().map(|spec| spec.containers.as_slice()) {
        Some([only]) => Ok((only, Reason::Only)),
        _ => Err(PodError::WhichContainer {
            pod: pod.name_any(),
            containers: names(),
        }),
    }
}

/// The status of a container by its name, of whichever kind it is.
pub(super) fn status_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    [&status.container_statuses, &status.init_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
        .find(|status| status.name == name)
}

/// The id of a container that runs, without the runtime's prefix (`containerd://`).
pub(super) fn running_id(status: &ContainerStatus) -> Option<String> {
    status.state.as_ref()?.running.as_ref()?;
    let id = status.container_id.as_deref()?;
    Some(id.rsplit_once("://").map_or(id, |(_, id)| id).to_owned())
}

/// What a container that does not run does instead, with the reason and how it ended last.
pub(super) fn describe(status: &ContainerStatus) -> String {
    let state = status.state.as_ref();
    let mut text = if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        match &waiting.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        }
    } else if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        format!(
            "{} with exit code {}",
            ended.reason.as_deref().unwrap_or("ended"),
            ended.exit_code
        )
    } else {
        "it has no state yet".to_owned()
    };
    let last = status
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    if let Some(last) = last {
        let reason = last.reason.as_ref();
        let reason = reason
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "; the last run ended with exit code {}{reason}",
            last.exit_code
        );
    }
    text
}

/// The user of the container's first process: what the runtime says it gave it (KEP-3619), else what the spec demands.
/// An image's own `USER` is known to neither.
fn user(pod: &Pod, container: &Container, status: &ContainerStatus) -> Option<User> {
    let id = |number: i64| u32::try_from(number).ok();
    let told = status
        .user
        .as_ref()
        .and_then(|user| user.linux.as_ref())
        .and_then(|linux| {
            Some(User {
                uid: id(linux.uid)?,
                gid: id(linux.gid)?,
            })
        });
    if told.is_some() {
        return told;
    }
    let own = container.security_context.as_ref();
    let shared = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.as_ref());
    let uid = own
        .and_then(|context| context.run_as_user)
        .or_else(|| shared.and_then(|context| context.run_as_user))?;
    let gid = own
        .and_then(|context| context.run_as_group)
        .or_else(|| shared.and_then(|context| context.run_as_group));
    // Without a group the image's /etc/passwd decides; a distroless image rarely has one for a number, and then it is 0.
    Some(User {
        uid: id(uid)?,
        gid: id(gid.unwrap_or(0))?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "as `json!` makes them")]
    fn pod(spec: Value, status: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": spec,
            "status": status,
        }))
        .unwrap()
    }

    fn running(name: &str) -> Value {
        json!({
            "name": name, "image": "registry/app:1", "imageID": "sha256:1", "ready": true, "restartCount": 0,
            "containerID": "containerd://abc", "state": {"running": {}},
        })
    }

    fn two_containers() -> Pod {
        pod(
            json!({"nodeName": "n", "containers": [{"name": "app"}, {"name": "proxy"}]}),
            json!({"phase": "Running", "containerStatuses": [running("app"), running("proxy")]}),
        )
    }

    #[test]
    fn the_only_container_is_meant() {
        let pod = pod(
            json!({"nodeName": "n", "containers": [{"name": "app"}]}),
            json!({"phase": "Running", "containerStatuses": [running("app")]}),
        );
        let found = find(&pod, None).unwrap();
        assert_eq!(
            (found.name.as_str(), found.id.as_str(), found.reason),
            ("app", "abc", Reason::Only)
        );
        assert_eq!(found.user, None);
    }

    #[test]
    fn of_several_the_annotated_one_is_meant_and_without_annotation_they_are_listed() {
        let mut pod = two_containers();
        let Err(PodError::WhichContainer { containers, .. }) = find(&pod, None) else {
            panic!("no container is the default");
        };
        assert_eq!(containers, ["app", "proxy"]);
        pod.annotations_mut()
            .insert(DEFAULT_CONTAINER.to_owned(), "proxy".to_owned());
        let found = find(&pod, None).unwrap();
        assert_eq!(
            (found.name.as_str(), found.reason),
            ("proxy", Reason::Annotated)
        );
        assert_eq!(find(&pod, Some("app")).unwrap().reason, Reason::Asked);
        assert!(matches!(
            find(&pod, Some("sidecar")),
            Err(PodError::NoSuchContainer { .. })
        ));
    }

    #[test]
    fn the_runtime_knows_the_user_better_than_the_spec() {
        let spec = json!({
            "nodeName": "n",
            "securityContext": {"runAsUser": 1, "runAsGroup": 2},
            "containers": [{"name": "app", "securityContext": {"runAsUser": 1000}}],
        });
        let mut status = running("app");
        let with = |status: &Value| {
            let pod = pod(
                spec.clone(),
                json!({"phase": "Running", "containerStatuses": [status]}),
            );
            find(&pod, None).unwrap().user
        };
        assert_eq!(with(&status), Some(User { uid: 1000, gid: 2 }));
        status["user"] = json!({"linux": {"uid": 7, "gid": 8}});
        assert_eq!(with(&status), Some(User { uid: 7, gid: 8 }));
    }

    #[test]
    fn a_container_that_crashes_is_refused_with_its_last_end() {
        let status = json!({
            "name": "app", "image": "i", "imageID": "", "ready": false, "restartCount": 4,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        });
        let pod = pod(
            json!({"nodeName": "n", "containers": [{"name": "app"}]}),
            json!({"phase": "Running", "containerStatuses": [status]}),
        );
        let Err(PodError::Refused {
            refusal: Refusal::NotRunning { state, .. },
            ..
        }) = find(&pod, None)
        else {
            panic!("it does not run");
        };
        assert_eq!(
            state,
            "CrashLoopBackOff: back-off 40s; the last run ended with exit code 137 (OOMKilled)"
        );
    }

    #[test]
    fn what_no_agent_can_stand_beside_is_refused() {
        let refusal = |pod: &Pod| match find(pod, Some("app")) {
            Err(PodError::Refused { refusal, .. }) => refusal,
            other => panic!("{other:?}"),
        };
        let mut mirror = two_containers();
        mirror
            .annotations_mut()
            .insert(MIRROR.to_owned(), "digest".to_owned());
        assert!(matches!(refusal(&mirror), Refusal::Static { .. }));

        let mut windows = two_containers();
        if let Some(spec) = &mut windows.spec {
            spec.node_selector =
                Some([("kubernetes.io/os".to_owned(), "windows".to_owned())].into());
        }
        assert!(matches!(refusal(&windows), Refusal::Windows));

        let mut done = two_containers();
        if let Some(status) = &mut done.status {
            status.phase = Some("Succeeded".to_owned());
        }
        assert!(matches!(refusal(&done), Refusal::Ended { .. }));

        let mut pending = two_containers();
        if let Some(spec) = &mut pending.spec {
            spec.node_name = None;
        }
        assert!(matches!(refusal(&pending), Refusal::Unscheduled { .. }));
    }
}
