//! Incident 000 in what was compiled: a Go program and a jar, whose source is in a repository only.
//!
//! They are made by the compilers of this machine, as a build on a clean checkout makes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{
    Failure, Level, Test, answering, check, container, git, merged, pod, run, succeed,
};

/// Where the programs are in the pods.
const FOLDER: &str = "/opt/page";
const GO: &str = include_str!("../incidents/000/variants/page.go");
const JAVA: &str = include_str!("../images/jvm/Page.java");

#[tokio::test]
#[ignore = "needs a cluster: the kubelet makes the variable that breaks the page"]
async fn in_a_go_program_and_in_a_jar_the_defect_is_likely_and_never_certain() {
    run("k-inc000-built", Level::Privileged, async |test| {
        if !test.cluster.own("a folder of this machine in a pod") {
            return Ok(());
        }
        let Some(built) = Built::make(test)? else {
            eprintln!("skipped: needs go, javac and jar");
            return Ok(());
        };
        let reviews = container("app", "python:user", answering(8080, "/"));
        test.start(pod("reviews", &[reviews], json!({}))).await?;
        test.service("reviews", 9080).await?;
        let variants = ["go", "dirty", "jar"].map(|name| [(name, true), (name, false)]);
        let starting = variants
            .iter()
            .flatten()
            .map(|(name, links)| built.start(test, name, *links));
        futures::future::try_join_all(starting).await?;
        for (name, causes, listed) in [
            ("go", &["likely"][..], &[][..]),
            ("jar", &["likely"], &[]),
            // Nobody knows what was changed before it was built.
            ("dirty", &[], &["possible"]),
        ] {
            built.is_named(test, name, causes, listed).await?;
            built.is_silent(test, &pod_name(name, false)).await?;
        }
        Ok(())
    })
    .await;
}

fn pod_name(variant: &str, links: bool) -> String {
    let kind = if links { "broken" } else { "well" };
    format!("{variant}-{kind}")
}

/// The programs, and the repository of their sources.
struct Built {
    repository: PathBuf,
    programs: PathBuf,
}

impl Built {
    /// Compiles them; `None` where a compiler is missing.
    fn make(test: &Test) -> Result<Option<Self>, Failure> {
        let is_there = |program: &str, word: &str| Command::new(program).arg(word).output().is_ok();
        let go = ["go", "/usr/local/go/bin/go"]
            .into_iter()
            .find(|go| is_there(go, "version"));
        let Some(go) = go.filter(|_| is_there("javac", "-version") && is_there("jar", "--version"))
        else {
            return Ok(None);
        };
        let built = Self {
            repository: test.folder.path().join("repository"),
            programs: test.folder.path().join("programs"),
        };
        std::fs::create_dir_all(&built.programs).map_err(Failure::of("make a folder"))?;
        std::fs::create_dir_all(&built.repository).map_err(Failure::of("make a folder"))?;
        write(
            &built.repository.join("go.mod"),
            "module example.invalid/page\n\ngo 1.20\n",
        )?;
        write(&built.repository.join("page.go"), GO)?;
        write(&built.repository.join("Page.java"), JAVA)?;
        git(
            &built.repository,
            &["init", "--quiet", "--initial-branch=master"],
        )?;
        git(&built.repository, &["add", "--all"])?;
        git(
            &built.repository,
            &["commit", "--quiet", "--message", "all"],
        )?;
        let commit = git(&built.repository, &["rev-parse", "HEAD"])?;
        built.go(go, "go")?;
        built.jar(&commit)?;
        write(
            &built.repository.join("page.go"),
            &format!("{GO}\n// not committed\n"),
        )?;
        built.go(go, "dirty")?;
        Ok(Some(built))
    }

    fn go(&self, go: &str, name: &str) -> Result<(), Failure> {
        let mut command = Command::new(go);
        command
            .args(["build", "-buildvcs=true", "-o"])
            .arg(self.programs.join(name))
            .arg(".")
            .current_dir(&self.repository)
            .envs([
                ("CGO_ENABLED", "0"),
                ("GOFLAGS", ""),
                ("GOWORK", "off"),
                ("GOTOOLCHAIN", "local"),
            ]);
        succeed(&mut command).map(drop)
    }

    /// A jar that names its commit, as build plugins have it do.
    fn jar(&self, commit: &str) -> Result<(), Failure> {
        let classes = self.repository.with_file_name("classes");
        let mut javac = Command::new("javac");
        javac.args(["--release", "17", "-d"]).arg(&classes);
        succeed(javac.arg(self.repository.join("Page.java")))?;
        let properties = format!("git.commit.id.full={commit}\ngit.dirty=false\n");
        write(&classes.join("git.properties"), &properties)?;
        let mut jar = Command::new("jar");
        jar.arg("cfe")
            .arg(self.programs.join("page.jar"))
            .arg("Page")
            .arg("-C")
            .arg(&classes)
            .arg(".");
        succeed(&mut jar).map(drop)
    }

    /// Starts a program, and sees that its page is as it must be.
    async fn start(&self, test: &Test, name: &str, links: bool) -> Result<(), Failure> {
        let (image, command) = match name {
            "jar" => (
                "jvm:user",
                json!([
                    "/usr/lib/jvm/bin/java",
                    "-Xmx64m",
                    "-jar",
                    format!("{FOLDER}/page.jar")
                ]),
            ),
            _ => ("python:user", json!([format!("{FOLDER}/{name}")])),
        };
        let mounted = json!({"name": "programs", "mountPath": FOLDER, "readOnly": true});
        let more = json!({"command": command, "workingDir": FOLDER, "volumeMounts": [mounted]});
        let app = container("app", image, merged(answering(8080, "/"), more));
        let spec = json!({
            "enableServiceLinks": links,
            "volumes": [{"name": "programs", "hostPath": {"path": self.programs, "type": "Directory"}}],
        });
        let pod_name = pod_name(name, links);
        let started = test.start(pod(&pod_name, &[app], spec)).await?;
        let address = started
            .status
            .and_then(|status| status.pod_ip)
            .unwrap_or_default();
        let code = format!(
            "import urllib.request as r; print(r.urlopen('http://{address}:8080/', timeout=60).read().decode())"
        );
        let said = test.python("reviews", &code).await?;
        check(said.contains("currently unavailable") == links, || {
            format!("{pod_name}: {said}")
        })
    }

    async fn diagnose(&self, test: &Test, pod: &str) -> Result<Value, Failure> {
        let repository = self.repository.display().to_string();
        let words = [
            "diagnose",
            pod,
            "--repo",
            &repository,
            "--ref",
            "master",
            "-o",
            "json",
        ];
        test.kdbg(&words).await?.json()
    }

    /// The collision is said with this confidence, in the source of the commit that the program names.
    async fn is_named(
        &self,
        test: &Test,
        name: &str,
        causes: &[&str],
        listed: &[&str],
    ) -> Result<(), Failure> {
        let report = self.diagnose(test, &pod_name(name, true)).await?;
        for (kind, wanted) in [("causes", causes), ("listed", listed)] {
            let found = collisions(&report, kind);
            let confidence: Vec<_> = found
                .iter()
                .map(|one| one["confidence"].as_str().unwrap_or_default())
                .collect();
            check(confidence == wanted, || {
                format!("{name}, {kind}: {report:#}")
            })?;
            for one in found {
                let facts = one["facts"].to_string();
                let file = if name == "jar" {
                    "Page.java:"
                } else {
                    "page.go:"
                };
                check(
                    one["about"] == "REVIEWS_PORT"
                        && facts.contains(file)
                        && facts.contains("its source was read there, not in the pod")
                        && facts.contains(&format!(
                            "Service {}/reviews has this address and port",
                            test.namespace
                        )),
                    || format!("{name}: {one:#}"),
                )?;
            }
        }
        Ok(())
    }

    async fn is_silent(&self, test: &Test, pod: &str) -> Result<(), Failure> {
        let report = self.diagnose(test, pod).await?;
        let is_silent = report["causes"] == json!([]) && collisions(&report, "listed").is_empty();
        check(is_silent, || format!("{pod} is blamed: {report:#}"))
    }
}

fn collisions<'a>(report: &'a Value, kind: &str) -> Vec<&'a Value> {
    let findings = report[kind].as_array().into_iter().flatten();
    findings
        .filter(|one| one["id"] == "env.service-link-collision")
        .collect()
}

fn write(path: &Path, content: &str) -> Result<(), Failure> {
    std::fs::write(path, content).map_err(Failure::of("write a file"))
}
