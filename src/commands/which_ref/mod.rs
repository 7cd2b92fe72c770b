//! `kdbg which-ref`: which commit of a repository runs.
//!
//! The agent names every running file as git would; the history of the repository, kept between runs, says
//! which commit has them. What the image says of its own origin is checked against that, not believed.

mod converted;
mod origin;
mod output;
mod search;
mod short;

use std::{path::PathBuf, sync::Arc};

use bstr::{BStr, BString, ByteSlice as _};
use clap::Args;

use self::search::{Question, find};
pub(super) use self::{
    origin::{built_from, started_archives},
    search::{Found, Prepared},
    short::{at_once, fit},
};
use super::{facts, fan_out, repository, running};
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    evidence::{fit::RunningFile, mapping, noise},
    git::Repository,
    object::ObjectId,
    registry::Image,
    target::{Place, Target},
};

/// Arguments of `kdbg which-ref`.
#[derive(Args, Debug)]
pub struct WhichRefArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The repository: a work tree, a bare repository, a `.git` folder or a URL [default: the one around the
    /// current directory]
    #[arg(long, value_name = "PATH|URL")]
    repo: Option<String>,
    /// Search only what refs of these names lead to; `*` stands for anything, as in `refs/pull/*` or
    /// `release-*` [default: all branches, tags, remotes and fetched pull requests]
    #[arg(long, value_name = "GLOB")]
    refs: Option<String>,
    /// The branch, tag or commit that should be running: what is not on it is told as not merged [default: the
    /// repository's default branch]
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// A running folder, as the process sees it; may be given several times [default: the working directory and
    /// the folder of the script]
    #[arg(long = "root", value_name = "DIR")]
    roots: Vec<PathBuf>,
    /// Ask the registry of the pod's image for its labels; for a process of this machine, name the image
    #[arg(long, value_name = "IMAGE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    registry: Option<ImageChoice>,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
    /// Do not compare files above this size, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    max_file_size: u64,
}

/// Of which image a registry is asked.
#[derive(Clone, Debug)]
enum ImageChoice {
    /// That of the pod.
    OfTarget,
    /// This one.
    Named(String),
}

impl From<&str> for ImageChoice {
    fn from(typed: &str) -> Self {
        if typed.is_empty() {
            Self::OfTarget
        } else {
            Self::Named(typed.to_owned())
        }
    }
}

/// Runs `kdbg which-ref`.
pub async fn run(args: WhichRefArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    // What is wrong with the command line matters more than what is wrong with the target.
    args.target.wanted()?;
    let progress = printer.progress("opening the repository");
    let opened = repository::open(args.repo.clone(), &progress).await?;
    let question = Question {
        reference: args.reference.clone(),
        resolved: None,
        refs: args.refs.clone(),
        keeps: true,
    };
    let prepared = search::prepare(&opened.repository, question, &progress).await?;
    drop(progress);
    for notice in opened.notices.iter().chain(&prepared.notices) {
        printer.note(notice);
    }
    let prepared = Arc::new(prepared);
    fan_out::run(
        &args.target,
        args.output,
        printer,
        async |target, printer| look(&args, &opened.repository, &prepared, target, printer).await,
    )
    .await
}

async fn look(
    args: &WhichRefArgs,
    repository: &Arc<Repository>,
    prepared: &Arc<Prepared>,
    target: Target,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let progress = printer.progress("naming the running files");
    let image = image(args, &target)?;
    let roots = facts::asked_or_found(&target, &args.roots).await?;
    let (hash, limit) = (repository.hash_kind(), args.max_file_size);
    let running = running::walk(&target, &roots, hash, limit, &progress).await?;
    let (mut notes, labels) = tokio::join!(
        origin::collect(&target, &running),
        origin::labels(image.as_ref())
    );
    notes.extend(labels);
    let mut files = files_of(&running);
    files.extend(origin::embedded(&notes, hash));
    progress.say("comparing with the history");
    let mut found = find(repository, prepared, files, Vec::new()).await?;
    if converted::add(&target, &running, &mut found, hash).await {
        let files = std::mem::take(&mut found.running);
        found = find(repository, prepared, files, Vec::new()).await?;
    }
    let found = Arc::new(found);
    progress.say("checking what the image says of its origin");
    let checked = origin::check(&target, repository, &running, &found, &mut notes).await?;
    drop(progress);
    let report = output::Report {
        target: &target,
        repository,
        walked: &running,
        found: &found,
        checked: &checked,
        unread: &notes.unread,
    };
    match args.output {
        OutputFormat::Text => report.text(printer)?,
        OutputFormat::Json => printer.json(&report.json())?,
    }
    report.print_warnings(printer);
    let status = report.status();
    target.close().await;
    Ok(status)
}

/// The image whose registry is to be asked.
fn image(args: &WhichRefArgs, target: &Target) -> Result<Option<Image>, CommandError> {
    let image = match (&args.registry, &target.place) {
        (None, _) => return Ok(None),
        (Some(ImageChoice::Named(name)), _) => Image::named(name),
        (Some(ImageChoice::OfTarget), Place::Pod(place)) => {
            Image::of_status(&place.image, &place.image_id)
        }
        (Some(ImageChoice::OfTarget), Place::Machine(_)) => {
            return Err(CommandError::usage(
                "nobody knows from which image a process of this machine is",
            )
            .hint("name it: `--registry=IMAGE`"));
        }
    };
    image
        .map(Some)
        .map_err(|error| CommandError::usage(error.to_string()))
}

/// The running files as the search wants them.
fn files_of(running: &running::NamedFiles) -> Vec<RunningFile> {
    let roots: Vec<BString> = running.roots.iter().map(|(_, path)| path.clone()).collect();
    running
        .files
        .iter()
        .map(|file| running_file(&file.path, file.id, &roots))
        .collect()
}

fn running_file(path: &BString, id: ObjectId, roots: &[BString]) -> RunningFile {
    RunningFile {
        path: without_slash(path),
        ids: vec![id],
        installed_in: installed_in(path.as_ref(), roots).map(|folder| without_slash(&folder)),
    }
}

/// The folder of installed packages that a file lies in. What lies in a package that is itself a root is no
/// installed package: it is the code that the process was started with.
fn installed_in(path: &BStr, roots: &[BString]) -> Option<BString> {
    let holds = |root: &&BString| mapping::strip(path, root.as_bstr()).is_some();
    let root = roots.iter().filter(holds).max_by_key(|root| root.len())?;
    let rest = mapping::strip(path, root.as_ref())?;
    // A root may be such a folder by its own name.
    let (above, name) = mapping::parent(root.as_ref());
    let inner = mapping::join(name, rest);
    let folder = noise::installed_below(inner.as_ref())?;
    Some(mapping::join(above, folder.as_ref()))
}

fn without_slash(path: &BString) -> BString {
    path.strip_prefix(b"/")
        .map_or_else(|| path.clone(), BString::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_among_installed_packages_is_told_by_the_innermost_root() {
        let of = |path: &str, roots: &[&str]| {
            let roots: Vec<BString> = roots.iter().map(|root| BString::from(*root)).collect();
            installed_in(path.into(), &roots).map(|folder| folder.to_string())
        };
        let found = |folder: &str| Some(folder.to_owned());
        assert_eq!(
            of("/app/node_modules/.pnpm/lock.yaml", &["/app"]),
            found("/app/node_modules")
        );
        assert_eq!(of("/app/lib/x.js", &["/app"]), None);
        assert_eq!(
            of(
                "/srv/node_modules/.package-lock.json",
                &["/srv/node_modules"]
            ),
            found("/srv/node_modules")
        );
        assert_eq!(of("/node_modules/x.js", &["/"]), found("/node_modules"));
        let package = "/usr/lib/python3/site-packages/shop";
        assert_eq!(of(&format!("{package}/app.py"), &["/app", package]), None);
        assert_eq!(of("/elsewhere/x", &["/app"]), None);
    }
}
