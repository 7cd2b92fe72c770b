//! `kdbg pull`: a file or folder of the target, copied to this machine.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use bstr::{BString, ByteSlice as _};
use clap::Args;

use super::{
    fetch::{Budget, FetchError, fetch},
    store::Store,
    subject::counted,
    tree::{self, CopyError, Found, Item, Outcome, Tree},
};
use crate::{
    cli::{
        args::TargetArgs,
        error::{CommandError, ErrorKind},
        exit::ExitStatus,
        printer::Printer,
    },
    extract::{Destination, DestinationError, ExtractError, Extractor, FileWriter, Limits},
    protocol::message::{Cause, Entry, Failure, FileKind, Request},
    render::safe,
    session::RequestError,
    target::Target,
};

/// Warnings beyond this many are counted only.
const WARNINGS: usize = 20;

/// Arguments of `kdbg pull`.
#[derive(Args, Debug)]
pub struct PullArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// A file or folder, as the process sees it; relative paths start at its working directory
    #[arg(value_name = "PATH")]
    path: Option<std::ffi::OsString>,
    /// The folder to put it in, under its own name
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Replace what has that name there
    #[arg(long)]
    force: bool,
}

/// Runs `kdbg pull`.
pub async fn run(mut args: PullArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    let path = args.path.take().or_else(|| args.target.misplaced());
    let path = super::target_path(path.ok_or_else(super::no_path)?);
    let place = args.directory.join(name_of(&path)?);
    let destination = Destination::new(&place, args.force)?;
    let target = crate::commands::open(&args.target, printer).await?;
    let progress = printer.progress(format!("copying {}", safe(&path)));
    let mut reply = target.session.request(&Request::List {
        process: target.process().id,
        path: path.clone(),
    })?;
    let head: Entry = reply.head().await?;
    drop(reply);
    let complete = match head.kind {
        FileKind::File => file(&target, &path, &destination, printer).await?,
        FileKind::Folder => folder(&target, &path, &destination, printer).await?,
        kind => {
            let failure = Failure::at("copy", path.as_bstr(), Cause::NotAFile(kind));
            return Err(RequestError::from(failure).into());
        }
    };
    drop(progress);
    target.close().await;
    Ok(ExitStatus::of_comparison(false, complete))
}

/// The name that the copy gets: the last part of the path.
fn name_of(path: &BString) -> Result<PathBuf, CommandError> {
    use std::os::unix::ffi::OsStrExt as _;
    let name = path
        .trim_end_with(|character| character == '/')
        .rsplit_str("/")
        .next();
    match name.unwrap_or_default() {
        b"" | b"." | b".." => Err(CommandError::usage(format!(
            "`{}` does not end with a name for the copy",
            safe(path)
        ))
        .hint("name the folder itself, or take the whole tree with `kdbg snapshot --root DIR`")),
        name => Ok(std::ffi::OsStr::from_bytes(name).into()),
    }
}

async fn file(
    target: &Target,
    path: &BString,
    destination: &Destination,
    printer: &Printer,
) -> Result<bool, CommandError> {
    let temporary = destination.file()?;
    let make = || {
        let file = temporary.as_file().try_clone();
        let file = file.map_err(|source| ExtractError::Write {
            path: path.clone(),
            source,
        })?;
        Ok(FileWriter::new(file, path.as_ref()))
    };
    let budget = Budget::new(u64::MAX);
    let process = target.process().id;
    let fetched = fetch(&target.session, process, path.as_ref(), 0, &budget, make).await;
    let (fetched, writer) = fetched.map_err(|error| match error {
        FetchError::Request(error) => error.into(),
        FetchError::Write(error) => unwritten(destination, error),
        FetchError::OverLimit => CommandError::internal(error),
    })?;
    writer
        .finish(tree::attributes(&fetched.entry))
        .map_err(|error| unwritten(destination, error))?;
    destination.publish_file(temporary)?;
    if fetched.changed {
        printer.warning(&format!(
            "`{}` changed while it was read: its bytes may never have stood together",
            safe(path)
        ));
    }
    printer.note(&format!(
        "copied {} to {}",
        counted(fetched.length, "byte"),
        destination.path().display()
    ));
    Ok(!fetched.changed)
}

async fn folder(
    target: &Target,
    path: &BString,
    destination: &Destination,
    printer: &Printer,
) -> Result<bool, CommandError> {
    let process = target.process();
    let temporary = destination.folder()?;
    let roots = vec![path.clone()];
    let tree = tree::walk(&target.session, process, roots, temporary.path()).await?;
    let root = fs::File::open(temporary.path()).map_err(|error| destination.error(error))?;
    let limits = Limits {
        entries: 2 * tree::ENTRY_LIMIT as u64,
    };
    let store = Store::folder_at(Extractor::new(root.into(), limits));
    let place = |item: &Item| item.path.clone();
    let copied = tree::copy(&target.session, process.id, &tree, &store, place, u64::MAX).await;
    let outcomes = copied.map_err(|error| failed(destination, error))?;
    let unlinked = store
        .links()
        .map_err(|error| unwritten(destination, error))?;
    store
        .finish()
        .map_err(|error| unwritten(destination, error))?;
    // It was nobody else's business until now.
    let mode = fs::Permissions::from_mode((root_permissions(&tree) & 0o755) | 0o700);
    fs::set_permissions(temporary.path(), mode).map_err(|error| destination.error(error))?;
    destination.publish_folder(temporary)?;

    let mut warnings = warnings(&tree, &outcomes);
    warnings.extend(
        unlinked
            .iter()
            .map(|(path, error)| format!("`{}` is missing: {error}", safe(path))),
    );
    for warning in warnings.iter().take(WARNINGS) {
        printer.warning(warning);
    }
    if let Some(more @ 1..) = warnings.len().checked_sub(WARNINGS) {
        printer.warning(&format!("{more} more like these"));
    }
    let (files, bytes) = totals(&outcomes);
    printer.note(&format!(
        "copied {}, {} to {}",
        counted(files, "file"),
        counted(bytes, "byte"),
        destination.path().display()
    ));
    Ok(warnings.is_empty())
}

fn root_permissions(tree: &Tree) -> u32 {
    match tree.items.first().map(|item| (&item.path, &item.found)) {
        Some((path, Found::Entry(entry))) if path.is_empty() => entry.permissions,
        _ => 0,
    }
}

/// Number and bytes of the files that were copied.
pub(super) fn totals(outcomes: &[Outcome]) -> (u64, u64) {
    outcomes
        .iter()
        .fold((0, 0), |(files, bytes), outcome| match outcome {
            Outcome::File(fetched) => (files + 1, bytes + fetched.length),
            _ => (files, bytes),
        })
}

fn warnings(tree: &Tree, outcomes: &[Outcome]) -> Vec<String> {
    let warning = |(item, outcome): (&Item, &Outcome)| {
        let path = safe(&tree.full_path(item));
        match outcome {
            Outcome::Missing(reason) | Outcome::LeftOut(reason) => {
                Some(match &item.found {
                    // It names the path itself.
                    Found::Unreadable(_) => reason.clone(),
                    _ => format!("`{path}` is missing: {reason}"),
                })
            }
            Outcome::File(fetched) if fetched.changed => {
                Some(format!("`{path}` changed while it was read"))
            }
            Outcome::File(_) | Outcome::Folder | Outcome::Link => None,
        }
    };
    tree.items
        .iter()
        .zip(outcomes)
        .filter_map(warning)
        .collect()
}

/// An error while copying.
pub(super) fn failed(destination: &Destination, error: CopyError) -> CommandError {
    match error {
        CopyError::Read(error) => error.into(),
        CopyError::Write(error) => unwritten(destination, error),
    }
}

/// An error of the file system at the destination.
pub(super) fn unwritten(destination: &Destination, error: ExtractError) -> CommandError {
    match error {
        ExtractError::Write { source, .. } => destination.error(source).into(),
        other => CommandError::new(ErrorKind::Incomplete, other),
    }
}

impl From<DestinationError> for CommandError {
    fn from(error: DestinationError) -> Self {
        match &error {
            DestinationError::NoName(_) => Self::usage(error),
            DestinationError::Exists(_) => {
                Self::usage(error).hint("choose another name, or replace it with `--force`")
            }
            DestinationError::Foreign(_) => {
                Self::usage(error).hint("remove it yourself, or choose another place")
            }
            DestinationError::NoFolder(folder) => {
                let hint = format!("make it first: `mkdir -p {}`", folder.display());
                Self::usage(error).hint(hint)
            }
            DestinationError::Write { source, .. } => {
                let hint = (source.kind() == std::io::ErrorKind::StorageFull)
                    .then(|| "free some space there, or choose a place on another file system; nothing was left".to_owned());
                Self::new(ErrorKind::Broken, error).hints(hint)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_named_after_the_last_part_of_the_path() {
        for (path, name) in [
            ("/etc/passwd", "passwd"),
            ("app/", "app"),
            ("x", "x"),
            ("/a//", "a"),
        ] {
            assert_eq!(name_of(&path.into()).unwrap().to_str(), Some(name));
        }
        for path in ["/", "", ".", "a/..", "//"] {
            assert!(name_of(&path.into()).is_err(), "{path}");
        }
    }
}
