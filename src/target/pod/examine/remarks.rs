//! What is worth saying of a rung, a container, a pod, its node and its namespace. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Namespace, Node, Pod};
use kube::ResourceExt as _;

use super::{Check, State, Subject};
use crate::target::pod::{Rung, User};

/// Where the labels of Pod Security begin.
const POD_SECURITY: &str = "pod-security.kubernetes.io/";

/// What the kernel shows on a rung. Measured; see `docs/security.md`.
pub(super) fn sight(rung: Rung, user: Option<User>) -> String {
    match (rung, user) {
        (Rung::SameUser(own), Some(_)) => format!(
            "sees processes of {own}, unless they have changed their user or protect themselves"
        ),
        (Rung::SameUser(own), None) => format!(
            "runs as {own}, a guess: reads the process only if that is its user, and else learns its user"
        ),
        (Rung::Root, _) => {
            "sees processes of any user, unless they protect themselves (non-dumpable: after a change of user without exec, or with file capabilities)"
                .to_owned()
        }
        (Rung::Ptrace, _) => "sees every process of the container".to_owned(),
        (Rung::Privileged, _) => "sees every process of the container, and may do all on the node".to_owned(),
    }
}

pub(super) fn restarts(status: &ContainerStatus) -> Option<String> {
    (status.restart_count > 0).then(|| {
        let last = status
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref())
            .map(|ended| {
                format!(
                    ", the last time with exit code {}{}",
                    ended.exit_code,
                    ended
                        .reason
                        .as_ref()
                        .map(|reason| format!(" ({reason})"))
                        .unwrap_or_default()
                )
            })
            .unwrap_or_default();
        format!(
            "container {} has restarted {} times{last}; the kernel ends the agent with it",
            status.name, status.restart_count
        )
    })
}

/// What is special about a pod.
pub(super) fn notes(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let mut notes = Vec::new();
    if let Some(class) = &spec.runtime_class_name {
        let text = if class.contains("gvisor") || class.contains("runsc") {
            "by its name gVisor: its kernel is not Linux, and shows less of a process"
        } else if class.contains("kata") {
            "by its name Kata Containers: the agent runs in the pod's own machine, beside the target"
        } else {
            "if that is a sandbox, its kernel decides what an agent sees"
        };
        notes.push(format!("RuntimeClass {class}: {text}"));
    }
    if spec.host_pid == Some(true) {
        notes.push(
            "the pod sees all processes of its node; kdbg tells the container's by its id"
                .to_owned(),
        );
    } else if spec.share_process_namespace == Some(true) {
        notes.push("the containers of the pod share their processes; kdbg tells them apart by container id".to_owned());
    }
    if spec.host_users == Some(false) {
        notes.push(
            "the pod has a user namespace of its own; its root is nobody on the node".to_owned(),
        );
    }
    notes
}

/// What a node says of itself.
pub(super) fn of_node(node: &Node) -> Check {
    let name = node.name_any();
    let status = node.status.clone().unwrap_or_default();
    let info = status.node_info.unwrap_or_default();
    let system = info.operating_system;
    let text = format!(
        "{name}: kubelet {}, {}, Linux {}",
        info.kubelet_version, info.container_runtime_version, info.kernel_version
    );
    if system == "windows"
        || node
            .labels()
            .get("kubernetes.io/os")
            .is_some_and(|os| os == "windows")
    {
        return Check::new(
            Subject::Node,
            State::Refused,
            format!("{name} is a Windows node: kdbg's agent is a Linux program"),
        );
    }
    if is_virtual(node) {
        return Check::new(
            Subject::Node,
            State::Unknown,
            format!(
                "{name} is a virtual node ({}): many of them ignore or refuse ephemeral containers",
                info.kubelet_version
            ),
        )
        .hint("ask its provider; a command that waits in vain ends after `--timeout`");
    }
    let ready = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    match ready {
        Some(ready) if ready.status != "True" => Check::new(
            Subject::Node,
            State::Unknown,
            format!(
                "{text}; it is not ready{}",
                ready
                    .message
                    .as_ref()
                    .map(|message| format!(": {message}"))
                    .unwrap_or_default()
            ),
        )
        .hint("nothing new starts on it, and nothing is run in its containers, while its kubelet does not answer"),
        _ => Check::new(Subject::Node, State::Ok, text),
    }
}

/// Whether a node is a service that only looks like one (virtual-kubelet, Fargate).
fn is_virtual(node: &Node) -> bool {
    let labels = node.labels();
    let has_label = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
    let is_tainted = node.spec.iter().any(|spec| {
        spec.taints
            .iter()
            .flatten()
            .any(|taint| taint.key == "virtual-kubelet.io/provider")
    });
    is_tainted
        || has_label("type", "virtual-kubelet")
        || has_label("eks.amazonaws.com/compute-type", "fargate")
}

/// What a namespace demands of its pods.
pub(super) fn of_namespace(namespace: &Namespace) -> Check {
    let name = namespace.name_any();
    let labels: Vec<_> = namespace
        .labels()
        .iter()
        .filter_map(|(key, value)| {
            key.strip_prefix(POD_SECURITY)
                .map(|mode| format!("{mode} {value}"))
        })
        .collect();
    let text = if labels.is_empty() {
        format!("namespace {name} has no Pod Security labels: the cluster's default holds")
    } else {
        format!("namespace {name}, Pod Security: {}", labels.join(", "))
    };
    let check = Check::new(Subject::Policy, State::Ok, text).optional();
    let is_noisy = |mode: &str| {
        namespace
            .labels()
            .get(&format!("{POD_SECURITY}{mode}"))
            .is_some_and(|level| level != "privileged")
    };
    if is_noisy("warn") || is_noisy("audit") {
        check.hint("an agent above the level of `warn` or `audit` is let in, and shows in warnings or the audit log")
    } else {
        check
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "as `json!` makes them")]
    fn node(labels: Value, spec: Value, ready: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": labels},
            "spec": spec,
            "status": {
                "conditions": [{"type": "Ready", "status": ready, "message": "kubelet stopped posting"}],
                "nodeInfo": {
                    "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "containerd://2.1.9",
                    "kernelVersion": "6.1.0", "kubeProxyVersion": "", "kubeletVersion": "v1.34.4",
                    "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": "",
                },
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_node_is_described_and_what_cannot_carry_an_agent_is_told() {
        let good = of_node(&node(json!({}), json!({}), "True"));
        assert_eq!(good.state, State::Ok);
        assert_eq!(
            good.text,
            "n1: kubelet v1.34.4, containerd://2.1.9, Linux 6.1.0"
        );
        let state = |labels, spec, ready| of_node(&node(labels, spec, ready)).state;
        let windows = json!({"kubernetes.io/os": "windows"});
        assert_eq!(state(windows, json!({}), "True"), State::Refused);
        let fargate = json!({"eks.amazonaws.com/compute-type": "fargate"});
        assert_eq!(state(fargate, json!({}), "True"), State::Unknown);
        let taint =
            json!({"taints": [{"key": "virtual-kubelet.io/provider", "effect": "NoSchedule"}]});
        assert_eq!(state(json!({}), taint, "True"), State::Unknown);
        assert_eq!(state(json!({}), json!({}), "Unknown"), State::Unknown);
    }

    #[test]
    fn a_sandbox_is_noted_by_the_name_of_its_class() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "app"}], "runtimeClassName": "gvisor", "shareProcessNamespace": true},
        }))
        .unwrap();
        let notes = notes(&pod);
        assert_eq!(notes.len(), 2);
        assert!(notes[0].contains("its kernel is not Linux"), "{notes:?}");
    }

    #[test]
    fn modes_that_only_warn_are_noted() {
        let check = |labels: Value| {
            let namespace: Namespace =
                serde_json::from_value(json!({"metadata": {"name": "shop", "labels": labels}}))
                    .unwrap();
            of_namespace(&namespace)
        };
        let warned = check(json!({
            "pod-security.kubernetes.io/enforce": "baseline",
            "pod-security.kubernetes.io/warn": "restricted",
        }));
        assert_eq!(
            warned.text,
            "namespace shop, Pod Security: enforce baseline, warn restricted"
        );
        assert_eq!(warned.hints.len(), 1);
        assert!(check(json!({})).hints.is_empty());
    }
}
