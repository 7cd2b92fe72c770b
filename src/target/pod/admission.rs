//! What a refused patch means: who refused it, and because of whom. Pure.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;

use super::inject;

/// Who refused a patch, and because of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// RBAC: the account may not do it.
    Account,
    /// Policy, because of what is in the pod already.
    Pod(Vec<Violator>),
    /// Policy, because of our container.
    Container,
    /// Somebody who decides has not been asked, or could not be.
    Unasked,
}

/// What violates a policy already, so that every change of the pod is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Violator {
    /// Its specification, apart from the containers.
    Pod,
    /// One of its containers, an init container too.
    Container(String),
    /// An ephemeral container, of kdbg or of somebody else.
    Ephemeral {
        /// Its name.
        name: String,
        /// Whether kdbg has put it there.
        ours: bool,
    },
}

impl Violator {
    fn of(pod: &Pod, name: &str) -> Self {
        let is_ephemeral = inject::ephemeral(pod).any(|container| container.name == name);
        if is_ephemeral {
            Self::Ephemeral {
                name: name.to_owned(),
                ours: inject::is_ours(name),
            }
        } else {
            Self::Container(name.to_owned())
        }
    }
}

impl fmt::Display for Violator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod => formatter.write_str("the pod itself"),
            Self::Container(name) => write!(formatter, "container {name}"),
            Self::Ephemeral { name, ours: true } => {
                write!(formatter, "ephemeral container {name} (an agent of kdbg)")
            }
            Self::Ephemeral { name, ours: false } => {
                write!(formatter, "ephemeral container {name} (not of kdbg)")
            }
        }
    }
}

/// All of them in one sentence.
pub(super) fn listed(violators: &[Violator]) -> String {
    let texts: Vec<_> = violators.iter().map(ToString::to_string).collect();
    texts.join(" and ")
}

/// Reads who is at fault out of a refusal. Pod Security evaluates the whole pod, and names the containers in quotes
/// (k8s.io/pod-security-admission, `policy/check_*.go`).
pub(super) fn refusal(message: &str, pod: &Pod, ours: &str) -> Admission {
    if message.contains("cannot patch resource") {
        return Admission::Account;
    }
    if was_not_asked(message) {
        return Admission::Unasked;
    }
    let Some((_, violations)) = message.split_once("violates PodSecurity") else {
        return Admission::Container;
    };
    let named = named_containers(violations);
    if named.is_empty() {
        return Admission::Pod(vec![Violator::Pod]);
    }
    let mut violators = Vec::new();
    for name in named.into_iter().filter(|name| *name != ours) {
        let violator = Violator::of(pod, name);
        if !violators.contains(&violator) {
            violators.push(violator);
        }
    }
    if violators.is_empty() {
        Admission::Container
    } else {
        Admission::Pod(violators)
    }
}

/// Whether a refusal only says that somebody could not be asked: a webhook that may not be called in a dry run
/// (`NewDryRunUnsupportedErr`, apiserver's `pkg/admission/plugin/webhook/errors`), or one that does not answer
/// (`failed calling webhook`, the same package).
pub(super) fn was_not_asked(message: &str) -> bool {
    message.contains("does not support dry run") || message.contains("failed calling webhook")
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OURS: &str = "kdbg-b-01234567";

    fn judge(message: &str) -> Admission {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {
                "containers": [{"name": "app"}],
                "ephemeralContainers": [{"name": "debugger-x7f2p"}, {"name": "kdbg-c-89abcdef"}],
            },
        }))
        .unwrap();
        refusal(message, &pod, OURS)
    }

    fn violates(violations: &str) -> Admission {
        judge(&format!(
            "pods \"web\" is forbidden: violates PodSecurity \"restricted:latest\": {violations}"
        ))
    }

    #[test]
    fn the_account_is_told_from_the_policy() {
        let message = r#"pods "web" is forbidden: User "dev" cannot patch resource "pods/ephemeralcontainers" in API group "" in the namespace "shop""#;
        assert_eq!(judge(message), Admission::Account);
        let message =
            r#"admission webhook "policy.example" denied the request: no debug containers here"#;
        assert_eq!(judge(message), Admission::Container);
    }

    #[test]
    fn our_container_is_at_fault_only_when_it_is_the_only_one() {
        assert_eq!(
            violates(&format!(
                "runAsUser=0 (container \"{OURS}\" must not set runAsUser=0)"
            )),
            Admission::Container
        );
        assert_eq!(
            violates(&format!(
                "unrestricted capabilities (containers \"{OURS}\", \"app\" must set securityContext.capabilities.drop=[\"ALL\"])"
            )),
            Admission::Pod(vec![Violator::Container("app".to_owned())])
        );
    }

    #[test]
    fn the_pods_own_containers_and_settings_are_named() {
        assert_eq!(
            violates(
                r#"runAsNonRoot != true (pod or container "app" must set securityContext.runAsNonRoot=true)"#
            ),
            Admission::Pod(vec![Violator::Container("app".to_owned())])
        );
        assert_eq!(
            violates("host namespaces (hostNetwork=true)"),
            Admission::Pod(vec![Violator::Pod])
        );
    }

    #[test]
    fn an_older_ephemeral_container_is_named_with_whose_it_is() {
        let Admission::Pod(violators) = violates(
            r#"privileged (container "debugger-x7f2p" must not set securityContext.privileged=true), non-default capabilities (containers "kdbg-c-89abcdef", "debugger-x7f2p" must not include "SYS_PTRACE")"#,
        ) else {
            panic!("the pod is at fault");
        };
        assert_eq!(
            listed(&violators),
            "ephemeral container debugger-x7f2p (not of kdbg) and \
             ephemeral container kdbg-c-89abcdef (an agent of kdbg)"
        );
    }

    #[test]
    fn who_could_not_be_asked_has_not_refused() {
        for message in [
            r#"admission webhook "image.policy.example" does not support dry run"#,
            r#"Internal error occurred: failed calling webhook "image.policy.example": failed to call webhook: Post "https://policy.example/": dial tcp: connection refused"#,
        ] {
            assert_eq!(judge(message), Admission::Unasked, "{message}");
        }
    }
}
