//! What `kdbg diagnose` writes of several pods: one page that needs nothing else, and a folder that shows it again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{Failure, Level, Ran, Test, answering, check, container, merged, pod, run};

/// What must not become a part of the page.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

#[tokio::test]
#[ignore = "needs a cluster: several pods are diagnosed at once"]
async fn a_diagnosis_of_several_pods_is_one_harmless_page_and_is_shown_again_from_its_folder() {
    run("diagnosis", Level::Restricted, async |test| {
        let settings =
            json!({"metadata": {"name": "settings"}, "data": {"BANNER": format!("{HOSTILE}old")}});
        test.create_object::<ConfigMap>(settings).await?;
        let from = json!({"envFrom": [{"configMapRef": {"name": "settings"}}]});
        let starting = [("one", json!({})), ("two", json!({})), ("stale", from)]
            .map(|(name, more)| test.start(page(name, more)));
        futures::future::try_join_all(starting).await?;
        change(test).await?;

        let bundle = test.folder.path().join("bundle");
        let bundle = bundle.to_str().unwrap();
        let ran = diagnose(test, &["-l", "group=pages", "-o", "html", "--save", bundle])
            .await?
            .ended_with(1)?;
        one_harmless_page(&ran)?;
        kept(test, Path::new(bundle), &ran).await
    })
    .await;
}

/// A pod of the group, and its annotation as a variable.
fn page(name: &str, more: Value) -> Value {
    let note = json!({"env": [{"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['note']"}}}]});
    let app = container(
        "app",
        "python:user",
        merged(merged(answering(8080, "/"), note), more),
    );
    let metadata =
        json!({"metadata": {"labels": {"group": "pages"}, "annotations": {"note": HOSTILE}}});
    merged(pod(name, &[app], json!({})), metadata)
}

/// Makes one pod's variables stale; their values are evidence.
async fn change(test: &Test) -> Result<(), Failure> {
    let patch = PatchParams::default();
    let settings = json!({"data": {"BANNER": format!("{HOSTILE}new")}});
    let maps: Api<ConfigMap> = test.api();
    maps.patch("settings", &patch, &Patch::Merge(settings))
        .await?;
    let annotation = json!({"metadata": {"annotations": {"note": format!("{HOSTILE}new")}}});
    let pods: Api<Pod> = test.api();
    pods.patch("stale", &patch, &Patch::Merge(annotation))
        .await?;
    Ok(())
}

/// There is no repository round the folder that it is called from.
async fn diagnose(test: &Test, more: &[&str]) -> Result<Ran, Failure> {
    let mut command = test.kdbg_command(&[&["diagnose"], more].concat());
    command.current_dir(test.folder.path());
    test.run_to_end(command).await
}

fn one_harmless_page(ran: &Ran) -> Result<(), Failure> {
    let page = &ran.stdout;
    let wrong = |what: &str| format!("{what}: {ran}");
    check(
        page.starts_with("<!doctype html>") && page.ends_with("</html>\n"),
        || wrong("no page"),
    )?;
    check(page.matches("<!doctype").count() == 1, || {
        wrong("several pages")
    })?;
    for heading in ["2 pods agree: one, two", "stale differs"] {
        check(page.contains(heading), || wrong(heading))?;
    }
    let escaped = "&lt;script&gt;alert(1)&lt;&#x2f;script&gt;";
    for (name, values) in [("BANNER", 2), ("NOTE", 1)] {
        let rows = page
            .lines()
            .filter(|line| line.contains(name) && line.contains(escaped));
        check(rows.count() >= values, || {
            wrong(&format!("the values of {name} are no evidence"))
        })?;
    }
    for active in [
        "<script",
        "<img",
        "src=x onerror=alert(2)>",
        " href=",
        "@import",
        "url(",
    ] {
        check(!page.contains(active), || wrong(active))?;
    }
    Ok(())
}

/// The folder has it all, for its owner only, and shows it again where there is no cluster.
async fn kept(test: &Test, bundle: &Path, ran: &Ran) -> Result<(), Failure> {
    let read = |name: &str| {
        fs::read_to_string(bundle.join(name)).map_err(Failure::of("read what was kept"))
    };
    check(read("diagnosis.html")? == ran.stdout, || {
        "another page was kept".to_owned()
    })?;
    for pod in ["one", "two", "stale"] {
        let environ = read(&format!("raw/{pod}/environ"))?;
        check(environ.contains("NOTE="), || format!("{pod}: {environ}"))?;
    }
    for name in ["", "diagnosis.json", "raw/one/environ"] {
        let mode = fs::metadata(bundle.join(name)).map_err(Failure::of("look at what was kept"))?;
        let mode = mode.permissions().mode() & 0o077;
        check(mode == 0, || format!("others may read {name}"))?;
    }
    let folder = bundle.to_str().unwrap();
    for (format, file) in [
        ("html", "diagnosis.html"),
        ("text", "diagnosis.txt"),
        ("json", "diagnosis.json"),
    ] {
        let mut command = test.kdbg_command(&["diagnose", folder, "-o", format]);
        command.env("KUBECONFIG", "/dev/null");
        let again = test.run_to_end(command).await?.ended_with(1)?;
        check(again.stdout == read(file)?, || {
            format!("shown differently: {again}")
        })?;
    }
    let report: Value =
        serde_json::from_str(&read("diagnosis.json")?).map_err(Failure::of("read JSON"))?;
    let pods = |place: usize| report["groups"][place]["pods"].clone();
    check(
        pods(0) == json!(["one", "two"]) && pods(1) == json!(["stale"]),
        || format!("other groups: {report:#}"),
    )
}
