//! What applications rely on in a cluster's network: service links, `EndpointSlice`s, DNS, the addresses of Services.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::harness::{Failure, Level, check, container, pod, run, wait_until};

#[tokio::test]
#[ignore = "needs a cluster: the kubelet makes the variables"]
async fn service_links_are_in_the_environment() {
    run("links", Level::Restricted, async |test| {
        let address = test.service("reviews", 9080).await?;
        test.start(pod("app", &[container("app", "python:user", json!({}))], json!({}))).await?;
        let names = ["PORT", "SERVICE_HOST", "SERVICE_PORT", "PORT_9080_TCP", "PORT_9080_TCP_PROTO", "PORT_9080_TCP_ADDR", "PORT_9080_TCP_PORT"];
        let code = format!("import json, os; print(json.dumps([os.environ.get('REVIEWS_' + n) for n in {names:?}]))");
        let values: Vec<Option<String>> =
            serde_json::from_str(&test.python("app", &code).await?).map_err(Failure::of("read the environment"))?;
        let url = format!("tcp://{address}:9080");
        let expected = [&url, &address, "9080", &url, "tcp", &address, "9080"].map(|value: &str| Some(value.to_owned()));
        check(values == expected, || format!("expected {expected:?}, got {values:?}"))
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: a controller makes the EndpointSlices"]
async fn endpoint_slices_follow_the_pods() {
    run("slices", Level::Restricted, async |test| {
        test.service("reviews", 9080).await?;
        let started = test
            .start(pod(
                "reviews",
                &[container("app", "go:user", json!({}))],
                json!({}),
            ))
            .await?;
        let address = started
            .status
            .and_then(|status| status.pod_ip)
            .unwrap_or_default();
        let slices: Api<EndpointSlice> = test.api();
        let selector = ListParams::default().labels("kubernetes.io/service-name=reviews");
        wait_until(&test.cluster, "the EndpointSlice has the pod", async || {
            let list = slices.list(&selector).await?;
            let ready = list
                .iter()
                .flat_map(|slice| &slice.endpoints)
                .any(|endpoint| {
                    endpoint.addresses.contains(&address)
                        && endpoint
                            .conditions
                            .as_ref()
                            .and_then(|conditions| conditions.ready)
                            == Some(true)
                });
            Ok(if ready {
                Ok(())
            } else {
                Err(format!("{} slices without {address}", list.items.len()))
            })
        })
        .await
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: the DNS of the cluster answers"]
async fn dns_knows_services_and_nothing_else() {
    run("dns", Level::Restricted, async |test| {
        let address = test.service("reviews", 9080).await?;
        test.start(pod("app", &[container("app", "python:user", json!({}))], json!({}))).await?;
        for name in ["reviews".to_owned(), format!("reviews.{}", test.namespace), format!("reviews.{}.svc.cluster.local", test.namespace)] {
            let code = format!("import socket; print(socket.gethostbyname('{name}'))");
            wait_until(&test.cluster, &format!("{name} is {address}"), async || {
                Ok(match test.python("app", &code).await {
                    Ok(answer) if answer == address => Ok(()),
                    Ok(answer) => Err(answer),
                    Err(failure) => Err(failure.to_string()),
                })
            })
            .await?;
        }
        let code = "import socket, sys\ntry: print(socket.gethostbyname('no-such-name'))\nexcept socket.gaierror as e: print(e)";
        let answer = test.python("app", code).await?;
        check(answer.contains("not known") || answer.contains("No address"), || format!("an unknown name gave {answer}"))
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: kube-proxy makes the address work"]
async fn service_address_leads_to_the_pod() {
    run("vip", Level::Restricted, async |test| {
        let address = test.service("reviews", 9080).await?;
        test.start(pod("reviews", &[container("app", "go:user", json!({}))], json!({}))).await?;
        test.start(pod("app", &[container("app", "python:user", json!({}))], json!({}))).await?;
        let code = format!("import urllib.request as r; print(r.urlopen('http://{address}:9080/x', timeout=3).read().decode())");
        wait_until(&test.cluster, "the Service answers", async || {
            Ok(match test.python("app", &code).await {
                Ok(answer) => serde_json::from_str::<Value>(&answer).ok().filter(|it| it["image"] == "go" && it["path"] == "/x").map(drop).ok_or(answer),
                Err(failure) => Err(failure.to_string()),
            })
        })
        .await
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: an own one, from which there is no way out"]
async fn nothing_leaves_the_machine() {
    run("isolation", Level::Restricted, async |test| {
        if !test.cluster.own("a network without a way out") {
            return Ok(());
        }
        test.start(pod("app", &[container("app", "python:user", json!({}))], json!({}))).await?;
        // 192.0.2.1 is an address of documentation; the other is the host's end of the node's link
        let node = test.cluster.control(&["kubectl", "get", "nodes", "--output=jsonpath={.items[0].status.addresses[0].address}"])?;
        let (network, last) = node.rsplit_once('.').ok_or_else(|| Failure::new("the node has no address"))?;
        let host = format!("{network}.{}", last.parse::<u8>().map_err(Failure::of("read the address"))? - 1);
        for target in ["192.0.2.1", &host] {
            let code = format!(
                "import socket\ntry:\n  socket.create_connection(('{target}', 22), timeout=3)\n  print('connected')\nexcept OSError as e: print(e)"
            );
            let answer = test.python("app", &code).await?;
            check(answer.contains("unreachable") || answer.contains("timed out"), || format!("a connection to {target}: {answer}"))?;
        }
        let routes = test.cluster.control(&["exec", "ip", "route", "show", "default"])?;
        check(routes.is_empty(), || format!("the node has a default route: {routes}"))
    })
    .await;
}
