//! Why a pod cannot be looked at, in words that say what to do.

use std::fmt;

use thiserror::Error;

use super::{Rung, Vantage};
use crate::session::SessionError;

/// What a request asks of the API server, in the terms of RBAC.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verb {
    /// `get`, `list`, `watch`, `create`, `patch`
    pub verb: &'static str,
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource, with its subresource: `pods/exec`.
    pub resource: &'static str,
    /// The namespace; `None` for the whole cluster.
    pub namespace: Option<String>,
}

impl Verb {
    /// Something of a group, in no namespace yet.
    pub const fn new(verb: &'static str, group: &'static str, resource: &'static str) -> Self {
        Self {
            verb,
            group,
            resource,
            namespace: None,
        }
    }

    /// Something about pods.
    pub const fn pods(verb: &'static str) -> Self {
        Self::new(verb, "", "pods")
    }

    /// The same in a namespace.
    #[must_use]
    pub fn inside(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(formatter, ".{}", self.group)?;
        }
        match &self.namespace {
            Some(namespace) => write!(formatter, " in namespace {namespace}"),
            None => formatter.write_str(" in all namespaces"),
        }
    }
}

/// Why no agent can stand beside a container, whatever its rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The pod is being deleted.
    Terminating,
    /// The kubelet runs it from a file and ignores what the API adds.
    Static {
        /// Where.
        node: Option<String>,
    },
    /// Its containers are not Linux.
    Windows,
    /// It has run to its end.
    Ended {
        /// Why, when the cluster says so.
        reason: Option<String>,
    },
    /// No node has it yet.
    Unscheduled {
        /// Why, in the scheduler's words.
        reason: Option<String>,
    },
    /// The kubelet has said nothing of the container yet.
    NotStarted {
        /// The container.
        container: String,
    },
    /// The container does not run: there is no process to look at.
    NotRunning {
        /// The container.
        container: String,
        /// What it does instead.
        state: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = |reason: &Option<String>| {
            reason
                .as_ref()
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default()
        };
        match self {
            Self::Terminating => formatter.write_str("it is being deleted"),
            Self::Static { node } => write!(
                formatter,
                "it is a static pod{}: its kubelet ignores ephemeral containers",
                node.as_ref()
                    .map(|node| format!(" of node {node}"))
                    .unwrap_or_default()
            ),
            Self::Windows => formatter.write_str("its containers are Windows containers"),
            Self::Ended { reason } => write!(formatter, "it has ended{}", because(reason)),
            Self::Unscheduled { reason } => {
                write!(formatter, "it is not on a node yet{}", because(reason))
            }
            Self::NotStarted { container } => {
                write!(formatter, "container {container} has not been started yet")
            }
            Self::NotRunning { container, state } => {
                write!(formatter, "container {container} does not run ({state})")
            }
        }
    }
}

/// The pod cannot be looked at.
#[derive(Debug, Error)]
pub enum PodError {
    /// No cluster is configured, or its configuration cannot be used.
    #[error("cannot use the cluster's configuration: {0}")]
    Config(String),
    /// The API server does not answer, or not as it should.
    #[error("cannot {verb}: {message}")]
    Api {
        /// What was asked.
        verb: Verb,
        /// What came back.
        message: String,
    },
    /// The account may not do it.
    #[error("not allowed to {verb}: {message}")]
    Forbidden {
        /// What was asked.
        verb: Verb,
        /// What the API server says.
        message: String,
    },
    /// There is no such object.
    #[error("there is no {object} in namespace {namespace}")]
    NotFound {
        /// What was looked for.
        object: String,
        /// Where.
        namespace: String,
    },
    /// The object has no pods at the moment.
    #[error("{selector} has no pods{}", namespace.as_ref().map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default())]
    NoPods {
        /// What was looked for.
        selector: String,
        /// Where; `None` for everywhere.
        namespace: Option<String>,
    },
    /// The object does not say which pods are its own.
    #[error("{object} does not select any pods")]
    NoSelector {
        /// The object.
        object: String,
    },
    /// A name means pods of several namespaces.
    #[error("{} pods are named so", pods.len())]
    Ambiguous {
        /// Each as namespace and name.
        pods: Vec<(String, String)>,
    },
    /// The pod has several containers, and none is the default.
    #[error("pod {pod} has {} containers", containers.len())]
    WhichContainer {
        /// The pod.
        pod: String,
        /// Their names.
        containers: Vec<String>,
    },
    /// The pod has no such container.
    #[error("pod {pod} has no container {container}")]
    NoSuchContainer {
        /// The pod.
        pod: String,
        /// What was asked for.
        container: String,
        /// What it has.
        containers: Vec<String>,
    },
    /// No agent can stand beside the container.
    #[error("cannot look into pod {pod}: {refusal}")]
    Refused {
        /// The pod.
        pod: String,
        /// Why.
        refusal: Refusal,
    },
    /// Admission refuses every rung that could answer.
    #[error("admission does not let an agent into pod {pod}: {}", last(refusals))]
    Admission {
        /// The pod.
        pod: String,
        /// What was tried, and the answer.
        refusals: Vec<(Rung, String)>,
    },
    /// Admission refuses every rung that has `CAP_SYS_CHROOT`.
    #[error(
        "`--chroot` cannot work in pod {pod}: it needs CAP_SYS_CHROOT, and admission does not let an agent in that has it: {}",
        last(refusals)
    )]
    NoChroot {
        /// The pod.
        pod: String,
        /// What was tried, and the answer.
        refusals: Vec<(Rung, String)>,
    },
    /// The pod as it stands violates the namespace's policy, so admission refuses every change of it.
    #[error(
        "admission refuses any ephemeral container in pod {pod}, because of what violates the policy already, {violator}: {message}"
    )]
    Violator {
        /// The pod.
        pod: String,
        /// The containers that do, or the pod.
        violator: String,
        /// What admission says.
        message: String,
    },
    /// Admission does not let kdbg start a pod of its own.
    #[error(
        "admission does not let kdbg start a pod in namespace {namespace} to ask from `{vantage}`: {message}"
    )]
    NotAdmitted {
        /// From where it was to ask.
        vantage: Vantage,
        /// The namespace of the target.
        namespace: String,
        /// What admission says.
        message: String,
    },
    /// A pod of kdbg's own was started and has no agent that answers.
    #[error("cannot ask from `{vantage}` (pod {pod}): {source}")]
    Elsewhere {
        /// From where it was to ask.
        vantage: Vantage,
        /// The pod.
        pod: String,
        /// Why not.
        source: Box<PodError>,
    },
    /// The server has no ephemeral containers.
    #[error("this API server has no ephemeral containers (they came with Kubernetes 1.25)")]
    Unsupported,
    /// The agent's container will not start.
    #[error("the agent's container {container} does not start: {reason}")]
    NotStarting {
        /// The container.
        container: String,
        /// Why, in the cluster's words.
        reason: String,
        /// Whether its image is the reason.
        image: Option<String>,
    },
    /// The target went away meanwhile.
    #[error("{what} while the agent was being started")]
    TargetLost {
        /// What happened.
        what: String,
    },
    /// It took too long.
    #[error("the agent did not start within {seconds} s; {last}")]
    Deadline {
        /// The deadline.
        seconds: u64,
        /// What the cluster said last.
        last: String,
    },
    /// An agent that was told to end has not.
    #[error("container {container} has been told to end, and still runs")]
    StillThere {
        /// The container.
        container: String,
    },
    /// The image has no agent that can be run.
    #[error("image {image} carries no agent, {message}")]
    NoAgent {
        /// The image.
        image: String,
        /// What the runtime says.
        message: String,
    },
    /// The agent runs, but no process of the target is in sight.
    #[error("the agent in pod {pod} does not see container {container}: {reason}")]
    NotVisible {
        /// The pod.
        pod: String,
        /// The target.
        container: String,
        /// Why.
        reason: String,
    },
    /// The agent does not answer as it should.
    #[error("the agent in container {container} does not answer: {source}{}", said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default())]
    NoConversation {
        /// Its container.
        container: String,
        /// How the conversation ended.
        source: SessionError,
        /// What it, or the cluster, said.
        said: Option<String>,
    },
}

/// The last refusal, with what it refused.
fn last(refusals: &[(Rung, String)]) -> String {
    let last = refusals.last();
    last.map(|(rung, message)| format!("{rung}: {message}"))
        .unwrap_or_default()
}

impl PodError {
    /// Whether this is what one is told of an agent's container that has ended, or is just about to.
    pub(super) const fn may_have_ended(&self) -> bool {
        matches!(self, Self::NotStarting { .. } | Self::NoConversation { .. })
    }

    /// Sorts an error of the API by what it means.
    pub(super) fn api(error: kube::Error, verb: &Verb) -> Self {
        let verb = verb.clone();
        match error {
            kube::Error::Api(status) if status.is_forbidden() => Self::Forbidden {
                verb,
                message: status.message.clone(),
            },
            kube::Error::Api(status) => Self::Api {
                verb,
                message: status.message.clone(),
            },
            other => Self::Api {
                verb,
                message: whole(&other),
            },
        }
    }

    /// What to do about it, each a sentence that starts with a verb.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Config(_) => vec![
                "set KUBECONFIG or `--kubeconfig`, or name a context with `--context`; for a process of this machine write `pid/NAME`"
                    .to_owned(),
            ],
            Self::Forbidden { verb, .. } if verb.resource == "pods" && ["create", "delete"].contains(&verb.verb) => vec![
                "see what is missing, and print the role that gives it, with `kdbg doctor TARGET --from new`".to_owned(),
            ],
            Self::NotAdmitted { vantage, .. } => vantage.instead(),
            Self::Elsewhere { source, .. } => source.hints(),
            Self::Forbidden { .. } => vec![
                "see what is missing, and print the role that gives it, with `kdbg doctor TARGET`".to_owned(),
            ],
            Self::NotFound { .. } | Self::NoPods { .. } => vec![
                "name the namespace with `-n`, or search all with `-A`".to_owned(),
            ],
            Self::Ambiguous { pods } => pods
                .iter()
                .map(|(namespace, name)| format!("choose `-n {namespace} {name}`"))
                .collect(),
            Self::WhichContainer { containers, .. } | Self::NoSuchContainer { containers, .. } => {
                containers
                    .iter()
                    .map(|name| format!("choose `-c {name}`"))
                    .collect()
            }
            Self::Refused { refusal, .. } => match refusal {
                Refusal::Static { .. } => vec![
                    "run kdbg on that node itself, on `pid/NAME`".to_owned(),
                ],
                Refusal::NotRunning { .. } => vec![
                    "read what its last run said with `kubectl logs --previous`".to_owned(),
                ],
                _ => Vec::new(),
            },
            Self::Violator { violator, .. } if violator.starts_with("ephemeral") => vec![
                "relax the namespace's policy for the time of the incident, or replace the pod: an ephemeral container goes only with it"
                    .to_owned(),
            ],
            Self::Violator { .. } => vec![
                "relax the namespace's policy for the time of the incident, or start the pod again with what the policy demands"
                    .to_owned(),
            ],
            Self::NotStarting { image: Some(_), .. } | Self::NoAgent { .. } => vec![
                "name an image that the node can get with `--image` (any with a shell does), or push kdbg's own to your registry"
                    .to_owned(),
            ],
            Self::NoChroot { .. } => vec![
                "leave `--chroot` out: the files of the target are below `$TARGET_ROOT` then".to_owned(),
                "or have the namespace admit Pod Security `baseline` for the time of the incident".to_owned(),
            ],
            Self::Deadline { .. } => vec!["wait longer with `--timeout`".to_owned()],
            Self::NotVisible { .. } => vec![
                "see all that the agent sees with `kdbg ps --all-processes`".to_owned(),
            ],
            _ => Vec::new(),
        }
    }
}

/// An error with all its causes: kube's own messages often hide the one that matters.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
