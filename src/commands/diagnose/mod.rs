//! `kdbg diagnose`: what is the matter with a target, from all that can be known of it at once.
//!
//! The probes run side by side, each within the deadline; what one of them cannot read is a fact, and never fails the
//! others. What they found goes to [`findings::judge`], which alone decides what it means.

mod bundle;
mod code;
mod limit;
mod look;
mod network;
mod raw;
mod several;
mod symptom;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;

use self::{
    bundle::{Kept, Report},
    look::{Early, Opening},
    raw::Raw,
};
use super::{curl, declared::Ask, diff_src::Reference, subject::Subject};
use crate::{
    cli::{
        args::{TargetArgs, duration},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    evidence::findings,
    extract::Destination,
    protocol::Hello,
    render::{
        findings::{JsonVerdict, text},
        safe,
    },
    target::pod::Described,
};

/// Arguments of `kdbg diagnose`.
#[derive(Args, Debug)]
pub struct DiagnoseArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The branch, tag or commit that should be running [default: the repository's default branch]
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// The repository: a work tree, a bare repository, a `.git` folder or a URL [default: the one around the
    /// current directory, if there is one]
    #[arg(long, value_name = "PATH|URL")]
    repo: Option<String>,
    /// What somebody complains of: a URL that is asked for from where the process stands, as `kdbg curl` does; `:8080/x`
    /// is the process's own listener
    #[arg(long, value_name = "URL")]
    symptom: Option<String>,
    /// Ask the registry of the pod's image what variables it sets
    #[arg(long)]
    registry: bool,
    /// How long to look, once the agent is there; what is not known by then is said to be unknown
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    deadline: Duration,
    /// Keep what was found in this new folder; `kdbg diagnose DIR` shows it again, without a cluster
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    /// Print passwords, tokens and keys as they are
    #[arg(long)]
    show_secrets: bool,
}

/// The formats of a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs; see `schema` for its version
    Json,
    /// One file that needs nothing else, to attach to an incident
    Html,
}

/// Runs `kdbg diagnose`.
pub async fn run(args: DiagnoseArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    if let Some(folder) = bundle::folder(args.target.target.as_deref()) {
        return again(&args, &folder, printer);
    }
    args.target.wanted()?;
    let destination = args
        .save
        .as_ref()
        .map(|path| Destination::new(path, false))
        .transpose()?;
    if let Some(url) = &args.symptom {
        curl::check(url)?;
    }
    let reference = Opening::new();
    let messages = printer.messages();
    let opening = open_and_warm(&args, &reference, &messages);
    let work = async {
        if args.target.means_all() {
            several::run(&args, &reference, destination.as_ref(), printer).await
        } else {
            one(&args, &reference, destination.as_ref(), printer).await
        }
    };
    let (mut opening, mut work) = (Box::pin(opening), Box::pin(work));
    // What is wrong with the command line matters more than what is wrong with the target.
    tokio::select! {
        biased;
        opened = &mut opening => {
            opened?;
            work.await
        }
        status = &mut work => {
            if status.is_err() && !reference.initialized() {
                opening.await?;
            }
            status
        }
    }
}

/// Opens the reference, hands it to whoever waits, and reads of it what they will ask for.
async fn open_and_warm(
    args: &DiagnoseArgs,
    reference: &Opening,
    messages: &Printer,
) -> Result<(), CommandError> {
    let opened = open_reference(args, messages).await?.map(Arc::new);
    if let Some(opened) = &opened {
        opened.print_notices(messages);
    }
    // Nobody else sets it.
    let _ = reference.set(opened.clone());
    if let Some(opened) = opened {
        opened.warm(&messages.progress("reading the history")).await;
    }
    Ok(())
}

/// Looks at one target.
async fn one(
    args: &DiagnoseArgs,
    reference: &Opening,
    destination: Option<&Destination>,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let (target, early) =
        super::open_prepared(&args.target, printer, |found| args.early(found)).await?;
    let named = args.target.named();
    let progress = printer.progress("looking");
    let looking = look::look(args, reference, &target, early, &named, &progress);
    let verdict = Box::pin(looking).await;
    drop(progress);
    let status = match verdict {
        Ok((verdict, raw)) => {
            let made_by = made_by();
            let report = Report {
                verdict: JsonVerdict(&verdict),
                target: &named,
                made_by: &made_by,
                process: Subject::new(&target),
            };
            finish(args, destination, &report, raw, printer).map(|()| status(&verdict))
        }
        Err(error) => Err(error),
    };
    target.close().await;
    status
}

/// Keeps a report where that is wanted, and prints it.
fn finish<P: Serialize>(
    args: &DiagnoseArgs,
    destination: Option<&Destination>,
    report: &Report<'_, P>,
    raw: Raw,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    if let Some(destination) = destination {
        let JsonVerdict(verdict) = report.verdict;
        let page = report.html()?;
        bundle::write(destination, report, &text(verdict), &page, raw)?;
        printer.note(&format!("saved in {}", destination.path().display()));
    }
    print(args.output, report, printer)
}

/// By which program, and when.
fn made_by() -> String {
    format!("kdbg {}, {:.0}", Hello::ours().name(), Timestamp::now())
}

impl DiagnoseArgs {
    /// Asks the cluster of what was found, while the agent is on its way there.
    fn early(&self, found: Option<Described>) -> Early {
        let ask = Ask {
            registry: self.registry,
            ..Ask::default()
        };
        Early::ask(found, ask)
    }
}

/// The reference. That none is found where nobody named one is no reason to fail.
async fn open_reference(
    args: &DiagnoseArgs,
    printer: &Printer,
) -> Result<Option<Reference>, CommandError> {
    let progress = printer.progress("opening the repository");
    match Reference::open(args.repo.clone(), args.reference.clone(), &progress).await {
        Ok(reference) => Ok(Some(reference)),
        Err(error) if args.repo.is_none() && args.reference.is_none() => {
            printer.note(&format!(
                "the code is not compared: {error}; `--repo` names a repository"
            ));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Prints what was found, or was saved.
fn print<P: Serialize>(
    format: Format,
    report: &Report<'_, P>,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let JsonVerdict(verdict) = report.verdict;
    let page = match format {
        Format::Text => text(verdict),
        Format::Json => return printer.json(report),
        Format::Html => report.html()?,
    };
    printer
        .data()
        .write_all(page.as_bytes())
        .map_err(CommandError::output)
}

fn status(verdict: &findings::Verdict) -> ExitStatus {
    ExitStatus::of_comparison(verdict.is_found(), verdict.is_complete())
}

/// Shows a bundle again. Nothing is looked at, so nothing that says how to look makes sense.
fn again(
    args: &DiagnoseArgs,
    folder: &Path,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let asks = args.reference.is_some() || args.repo.is_some() || args.symptom.is_some();
    if asks || args.save.is_some() {
        return Err(CommandError::usage(format!(
            "`{}` is a saved diagnosis, which is shown as it is",
            folder.display()
        ))
        .hint("leave out all flags but `-o`"));
    }
    let kept = bundle::read(folder)?;
    let (target, made_by) = kept.names();
    printer.note(&format!(
        "{} as it was: {}",
        safe(target.as_bytes()),
        safe(made_by.as_bytes())
    ));
    match kept {
        Kept::One(saved) => {
            print(args.output, &Report::of_saved(&saved), printer)?;
            Ok(status(&saved.verdict))
        }
        Kept::Several(saved) => {
            saved.print(args.output, printer)?;
            Ok(saved.status())
        }
    }
}
