//! Sessions that are held ready: the same answers, no request to start anything, and never those of a target that was.

use std::{collections::HashSet, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use super::lifetime::{nobody_serves, restart, target};
use crate::harness::{Account, Failure, Level, PATIENCE, Ran, Test, check, run, wait_until};

/// An account that may look at the pod `app`, and a folder for the sockets of its keepers.
struct User<'a> {
    test: &'a Test,
    account: Account,
    /// What gives it its rights.
    binding: String,
    runtime: tempfile::TempDir,
}

impl<'a> User<'a> {
    /// Starts the pod, and gives an account what `doctor` says it needs.
    async fn with_target(test: &'a Test) -> Result<Self, Failure> {
        test.start(target("app")).await?;
        let account = test.account("helper").await?;
        let role = test
            .kdbg_as(&account, &["doctor", "app", "--role", "-o", "json"])
            .await?
            .ended_with(0)?
            .json()?;
        let (role, binding) = (&role["items"][0], &role["items"][1]);
        test.grant(&account, role, binding).await?;
        let name = binding["metadata"]["name"].as_str();
        Ok(Self {
            test,
            account,
            binding: name.unwrap_or_default().to_owned(),
            runtime: tempfile::tempdir().map_err(Failure::of("make a folder"))?,
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.test.kdbg_command(arguments);
        command
            .args(["--namespace", &self.test.namespace])
            .env("KUBECONFIG", self.account.kubeconfig())
            .env("XDG_RUNTIME_DIR", self.runtime.path());
        command
    }

    async fn kdbg(&self, arguments: &[&str]) -> Result<Ran, Failure> {
        self.test.run_to_end(self.command(arguments)).await
    }

    /// The pod's part of a report.
    async fn place(&self) -> Result<Value, Failure> {
        let ran = self.kdbg(&["ps", "app", "-o", "json"]).await?;
        Ok(ran.ended_with(0)?.json()?["chosen"]["pod"].clone())
    }

    /// Waits until a command gets a session that was held ready.
    async fn is_served(&self) -> Result<Value, Failure> {
        wait_until(
            &self.test.cluster,
            "a command gets a session that was held ready",
            async || {
                let place = self.place().await?;
                Ok(if place["agent"]["kept"] == true {
                    Ok(place)
                } else {
                    Err(place.to_string())
                })
            },
        )
        .await
    }

    /// Starts a keeper and waits until it has a session.
    async fn keep(&self, more: &[&str]) -> Result<(Child, Lines<BufReader<ChildStderr>>), Failure> {
        let mut command = self.command(&[&["keep", "app"], more].concat());
        command.stdout(Stdio::null());
        ready(command).await
    }

    fn sockets(&self) -> Result<usize, Failure> {
        let entries = std::fs::read_dir(self.runtime.path().join("kdbg"));
        Ok(entries.map_err(Failure::of("list the sockets"))?.count())
    }
}

/// Starts a keeper and waits until it has a session.
async fn ready(mut command: Command) -> Result<(Child, Lines<BufReader<ChildStderr>>), Failure> {
    let mut keeper = command.spawn().map_err(Failure::of("start kdbg keep"))?;
    let stderr = keeper.stderr.take();
    let stderr = stderr.ok_or_else(|| Failure::new("no stderr"))?;
    let mut lines = BufReader::new(stderr).lines();
    said(&mut lines, "is ready").await?;
    Ok((keeper, lines))
}

/// Waits until a keeper says something, and returns the line.
async fn said(lines: &mut Lines<BufReader<ChildStderr>>, text: &str) -> Result<String, Failure> {
    let mut all = Vec::new();
    let waiting = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains(text) {
                return Ok(line);
            }
            all.push(line);
        }
        Err(Failure::new(format!("no {text:?} in {all:?}")))
    };
    let answer = tokio::time::timeout(PATIENCE, waiting).await;
    answer.map_err(|_| Failure::new(format!("the keeper does not say {text:?}")))?
}

async fn ended(keeper: &mut Child) -> Result<Option<i32>, Failure> {
    let status = tokio::time::timeout(PATIENCE, keeper.wait()).await;
    let status = status.map_err(|_| Failure::new("the keeper does not end"))?;
    Ok(status.map_err(Failure::of("wait for the keeper"))?.code())
}

/// How many times an account has asked the API server to start a program.
fn executions(test: &Test, account: &Account) -> Result<usize, Failure> {
    let log = test.cluster.folder().join("log/audit.log");
    let text = std::fs::read_to_string(&log).map_err(Failure::of("read the audit log"))?;
    let requests: HashSet<_> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| {
            event["user"]["username"] == account.user.as_str()
                && event["objectRef"]["subresource"] == "exec"
        })
        .map(|event| event["auditID"].to_string())
        .collect();
    Ok(requests.len())
}

#[tokio::test]
#[ignore = "needs a cluster: with an audit log that can be read; the target's container is restarted"]
async fn a_kept_session_answers_as_an_own_one_and_never_for_what_was() {
    run("k-keep", Level::Restricted, async |test| {
        let user = User::with_target(test).await?;
        let commands: [&[&str]; 3] = [&["env", "app"], &["cat", "app", "/tmp/big"], &["ps", "app"]];
        let mut own = Vec::new();
        for command in commands {
            own.push(user.kdbg(command).await?.ended_with(0)?.stdout);
        }

        let before = executions(test, &user.account)?;
        let (mut keeper, mut lines) = user.keep(&[]).await?;
        let first = user.is_served().await?;
        // two at once, then one after the other
        let (one, two) = tokio::join!(user.place(), user.place());
        let (one, two) = (one?, two?);
        check(
            one["container_id"] == first["container_id"]
                && two["agent"]["container"] == first["agent"]["container"],
            || format!("{first} {one} {two}"),
        )?;
        for (command, own) in commands.iter().zip(&own) {
            let ran = user.kdbg(command).await?.ended_with(0)?;
            check(ran.stdout == *own, || {
                format!("another answer than without a keeper: {ran}")
            })?;
        }
        let counted = executions(test, &user.account)? - before;
        // the keeper's first look, one that is ready, and one anew for each command: were the commands to ask by
        // themselves, there would be twice as many
        check(counted <= 2 + 6 + 2, || {
            format!("{counted} programs were started for 6 commands")
        })?;

        restart(test, "app").await?;
        let place = user.place().await?;
        check(place["container_id"] != first["container_id"], || {
            format!("the answer of a target that was: {place}")
        })?;
        said(&mut lines, "no session is ready: ").await?;
        let again = user.is_served().await?;
        check(again["container_id"] == place["container_id"], || {
            format!("{again} {place}")
        })?;

        keeper
            .kill()
            .await
            .map_err(Failure::of("kill the keeper"))?;
        check(user.sockets()? > 0, || "it removed its sockets".to_owned())?;
        let place = user.place().await?;
        check(
            place["agent"]["kept"] == false && place["agent"]["reused"] == true,
            || place.to_string(),
        )?;
        nobody_serves(test, "app").await
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: a pod is deleted, and a right is taken away"]
async fn a_keeper_ends_with_its_pod_its_right_or_its_time_and_leaves_nothing() {
    run("k-end", Level::Restricted, async |test| {
        let user = User::with_target(test).await?;
        let (mut keeper, mut lines) = user.keep(&["--idle", "1s"]).await?;
        said(&mut lines, "no command has come for 1 s").await?;
        let code = ended(&mut keeper).await?;
        check(code == Some(0) && user.sockets()? == 0, || {
            format!("exit code {code:?}, {:?} sockets", user.sockets())
        })?;

        let (mut keeper, mut lines) = user.keep(&[]).await?;
        let second = user.kdbg(&["keep", "app"]).await?.ended_with(2)?;
        second.said("another `kdbg keep` has it already (process ")?;
        user.is_served().await?;
        test.api::<k8s_openapi::api::rbac::v1::RoleBinding>()
            .delete(&user.binding, &kube::api::DeleteParams::default())
            .await?;
        // the next command shows it, once the API server has noticed
        wait_until(&test.cluster, "the right is gone", async || {
            let ran = user.kdbg(&["ps", "app"]).await?;
            Ok(if ran.code == Some(4) {
                Ok(())
            } else {
                Err(ran.to_string())
            })
        })
        .await?;
        said(&mut lines, "error: not allowed to ").await?;
        let code = ended(&mut keeper).await?;
        check(code == Some(4) && user.sockets()? == 0, || {
            format!("exit code {code:?}")
        })?;
        nobody_serves(test, "app").await?;

        // as the administrator, whose keeper it is then; for a program, which reads lines
        let mine = |words: &[&str]| {
            let mut command = test.kdbg_command(words);
            command.env("XDG_RUNTIME_DIR", user.runtime.path());
            command
        };
        let mut command = mine(&["keep", "app", "-o", "json"]);
        command.stdout(Stdio::piped());
        let (mut keeper, mut lines) = ready(command).await?;
        let stdout = keeper.stdout.take();
        let stdout = stdout.ok_or_else(|| Failure::new("no stdout"))?;
        let mut events = BufReader::new(stdout).lines();
        let told = event(&mut events, "ready").await?;
        let sockets = told["sockets"].as_array().map(Vec::as_slice);
        check(
            told["pod"] == "app"
                && told["container"] == "app"
                && told["agent"]["rung"] == "a"
                && told["agent"]["version"].is_string()
                && sockets.is_some_and(|sockets| sockets.len() == 2),
            || told.to_string(),
        )?;
        pods_of_other_names_are_kept_too(test, &mine).await?;
        test.api::<k8s_openapi::api::core::v1::Pod>()
            .delete("app", &kube::api::DeleteParams::default())
            .await?;
        said(&mut lines, "error: pod app ").await?;
        let told = event(&mut events, "ended").await?;
        check(told["reason"] == "over", || told.to_string())?;
        let code = ended(&mut keeper).await?;
        check(code == Some(4) && user.sockets()? == 0, || {
            format!("exit code {code:?}")
        })
    })
    .await;
}

/// The next event of a kind that a keeper tells a program.
async fn event(events: &mut Lines<BufReader<ChildStdout>>, kind: &str) -> Result<Value, Failure> {
    let waiting = async {
        while let Ok(Some(line)) = events.next_line().await {
            let told: Value = serde_json::from_str(&line).map_err(Failure::of("read a line"))?;
            check(told["schema"] == 1, || line.clone())?;
            if told["event"] == kind {
                return Ok(told);
            }
        }
        Err(Failure::new(format!("no event {kind:?}")))
    };
    let answer = tokio::time::timeout(PATIENCE, waiting).await;
    answer.map_err(|_| Failure::new(format!("the keeper does not tell {kind:?}")))?
}

/// A command that finds the pod through something else, or looks at several, gets the session that is ready too; and
/// where one of several pods is kept, the other ones answer as well.
async fn pods_of_other_names_are_kept_too(
    test: &Test,
    command: &impl Fn(&[&str]) -> Command,
) -> Result<(), Failure> {
    test.service("app", 80).await?;
    // of the same labels, and kept by nobody
    let mut other = target("other");
    other["metadata"]["labels"] = json!({"app": "app", "only": "other"});
    let labels = "app=app,only!=other";
    let kept = async |words: &[&str]| {
        wait_until(
            &test.cluster,
            "the session that is ready is used",
            async || {
                let words = [words, &["-o", "json"]].concat();
                let ran = test.run_to_end(command(&words)).await?.ended_with(0)?;
                let report = ran.json()?;
                let groups = report["groups"].as_array().cloned();
                let reports = groups.map_or(vec![report.clone()], |groups| {
                    groups.iter().map(|group| group["report"].clone()).collect()
                });
                let of_app = reports
                    .iter()
                    .map(|report| &report["chosen"]["pod"])
                    .find(|pod| pod["name"] == "app");
                Ok(match of_app {
                    Some(pod) if pod["agent"]["kept"] == true => Ok(reports),
                    _ => Err(ran.to_string()),
                })
            },
        )
        .await
    };
    kept(&["ps", "svc/app"]).await?;
    kept(&["ps", "-l", labels]).await?;
    kept(&["ps", "svc/app", "--all"]).await?;
    test.start(other).await?;
    let reports = kept(&["ps", "-l", "app=app"]).await?;
    let own = |report: &&Value| report["chosen"]["pod"]["agent"]["kept"] == false;
    check(reports.iter().filter(own).count() == 1, || {
        format!("{reports:?}")
    })
}
