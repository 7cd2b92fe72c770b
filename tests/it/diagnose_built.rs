//! `kdbg diagnose` on programs that were compiled: their source is in a repository only. Real compilers make them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::{
    git::{git, run},
    running::{Running, assert_code, kdbg},
};

const LINKS: [(&str, &str); 3] = [
    ("REVIEWS_SERVICE_HOST", "10.0.0.7"),
    ("REVIEWS_SERVICE_PORT", "9080"),
    ("REVIEWS_PORT", "tcp://10.0.0.7:9080"),
];
/// Takes the variable for a port.
const MISREADS: &str = r#"package main

import (
	"fmt"
	"os"
)

func main() {
	url := "http://reviews:" + os.Getenv("REVIEWS_PORT") + "/"
	fmt.Fprintln(os.Stderr, url)
	fmt.Println("ready")
	os.Stdin.Read(make([]byte, 1))
}
"#;

fn commit(folder: &Path, message: &str) -> String {
    let name = ["-c", "user.name=t", "-c", "user.email=t@invalid"];
    run(&mut git(folder, &["add", "--all"]), b"", &[0]);
    let words = [&name[..], &["commit", "-q", "-m", message]].concat();
    run(&mut git(folder, &words), b"", &[0]);
    let id = run(&mut git(folder, &["rev-parse", "HEAD"]), b"", &[0]);
    String::from_utf8(id).unwrap().trim().to_owned()
}

fn repository(files: &[(&str, &str)]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    run(
        &mut git(folder.path(), &["init", "-q", "--initial-branch=main"]),
        b"",
        &[0],
    );
    for (path, content) in files {
        std::fs::write(folder.path().join(path), content).unwrap();
    }
    let id = commit(folder.path(), "all");
    (folder, id)
}

/// Runs a compiler; `None` when it is not installed.
fn compile(program: &str, words: &[&str], folder: &Path) -> Option<()> {
    let output = Command::new(program)
        .args(words)
        .current_dir(folder)
        .envs([("CGO_ENABLED", "0"), ("GOFLAGS", ""), ("GOWORK", "off")])
        .output();
    match output {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{program} {words:?}: {said}");
            Some(())
        }
        Err(error) => {
            eprintln!("skipped: {program}: {error}");
            None
        }
    }
}

/// Starts a program in an empty folder and looks at it with a repository.
fn diagnose(program: &Path, words: &[&str], repository: &Path, code: i32) -> Value {
    let empty = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.args(words).current_dir(empty.path()).envs(LINKS);
    let process = Running::start(&mut command);
    let target = process.target();
    let output = kdbg([
        "diagnose",
        &target,
        "--repo",
        repository.to_str().unwrap(),
        "-o",
        "json",
    ]);
    assert_code(&output, code);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn collisions(findings: &Value) -> Vec<&Value> {
    let findings = findings.as_array().unwrap().iter();
    findings
        .filter(|one| one["id"] == "env.service-link-collision")
        .collect()
}

#[test]
fn a_go_programs_source_is_read_at_the_commit_that_its_build_names() {
    let (folder, id) = repository(&[
        ("go.mod", "module example.invalid/page\n\ngo 1.20\n"),
        ("main.go", MISREADS),
    ]);
    let out = tempfile::tempdir().unwrap();
    let program = |name: &str| -> Option<PathBuf> {
        let path = out.path().join(name);
        let words = ["build", "-buildvcs=true", "-o", path.to_str()?, "."];
        compile("go", &words, folder.path())?;
        Some(path)
    };
    let Some(clean) = program("clean") else {
        return;
    };
    let report = diagnose(&clean, &[], folder.path(), 1);
    let causes = collisions(&report["causes"]);
    assert_eq!(causes.len(), 1, "{report:#}");
    let facts = causes[0]["facts"].to_string();
    assert_eq!(causes[0]["confidence"], "likely");
    assert!(
        facts.contains(&format!(
            "built from commit {}, without changes: its source was read there",
            &id[..12]
        )),
        "{facts}"
    );
    assert!(facts.contains("main.go:9"), "{facts}");
    assert!(
        facts.contains("REVIEWS_PORT stands in the program"),
        "{facts}"
    );

    // Nobody knows what was changed before it was built.
    std::fs::write(folder.path().join("main.go"), format!("{MISREADS}\n")).unwrap();
    let dirty = program("dirty").unwrap();
    let report = diagnose(&dirty, &[], folder.path(), 1);
    assert!(collisions(&report["causes"]).is_empty(), "{report:#}");
    let listed = collisions(&report["listed"]);
    assert_eq!(listed[0]["confidence"], "possible", "{report:#}");
    assert!(
        listed[0]["facts"]
            .to_string()
            .contains("with changes that are in no commit")
    );

    // The reference may have another code by now: what counts is what was built.
    let fixed = MISREADS.replace(
        r#""http://reviews:" + os.Getenv("REVIEWS_PORT") + "/""#,
        r#"os.Getenv("REVIEWS_PORT")"#,
    );
    assert_ne!(fixed, MISREADS);
    std::fs::write(folder.path().join("main.go"), &fixed).unwrap();
    commit(folder.path(), "take the URL for what it is");
    let report = diagnose(&clean, &[], folder.path(), 1);
    assert_eq!(collisions(&report["causes"]).len(), 1, "{report:#}");
    let report = diagnose(&program("fixed").unwrap(), &[], folder.path(), 0);
    assert!(collisions(&report["causes"]).is_empty(), "{report:#}");
    assert!(collisions(&report["listed"]).is_empty(), "{report:#}");

    // A repository that has not the commit says nothing of it; the name stays a hint.
    let (other, _) = repository(&[("main.go", MISREADS)]);
    let report = diagnose(&clean, &[], other.path(), 0);
    assert!(
        report["not_checked"]
            .to_string()
            .contains("takes REVIEWS_PORT, a link's URL, if it reads it"),
        "{report:#}"
    );
}

const PAGE: &str = r#"public final class Page {
    public static void main(String[] arguments) throws Exception {
        String given = System.getenv("REVIEWS_PORT");
        String url = String.format("http://reviews:%s/", given == null ? "9080" : given);
        System.err.println(url);
        System.out.println("ready");
        System.in.read();
    }
}
"#;

#[test]
fn a_jars_classes_give_hints_and_its_source_is_read_at_the_commit_of_its_git_properties() {
    let (folder, id) = repository(&[("Page.java", PAGE)]);
    let out = tempfile::tempdir().unwrap();
    let target = out.path().to_str().unwrap();
    if compile("javac", &["-d", target, "Page.java"], folder.path()).is_none() {
        return;
    }
    let jar = |name: &str, files: &[&str]| {
        let words = [&["cfe", name, "Page", "Page.class"], files].concat();
        compile("jar", &words, out.path()).map(|()| out.path().join(name))
    };
    std::fs::write(
        out.path().join("git.properties"),
        format!("git.commit.id.full={id}\ngit.dirty=false\n"),
    )
    .unwrap();
    let Some(named) = jar("named.jar", &["git.properties"]) else {
        return;
    };
    let java = which("java");
    let words = |jar: &Path| {
        let path = jar.to_str().unwrap().to_owned();
        ["-Xmx32m".to_owned(), "-jar".to_owned(), path]
    };
    let look = |jar: &Path, code: i32| {
        let words = words(jar);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        diagnose(&java, &words, folder.path(), code)
    };
    let report = look(&named, 1);
    let causes = collisions(&report["causes"]);
    assert_eq!(causes.len(), 1, "{report:#}");
    let facts = causes[0]["facts"].to_string();
    assert!(facts.contains("Page.java:3"), "{facts}");
    assert!(facts.contains("named.jar!/Page.class"), "{facts}");

    let report = look(&jar("nameless.jar", &[]).unwrap(), 0);
    let hints = report["not_checked"].to_string();
    assert!(
        hints.contains("nameless.jar!/Page.class takes REVIEWS_PORT"),
        "{report:#}"
    );
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .unwrap()
}
