//! Images that do not come, or come late.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::harness::{Level, Phase, check, container, pod, run, waiting_reason};

/// A registry of one image that takes its time: it stands for slowness, not for a registry.
///
/// The image is the Python image itself, packed anew from the files that this program sees.
const SLOW_REGISTRY: &str = include_str!("slow_registry.py");

#[tokio::test]
#[ignore = "needs a cluster: the kubelet finds no image"]
async fn missing_image_is_named() {
    run("missing", Level::Restricted, async |test| {
        let never = container(
            "app",
            "no-such-image:1",
            json!({"imagePullPolicy": "Never"}),
        );
        test.create_object::<Pod>(pod("never", &[never], json!({})))
            .await?;
        test.wait_for_pod("never", "has no image", |pod| {
            waiting_reason(pod) == Some("ErrImageNeverPull")
        })
        .await?;
        // port 9 of the node's own address: nothing listens there, so the answer is quick
        let unreachable = container("app", "127.0.0.1:9/no-such-image:1", json!({}));
        test.create_object::<Pod>(pod("unreachable", &[unreachable], json!({})))
            .await?;
        test.wait_for_pod("unreachable", "has no image", |pod| {
            matches!(
                waiting_reason(pod),
                Some("ErrImagePull" | "ImagePullBackOff")
            )
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: the runtime pulls from a slow registry"]
async fn slow_image_keeps_the_container_creating() {
    run("slow", Level::Privileged, async |test| {
        let seconds = 6;
        let registry = container(
            "app",
            "python:root",
            json!({"command": ["/usr/bin/python3.11", "-c", SLOW_REGISTRY, "28500", seconds.to_string(), test.namespace]}),
        );
        // on the node's network, the runtime reaches it as its own machine, where it asks for no TLS
        let probe = json!({"hostNetwork": true, "terminationGracePeriodSeconds": 0});
        let mut registry = pod("registry", &[registry], probe);
        registry["spec"]["containers"][0]["readinessProbe"] =
            json!({"httpGet": {"path": "/v2/", "port": 28500, "host": "127.0.0.1"}, "periodSeconds": 1});
        test.start(registry).await?;

        let image = format!("127.0.0.1:28500/{}:1", test.namespace);
        let started = Instant::now();
        test.create_object::<Pod>(pod("late", &[container("app", &image, json!({"securityContext": {"runAsUser": 1000}}))], json!({}))).await?;
        let waiting = test.wait_for_pod("late", "is being pulled", |pod| waiting_reason(pod) == Some("ContainerCreating")).await?;
        check(!Phase::of(&waiting).ready, || "ready before its image was there".to_owned())?;
        test.wait_for_pod("late", "is ready", |pod| Phase::of(pod).ready).await?;
        check(started.elapsed() >= Duration::from_secs(seconds), || format!("ready after only {:?}", started.elapsed()))?;
        let events = test.events_of("late").await?;
        check(events.iter().any(|(reason, _)| reason == "Pulled"), || format!("no event tells of the pull: {events:?}"))
    })
    .await;
}
