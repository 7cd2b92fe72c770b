//! kdbg on pods: what a real API server, kubelet, runtime and kernel make of it.

mod attach;
mod fan_out;
mod images;
mod keep;
mod lifetime;
mod matrix;
mod shapes;
mod source;

use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::Api;

use crate::harness::{Failure, Test};

/// Returns the names and states of the agents' containers of a pod.
async fn agents(test: &Test, pod: &str) -> Result<Vec<(String, Option<ContainerState>)>, Failure> {
    let pods: Api<Pod> = test.api();
    let pod = pods.get(pod).await?;
    let names = pod
        .spec
        .iter()
        .flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    let state = |name: &str| {
        let statuses = pod.status.as_ref()?.ephemeral_container_statuses.as_ref()?;
        statuses
            .iter()
            .find(|status| status.name == name)?
            .state
            .clone()
    };
    Ok(names
        .map(|container| (container.name.clone(), state(&container.name)))
        .collect())
}

/// Returns the names of those that run, or may still.
async fn living_agents(test: &Test, pod: &str) -> Result<Vec<String>, Failure> {
    let agents = agents(test, pod).await?;
    let lives = |state: &Option<ContainerState>| {
        state
            .as_ref()
            .is_none_or(|state| state.terminated.is_none())
    };
    Ok(agents
        .into_iter()
        .filter(|(_, state)| lives(state))
        .map(|(name, _)| name)
        .collect())
}
