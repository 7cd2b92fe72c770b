//! How often a container has been started again.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};

use super::{Place, container};
use crate::evidence::provenance::Lookup;

/// The restarts of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarts {
    /// How many.
    pub count: u64,
    /// How the container ended the last time: `OOMKilled, exit code 137`.
    pub last: Option<String>,
}

/// Asks the cluster how often the container that is looked at has been started again.
pub async fn restarts(place: &Place) -> Lookup<Restarts> {
    let pods: Api<Pod> = Api::namespaced(place.cluster.client.clone(), &place.namespace);
    match pods.get_opt(&place.pod).await {
        Ok(Some(pod)) if pod.uid().as_ref() == Some(&place.uid) => {
            of(&pod, &place.container).map_or(Lookup::Missing, Lookup::Found)
        }
        Ok(_) => Lookup::Missing,
        Err(error) => Lookup::Unreadable(format!("cannot get pod {}: {error}", place.pod)),
    }
}

fn of(pod: &Pod, name: &str) -> Option<Restarts> {
    let status = container::status_of(pod, name)?;
    let last = status.last_state.as_ref();
    let last = last.and_then(|state| state.terminated.as_ref()).map(|end| {
        let reason = end.reason.as_deref().unwrap_or("ended");
        format!("{reason}, exit code {}", end.exit_code)
    });
    Some(Restarts {
        count: u64::try_from(status.restart_count).unwrap_or(0),
        last,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_end_is_told_with_its_reason() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "status": {"containerStatuses": [{
                "name": "app", "image": "i", "imageID": "", "ready": true, "restartCount": 2,
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            }]},
        }))
        .unwrap();
        let expected = Restarts {
            count: 2,
            last: Some("OOMKilled, exit code 137".to_owned()),
        };
        assert_eq!(of(&pod, "app"), Some(expected));
        assert_eq!(of(&pod, "other"), None);
    }
}
