//! The image of the agent's container: kdbg's own, another one, one without a shell, and one that cannot be had.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kdbg::protocol::Hello;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::process::Command;

use super::living_agents;
use crate::harness::{
    Failure, Level, PATIENCE, Test, check, container, image_name, pod, run, wait_until,
};

async fn start(test: &Test, name: &str) -> Result<(), Failure> {
    let app = container("app", "python:user", json!({}));
    test.start(pod(name, &[app], json!({}))).await.map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster: the agent is carried into a container"]
async fn an_image_with_a_shell_gets_the_agent_carried_into_it_once() {
    run("k-shell", Level::Restricted, async |test| {
        start(test, "app").await?;
        let image = image_name("shell:user");
        let mut took = Vec::new();
        for reused in [false, true] {
            let ran = test
                .kdbg(&["env", "app", "-o", "json", "--image", &image])
                .await?
                .ended_with(0)?;
            let report = ran.json()?;
            let agent = &report["process"]["pod"]["agent"];
            check(
                agent["image"] == image.as_str() && agent["reused"] == reused,
                || format!("{agent:#}"),
            )?;
            took.push(ran.took);
        }
        let alive = living_agents(test, "app").await?;
        check(alive.len() == 1, || format!("{alive:?}"))?;
        check(took[1] < took[0], || {
            format!("the second command carried again: {took:?}")
        })
    })
    .await;
}

/// Returns a kdbg and its agent that say they are of another build than all others, in the folder of the test.
fn another_build(test: &Test) -> Result<(PathBuf, PathBuf), Failure> {
    let ours = Hello::ours().build;
    let theirs = "0".repeat(ours.len());
    let agent =
        std::env::var("KDBG_AGENT").map_err(Failure::of("find a static agent (KDBG_AGENT)"))?;
    let copy = |from: &str, name: &str| {
        let mut bytes = std::fs::read(from).map_err(Failure::of("read a program"))?;
        let places: Vec<_> = bytes
            .windows(ours.len())
            .enumerate()
            .filter(|(_, window)| *window == ours.as_bytes())
            .map(|(place, _)| place)
            .collect();
        check(!places.is_empty(), || {
            format!("{from} does not say its build {ours}; was it built from these sources?")
        })?;
        for place in places {
            bytes[place..place + ours.len()].copy_from_slice(theirs.as_bytes());
        }
        let path = test.folder.path().join(name);
        std::fs::write(&path, bytes).map_err(Failure::of("write a program"))?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).map_err(Failure::of("write a program"))?;
        Ok::<_, Failure>(path)
    };
    Ok((
        copy(env!("CARGO_BIN_EXE_kdbg"), "kdbg")?,
        copy(&agent, "kdbg-agent")?,
    ))
}

#[tokio::test]
#[ignore = "needs a cluster: the image carries an agent of another build"]
async fn an_agent_of_another_build_is_replaced_by_the_own_one() {
    run("k-skew", Level::Restricted, async |test| {
        start(test, "app").await?;
        let (kdbg, agent) = another_build(test)?;
        let other = |arguments: &[&str]| -> Command {
            let mut command = test.command_of(&kdbg, arguments);
            command.env("KDBG_AGENT", &agent);
            command
        };
        for reused in [false, true] {
            let ran = test
                .run_to_end(other(&["env", "app", "-o", "json"]))
                .await?
                .ended_with(0)?;
            let report = ran.json()?;
            let agent = &report["process"]["pod"]["agent"];
            let version = agent["version"].as_str().unwrap_or_default();
            check(
                version.ends_with("+000000000000") && agent["reused"] == reused,
                || format!("{agent:#}"),
            )?;
        }
        // both builds use the same container side by side
        let ran = test
            .kdbg(&["env", "app", "-o", "json"])
            .await?
            .ended_with(0)?;
        check(
            ran.json()?["process"]["pod"]["agent"]["reused"] == true,
            || format!("{ran}"),
        )?;
        let alive = living_agents(test, "app").await?;
        check(alive.len() == 1, || format!("{alive:?}"))
    })
    .await;
}

/// The agent that was carried into a container is that of its file's name in name only.
#[tokio::test]
#[ignore = "needs a cluster: the agent that was carried into a container is a wrong one"]
async fn a_wrong_agent_that_was_carried_into_a_pod_is_carried_again() {
    run("k-wrong", Level::Restricted, async |test| {
        start(test, "app").await?;
        let (_, wrong) = another_build(test)?;
        let image = image_name("shell:user");
        let env = ["env", "app", "--image", &image];

        // one that would be wrong is not carried in the first place
        let mut command = test.kdbg_command(&env);
        command.env("KDBG_AGENT", &wrong);
        test.run_to_end(command).await?.ended_with(4)?.said("is not of its build (")?;
        test.kdbg(&env).await?.ended_with(0)?;

        let replace = r#"for it in /tmp /var/tmp /dev/shm "$HOME" .; do
            for agent in "$it"/kdbg-agent-*; do
              if test -x "$agent"; then cat >"$agent.new" && chmod 755 "$agent.new" && mv "$agent.new" "$agent" && exec "$agent" build; fi
            done
          done"#;
        let mut command = test.kdbg_command(&["attach", "app", "--image", &image, "--", "sh", "-c", replace]);
        command.stdin(std::fs::File::open(&wrong).map_err(Failure::of("open the agent"))?);
        let ran = test.run_to_end(command).await?.ended_with(0)?;
        check(ran.stdout.ends_with("+000000000000\n"), || format!("{ran}"))?;

        for _ in 0..2 {
            test.kdbg(&env).await?.ended_with(0)?;
        }

        // one that crashes before it says anything
        let crashing = crashing_agent(test)?;
        let mut command = test.kdbg_command(&["attach", "app", "--image", &image, "--", "sh", "-c", replace]);
        command.stdin(std::fs::File::open(&crashing).map_err(Failure::of("open the agent"))?);
        test.run_to_end(command).await?.ended_with(0)?;
        for _ in 0..2 {
            test.kdbg(&env).await?.ended_with(0)?;
        }
        let alive = living_agents(test, "app").await?;
        check(alive.len() == 1, || format!("{alive:?}"))?;

        // and one that does so wherever it is carried
        start(test, "other").await?;
        let mut command = test.kdbg_command(&["env", "other", "--image", &image]);
        command.env("KDBG_AGENT", &crashing);
        test.run_to_end(command)
            .await?
            .ended_with(4)?
            .said("the one that was carried there does not run: it ended with code 139 before it said anything: not today")?;
        Ok(())
    })
    .await;
}

/// Writes a program that passes for the agent of this build until it is to serve.
fn crashing_agent(test: &Test) -> Result<PathBuf, Failure> {
    let build = Hello::ours().build;
    let script = format!(
        "#!/bin/sh\n# {build}\ncase $1 in\n\
         digest) sha256sum <\"$0\" | cut -d' ' -f1;;\n\
         build) echo {build};;\n\
         rest) while :; do sleep 1; done;;\n\
         *) echo not today >&2; kill -SEGV $$;;\nesac\n"
    );
    let path = test.folder.path().join("crashing");
    std::fs::write(&path, script).map_err(Failure::of("write a program"))?;
    Ok(path)
}

#[tokio::test]
#[ignore = "needs a cluster: an image that cannot be had"]
async fn when_the_default_image_cannot_be_had_one_that_the_node_has_will_do() {
    run("k-default", Level::Restricted, async |test| {
        start(test, "app").await?;
        let default = |arguments: &[&str]| {
            let mut command = test.kdbg_command(arguments);
            command.env_remove("KDBG_IMAGE");
            command
        };
        let ran = test.run_to_end(default(&["env", "app", "-o", "json"])).await?.ended_with(0)?;
        let ran = ran.said("warning: the node cannot get image kdbg-agent:")?.said("so the agent runs in ")?;
        let image = ran.json()?["process"]["pod"]["agent"]["image"].clone();
        check(image.as_str().is_some_and(|image| image.contains("/kdbg-agent:")), || format!("{ran}"))?;

        // an account that may do all but look at nodes
        let account = format!("system:serviceaccount:{}:default", test.namespace);
        let role = json!({
            "metadata": {"name": "kdbg"},
            "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]},
                {"apiGroups": [""], "resources": ["pods/ephemeralcontainers"], "verbs": ["patch"]},
            ],
        });
        let binding = json!({
            "metadata": {"name": "kdbg"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "kdbg"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": test.namespace}],
        });
        test.create_object::<k8s_openapi::api::rbac::v1::Role>(role).await?;
        test.create_object::<k8s_openapi::api::rbac::v1::RoleBinding>(binding).await?;
        let kubeconfig = test.write_kubeconfig("kubeconfig.account", Some(&account))?;
        let mut command = default(&["env", "app"]);
        command.env("KUBECONFIG", kubeconfig);
        test.run_to_end(command).await?.ended_with(4)?
            .said("does not start: ")?
            .said("hint: name an image that the node can get with `--image`")?;
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: an image without a shell"]
async fn an_image_without_a_shell_is_refused_at_once_with_the_reason() {
    run("k-distroless", Level::Restricted, async |test| {
        start(test, "app").await?;
        let image = image_name("go:user");
        for _ in 0..2 {
            let ran = test.kdbg(&["env", "app", "--image", &image]).await?.ended_with(4)?;
            let ran = ran.said(&format!("image {image} carries no agent, and none can be carried there: it has no shell"))?
                .said("hint: name an image that the node can get with `--image` (any with a shell does)")?;
            check(ran.took < Duration::from_mins(1), || format!("it waited for what cannot come: {ran}"))?;
        }
        // the pod is none the worse for it
        test.kdbg(&["env", "app"]).await?.ended_with(0)?;
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: an image that cannot be had"]
async fn an_image_that_was_asked_for_and_cannot_be_had_is_an_error_and_ctrl_c_ends_the_wait() {
    run("k-interrupt", Level::Restricted, async |test| {
        start(test, "app").await?;
        // port 9 of the node's own address: nothing listens there, so the answer is quick
        test.kdbg(&["env", "app", "--image", "127.0.0.1:9/none:1"])
            .await?
            .ended_with(4)?
            .said("does not start: ErrImagePull: ")?
            .said("hint: name an image that the node can get")?;
        // this one takes its time: it is looked up by a name that no server answers for
        let command = test.kdbg_command(&[
            "env",
            "app",
            "--image",
            "registry.invalid/none:1",
            "--timeout",
            "5m",
        ]);
        let ran = interrupted(test, command).await?;
        check(ran.0 == Some(130), || format!("ended with {ran:?}"))?;
        check(ran.1 < Duration::from_mins(2), || {
            format!("Ctrl-C was heard late: {ran:?}")
        })
    })
    .await;
}

/// Starts a command, interrupts it once it has added its container, and returns its exit code and how long it took to end.
async fn interrupted(
    test: &Test,
    mut command: Command,
) -> Result<(Option<i32>, Duration), Failure> {
    let before = living_agents(test, "app").await?.len();
    let mut child = command.spawn().map_err(Failure::of("start kdbg"))?;
    wait_until(&test.cluster, "kdbg has added its container", async || {
        let count = living_agents(test, "app").await?.len();
        Ok(if count > before {
            Ok(())
        } else {
            Err(format!("{count} containers"))
        })
    })
    .await?;
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .ok_or_else(|| Failure::new("kdbg has ended already"))?;
    let told = Instant::now();
    kill(Pid::from_raw(pid), Signal::SIGINT).map_err(Failure::of("interrupt kdbg"))?;
    let status = tokio::time::timeout(PATIENCE, child.wait()).await;
    let status = status.map_err(|_| Failure::new("kdbg does not hear Ctrl-C"))?;
    Ok((
        status.map_err(Failure::of("wait for kdbg"))?.code(),
        told.elapsed(),
    ))
}
