//! Arguments that several commands share, as they are typed. The doc comments are the help; each command's own
//! arguments stand beside its code in `commands`.

use clap::{Args, ValueEnum};

use crate::target::{Selector, SelectorError, Wanted};

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
