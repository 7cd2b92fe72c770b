//! kdbg itself, run in the namespace of a test as a person would run it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use kube::config::{Context, Kubeconfig};
use serde_json::Value;
use tokio::process::Command;

use super::pod::image_name;
use super::test::Test;
use super::wait::{Failure, PATIENCE, check};

/// No command takes longer, whatever happens; its own deadlines are shorter.
const KDBG_LIMIT: Duration = PATIENCE;

/// What kdbg printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
    what: String,
}

impl Ran {
    fn of(command: &Command, output: &Output, took: Duration) -> Self {
        let words = command
            .as_std()
            .get_args()
            .map(std::ffi::OsStr::to_string_lossy);
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took,
            what: words.collect::<Vec<_>>().join(" "),
        }
    }

    /// Fails with all that kdbg said unless it ended with this exit code.
    pub(crate) fn ended_with(self, code: i32) -> Result<Self, Failure> {
        check(self.code == Some(code), || {
            format!("expected exit code {code}: {self}")
        })?;
        Ok(self)
    }

    /// Fails unless kdbg said this on its standard error.
    pub(crate) fn said(self, text: &str) -> Result<Self, Failure> {
        check(self.stderr.contains(text), || {
            format!("expected the message {text:?}: {self}")
        })?;
        Ok(self)
    }

    /// Reads its standard output as JSON.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_str(&self.stdout)
            .map_err(|error| Failure::new(format!("no JSON ({error}): {self}")))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "`kdbg {}` ended with {:?} after {:.1?}\n--- stdout\n{}--- stderr\n{}",
            self.what, self.code, self.took, self.stdout, self.stderr
        )
    }
}

impl Test {
    /// Runs kdbg to its end with the namespace of the test as its default.
    pub(crate) async fn kdbg(&self, arguments: &[&str]) -> Result<Ran, Failure> {
        self.run_to_end(self.kdbg_command(arguments)).await
    }

    /// Runs a command of [`Self::kdbg_command`] to its end.
    pub(crate) async fn run_to_end(&self, command: Command) -> Result<Ran, Failure> {
        self.run_within(command, KDBG_LIMIT).await
    }

    /// Runs a command of [`Self::kdbg_command`] to its end, which must come in this time.
    pub(crate) async fn run_within(
        &self,
        mut command: Command,
        limit: Duration,
    ) -> Result<Ran, Failure> {
        let started = Instant::now();
        match tokio::time::timeout(limit, command.output()).await {
            Ok(Ok(output)) => Ok(Ran::of(&command, &output, started.elapsed())),
            Ok(Err(error)) => Err(Failure::of("run kdbg")(error)),
            Err(_) => Err(Failure::new(format!(
                "{:?} did not end within {} s",
                command.as_std(),
                limit.as_secs()
            ))),
        }
    }

    /// Returns kdbg, ready to be started. It ends with its handle.
    pub(crate) fn kdbg_command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_kdbg")), arguments)
    }

    /// Returns kdbg, ready to be started in the network of the node of an own cluster, with a cache that goes with the test.
    pub(crate) fn kdbg_on_node(&self, arguments: &[&str]) -> Result<Command, Failure> {
        let (script, words) = self.cluster.on_node()?;
        // The script has its own things in the cache of the user.
        let cache = format!("XDG_CACHE_HOME={}/cache", self.folder.path().display());
        let kdbg = ["env", &cache, env!("CARGO_BIN_EXE_kdbg")];
        let words = words.iter().map(String::as_str).chain(kdbg);
        let words: Vec<&str> = words.chain(arguments.iter().copied()).collect();
        Ok(self.command_of(&script, &words))
    }

    /// Returns another program in the place of kdbg.
    pub(crate) fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .env("KDBG_IMAGE", image_name("kdbg-agent:dev"))
            // Many tests share two cores; how fast an agent starts is for the benchmarks.
            .env("KDBG_TIMEOUT", "5m")
            .env("TZ", "UTC")
            .env_remove("KDBG_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Writes a kubeconfig whose namespace is that of the test, and which may act as somebody else.
    pub(crate) fn write_kubeconfig(
        &self,
        name: &str,
        act_as: Option<&str>,
    ) -> Result<PathBuf, Failure> {
        let mut config = Kubeconfig::read_from(self.cluster.kubeconfig())
            .map_err(Failure::of("read the kubeconfig"))?;
        let current = config.current_context.clone();
        for named in &mut config.contexts {
            if Some(&named.name) == current.as_ref() {
                named.context.get_or_insert_with(Context::default).namespace =
                    Some(self.namespace.clone());
            }
        }
        for user in &mut config.auth_infos {
            if let Some(user) = &mut user.auth_info {
                user.impersonate = act_as.map(str::to_owned);
            }
        }
        let path = self.folder.path().join(name);
        // JSON is YAML
        let text = serde_json::to_string(&config).map_err(Failure::of("write a kubeconfig"))?;
        std::fs::write(&path, text).map_err(Failure::of("write a kubeconfig"))?;
        Ok(path)
    }
}
