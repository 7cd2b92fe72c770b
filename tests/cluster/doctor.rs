//! What `kdbg doctor` says of real admission, and that it changes nothing.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Failure, Level, Ran, Test, check, container, pod, run, wait_until};

/// Starts a pod `app`, and answers it.
async fn start(test: &Test, image: &str) -> Result<Pod, Failure> {
    test.start(pod("app", &[container("app", image, json!({}))], json!({})))
        .await
}

async fn doctor(test: &Test, target: &str) -> Result<(Ran, Value), Failure> {
    let ran = test.kdbg(&["doctor", target, "-o", "json"]).await?;
    let report = ran.json()?;
    Ok((ran, report))
}

/// Returns the states of the checks of one subject.
fn states(report: &Value, subject: &str) -> Vec<String> {
    checks(report, subject)
        .iter()
        .map(|check| check["state"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Returns what the checks of one subject say.
fn texts(report: &Value, subject: &str) -> String {
    let texts: Vec<_> = checks(report, subject)
        .iter()
        .map(|check| check["text"].as_str().unwrap_or_default().to_owned())
        .collect();
    texts.join("\n")
}

fn checks(report: &Value, subject: &str) -> Vec<Value> {
    report["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["subject"] == subject)
        .cloned()
        .collect()
}

/// Doctor refuses, because of what is in the pod already.
async fn blames(test: &Test, violator: &str) -> Result<(), Failure> {
    wait_until(&test.cluster, "doctor names the violator", async || {
        let (ran, report) = doctor(test, "app").await?;
        let is_blamed = ran.code == Some(4)
            && texts(&report, "entry").contains(violator)
            && states(&report, "entry") == ["refused"];
        Ok(if is_blamed {
            Ok(())
        } else {
            Err(format!("{report:#}"))
        })
    })
    .await
}

/// Doctor says which rungs a level admits, ends well, and leaves the pod as it was.
async fn admits(name: &str, level: Level, expected: [&str; 3]) {
    run(name, level, async |test| {
        let before = start(test, "python:user").await?;
        let (ran, report) = doctor(test, "app").await?;
        ran.ended_with(0)?;
        check(states(&report, "rung") == expected, || {
            format!("{report:#}")
        })?;
        check(states(&report, "entry") == ["ok"], || format!("{report:#}"))?;
        let after = test.api::<Pod>().get("app").await?;
        check(
            after.resource_version() == before.resource_version() && after.spec == before.spec,
            || format!("the pod was changed: {after:?}"),
        )
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: asks admission"]
async fn restricted_admits_the_targets_own_user_only() {
    admits(
        "doc-restricted",
        Level::Restricted,
        ["ok", "refused", "refused"],
    )
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: asks admission"]
async fn baseline_admits_root_without_more() {
    admits("doc-baseline", Level::Baseline, ["ok", "ok", "refused"]).await;
}

#[tokio::test]
#[ignore = "needs a cluster: asks admission"]
async fn privileged_admits_all() {
    admits("doc-privileged", Level::Privileged, ["ok", "ok", "ok"]).await;
}

#[tokio::test]
#[ignore = "needs a cluster: asks an agent that runs"]
async fn agent_that_runs_is_asked_what_it_sees() {
    run("doc-agent", Level::Restricted, async |test| {
        start(test, "python:user").await?;
        test.kdbg(&["env", "app"]).await?.ended_with(0)?;
        // the status follows a second later
        wait_until(&test.cluster, "doctor finds the agent", async || {
            let ran = test.kdbg(&["doctor", "app"]).await?;
            let found = ran.stdout.contains("is there already")
                && ran.stdout.contains("it can read process");
            Ok(if found { Ok(()) } else { Err(ran.stdout) })
        })
        .await
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: admission refuses the ephemeral container"]
async fn pod_that_violates_a_new_label_is_named_as_the_reason() {
    run("doc-relabelled", Level::Baseline, async |test| {
        start(test, "python:root").await?;
        test.relabel(Level::Restricted).await?;
        blames(test, "violates the policy already, container app:").await
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: admission refuses the ephemeral container"]
async fn older_ephemeral_container_is_named_as_the_reason() {
    run("doc-older", Level::Privileged, async |test| {
        start(test, "python:user").await?;
        let older = json!({"spec": {"ephemeralContainers": [container(
            "debugger-7x2kq",
            "kdbg-agent:dev",
            json!({
                "command": ["/bin/busybox", "sleep", "60"],
                "securityContext": {"privileged": true, "allowPrivilegeEscalation": true, "runAsUser": 0, "runAsNonRoot": false},
            }),
        )]}});
        test.api::<Pod>()
            .patch_ephemeral_containers("app", &PatchParams::default(), &Patch::Strategic(older))
            .await?;
        test.relabel(Level::Restricted).await?;
        blames(
            test,
            "violates the policy already, ephemeral container debugger-7x2kq (not of kdbg):",
        )
        .await
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: adds a policy for its own namespace"]
async fn policy_that_is_not_pod_security_is_quoted() {
    run("doc-policy", Level::Privileged, async |test| {
        start(test, "python:user").await?;
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(test.client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(test.client.clone());
        let name = &test.namespace;
        let policy = object(json!({
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"],
                }]},
                "validations": [{"expression": "false", "message": "no debug containers in this shop"}],
            },
        }));
        let binding = object(json!({
            "metadata": {"name": name},
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}},
            },
        }));
        policies.create(&PostParams::default(), &policy).await?;
        bindings.create(&PostParams::default(), &binding).await?;
        let seen = wait_until(&test.cluster, "doctor quotes the policy", async || {
            let (ran, report) = doctor(test, "app").await?;
            // the server takes it up at some moment, which may be between two questions
            let said = texts(&report, "rung");
            let is_quoted = said.contains("no debug containers in this shop");
            Ok(if is_quoted && !said.contains("admitted") {
                Ok(ran)
            } else {
                Err(format!("{report:#}"))
            })
        })
        .await;
        bindings.delete(name, &DeleteParams::default()).await?;
        policies.delete(name, &DeleteParams::default()).await?;
        seen?.ended_with(4).map(drop)
    })
    .await;
}

/// A webhook for ephemeral containers of the namespace of the test, where nobody answers.
fn webhook(test: &Test, side_effects: &str) -> ValidatingWebhookConfiguration {
    object(json!({
        "metadata": {"name": test.namespace},
        "webhooks": [{
            "name": "policy.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": side_effects,
            "failurePolicy": "Fail",
            "timeoutSeconds": 1,
            "clientConfig": {"url": "https://127.0.0.1:1/validate"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": test.namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"]}],
        }],
    }))
}

/// A webhook without dry run cannot be made on this server: version v1 of the API refuses it. Servers that were updated
/// still have some; the message that they cause is a unit test of `src/target/pod/admission.rs`.
#[tokio::test]
#[ignore = "needs a cluster: adds a webhook for its own namespace"]
async fn webhook_that_cannot_be_asked_is_unknown() {
    run("doc-webhook", Level::Privileged, async |test| {
        start(test, "python:user").await?;
        let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(test.client.clone());
        for side_effects in ["Unknown", "Some"] {
            let created = webhooks
                .create(&PostParams::default(), &webhook(test, side_effects))
                .await;
            check(
                matches!(&created, Err(kube::Error::Api(status)) if status.code == 422),
                || format!("sideEffects {side_effects}: {created:?}"),
            )?;
        }
        webhooks
            .create(&PostParams::default(), &webhook(test, "None"))
            .await?;
        let seen = wait_until(&test.cluster, "doctor meets the webhook", async || {
            let (ran, report) = doctor(test, "app").await?;
            let is_unknown = states(&report, "rung") == ["unknown"; 3];
            Ok(if is_unknown {
                Ok(ran)
            } else {
                Err(format!("{report:#}"))
            })
        })
        .await;
        webhooks
            .delete(&test.namespace, &DeleteParams::default())
            .await?;
        let ran = seen?.ended_with(3)?;
        check(ran.stdout.contains("policy.example.com"), || {
            format!("{ran:?}")
        })
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: starts a pod that crashes"]
async fn crash_looping_container_is_refused_with_its_last_end() {
    run("doc-crashing", Level::Restricted, async |test| {
        let command = json!({"command": ["/usr/bin/python3.11", "-c", "raise SystemExit(3)"]});
        test.create_object::<Pod>(pod(
            "app",
            &[container("app", "python:user", command)],
            json!({}),
        ))
        .await?;
        wait_until(&test.cluster, "doctor sees the crash", async || {
            let ran = test.kdbg(&["doctor", "app"]).await?;
            let is_told =
                ran.code == Some(4) && ran.stdout.contains("the last run ended with exit code 3");
            Ok(if is_told {
                Ok(())
            } else {
                Err(format!("{ran:?}"))
            })
        })
        .await
    })
    .await;
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("the test writes a valid object")
}
