//! Incident 000: a page without its reviews, because an image of a pull request takes the kubelet's link to a Service
//! for a port. `tests/incidents/000` has the program.

use std::path::Path;
use std::process::Command;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::harness::{
    Failure, Level, Phase, Ran, Test, answering, check, container, merged, pod, run, wait_until,
};

const INCIDENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/incidents/000");
/// Where the service is in its repository.
const FOLDER: &str = "src/productpage";
/// Where the image has it.
const RUNNING: &str = "/opt/microservices";

/// The files below a folder of the incident, by path.
fn files(branch: &str) -> Vec<(String, String)> {
    fn add(folder: &Path, top: &Path, files: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(&path, top, files);
            } else {
                let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let top = Path::new(INCIDENT).join(branch);
    let mut files_of = Vec::new();
    add(&top, &top, &mut files_of);
    files_of.sort();
    files_of
}

/// The repository: `master`, and a pull request that was never merged.
pub(crate) fn repository(test: &Test) -> Result<String, Failure> {
    let path = test.folder.path().join("bookinfo");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lib/incident.py");
    let status = Command::new("python3")
        .args([script, "repository"])
        .arg(&path)
        .status()
        .map_err(Failure::of("run python3"))?;
    check(status.success(), || format!("{script}: {status}"))?;
    Ok(path.to_str().unwrap().to_owned())
}

/// Stores the code of a branch as its image would have it: tests moved to the top, no Dockerfile, compiled modules.
async fn store(test: &Test, name: &str, branches: &[&str]) -> Result<(), Failure> {
    let mut image = serde_json::Map::new();
    for (path, content) in branches.iter().flat_map(|branch| files(branch)) {
        if path != "Dockerfile" {
            let path = path.strip_prefix("tests/").unwrap_or(&path).to_owned();
            image.insert(path, content.into());
        }
    }
    image.insert(
        "__pycache__/test_productpage.cpython-311.pyc".into(),
        "compiled".into(),
    );
    let tree = Value::Object(image).to_string();
    let object = json!({"metadata": {"name": name}, "data": {"tree.json": tree}});
    test.create_object::<ConfigMap>(object).await.map(drop)
}

/// The spec of a pod of the page, whose code an init container puts there before it starts.
fn page(name: &str, code: &str, container_more: Value, pod_more: Value) -> Value {
    let fill = format!(
        "import json, os
for path, content in json.load(open('/config/tree.json')).items():
    path = os.path.join('{RUNNING}', path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, 'w').write(content)"
    );
    let app = json!({"name": "app", "mountPath": RUNNING});
    let init = container(
        "fill",
        "flask:user",
        json!({
            "command": ["/usr/bin/python3.11", "-c", fill],
            "volumeMounts": [{"name": "tree", "mountPath": "/config"}, app],
        }),
    );
    let more = merged(
        answering(9080, "/health"),
        json!({
            "command": ["/usr/bin/python3.11", "productpage.py", "9080"],
            "workingDir": RUNNING,
            "volumeMounts": [app],
        }),
    );
    let page = container("productpage", "flask:user", merged(more, container_more));
    let spec = json!({
        "initContainers": [init],
        "volumes": [{"name": "tree", "configMap": {"name": code}}, {"name": "app", "emptyDir": {}}],
    });
    pod(name, &[page], merged(spec, pod_more))
}

const REPLICAS: usize = 2;

/// Runs the page as a Deployment, as people do, and answers the name of its pod.
async fn deploy(test: &Test, name: &str, code: &str) -> Result<String, Failure> {
    let template = page(name, code, json!({}), json!({}));
    let labels = json!({"app": name});
    test.create_object::<Deployment>(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
        },
    }))
    .await?;
    let pods: Api<Pod> = test.api();
    let of_it = ListParams::default().labels(&format!("app={name}"));
    wait_until(
        &test.cluster,
        "the pods of the Deployment are ready",
        async || {
            let list = pods.list(&of_it).await?;
            let ready: Vec<_> = list.iter().filter(|pod| Phase::of(pod).ready).collect();
            Ok(match ready.as_slice() {
                [first, ..] if ready.len() == REPLICAS => Ok(first.name_any()),
                _ => Err(format!("{} are", ready.len())),
            })
        },
    )
    .await
}

/// What the page says, asked from its own pod.
async fn ask(test: &Test, pod: &str) -> Result<String, Failure> {
    let code = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9080/productpage').read().decode())";
    let command = ["/usr/bin/python3.11", "-c", code];
    let outcome = test.exec(pod, "productpage", &command).await?;
    check(outcome.failure.is_none(), || format!("{outcome:?}"))?;
    Ok(outcome.stdout)
}

async fn diagnose(
    test: &Test,
    target: &str,
    repository: &str,
    more: &[&str],
) -> Result<Ran, Failure> {
    let words = ["diagnose", target, "--repo", repository, "--ref", "master"];
    test.kdbg(&[&words, more].concat()).await
}

/// The pairs of id and subject among the findings of a kind.
fn findings(report: &Value, kind: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    report[kind]
        .as_array()
        .into_iter()
        .flatten()
        .map(|finding| (text(&finding["id"]), text(&finding["about"])))
        .collect()
}

/// Starts two of the Services that the page needs, and one that it does not.
async fn start_services(test: &Test) -> Result<String, Failure> {
    let mut address = String::new();
    for name in ["details", "ratings", "reviews"] {
        let more = answering(8080, "/");
        if name != "ratings" {
            test.start(pod(
                name,
                &[container("app", "python:user", more)],
                json!({}),
            ))
            .await?;
        }
        address = test.service(name, 9080).await?;
    }
    Ok(address)
}

#[tokio::test]
#[ignore = "needs a cluster: the kubelet makes the variable that breaks the page"]
async fn incident_000_is_named_in_one_command_and_its_controls_are_not() {
    run("k-inc000", Level::Baseline, async |test| {
        let repository = repository(test)?;
        let repository = repository.as_str();
        store(test, "master", &["master"]).await?;
        store(test, "pull", &["master", "pull"]).await?;
        // Before there are Services: it gets no links to them.
        test.start(page("early", "pull", json!({}), json!({})))
            .await?;
        let address = start_services(test).await?;
        let broken = deploy(test, "productpage-v1", "pull").await?;
        let said = ask(test, &broken).await?;
        check(
            said.contains("product reviews are currently unavailable"),
            || format!("the page is not broken: {said}"),
        )?;
        names_all_four_facts(test, repository, &address).await?;
        a_symptom_parts_what_touches_it_from_the_rest(test, repository).await?;
        Box::pin(controls(test, repository)).await?;
        the_network_is_named_when_it_is_to_blame(test, repository).await
    })
    .await;
}

/// What incident 000 must be told as: the drift and its origin, the variable and its source, what was expected, and that
/// it is not the network.
async fn names_all_four_facts(test: &Test, repository: &str, address: &str) -> Result<(), Failure> {
    let code = include_str!("../incidents/000/pull/productpage.py");
    let line = 1 + code
        .lines()
        .position(|line| line.starts_with("reviewsPort"))
        .unwrap();
    let namespace = &test.namespace;
    let facts = [
        format!("REVIEWS_PORT=tcp://{address}:9080"),
        format!("Service {namespace}/reviews has this address and port"),
        "neither env nor envFrom sets REVIEWS_PORT".to_owned(),
        "the code reads REVIEWS_PORT with the default 9080, on a line that the reference does not have".to_owned(),
        "got: a URL".to_owned(),
        format!("{FOLDER}/productpage.py differs: +7 -2"),
        "no commit of master fits as well".to_owned(),
    ];
    let places = [
        format!("{RUNNING}/productpage.py:{line}"),
        "refs/pull/1/head".to_owned(),
    ];
    let text = diagnose(test, "deploy/productpage-v1", repository, &[])
        .await?
        .ended_with(1)?;
    for wanted in facts.iter().chain(&places) {
        check(text.stdout.contains(wanted), || {
            format!("{wanted:?} is not in {text}")
        })?;
    }
    for ruled_out in [
        "the network to reviews:9080",
        "nothing in the pod had a connection to it",
    ] {
        check(text.stdout.contains(ruled_out), || {
            format!("{ruled_out:?} is not in {text}")
        })?;
    }
    let json = diagnose(test, "deploy/productpage-v1", repository, &["-o", "json"])
        .await?
        .ended_with(1)?;
    let report = json.json()?;
    let collision = |name: &str| ("env.service-link-collision".to_owned(), name.to_owned());
    check(
        findings(&report, "causes") == [collision("DETAILS_PORT"), collision("REVIEWS_PORT")],
        || format!("other causes: {json}"),
    )?;
    let in_json = report["causes"][1].to_string();
    for wanted in &facts {
        check(in_json.contains(wanted), || {
            format!("{wanted:?} is not in {in_json}")
        })?;
    }
    check(
        report["ruled_out"].to_string().contains("reviews:9080"),
        || json.to_string(),
    )?;
    let ids: Vec<_> = findings(&report, "listed")
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    check(ids == ["src.not-on-ref", "src.drift"], || {
        format!("other findings are listed: {json}")
    })?;
    all_pods_agree(test, repository).await?;
    let html = diagnose(test, "deploy/productpage-v1", repository, &["-o", "html"])
        .await?
        .ended_with(1)?;
    check(
        html.stdout.contains("env.service-link-collision") && html.stdout.ends_with("</html>\n"),
        || html.to_string(),
    )
}

/// Both replicas have the same verdict, which is said once.
async fn all_pods_agree(test: &Test, repository: &str) -> Result<(), Failure> {
    let ran = diagnose(
        test,
        "deploy/productpage-v1",
        repository,
        &["--all", "-o", "json"],
    )
    .await?
    .ended_with(1)?;
    let report = ran.json()?;
    let groups = report["groups"].as_array().map_or(0, Vec::len);
    let pods = report["groups"][0]["pods"].as_array().map_or(0, Vec::len);
    let causes = findings(&report["groups"][0]["report"], "causes").len();
    check((groups, pods, causes) == (1, REPLICAS, 2), || {
        format!("the pods are not together: {ran}")
    })
}

/// What somebody complains of is asked for from the pod; the whole is kept and shown again without the cluster.
async fn a_symptom_parts_what_touches_it_from_the_rest(
    test: &Test,
    repository: &str,
) -> Result<(), Failure> {
    let bundle = test.folder.path().join("bundle");
    let bundle = bundle.to_str().unwrap();
    let target = "deploy/productpage-v1";
    let reviews = ["--symptom", "http://reviews:9080/reviews/0"];
    let more = [&reviews[..], &["--save", bundle, "-o", "json"]].concat();
    let ran = diagnose(test, target, repository, &more)
        .await?
        .ended_with(1)?;
    let report = ran.json()?;
    let collision = |name: &str| ("env.service-link-collision".to_owned(), name.to_owned());
    check(
        findings(&report, "causes") == [collision("REVIEWS_PORT")]
            && findings(&report, "listed").contains(&collision("DETAILS_PORT")),
        || format!("the symptom does not choose: {ran}"),
    )?;
    check(
        report["ruled_out"]
            .to_string()
            .contains("GET http://reviews:9080/reviews/0 from the pod answers 200"),
        || ran.to_string(),
    )?;
    // No cluster, no agent: only what was kept.
    let mut again = test.kdbg_command(&["diagnose", bundle, "-o", "json"]);
    again.env("KUBECONFIG", "/dev/null");
    let again = test.run_to_end(again).await?.ended_with(1)?;
    check(again.stdout == ran.stdout, || {
        format!("shown differently: {again}")
    })?;
    // The page itself answers, with an apology: both may be why, and asking for it opens no connection.
    let more = ["--symptom", ":9080/productpage", "-o", "json"];
    let ran = diagnose(test, target, repository, &more)
        .await?
        .ended_with(1)?;
    let report = ran.json()?;
    check(findings(&report, "causes").len() == 2, || ran.to_string())?;
    check(
        report["ruled_out"]
            .to_string()
            .contains("asking for the symptom made none"),
        || ran.to_string(),
    )
}

/// Each of these lacks one part of the cause.
async fn controls(test: &Test, repository: &str) -> Result<(), Failure> {
    let set = json!({"env": [{"name": "REVIEWS_PORT", "value": "9080"}, {"name": "DETAILS_PORT", "value": "9080"}]});
    let hidden = json!({"command": ["/usr/bin/python3.11", "-c",
        "import ctypes, flask, runpy; run = flask.Flask.run
flask.Flask.run = lambda self, **more: run(self, **{**more, 'debug': False})
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); runpy.run_path('productpage.py', run_name='__main__')", "9080"]});
    let no_links = json!({"enableServiceLinks": false});
    tokio::try_join!(
        test.start(page("master", "master", json!({}), json!({}))),
        test.start(page("unlinked", "pull", json!({}), no_links)),
        test.start(page("set", "pull", set, json!({}))),
        test.start(page("hidden", "pull", hidden, json!({}))),
    )?;
    let said = ask(test, "master").await?;
    check(!said.contains("unavailable"), || {
        format!("master's page is broken: {said}")
    })?;
    for (pod, code) in [("master", 0), ("unlinked", 1), ("early", 1), ("set", 1)] {
        let ran = diagnose(test, pod, repository, &["-o", "json"])
            .await?
            .ended_with(code)?;
        let report = ran.json()?;
        check(findings(&report, "causes").is_empty(), || {
            format!("{pod} has a cause: {ran}")
        })?;
        let all = report.to_string();
        check(!all.contains("env.service-link-collision"), || {
            format!("{pod}: {ran}")
        })?;
    }
    let ran = diagnose(test, "hidden", repository, &["-o", "json"]).await?;
    let report = ran.json()?;
    check(findings(&report, "causes").is_empty(), || {
        format!("a cause from nothing: {ran}")
    })?;
    let denied = report["listed"].to_string();
    check(
        denied.contains("the environment of process") && denied.contains("could not be read"),
        || format!("it does not say what it could not read: {ran}"),
    )?;
    ran.ended_with(3).map(drop)
}

/// Without a pod behind the Service, no variable is to blame.
async fn the_network_is_named_when_it_is_to_blame(
    test: &Test,
    repository: &str,
) -> Result<(), Failure> {
    let pods: Api<Pod> = test.api();
    pods.delete("reviews", &DeleteParams::default()).await?;
    // The Service still leads there until its node knows.
    wait_until(&test.cluster, "the network is named", async || {
        let ran = diagnose(test, "set", repository, &["-o", "json"])
            .await?
            .ended_with(1)?;
        let causes = findings(&ran.json()?, "causes");
        let named = ("net.unreachable".to_owned(), "reviews:9080".to_owned());
        Ok(if causes == [named] {
            Ok(())
        } else {
            Err(ran.to_string())
        })
    })
    .await
}
