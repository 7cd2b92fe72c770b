//! Where a real kubelet's variables come from, for every kind of source at once.

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{Failure, Level, Ran, Test, answering, check, container, merged, pod, run};

/// The program of the pod: a first process that starts the one that serves with more variables.
const STARTER: &str = "import os, subprocess, sys
sys.exit(subprocess.call(['/usr/bin/python3.11', '-u', '/app/server.py'], env={**os.environ, 'SET_ON_THE_WAY': '1', 'LITERAL': 'changed'}))";

/// A pod with every kind of source.
fn everything() -> Value {
    let key = |kind: &str, name: &str, key: &str| json!({kind: {"name": name, "key": key}});
    let resource = |resource: &str, divisor: &str| json!({"resourceFieldRef": {"resource": resource, "divisor": divisor}});
    let container = container(
        "app",
        "python:user",
        merged(
            answering(8080, "/"),
            json!({
                "command": ["/usr/bin/python3.11", "-c", STARTER],
                "resources": {"limits": {"cpu": "250m", "memory": "65M"}, "requests": {"cpu": "10m"}},
                "envFrom": [
                    {"prefix": "CM_", "configMapRef": {"name": "settings"}},
                    {"secretRef": {"name": "credentials"}},
                    {"configMapRef": {"name": "absent", "optional": true}},
                ],
                "env": [
                    {"name": "LITERAL", "value": "plain"},
                    {"name": "EXPANDED", "value": "$(CM_LEVEL)-$(REVIEWS_SERVICE_PORT)-$(NOBODY)-$$(LITERAL)"},
                    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                    {"name": "CPU", "valueFrom": resource("limits.cpu", "1m")},
                    {"name": "MEMORY", "valueFrom": resource("limits.memory", "1Mi")},
                    {"name": "STORAGE", "valueFrom": resource("limits.ephemeral-storage", "1Mi")},
                    {"name": "REQUEST", "valueFrom": resource("requests.cpu", "0")},
                    {"name": "KEY", "valueFrom": key("configMapKeyRef", "settings", "KEY")},
                    {"name": "PIN", "valueFrom": key("secretKeyRef", "credentials", "PIN")},
                    {"name": "REVIEWS_PORT", "value": "9080"},
                ],
            }),
        ),
    );
    pod("app", &[container], json!({}))
}

/// The provenance of a variable.
fn of<'a>(report: &'a Value, name: &str) -> Result<&'a Value, Failure> {
    let mut entries = report["entries"].as_array().into_iter().flatten();
    entries
        .find(|entry| entry["name"] == name)
        .map(|entry| &entry["provenance"])
        .ok_or_else(|| Failure::new(format!("there is no {name} in {report}")))
}

fn is(report: &Value, name: &str, wanted: &[(&str, &str)]) -> Result<(), Failure> {
    let provenance = of(report, name)?;
    for (pointer, value) in wanted {
        let found = provenance.pointer(pointer);
        check(found == Some(&Value::from(*value)), || {
            format!("{name}: {pointer} is no {value:?}: {provenance}")
        })?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: its kubelet makes the variables"]
async fn every_kind_of_source_is_told_and_what_may_not_be_read_is_named() {
    run("env-sources", Level::Restricted, async |test| {
        test.create_object::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"LEVEL": "debug", "KEY": "k1"}}))
            .await?;
        test.create_object::<Secret>(json!({"metadata": {"name": "credentials"}, "stringData": {"PIN": "4711-secret", "WORD": "hunter2-secret"}}))
            .await?;
        test.service("reviews", 9080).await?;
        test.start(everything()).await?;
        let ran = test.kdbg(&["env", "app", "-o", "json"]).await?.ended_with(0)?;
        let report = ran.json()?;
        every_source(&report)?;
        check(!ran.stdout.contains("-secret"), || format!("a secret got out: {ran}"))?;
        a_source_and_a_text_choose(test).await?;
        the_worker_is_laid_beside_the_first_process(test).await?;
        nothing_changes_by_a_restart_but_what_was_edited(test).await?;
        a_restart_would_bring_a_new_service_and_take_one_that_is_gone(test).await?;
        without_secrets(test).await
    })
    .await;
}

fn every_source(report: &Value) -> Result<(), Failure> {
    let same = ("/agreement", "same");
    let spec = ("/origin", "spec");
    let from = |what| ("/declaration/from", what);
    // The first process has it as declared; what serves was given another value.
    is(
        report,
        "LITERAL",
        &[spec, from("literal"), ("/agreement", "overridden")],
    )?;
    is(report, "EXPANDED", &[spec, from("expansion"), same])?;
    is(report, "POD", &[spec, from("field"), same])?;
    is(report, "LABEL", &[spec, from("field"), same])?;
    for name in ["CPU", "MEMORY", "STORAGE", "REQUEST"] {
        is(report, name, &[spec, from("resource"), same])?;
    }
    is(report, "KEY", &[spec, from("key"), same])?;
    is(report, "PIN", &[spec, from("key"), same])?;
    is(report, "CM_LEVEL", &[spec, from("env-from"), same])?;
    is(report, "WORD", &[spec, from("env-from"), same])?;
    for secret in ["PIN", "WORD"] {
        check(of(report, secret)?["secret"] == true, || {
            format!("{secret}: {report}")
        })?;
    }
    is(report, "REVIEWS_PORT", &[spec, from("literal"), same])?;
    check(
        of(report, "REVIEWS_PORT")?.pointer("/shadowed/0/origin") == Some(&"service-link".into()),
        || format!("the link that it beats is not named: {report}"),
    )?;
    let link = ("/origin", "service-link");
    is(
        report,
        "REVIEWS_SERVICE_HOST",
        &[link, ("/state", "current"), same],
    )?;
    is(
        report,
        "KUBERNETES_PORT",
        &[link, ("/service", "default/kubernetes")],
    )?;
    is(report, "PATH", &[("/origin", "runtime")])?;
    is(report, "HOSTNAME", &[("/origin", "runtime")])?;
    is(report, "SET_ON_THE_WAY", &[("/origin", "entrypoint"), same])?;
    // The image's config is not read, so what nothing else explains is not known.
    is(report, "PYTHONDONTWRITEBYTECODE", &[("/origin", "unknown")])
}

async fn the_worker_is_laid_beside_the_first_process(test: &Test) -> Result<(), Failure> {
    let words = ["env", "app", "--all-processes", "-o", "json"];
    let ran = test.kdbg(&words).await?.ended_with(0)?;
    let report = ran.json()?;
    let worker = &report["processes"][1]["changes"];
    let wanted = json!([
        {"name": "LITERAL", "first": "LITERAL=plain", "here": "LITERAL=changed"},
        {"name": "SET_ON_THE_WAY", "first": null, "here": "SET_ON_THE_WAY=1"},
    ]);
    check(*worker == wanted, || format!("other changes: {ran}"))?;
    check(!ran.stdout.contains("-secret"), || {
        format!("a secret got out: {ran}")
    })
}

async fn a_source_and_a_text_choose(test: &Test) -> Result<(), Failure> {
    let chosen = async |more: &[&str]| -> Result<Vec<String>, Failure> {
        let words = [&["env", "app", "-o", "json"], more].concat();
        let report = test.kdbg(&words).await?.ended_with(0)?.json()?;
        Ok(sorted(&report["entries"]))
    };
    let links = chosen(&["--source", "service-link", "--grep", "reviews"]).await?;
    check(
        links
            == [
                "REVIEWS_PORT_9080_TCP",
                "REVIEWS_PORT_9080_TCP_ADDR",
                "REVIEWS_PORT_9080_TCP_PORT",
                "REVIEWS_PORT_9080_TCP_PROTO",
                "REVIEWS_SERVICE_HOST",
                "REVIEWS_SERVICE_PORT",
            ],
        || format!("the links: {links:?}"),
    )?;
    let rest = chosen(&["--source", "entrypoint", "--source", "unknown"]).await?;
    check(
        rest == ["PYTHONDONTWRITEBYTECODE", "SET_ON_THE_WAY"],
        || format!("what no spec declares: {rest:?}"),
    )?;
    // What is hidden cannot be searched for.
    let secrets = chosen(&["--grep", "hunter2"]).await?;
    check(secrets.is_empty(), || format!("found: {secrets:?}"))
}

/// The names of some rows.
fn sorted(rows: &Value) -> Vec<String> {
    let rows = rows.as_array().into_iter().flatten();
    let mut names: Vec<_> = rows
        .map(|row| row["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    names
}

async fn a_restart_would_bring_a_new_service_and_take_one_that_is_gone(
    test: &Test,
) -> Result<(), Failure> {
    test.service("later", 80).await?;
    let services: Api<Service> = test.api();
    services.delete("reviews", &DeleteParams::default()).await?;
    let ran = test
        .kdbg(&["env", "app", "--against", "spec", "-o", "json"])
        .await?
        .ended_with(1)?;
    let report = ran.json()?;
    let changes = report["changes"].as_array().cloned().unwrap_or_default();
    for (prefix, side, count) in [("LATER_", "now", 7), ("REVIEWS_", "after", 6)] {
        let of_it = changes.iter().filter(|change| {
            change["name"]
                .as_str()
                .is_some_and(|name| name.starts_with(prefix))
        });
        let as_wanted = of_it.clone().filter(|change| {
            change[side].is_null() && change["because"]["origin"] == "service-link"
        });
        let counts = (of_it.count(), as_wanted.count());
        // REVIEWS_PORT is the spec's.
        check(counts == (count, count), || {
            format!("{prefix}: {counts:?}: {ran}")
        })?;
    }
    Ok(())
}

async fn nothing_changes_by_a_restart_but_what_was_edited(test: &Test) -> Result<(), Failure> {
    let against = ["env", "app", "--against", "spec", "-o", "json"];
    let changes = |ran: &Ran| -> Result<Vec<String>, Failure> {
        let report = ran.json()?;
        let names = report["changes"].as_array().into_iter().flatten();
        Ok(names
            .map(|change| change["name"].as_str().unwrap_or_default().to_owned())
            .collect())
    };
    let before = test.kdbg(&against).await?;
    check(changes(&before)?.is_empty(), || {
        format!("a change from nothing: {before}")
    })?;
    let maps: Api<ConfigMap> = test.api();
    let secrets: Api<Secret> = test.api();
    let patch = PatchParams::default();
    maps.patch(
        "settings",
        &patch,
        &Patch::Merge(json!({"data": {"LEVEL": "info"}})),
    )
    .await?;
    secrets
        .patch(
            "credentials",
            &patch,
            &Patch::Merge(json!({"stringData": {"WORD": "other-secret"}})),
        )
        .await?;
    let after = test.kdbg(&against).await?.ended_with(1)?;
    check(changes(&after)? == ["CM_LEVEL", "EXPANDED", "WORD"], || {
        format!("other changes: {after}")
    })?;
    check(!after.stdout.contains("-secret"), || {
        format!("a secret got out: {after}")
    })
}

/// An account with the role that kdbg prints, which may read neither Secrets nor `ConfigMap`s nor nodes.
async fn without_secrets(test: &Test) -> Result<(), Failure> {
    let account = test.account("helper").await?;
    let words = ["doctor", "app", "--role", "-o", "json"];
    let list = test
        .kdbg_as(&account, &words)
        .await?
        .ended_with(0)?
        .json()?;
    test.grant(&account, &list["items"][0], &list["items"][1])
        .await?;
    let ran = test
        .kdbg_as(&account, &["env", "app", "-o", "json"])
        .await?
        .ended_with(0)?;
    let report = ran.json()?;
    is(&report, "LITERAL", &[("/agreement", "overridden")])?;
    is(&report, "CPU", &[("/agreement", "same")])?;
    is(&report, "SET_ON_THE_WAY", &[("/origin", "entrypoint")])?;
    for (name, origin) in [
        ("PIN", "spec"),
        ("KEY", "spec"),
        ("STORAGE", "spec"),
        ("WORD", "unknown"),
        ("CM_LEVEL", "unknown"),
    ] {
        is(
            &report,
            name,
            &[("/origin", origin), ("/agreement", "not-compared")],
        )?;
    }
    for name in ["PIN", "WORD"] {
        check(of(&report, name)?["secret"] == true, || {
            format!("{name}, which may be a Secret's, is shown: {ran}")
        })?;
    }
    check(!ran.stdout.contains("-secret"), || {
        format!("a secret got out: {ran}")
    })?;
    ran.said("cannot get Secret credentials")?
        .said("cannot get ConfigMap settings")
        .map(drop)
}
