//! What the labels of an image say, asked of a real registry.

use std::{
    fmt::Write as _,
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use kdbg::object::HashKind;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Story, process, text, tree};
use crate::support::{
    git::{git, run},
    running::{Running, assert_code, said},
};

/// A registry on the loopback, which keeps what it has in a folder and ends with its test.
struct Registry {
    program: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Registry {
    /// Starts one; `None` where there is none to start.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        // Free for now, and nobody else asks for just this one.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let configuration = json!({
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": folder.path().join("store")}},
            "http": {"addr": address},
        });
        let file = folder.path().join("config.yml");
        fs::write(&file, configuration.to_string()).unwrap();
        let started = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(program) = started else {
            eprintln!("skipped: there is no docker-registry; scripts/test fetches it");
            return None;
        };
        let registry = Self {
            program,
            address,
            folder,
        };
        let deadline = Instant::now() + Duration::from_secs(90);
        while TcpStream::connect(&registry.address).is_err() {
            assert!(Instant::now() < deadline, "the registry does not listen");
            sleep(Duration::from_millis(20));
        }
        Some(registry)
    }

    /// Pushes an image with these labels, and returns its name.
    fn push(&self, tag: &str, labels: &Value) -> String {
        let folder = self.folder.path().join(tag);
        lay_out(&folder, labels);
        let name = format!("{}/shop:{tag}", self.address);
        let output = Command::new("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false"])
            .arg(format!("oci:{}", folder.display()))
            .arg(format!("docker://{name}"))
            .output()
            .expect("skopeo is installed");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        name
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Writes an image without files as an OCI layout.
fn lay_out(folder: &Path, labels: &Value) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |kind: &str, content: &[u8]| {
        let mut digest = String::new();
        for byte in Sha256::digest(content) {
            write!(digest, "{byte:02x}").unwrap();
        }
        fs::write(blobs.join(&digest), content).unwrap();
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{digest}"), "size": content.len()})
    };
    // The end of an archive, which is all that there is of it.
    let archive = [0; 1024];
    let layer = blob("layer.v1.tar", &archive);
    let configuration = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin", "MODE=production"], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", configuration.to_string().as_bytes()),
        "layers": [layer],
    });
    let manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
    fs::write(
        folder.join("index.json"),
        json!({"schemaVersion": 2, "manifests": [manifest]}).to_string(),
    )
    .unwrap();
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

/// A service of two commits, of which the second runs.
fn shop() -> (Story, Running, tempfile::TempDir) {
    let mut story = Story::new(HashKind::Sha1);
    let files = |prefix: &str, page: &str| {
        let path = |name: &str| format!("{prefix}{name}");
        tree(&[
            (&path("page.html"), page),
            (&path("style.css"), "body {}\n"),
            (&path("more.txt"), "more\n"),
        ])
    };
    story.commit("refs/heads/main", &[], &files("app/", "one\n"));
    story.commit("refs/heads/main", &[1], &files("app/", "two\n"));
    story.tell();
    let (running, folder) = process(&files("", "two\n"));
    (story, running, folder)
}

#[test]
fn labels_of_the_image_are_asked_of_its_registry_and_checked() {
    let Some(registry) = Registry::start() else {
        return;
    };
    let (story, running, _folder) = shop();
    let label = |image: &str| {
        let json = story.json(&running, &[&format!("--registry={image}")]);
        let claims = json["evidence"].as_array().unwrap();
        let label = claims.iter().find(|claim| claim["kind"] == "label");
        label.unwrap_or_else(|| panic!("{json}")).clone()
    };
    let labels = |revision: &str| {
        json!({
            "org.opencontainers.image.revision": revision,
            "org.opencontainers.image.source": "https://git.example/base",
        })
    };
    let right = label(&registry.push("right", &labels(&story.id(2))));
    assert_eq!(right["check"]["verdict"], "fits", "{right}");
    let wrong = label(&registry.push("wrong", &labels(&story.id(1))));
    assert_eq!(wrong["check"]["verdict"], "contradicts", "{wrong}");

    let remote = ["remote", "add", "origin", "https://git.example/shop"];
    run(&mut git(story.repository.path(), &remote), b"", &[0]);
    let inherited = label(&registry.push("inherited", &labels(&story.id(1))));
    assert_eq!(
        inherited["warning"],
        "it names another repository, https://git.example/base: the label may be inherited from the base image"
    );
}

#[test]
fn what_a_registry_does_not_tell_is_named_and_the_rest_is_there() {
    let Some(registry) = Registry::start() else {
        return;
    };
    let (story, running, _folder) = shop();
    let absent = format!("--registry={}/absent:1", registry.address);
    let output = story.ask(&running, &[&absent]);
    assert_code(&output, 0);
    assert!(text(&output).contains("runs "), "{}", said(&output));
    assert!(said(&output).contains("absent:1"), "{}", said(&output));
}

#[test]
fn a_process_of_this_machine_has_no_image_unless_one_is_named() {
    let (story, running, _folder) = shop();
    for (argument, wanted) in [
        ("--registry", "nobody knows from which image"),
        ("--registry=no image", "is not the name of an image"),
    ] {
        let output = story.ask(&running, &[argument]);
        assert_code(&output, 2);
        assert!(said(&output).contains(wanted), "{}", said(&output));
    }
}
