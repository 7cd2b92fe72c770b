//! The command line as a whole. The doc comments are the help.

use clap::{Parser, Subcommand};

use super::args::Global;
use crate::commands::{
    attach::AttachArgs, cat::CatArgs, cleanup::CleanupArgs, completions::CompletionsArgs,
    curl::CurlArgs, diagnose::DiagnoseArgs, diff_pod::DiffPodArgs, diff_src::DiffSrcArgs,
    dig::DigArgs, doctor::DoctorArgs, env::EnvArgs, files::FilesArgs, keep::KeepArgs, ls::LsArgs,
    man::ManArgs, net::NetArgs, ps::PsArgs, pull::PullArgs, snapshot::SnapshotArgs, tcp::TcpArgs,
    watch::WatchArgs, which_ref::WhichRefArgs,
};

/// Look into a process that has nothing to look with: its environment, its files, and how its code differs
/// from git.
#[derive(Debug, Parser)]
#[command(
    name = "kdbg",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What applies to every command.
    #[command(flatten)]
    pub global: Global,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open a shell beside the target, or run a command there
    Attach(AttachArgs),
    /// Say what is the matter with the target, from its environment, its code, the repository and the cluster
    Diagnose(DiagnoseArgs),
    /// List the processes of the target and say which one is looked at, and why
    Ps(PsArgs),
    /// Compare the code that runs with a git ref: `+` is what runs, `-` is what the ref has
    DiffSrc(DiffSrcArgs),
    /// Compare two targets: image, executable, running files and environment
    DiffPod(DiffPodArgs),
    /// Find the commit that runs, among all branches, tags and pull requests
    WhichRef(WhichRefArgs),
    /// Print the environment that a process was started with
    Env(EnvArgs),
    /// List what a process holds open, how full its file systems are, and what is wrong with it
    Files(FilesArgs),
    /// List a folder of the target, as its process sees it
    Ls(LsArgs),
    /// Print files of the target, byte for byte
    Cat(CatArgs),
    /// Copy a file or folder of the target to this machine
    Pull(PullArgs),
    /// Copy all that can be read of the target into one bundle, to look at later
    Snapshot(SnapshotArgs),
    /// Send an HTTP request from where the target stands, each phase timed
    Curl(CurlArgs),
    /// Look up a name as the target does, question by question
    Dig(DigArgs),
    /// List who is connected to whom, whose each peer is, and what is wrong with that
    Net(NetArgs),
    /// Connect from where the target stands, and say what answers
    Tcp(TcpArgs),
    /// Show what a process uses, live: processor, memory against limits, throttling, descriptors, sockets, restarts
    Watch(WatchArgs),
    /// Find out what a command on a target would meet, without changing anything: permissions, policy, node
    Doctor(DoctorArgs),
    /// Hold a session to a pod ready, so that the commands on it start at once
    Keep(KeepArgs),
    /// End the agents that rest in pods
    Cleanup(CleanupArgs),
    /// Print what a shell needs to complete kdbg's command lines
    Completions(CompletionsArgs),
    /// Write the manual pages to a folder
    Man(ManArgs),
}
