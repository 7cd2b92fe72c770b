//! The shapes of pods that a debugger meets: one function that writes each, and one test that it is really so.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use crate::harness::{Failure, Level, answering, check, container, pod, run, wait_until};

/// All containers see each other's processes; process 1 is the pause container.
fn share_process_namespace() -> Value {
    pod(
        "shared",
        &[container("app", "python:user", json!({}))],
        json!({"shareProcessNamespace": true}),
    )
}

/// Root in the pod is somebody else on the node.
fn without_host_users() -> Value {
    pod(
        "mapped",
        &[container("app", "python:root", json!({}))],
        json!({"hostUsers": false}),
    )
}

fn read_only_root() -> Value {
    let more = json!({"securityContext": {"readOnlyRootFilesystem": true}});
    pod(
        "read-only",
        &[container("app", "python:user", more)],
        json!({}),
    )
}

/// An init container that goes on running beside the application.
fn sidecar() -> Value {
    let mut side = answering(8081, "/");
    side["restartPolicy"] = "Always".into();
    side["env"] = json!([{"name": "PORT", "value": "8081"}]);
    let side = container("side", "go:user", side);
    pod(
        "with-sidecar",
        &[container("app", "python:user", json!({}))],
        json!({"initContainers": [side]}),
    )
}

fn several_containers() -> Value {
    let on_port = |name: &str, image: &str, port: u16| {
        let mut more = answering(port, "/");
        more["env"] = json!([{"name": "PORT", "value": port.to_string()}]);
        container(name, image, more)
    };
    let containers = [
        on_port("app", "python:user", 8080),
        on_port("go", "go:user", 8081),
        on_port("node", "node:user", 8082),
    ];
    pod("several", &containers, json!({}))
}

/// Ends with an error as often as it is started.
fn crash_looping() -> Value {
    let command =
        json!({"command": ["/usr/bin/python3.11", "-c", "raise SystemExit('no configuration')"]});
    pod(
        "crashing",
        &[container("app", "python:user", command)],
        json!({}),
    )
}

fn completed() -> Value {
    let command = json!({"command": ["/usr/bin/python3.11", "-c", "print('done')"]});
    pod(
        "completed",
        &[container("app", "python:user", command)],
        json!({"restartPolicy": "Never"}),
    )
}

/// Has the node's network. The port is one that no other test uses.
fn host_network() -> Value {
    let port = json!({"env": [{"name": "PORT", "value": "28080"}]});
    pod(
        "on-node",
        &[container("app", "python:user", port)],
        json!({"hostNetwork": true}),
    )
}

/// A pod that the kubelet reads from a file; the API server only shows its mirror.
fn static_pod(name: &str, namespace: &str) -> Value {
    let mut pod = pod(
        name,
        &[container("app", "python:user", json!({}))],
        json!({}),
    );
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["namespace"] = namespace.into();
    pod
}

#[tokio::test]
#[ignore = "needs a cluster: starts a pod of this shape"]
async fn shared_process_namespace_has_pause_as_process_1() {
    run("shared", Level::Restricted, async |test| {
        test.start(share_process_namespace()).await?;
        let name = test
            .python("shared", "print(open('/proc/1/comm').read().strip())")
            .await?;
        check(name == "pause", || format!("process 1 is {name}"))
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: needs containerd 2 and a kernel with mapped mounts"]
async fn user_namespace_maps_root_to_somebody_else() {
    run("mapped", Level::Baseline, async |test| {
        test.start(without_host_users()).await?;
        let map = test
            .python("mapped", "print(open('/proc/self/uid_map').read())")
            .await?;
        let fields: Vec<&str> = map.split_whitespace().collect();
        check(
            fields.len() == 3 && fields[0] == "0" && fields[1] != "0" && fields[2] == "65536",
            || format!("the map of users is {map}"),
        )
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: starts a pod of this shape"]
async fn read_only_root_refuses_to_write() {
    run("read-only", Level::Restricted, async |test| {
        test.start(read_only_root()).await?;
        let code = "try: open('/tmp/x', 'w')\nexcept OSError as e: print(e.strerror)";
        let answer = test.python("read-only", code).await?;
        check(answer == "Read-only file system", || {
            format!("writing gave: {answer}")
        })
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: starts a pod of this shape"]
async fn sidecar_runs_beside_the_application() {
    run("sidecar", Level::Restricted, async |test| {
        let started = test.start(sidecar()).await?;
        let status = started.status.unwrap_or_default();
        let side = status.init_container_statuses.unwrap_or_default();
        check(side.len() == 1 && side[0].ready && side[0].started == Some(true), || format!("the sidecar is {side:?}"))?;
        let code = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8081/', timeout=5).read().decode())";
        let answer = test.python("with-sidecar", code).await?;
        check(answer.contains("\"image\":\"go\""), || format!("the sidecar answers {answer}"))
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: starts a pod of this shape"]
async fn several_containers_share_the_network() {
    run("several", Level::Restricted, async |test| {
        let started = test.start(several_containers()).await?;
        let statuses = started.status.and_then(|status| status.container_statuses).unwrap_or_default();
        check(statuses.len() == 3 && statuses.iter().all(|status| status.ready), || format!("the containers are {statuses:?}"))?;
        for (port, image) in [(8081, "go"), (8082, "node")] {
            let code = format!("import json, urllib.request as r; print(json.load(r.urlopen('http://127.0.0.1:{port}/', timeout=5))['image'])");
            let answer = test.python("several", &code).await?;
            check(answer == image, || format!("port {port} answers {answer}"))?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: an own one, whose folder of static pods can be written"]
async fn static_pod_has_a_mirror() {
    run("static", Level::Restricted, async |test| {
        if !test.cluster.own("its folder of static pods") {
            return Ok(());
        }
        let file = test
            .cluster
            .folder()
            .join("manifests")
            .join(format!("{}.json", test.namespace));
        let manifest = static_pod("from-file", &test.namespace).to_string();
        // written beside it and renamed: the kubelet must not read half a file
        let draft = test
            .cluster
            .folder()
            .join(format!("{}.json", test.namespace));
        std::fs::write(&draft, manifest)
            .and_then(|()| std::fs::rename(&draft, &file))
            .map_err(Failure::of("write the static pod"))?;
        let pods: Api<Pod> = test.api();
        let seen = wait_until(
            &test.cluster,
            "the mirror of the static pod runs",
            async || {
                let list = pods.list(&kube::api::ListParams::default()).await?;
                let running = list.into_iter().find(|pod| {
                    pod.status
                        .as_ref()
                        .and_then(|status| status.phase.as_deref())
                        == Some("Running")
                });
                Ok(running.ok_or_else(|| "no running pod".to_owned()))
            },
        )
        .await;
        let _ = std::fs::remove_file(&file);
        let seen = seen?;
        check(
            seen.annotations()
                .contains_key("kubernetes.io/config.mirror"),
            || format!("not a mirror: {:?}", seen.annotations()),
        )?;
        wait_until(
            &test.cluster,
            "the static pod is gone with its file",
            async || {
                let left = pods.get_opt(&seen.name_any()).await?;
                Ok(left.map_or(Ok(()), |_| Err("the mirror is still there".to_owned())))
            },
        )
        .await
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: the kubelet starts the container again and again"]
async fn crashing_container_loops() {
    run("crashing", Level::Restricted, async |test| {
        test.create_object::<Pod>(crash_looping()).await?;
        let seen = test
            .wait_for_pod("crashing", "is in CrashLoopBackOff", |pod| {
                crate::harness::waiting_reason(pod) == Some("CrashLoopBackOff")
            })
            .await?;
        let status = &seen
            .status
            .and_then(|status| status.container_statuses)
            .unwrap_or_default()[0];
        let code = status
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref())
            .map(|terminated| terminated.exit_code);
        check(code == Some(1), || {
            format!("the last end was {:?}", status.last_state)
        })
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: starts a pod of this shape"]
async fn completed_pod_has_succeeded() {
    run("completed", Level::Restricted, async |test| {
        test.create_object::<Pod>(completed()).await?;
        test.wait_for_pod("completed", "has succeeded", |pod| {
            pod.status
                .as_ref()
                .and_then(|status| status.phase.as_deref())
                == Some("Succeeded")
        })
        .await?;
        // no kubelet keeps a finished pod from being deleted
        test.api::<Pod>()
            .delete("completed", &DeleteParams::default())
            .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: starts a pod of this shape"]
async fn host_network_has_the_address_of_the_node() {
    run("host-network", Level::Privileged, async |test| {
        let started = test.start(host_network()).await?;
        let status = started.status.unwrap_or_default();
        check(
            status.pod_ip.is_some() && status.pod_ip == status.host_ip,
            || format!("pod {:?}, node {:?}", status.pod_ip, status.host_ip),
        )
    })
    .await;
}
