//! A program of the cluster that dies is named by the test that waits for it; the test does not hang.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde_json::json;

use crate::harness::{Cluster, Failure, check, container, pod, wait_until};

/// Kills each program in turn while a wait for something that never comes goes on.
#[tokio::test]
#[ignore = "needs a cluster: root, for a cluster of its own that it breaks"]
async fn killed_component_is_named() {
    match Cluster::shared() {
        Ok(cluster) if !cluster.own("a second cluster beside it") => return,
        Ok(_) => {}
        Err(failure) => panic!("no cluster: {failure}"),
    }
    let cluster = Cluster::start("kdbg-kill").unwrap_or_else(|failure| panic!("{failure}"));
    let result = kill_each(&cluster).await;
    let stopped = cluster.stop();
    if let Err(failure) = result.and(stopped) {
        panic!("{failure}");
    }
}

async fn kill_each(cluster: &Cluster) -> Result<(), Failure> {
    for component in [
        "kubelet",
        "containerd",
        "kube-apiserver",
        "etcd",
        "kube-scheduler",
        "kube-controller-manager",
        "kube-proxy",
        "coredns",
    ] {
        // brings back what the last round killed
        cluster.control(&["up"])?;
        let client = cluster.client().await?;
        let pods: Api<Pod> = Api::default_namespaced(client);
        let name = format!("never-{component}");
        let never = container(
            "app",
            "no-such-image:1",
            json!({"imagePullPolicy": "Never"}),
        );
        let never = serde_json::from_value(pod(&name, &[never], json!({})))
            .expect("the test writes a valid object");
        pods.create(&kube::api::PostParams::default(), &never)
            .await?;
        cluster.control(&["kill", component])?;

        let start = Instant::now();
        let waited: Result<(), Failure> =
            wait_until(cluster, "a pod that never starts is ready", async || {
                pods.get(&name).await?;
                Ok(Err("it is not".to_owned()))
            })
            .await;
        let message = waited.expect_err("the pod never starts").to_string();
        check(message.contains(&format!("{component} is dead")), || {
            format!("after kill -9 of {component}: {message}")
        })?;
        check(start.elapsed() < Duration::from_mins(3), || {
            format!("{component}: it took {:?} to notice", start.elapsed())
        })?;
        eprintln!(
            "kill -9 {component}: noticed after {:.1} s",
            start.elapsed().as_secs_f32()
        );
    }
    Ok(())
}
