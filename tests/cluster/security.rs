//! What admission and the runtime say about an ephemeral container, and what of it can be read afterwards.

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{Failure, Level, Test, check, container, pod, run, wait_until};

/// Adds an ephemeral container of kdbg's image beside the container `app`.
async fn inject(test: &Test, pod_name: &str, name: &str, user: u32) -> Result<(), kube::Error> {
    let mut ephemeral = container(
        name,
        "kdbg-agent:dev",
        json!({"command": ["/bin/busybox", "sleep", "120"], "targetContainerName": "app", "securityContext": {"runAsUser": user, "runAsGroup": user}}),
    );
    if user == 0 {
        ephemeral["securityContext"]["runAsNonRoot"] = Value::Null;
    }
    let patch = json!({"spec": {"ephemeralContainers": [ephemeral]}});
    test.api::<Pod>()
        .patch_ephemeral_containers(pod_name, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster: injects an ephemeral container"]
async fn ephemeral_container_reads_the_target_in_a_restricted_namespace() {
    run("inject", Level::Restricted, async |test| {
        let secret = json!({"env": [{"name": "WHO_AM_I", "value": "the target"}]});
        test.start(pod(
            "app",
            &[container("app", "python:user", secret)],
            json!({}),
        ))
        .await?;
        inject(test, "app", "kdbg-1", 1000).await?;
        // the program runs before the status says so
        let environment = wait_until(&test.cluster, "the ephemeral container runs", async || {
            Ok(
                match test
                    .exec("app", "kdbg-1", &["/bin/busybox", "cat", "/proc/1/environ"])
                    .await
                {
                    Ok(outcome) if outcome.failure.is_none() => Ok(outcome.stdout),
                    other => Err(format!("{other:?}")),
                },
            )
        })
        .await?;
        check(
            environment
                .split('\0')
                .any(|entry| entry == "WHO_AM_I=the target"),
            || format!("/proc/1/environ is {environment:?}"),
        )
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: admission refuses the ephemeral container"]
async fn relabelled_namespace_refuses_because_of_the_original_container() {
    run("relabelled", Level::Baseline, async |test| {
        test.start(pod(
            "app",
            &[container("app", "python:root", json!({}))],
            json!({}),
        ))
        .await?;
        let namespaces: Api<Namespace> = Api::all(test.client.clone());
        let labels =
            json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        namespaces
            .patch(
                &test.namespace,
                &PatchParams::default(),
                &Patch::Merge(labels),
            )
            .await?;
        // admission knows of the label a moment later
        let message = wait_until(
            &test.cluster,
            "the ephemeral container is refused",
            async || {
                let name = format!(
                    "kdbg-{}",
                    std::time::UNIX_EPOCH
                        .elapsed()
                        .map_or(0, |time| time.subsec_nanos())
                );
                Ok(match inject(test, "app", &name, 1000).await {
                    Err(kube::Error::Api(status)) if status.code == 403 => {
                        Ok(status.message.clone())
                    }
                    other => Err(format!("{other:?}")),
                })
            },
        )
        .await?;
        check(
            message.contains("restricted") && message.contains("\"app\""),
            || format!("the refusal does not name the container: {message}"),
        )
    })
    .await;
}

/// The name starts with `runtime_`: these tests run on old runtimes too.
#[tokio::test]
#[ignore = "needs a cluster: the runtime tells the user or does not"]
async fn runtime_tells_the_user_of_a_container_since_containerd_2() {
    run("user", Level::Restricted, async |test| {
        let started = test
            .start(pod(
                "app",
                &[container("app", "python:user", json!({}))],
                json!({}),
            ))
            .await?;
        let statuses = started
            .status
            .and_then(|status| status.container_statuses)
            .unwrap_or_default();
        let user = statuses[0]
            .user
            .as_ref()
            .and_then(|user| user.linux.as_ref())
            .map(|user| (user.uid, user.gid));
        let node = Api::<Node>::all(test.client.clone())
            .list(&ListParams::default())
            .await?
            .items
            .remove(0);
        let runtime = node
            .status
            .and_then(|status| status.node_info)
            .unwrap_or_default()
            .container_runtime_version;
        let expected = if runtime.starts_with("containerd://1.") {
            None
        } else {
            Some((1000, 1000))
        };
        check(user == expected, || {
            format!("{runtime} reports the user {user:?}")
        })
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: an own one, whose audit log can be read"]
async fn audit_log_has_what_was_asked() {
    run("audit", Level::Restricted, async |test| {
        if !test.cluster.own("its audit log") {
            return Ok(());
        }
        test.start(pod(
            "app",
            &[container("app", "python:user", json!({}))],
            json!({}),
        ))
        .await?;
        inject(test, "app", "kdbg-audited", 1000).await?;
        let log = test.cluster.folder().join("log/audit.log");
        let text = std::fs::read_to_string(&log).map_err(Failure::of("read the audit log"))?;
        let requests: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["objectRef"]["namespace"] == test.namespace.as_str())
            .collect();
        let patch = requests
            .iter()
            .find(|event| event["objectRef"]["subresource"] == "ephemeralcontainers");
        check(
            patch.is_some_and(|event| {
                event["verb"] == "patch"
                    && event["requestObject"]["spec"]["ephemeralContainers"][0]["name"]
                        == "kdbg-audited"
            }),
            || {
                format!(
                    "the request is not among the {} of this namespace in {}",
                    requests.len(),
                    log.display()
                )
            },
        )
    })
    .await;
}
