//! One file a command: arguments in, facts fetched, findings rendered.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use bstr::BString;

use crate::{
    cli::{args::TargetArgs, error::CommandError, printer::Printer},
    evidence::choice::Reason,
    render::safe,
    target::Target,
};

pub mod attach;
pub mod cat;
pub mod completions;
pub mod diff_src;
pub mod env;
mod fetch;
pub mod ls;
pub mod man;
pub mod ps;
pub mod pull;
pub mod snapshot;
mod store;
mod subject;
mod tree;

/// A path of the target, as it was typed.
fn target_path(path: OsString) -> BString {
    path.into_vec().into()
}

/// Opens a target, and says which of its processes is looked at when there was a choice.
async fn open(args: &TargetArgs, printer: &Printer) -> Result<Target, CommandError> {
    let target = Target::open(&args.wanted()?).await?;
    if !matches!(target.choice.reason, Reason::Only | Reason::Asked) {
        say_choice(&target, printer);
    }
    Ok(target)
}

/// Says which process is looked at, and why.
fn say_choice(target: &Target, printer: &Printer) {
    let process = target.process();
    let (pid, name) = (process.id.pid, safe(&process.name));
    printer.note(&format!(
        "looking at {pid} ({name}): {}",
        target.choice.because()
    ));
}
