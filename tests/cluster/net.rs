//! What `kdbg net` says of connections in a cluster: each fault by a real one, beside a pod that is well.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::harness::{Failure, Level, Test, check, container, merged, pod, run, wait_until};

/// A pod that runs a program, and declares port 8080.
fn program(name: &str, code: &str, more: Value) -> Value {
    let code = format!(
        "import os, signal, socket, threading, time\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n{code}"
    );
    let spec = json!({
        "command": ["/usr/bin/python3.11", "-c", code],
        "ports": [{"containerPort": 8080}],
    });
    pod(
        name,
        &[container("app", "python:user", merged(spec, more))],
        json!({}),
    )
}

/// Accepts, answers nothing, and closes when the other side does.
const SERVES: &str = "
def serve(connection):
    while connection.recv(4096): pass
    connection.close()
listener = socket.create_server(('0.0.0.0', 8080))
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
";

/// Keeps a connection, and makes a new one whenever that is lost.
const KEEPS: &str = "
def keep(host, port):
    while True:
        try:
            socket.create_connection((host, port), timeout=20).makefile().read()
        except OSError: pass
        time.sleep(0.05)
";

/// Four faults: a declared port on loopback, a queue that nobody empties, connections that nobody closes, and no
/// listener where the Service leads.
const FAULTY: &str = "
loopback = socket.create_server(('127.0.0.1', 8080))
full, kept = socket.create_server(('0.0.0.0', 8081), backlog=1), []
for _ in range(4):
    client = socket.socket(); client.setblocking(False); client.connect_ex(('127.0.0.1', 8081)); kept.append(client)
forgets = socket.create_server(('0.0.0.0', 8082))
for _ in range(4):
    client = socket.create_connection(('127.0.0.1', 8082))
    kept.append(forgets.accept()[0])
    client.sendall(b'x' * 311); client.close()
while True: time.sleep(60)
";

#[tokio::test]
#[ignore = "needs a cluster: its objects say whose an address is"]
async fn each_fault_of_the_network_is_named_and_a_healthy_pod_is_not() {
    run("net", Level::Restricted, async |test| {
        Box::pin(faults(test)).await
    })
    .await;
}

async fn faults(test: &Test) -> Result<(), Failure> {
    let service = test.service("server", 80).await?;
    let _: k8s_openapi::api::core::v1::Service = test
        .create_object(json!({
            "metadata": {"name": "faulty"},
            "spec": {"selector": {"app": "faulty"}, "ports": [{"port": 80, "targetPort": 9999}]}
        }))
        .await?;
    let client = format!("{KEEPS}keep('{service}', 80)");
    let (server, gone, _, _) = tokio::try_join!(
        test.start(program("server", SERVES, json!({}))),
        gone(test),
        test.start(program("client", &client, json!({"ports": []}))),
        test.start(program("faulty", FAULTY, json!({}))),
    )?;
    let dials = format!(
        "{KEEPS}threading.Thread(target=keep, args=('{gone}', 8080), daemon=True).start()\nkeep('{}', 8080)",
        address(&server)?
    );
    test.start(program("dialler", &dials, json!({"ports": []})))
        .await?;

    healthy(test).await?;
    let faults = [
        "net.backlog-full",
        "net.close-wait",
        "net.listen-loopback",
        "net.port-mismatch",
    ];
    found(test, "faulty", &faults).await?;
    let faults = ["net.bypasses-service", "net.stale-endpoint"];
    let report = found(test, "dialler", &faults).await?;
    let sockets = report["sockets"].as_array().cloned().unwrap_or_default();
    let stale = sockets
        .iter()
        .find(|one| one["owner"]["kind"] == "no-live-owner");
    let last = stale.and_then(|one| one["owner"]["last_pod"].as_str());
    check(last == Some(&format!("{}/gone", test.namespace)), || {
        format!("whose it was: {stale:?}")
    })?;
    without_rights(test).await
}

fn address(pod: &Pod) -> Result<String, Failure> {
    let status = pod.status.as_ref();
    let address = status.and_then(|status| status.pod_ip.clone());
    address.ok_or_else(|| Failure::new("the pod has no address"))
}

/// The address of a pod that is no more, and of which an event of its probe tells.
async fn gone(test: &Test) -> Result<String, Failure> {
    let probe =
        json!({"readinessProbe": {"httpGet": {"path": "/", "port": 9}, "periodSeconds": 1}});
    let _: Pod = test.create_object(program("gone", SERVES, probe)).await?;
    let has_address = |pod: &Pod| address(pod).is_ok();
    let pod = test
        .wait_for_pod("gone", "has an address", has_address)
        .await?;
    let address = address(&pod)?;
    wait_until(&test.cluster, "an event names the address", async || {
        let events = test.events_of("gone").await?;
        let names = events.iter().any(|(_, message)| message.contains(&address));
        Ok(if names {
            Ok(())
        } else {
            Err(format!("{events:?}"))
        })
    })
    .await?;
    let pods = test.api::<Pod>();
    pods.delete("gone", &DeleteParams::default()).await?;
    wait_until(&test.cluster, "the pod is gone", async || {
        Ok(match pods.get_opt("gone").await? {
            None => Ok(()),
            Some(_) => Err("it is still there".to_owned()),
        })
    })
    .await?;
    Ok(address)
}

/// The server and a client that uses the Service: connected, and nothing to say against them.
async fn healthy(test: &Test) -> Result<(), Failure> {
    for (name, side, owner) in [
        ("client", "dialled", ("service", "server")),
        ("server", "accepted", ("pod", "client")),
    ] {
        let what = format!("{name} is connected and well");
        wait_until(&test.cluster, &what, async || {
            let ran = test.kdbg(&["net", name, "-o", "json"]).await?;
            let report = ran.json()?;
            check(ids(&report).is_empty(), || format!("{name}: {ran}"))?;
            let owner_name = format!("{}/{}", test.namespace, owner.1);
            let sockets = report["sockets"].as_array().cloned().unwrap_or_default();
            let is_connected = sockets.iter().any(|one| {
                one["side"] == side
                    && one["state"] == "ESTABLISHED"
                    && one["owner"]["kind"] == owner.0
                    && one["owner"]["name"] == owner_name
            });
            Ok(if is_connected && ran.code == Some(0) {
                Ok(())
            } else {
                Err(ran.to_string())
            })
        })
        .await?;
    }
    Ok(())
}

fn ids(report: &Value) -> BTreeSet<String> {
    let of = |key: &str| {
        report["findings"][key]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let all = of("causes").into_iter().chain(of("listed"));
    all.filter_map(|one| one["id"].as_str().map(str::to_owned))
        .collect()
}

/// Waits until exactly these are found, and answers the report.
async fn found(test: &Test, name: &str, expected: &[&str]) -> Result<Value, Failure> {
    let expected: BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
    let what = format!("{name} has {expected:?}");
    wait_until(&test.cluster, &what, async || {
        let ran = test.kdbg(&["net", name, "-o", "json"]).await?;
        let report = ran.json()?;
        let more: Vec<_> = ids(&report).difference(&expected).cloned().collect();
        check(more.is_empty(), || format!("also found: {more:?}: {ran}"))?;
        Ok(if ids(&report) == expected && ran.code == Some(1) {
            Ok(report)
        } else {
            Err(ran.to_string())
        })
    })
    .await
}

/// An account with no more than a pod's debugger needs: the peers are not known, and nobody is accused.
async fn without_rights(test: &Test) -> Result<(), Failure> {
    let account = test.account("debugger").await?;
    let metadata = json!({"name": "debugger", "namespace": test.namespace});
    let role = json!({"metadata": metadata, "rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "watch"]},
        {"apiGroups": [""], "resources": ["pods/ephemeralcontainers"], "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]},
    ]});
    let binding = json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "debugger"},
        "subjects": [{"kind": "ServiceAccount", "name": "debugger", "namespace": test.namespace}],
    });
    test.grant(&account, &role, &binding).await?;
    let ran = test
        .kdbg_as(&account, &["net", "dialler"])
        .await?
        .ended_with(3)?;
    check(!ran.stdout.contains("[net."), || {
        format!("without rights: {ran}")
    })?;
    check(ran.stdout.contains("not checked:"), || {
        format!("without rights: {ran}")
    })?;
    for verb in [
        "list pods",
        "list services",
        "list endpointslices.discovery.k8s.io",
        "list nodes",
    ] {
        check(
            ran.stderr.contains(&format!("not allowed to {verb}")),
            || format!("without {verb}: {ran}"),
        )?;
    }
    Ok(())
}
