//! Arguments that several commands share, as they are typed. The doc comments are the help; each command's own
//! arguments stand beside its code in `commands`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::target::{
    Selector, SelectorError, Wanted,
    pod::{ClusterOptions, DEFAULT_IMAGE, PodOptions},
};

/// Flags of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// When to use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub color: ColorWhen,
    /// Do not print notes and progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more of what is done; twice for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Even into a pipe
    Always,
    /// Not at all
    Never,
}

/// The target of a command.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    /// What to look at: a pod (`web-7f9c`), something that has pods (`deploy/web`, `sts/`, `ds/`, `rs/`, `job/`, `svc/`), or a
    /// process of this machine and what it has started (`pid/1234`, `pid/NAME`)
    #[arg(value_name = "TARGET", required_unless_present = "labels")]
    pub target: Option<String>,
    /// Look at this process of the target instead of the one that kdbg chooses (see `kdbg ps`)
    #[arg(long, value_name = "PID")]
    pub process: Option<u32>,
    /// How to find the target in a cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How to get beside it.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// Which cluster, namespace and container.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster options")]
pub struct ClusterArgs {
    /// The pods with these labels, as `app=web`
    #[arg(short = 'l', long = "selector", value_name = "LABELS")]
    pub labels: Option<String>,
    /// The namespace of the target
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Look in all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Look at all pods that the target means, not at one of them; `-l` does so by itself
    #[arg(long)]
    pub all: bool,
    /// The container of the pod
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig, instead of `$KUBECONFIG` or `~/.kube/config`
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// The agent's container.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Agent options")]
pub struct AgentArgs {
    /// The image of the agent's container
    #[arg(long, value_name = "IMAGE", env = "KDBG_IMAGE", default_value = DEFAULT_IMAGE, hide_env_values = true)]
    pub image: String,
    /// How long to wait for the agent to start
    #[arg(long, value_name = "TIME", env = "KDBG_TIMEOUT", default_value = "30s", value_parser = duration, hide_env_values = true)]
    pub timeout: Duration,
    /// How long the agent's container rests after the last command before it ends
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    pub idle: Duration,
    /// Give the agent all rights on the node, where admission lets it
    #[arg(long)]
    pub privileged: bool,
    /// Start a session of its own, also when `kdbg keep` holds one ready
    #[arg(long, env = "KDBG_NO_KEEP", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub no_keep: bool,
}

impl TargetArgs {
    /// Whether all pods are meant, for a command that can look at several.
    pub fn means_all(&self) -> bool {
        self.cluster.all || self.cluster.labels.is_some()
    }

    /// Takes back a path that was typed where a target would stand, had there been no labels.
    pub fn misplaced(&mut self) -> Option<OsString> {
        self.cluster.labels.as_ref()?;
        self.target.take().map(OsString::from)
    }

    /// The target as it was typed.
    pub fn named(&self) -> String {
        match (&self.target, &self.cluster.labels) {
            (Some(target), _) => target.clone(),
            (None, Some(labels)) => format!("-l {labels}"),
            (None, None) => String::new(),
        }
    }

    /// The target that is meant.
    pub fn wanted(&self) -> Result<Wanted, SelectorError> {
        let labels = self.cluster.labels.as_deref();
        Ok(Wanted {
            selector: Selector::of(self.target.as_deref(), labels)?,
            process: self.process,
            pod: self.pod_options(),
        })
    }

    /// How to get beside a container of a pod.
    pub fn pod_options(&self) -> PodOptions {
        PodOptions {
            cluster: self.cluster.options(),
            container: self.cluster.container.clone(),
            image: self.agent.image.clone(),
            idle: self.agent.idle,
            limit: self.agent.timeout,
            privileged: self.agent.privileged,
            chroot: false,
            keep: !self.agent.no_keep,
        }
    }
}

impl ClusterArgs {
    /// Which cluster and namespace.
    pub fn options(&self) -> ClusterOptions {
        ClusterOptions {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            namespace: self.namespace.clone(),
            all_namespaces: self.all_namespaces,
        }
    }
}

/// A time as people write it: `30s`, `15m`, `1h30m`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = short_time(text)?;
    if duration < Duration::from_secs(1) {
        return Err("it must be at least a second".to_owned());
    }
    Ok(duration)
}

/// The same for times that may be shorter than a second: `200ms`, `0.2`, but not none.
pub fn short_time(text: &str) -> Result<Duration, String> {
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = text.parse::<f64>().ok().filter(|_| is_number);
    let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let duration = seconds.map_or_else(
        || {
            let span: jiff::SignedDuration = text
                .parse()
                .map_err(|error: jiff::Error| error.to_string())?;
            Duration::try_from(span).map_err(|_| "a time cannot be negative".to_owned())
        },
        Ok,
    )?;
    if duration < Duration::from_millis(1) {
        return Err("it must be at least a millisecond".to_owned());
    }
    Ok(duration)
}

/// Text for people, or JSON for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// For programs; see `schema` for its version
    Json,
}
