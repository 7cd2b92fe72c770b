//! Sessions that are held ready: the same answers, no request to start anything, and never those of a target that was.

use std::{collections::HashSet, path::Path, process::Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use super::lifetime::{nobody_serves, restart, target};
use crate::harness::{Account, Failure, Level, PATIENCE, Ran, Test, check, run, wait_until};

/// An account, and a folder for the sockets of its keepers.
struct User<'a> {
    test: &'a Test,
    account: &'a Account,
    runtime: &'a Path,
}

impl User<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.test.kdbg_command(arguments);
        command
            .args(["--namespace", &self.test.namespace])
            .env("KUBECONFIG", self.account.kubeconfig())
            .env("XDG_RUNTIME_DIR", self.runtime);
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
        let mut keeper = self
            .command(&[&["keep", "app"], more].concat())
            .stdout(Stdio::null())
            .spawn()
            .map_err(Failure::of("start kdbg keep"))?;
        let stderr = keeper.stderr.take();
        let stderr = stderr.ok_or_else(|| Failure::new("no stderr"))?;
        let mut lines = BufReader::new(stderr).lines();
        said(&mut lines, "is ready").await?;
        Ok((keeper, lines))
    }

    fn sockets(&self) -> Result<usize, Failure> {
        let entries = std::fs::read_dir(self.runtime.join("kdbg"));
        Ok(entries.map_err(Failure::of("list the sockets"))?.count())
    }
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
        test.start(target("app")).await?;
        let account = test.account("helper").await?;
        let role = test
            .kdbg_as(&account, &["doctor", "app", "--role", "-o", "json"])
            .await?
            .ended_with(0)?
            .json()?;
        test.grant(&account, &role["items"][0], &role["items"][1])
            .await?;
        let runtime = tempfile::tempdir().map_err(Failure::of("make a folder"))?;
        let user = User {
            test,
            account: &account,
            runtime: runtime.path(),
        };
        let commands: [&[&str]; 3] = [&["env", "app"], &["cat", "app", "/tmp/big"], &["ps", "app"]];
        let mut own = Vec::new();
        for command in commands {
            own.push(user.kdbg(command).await?.ended_with(0)?.stdout);
        }

        let before = executions(test, &account)?;
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
        let counted = executions(test, &account)? - before;
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
        test.start(target("app")).await?;
        let account = test.account("helper").await?;
        let role = test
            .kdbg_as(&account, &["doctor", "app", "--role", "-o", "json"])
            .await?
            .ended_with(0)?
            .json()?;
        test.grant(&account, &role["items"][0], &role["items"][1])
            .await?;
        let runtime = tempfile::tempdir().map_err(Failure::of("make a folder"))?;
        let user = User {
            test,
            account: &account,
            runtime: runtime.path(),
        };
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
            .delete(
                role["items"][1]["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default(),
                &kube::api::DeleteParams::default(),
            )
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

        // as the administrator, whose keeper it is then
        let mut keeper = test
            .kdbg_command(&["keep", "app"])
            .env("XDG_RUNTIME_DIR", runtime.path())
            .stdout(Stdio::null())
            .spawn()
            .map_err(Failure::of("start kdbg keep"))?;
        let stderr = keeper
            .stderr
            .take()
            .ok_or_else(|| Failure::new("no stderr"))?;
        let mut lines = BufReader::new(stderr).lines();
        said(&mut lines, "is ready").await?;
        test.api::<k8s_openapi::api::core::v1::Pod>()
            .delete("app", &kube::api::DeleteParams::default())
            .await?;
        said(&mut lines, "error: pod app ").await?;
        let code = ended(&mut keeper).await?;
        check(code == Some(4) && user.sockets()? == 0, || {
            format!("exit code {code:?}")
        })
    })
    .await;
}
