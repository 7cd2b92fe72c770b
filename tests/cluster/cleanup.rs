//! Ending the agents that rest in pods.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::harness::{Failure, Level, Test, check, container, pod, run, wait_until};

/// Starts pods `one` and `two` with an agent in each.
async fn start(test: &Test) -> Result<(), Failure> {
    for name in ["one", "two"] {
        let mut pod = pod(
            name,
            &[container("app", "python:user", json!({}))],
            json!({}),
        );
        pod["metadata"]["labels"]["shop"] = "yes".into();
        test.start(pod).await?;
        test.kdbg(&["env", name]).await?.ended_with(0)?;
    }
    // what has just been used is in use until its session has ended, and the status follows
    wait_until(
        &test.cluster,
        "both agents rest",
        Duration::from_secs(30),
        async || {
            let states = states(test, &["--dry-run"]).await?;
            Ok(if states == ["running", "running"] {
                Ok(())
            } else {
                Err(format!("{states:?}"))
            })
        },
    )
    .await
}

/// Runs cleanup on both pods and returns what it says of each agent.
async fn states(test: &Test, more: &[&str]) -> Result<Vec<String>, Failure> {
    let report = cleanup(test, more).await?.1;
    Ok(report["agents"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|agent| agent["state"].as_str().unwrap_or_default().to_owned())
        .collect())
}

async fn cleanup(test: &Test, more: &[&str]) -> Result<(Option<i32>, Value), Failure> {
    let arguments = [&["cleanup", "-l", "shop=yes", "-o", "json"], more].concat();
    let ran = test.kdbg(&arguments).await?;
    Ok((ran.code, ran.json()?))
}

#[tokio::test]
#[ignore = "needs a cluster: ends agents in pods"]
async fn agents_end_and_the_next_command_starts_another() {
    run("cleanup", Level::Restricted, async |test| {
        start(test).await?;
        let (code, report) = cleanup(test, &[]).await?;
        check(
            code == Some(0)
                && report["agents"][0]["state"] == "ended"
                && report["agents"][1]["state"] == "ended",
            || format!("{code:?}: {report:#}"),
        )?;
        let one = test.api::<Pod>().get("one").await?;
        let ended = one
            .status
            .and_then(|status| status.ephemeral_container_statuses)
            .into_iter()
            .flatten()
            .filter_map(|status| status.state?.terminated)
            .map(|ended| ended.exit_code)
            .collect::<Vec<_>>();
        check(ended == [0], || format!("it ended with {ended:?}"))?;
        let all = test.kdbg(&["cleanup", "all"]).await?.ended_with(0)?;
        check(
            all.stdout.contains("ended before")
                && all.stderr.contains(
                    "removes an ephemeral container only with its pod (2 containers in 2 pods)",
                ),
            || format!("{all:?}"),
        )?;
        test.kdbg(&["env", "one"]).await?.ended_with(0)?;
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: ends agents in pods"]
async fn agent_in_use_is_left_alone_unless_forced() {
    run("in-use", Level::Restricted, async |test| {
        start(test).await?;
        let agent = cleanup(test, &["--dry-run"]).await?.1["agents"][0]["container"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let using = test.exec("one", &agent, &["/bin/busybox", "sleep", "25"]);
        let cleaning = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (code, report) = cleanup(test, &[]).await?;
            check(
                code == Some(3)
                    && report["agents"][0]["state"] == "in use"
                    && report["agents"][1]["state"] == "ended",
                || format!("{code:?}: {report:#}"),
            )?;
            let (code, report) = cleanup(test, &["--force"]).await?;
            check(
                code == Some(0) && report["agents"][0]["state"] == "ended",
                || format!("{code:?}: {report:#}"),
            )
        };
        let (_, cleaned) = tokio::join!(using, cleaning);
        cleaned
    })
    .await;
}
