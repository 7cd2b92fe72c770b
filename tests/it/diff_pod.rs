//! `kdbg diff-pod` as a user runs it, with two processes of this machine.

use std::{fs, process::Output};

use serde_json::Value;

use crate::support::running::{Running, assert_code, idle, kdbg, said};

/// A process with these files and this environment on top of the usual one.
fn process(files: &[(&str, &str)], environment: &[(&str, &str)]) -> (Running, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let mut command = idle();
    command
        .current_dir(folder.path())
        .envs(environment.iter().copied());
    (Running::start(&mut command), folder)
}

fn compare(first: &Running, second: &Running, more: &[&str]) -> Output {
    let targets = ["diff-pod".to_owned(), first.target(), second.target()];
    kdbg(
        targets
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied()),
    )
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const FILES: [(&str, &str); 3] = [("a.py", "1\n"), ("lib/b.py", "2\n"), ("lib/c.py", "3\n")];

#[test]
fn two_of_a_kind_are_the_same() {
    let (first, _one) = process(&FILES, &[("MODE", "fast")]);
    let (second, _two) = process(&FILES, &[("MODE", "fast")]);
    let output = compare(&first, &second, &[]);
    assert_code(&output, 0);
    let text = text(&output);
    assert!(text.contains("executable: the same, "), "{text}");
    assert!(text.contains("files: the same, 3 files, digest "), "{text}");
    assert!(text.contains("environment: the same\n"), "{text}");
}

#[test]
fn each_file_and_variable_that_is_not_the_same_is_named() {
    let (first, _one) = process(
        &FILES,
        &[
            ("MODE", "fast"),
            ("OLD", "1"),
            ("DB_PASSWORD", "first-secret"),
        ],
    );
    let files = [
        ("a.py", "patched\n"),
        ("lib/b.py", "2\n"),
        ("lib/new.py", "4\n"),
    ];
    let (second, _two) = process(&files, &[("MODE", "slow"), ("DB_PASSWORD", "other-secret")]);
    let output = compare(&first, &second, &[]);
    assert_code(&output, 1);
    let shown = text(&output);
    let rest = shown.split_once('\n').unwrap().1;
    assert_eq!(
        rest,
        "files: 3 of 4 differ\n  M a.py\n  - lib/c.py\n  + lib/new.py\n\
         environment: 3 variables set differently\n  \
         - DB_PASSWORD=[redacted: 12 bytes]\n  + DB_PASSWORD=[redacted: 12 bytes]\n  \
         - MODE=fast\n  + MODE=slow\n  - OLD=1\n"
    );
    let shown = text(&compare(&first, &second, &["--show-secrets"]));
    assert!(shown.contains("- DB_PASSWORD=first-secret\n"), "{shown}");
    let json: Value =
        serde_json::from_slice(&compare(&first, &second, &["-o", "json"]).stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["same_executable"], true);
    assert_eq!(json["files"]["differences"].as_array().unwrap().len(), 3);
    assert_ne!(
        json["files"]["first_digest"],
        json["files"]["second_digest"]
    );
    assert_eq!(json["complete"], true);
}

#[test]
fn another_executable_and_another_mode_are_differences() {
    use std::os::unix::fs::PermissionsExt as _;
    let (first, _one) = process(&FILES, &[]);
    let (second, two) = process(&FILES, &[]);
    fs::set_permissions(two.path().join("a.py"), fs::Permissions::from_mode(0o755)).unwrap();
    let output = compare(&first, &second, &[]);
    assert_code(&output, 1);
    assert!(
        text(&output).contains("files: 1 of 3 differ\n  M a.py\n"),
        "{}",
        text(&output)
    );
    let mut child = std::process::Command::new("sleep")
        .arg("600")
        .current_dir(two.path())
        .spawn()
        .unwrap();
    let output = kdbg(["diff-pod", &first.target(), &format!("pid/{}", child.id())]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_code(&output, 1);
    assert!(
        text(&output).starts_with("executable: differs\n  - "),
        "{}",
        text(&output)
    );
}

#[test]
fn labels_name_no_two_targets() {
    let output = kdbg(["diff-pod", "pid/1", "pid/1", "-l", "app=x"]);
    assert_code(&output, 2);
    assert!(
        said(&output).contains("two targets are compared"),
        "{}",
        said(&output)
    );
}
