//! The code of a pod, compared with a commit.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use crate::harness::{Failure, Level, Test, answering, check, container, merged, pod, run};

/// A git repository in the folder of a test, with one commit on `main`.
pub(super) struct Repository(PathBuf);

impl Repository {
    /// Commits these files.
    pub(super) fn new(test: &Test, files: &[(&str, &str)]) -> Result<Self, Failure> {
        let repository = Self(test.folder.path().join("repository"));
        std::fs::create_dir(&repository.0).map_err(Failure::of("make a repository"))?;
        for (path, content) in files {
            let path = repository.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(&repository.0))
                .map_err(Failure::of("make a repository"))?;
            std::fs::write(path, content).map_err(Failure::of("make a repository"))?;
        }
        for arguments in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["add", "--all"],
            &[
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@invalid",
                "commit",
                "--quiet",
                "--message=all",
            ],
        ] {
            let status = Command::new("git")
                .current_dir(&repository.0)
                .args(arguments)
                .status();
            let status = status.map_err(Failure::of("run git"))?;
            check(status.success(), || format!("git {arguments:?}: {status}"))?;
        }
        Ok(repository)
    }

    /// What the Python image has in its `/app`.
    pub(super) fn of_the_python_image(test: &Test) -> Result<Self, Failure> {
        Self::new(
            test,
            &[(
                "src/server.py",
                include_str!("../../images/python/server.py"),
            )],
        )
    }

    pub(super) fn path(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

const SERVER: &str = include_str!("../../images/python/server.py");

/// The files of the commit; one of them is an empty file, one has no newline at its end.
const FILES: [(&str, &str); 6] = [
    ("README.md", "# An application\n"),
    ("src/main.py", SERVER),
    ("src/__init__.py", ""),
    (
        "src/prices.py",
        "def price(count):\n    return 3 * count\n\n\ndef discount(count):\n    return count > 10\n",
    ),
    ("templates/index.html", "<p>without a newline</p>"),
    ("templates/very/deep/page.html", "<p>deep</p>\n"),
];
/// What somebody changed in the running pod.
const PATCHED: (&str, &str) = (
    "src/prices.py",
    "def price(count):\n    return 2 * count\n\n\ndef discount(count):\n    return count > 10\n",
);

/// The files as they run.
fn running() -> [(&'static str, &'static str); 6] {
    FILES.map(|(path, content)| {
        if path == PATCHED.0 {
            PATCHED
        } else {
            (path, content)
        }
    })
}

/// A process of this machine. It ends with its test.
struct Process(Child);

impl Process {
    /// Starts one in a folder with the running files.
    fn start(test: &Test) -> Result<Self, Failure> {
        let folder = test.folder.path().join("running");
        for (path, content) in running() {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(&folder))
                .map_err(Failure::of("make a tree"))?;
            std::fs::write(path, content).map_err(Failure::of("make a tree"))?;
        }
        let mut command = Command::new("sleep");
        command
            .arg("120")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
            .spawn()
            .map(Self)
            .map_err(Failure::of("start a process"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts a pod whose working directory has the running files.
async fn start(test: &Test, name: &str) -> Result<(), Failure> {
    let files: serde_json::Map<_, _> = running()
        .into_iter()
        .map(|(path, content)| (path.to_owned(), content.into()))
        .collect();
    let tree = serde_json::Value::Object(files).to_string();
    test.create_object::<ConfigMap>(
        json!({"metadata": {"name": "tree"}, "data": {"tree.json": tree}}),
    )
    .await?;
    let code = "import json, os
for path, content in json.load(open('/config/tree.json')).items():
    os.makedirs(os.path.dirname('/srv/app/' + path), exist_ok=True)
    open('/srv/app/' + path, 'w').write(content)
os.chdir('/srv/app')
os.execv('/usr/bin/python3.11', ['python3.11', 'src/main.py'])";
    let more = merged(
        answering(8080, "/"),
        json!({
            "command": ["/usr/bin/python3.11", "-c", code],
            "volumeMounts": [{"name": "tree", "mountPath": "/config"}, {"name": "app", "mountPath": "/srv/app"}],
        }),
    );
    let volumes = json!({"volumes": [{"name": "tree", "configMap": {"name": "tree"}}, {"name": "app", "emptyDir": {}}]});
    test.start(pod(name, &[container("app", "python:user", more)], volumes))
        .await
        .map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster: compares the code of a pod"]
async fn a_hot_patch_in_a_pod_is_found_and_printed_as_on_this_machine() {
    run("k-source", Level::Restricted, async |test| {
        let repository = Repository::new(test, &FILES)?;
        start(test, "app").await?;
        let process = Process::start(test)?;
        let local = format!("pid/{}", process.0.id());
        for format in [
            &[][..],
            &["--stat"],
            &["--numstat"],
            &["--name-status"],
            &["--name-status", "-z"],
        ] {
            let of = async |target: &str| {
                let arguments = [
                    &[
                        "diff-src",
                        target,
                        "--repo",
                        repository.path(),
                        "--ref",
                        "main",
                    ],
                    format,
                ]
                .concat();
                test.kdbg(&arguments).await?.ended_with(1)
            };
            let (in_pod, here) = (of("app").await?, of(&local).await?);
            check(in_pod.stdout == here.stdout, || {
                format!("they differ:\n{in_pod}\n{here}")
            })?;
            if format == ["--name-status"] {
                check(in_pod.stdout == format!("M\t{}\n", PATCHED.0), || {
                    format!("other files: {in_pod}")
                })?;
            }
        }
        Ok(())
    })
    .await;
}
