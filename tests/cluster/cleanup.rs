//! Ending the agents that rest in pods.

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
    for name in ["one", "two"] {
        // the status follows the container
        test.wait_for_pod(name, "has an agent that runs", |pod| {
            let statuses = pod
                .status
                .as_ref()
                .and_then(|status| status.ephemeral_container_statuses.as_deref());
            let states = statuses
                .unwrap_or_default()
                .iter()
                .filter_map(|status| status.state.as_ref());
            states.into_iter().any(|state| state.running.is_some())
        })
        .await?;
        // what has just been used is in use until its session has ended
        let rests = |processes: &str| !processes.contains("kdbg-agent serve");
        wait_for_processes(test, name, "no session", rests).await?;
    }
    Ok(())
}

/// Waits until the processes of a pod's agent are as wanted.
async fn wait_for_processes(
    test: &Test,
    pod: &str,
    what: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<(), Failure> {
    let agent = agent_of(test, pod).await?;
    let what = format!("the agent of {pod} has {what}");
    wait_until(&test.cluster, &what, async || {
        let list = ["/bin/busybox", "ps", "-o", "args"];
        let outcome = test.exec(pod, &agent, &list).await?;
        let is_so = outcome.failure.is_none() && wanted(&outcome.stdout);
        Ok(if is_so {
            Ok(())
        } else {
            Err(format!("{outcome:?}"))
        })
    })
    .await
}

/// The name of the container of a pod's agent.
async fn agent_of(test: &Test, pod: &str) -> Result<String, Failure> {
    let report = cleanup(test, &["--dry-run"]).await?.1;
    let agents = report["agents"].as_array();
    agents
        .into_iter()
        .flatten()
        .find(|agent| agent["pod"] == pod)
        .and_then(|agent| agent["container"].as_str())
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("no agent in {pod}: {report}")))
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
        let agent = agent_of(test, "one").await?;
        let using = async {
            let _ = test
                .exec("one", &agent, &["/bin/busybox", "sleep", "600"])
                .await;
            std::future::pending().await
        };
        let cleaning = async {
            wait_for_processes(test, "one", "a user", |processes| {
                processes.contains("sleep")
            })
            .await?;
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
        tokio::select! {
            cleaned = cleaning => cleaned,
            never = using => never,
        }
    })
    .await;
}
