//! What can be seen of whom, and where: every kind of target in a namespace of every Pod Security level. The table in
//! docs/security.md is made by this test (`KDBG_BLESS=1`), and compared with what it finds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::source::Repository;
use crate::harness::{
    Failure, Level, Phase, Ran, Test, answering, check, container, merged, pod, run,
};

/// The commands, as the table names them.
const COMMANDS: [&str; 4] = ["env", "diff-src", "snapshot", "attach"];

/// A kind of target.
struct Target {
    name: &'static str,
    /// As the table names it.
    title: &'static str,
    image: &'static str,
    security: Value,
    /// What its entrypoint does before it serves.
    code: &'static str,
}

const SERVE: &str = "import runpy; runpy.run_path('/app/server.py', run_name='__main__')";
const DROP: &str =
    "import os; os.setgroups([]); os.setresgid(999, 999, 999); os.setresuid(999, 999, 999)";

fn targets() -> [Target; 6] {
    // what a container has when nobody says anything
    let unhardened =
        || json!({"capabilities": null, "allowPrivilegeEscalation": null, "seccompProfile": null});
    [
        Target {
            name: "root",
            title: "root",
            image: "python:root",
            security: unhardened(),
            code: "",
        },
        Target {
            name: "user",
            title: "1000:1000",
            image: "python:user",
            security: json!({}),
            code: "",
        },
        Target {
            name: "group",
            title: "1000:2000",
            image: "python:user",
            security: json!({"runAsUser": 1000, "runAsGroup": 2000}),
            code: "",
        },
        Target {
            name: "drops",
            title: "root whose entrypoint becomes 999 and executes the program",
            image: "python:root",
            security: unhardened(),
            code: "os.execv('/usr/bin/python3.11', ['python3.11', '/app/server.py'])",
        },
        Target {
            name: "keeps",
            title: "root that becomes 999 without executing anything: not dumpable",
            image: "python:root",
            security: unhardened(),
            code: "pass",
        },
        Target {
            name: "closed",
            title: "1000:1000 that has made itself not dumpable",
            image: "python:user",
            security: json!({}),
            code: "import ctypes; ctypes.CDLL(None).prctl(4, 0)",
        },
    ]
}

impl Target {
    fn pod(&self) -> Value {
        let becomes = ["drops", "keeps"].contains(&self.name);
        let first = if becomes { DROP } else { "pass" };
        let code = [first, self.code, SERVE]
            .into_iter()
            .filter(|code| !code.is_empty())
            .collect::<Vec<_>>()
            .join("\n");
        let more = merged(
            answering(8080, "/"),
            json!({"command": ["/usr/bin/python3.11", "-c", code], "securityContext": self.security}),
        );
        pod(self.name, &[container("app", self.image, more)], json!({}))
    }
}

/// What became of one kind of target in one namespace.
struct Row {
    cells: [String; 4],
    reason: String,
}

/// Looks at a pod by each command.
async fn look(test: &Test, target: &Target, repository: &Repository) -> Result<Row, Failure> {
    if let Err(refused) = test
        .api::<Pod>()
        .create(
            &PostParams::default(),
            &crate::harness::from_json(target.pod()),
        )
        .await
    {
        let kube::Error::Api(status) = refused else {
            return Err(refused.into());
        };
        return Ok(Row {
            cells: COMMANDS.map(|_| "–".to_owned()),
            reason: format!("there is no such pod: {}", status.message),
        });
    }
    test.wait_for_pod(target.name, "is ready", |pod| Phase::of(pod).ready)
        .await?;
    let bundle = test.folder.path().join(target.name);
    let bundle = bundle.to_string_lossy();
    let commands: [&[&str]; 4] = [
        &["env", target.name, "-o", "json"],
        &[
            "diff-src",
            target.name,
            "--repo",
            repository.path(),
            "--ref",
            "main",
            "-o",
            "json",
        ],
        &["snapshot", target.name, "--directory", &bundle],
        &[
            "attach",
            target.name,
            "-v",
            "--",
            "sh",
            "-c",
            r#"cat "$TARGET_ROOT/app/server.py""#,
        ],
    ];
    let mut cells = Vec::new();
    let mut reasons = Vec::new();
    for command in commands {
        let ran = test.kdbg(command).await?;
        if command.first() == Some(&"attach") {
            cells.push(attached(&ran)?);
        } else {
            cells.push(cell(&ran, &bundle)?);
            reasons.push(reason(&ran));
        }
    }
    reasons.dedup();
    // a snapshot says in its manifest what it could not read, and the same rights are refused it
    let reason = reasons.first().cloned().unwrap_or_default();
    Ok(Row {
        cells: cells
            .try_into()
            .map_err(|_| Failure::new("four commands"))?,
        reason,
    })
}

/// The rung on which a command had its answer, or that it had none.
fn cell(ran: &Ran, bundle: &str) -> Result<String, Failure> {
    let rung = |process: &Value| -> Result<String, Failure> {
        let rung = process["pod"]["agent"]["rung"].as_str();
        Ok(rung
            .ok_or_else(|| Failure::new(format!("no rung is said: {ran}")))?
            .to_owned())
    };
    hinted(ran)?;
    match ran.code {
        Some(0) if ran.stdout.is_empty() => {
            let manifest = std::fs::read(format!("{bundle}/manifest.json"))
                .map_err(Failure::of("read the manifest"))?;
            let manifest: Value =
                serde_json::from_slice(&manifest).map_err(Failure::of("read the manifest"))?;
            rung(&manifest["target"]["process"])
        }
        Some(0) => {
            let report = ran.json()?;
            let process = ["process", "target"].map(|key| &report[key]);
            let process = process.into_iter().find(|process| process.is_object());
            rung(process.ok_or_else(|| Failure::new(format!("no process is said: {ran}")))?)
        }
        Some(3) => Ok("in part".to_owned()),
        Some(4) => Ok("no".to_owned()),
        _ => Err(Failure::new(format!(
            "it should work or say why not: {ran}"
        ))),
    }
}

/// The rung on which a program beside the target read a file of it, or that it could not.
fn attached(ran: &Ran) -> Result<String, Failure> {
    hinted(ran)?;
    if ran.code != Some(0) {
        check(
            ran.stderr.to_lowercase().contains("permission denied"),
            || format!("no reason is said: {ran}"),
        )?;
        return Ok("no".to_owned());
    }
    check(
        ran.stdout == include_str!("../../images/python/server.py"),
        || format!("another file: {ran}"),
    )?;
    let rung = ran
        .stderr
        .rsplit_once("kdbg-")
        .and_then(|(_, name)| name.get(..1));
    Ok(rung
        .ok_or_else(|| Failure::new(format!("no container is said: {ran}")))?
        .to_owned())
}

/// What would help is something about the pod: whoever runs kdbg is root here, and knows it.
fn hinted(ran: &Ran) -> Result<(), Failure> {
    let hints = ran.stderr.lines().filter(|line| line.starts_with("hint: "));
    let of_machine = |hint: &str| hint.contains("run kdbg as") || hint.contains("run kdbg with");
    check(!hints.clone().any(of_machine), || {
        format!("a hint speaks of this machine: {ran}")
    })?;
    let is_denied = ran.code == Some(4) && ran.stderr.contains("permission denied: ");
    check(!is_denied || hints.count() > 0, || {
        format!("no hint: {ran}")
    })
}

/// Why a command had no answer: what the kernel refused the agent, and what admission did.
fn reason(ran: &Ran) -> String {
    let of = |label: &str| {
        let line = ran.stderr.lines().find_map(|line| line.strip_prefix(label));
        line.map(str::to_owned)
    };
    let error = of("error: ").map(|error| match error.split_once("permission denied: ") {
        Some((_, checks)) => format!("permission denied: {checks}"),
        None => error,
    });
    let warning = of("warning: the agent is ").map(|warning| format!("The agent is {warning}"));
    [error, warning]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(". ")
}

#[tokio::test]
#[ignore = "needs a cluster: three namespaces with six pods each"]
async fn every_kind_of_target_at_every_level_is_read_on_the_lowest_rung_or_refused_with_the_reason()
{
    let rows = Mutex::new(BTreeMap::new());
    let levels = [Level::Privileged, Level::Baseline, Level::Restricted];
    // one level after the other: eighteen pods that start at once take two cores for themselves
    for (place, level) in levels.into_iter().enumerate() {
        run("k-matrix", level, async |test| {
            let repository = Repository::of_the_python_image(test)?;
            let targets = targets();
            let looks = targets.iter().map(|target| look(test, target, &repository));
            for (number, row) in futures::future::try_join_all(looks)
                .await?
                .into_iter()
                .enumerate()
            {
                rows.lock()
                    .expect("no test panics with it")
                    .insert((place, number), row);
            }
            Ok(())
        })
        .await;
    }
    let rows = rows.into_inner().expect("no test panics with it");
    let table = table(levels, &rows);
    compare(&table).unwrap_or_else(|failure| panic!("{failure}"));
}

fn table(levels: [Level; 3], rows: &BTreeMap<(usize, usize), Row>) -> String {
    let mut text = String::from(
        "| namespace | target | env | diff-src | snapshot | attach | |\n|---|---|---|---|---|---|---|\n",
    );
    let mut reasons: Vec<String> = Vec::new();
    for ((level, target), row) in rows {
        let note = if row.reason.is_empty() {
            String::new()
        } else {
            let reason = general(&row.reason, targets()[*target].name);
            let place = reasons
                .iter()
                .position(|known| *known == reason)
                .unwrap_or_else(|| {
                    reasons.push(reason);
                    reasons.len() - 1
                });
            format!("[{}]", place + 1)
        };
        let [env, diff, snapshot, attach] = &row.cells;
        writeln!(
            text,
            "| {} | {} | {env} | {diff} | {snapshot} | {attach} | {note} |",
            levels[*level].name(),
            targets()[*target].title
        )
        .expect("a string takes it");
    }
    for (number, reason) in reasons.iter().enumerate() {
        write!(text, "\n{}. {reason}\n", number + 1).expect("a string takes it");
    }
    text
}

/// A reason without what differs from pod to pod: its name, and the digests in the names of containers.
fn general(reason: &str, pod: &str) -> String {
    let mut text = reason.replace(&format!("\"{pod}\""), "\"web\"");
    for letter in ['a', 'b', 'c', 'd'] {
        let prefix = format!("kdbg-{letter}-");
        let mut parts = text.split(&prefix);
        let mut general = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            general.push_str("kdbg-");
            general.push(letter);
            general.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_hexdigit()));
        }
        text = general;
    }
    text
}

/// Compares the table with the one in docs/security.md, or writes it there.
fn compare(table: &str) -> Result<(), Failure> {
    const BEGIN: &str = "<!-- made by tests/cluster/pods/matrix.rs -->\n";
    const END: &str = "<!-- end -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md");
    let page = std::fs::read_to_string(&path).map_err(Failure::of("read docs/security.md"))?;
    let (before, rest) = page
        .split_once(BEGIN)
        .ok_or_else(|| Failure::new("docs/security.md has no place for the table"))?;
    let (written, after) = rest
        .split_once(END)
        .ok_or_else(|| Failure::new("docs/security.md has no end of the table"))?;
    let found = format!("\n{table}\n");
    if std::env::var_os("KDBG_BLESS").is_some() {
        return std::fs::write(&path, format!("{before}{BEGIN}{found}{END}{after}"))
            .map_err(Failure::of("write docs/security.md"));
    }
    check(written == found, || {
        format!(
            "docs/security.md says otherwise; with KDBG_BLESS=1 it is written anew\n--- found\n{found}\n--- written\n{written}"
        )
    })
}
