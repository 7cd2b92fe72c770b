//! The command line as it is typed. The doc comments are the help; each command's own arguments stand
//! beside its code in `commands`.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    commands::{
        cat::CatArgs, completions::CompletionsArgs, diff_src::DiffSrcArgs, env::EnvArgs,
        ls::LsArgs, man::ManArgs, ps::PsArgs, pull::PullArgs, snapshot::SnapshotArgs,
    },
    target::{Selector, SelectorError, Wanted},
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
    /// List the processes of the target and say which one is looked at, and why
    Ps(PsArgs),
    /// Compare the code that runs with a git ref: `+` is what runs, `-` is what the ref has
    DiffSrc(DiffSrcArgs),
    /// Print the environment that a process was started with
    Env(EnvArgs),
    /// List a folder of the target, as its process sees it
    Ls(LsArgs),
    /// Print files of the target, byte for byte
    Cat(CatArgs),
    /// Copy a file or folder of the target to this machine
    Pull(PullArgs),
    /// Copy all that can be read of the target into one bundle, to look at later
    Snapshot(SnapshotArgs),
    /// Print what a shell needs to complete kdbg's command lines
    Completions(CompletionsArgs),
    /// Write the manual pages to a folder
    Man(ManArgs),
}

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
    /// What to look at: `pid/1234` or `pid/NAME` for a process of this machine and what it has started
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// Look at this process of the target instead of the one that kdbg chooses (see `kdbg ps`)
    #[arg(long, value_name = "PID")]
    pub process: Option<u32>,
}

impl TargetArgs {
    /// The target that is meant.
    pub fn wanted(&self) -> Result<Wanted, SelectorError> {
        let selector: Selector = self.target.parse()?;
        Ok(Wanted {
            selector,
            process: self.process,
        })
    }
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
