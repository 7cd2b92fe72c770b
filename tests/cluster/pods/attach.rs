//! `kdbg attach` in a pod: the agent's own programs, and a server that speaks the older subprotocol.

use std::process::Stdio;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::agents;
use crate::harness::{
    Failure, Level, PATIENCE, Ran, Test, answering, check, container, image_name, pod, run,
    wait_until,
};

/// A target without a shell, without any program but its own, and with a variable to be known by.
async fn start(test: &Test) -> Result<(), Failure> {
    let more = json!({"env": [{"name": "ONLY_THERE", "value": "yes"}]});
    let app = container("app", "go:user", more);
    // and one that can write nowhere
    let more = json!({"securityContext": {"readOnlyRootFilesystem": true}});
    let fixed = container("app", "python:user", more);
    let (app, fixed) = (
        pod("app", &[app], json!({})),
        pod("fixed", &[fixed], json!({})),
    );
    let (one, other) = tokio::join!(test.start(app), test.start(fixed));
    one.and(other).map(drop)
}

/// Runs a program beside the target.
async fn attach(test: &Test, image: &str, words: &[&str]) -> Result<Ran, Failure> {
    let words = [&["attach", "app", "--image", image, "--"], words].concat();
    test.kdbg(&words).await
}

#[tokio::test]
#[ignore = "needs a cluster: programs beside a distroless pod of a restricted namespace"]
async fn the_agents_programs_look_from_where_a_distroless_pod_stands() {
    run("k-applets", Level::Restricted, async |test| {
        start(test).await?;
        // kdbg's own image, and one into which the agent is carried
        for image in [image_name("kdbg-agent:dev"), image_name("shell:user")] {
            let tell = async |words: &[&str]| -> Result<String, Failure> {
                let ran = attach(test, &image, words).await?.ended_with(0)?;
                Ok(ran.stdout)
            };
            let has = |text: &str, wanted: &str| {
                check(text.contains(wanted), || {
                    format!("no {wanted:?} by {image} in:\n{text}")
                })
            };
            has(&tell(&["env"]).await?, "ONLY_THERE=yes\n")?;
            has(&tell(&["ss", "-tlnp"]).await?, "*:8080")?;
            let processes = tell(&["ps", "-o", "pid,args"]).await?;
            has(&processes, "kdbg-agent")?;
            let port = tell(&["ss", "-Htlnp"]).await?;
            let pid = port
                .split_once("pid=")
                .and_then(|(_, rest)| rest.split(',').next());
            let pid = pid.ok_or_else(|| Failure::new(format!("nobody holds the port: {port}")))?;
            let listed = |line: &str| line.split_whitespace().next() == Some(pid);
            check(processes.lines().any(listed), || {
                format!("no process {pid}: {processes}")
            })?;
            let status = tell(&[
                "curl",
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "http://localhost:8080/",
            ])
            .await?;
            check(status == "200", || format!("curl got {status}"))?;
            has(
                &tell(&["dig", "kubernetes.default.svc.cluster.local"]).await?,
                "status: NOERROR",
            )?;
            let files = tell(&["tree", "-L", "1", "/"]).await?;
            has(&files, "\u{2500}\u{2500} proc\n")?;
            check(!files.contains("busybox"), || {
                format!("of the agent's container:\n{files}")
            })?;
            let refused = attach(test, &image, &["curl", "http://localhost:9/"]).await?;
            refused.ended_with(7)?.said("curl: (7) Failed to connect")?;

            // at a terminal the shell has them by name, ps and env too, before its own
            let mut shell = test.kdbg_command(&["attach", "app", "--image", &image, "-t"]);
            shell.stdin(Stdio::piped());
            let shown = typed(shell, b"stty -echo; env | grep ONLY; type ps; exit 6\n").await?;
            check(shown.code == Some(6), || format!("{shown:?}"))?;
            has(&shown.text, "ONLY_THERE=yes")?;
            has(&shown.text, "ps is a function")?;
            beside_a_read_only_root(test, &image).await?;
        }
        chroot_says_at_once_where_it_cannot_work(test).await
    })
    .await;
}

/// The links lie in the agent's container, whose root file system is its own.
async fn beside_a_read_only_root(test: &Test, image: &str) -> Result<(), Failure> {
    let script = "touch $TARGET_ROOT/new; echo $PATH; ${PATH%%:*}/ps -o pid,args";
    let words = [
        "attach", "fixed", "--image", image, "--", "sh", "-c", script,
    ];
    let ran = test.kdbg(&words).await?.ended_with(0)?;
    let ran = ran.said("Read-only file system")?;
    check(ran.stdout.starts_with("/tmp/.kdbg-applets-"), || {
        format!("{ran}")
    })?;
    check(ran.stdout.contains("/app/server.py"), || format!("{ran}"))
}

/// Below *baseline* no agent may use it; from there on one does without being asked for.
async fn chroot_says_at_once_where_it_cannot_work(test: &Test) -> Result<(), Failure> {
    let code = "import os; print(os.getuid(), os.path.exists('/app/server.py'), os.listdir('/proc/self/fd') != [])";
    let words = [
        "attach",
        "fixed",
        "--chroot",
        "--",
        "/usr/bin/python3.11",
        "-c",
        code,
    ];
    let before = agents(test, "fixed").await?.len();
    let ran = test.kdbg(&words).await?.ended_with(4)?;
    ran.said("`--chroot` cannot work in pod fixed: it needs CAP_SYS_CHROOT")?
        .said("hint: leave `--chroot` out")?;
    let after = agents(test, "fixed").await?.len();
    check(before == after, || {
        format!("{after} agents, {before} before")
    })?;

    test.relabel(Level::Baseline).await?;
    wait_until(&test.cluster, "its own program runs", async || {
        let ran = test.kdbg(&words).await?;
        Ok(if ran.stdout.ends_with(" True True\n") {
            Ok(())
        } else {
            Err(ran.to_string())
        })
    })
    .await
}

/// What a shell at a terminal has shown, and its code.
#[derive(Debug)]
struct Shown {
    code: Option<i32>,
    text: String,
}

async fn typed(mut shell: Command, keys: &[u8]) -> Result<Shown, Failure> {
    use tokio::io::AsyncWriteExt as _;
    let mut child = shell.spawn().map_err(Failure::of("start kdbg"))?;
    let mut input = child.stdin.take().expect("it was asked for");
    input.write_all(keys).await.map_err(Failure::of("type"))?;
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.map_err(|_| Failure::new("the shell does not end"))?;
    let output = output.map_err(Failure::of("wait for kdbg"))?;
    drop(input);
    Ok(Shown {
        code: output.status.code(),
        text: String::from_utf8_lossy(&output.stdout).replace('\r', ""),
    })
}

#[tokio::test]
#[ignore = "needs a cluster: its server is spoken to as an old one would have to be"]
async fn over_the_older_subprotocol_everything_arrives_whole_too() {
    run("k-v4", Level::Restricted, async |test| {
        let app = container("app", "python:user", answering(8080, "/"));
        test.start(pod("app", &[app], json!({}))).await?;
        // Of kdbg's own choice unless it is told otherwise.
        for (version, subprotocol) in [("v4.channel.k8s.io", "v4"), ("", "v5")] {
            let old = |words: &[&str]| {
                let mut command = test.kdbg_command(words);
                command.env("KDBG_EXEC_SUBPROTOCOL", version);
                command
            };
            let mut traced = old(&["env", "app"]);
            traced.env("KDBG_LOG", "kdbg=debug");
            let ran = test.run_to_end(traced).await?.ended_with(0)?;
            let ran = ran.said(&format!("subprotocol=\"{subprotocol}\""))?;
            check(ran.stdout.contains("HOSTNAME=app\n"), || format!("{ran}"))?;

            // its largest file, whole, and held to the digest that a program beside the target finds
            let path = "/usr/bin/python3.11";
            let copy = test.folder.path().join("copy");
            let file = std::fs::File::create(&copy).map_err(Failure::of("make a file"))?;
            let mut cat = old(&["cat", "app", path]);
            let status = cat
                .stdout(file)
                .status()
                .await
                .map_err(Failure::of("run kdbg"))?;
            check(status.success(), || format!("kdbg cat ended with {status}"))?;
            let bytes = std::fs::read(&copy).map_err(Failure::of("read the copy"))?;
            check(bytes.len() > 1_000_000, || format!("{} bytes", bytes.len()))?;
            let digest = hexadecimal(&Sha256::digest(&bytes));
            let script =
                format!("sha256sum <$TARGET_ROOT{path}; echo to the other stream >&2; exit 7");
            let ran = test
                .run_to_end(old(&["attach", "app", "--", "sh", "-c", &script]))
                .await?;
            let ran = ran.ended_with(7)?.said("to the other stream")?;
            check(ran.stdout.starts_with(&digest), || {
                format!("expected {digest}: {ran}")
            })?;

            // the end of an input is told, though this subprotocol has no word for it
            let file = std::fs::File::open(&copy).map_err(Failure::of("open the copy"))?;
            let mut command = old(&["attach", "app", "--", "sha256sum"]);
            command.stdin(file);
            let ran = test.run_to_end(command).await?.ended_with(0)?;
            check(ran.stdout.starts_with(&digest), || {
                format!("expected {digest}: {ran}")
            })?;
        }
        Ok(())
    })
    .await;
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
