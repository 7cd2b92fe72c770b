//! `kdbg dig`, `tcp` and `curl` in pods of a restricted namespace, each fault beside its control.

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use serde_json::{Value, json};

use crate::harness::{Failure, Level, Ran, Test, check, container, pod, run, wait_until};

/// The server that listens, the one that does so on loopback only, and a client.
async fn pods(test: &Test) -> Result<String, Failure> {
    let loopback = "import http.server as h; h.HTTPServer(('127.0.0.1', 8000), h.SimpleHTTPRequestHandler).serve_forever()";
    let shy = json!({"command": ["/usr/bin/python3.11", "-c", loopback]});
    let (reviews, app, shy) = tokio::try_join!(
        test.start(pod(
            "reviews",
            &[container("app", "go:user", json!({}))],
            json!({})
        )),
        test.start(pod(
            "app",
            &[container("app", "python:user", json!({}))],
            json!({})
        )),
        test.start(pod(
            "shy",
            &[container("app", "python:user", shy)],
            json!({})
        )),
    )?;
    drop((app, shy));
    let address = reviews.status.and_then(|status| status.pod_ip);
    address.ok_or_else(|| Failure::new("the pod has no address"))
}

async fn service(test: &Test, name: &str, spec: Value) -> Result<(), Failure> {
    test.create_object::<Service>(json!({"metadata": {"name": name}, "spec": spec}))
        .await
        .map(drop)
}

/// Endpoints made by hand, on a node.
async fn slice(test: &Test, service: &str, address: &str, node: &str) -> Result<(), Failure> {
    let slice = json!({
        "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        // By the name of the Service's port, or the proxy does not see it.
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}, "nodeName": node}],
    });
    test.create_object::<EndpointSlice>(slice).await.map(drop)
}

async fn services(test: &Test, address: &str) -> Result<(), Failure> {
    let ports = json!([{"name": "http", "port": 9080, "targetPort": 8080}]);
    let selector = json!({"app": "reviews"});
    let external = format!("reviews.{}.svc.cluster.local", test.namespace);
    service(
        test,
        "reviews",
        json!({"selector": selector, "ports": ports}),
    )
    .await?;
    service(
        test,
        "quorum",
        json!({"clusterIP": "None", "selector": selector, "ports": ports}),
    )
    .await?;
    service(
        test,
        "outside",
        json!({"type": "ExternalName", "externalName": external}),
    )
    .await?;
    service(test, "manual", json!({"ports": ports})).await?;
    service(
        test,
        "empty",
        json!({"selector": {"app": "nobody"}, "ports": ports}),
    )
    .await?;
    // kube-proxy drops what may only go to pods of this node, when none of them is here.
    let local = json!({"internalTrafficPolicy": "Local", "ports": ports});
    service(test, "remote", local).await?;
    slice(test, "manual", address, "kdbg-node").await?;
    slice(test, "remote", address, "another-node").await
}

/// Runs kdbg until it ends with this code and has said this: names and rules reach a node a moment after their objects.
async fn settles(test: &Test, words: &[&str], code: i32, text: &str) -> Result<Ran, Failure> {
    let what = format!(
        "`kdbg {}` ends with {code} and says {text:?}",
        words.join(" ")
    );
    wait_until(&test.cluster, &what, async || {
        let ran = test.kdbg(words).await?;
        let says = ran.stdout.contains(text) || ran.stderr.contains(text);
        Ok(if ran.code == Some(code) && says {
            Ok(ran)
        } else {
            Err(ran.to_string())
        })
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: its DNS, its EndpointSlices and its proxy answer"]
async fn names_are_joined_with_services_and_ports_with_who_answers() {
    run("probes", Level::Restricted, async |test| {
        let address = pods(test).await?;
        services(test, &address).await?;
        let namespace = &test.namespace;

        let own = format!("1 of its 1 endpoints are ready: {address} (pod reviews)");
        let dug = settles(test, &["dig", "app", "reviews"], 0, &own).await?;
        let said = format!("Service {namespace}/reviews has ");
        check(dug.stderr.contains(&said), || dug.to_string())?;
        let headless = format!("1 of 1 ready: {address} (pod reviews)");
        settles(test, &["dig", "app", "quorum"], 0, &headless).await?;
        settles(test, &["dig", "app", "outside"], 0, "is an ExternalName").await?;
        settles(
            test,
            &["dig", "app", "manual"],
            0,
            "it has no selector, so they are made by hand",
        )
        .await?;
        settles(test, &["dig", "app", "empty"], 1, "no pod has its labels").await?;
        settles(
            test,
            &["dig", "app", "_http._tcp.reviews", "SRV"],
            0,
            "has a port http/tcp",
        )
        .await?;
        let none = format!("there is no Service {namespace}/no-such-name");
        let dug = settles(test, &["dig", "app", "no-such-name"], 1, &none).await?;
        check(
            dug.stderr.contains("ndots:5: asked for as no-such-name."),
            || dug.to_string(),
        )?;

        settles(test, &["tcp", "app", "reviews:9080"], 0, "connected in").await?;
        settles(test, &["tcp", "app", "manual:9080"], 0, "connected in").await?;
        settles(
            test,
            &["tcp", "app", &format!("{address}:1")],
            4,
            "refused after",
        )
        .await?;
        let words = ["tcp", "app", "remote:9080", "--connect-timeout", "1s"];
        settles(test, &words, 4, "timeout after").await.map(drop)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: two pods ask for the same"]
async fn two_pods_part_in_the_phase_that_is_at_fault() {
    run("from", Level::Restricted, async |test| {
        let address = pods(test).await?;
        services(test, &address).await?;

        let url = "http://reviews:9080/x";
        let got = settles(test, &["curl", "app", url], 0, "\"path\"").await?;
        check(got.stdout.contains("\"image\""), || got.to_string())?;
        // The process listens on every address, and on loopback only: from itself there is no difference.
        for target in ["reviews", "shy"] {
            let port = if target == "shy" { ":8000/" } else { ":8080/" };
            let ran = test.kdbg(&["curl", target, port]).await?.ended_with(0)?;
            check(ran.stderr.contains("status 200"), || ran.to_string())?;
        }
        let words = ["curl", "reviews", ":8080/", "--from", "app"];
        settles(test, &words, 0, "no phase differs").await?;
        let ran = test
            .kdbg(&["curl", "shy", ":8000/", "--from", "app"])
            .await?
            .ended_with(1)?;
        check(ran.stdout.contains("they part in `connect`"), || {
            ran.to_string()
        })?;
        settles(
            test,
            &["dig", "app", "reviews", "--from", "shy"],
            0,
            "no phase differs",
        )
        .await?;
        let words = ["tcp", "app", "reviews:9080", "--from", "shy", "-o", "json"];
        let ran = settles(test, &words, 0, "\"places\"").await?.json()?;
        let rung = &ran["probes"][0]["subject"]["pod"]["agent"]["rung"];
        // Restricted, as the user of the target: no more is needed.
        check(rung == "a", || format!("rung {rung}"))
    })
    .await;
}
