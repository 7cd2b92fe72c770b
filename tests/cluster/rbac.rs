//! The role that kdbg prints: it is enough, nothing else is asked for, and each part of it is missed by name.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use serde_json::{Value, json};

use crate::harness::{Account, Failure, Level, Test, check, container, pod, run, wait_until};

/// Starts a Deployment of one pod.
async fn deployment(test: &Test, name: &str) -> Result<(), Failure> {
    let mut template = pod(
        name,
        &[container("app", "python:user", json!({}))],
        json!({}),
    );
    template["metadata"] = json!({"labels": {"app": name}});
    test.create_object::<Deployment>(json!({
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
    }))
    .await?;
    let deployments: Api<Deployment> = test.api();
    wait_until(&test.cluster, "the Deployment is available", async || {
        let status = deployments.get(name).await?.status.unwrap_or_default();
        Ok(if status.available_replicas == Some(1) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        })
    })
    .await
}

/// Returns the Role and `RoleBinding` that doctor prints for whoever asks.
async fn printed(test: &Test, account: &Account, target: &str) -> Result<(Value, Value), Failure> {
    let list = test
        .kdbg_as(account, &["doctor", target, "--role", "-o", "json"])
        .await?
        .ended_with(0)?
        .json()?;
    Ok((list["items"][0].clone(), list["items"][1].clone()))
}

#[tokio::test]
#[ignore = "needs a cluster: with RBAC, and an audit log that can be read"]
async fn printed_role_is_enough_and_nothing_else_is_asked_for() {
    run("role", Level::Restricted, async |test| {
        deployment(test, "web").await?;
        let account = test.account("helper").await?;
        let before = test
            .kdbg_as(&account, &["env", "deploy/web"])
            .await?
            .ended_with(4)?;
        check(before.stderr.contains("kdbg doctor"), || {
            format!("no word of the role: {before:?}")
        })?;
        let (role, binding) = printed(test, &account, "deploy/web").await?;
        test.grant(&account, &role, &binding).await?;

        test.kdbg_as(&account, &["doctor", "deploy/web"])
            .await?
            .ended_with(0)?;
        let env = test
            .kdbg_as(&account, &["env", "deploy/web"])
            .await?
            .ended_with(0)?;
        check(env.stdout.contains("PYTHONDONTWRITEBYTECODE=1"), || {
            format!("{env:?}")
        })?;
        let folder = tempfile::tempdir().map_err(Failure::of("make a folder"))?;
        let repository = repository(folder.path())?;
        let arguments = [
            "diff-src",
            "deploy/web",
            "--repo",
            &repository,
            "--ref",
            "HEAD",
            "--root",
            "/app",
            "--path",
            ".",
            "--name-status",
        ];
        let diff = test.kdbg_as(&account, &arguments).await?.ended_with(1)?;
        check(diff.stdout.contains("server.py"), || format!("{diff:?}"))?;
        let bundle = folder.path().join("bundle.tar.zst");
        let bundle = bundle.to_string_lossy();
        test.kdbg_as(&account, &["snapshot", "deploy/web", "-o", &bundle])
            .await?
            .ended_with(0)?;
        // Names are looked up without any right; what is behind them is not known.
        let dig = test
            .kdbg_as(&account, &["dig", "deploy/web", "web"])
            .await?;
        dig.ended_with(1)?
            .said("is not known: cannot get Service")?;
        test.kdbg_as(&account, &["cleanup", "deploy/web", "--force"])
            .await?;

        if !test.cluster.own("its audit log") {
            return Ok(());
        }
        let allowed = [
            "create selfsubjectaccessreviews",
            "create selfsubjectreviews",
            "get /version",
            "get deployments",
            "get pods",
            "list pods",
            "watch pods",
            "patch pods/ephemeralcontainers",
            "get pods/exec",
            // what `env` says of where a variable comes from; it works without
            "list services",
            // and `dig` of what is behind a name
            "get services",
            "list endpointslices",
        ];
        let requests = test.cluster.requests_of(&account.user)?;
        let others: Vec<_> = requests
            .iter()
            .filter(|request| !allowed.contains(&request.as_str()))
            .collect();
        check(others.is_empty(), || format!("also asked for: {others:?}"))?;
        check(
            requests.contains(&"patch pods/ephemeralcontainers".to_owned()),
            || format!("the log is not whole: {requests:?}"),
        )
    })
    .await;
}

/// Makes a repository whose `server.py` is another one.
fn repository(folder: &std::path::Path) -> Result<String, Failure> {
    let folder = folder.join("repository");
    std::fs::create_dir(&folder)
        .and_then(|()| std::fs::write(folder.join("server.py"), "print('older')\n"))
        .map_err(Failure::of("write a repository"))?;
    let steps: [&[&str]; 3] = [
        &["init", "--quiet"],
        &["add", "."],
        &["commit", "--quiet", "--message", "older"],
    ];
    for step in steps {
        let status = std::process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@t"])
            .args(step)
            .current_dir(&folder)
            .status()
            .map_err(Failure::of("run git"))?;
        check(status.success(), || format!("git {step:?}: {status}"))?;
    }
    Ok(folder.to_string_lossy().into_owned())
}

#[tokio::test]
#[ignore = "needs a cluster: with RBAC"]
async fn each_missing_verb_is_named() {
    run("verbs", Level::Restricted, async |test| {
        deployment(test, "web").await?;
        test.start(pod(
            "app",
            &[container("app", "python:user", json!({}))],
            json!({}),
        ))
        .await?;
        // What is missing, on which target, and how a command ends. The patch comes first: it is not needed any more
        // once an agent is there.
        let cases = [
            ("patch", "", "pods/ephemeralcontainers", "app", 4),
            ("get", "", "pods/exec", "app", 4),
            ("get", "", "pods", "app", 4),
            ("list", "", "pods", "deploy/web", 4),
            ("get", "apps", "deployments", "deploy/web", 4),
            ("watch", "", "pods", "app", 0),
            (
                "create",
                "",
                "pods/exec",
                "app",
                created_exec_code(test).await?,
            ),
        ];
        for (number, (verb, group, resource, target, code)) in cases.into_iter().enumerate() {
            let account = test.account(&format!("lacking-{number}")).await?;
            let (mut role, mut binding) = printed(test, &account, target).await?;
            take(&mut role, verb, group, resource)?;
            let name = format!("lacking-{number}");
            role["metadata"]["name"] = name.as_str().into();
            binding["metadata"]["name"] = name.as_str().into();
            binding["roleRef"]["name"] = name.as_str().into();
            test.grant(&account, &role, &binding).await?;
            let whole = match group {
                "" => format!("{verb} {resource} in namespace {}", test.namespace),
                group => format!("{verb} {resource}.{group} in namespace {}", test.namespace),
            };
            let doctor = test.kdbg_as(&account, &["doctor", target]).await?;
            check(doctor.stdout.contains(&format!("may not {whole}")), || {
                format!("doctor without {whole}: {doctor:#?}")
            })?;
            let doctor = doctor.ended_with(code)?;
            check(doctor.stdout.contains("kind: Role\n"), || {
                format!("no role: {doctor:#?}")
            })?;
            let ran = test
                .kdbg_as(&account, &["env", target])
                .await?
                .ended_with(code)?;
            if code == 4 {
                check(
                    ran.stderr.contains(&format!("not allowed to {whole}"))
                        && ran.stderr.contains("kdbg doctor"),
                    || format!("env without {whole}: {ran:#?}"),
                )?;
            }
        }
        Ok(())
    })
    .await;
}

/// From Kubernetes 1.35 on an exec over a websocket needs `create` too.
async fn created_exec_code(test: &Test) -> Result<i32, Failure> {
    let version = test.client.apiserver_version().await?;
    let minor: u32 = version.minor.trim_end_matches('+').parse().unwrap_or(0);
    Ok(if minor >= 35 { 4 } else { 0 })
}

/// Takes one verb of one resource out of a role.
fn take(role: &mut Value, verb: &str, group: &str, resource: &str) -> Result<(), Failure> {
    let rules = role["rules"].as_array_mut().expect("a role has rules");
    for rule in rules {
        let is_this = rule["apiGroups"] == json!([group]) && rule["resources"] == json!([resource]);
        let verbs = rule["verbs"].as_array_mut().expect("a rule has verbs");
        let before = verbs.len();
        if is_this {
            verbs.retain(|found| found != verb);
            if verbs.len() < before {
                // A rule without verbs is refused.
                if verbs.is_empty() {
                    rule["resources"] = json!(["events"]);
                    rule["verbs"] = json!(["get"]);
                }
                return Ok(());
            }
        }
    }
    Err(Failure::new(format!("{verb} {resource} is not in {role}")))
}
