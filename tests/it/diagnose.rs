//! `kdbg diagnose` as a user runs it, on a process of this machine. What a cluster adds is in `tests/cluster`.

use std::{path::Path, process::Output};

use serde_json::Value;

use crate::support::{
    git::{git, run},
    running::{Running, assert_code, idle, kdbg, said},
};

const MASTER: &str = "import os\nurl = 'http://reviews:9080'\n";
const PULL_REQUEST: &str = "import os\nport = '9080' if os.environ.get('REVIEWS_PORT') is None else os.environ.get('REVIEWS_PORT')\nurl = 'http://reviews:{}'.format(port)\n";
const LINKS: [(&str, &str); 3] = [
    ("REVIEWS_SERVICE_HOST", "10.0.0.7"),
    ("REVIEWS_SERVICE_PORT", "9080"),
    ("REVIEWS_PORT", "tcp://10.0.0.7:9080"),
];

/// A folder with this code, and a process in it that has the variables of a Service.
fn process(code: &str) -> (Running, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page.py"), code).unwrap();
    std::fs::write(folder.path().join("shared.py"), "VALUE = 1\n").unwrap();
    let mut command = idle();
    command.current_dir(folder.path()).envs(LINKS);
    (Running::start(&mut command), folder)
}

/// A repository with the code of the branch.
fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page.py"), MASTER).unwrap();
    std::fs::write(folder.path().join("shared.py"), "VALUE = 1\n").unwrap();
    let name = ["-c", "user.name=t", "-c", "user.email=t@invalid"];
    for words in [
        &["init", "-q", "--initial-branch=main"][..],
        &["add", "."],
        &["commit", "-q", "-m", "all"],
    ] {
        let words = [&name[..], words].concat();
        run(&mut git(folder.path(), &words), b"", &[0]);
    }
    folder
}

fn diagnose(process: &Running, repository: &Path, more: &[&str]) -> Output {
    let (target, repository) = (process.target(), repository.to_str().unwrap().to_owned());
    let words = ["diagnose", &target, "--repo", &repository];
    kdbg(words.into_iter().chain(more.iter().copied()))
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_code_and_the_variable_together_are_a_cause() {
    let (process, _folder) = process(PULL_REQUEST);
    let repository = repository();
    let output = diagnose(&process, repository.path(), &["-o", "json"]);
    assert_code(&output, 1);
    let report = report(&output);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["process"]["pid"], process.pid());
    let cause = &report["causes"][0];
    assert_eq!(cause["id"], "env.service-link-collision");
    assert_eq!(cause["about"], "REVIEWS_PORT");
    assert_eq!(cause["confidence"], "likely", "no Service was seen");
    let facts = cause["facts"].to_string();
    assert!(
        facts.contains("on a line that the reference does not have"),
        "{facts}"
    );
    assert!(facts.contains("page.py differs: +2 -1"), "{facts}");
    assert!(
        !facts.contains("envFrom"),
        "there is no spec that could set it: {facts}"
    );
}

#[test]
fn neither_is_one_alone() {
    let (process, _folder) = process(MASTER);
    let repository = repository();
    let output = diagnose(&process, repository.path(), &[]);
    assert_code(&output, 0);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("nothing found\n"), "{text}");
    assert!(
        text.contains("variables that link to Services: no code that was read"),
        "{text}"
    );
    assert!(text.contains("what declares the variables"), "{text}");
}

#[test]
fn html_is_one_page() {
    let (process, _folder) = process(PULL_REQUEST);
    let repository = repository();
    let output = diagnose(&process, repository.path(), &["-o", "html"]);
    assert_code(&output, 1);
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.starts_with("<!"), "{page}");
    assert!(page.contains("REVIEWS_PORT"), "{page}");
}

#[test]
fn without_a_repository_the_code_is_read_and_not_compared() {
    let (process, folder) = process(PULL_REQUEST);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kdbg"))
        .args(["diagnose", &process.target(), "-o", "json"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_code(&output, 1);
    assert!(
        said(&output).contains("the code is not compared"),
        "{}",
        said(&output)
    );
    let report = report(&output);
    assert_eq!(report["causes"][0]["id"], "env.service-link-collision");
    assert!(
        report["not_checked"]
            .to_string()
            .contains("no repository was named")
    );
}

#[test]
fn a_repository_that_was_named_and_is_none_is_an_error() {
    let (process, folder) = process(MASTER);
    assert_code(&diagnose(&process, folder.path(), &[]), 2);
}

/// A server that answers every request with this status line, until the test ends.
fn answering(status: &'static str) -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn a_symptom_that_answers_well_is_ruled_out_and_one_that_does_not_is_named() {
    let (process, _folder) = process(MASTER);
    let repository = repository();
    let well = format!("http://{}/x?token=hunter2", answering("200 OK"));
    let output = diagnose(
        &process,
        repository.path(),
        &["--symptom", &well, "-o", "json"],
    );
    assert_code(&output, 0);
    let text = report(&output)["ruled_out"].to_string();
    assert!(
        text.contains("from the pod answers 200 OK, 2 bytes"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");

    let ill = answering("503 Service Unavailable");
    let url = format!("http://{ill}/");
    let output = diagnose(
        &process,
        repository.path(),
        &["--symptom", &url, "-o", "json"],
    );
    assert_code(&output, 1);
    let cause = &report(&output)["causes"][0];
    assert_eq!(cause["id"], "symptom.reproduced");
    assert_eq!(cause["about"], ill.to_string());

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}/", free.local_addr().unwrap());
    drop(free);
    let output = diagnose(
        &process,
        repository.path(),
        &["--symptom", &gone, "-o", "json"],
    );
    assert_code(&output, 1);
    assert_eq!(report(&output)["causes"][0]["id"], "net.unreachable");
    assert_code(
        &diagnose(&process, repository.path(), &["--symptom", "ftp://x"]),
        2,
    );
}

#[test]
fn what_was_saved_is_shown_again_without_the_target() {
    let (process, folder) = process(PULL_REQUEST);
    let repository = repository();
    let bundle = folder.path().join("bundle");
    let path = bundle.to_str().unwrap();
    let now = diagnose(&process, repository.path(), &["-o", "json", "--save", path]);
    assert_code(&now, 1);
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&bundle.metadata().unwrap().permissions()) & 0o777,
        0o700
    );
    drop(process);
    let again = |more: &[&str]| kdbg(["diagnose", path].into_iter().chain(more.iter().copied()));
    let json = again(&["-o", "json"]);
    assert_code(&json, 1);
    assert_eq!(json.stdout, now.stdout);
    for (format, file) in [("text", "diagnosis.txt"), ("html", "diagnosis.html")] {
        let shown = again(&["-o", format]);
        assert_code(&shown, 1);
        assert_eq!(
            shown.stdout,
            std::fs::read(bundle.join(file)).unwrap(),
            "{format}"
        );
    }
    assert!(
        said(&again(&[])).contains("as it was: kdbg"),
        "{}",
        said(&again(&[]))
    );
    // It is what it is: nothing is looked at.
    assert_code(&again(&["--ref", "main"]), 2);
    std::fs::write(bundle.join("diagnosis.json"), "{}").unwrap();
    assert_code(&again(&[]), 2);
    // What is there is not replaced.
    let (process, _folder) = self::process(MASTER);
    assert_code(&diagnose(&process, repository.path(), &["--save", path]), 2);
}

#[test]
fn a_bundle_has_what_was_looked_at_and_no_secret() {
    const SECRET: &str = "correct-horse-battery";
    let (_, folder) = process(PULL_REQUEST);
    // The same secret stands in the code, where its name does not tell.
    let code = format!("{PULL_REQUEST}greeting = '{SECRET}'\n");
    std::fs::write(folder.path().join("page.py"), code).unwrap();
    let mut command = idle();
    command
        .current_dir(folder.path())
        .envs(LINKS)
        .env("DB_PASSWORD", SECRET)
        .env("DB", format!("pg://me:{SECRET}@db/x"));
    let process = Running::start(&mut command);
    let repository = repository();
    let kept = tempfile::tempdir().unwrap();
    for flag in ["--deadline=30s", "--show-secrets"] {
        let bundle = kept.path().join(flag.trim_start_matches('-'));
        let path = bundle.to_str().unwrap();
        assert_code(
            &diagnose(&process, repository.path(), &["--save", path, flag]),
            1,
        );
        let read = |name: &str| {
            let path = bundle.join("raw").join(name);
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        assert!(read("environ").contains("REVIEWS_PORT=tcp://10.0.0.7:9080\n"));
        assert!(
            read("patch.diff").contains("+port = '9080'"),
            "{}",
            read("patch.diff")
        );
        assert!(read("sockets.tsv").starts_with("protocol\tstate"));
        for name in [
            "environ",
            "patch.diff",
            "hosts",
            "resolv.conf",
            "sockets.tsv",
        ] {
            let path = bundle.join("raw").join(name);
            let text = std::fs::read_to_string(path).unwrap_or_default();
            assert!(!text.contains(SECRET), "{flag} {name}: {text}");
        }
    }
}
