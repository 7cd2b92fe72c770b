//! Ends of every kind: of the client, of the target, and of the agent's container. Nothing is left behind, and the next
//! command works.

use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::sleep;

use super::{agents, living_agents};
use crate::harness::{
    Failure, Level, Numbers, PATIENCE, Test, check, container, pod, run, wait_until,
};

/// A pod whose target can be told to end, and that has a file too large to lie in the pipes on the way.
pub(super) fn target(name: &str) -> Value {
    let code = "import runpy; open('/tmp/big', 'wb').write(bytes(range(1, 256)) * 200_000); \
                runpy.run_path('/app/server.py', run_name='__main__')";
    let more = json!({
        "command": ["/usr/bin/python3.11", "-c", code],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    });
    pod(
        name,
        &[container("app", "python:user", more)],
        json!({"volumes": [{"name": "tmp", "emptyDir": {}}]}),
    )
}

/// Ends the target, and waits until the cluster has started it again.
pub(super) async fn restart(test: &Test, pod_name: &str) -> Result<(), Failure> {
    let restarts = |pod: &Pod| {
        let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
        Some(statuses.first()?.restart_count)
    };
    let pods: Api<Pod> = test.api();
    let before = restarts(&pods.get(pod_name).await?);
    // its own server ends at once when it is told to; this process goes with it, so its end says nothing
    let _ = test.python(pod_name, "import os; os.kill(1, 15)").await;
    test.wait_for_pod(pod_name, "is started again", |pod| {
        restarts(pod) > before && crate::harness::Phase::of(pod).ready
    })
    .await
    .map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster: the target's container is restarted"]
async fn a_target_that_was_restarted_gets_a_new_agent() {
    run("k-restart", Level::Restricted, async |test| {
        test.start(target("app")).await?;
        let mut names = Vec::new();
        for _ in 0..2 {
            let ran = test
                .kdbg(&["env", "app", "-o", "json"])
                .await?
                .ended_with(0)?;
            let name = ran.json()?["process"]["pod"]["agent"]["container"].clone();
            check(!names.contains(&name), || {
                format!("an agent outlived its target: {ran}")
            })?;
            names.push(name);
            let alive = living_agents(test, "app").await?;
            check(alive.len() == 1, || format!("{alive:?}"))?;
            if names.len() == 1 {
                restart(test, "app").await?;
            }
        }
        let all = agents(test, "app").await?;
        check(all.len() == 2, || format!("{all:?}"))
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: the target's container is restarted under a command"]
async fn a_target_that_is_restarted_under_a_command_is_named_as_the_reason() {
    run("k-under", Level::Restricted, async |test| {
        test.start(target("app")).await?;
        test.kdbg(&["env", "app"]).await?.ended_with(0)?;
        let mut child = test
            .kdbg_command(&["cat", "app", "/tmp/big"])
            .spawn()
            .map_err(Failure::of("start kdbg"))?;
        let mut stdout = child
            .stdout
            .take()
            .ok_or_else(|| Failure::new("no stdout"))?;
        let mut stderr = child
            .stderr
            .take()
            .ok_or_else(|| Failure::new("no stderr"))?;
        // once the first bytes are here the rest is held up until they are read
        let mut first = [0; 1024];
        stdout
            .read_exact(&mut first)
            .await
            .map_err(Failure::of("read from kdbg"))?;
        restart(test, "app").await?;
        let (mut rest, mut said) = (Vec::new(), String::new());
        let ended = tokio::time::timeout(PATIENCE, async {
            tokio::join!(
                stdout.read_to_end(&mut rest),
                stderr.read_to_string(&mut said),
                child.wait()
            )
        });
        let (_, _, status) = ended
            .await
            .map_err(|_| Failure::new("kdbg does not notice that its target is gone"))?;
        let code = status.map_err(Failure::of("wait for kdbg"))?.code();
        check(code == Some(4) && rest.len() < 50_000_000, || {
            format!("exit code {code:?}, {} bytes, {said}", rest.len())
        })?;
        check(
            said.contains("error: container app ")
                && said.contains(
                    " (exit code 0) and took the agent with it\nhint: run the command again",
                ),
            || said.clone(),
        )?;
        test.kdbg(&["env", "app"]).await?.ended_with(0)?;
        Ok(())
    })
    .await;
}

/// Runs commands against a pod and kills each at some moment, the first while its container is being started.
async fn kill_commands(test: &Test, pod: &str, seed: u64, count: usize) -> Result<(), Failure> {
    let mut numbers = Numbers::of(seed);
    let commands: [&[&str]; 4] = [
        &["env", pod],
        &["cat", pod, "/tmp/big"],
        &["ps", pod],
        &["cat", pod, "/app/server.py"],
    ];
    for number in 0..count {
        let command = commands[number % commands.len()];
        let moment = Duration::from_millis(numbers.below(400));
        let mut child = test
            .kdbg_command(command)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Failure::of("start kdbg"))?;
        sleep(moment).await;
        // nobody reads what it prints, so a long answer is still under way
        child.kill().await.map_err(Failure::of("kill kdbg"))?;
    }
    Ok(())
}

/// The agents that serve in a pod, as a look from inside of their own container shows them.
async fn serving(test: &Test, pod: &str) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for name in living_agents(test, pod).await? {
        let outcome = test
            .exec(pod, &name, &["/bin/busybox", "ps", "-o", "pid,args"])
            .await?;
        check(
            outcome.failure.is_none() && outcome.stdout.contains("kdbg-agent rest"),
            || format!("no container rests: {outcome:?}"),
        )?;
        lines.extend(
            outcome
                .stdout
                .lines()
                .filter(|line| line.contains("kdbg-agent") && line.contains("serve"))
                .map(str::to_owned),
        );
    }
    Ok(lines)
}

/// Waits until no agent serves in a pod any more, whose container may just be starting.
pub(super) async fn nobody_serves(test: &Test, pod_name: &str) -> Result<(), Failure> {
    // a container that was added by a command which was killed right then still has to start; there is none when every
    // command was killed before it had come that far
    test.wait_for_pod(pod_name, "has an agent that rests, or none", |pod| {
        let is_added = pod
            .spec
            .as_ref()
            .is_some_and(|spec| spec.ephemeral_containers.is_some());
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.ephemeral_container_statuses.as_deref());
        let is_running = |status: &ContainerStatus| {
            status
                .state
                .as_ref()
                .is_some_and(|state| state.running.is_some())
        };
        !is_added || statuses.unwrap_or_default().iter().any(is_running)
    })
    .await?;
    wait_until(&test.cluster, "no agent serves", async || {
        let left = serving(test, pod_name).await?;
        Ok(if left.is_empty() {
            Ok(())
        } else {
            Err(left.join("; "))
        })
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: clients are killed"]
async fn fifty_killed_clients_leave_no_agent_serving() {
    run("k-kill", Level::Restricted, async |test| {
        let names: Vec<_> = (0..5).map(|number| format!("app-{number}")).collect();
        futures::future::try_join_all(names.iter().map(|name| test.start(target(name)))).await?;
        let killing = names
            .iter()
            .zip(1..)
            .map(|(name, seed)| kill_commands(test, name, seed * 0x9E37_79B9, 10));
        futures::future::try_join_all(killing).await?;
        let killed = Instant::now();
        futures::future::try_join_all(names.iter().map(|name| nobody_serves(test, name))).await?;
        eprintln!(
            "no agent was left {:.1?} after the last of 50 clients was killed",
            killed.elapsed()
        );
        for name in &names {
            test.kdbg(&["env", name]).await?.ended_with(0)?;
            let ran = test
                .kdbg(&["env", name, "-o", "json"])
                .await?
                .ended_with(0)?;
            let all = agents(test, name).await?;
            check(
                all.len() == 1 && ran.json()?["process"]["pod"]["agent"]["reused"] == true,
                || format!("{all:?}: {ran}"),
            )?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: the agent's container ends by itself"]
async fn an_idle_agent_ends_by_itself_and_the_next_command_makes_another_one() {
    run("k-idle", Level::Restricted, async |test| {
        test.start(target("app")).await?;
        for number in 1..=3 {
            // two at once: they must find the same container or neither
            let command = &["env", "app", "--idle", "2s", "-o", "json"];
            let (one, two) = tokio::join!(test.kdbg(command), test.kdbg(command));
            let (one, two) = (one?.ended_with(0)?, two?.ended_with(0)?);
            let container = |ran: &crate::harness::Ran| {
                Ok::<_, Failure>(ran.json()?["process"]["pod"]["agent"]["container"].clone())
            };
            let (one, two) = (container(&one)?, container(&two)?);
            check(one == two, || {
                format!("two agents of a kind at once: {one}, {two}")
            })?;
            let alive = living_agents(test, "app").await?;
            check(alive.len() == 1, || format!("{alive:?}"))?;
            let all = agents(test, "app").await?;
            check(all.len() == number, || {
                format!("{number} times idle, and there are {all:?}")
            })?;
            test.wait_for_pod("app", "has no agent that runs", |pod| {
                let statuses = pod
                    .status
                    .as_ref()
                    .and_then(|status| status.ephemeral_container_statuses.clone())
                    .unwrap_or_default();
                !statuses.is_empty()
                    && statuses.iter().all(|status| {
                        status
                            .state
                            .as_ref()
                            .and_then(|state| state.terminated.as_ref())
                            .is_some_and(|ended| ended.exit_code == 0)
                    })
            })
            .await?;
        }
        Ok(())
    })
    .await;
}
