//! `--from new` and `--from node`: pods of kdbg's own, and that they go again.

use std::process::Stdio;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    ResourceExt as _,
    api::{Api, ListParams, Patch, PatchParams},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::harness::{
    Account, Failure, Level, PATIENCE, Ran, Test, check, container, pod, run, wait_until,
};

/// Starts a pod that listens on loopback only, as `shy`, and one that listens on all its addresses; answers the address of that.
async fn targets(test: &Test) -> Result<String, Failure> {
    let loopback = "import http.server as h; h.HTTPServer(('127.0.0.1', 8000), h.SimpleHTTPRequestHandler).serve_forever()";
    let shy = json!({"command": ["/usr/bin/python3.11", "-c", loopback]});
    let (_, open) = tokio::try_join!(
        test.start(pod(
            "shy",
            &[container("app", "python:user", shy)],
            json!({})
        )),
        test.start(pod(
            "open",
            &[container("app", "go:user", json!({}))],
            json!({})
        )),
    )?;
    let address = open.status.and_then(|status| status.pod_ip);
    address.ok_or_else(|| Failure::new("the pod has no address"))
}

/// An account with the role that doctor prints for who wants to ask from a new pod.
async fn account(test: &Test) -> Result<Account, Failure> {
    let account = test.account("helper").await?;
    let words = ["doctor", "shy", "--role", "--from", "new", "-o", "json"];
    let list = test
        .kdbg_as(&account, &words)
        .await?
        .ended_with(0)?
        .json()?;
    test.grant(&account, &list["items"][0], &list["items"][1])
        .await?;
    Ok(account)
}

/// The pods that kdbg has started.
async fn started(test: &Test) -> Result<Vec<Pod>, Failure> {
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=kdbg");
    Ok(test.api::<Pod>().list(&ours).await?.items)
}

async fn none_is_left(test: &Test) -> Result<(), Failure> {
    let left: Vec<_> = started(test).await?.iter().map(Pod::name_any).collect();
    check(left.is_empty(), || format!("left behind: {left:?}"))
}

/// Has the namespace enforce another level of Pod Security.
async fn enforce(test: &Test, level: &str) -> Result<(), Failure> {
    let labels = json!({"pod-security.kubernetes.io/enforce": level});
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    let namespaces: Api<Namespace> = Api::all(test.client.clone());
    namespaces
        .patch(&test.namespace, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// What is reached from the pod itself only is not from a new one, nor from the node; what all reach makes no difference.
async fn places_are_compared(test: &Test, account: &Account, open: &str) -> Result<(), Failure> {
    let words = [
        "curl", "shy", ":8000/", "--from", "new", "--from", "node", "--json",
    ];
    let ran = test.kdbg_as(account, &words).await?.ended_with(1)?;
    let report = ran.json()?;
    for (place, name) in [(1, "new"), (2, "node")] {
        let shown = report["places"][place].as_str().unwrap_or_default();
        let called = format!("{name} (pod kdbg-from-{name}-");
        check(shown.starts_with(&called), || ran.to_string())?;
        let outcome = &report["probes"][place]["connections"][0]["outcome"];
        check(outcome == "refused", || ran.to_string())?;
    }
    check(report["probes"][0]["response"]["status"] == 200, || {
        ran.to_string()
    })?;
    check(report["differences"][0]["phase"] == "connect", || {
        ran.to_string()
    })?;
    let ran = ran.said("one that selects all pods of the namespace does")?;
    ran.said("it looks names up as the node does")?;
    none_is_left(test).await?;

    let address = format!("{open}:8080");
    let words = ["tcp", "shy", &address, "--from", "new", "--from", "node"];
    let ran = test.kdbg_as(account, &words).await?.ended_with(0)?;
    check(ran.stdout.contains("no phase differs"), || ran.to_string())?;
    none_is_left(test).await
}

/// Where Pod Security refuses the node's network, nothing is started, and the message says what works instead.
async fn refusals_start_nothing(test: &Test, account: &Account) -> Result<(), Failure> {
    // The refusal comes before the first of the two is started.
    let words = [
        "tcp",
        "shy",
        "127.0.0.1:8000",
        "--from",
        "new",
        "--from",
        "node",
    ];
    let ran = test.kdbg_as(account, &words).await?.ended_with(4)?;
    let ran = ran.said("admission does not let kdbg start a pod")?;
    let ran = ran.said("violates PodSecurity \"restricted")?;
    ran.said("hint: name a pod of the namespace that has the network of its node")?;
    none_is_left(test).await?;
    let words = ["doctor", "shy", "--from", "new", "--from", "node"];
    let ran = test.kdbg_as(account, &words).await?.ended_with(4)?;
    check(
        ran.stdout
            .contains("a pod may be started to ask from `new`")
            && ran
                .stdout
                .contains("to ask from `node`: pods \"kdbg-from-node-"),
        || ran.to_string(),
    )?;
    // A new pod passes even the strictest level. Names come from the same servers, by the target's rules.
    let words = ["dig", "shy", "kubernetes.default", "--from", "new"];
    let ran = test.kdbg_as(account, &words).await?.ended_with(0)?;
    check(ran.stdout.contains("no phase differs"), || ran.to_string())?;
    none_is_left(test).await
}

/// Without one of the verbs nothing is started, and the verb is named; not to be allowed to delete is noticed before.
async fn missing_verbs_are_named(test: &Test) -> Result<(), Failure> {
    for verb in ["create", "delete"] {
        let name = format!("may-not-{verb}");
        let account = test.account(&name).await?;
        let words = ["doctor", "shy", "--role", "--from", "new", "-o", "json"];
        let list = test
            .kdbg_as(&account, &words)
            .await?
            .ended_with(0)?
            .json()?;
        let (mut role, mut binding) = (list["items"][0].clone(), list["items"][1].clone());
        for object in [&mut role, &mut binding] {
            object["metadata"]["name"] = name.as_str().into();
        }
        binding["roleRef"]["name"] = name.as_str().into();
        let rules = role["rules"].as_array_mut().expect("a role has rules");
        for rule in rules
            .iter_mut()
            .filter(|rule| rule["resources"] == json!(["pods"]))
        {
            let verbs = rule["verbs"].as_array_mut().expect("a rule has verbs");
            verbs.retain(|found| found != verb);
        }
        test.grant(&account, &role, &binding).await?;
        let words = ["tcp", "shy", "127.0.0.1:8000", "--from", "new"];
        let ran = test.kdbg_as(&account, &words).await?.ended_with(4)?;
        let ran = ran.said(&format!(
            "not allowed to {verb} pods in namespace {}",
            test.namespace
        ))?;
        ran.said("`kdbg doctor TARGET --from new`")?;
        none_is_left(test).await?;
    }
    Ok(())
}

/// Starts a command that waits for an answer that never comes, and answers it when the pod that it has started is asked from.
async fn waiting(test: &Test, account: &Account) -> Result<(Child, String), Failure> {
    // A server of HTTP that is asked nothing says nothing.
    let words = [
        "tcp",
        "shy",
        "127.0.0.1:8000",
        "--expect",
        "never",
        "--wait",
        "30m",
        "--from",
        "new",
    ];
    let mut command = test.kdbg_command(&words);
    command
        .args(["--namespace", &test.namespace])
        .env("KUBECONFIG", account.kubeconfig())
        .stderr(Stdio::null())
        .stdout(Stdio::null());
    let child = command.spawn().map_err(Failure::of("run kdbg"))?;
    let name = wait_until(&test.cluster, "an agent stands in a new pod", async || {
        let pods = started(test).await?;
        let Some(name) = pods.first().map(Pod::name_any) else {
            return Ok(Err("there is no pod".to_owned()));
        };
        let list = ["/bin/busybox", "ps", "-o", "args"];
        let outcome = test.exec(&name, "agent", &list).await?;
        let serves = outcome.stdout.lines().any(|line| line.ends_with(" serve"));
        Ok(if serves {
            Ok(name)
        } else {
            Err(format!("{outcome:?}"))
        })
    })
    .await?;
    Ok((child, name))
}

fn signal(child: &Child, signal: Signal) -> Result<(), Failure> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.ok_or_else(|| Failure::new("kdbg has ended by itself"))?;
    kill(Pid::from_raw(pid), signal).map_err(Failure::of("signal kdbg"))
}

async fn interrupted_takes_it_away(test: &Test, account: &Account) -> Result<(), Failure> {
    let (mut child, _) = waiting(test, account).await?;
    signal(&child, Signal::SIGINT)?;
    let status = tokio::time::timeout(PATIENCE, child.wait())
        .await
        .map_err(|_| Failure::new("kdbg does not end"))?
        .map_err(Failure::of("wait for kdbg"))?;
    check(status.code() == Some(130), || format!("{status:?}"))?;
    none_is_left(test).await
}

/// One that is used is left alone; the one of a client that was killed goes, and the target does not.
async fn cleanup_takes_the_rest(test: &Test, account: &Account) -> Result<(), Failure> {
    let (mut child, name) = waiting(test, account).await?;
    let of_pod = |ran: &Ran| -> Result<Value, Failure> {
        let report = ran.json()?;
        let agents = report["agents"].as_array().cloned().unwrap_or_default();
        let found = agents
            .into_iter()
            .find(|agent| agent["pod"] == name.as_str());
        Ok(found.unwrap_or_default())
    };
    let words = ["cleanup", "shy", "-o", "json"];
    // Its status follows what runs in it.
    let comes_to = async |state: &str| {
        let what = format!("cleanup says that the pod is {state}");
        wait_until(&test.cluster, &what, async || {
            let ran = test.kdbg_as(account, &words).await?;
            let is_so = of_pod(&ran)?["state"] == state;
            Ok(if is_so { Ok(ran) } else { Err(ran.to_string()) })
        })
        .await
    };
    comes_to("in use").await?.ended_with(3)?;
    child.kill().await.map_err(Failure::of("kill kdbg"))?;
    comes_to("removed").await?;
    none_is_left(test).await?;
    let shy = test.api::<Pod>().get("shy").await?;
    check(shy.metadata.deletion_timestamp.is_none(), || {
        "the target is being deleted".to_owned()
    })
}

/// Nothing was created or deleted but pods of kdbg's own, and programs were run in these and in the target only.
fn nothing_else_was_touched(test: &Test, account: &Account) -> Result<(), Failure> {
    let log = test.cluster.folder().join("log/audit.log");
    let text = std::fs::read_to_string(&log).map_err(Failure::of("read the audit log"))?;
    let (mut created, mut others) = (0, Vec::new());
    let events = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["user"]["username"] == account.user.as_str());
    for event in events {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        let (verb, resource, sub, name) = (
            word(&event["verb"]),
            word(&object["resource"]),
            word(&object["subresource"]),
            word(&object["name"]),
        );
        let is_own = name.starts_with("kdbg-from-");
        let is_dry = word(&event["requestURI"]).contains("dryRun=All");
        created += usize::from(verb == "create" && resource == "pods" && !is_dry && is_own);
        let is_fine = match (verb.as_str(), resource.as_str(), sub.as_str()) {
            ("create" | "delete", "pods", "") => is_own,
            ("get" | "create", "pods", "exec") => is_own || name == "shy",
            ("patch", "pods", "ephemeralcontainers") => name == "shy",
            // doctor asks for the version and for what the account may
            ("get" | "list" | "watch", "pods" | "", "")
            | ("create", "selfsubjectaccessreviews" | "selfsubjectreviews", "") => true,
            _ => false,
        };
        if !is_fine {
            others.push(format!("{verb} {resource}/{sub} {name}"));
        }
    }
    others.sort_unstable();
    others.dedup();
    check(others.is_empty(), || format!("also asked for: {others:?}"))?;
    check(created > 0, || "the log is not whole".to_owned())
}

#[tokio::test]
#[ignore = "needs a cluster: starts pods beside a pod, under two levels of Pod Security"]
async fn pods_that_are_asked_from_go_again_however_the_command_ends() {
    run("from-new", Level::Privileged, async |test| {
        let open = targets(test).await?;
        let account = account(test).await?;
        places_are_compared(test, &account, &open).await?;
        enforce(test, "restricted").await?;
        refusals_start_nothing(test, &account).await?;
        missing_verbs_are_named(test).await?;
        interrupted_takes_it_away(test, &account).await?;
        cleanup_takes_the_rest(test, &account).await?;
        if test.cluster.own("its audit log") {
            nothing_else_was_touched(test, &account)?;
        }
        Ok(())
    })
    .await;
}
