//! One command on several pods: identical answers are shown once, and what differs or fails is named.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::harness::{
    Failure, Level, PATIENCE, Phase, Test, check, container, merged, pod, run, wait_until,
};

/// A pod of an application, whose environment says a colour.
fn colourful(name: &str, colour: &str, more: Value) -> Value {
    let environment = json!({"env": [{"name": "COLOUR", "value": colour}]});
    let app = container("app", "go:user", merged(environment, more));
    let mut pod = pod(name, &[app], json!({}));
    pod["metadata"]["labels"]["app"] = "shop".into();
    pod
}

/// Four pods that run, one of them of another colour, and one that no node can run: it has no process to look at.
async fn five_pods(test: &Test) -> Result<(), Failure> {
    for (name, colour) in [
        ("web-1", "blue"),
        ("web-2", "blue"),
        ("web-3", "blue"),
        ("web-4", "green"),
    ] {
        test.create_object::<Pod>(colourful(name, colour, json!({})))
            .await?;
    }
    test.create_object::<Pod>(colourful(
        "web-5",
        "blue",
        json!({"image": "no-such-image:1", "imagePullPolicy": "Never"}),
    ))
    .await?;
    for number in 1..=4 {
        test.wait_for_pod(&format!("web-{number}"), "is ready", |pod| {
            Phase::of(pod).ready
        })
        .await?;
    }
    test.wait_for_pod("web-5", "has no image", |pod| {
        crate::harness::waiting_reason(pod) == Some("ErrImageNeverPull")
    })
    .await
    .map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster: several pods of one application"]
async fn answers_that_agree_are_shown_once_and_who_differs_or_fails_is_named() {
    run("k-fan-out", Level::Restricted, async |test| {
        five_pods(test).await?;
        // What differs at every look (times, numbers, ports of the moment) is no difference.
        for words in [
            &["net", "-l", "app=shop"][..],
            &["files", "-l", "app=shop"],
            &["dig", "-l", "app=shop", "kubernetes.default"],
            &["tcp", "-l", "app=shop", "127.0.0.1:9"],
        ] {
            let ran = test.kdbg(words).await?;
            check(
                ran.stdout
                    .starts_with("# 4 pods agree: web-1, web-2, web-3, web-4\n"),
                || format!("{words:?} is not grouped: {ran}"),
            )?;
            check(ran.stderr.contains("pod web-5 has not answered"), || {
                format!("{words:?}: {ran}")
            })?;
        }
        let ran = test.kdbg(&["env", "-l", "app=shop"]).await?.ended_with(3)?;
        check(
            ran.stdout
                .starts_with("# 3 pods agree: web-1, web-2, web-3\n"),
            || format!("not grouped: {ran}"),
        )?;
        check(
            ran.stdout
                .ends_with("\n\n# web-4 differs\n- COLOUR=blue\n+ COLOUR=green\n"),
            || format!("the difference is not shown: {ran}"),
        )?;
        let ran = ran
            .said("warning: pod web-5 has not answered: ")?
            .said("container app does not run (ErrImageNeverPull")?;
        check(
            ran.stderr.matches("web-5").count() >= 1 && !ran.stdout.contains("web-5"),
            || format!("{ran}"),
        )?;

        let ran = test
            .kdbg(&["env", "-l", "app=shop", "-o", "json"])
            .await?
            .ended_with(3)?;
        let report = ran.json()?;
        check(
            report["schema"] == 1
                && report["groups"].as_array().map(Vec::len) == Some(2)
                && report["groups"][0]["pods"] == json!(["web-1", "web-2", "web-3"])
                && report["groups"][1]["pods"] == json!(["web-4"])
                && report["groups"][0]["report"]["process"]["pod"]["name"] == "web-1"
                && report["groups"][1]["report"]["process"]["pod"]["name"] == "web-4"
                && report["failed"].as_array().map(Vec::len) == Some(1)
                && report["failed"][0]["pod"] == "web-5"
                && report["failed"][0]["error"]
                    .as_str()
                    .is_some_and(|error| error.contains("ErrImageNeverPull")),
            || format!("another shape: {ran}"),
        )?;

        // the same when all of them answer
        test.api::<Pod>()
            .delete("web-5", &DeleteParams::default().grace_period(0))
            .await?;
        test.api::<Pod>()
            .delete("web-4", &DeleteParams::default().grace_period(0))
            .await?;
        let pods: Api<Pod> = test.api();
        wait_until(&test.cluster, "three pods are left", async || {
            let count = pods.list(&ListParams::default()).await?.items.len();
            Ok(if count == 3 {
                Ok(())
            } else {
                Err(format!("{count} pods"))
            })
        })
        .await?;
        let ran = test
            .kdbg(&["env", "-l", "app=shop", "-q"])
            .await?
            .ended_with(0)?;
        check(
            ran.stdout
                .starts_with("# 3 pods agree: web-1, web-2, web-3\n")
                && ran.stderr.is_empty(),
            || format!("{ran}"),
        )
    })
    .await;
}

/// Runs a program and says on its standard error how much memory that took, in KiB, as the kernel counts it.
const MEASURE: &str = "import os, resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
os._exit(code)";

/// The most pods in which something was run at the same time, as the API server's log of requests says. Several attempts to
/// run the agent in one pod may be under way.
fn most_at_once(test: &Test) -> Result<usize, Failure> {
    let log = test.cluster.folder().join("log/audit.log");
    let text = std::fs::read_to_string(log).map_err(Failure::of("read the audit log"))?;
    let mut moments = Vec::new();
    for event in text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        let object = &event["objectRef"];
        let is_exec =
            object["namespace"] == test.namespace.as_str() && object["subresource"] == "exec";
        if !is_exec
            || event["stage"] != "ResponseComplete"
            || event["responseStatus"]["code"] != 101
        {
            continue;
        }
        for (key, change) in [("requestReceivedTimestamp", 1), ("stageTimestamp", -1)] {
            let moment: jiff::Timestamp = event[key]
                .as_str()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Failure::new(format!("no {key}: {event}")))?;
            moments.push((moment, change, object["name"].to_string()));
        }
    }
    moments.sort();
    let mut under_way: BTreeMap<String, i32> = BTreeMap::new();
    let mut most = 0;
    for (_, change, pod) in moments {
        *under_way.entry(pod).or_default() += change;
        most = most.max(under_way.values().filter(|count| **count > 0).count());
    }
    Ok(most)
}

#[tokio::test]
#[ignore = "needs a cluster: a hundred pods on one node"]
async fn a_hundred_pods_are_asked_by_one_command_at_most_sixteen_at_once() {
    const COUNT: usize = 100;
    run("k-hundred", Level::Restricted, async |test| {
        let pods: Api<Pod> = test.api();
        let names: Vec<_> = (0..COUNT).map(|number| format!("web-{number:03}")).collect();
        let started = Instant::now();
        for name in &names {
            let mut pod = colourful(name, "blue", json!({}));
            pod["spec"]["terminationGracePeriodSeconds"] = 0.into();
            pod["spec"]["automountServiceAccountToken"] = false.into();
            test.create_object::<Pod>(pod).await?;
        }
        wait_until(&test.cluster, "all pods are ready", async || {
            let list = pods.list(&ListParams::default()).await?.items;
            let ready = list.iter().filter(|pod| Phase::of(pod).ready).count();
            let first = list.iter().find(|pod| !Phase::of(pod).ready).map(ResourceExt::name_any);
            Ok(if ready == COUNT { Ok(()) } else { Err(format!("{ready} of {COUNT}; not {first:?}")) })
        }).await?;
        let all_ready = started.elapsed();
        for round in ["untouched pods", "the same pods again"] {
            let kdbg = env!("CARGO_BIN_EXE_kdbg");
            let mut command = test.command_of(Path::new("python3"), &["-S", "-c", MEASURE, kdbg, "env", "-l", "app=shop", "--timeout", "5m"]);
            command.stdin(Stdio::null());
            let ran = test.run_within(command, PATIENCE).await?.ended_with(0)?;
            check(ran.stdout.starts_with(&format!("# {COUNT} pods agree: ")), || format!("{ran}"))?;
            let peak = ran.stderr.lines().find_map(|line| line.strip_prefix("peak ")?.parse::<u64>().ok());
            let peak = peak.ok_or_else(|| Failure::new(format!("no measure: {ran}")))? / 1024;
            eprintln!("kdbg env on {COUNT} {round} (started within {all_ready:.0?}): {:.1?}, {peak} MB at most", ran.took);
            check(peak < 150, || format!("{peak} MB"))?;
        }
        if test.cluster.own("its audit log") {
            let most = most_at_once(test)?;
            eprintln!("at most {most} at once");
            // the server notes the end of a connection a moment after the client has gone on to the next pod
            check((2..=24).contains(&most), || format!("{most} at once"))?;
        }
        Ok(())
    })
    .await;
}
