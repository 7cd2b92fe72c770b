//! One file a command: arguments in, facts fetched, findings rendered.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use bstr::BString;

use crate::{
    cli::{args::TargetArgs, error::CommandError, printer::Printer},
    evidence::choice::Reason,
    render::safe,
    target::{Place, Target},
};

pub mod cat;
pub mod cleanup;
pub mod completions;
pub mod diff_src;
pub mod doctor;
pub mod env;
mod fan_out;
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
    let wanted = args.wanted()?;
    let progress = printer.progress(format!("getting beside {}", wanted.selector));
    let target = Target::open(&wanted).await?;
    drop(progress);
    let chosen = !matches!(target.choice.reason, Reason::Only | Reason::Asked);
    if chosen || matches!(target.place, Place::Pod(_)) {
        say_choice(&target, printer);
    }
    Ok(target)
}

/// Says which process is looked at, and why.
fn say_choice(target: &Target, printer: &Printer) {
    let process = target.process();
    let (pid, name) = (process.id.pid, safe(&process.name));
    let because = target.choice.because();
    match &target.place {
        Place::Machine(_) => printer.note(&format!("looking at {pid} ({name}): {because}")),
        Place::Pod(place) => {
            let of = if place.of > 1 {
                format!(" (1 of {})", place.of)
            } else {
                String::new()
            };
            printer.note(&format!(
                "looking at pod {}{of}, container {}, process {pid} ({name}): {because}",
                place.pod, place.container
            ));
            for (rung, message) in &place.refused {
                tracing::info!(%rung, message, "admission refused the agent these rights");
            }
        }
    }
}
