//! `kdbg completions`: what a shell needs to complete the command line.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::{error::CommandError, exit::ExitStatus, printer::Printer};

/// Arguments of `kdbg completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs `kdbg completions` for the command line that is given.
pub fn run(
    args: &CompletionsArgs,
    mut kdbg: Command,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    // Into memory first: clap_complete panics when its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut kdbg, "kdbg", &mut script);
    printer
        .data()
        .write_all(&script)
        .map_err(CommandError::output)?;
    Ok(ExitStatus::Complete)
}
