//! What happened to a pod when the agent in it fell silent: the cluster knows, a moment later.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::{Api, ResourceExt as _};
use tokio::time::{Instant, sleep};

use super::{Cluster, Found, container, inject::ephemeral_status};

/// A kubelet tells of the end of a container about a second later.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_AFTER: Duration = Duration::from_millis(250);

/// The pod as it was when the agent came.
pub(super) struct Witness {
    cluster: Cluster,
    pod: String,
    uid: String,
    /// The container that is looked at; none in a pod of kdbg's own, which has only the agent's.
    target: Option<Found>,
    /// The agent's container.
    agent: String,
}

impl Witness {
    pub(super) fn new(cluster: &Cluster, pod: &Pod, target: Option<&Found>, agent: &str) -> Self {
        Self {
            cluster: cluster.clone(),
            pod: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            target: target.cloned(),
            agent: agent.to_owned(),
        }
    }

    /// Says what took the agent away, if the cluster says so in time.
    pub(super) async fn testify(self) -> Option<String> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match tokio::time::timeout_at(deadline, api.get_opt(&self.pod)).await {
                Ok(Ok(pod)) => {
                    if let Some(account) = self.account(pod.as_ref()) {
                        return Some(account);
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, "the pod cannot be asked"),
                Err(_) => break,
            }
            sleep(LOOK_AFTER).await;
        }
        None
    }

    /// Reads what happened out of the pod as it is now. Pure.
    pub(super) fn account(&self, pod: Option<&Pod>) -> Option<String> {
        let gone = |what: String| Some(format!("{what} and took the agent with it"));
        let name = &self.pod;
        let pod = match pod {
            Some(pod) if pod.uid().as_ref() == Some(&self.uid) => pod,
            _ => return gone(format!("pod {name} was deleted")),
        };
        if pod.metadata.deletion_timestamp.is_some() {
            return gone(format!("pod {name} is being deleted"));
        }
        let status = pod.status.as_ref()?;
        if let Some(phase @ ("Failed" | "Succeeded")) = status.phase.as_deref() {
            let reason = status.reason.as_deref().unwrap_or(phase);
            return gone(format!("pod {name} ended ({reason})"));
        }
        if let Some(known) = &self.target
            && let Some(target) = container::status_of(pod, &known.name)
            && container::running_id(target).as_ref() != Some(&known.id)
        {
            let is_back = target.restart_count > known.restarts;
            let what = if is_back { "was restarted" } else { "ended" };
            let now = target
                .state
                .as_ref()
                .and_then(|state| state.terminated.as_ref());
            let last = target
                .last_state
                .as_ref()
                .and_then(|state| state.terminated.as_ref());
            let how = now.or(last).map(how).unwrap_or_default();
            return gone(format!("container {} {what}{how}", known.name));
        }
        let agent = ephemeral_status(pod, &self.agent)
            .or_else(|| container::status_of(pod, &self.agent))?;
        let agent = agent.state.as_ref()?;
        let ended = agent.terminated.as_ref()?;
        Some(format!(
            "the agent's container {} ended{}",
            self.agent,
            how(ended)
        ))
    }
}

/// How a container ended, in brackets. What every failure is called, and every success, says nothing.
fn how(ended: &ContainerStateTerminated) -> String {
    let reason = match ended.reason.as_deref() {
        Some(reason) if !["Completed", "Error"].contains(&reason) => format!(", {reason}"),
        _ => String::new(),
    };
    format!(" (exit code {}{reason})", ended.exit_code)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::target::pod::container::Reason;

    fn witness() -> Witness {
        let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        Witness {
            cluster: Cluster {
                client: kube::Client::try_from(config).unwrap(),
                server: String::new(),
                account: String::new(),
                namespace: "shop".to_owned(),
            },
            pod: "web".to_owned(),
            uid: "1".to_owned(),
            target: Some(Found {
                name: "app".to_owned(),
                id: "abc".to_owned(),
                image: String::new(),
                image_id: String::new(),
                restarts: 0,
                user: None,
                reason: Reason::Only,
            }),
            agent: "kdbg-a".to_owned(),
        }
    }

    fn pod(app: &Value, agent: &Value) -> Pod {
        let status = |name: &str, restarts: i32, more: &Value| {
            let mut status = json!({"name": name, "image": "", "imageID": "", "ready": true, "restartCount": restarts});
            for (key, value) in more.as_object().unwrap() {
                status[key] = value.clone();
            }
            status
        };
        serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "1"},
            "status": {
                "phase": "Running",
                "containerStatuses": [status("app", 0, app)],
                "ephemeralContainerStatuses": [status("kdbg-a", 0, agent)],
            },
        }))
        .unwrap()
    }

    fn running() -> Value {
        json!({"containerID": "containerd://abc", "state": {"running": {}}})
    }

    #[tokio::test]
    async fn what_took_the_agent_away_is_said() {
        let witness = witness();
        let ended =
            |code: i32, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason}});
        let account = |app: &Value, agent: &Value| witness.account(Some(&pod(app, agent)));
        assert_eq!(account(&running(), &running()), None);
        assert_eq!(
            account(
                &json!({
                    "restartCount": 1, "containerID": "containerd://def", "state": {"running": {}},
                    "lastState": ended(137, "OOMKilled"),
                }),
                &running()
            )
            .as_deref(),
            Some(
                "container app was restarted (exit code 137, OOMKilled) and took the agent with it"
            )
        );
        assert_eq!(
            account(&json!({"state": ended(1, "Error")}), &running()).as_deref(),
            Some("container app ended (exit code 1) and took the agent with it")
        );
        assert_eq!(
            account(&running(), &json!({"state": ended(137, "OOMKilled")})).as_deref(),
            Some("the agent's container kdbg-a ended (exit code 137, OOMKilled)")
        );
        assert_eq!(
            witness.account(None).as_deref(),
            Some("pod web was deleted and took the agent with it")
        );
    }
}
