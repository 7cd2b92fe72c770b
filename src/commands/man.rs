//! `kdbg man`: the manual pages, one a command.

use std::path::PathBuf;

use clap::{Args, Command};

use crate::cli::{error::CommandError, exit::ExitStatus, printer::Printer};

/// Arguments of `kdbg man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The folder to write them to; made when it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Runs `kdbg man` for the command line that is given.
pub fn run(
    args: &ManArgs,
    kdbg: Command,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let failed = |error| CommandError::output_to(&args.folder, &error);
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    clap_mangen::generate_to(kdbg, &args.folder).map_err(failed)?;
    printer.note(&format!(
        "read them with `man -M {0}` or `man {0}/kdbg.1`",
        args.folder.display()
    ));
    Ok(ExitStatus::Complete)
}
