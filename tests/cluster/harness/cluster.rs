//! Which cluster is used, and what the node can tell about itself when it is one of `scripts/cluster`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::wait::Failure;

/// A cluster that answers.
#[derive(Clone)]
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
    /// The name by which `scripts/cluster` knows it; none for a cluster that was made by something else.
    name: Option<String>,
}

impl Cluster {
    /// Returns the cluster that the tests share: the one of `KDBG_TEST_KUBECONFIG`, or an own one that is brought up.
    pub(crate) fn shared() -> Result<Self, Failure> {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match std::env::var_os("KDBG_TEST_KUBECONFIG") {
            Some(path) => Ok(Self {
                kubeconfig: path.into(),
                name: std::env::var("KDBG_TEST_CLUSTER")
                    .ok()
                    .filter(|name| !name.is_empty()),
            }),
            None => Self::prepare().map_err(|failure| failure.to_string()),
        });
        shared.clone().map_err(Failure::new)
    }

    /// Brings up a cluster of this name with nothing in it; for a test that breaks its cluster.
    pub(crate) fn start(name: &str) -> Result<Self, Failure> {
        // what an interrupted test has left is not what this one starts with
        script("cluster", &["--name", name, "down"])?;
        script("cluster", &["--name", name, "up"])?;
        Ok(Self {
            kubeconfig: kubeconfig_of(name)?,
            name: Some(name.to_owned()),
        })
    }

    /// Takes the cluster down.
    pub(crate) fn stop(&self) -> Result<(), Failure> {
        self.control(&["down"]).map(drop)
    }

    /// Brings up the cluster of the tests with their images in it.
    fn prepare() -> Result<Self, Failure> {
        let name = std::env::var("KDBG_CLUSTER").unwrap_or_else(|_| "kdbg".to_owned());
        script("test-cluster", &["--prepare"])?;
        Ok(Self {
            kubeconfig: kubeconfig_of(&name)?,
            name: Some(name),
        })
    }

    /// Connects a client. Each test has its own: a client belongs to the runtime that made it.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        // The second call of a process is refused, and that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig =
            Kubeconfig::read_from(&self.kubeconfig).map_err(Failure::of("read the kubeconfig"))?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(Failure::of("use the kubeconfig"))?;
        config.connect_timeout = Some(Duration::from_secs(30));
        config.read_timeout = Some(Duration::from_mins(1));
        Client::try_from(config).map_err(Failure::of("connect to the cluster"))
    }

    /// Returns the name of an own cluster, or says on stderr that the test does nothing on a foreign one.
    pub(crate) fn own(&self, need: &str) -> bool {
        if self.name.is_none() {
            eprintln!("skipped: needs a cluster of scripts/cluster, for {need}");
        }
        self.name.is_some()
    }

    /// Returns a kubeconfig for the same cluster with a token instead.
    pub(crate) fn kubeconfig_with_token(&self, token: &str) -> Result<Value, Failure> {
        let ours =
            Kubeconfig::read_from(&self.kubeconfig).map_err(Failure::of("read the kubeconfig"))?;
        let mut cluster = serde_json::to_value(ours.clusters.first())
            .map_err(Failure::of("write a kubeconfig"))?;
        cluster["name"] = "cluster".into();
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [{"name": "account", "user": {"token": token}}],
            "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "account"}}],
            "current-context": "context",
        }))
    }

    /// Returns the folder of an own cluster, which holds its logs and static pods.
    pub(crate) fn folder(&self) -> &Path {
        self.kubeconfig
            .parent()
            .expect("a kubeconfig is a file in a folder")
    }

    /// Returns the configuration by which clients find the cluster.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Returns what runs a program on the node of an own cluster: itself and its first arguments.
    pub(crate) fn on_node(&self) -> Result<(PathBuf, Vec<String>), Failure> {
        let name = self.own_name()?;
        let words = ["--name", name, "exec"].map(str::to_owned);
        Ok((script_path("cluster"), words.to_vec()))
    }

    fn own_name(&self) -> Result<&str, Failure> {
        let name = self.name.as_deref();
        name.ok_or_else(|| Failure::new("this cluster is not one of scripts/cluster"))
    }

    /// Runs `scripts/cluster --name NAME ARGUMENTS` and returns what it printed.
    pub(crate) fn control(&self, arguments: &[&str]) -> Result<String, Failure> {
        let name = self.own_name()?;
        script("cluster", &[&["--name", name], arguments].concat())
    }

    /// Returns what is wrong with the programs of an own cluster, with the last lines of their logs.
    pub(crate) fn broken(&self) -> Option<String> {
        let name = self.name.as_deref()?;
        let output = script_output("cluster", &["--name", name, "status"]).ok()?;
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn kubeconfig_of(name: &str) -> Result<PathBuf, Failure> {
    Ok(script("cluster", &["--name", name, "kubeconfig"])?
        .trim_end()
        .into())
}

fn script(name: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = script_output(name, arguments)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!(
            "`scripts/{name} {}` failed ({}):\n{said}",
            arguments.join(" "),
            output.status
        )))
    }
}

fn script_output(name: &str, arguments: &[&str]) -> Result<Output, Failure> {
    Command::new(script_path(name))
        .args(arguments)
        .output()
        .map_err(Failure::of("run the script"))
}

fn script_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(name)
}
