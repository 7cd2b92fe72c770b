//! What the registry says of a pod's image that the node pulled from it: its labels, its variables, and what its name
//! means by now.
//!
//! Debian's registry runs on the node's network, where the runtime and kdbg both reach it at one address of the
//! loopback: kdbg is run in the network of the node for that.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Failure, Level, Ran, Test, check, container, git, merged, pod, run, succeed};

/// Where the registry listens; `pull.rs` has another one.
const ADDRESS: &str = "127.0.0.1:28501";

#[tokio::test]
#[ignore = "needs a cluster: the node pulls images from a registry"]
async fn the_labels_of_a_pulled_image_are_asked_of_its_registry_and_so_is_a_tag_that_has_moved() {
    run("labels", Level::Privileged, async |test| {
        let Some(program) = registry_program() else {
            eprintln!("skipped: there is no docker-registry; scripts/test fetches it");
            return Ok(());
        };
        if !test.cluster.own("a registry on the network of the node") {
            return Ok(());
        }
        let shop = Shop::new(test)?;
        start_registry(test, &program).await?;
        let label = |revision: &str, source: &str| {
            json!({
                "org.opencontainers.image.revision": revision,
                "org.opencontainers.image.source": source,
            })
        };
        let images = [
            ("right", label(&shop.commits[1], "https://git.example/shop.git")),
            ("wrong", label(&shop.commits[0], "https://git.example/shop")),
            ("inherited", label(&"5".repeat(40), "https://git.example/base")),
            ("bare", json!({})),
        ];
        for (name, labels) in &images {
            let image = shop.push(test, name, json!({"Labels": labels}))?;
            test.create_object::<Pod>(pod_of(name, &image)).await?;
        }
        for (name, _) in &images {
            test.wait_for_pod(name, "is ready", |pod| crate::harness::Phase::of(pod).ready)
                .await?;
        }

        let right = shop.which_ref(test, "right", &["--registry"]).await?.ended_with(0)?;
        let wanted = "`org.opencontainers.image.revision`";
        check(right.stdout.contains(wanted), || format!("the label is not named: {right}"))?;
        let right = shop.label(test, "right").await?;
        check(right["check"]["verdict"] == "fits" && right["warning"].is_null(), || {
            format!("the right label: {right:#}")
        })?;
        let wrong = shop.label(test, "wrong").await?;
        check(wrong["check"]["verdict"] == "contradicts" && wrong["warning"].is_null(), || {
            format!("the wrong label: {wrong:#}")
        })?;
        let inherited = shop.label(test, "inherited").await?;
        let warning = "it names another repository, https://git.example/base: the label may be inherited from the base image";
        check(inherited["warning"] == warning, || {
            format!("the inherited label: {inherited:#}")
        })?;
        let bare = shop.which_ref(test, "bare", &["--registry"]).await?.ended_with(0)?;
        check(!bare.stdout.contains("evidence"), || format!("labels of an image without any: {bare}"))?;
        a_tag_that_has_moved_is_told(test, &shop).await
    })
    .await;
}

fn pod_of(name: &str, image: &str) -> Value {
    let security = json!({"imagePullPolicy": "Always", "securityContext": {"runAsUser": 1000}});
    pod(name, &[container("app", image, security)], json!({}))
}

/// Another image is pushed under the name of one that runs: the registry knows, and a pod that is started later shows it.
async fn a_tag_that_has_moved_is_told(test: &Test, shop: &Shop) -> Result<(), Failure> {
    let push = |colour: &str| {
        let environment = json!({"Env": ["PATH=/bin", format!("COLOUR={colour}")]});
        shop.push(test, "moving", environment)
    };
    let image = push("blue")?;
    test.start(pod_of("before", &image)).await?;
    let ran = env_on_node(test, &["before", "--source", "image"]).await?;
    let entries = ran.json()?["entries"].to_string();
    check(entries.contains("COLOUR"), || {
        format!("the variables of the image: {ran}")
    })?;
    let against = ["before", "--against", "spec"];
    let ran = env_on_node(test, &against).await?.ended_with(0)?;
    check(ran.json()?["image"].is_null(), || {
        format!("nobody has moved the tag: {ran}")
    })?;

    push("green")?;
    let ran = env_on_node(test, &against).await?.ended_with(1)?;
    let report = ran.json()?;
    let changes = json!([{"name": "COLOUR", "now": "blue", "after": "green", "because": {"origin": "image"}}]);
    check(
        report["changes"] == changes
            && report["image"]["image"] == image
            && report["image"]["now"] != report["image"]["after"]
            && report["image"]["because"] == "its registry has it under this name",
        || format!("the tag has moved: {ran}"),
    )?;
    let without = ["env", "before", "--against", "spec", "-o", "json"];
    let ran = test.kdbg(&without).await?;
    check(ran.json()?["image"].is_null(), || {
        format!("only the registry can know: {ran}")
    })?;
    test.start(pod_of("after", &image)).await?;
    let ran = test.kdbg(&without).await?.ended_with(1)?;
    let shown = &ran.json()?["image"];
    check(
        shown["because"] == "pod after, which was started later, runs it"
            && shown["after"].as_str().is_some_and(|id| shown["now"] != id),
        || format!("the later pod shows it: {ran}"),
    )?;
    let ran = env_on_node(test, &["after", "--against", "spec"]).await?;
    check(ran.ended_with(0)?.json()?["image"].is_null(), || {
        "the later pod runs what the name means".to_owned()
    })
}

/// Runs `kdbg env` where the registry is reached.
async fn env_on_node(test: &Test, more: &[&str]) -> Result<Ran, Failure> {
    let arguments = [&["env", "--registry", "-o", "json"], more].concat();
    test.run_to_end(test.kdbg_on_node(&arguments)?).await
}

/// A repository of two commits of a service, of which the second runs.
struct Shop {
    folder: PathBuf,
    commits: Vec<String>,
}

impl Shop {
    fn new(test: &Test) -> Result<Self, Failure> {
        let folder = test.folder.path().join("repository");
        fs::create_dir_all(&folder).map_err(Failure::of("make a repository"))?;
        let mut shop = Self {
            folder,
            commits: Vec::new(),
        };
        git(&shop.folder, &["init", "--quiet", "--initial-branch=main"])?;
        git(
            &shop.folder,
            &["remote", "add", "origin", "git@git.example:shop.git"],
        )?;
        for words in ["one", "two"] {
            write(&shop.folder.join("app/page.sh"), page(words).as_bytes())?;
            write(&shop.folder.join("app/util.sh"), page("util").as_bytes())?;
            git(&shop.folder, &["add", "--all"])?;
            git(&shop.folder, &["commit", "--quiet", "--message", words])?;
            shop.commits
                .push(git(&shop.folder, &["rev-parse", "HEAD"])?);
        }
        Ok(shop)
    }

    /// Pushes an image of the second commit with more in its configuration under a tag, and returns its name.
    fn push(&self, test: &Test, name: &str, more: Value) -> Result<String, Failure> {
        let folder = test.folder.path().join(name);
        let root = folder.join("root");
        let busybox = fs::read("/bin/busybox").map_err(Failure::of("read busybox"))?;
        write(&root.join("bin/busybox"), &busybox)?;
        succeed(
            Command::new("chmod")
                .arg("755")
                .arg(root.join("bin/busybox")),
        )?;
        for file in ["page.sh", "util.sh"] {
            let content = fs::read(self.folder.join("app").join(file));
            write(
                &root.join("app").join(file),
                &content.map_err(Failure::of("read the service"))?,
            )?;
        }
        let layer = folder.join("layer.tar");
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "-cf"])
            .arg(&layer)
            .arg("-C")
            .arg(&root)
            .args(["app", "bin"]);
        succeed(&mut tar)?;
        let layer = fs::read(layer).map_err(Failure::of("read the layer"))?;
        lay_out(&folder.join("image"), &layer, more)?;
        let image = format!("{ADDRESS}/{}/shop:{name}", test.namespace);
        let layout = format!("oci:{}", folder.join("image").display());
        let to = format!("docker://{image}");
        let copy = [
            "exec",
            "skopeo",
            "copy",
            "--quiet",
            "--dest-tls-verify=false",
            &layout,
            &to,
        ];
        test.cluster.control(&copy)?;
        Ok(image)
    }

    /// Runs `which-ref` in the network of the node.
    async fn which_ref(&self, test: &Test, pod: &str, more: &[&str]) -> Result<Ran, Failure> {
        let repository = self.folder.display().to_string();
        let target = format!("pod/{pod}");
        let arguments = [&["which-ref", &target, "--repo", &repository][..], more].concat();
        test.run_to_end(test.kdbg_on_node(&arguments)?).await
    }

    /// What is said of the label of a pod's image.
    async fn label(&self, test: &Test, pod: &str) -> Result<Value, Failure> {
        let ran = self
            .which_ref(test, pod, &["--registry", "-o", "json"])
            .await?;
        let report = ran.json()?;
        let evidence = report["evidence"].as_array().cloned().unwrap_or_default();
        let mut labels = evidence
            .into_iter()
            .filter(|claim| claim["kind"] == "label");
        labels
            .next()
            .ok_or_else(|| Failure::new(format!("no label is told: {ran}")))
    }
}

/// A file that is no other one's by chance.
fn page(words: &str) -> String {
    format!("#!/bin/busybox sh\n# this page says {words}\necho {words}\n")
}

/// Where the registry's program is, when there is one.
fn registry_program() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let kept = cache.map(|cache| cache.join("kdbg/tools/docker-registry/usr/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(kept)
        .map(|folder| folder.join("docker-registry"))
        .find(|program| program.is_file())
}

/// Starts the registry in a pod on the network of the node. It ends with the pod.
async fn start_registry(test: &Test, program: &Path) -> Result<(), Failure> {
    let folder = test.folder.path().join("registry");
    fs::create_dir_all(&folder).map_err(Failure::of("make a folder"))?;
    fs::copy(program, folder.join("docker-registry")).map_err(Failure::of("copy the registry"))?;
    let configuration = json!({
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": "/registry/store"}},
        "http": {"addr": ADDRESS},
    });
    write(
        &folder.join("config.yml"),
        configuration.to_string().as_bytes(),
    )?;
    let registry = container(
        "app",
        "python:root",
        json!({
            "command": ["/registry/docker-registry", "serve", "/registry/config.yml"],
            "volumeMounts": [{"name": "registry", "mountPath": "/registry"}],
        }),
    );
    let more = json!({
        "hostNetwork": true,
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "registry", "hostPath": {"path": folder, "type": "Directory"}}],
    });
    let mut registry = pod("registry", &[registry], more);
    let port: u16 = ADDRESS
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .unwrap_or(0);
    registry["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/v2/", "port": port, "host": "127.0.0.1"}, "periodSeconds": 1});
    test.start(registry).await.map(drop)
}

/// Writes an image of one layer as an OCI layout.
fn lay_out(folder: &Path, layer: &[u8], more: Value) -> Result<(), Failure> {
    let blob = |kind: &str, content: &[u8]| {
        let digest = Sha256::digest(content)
            .iter()
            .fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
        write(&folder.join("blobs/sha256").join(&digest), content)?;
        let kind = format!("application/vnd.oci.image.{kind}");
        let size = content.len();
        Ok::<Value, Failure>(
            json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": size}),
        )
    };
    let layer = blob("layer.v1.tar", layer)?;
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let run = json!({
        "Entrypoint": ["/bin/busybox", "sleep", "86400"],
        "WorkingDir": "/app",
        "User": "1000:1000",
    });
    let configuration = json!({
        "architecture": architecture,
        "os": "linux",
        "config": merged(run, more),
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", configuration.to_string().as_bytes())?,
        "layers": [layer],
    });
    let manifest = blob("manifest.v1+json", manifest.to_string().as_bytes())?;
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    write(&folder.join("index.json"), index.to_string().as_bytes())?;
    write(
        &folder.join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )
}

fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Failure::of("make a folder"))?;
    }
    fs::write(path, content).map_err(Failure::of("write a file"))
}
