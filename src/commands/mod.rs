//! One file a command: arguments in, facts fetched, findings rendered.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use bstr::BString;

use crate::{
    cli::{args::TargetArgs, error::CommandError, printer::Printer},
    evidence::choice::Reason,
    protocol::message::{Process, Reading},
    render::safe,
    target::{
        Place, Target, Wanted,
        pod::{self, Described},
    },
};

mod ahead;
pub mod attach;
pub mod cat;
pub mod cleanup;
pub mod completions;
pub mod curl;
mod declared;
pub mod diagnose;
pub mod diff_pod;
pub mod diff_src;
pub mod dig;
pub mod doctor;
pub mod env;
mod facts;
mod fan_out;
mod fetch;
pub mod files;
mod from;
pub mod keep;
pub mod ls;
pub mod man;
pub mod net;
mod probe;
pub mod ps;
pub mod pull;
mod repository;
mod running;
pub mod snapshot;
mod store;
mod subject;
pub mod tcp;
mod tree;
pub mod watch;
pub mod which_ref;

/// A path of the target, as it was typed.
fn target_path(path: OsString) -> BString {
    path.into_vec().into()
}

/// A path is missing. clap cannot say it: where labels stand for the target, the first word is a path.
fn no_path() -> CommandError {
    CommandError::usage("no path is named")
        .hint("name the target first, then the path, as in `kdbg ls web-7f9c /etc`")
}

/// Opens a target, and says which of its processes is looked at when there was a choice.
async fn open(args: &TargetArgs, printer: &Printer) -> Result<Target, CommandError> {
    let (target, ()) = open_prepared(args, printer, |_| ()).await?;
    Ok(target)
}

/// The same; `prepare` is called when the target is found, before an agent is beside it, with what the cluster tells of it.
async fn open_prepared<P>(
    args: &TargetArgs,
    printer: &Printer,
    prepare: impl FnOnce(Option<Described>) -> P,
) -> Result<(Target, P), CommandError> {
    if args.cluster.all {
        return Err(
            CommandError::usage("this command looks at one pod, not at all of them")
                .hint("leave out `--all`"),
        );
    }
    open_wanted(&args.wanted()?, printer, prepare).await
}

/// The same for what was asked for in another way.
async fn open_wanted<P>(
    wanted: &Wanted,
    printer: &Printer,
    prepare: impl FnOnce(Option<Described>) -> P,
) -> Result<(Target, P), CommandError> {
    let progress = printer.progress(format!("getting beside {}", wanted.selector));
    let (target, prepared) = Target::open_prepared(wanted, prepare).await?;
    drop(progress);
    let chosen = !matches!(target.choice.reason, Reason::Only | Reason::Asked);
    if chosen || matches!(target.place, Place::Pod(_)) {
        say_choice(&target, printer);
    }
    Ok((target, prepared))
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
            say_limits(&target.choice.process, place, printer);
        }
    }
}

/// Says what the agent did not get, where that matters to the user.
fn say_limits(process: &Process, place: &pod::Place, printer: &Printer) {
    if let Some((image, reason)) = &place.missing_image {
        printer.warning(&format!(
            "the node cannot get image {image}, so the agent runs in {}, which it has ({reason})",
            place.agent_image
        ));
    }
    let is_closed = matches!(process.folder, Reading::Unavailable(_));
    for (rung, message) in &place.refused {
        if is_closed {
            printer.warning(&format!(
                "the agent is {}; admission does not let it be {rung}, which may see more: {message}",
                place.rung
            ));
        } else {
            tracing::info!(%rung, message, "admission refused the agent these rights");
        }
    }
}
