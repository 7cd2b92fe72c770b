//! Pods of every shape: the right process is found, or it is said why there is none.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use super::agents;
use crate::harness::{
    Failure, Level, Phase, Ran, Test, answering, check, container, merged, pod, run, wait_until,
    waiting_reason,
};

/// Fails unless the report is about a process of this name in this container, and gives the report back.
fn looked_at(ran: &Ran, container: &str, process: &str) -> Result<Value, Failure> {
    let report = ran.json()?["process"].take();
    check(
        report["pod"]["container"] == container && report["name"] == process,
        || format!("not {process} in {container}, but {report:#}"),
    )?;
    Ok(report)
}

/// A container that answers on a port of its own, so that several fit into one pod.
fn on_port(name: &str, image: &str, port: u16) -> Value {
    let more = merged(
        answering(port, "/"),
        json!({"env": [{"name": "PORT", "value": port.to_string()}]}),
    );
    container(name, image, more)
}

#[tokio::test]
#[ignore = "needs a cluster: starts a pod of this shape"]
async fn of_a_shared_process_namespace_only_the_processes_of_the_container_count() {
    run("k-shared", Level::Restricted, async |test| {
        let containers = [
            on_port("app", "python:user", 8080),
            on_port("go", "go:user", 8081),
        ];
        let mut shared = pod(
            "shared",
            &containers,
            json!({"shareProcessNamespace": true}),
        );
        shared["metadata"]["annotations"] =
            json!({"kubectl.kubernetes.io/default-container": "go"});
        test.start(shared).await?;
        for (arguments, container, process) in [
            (
                &["env", "shared", "-o", "json", "-c", "app"][..],
                "app",
                "python3.11",
            ),
            (&["env", "shared", "-o", "json", "-c", "go"], "go", "server"),
            (&["env", "shared", "-o", "json"], "go", "server"),
        ] {
            let ran = test.kdbg(arguments).await?.ended_with(0)?;
            let report = looked_at(&ran, container, process)?;
            check(report["pid"] != 1, || {
                format!("process 1 is pause: {report:#}")
            })?;
            check(report["because"] == "the only process", || {
                format!("chosen for another reason: {report:#}")
            })?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: starts a pod of this shape"]
async fn of_several_containers_the_named_one_is_looked_at_and_else_all_are_listed() {
    run("k-several", Level::Restricted, async |test| {
        let side = merged(on_port("side", "go:user", 8081), json!({"restartPolicy": "Always"}));
        let containers = [on_port("app", "python:user", 8080), on_port("node", "node:user", 8082)];
        test.start(pod("several", &containers, json!({"initContainers": [side]}))).await?;
        for (container, process) in [("app", "python3.11"), ("node", "node"), ("side", "server")] {
            let ran = test.kdbg(&["env", "several", "-o", "json", "-c", container]).await?.ended_with(0)?;
            let report = looked_at(&ran, container, process)?;
            check(report["pid"] == 1, || format!("{container} has its own process namespace: {report:#}"))?;
        }
        let ran = test.kdbg(&["env", "several"]).await?.ended_with(2)?;
        check(
            ran.stderr == "error: pod several has 3 containers\nhint: choose `-c app`\nhint: choose `-c node`\nhint: choose `-c side`\n",
            || format!("the containers are not listed: {ran}"),
        )?;
        test.kdbg(&["env", "several", "-c", "nope"]).await?.ended_with(2)?
            .said("pod several has no container nope\nhint: choose `-c app`\n")?;
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: starts pods with the node's namespaces"]
async fn with_the_namespaces_of_the_node_the_process_of_the_container_is_found() {
    run("k-host", Level::Privileged, async |test| {
        let host_pid = pod(
            "host-pid",
            &[container("app", "python:user", json!({}))],
            json!({"hostPID": true}),
        );
        // the port is one that no other test uses
        let host_network = pod(
            "host-network",
            &[on_port("app", "python:user", 28081)],
            json!({"hostNetwork": true}),
        );
        test.start(host_pid).await?;
        test.start(host_network).await?;
        let ran = test
            .kdbg(&["env", "host-pid", "-o", "json"])
            .await?
            .ended_with(0)?;
        let report = looked_at(&ran, "app", "python3.11")?;
        check(report["pid"] != 1, || {
            format!("process 1 is the node's: {report:#}")
        })?;
        let listed = test
            .kdbg(&["ps", "host-pid", "-o", "json"])
            .await?
            .ended_with(0)?
            .json()?;
        let count = listed["processes"].as_array().map(Vec::len);
        check(count == Some(1), || {
            format!("processes of others are listed: {listed:#}")
        })?;
        let ran = test
            .kdbg(&["env", "host-network", "-o", "json"])
            .await?
            .ended_with(0)?;
        looked_at(&ran, "app", "python3.11")?;
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: needs containerd 2 and a kernel with mapped mounts"]
async fn in_a_user_namespace_root_is_read_by_its_own_root() {
    run("k-mapped", Level::Baseline, async |test| {
        let root = container(
            "app",
            "python:root",
            json!({"securityContext": {"capabilities": null}}),
        );
        test.start(pod("mapped", &[root], json!({"hostUsers": false})))
            .await?;
        let ran = test
            .kdbg(&["env", "mapped", "-o", "json"])
            .await?
            .ended_with(0)?;
        let report = looked_at(&ran, "app", "python3.11")?;
        check(report["pod"]["agent"]["rung"] == "b", || {
            format!("{report:#}")
        })?;
        test.kdbg(&["cat", "mapped", "/app/server.py"])
            .await?
            .ended_with(0)?;
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: starts a pod of this shape"]
async fn a_read_only_root_is_read_and_stays_as_it_is() {
    run("k-read-only", Level::Restricted, async |test| {
        let more = json!({"securityContext": {"readOnlyRootFilesystem": true}});
        test.start(pod(
            "read-only",
            &[container("app", "python:user", more)],
            json!({}),
        ))
        .await?;
        let ran = test
            .kdbg(&["env", "read-only", "-o", "json"])
            .await?
            .ended_with(0)?;
        looked_at(&ran, "app", "python3.11")?;
        let served = test
            .kdbg(&["cat", "read-only", "/app/server.py"])
            .await?
            .ended_with(0)?;
        let packed = include_str!("../../images/python/server.py");
        check(served.stdout == packed, || {
            format!("another file: {served}")
        })
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: an own one, whose folder of static pods can be written"]
async fn a_static_pod_is_refused() {
    run("k-static", Level::Restricted, async |test| {
        if !test.cluster.own("its folder of static pods") {
            return Ok(());
        }
        let mut manifest = pod(
            "from-file",
            &[container("app", "python:user", json!({}))],
            json!({}),
        );
        manifest["apiVersion"] = "v1".into();
        manifest["kind"] = "Pod".into();
        manifest["metadata"]["namespace"] = test.namespace.as_str().into();
        let file = format!("{}.json", test.namespace);
        let draft = test.cluster.folder().join(&file);
        let file = test.cluster.folder().join("manifests").join(&file);
        // written beside it and renamed: the kubelet must not read half a file
        std::fs::write(&draft, manifest.to_string())
            .and_then(|()| std::fs::rename(&draft, &file))
            .map_err(Failure::of("write the static pod"))?;
        let refused = refuses_static(test).await;
        let removed = std::fs::remove_file(&file).map_err(Failure::of("remove the static pod"));
        refused.and(removed)?;
        let pods: Api<Pod> = test.api();
        wait_until(
            &test.cluster,
            "the static pod is gone with its file",
            async || {
                let left = pods.list(&ListParams::default()).await?.items;
                Ok(if left.is_empty() {
                    Ok(())
                } else {
                    Err("the mirror is still there".to_owned())
                })
            },
        )
        .await
    })
    .await;
}

async fn refuses_static(test: &Test) -> Result<(), Failure> {
    let pods: Api<Pod> = test.api();
    let name = wait_until(
        &test.cluster,
        "the mirror of the static pod is there",
        async || {
            let list = pods.list(&ListParams::default()).await?;
            Ok(list
                .items
                .first()
                .map(ResourceExt::name_any)
                .ok_or_else(|| "no pod".to_owned()))
        },
    )
    .await?;
    test.wait_for_pod(&name, "is ready", |pod| Phase::of(pod).ready)
        .await?;
    let ran = test.kdbg(&["env", &name]).await?.ended_with(4)?;
    let ran = ran
        .said("it is a static pod of node ")?
        .said("its kubelet ignores ephemeral containers\nhint: run kdbg on that node itself")?;
    let doctor = test.kdbg(&["doctor", &name]).await?.ended_with(4)?;
    check(
        doctor.stdout.contains("it is a static pod")
            && doctor.stdout.contains("run kdbg on that node itself"),
        || format!("doctor has not refused it: {doctor}"),
    )?;
    let left = agents(test, &name).await?;
    check(left.is_empty(), || {
        format!("something was added to it: {left:?}: {ran}")
    })
}

#[tokio::test]
#[ignore = "needs a cluster: pods that have no process to look at"]
async fn a_pod_without_a_process_is_refused_with_its_reason_and_stays_as_it_is() {
    run("k-refused", Level::Restricted, async |test| {
        let python = |code: &str| json!({"command": ["/usr/bin/python3.11", "-c", code]});
        let crashing = container("app", "python:user", python("raise SystemExit(3)"));
        let done = container("app", "python:user", python("print('done')"));
        let missing = container("app", "no-such-image:1", json!({"imagePullPolicy": "Never"}));
        let never = json!({"restartPolicy": "Never"});
        let nowhere = json!({"nodeSelector": {"kdbg.test/no-such-node": "true"}});
        for pod in [
            pod("crashing", &[crashing], json!({})),
            pod("completed", &[done], never),
            pod("pending", &[missing], json!({})),
            pod("unscheduled", &[container("app", "python:user", json!({}))], nowhere),
        ] {
            test.create_object::<Pod>(pod).await?;
        }
        let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        test.wait_for_pod("crashing", "is in CrashLoopBackOff", |pod| waiting_reason(pod) == Some("CrashLoopBackOff")).await?;
        test.wait_for_pod("completed", "has succeeded", |pod| phase(pod) == "Succeeded").await?;
        test.wait_for_pod("pending", "has no image", |pod| waiting_reason(pod) == Some("ErrImageNeverPull")).await?;
        test.wait_for_pod("unscheduled", "is on no node", |pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone());
            conditions.iter().flatten().any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
        }).await?;
        for (name, reasons) in [
            ("crashing", &["container app does not run (CrashLoopBackOff: back-off ", "; the last run ended with exit code 3 (Error))\nhint: read what its last run said with `kubectl logs"][..]),
            ("completed", &["error: cannot look into pod completed: it has ended"]),
            ("pending", &["container app does not run (ErrImageNeverPull: Container image ", "no-such-image:1"]),
            ("unscheduled", &["it is not on a node yet: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector"]),
        ] {
            let mut ran = test.kdbg(&["env", name]).await?.ended_with(4)?;
            check(ran.stdout.is_empty(), || format!("{ran}"))?;
            for reason in reasons {
                ran = ran.said(reason)?;
            }
            let left = agents(test, name).await?;
            check(left.is_empty(), || format!("something was added to {name}: {left:?}"))?;
        }
        Ok(())
    })
    .await;
}

/// What owns pods: its selector and template.
fn owner(name: &str, more: Value) -> Value {
    let template = pod(
        name,
        &[container("app", "go:user", answering(8080, "/"))],
        json!({}),
    );
    let mut template = template;
    if let Some(metadata) = template["metadata"].as_object_mut() {
        metadata.remove("name");
    }
    let spec = merged(
        json!({"selector": {"matchLabels": {"app": name}}, "template": template}),
        more,
    );
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
#[ignore = "needs a cluster: starts what owns pods"]
async fn whatever_has_pods_leads_to_one_of_them_and_says_which() {
    run("k-owners", Level::Restricted, async |test| {
        test.create_object::<Deployment>(owner("web", json!({"replicas": 2})))
            .await?;
        test.create_object::<StatefulSet>(owner("db", json!({"serviceName": "db"})))
            .await?;
        test.create_object::<DaemonSet>(owner("each", json!({})))
            .await?;
        let mut job = owner(
            "once",
            json!({"template": {"spec": {"restartPolicy": "Never"}}}),
        );
        // a Job labels its pods itself
        if let Some(spec) = job["spec"].as_object_mut() {
            spec.remove("selector");
        }
        test.create_object::<Job>(job).await?;
        test.service("web", 80).await?;
        let pods: Api<Pod> = test.api();
        wait_until(&test.cluster, "all pods are ready", async || {
            let list = pods.list(&ListParams::default()).await?.items;
            let ready = list.iter().filter(|pod| Phase::of(pod).ready).count();
            Ok(if ready == 5 {
                Ok(())
            } else {
                Err(format!("{ready} of 5"))
            })
        })
        .await?;
        let sets: Api<ReplicaSet> = test.api();
        let set = sets
            .list(&ListParams::default())
            .await?
            .items
            .remove(0)
            .name_any();
        for (target, prefix, of) in [
            ("deploy/web", "web-", " (1 of 2)"),
            (&format!("rs/{set}"), &set, " (1 of 2)"),
            ("svc/web", "web-", " (1 of 2)"),
            ("sts/db", "db-0", ""),
            ("ds/each", "each-", ""),
            ("job/once", "once-", ""),
        ] {
            let ran = test.kdbg(&["env", target]).await?.ended_with(0)?;
            let note = format!("note: looking at pod {prefix}");
            check(
                ran.stderr.starts_with(&note)
                    && ran
                        .stderr
                        .contains(&format!("{of}, container app, process 1 (server)")),
                || format!("not a pod of {target}: {ran}"),
            )?;
        }
        for (arguments, message) in [
            (
                &["env", "nothing"][..],
                "there is no pod/nothing in namespace ",
            ),
            (
                &["env", "deploy/nothing"],
                "there is no deploy/nothing in namespace ",
            ),
            (&["env", "-l", "app=nothing"], " has no pods in namespace "),
        ] {
            test.kdbg(arguments)
                .await?
                .ended_with(4)?
                .said(message)?
                .said("hint: name the namespace with `-n`, or search all with `-A`")?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: two pods of one name"]
async fn a_name_that_pods_of_two_namespaces_have_lists_both() {
    run("k-one", Level::Restricted, async |one| {
        // a name that no other test uses
        let name = one.namespace.clone();
        let twin = || pod(&name, &[container("app", "go:user", json!({}))], json!({}));
        one.start(twin()).await?;
        one.kdbg(&["env", &name, "-A"]).await?.ended_with(0)?;
        run("k-two", Level::Restricted, async |two| {
            two.start(twin()).await?;
            let ran = one.kdbg(&["env", &name, "-A"]).await?.ended_with(2)?;
            ran.said("error: 2 pods are named so\n")?
                .said(&format!("hint: choose `-n {} {name}`", one.namespace))?
                .said(&format!("hint: choose `-n {} {name}`", two.namespace))?;
            one.kdbg(&["env", &name, "-n", &two.namespace])
                .await?
                .ended_with(0)?;
            Ok(())
        })
        .await;
        Ok(())
    })
    .await;
}
