//! `kdbg diff-src`: what runs, against what git has.
//!
//! The agent names every running file as git would; the client compares the names with the tree of the ref
//! and then reads only the files that differ. The direction is reference to running: `+` is what runs.

mod contents;
mod output;
mod pairing;
mod reference;
mod running;

use std::path::PathBuf;

use bstr::BString;
use clap::{ArgGroup, Args};

use self::{
    output::{Format, Report},
    pairing::Pins,
    reference::Reference,
};
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    evidence::{comparison, roots},
    target::Target,
};

/// Arguments of `kdbg diff-src`.
#[derive(Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own, as in git"
)]
#[command(group = ArgGroup::new("format").args(["stat", "numstat", "shortstat", "name_status", "name_only", "output"]))]
pub struct DiffSrcArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The branch, tag or commit that should be running [default: the repository's default branch]
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// The repository: a work tree, a bare repository, a `.git` folder or a URL [default: the one around the
    /// current directory]
    #[arg(long, value_name = "PATH|URL")]
    repo: Option<String>,
    /// A running folder, as the process sees it; may be given several times [default: the working directory and
    /// the folder of the script]
    #[arg(long = "root", value_name = "DIR")]
    roots: Vec<PathBuf>,
    /// The folder of the repository that the running folder is, one for each `--root` [default: found by equal
    /// files]
    #[arg(long = "path", value_name = "DIR")]
    paths: Vec<PathBuf>,
    /// Print how many lines each file differs in
    #[arg(long)]
    stat: bool,
    /// The same for programs: added, deleted and path, with tabs
    #[arg(long)]
    numstat: bool,
    /// Print only the last line of `--stat`
    #[arg(long)]
    shortstat: bool,
    /// Print the status (A, D, M, T) and path of each file
    #[arg(long)]
    name_status: bool,
    /// Print the path of each file
    #[arg(long)]
    name_only: bool,
    /// How to print it: `text` is a patch that `git apply` takes
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
    /// Unchanged lines round each change
    #[arg(short = 'U', long, value_name = "LINES", default_value_t = 3)]
    unified: usize,
    /// Print binary files so that `git apply` can restore them
    #[arg(long)]
    binary: bool,
    /// Print whole object names in `index` lines
    #[arg(long)]
    full_index: bool,
    /// End paths with NUL and do not quote them, in the short formats
    #[arg(short = 'z')]
    nul: bool,
    /// Do not compare files above this size, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    max_file_size: u64,
}

/// Runs `kdbg diff-src`.
pub async fn run(args: DiffSrcArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    let wanted = args.target.wanted()?;
    let pins = Pins::new(&args.roots, &args.paths)?;
    let format = Format::of(&args);
    let progress = printer.progress("opening the repository");
    let (reference, target) = tokio::join!(
        Reference::open(args.repo.clone(), args.reference.clone(), &progress),
        async { Target::open(&wanted).await.map_err(CommandError::from) }
    );
    // What is wrong with the command line matters more than what is wrong with the target.
    let (reference, target) = (reference?, target?);
    tracing::debug!(
        pid = target.process().id.pid,
        "target and repository are open"
    );
    for notice in &reference.notices {
        printer.note(notice);
    }
    crate::commands::say_choice(&target, printer);
    let wanted_roots = pins
        .roots()
        .unwrap_or_else(|| roots::of_process(target.process()));
    if wanted_roots.is_empty() {
        return Err(no_root(&target));
    }
    progress.say("naming the running files");
    let (running, tree) = tokio::join!(
        running::walk(
            &target,
            &wanted_roots,
            reference.hash_kind(),
            args.max_file_size,
            &progress
        ),
        reference.tree()
    );
    let (mut running, tree) = (running?, tree?);
    tracing::debug!(
        running = running.count(),
        reference = tree.len(),
        "both trees are listed"
    );
    let pairings = pairing::pair(&pins, &running, &tree, &reference)?;
    let unreadable = pairings.unreadable(&running);
    let comparison = comparison::compare(running.take_files(), &tree, &pairings.pairs, &unreadable);
    let mut report = Report::new(&target, &reference, &running, pairings, comparison);
    tracing::debug!(
        differences = report.comparison.differences.len(),
        "the trees are compared"
    );
    report.print_notes(printer);
    progress.say("reading the files that differ");
    contents::print(
        &mut report,
        &target,
        &reference,
        &running,
        format,
        &args,
        printer,
    )
    .await?;
    tracing::debug!("the differences are printed");
    drop(progress);
    report.print_warnings(printer);
    let status = report.status();
    if format == Format::Json {
        printer.json(&report.json())?;
    }
    target.close().await;
    Ok(status)
}

fn no_root(target: &Target) -> CommandError {
    let message = format!(
        "process {} works in `/` and runs no script, so kdbg cannot tell where its code is",
        target.process().id.pid
    );
    CommandError::usage(message).hint(
        "name the folder with `--root DIR`, as the process sees it; `kdbg ls` shows what is there",
    )
}

/// A path of the command line as the bytes that it is.
fn bytes(path: &std::path::Path) -> BString {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().into()
}
