//! What a mutating admission webhook has put into a pod as it was created is told as the webhook's, and nothing else is.

use std::collections::BTreeMap;
use std::process::Command;

use base64::Engine as _;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{
    Failure, Level, Phase, Test, answering, check, container, from_json, merged, pod, run,
    wait_until,
};

const PROGRAM: &str = include_str!("webhook.py");
/// The variables that it adds.
const ADDED: [&str; 4] = ["INJECTED", "INJECTED_FIRST", "INJECTED_POD", "LEVEL"];
/// Who has put them there, as kdbg says it: the API server keeps no other name.
const WEBHOOK: &str = "an admission webhook (no field manager owns it)";

#[tokio::test]
#[ignore = "needs a cluster: its API server asks a webhook of a pod"]
async fn what_a_webhook_adds_to_a_pod_is_told_as_its_own_and_nothing_else_is() {
    run("webhook", Level::Restricted, async |test| {
        test.create_object::<ConfigMap>(
            json!({"metadata": {"name": "settings"}, "data": {"LEVEL": "info"}}),
        )
        .await?;
        let authority = start_webhook(test).await?;
        // Whatever the webhook would add, its maker has put there.
        test.create_object::<Pod>(victim("control", &own_and_added()))
            .await?;
        register(test, &authority).await?;
        let checked = Box::pin(told_by_who_made_them(test)).await;
        let hooks: Api<MutatingWebhookConfiguration> = Api::all(test.client.clone());
        hooks
            .delete(&test.namespace, &DeleteParams::default())
            .await?;
        checked
    })
    .await;
}

/// A pod whose container has these entries in `env`, beside a `ConfigMap` that sets `LEVEL`.
fn victim(name: &str, env: &Value) -> Value {
    let more = json!({"env": env, "envFrom": [{"configMapRef": {"name": "settings"}}]});
    let app = container("app", "python:user", merged(answering(8080, "/"), more));
    pod(name, &[app], json!({}))
}

fn own() -> Value {
    json!([
        {"name": "OWN", "value": "1"},
        {"name": "OWN_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ])
}

fn own_and_added() -> Value {
    let mut env = own();
    let added = ADDED
        .iter()
        .map(|name| json!({"name": name, "value": "debug"}));
    env.as_array_mut().unwrap().extend(added);
    env
}

/// Starts the webhook with a certificate of its own, and returns that as base64.
async fn start_webhook(test: &Test) -> Result<String, Failure> {
    let file = |name: &str| test.folder.path().join(name);
    let made = Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hook".split(' '))
        .args(["-addext", &format!("subjectAltName=DNS:hook.{}.svc", test.namespace)])
        .arg("-keyout")
        .arg(file("key.pem"))
        .arg("-out")
        .arg(file("certificate.pem"))
        .output()
        .map_err(Failure::of("run openssl"))?;
    check(made.status.success(), || {
        String::from_utf8_lossy(&made.stderr).into_owned()
    })?;
    let read =
        |name| std::fs::read_to_string(file(name)).map_err(Failure::of("read what openssl made"));
    let certificate = read("certificate.pem")?;
    test.create_object::<Secret>(json!({
        "metadata": {"name": "tls"},
        "stringData": {"certificate.pem": certificate, "key.pem": read("key.pem")?},
    }))
    .await?;
    test.service("hook", 443).await?;
    let mut probe = answering(8080, "/");
    probe["readinessProbe"]["httpGet"]["scheme"] = "HTTPS".into();
    let more = json!({
        "command": ["/usr/bin/python3.11", "-c", PROGRAM],
        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
    });
    let hook = container("app", "python:user", merged(probe, more));
    let volumes = json!({"volumes": [{"name": "tls", "secret": {"secretName": "tls"}}]});
    test.start(pod("hook", &[hook], volumes)).await?;
    Ok(base64::engine::general_purpose::STANDARD.encode(certificate))
}

/// Has the API server ask the webhook about new pods of the namespace, and waits until it does.
///
/// The namespace is its owner, so that it goes with it, however the test ends.
async fn register(test: &Test, authority: &str) -> Result<(), Failure> {
    let namespace = Api::<Namespace>::all(test.client.clone())
        .get(&test.namespace)
        .await?;
    let hook: MutatingWebhookConfiguration = from_json(json!({
        "metadata": {
            "name": test.namespace,
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Namespace", "name": test.namespace, "uid": namespace.uid(),
            }],
        },
        "webhooks": [{
            "name": "variables.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 30,
            "clientConfig": {
                "service": {"namespace": test.namespace, "name": "hook", "path": "/mutate"},
                "caBundle": authority,
            },
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": test.namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        }],
    }));
    let hooks: Api<MutatingWebhookConfiguration> = Api::all(test.client.clone());
    hooks.create(&PostParams::default(), &hook).await?;
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let tried: Pod = from_json(victim("tried", &own()));
    let pods: Api<Pod> = test.api();
    wait_until(
        &test.cluster,
        "the API server asks the webhook",
        async || {
            let tried = serde_json::to_string(&pods.create(&dry_run, &tried).await?.spec);
            let tried = tried.unwrap_or_default();
            Ok(if tried.contains("INJECTED_FIRST") {
                Ok(())
            } else {
                Err(tried)
            })
        },
    )
    .await
}

/// Pods that were made in every way that pods are made, and one that was there before the webhook.
async fn told_by_who_made_them(test: &Test) -> Result<(), Failure> {
    test.create_object::<Pod>(victim("created", &own())).await?;
    test.create_object::<Pod>(victim("bare", &json!([])))
        .await?;
    let applied = merged(
        victim("applied", &own()),
        json!({"apiVersion": "v1", "kind": "Pod"}),
    );
    test.api::<Pod>()
        .patch(
            "applied",
            &PatchParams::apply("tests"),
            &Patch::Apply(applied),
        )
        .await?;
    let template = victim("owned", &own());
    let labels = json!({"app": "owned"});
    test.create_object::<Deployment>(json!({
        "metadata": {"name": "owned"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
        },
    }))
    .await?;
    let pods: Api<Pod> = test.api();
    wait_until(&test.cluster, "all pods are ready", async || {
        let list = pods.list(&ListParams::default()).await?;
        let ready = list.iter().filter(|pod| Phase::of(pod).ready).count();
        // With that of the webhook.
        Ok(if ready == 6 {
            Ok(())
        } else {
            Err(format!("{ready} of 6 are"))
        })
    })
    .await?;
    let all: BTreeMap<_, _> = ADDED
        .iter()
        .map(|name| ((*name).to_owned(), WEBHOOK.to_owned()))
        .collect();
    for target in ["created", "bare", "applied", "deploy/owned"] {
        let injected = injected(test, target).await?;
        check(injected == all, || format!("{target}: {injected:?}"))?;
    }
    let injected = injected(test, "control").await?;
    check(injected.is_empty(), || {
        format!("nobody has put it there: {injected:?}")
    })?;
    in_words(test).await
}

/// Who has put a variable into the spec, by its name, as `kdbg env` says.
async fn injected(test: &Test, target: &str) -> Result<BTreeMap<String, String>, Failure> {
    let ran = test
        .kdbg(&["env", target, "-o", "json"])
        .await?
        .ended_with(0)?;
    let report = ran.json()?;
    let entries = report["entries"].as_array().cloned().unwrap_or_default();
    let injected = entries.iter().filter_map(|entry| {
        let manager = entry["provenance"]["injected_by"].as_str()?;
        Some((entry["name"].as_str()?.to_owned(), manager.to_owned()))
    });
    Ok(injected.collect())
}

/// For people, and where a finding is about such a variable: whoever looks at the Deployment does not find it there.
async fn in_words(test: &Test) -> Result<(), Failure> {
    let ran = test.kdbg(&["env", "created"]).await?.ended_with(0)?;
    let line = format!("INJECTED=by-the-hook  # the value in env, which {WEBHOOK} has put there\n");
    check(ran.stdout.contains(&line), || ran.to_string())?;
    check(ran.stdout.contains("OWN=1\n"), || ran.to_string())?;
    for (target, is_hooked) in [("created", true), ("control", false)] {
        let mut command = test.kdbg_command(&["diagnose", target, "-o", "json"]);
        // There is no repository round it.
        command.current_dir(test.folder.path());
        let ran = test.run_to_end(command).await?.ended_with(1)?;
        let report = ran.json()?;
        let listed = report["listed"].as_array().cloned().unwrap_or_default();
        let mut shadowed = listed.iter().filter(|one| one["id"] == "env.shadowed");
        let finding = shadowed.next().map(Value::to_string).unwrap_or_default();
        check(finding.contains("LEVEL"), || format!("{target}: {ran}"))?;
        let said = format!("{WEBHOOK} has put LEVEL into the spec of the pod");
        check(finding.contains(&said) == is_hooked, || {
            format!("{target}: {finding}")
        })?;
    }
    Ok(())
}
