//! Ending the agents that rest in pods.
//!
//! An ephemeral container cannot be removed or stopped through the API. So the agent's own program is run in it, which
//! tells the resting one to end (`kdbg-agent end`); whether it did shows in the pod's status. The entry stays in the
//! pod until that is deleted. A pod that kdbg has started itself is deleted, unless a command asks from it.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, ResourceExt};
use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, sleep, timeout},
};

use super::{
    Cluster, ClusterOptions, PodError, access, container, exec::exec, inject, resolve, temporary,
};
use crate::target::Selector;

/// So many pods are asked at once; more would be a burden to the API server.
const AT_ONCE: usize = 16;
/// Between two looks at a pod whose agent has been told to end. The status follows after about a second.
const LOOK_AFTER: Duration = Duration::from_millis(300);
/// What the program may answer.
const ANSWER_LIMIT: u64 = 4096;
/// Runs the agent that was carried into an image that has none, from wherever it was put.
const FIND_AGENT: &str = r#"
for agent in /tmp/kdbg-agent-* /var/tmp/kdbg-agent-* /dev/shm/kdbg-agent-* "$HOME"/kdbg-agent-* ./kdbg-agent-*; do
  if [ -x "$agent" ]; then exec "$agent" "$@"; fi
done
echo "no agent was carried here"
exit 1
"#;

/// What an agent's container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// It rests, or is used.
    Running,
    /// It has not started; the text is why.
    Waiting(String),
    /// It has ended. Only its entry is left.
    Ended,
}

/// A container of kdbg in a pod.
#[derive(Clone, Debug)]
pub struct AgentFound {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// What it does.
    pub state: AgentState,
    /// Whether the pod is kdbg's own, and goes with its agent.
    pub is_pod: bool,
    /// The program that tells it to end, with its first arguments.
    program: Vec<String>,
}

/// What became of an agent that was to end.
#[derive(Debug)]
pub enum Outcome {
    /// It has ended, as the kubelet says.
    Ended,
    /// Its pod was kdbg's own, and is deleted.
    Removed,
    /// Other commands use it, so it was left alone; the text says which processes they are.
    InUse(String),
    /// It could not be told to end, or has not ended in time.
    Failed(String),
    /// The account may not tell it.
    Forbidden(PodError),
}

/// The agents of some pods.
pub struct Agents {
    cluster: Cluster,
    /// All containers of kdbg, also those that have ended.
    pub all: Vec<AgentFound>,
    /// Why pods that kdbg has started for the target were not looked for.
    pub not_searched: Option<PodError>,
}

/// Finds the agents of the pods that are meant, and the pods that kdbg has started for them; of all pods of the namespace, or of all namespaces, without a selector.
pub async fn find(
    options: &ClusterOptions,
    selector: Option<&Selector>,
) -> Result<Agents, PodError> {
    let cluster = Cluster::connect(options).await?;
    let pods = match selector {
        Some(selector) => resolve::pods(&cluster, selector, options.all_namespaces).await?,
        None => resolve::every(&cluster, options.all_namespaces).await?,
    };
    let (started, not_searched) = match selector {
        // They are among all pods.
        None => (Vec::new(), None),
        Some(_) => {
            match resolve::labelled(&cluster, &temporary::labels(), options.all_namespaces).await {
                Ok(started) => (started, None),
                Err(error) => (Vec::new(), Some(error)),
            }
        }
    };
    let uids: Vec<_> = pods.iter().filter_map(ResourceExt::uid).collect();
    let named = |pod: &Pod| pod.uid().is_some_and(|uid| uids.contains(&uid));
    let started = started
        .iter()
        .filter(|pod| temporary::is_for(pod, &uids) && !named(pod));
    let mut all: Vec<_> = pods.iter().chain(started).flat_map(agents).collect();
    all.sort_by(|left, right| {
        let key = |agent: &AgentFound| {
            (
                agent.namespace.clone(),
                agent.pod.clone(),
                agent.container.clone(),
            )
        };
        key(left).cmp(&key(right))
    });
    Ok(Agents {
        cluster,
        all,
        not_searched,
    })
}

impl Agents {
    /// Ends those that can be ended, several at a time, and answers what became of each, in their order.
    pub async fn end(&self, force: bool, limit: Duration) -> Vec<(&AgentFound, Outcome)> {
        let ending = self.all.iter().filter(|agent| agent.can_end(force));
        stream::iter(ending)
            .map(async |agent| (agent, end(&self.cluster, agent, force, limit).await))
            .buffered(AT_ONCE)
            .collect()
            .await
    }
}

impl AgentFound {
    /// Whether there is something to end: a program that runs, or a pod. One that has not started yet may belong to a command
    /// that waits for it.
    pub fn can_end(&self, force: bool) -> bool {
        match self.state {
            AgentState::Running => true,
            AgentState::Ended => self.is_pod,
            AgentState::Waiting(_) => self.is_pod && force,
        }
    }
}

/// The containers of kdbg in a pod.
fn agents(pod: &Pod) -> impl Iterator<Item = AgentFound> {
    let beside = inject::ephemeral(pod)
        .filter(|container| inject::is_ours(&container.name))
        .map(|container| AgentFound {
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod.name_any(),
            container: container.name.clone(),
            state: state(pod, inject::ephemeral_status(pod, &container.name)),
            is_pod: false,
            program: program(container.command.as_deref()),
        });
    let own = temporary::is_ours(pod).then(|| {
        let name = temporary::CONTAINER;
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut containers = containers.filter(|container| container.name == name);
        let command = containers.next().and_then(|one| one.command.as_deref());
        AgentFound {
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod.name_any(),
            container: name.to_owned(),
            state: state(pod, container::status_of(pod, name)),
            is_pod: true,
            program: program(command),
        }
    });
    beside.chain(own)
}

fn state(pod: &Pod, container: Option<&ContainerStatus>) -> AgentState {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return AgentState::Ended;
    }
    let state = container.and_then(|status| status.state.as_ref());
    match state {
        Some(state) if state.terminated.is_some() => AgentState::Ended,
        Some(state) if state.running.is_some() => AgentState::Running,
        state => {
            let reason = state
                .and_then(|state| state.waiting.as_ref())
                .and_then(|waiting| waiting.reason.clone());
            AgentState::Waiting(reason.unwrap_or_else(|| "not taken up yet".to_owned()))
        }
    }
}

/// The program that ends an agent: the one that rests there, or whatever has been carried to it.
fn program(command: Option<&[String]>) -> Vec<String> {
    match command.and_then(<[String]>::first) {
        Some(agent) if agent.ends_with("/kdbg-agent") => vec![agent.clone(), "end".to_owned()],
        _ => ["sh", "-c", FIND_AGENT, "kdbg", "end"]
            .map(str::to_owned)
            .to_vec(),
    }
}

async fn end(cluster: &Cluster, agent: &AgentFound, force: bool, limit: Duration) -> Outcome {
    let deadline = Instant::now() + limit;
    if agent.is_pod && (force || agent.state == AgentState::Ended) {
        return remove(cluster, agent).await;
    }
    let answer = match timeout(limit, tell(cluster, agent, force)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error @ PodError::Forbidden { .. })) => return Outcome::Forbidden(error),
        Ok(Err(error)) => return Outcome::Failed(error.to_string()),
        Err(_) => {
            return Outcome::Failed(format!("it has not answered within {} s", limit.as_secs()));
        }
    };
    if let Some(users) = answer.strip_prefix("in use: ") {
        return Outcome::InUse(users.trim_end().to_owned());
    }
    if agent.is_pod {
        return remove(cluster, agent).await;
    }
    // The kubelet may know already that it has ended before the answer was on its way.
    match wait(cluster, agent, deadline).await {
        Ok(()) => Outcome::Ended,
        Err(error @ PodError::Forbidden { .. }) => Outcome::Forbidden(error),
        Err(_) if !answer.starts_with("told ") => Outcome::Failed(if answer.trim().is_empty() {
            "it does not answer".to_owned()
        } else {
            answer.trim().to_owned()
        }),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// Deletes a pod of kdbg's own.
async fn remove(cluster: &Cluster, agent: &AgentFound) -> Outcome {
    match temporary::delete(cluster, &agent.namespace, &agent.pod).await {
        Ok(()) => Outcome::Removed,
        Err(error @ PodError::Forbidden { .. }) => Outcome::Forbidden(error),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// Runs the program and answers what it says.
async fn tell(cluster: &Cluster, agent: &AgentFound, force: bool) -> Result<String, PodError> {
    let mut command: Vec<&str> = agent.program.iter().map(String::as_str).collect();
    if force {
        command.push("--force");
    }
    let executed = exec(
        &cluster.client,
        &agent.namespace,
        &agent.pod,
        &agent.container,
        &command,
    )
    .await;
    let program = executed.map_err(|error| inject::not_executed(error, &agent.namespace))?;
    let mut answer = Vec::new();
    // The connection ends with the container, in whatever way; what counts is what was said before.
    let _ = program
        .stdout
        .take(ANSWER_LIMIT)
        .read_to_end(&mut answer)
        .await;
    if answer.is_empty() {
        let said = program.end.complaints().or_else(|| program.end.failure());
        return Ok(said.unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Waits until the pod's status says that the agent has ended.
async fn wait(cluster: &Cluster, agent: &AgentFound, deadline: Instant) -> Result<(), PodError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &agent.namespace);
    let verb = access::GET_PODS.inside(&agent.namespace);
    loop {
        let pod = timeout(deadline - Instant::now(), api.get_opt(&agent.pod)).await;
        match pod {
            // With the pod, its agents are gone.
            Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(pod)))
                if state(&pod, inject::ephemeral_status(&pod, &agent.container))
                    == AgentState::Ended =>
            {
                return Ok(());
            }
            Ok(Err(error)) => {
                let error = PodError::api(error, &verb);
                if matches!(error, PodError::Forbidden { .. }) {
                    return Err(error);
                }
            }
            Ok(Ok(Some(_))) | Err(_) => {}
        }
        if Instant::now() + LOOK_AFTER >= deadline {
            return Err(PodError::StillThere {
                container: agent.container.clone(),
            });
        }
        sleep(LOOK_AFTER).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_kdbgs_containers_are_found_with_what_they_do() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [], "ephemeralContainers": [
                {"name": "debugger-abcde"},
                {"name": "kdbg-1"},
                {"name": "kdbg-a-0123abcd", "command": ["/usr/bin/kdbg-agent", "rest"]},
                {"name": "kdbg-b-0123abcd-2", "command": ["sh", "-c", ""]},
                {"name": "kdbg-c-0123abcd"},
            ]},
            "status": {"phase": "Running", "ephemeralContainerStatuses": [
                {"name": "kdbg-a-0123abcd", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}}},
                {"name": "kdbg-b-0123abcd-2", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 0}}},
                {"name": "kdbg-c-0123abcd", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull"}}},
            ]},
        }))
        .unwrap();
        let found: Vec<_> = agents(&pod).collect();
        let states: Vec<_> = found.iter().map(|agent| agent.state.clone()).collect();
        assert_eq!(
            states,
            [
                AgentState::Running,
                AgentState::Ended,
                AgentState::Waiting("ErrImagePull".to_owned())
            ]
        );
        assert_eq!(found[0].program, ["/usr/bin/kdbg-agent", "end"]);
        assert_eq!(found[1].program[0], "sh");
        assert!(found.iter().all(|agent| !agent.is_pod));
    }

    #[test]
    fn a_pod_that_kdbg_has_started_goes_when_it_has_ended_and_while_it_starts_only_by_force() {
        let started = |state: serde_json::Value| -> AgentFound {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {
                    "name": "kdbg-from-new-0123abcd", "namespace": "shop",
                    "labels": {"app.kubernetes.io/managed-by": "kdbg"},
                },
                "spec": {"containers": [
                    {"name": "agent", "command": ["/usr/bin/kdbg-agent", "rest"]}, {"name": "mesh-proxy"},
                ]},
                "status": {"phase": "Pending", "containerStatuses": [
                    {"name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state},
                ]},
            }))
            .unwrap();
            agents(&pod).next().unwrap()
        };
        let running = started(json!({"running": {}}));
        assert_eq!(running.program, ["/usr/bin/kdbg-agent", "end"]);
        assert!(running.is_pod && running.can_end(false));
        assert!(started(json!({"terminated": {"exitCode": 0}})).can_end(false));
        let waiting = started(json!({"waiting": {"reason": "ContainerCreating"}}));
        assert_eq!(
            (waiting.can_end(false), waiting.can_end(true)),
            (false, true)
        );
    }
}
