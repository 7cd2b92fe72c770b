//! `kdbg files`: what a process holds open, on what, and what is wrong with it.

pub(super) mod fetch;
mod growth;
mod output;

use std::time::Duration;

use clap::Args;

use super::fan_out;
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs, short_time},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    evidence::{
        files::FileFacts,
        findings::{self, Severity, Unchecked, Verdict},
    },
    protocol::message::Reading,
    target::Target,
};

/// Arguments of `kdbg files`.
#[derive(Args, Debug)]
pub struct FilesArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Go on and say what grows, one line a file, until Ctrl-C or for as long as `--for` says
    #[arg(long)]
    watch: bool,
    /// The time between two looks with `--watch`
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = short_time)]
    interval: Duration,
    /// Watch for so long
    #[arg(long = "for", value_name = "TIME", value_parser = short_time, requires = "watch")]
    duration: Option<Duration>,
    /// A log that has not been written for so long may be stalled
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = short_time)]
    stalled_after: Duration,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
}

/// Runs `kdbg files`.
pub async fn run(args: FilesArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    if args.watch && args.target.means_all() {
        return Err(
            CommandError::usage("`--watch` looks at one pod, not at all of them")
                .hint("name one of them"),
        );
    }
    fan_out::run(
        &args.target,
        args.output,
        printer,
        async |target, printer| look(&args, target, printer).await,
    )
    .await
}

async fn look(
    args: &FilesArgs,
    target: Target,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    if args.watch {
        let status = growth::watch(args, &target, printer).await;
        target.close().await;
        return status;
    }
    let named = args.target.named();
    let progress = printer.progress("looking at what is open");
    let facts = fetch::facts(&target, &named, args.stalled_after).await?;
    drop(progress);
    let verdict = verdict(&facts);
    printer.compare_by_outline(output::outline(&facts, &verdict));
    match args.output {
        OutputFormat::Text => {
            output::text(&facts, &verdict, printer)?;
            // What was read stands above what would let more be read.
            printer.finish()?;
            for remedy in &facts.remedies {
                printer.hint(remedy);
            }
        }
        OutputFormat::Json => printer.json(&output::Report::new(&target, &facts, &verdict))?,
    }
    target.close().await;
    Ok(ExitStatus::of_comparison(
        verdict.is_found(),
        verdict.unchecked.is_empty(),
    ))
}

/// What the rules say, and what they could not look at.
fn verdict(facts: &FileFacts) -> Verdict {
    let (causes, listed) = findings::files(facts)
        .into_iter()
        .partition(|finding| finding.severity <= Severity::Medium);
    Verdict {
        causes,
        listed,
        ruled_out: Vec::new(),
        unchecked: unchecked(facts),
    }
}

/// What could not be read; each reason once.
fn unchecked(facts: &FileFacts) -> Vec<Unchecked> {
    let mut unchecked: Vec<Unchecked> = Vec::new();
    let mut add = |what: &str, why: Option<String>| {
        if let Some(why) = why
            && !unchecked.iter().any(|one| one.why == why)
        {
            unchecked.push(Unchecked {
                what: what.to_owned(),
                why,
            });
        }
    };
    let why = |why: Option<&str>| why.map(str::to_owned);
    add("the open files", why(facts.held.unreadable()));
    add("the file systems", why(facts.stores.unreadable()));
    add(
        "the limit of open files",
        why(facts.descriptors.unreadable()),
    );
    for file in facts.held() {
        if let Reading::Unavailable(failure) = &file.name {
            add("some of what is open", Some(failure.to_string()));
        } else if let (Reading::Unavailable(failure), Some(_)) = (&file.stat, file.opened) {
            add("some of what is open", Some(failure.to_string()));
        }
    }
    for store in facts.stores.found().into_iter().flatten() {
        if let Reading::Unavailable(failure) = &store.space {
            add("how full a file system is", Some(failure.to_string()));
        }
    }
    unchecked
}
