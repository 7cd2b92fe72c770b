//! `kdbg diff-src`: what runs, against what git has.
//!
//! The agent names every running file as git would; the client compares the names with the tree of the ref
//! and then reads only the files that differ. The direction is reference to running: `+` is what runs.
//!
//! In order: `facts` (where the code lies), `running` (its files), `pairing` (which folder is which),
//! the comparison, `judge` (what is noise), `contents` and `output`.

mod archives;
mod compare;
mod contents;
mod json;
mod judge;
mod output;
mod pairing;
mod reference;
mod running;
mod survey;

use std::{ffi::OsString, path::PathBuf, str::FromStr};

use bstr::BString;
use clap::{ArgGroup, Args};

use self::{
    compare::{Compared, Run},
    contents::Reader,
    output::{Format, Report},
    pairing::Pins,
};
pub(super) use self::{
    reference::Reference,
    survey::{Changes, Code, Listing},
};
use super::{facts, fan_out, which_ref::Found};
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    evidence::noise::Class,
    target::Target,
};

/// Arguments of `kdbg diff-src`.
#[derive(Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own, as in git"
)]
#[command(group = ArgGroup::new("format").args(["stat", "numstat", "shortstat", "name_status", "name_only", "noise", "output"]))]
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
    /// A running folder, as the process sees it; may be given several times [default: found from the process's
    /// working directory, arguments, environment and open files]
    #[arg(long = "root", value_name = "DIR")]
    roots: Vec<PathBuf>,
    /// The folder of the repository that the running folder is, one for each `--root` [default: found by equal
    /// files]
    #[arg(long = "path", value_name = "DIR")]
    paths: Vec<PathBuf>,
    /// A running folder and the folder of the repository that it is (empty: the top); may be given several times
    #[arg(
        long = "map",
        value_name = "RUNNING=REPOSITORY",
        conflicts_with = "paths"
    )]
    maps: Vec<OsString>,
    /// Compare as `git diff --no-renames` does: nothing is taken for noise, nothing for renamed
    #[arg(long)]
    exact: bool,
    /// List what was taken for noise, and why; of one class (generated, dependency, ignored, attributes, mode,
    /// mounted, left-out, moved, compiled, submodule, system, unmapped) or of all
    #[arg(
        long,
        value_name = "CLASS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "all",
        conflicts_with = "exact"
    )]
    noise: Option<NoiseWanted>,
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

/// Which noise is listed; `None` for all.
#[derive(Clone, Copy, Debug)]
struct NoiseWanted(Option<Class>);

impl FromStr for NoiseWanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(None));
        }
        let class = Class::of_name(text).ok_or_else(|| {
            let names: Vec<&str> = Class::ALL.into_iter().map(Class::name).collect();
            format!("the classes are {}", names.join(", "))
        })?;
        Ok(Self(Some(class)))
    }
}

/// Runs `kdbg diff-src`.
pub async fn run(args: DiffSrcArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    let wanted = args.target.wanted()?;
    let pins = Pins::new(&args.roots, &args.paths, &args.maps)?;
    let progress = printer.progress("opening the repository");
    let reference = Reference::open(args.repo.clone(), args.reference.clone(), &progress);
    if args.target.means_all() {
        let reference = reference.await?;
        drop(progress);
        reference.print_notices(printer);
        return fan_out::run(
            &args.target,
            args.output,
            printer,
            async |target, printer| look(&args, &pins, &reference, target, printer).await,
        )
        .await;
    }
    let (reference, target) = tokio::join!(reference, async {
        Target::open(&wanted).await.map_err(CommandError::from)
    });
    drop(progress);
    // What is wrong with the command line matters more than what is wrong with the target.
    let (reference, target) = (reference?, target?);
    let pid = target.process().id.pid;
    tracing::debug!(pid, "target and repository are open");
    reference.print_notices(printer);
    crate::commands::say_choice(&target, printer);
    look(&args, &pins, &reference, target, printer).await
}

/// Compares one target with the reference.
async fn look(
    args: &DiffSrcArgs,
    pins: &Pins,
    reference: &Reference,
    target: Target,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let format = Format::of(args);
    let progress = printer.progress("naming the running files");
    let run = Run::new(&target, reference, args.exact, args.max_file_size);
    let facts = facts::fetch(&target).await?;
    let (running, tree) = run.trees(pins, &facts, &progress).await?;
    let Compared {
        running,
        mappings,
        comparison,
        judgement,
        classes,
        found,
        mut cache,
    } = run.compare(pins, running, &tree, &facts, &progress).await?;
    let mut report = Report {
        target: &target,
        reference,
        running: &running,
        mappings,
        comparison,
        judgement,
        counts: Vec::new(),
        unshown: Vec::new(),
        classes,
        revision: found.as_ref().and_then(Found::headline),
        other_commit: found.as_ref().and_then(Found::other_commit),
    };
    report.print_head(printer);
    let reader = Reader {
        target: &target,
        reference,
        running: &running,
        limit: args.max_file_size,
    };
    contents::print(&mut report, &reader, &mut cache, format, args, printer).await?;
    tracing::debug!("the differences are printed");
    drop(progress);
    if let Format::Noise(class) = format {
        report.print_noise(class, printer)?;
    }
    report.print_summary(printer);
    report.print_warnings(printer);
    let status = report.status();
    if format == Format::Json {
        printer.json(&report.json())?;
    }
    target.close().await;
    Ok(status)
}

/// A path of the command line as the bytes that it is.
fn bytes(path: &std::path::Path) -> BString {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().into()
}
