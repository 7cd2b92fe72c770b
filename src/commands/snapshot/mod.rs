//! `kdbg snapshot`: all that can be read of a process, in one bundle.

mod facts;
mod manifest;

use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use bstr::{BStr, BString};
use clap::Args;
use jiff::Timestamp;
use tempfile::{NamedTempFile, TempDir};

use self::manifest::{Contents, Manifest};
use super::{
    pull::{failed, totals, unwritten},
    store::{Sink, Store},
    subject::counted,
    tree::{self, Item, Tree},
};
use crate::{
    cli::{args::TargetArgs, error::CommandError, exit::ExitStatus, printer::Printer},
    evidence::redact::Redactor,
    extract::{Attributes, BUNDLE_MARK, Destination, Extractor, Limits},
    target::Target,
};

/// What the folder of a bundle is called in which the target's files are.
const FILES: &str = "files";

/// Arguments of `kdbg snapshot`.
#[derive(Args, Debug)]
pub struct SnapshotArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    to: To,
    /// Copy this folder, as the process sees it, instead of its working directory; can be given several
    /// times
    #[arg(long, value_name = "DIR", conflicts_with = "no_files")]
    root: Vec<OsString>,
    /// Copy no files: only what is known of the process itself
    #[arg(long)]
    no_files: bool,
    /// Leave out files once the copied ones come to this many bytes; K, M, G and T are understood
    #[arg(long, value_name = "BYTES", default_value = "2G", value_parser = bytes)]
    max_bytes: u64,
    /// Keep passwords, tokens and keys of the environment and the arguments in the bundle
    #[arg(long)]
    show_secrets: bool,
    /// Replace what is at the destination
    #[arg(long)]
    force: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct To {
    /// Make a folder with this name
    #[arg(short, long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Make a compressed archive with this name, which ends with `.tar.zst`
    #[arg(short, long, value_name = "FILE", value_parser = archive_name)]
    output: Option<PathBuf>,
}

fn archive_name(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.file_name().and_then(top_of) {
        Some(_) => Ok(path),
        None => Err("the name of an archive ends with `.tar.zst`".to_owned()),
    }
}

/// The folder in an archive: its name without `.tar.zst`.
fn top_of(name: &std::ffi::OsStr) -> Option<BString> {
    let top = name.as_bytes().strip_suffix(b".tar.zst")?;
    (!top.is_empty()).then(|| top.into())
}

/// A number of bytes, with a unit of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let shift = match unit.to_ascii_uppercase().trim_end_matches("IB") {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(format!("`{unit}` is not one of K, M, G and T")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{digits}` is not a whole number"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "it is too large".to_owned())
}

/// Runs `kdbg snapshot`.
pub async fn run(args: SnapshotArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    let path = args.to.directory.as_deref().or(args.to.output.as_deref());
    let path = path.unwrap_or(Path::new(""));
    let destination = Destination::new(path, args.force)?;
    let target = crate::commands::open(&args.target, printer).await?;
    let roots = roots(&args, &target)?;
    let bundle = Bundle::begin(&destination, args.to.directory.is_some())?;
    let progress = printer.progress(format!("taking a snapshot of {}", args.target.named()));

    let taken = Timestamp::now();
    let redactor = Redactor::new(args.show_secrets);
    let facts = facts::collect(&target, redactor, &bundle.store, taken).await;
    let facts = facts.map_err(|error| failed(&destination, error))?;
    let tree = if roots.is_empty() {
        Tree::empty()
    } else {
        progress.say("listing the files");
        tree::walk(&target.session, target.process(), roots, bundle.path()).await?
    };
    progress.say(format!("copying {} files", tree.items.len()));
    let place = |item: &Item| place(&tree, item);
    let outcomes = tree::copy(
        &target.session,
        target.process().id,
        &tree,
        &bundle.store,
        place,
        args.max_bytes,
    )
    .await;
    let outcomes = outcomes.map_err(|error| failed(&destination, error))?;
    let unlinked = bundle.store.links();
    let unlinked = unlinked.map_err(|error| unwritten(&destination, error))?;

    let contents = Contents::new(&tree, &outcomes, &unlinked, place);
    let complete = contents.is_complete() && facts.iter().all(facts::Fact::is_known);
    let missing = contents.missing() + facts.iter().filter(|fact| !fact.is_known()).count();
    let left_out = contents.left_out();
    let named = args.target.named();
    let manifest = Manifest::new(&named, &target, taken, redactor, &facts, contents);
    bundle
        .write_manifest(&manifest, taken)
        .map_err(|error| unwritten(&destination, error))?;
    bundle.publish(&destination)?;
    drop(progress);

    let (files, bytes) = totals(&outcomes);
    printer.note(&format!(
        "copied {}, {} to {}; what is in files is not redacted",
        counted(files, "file"),
        counted(bytes, "byte"),
        destination.path().display()
    ));
    let entries = |number: usize| {
        if number == 1 {
            "1 entry".to_owned()
        } else {
            format!("{number} entries")
        }
    };
    if left_out > 0 {
        let what = entries(left_out);
        printer.note(&format!(
            "{what} of `{BUNDLE_MARK}` were left out on purpose; it says why"
        ));
    }
    if missing > 0 {
        let what = entries(missing);
        printer.warning(&format!(
            "{what} of `{BUNDLE_MARK}` could not be read; it says why"
        ));
    }
    target.close().await;
    Ok(ExitStatus::of_comparison(false, complete))
}

/// The folders to copy.
fn roots(args: &SnapshotArgs, target: &Target) -> Result<Vec<BString>, CommandError> {
    if args.no_files {
        return Ok(Vec::new());
    }
    if !args.root.is_empty() {
        let roots = args.root.iter().cloned().map(super::target_path);
        return Ok(roots.collect());
    }
    if target
        .process()
        .folder
        .known()
        .is_some_and(|folder| folder == "/")
    {
        return Err(CommandError::usage(format!(
            "the working directory of process {} is `/`, which is its whole file system",
            target.process().id.pid
        ))
        .hint("say which folders to copy with `--root DIR`, or copy none with `--no-files`"));
    }
    Ok(vec![BString::default()])
}

/// Where a file of the target goes within the bundle.
fn place(tree: &Tree, item: &Item) -> BString {
    let full = tree.full_path(item);
    let below = full.strip_prefix(b"/").unwrap_or(&full);
    if below.is_empty() {
        return FILES.into();
    }
    let mut path = BString::from(FILES);
    path.push(b'/');
    path.extend_from_slice(below);
    path
}

/// A bundle under construction; dropping it removes it.
struct Bundle<'a> {
    store: Store<'a>,
    temporary: Temporary,
}

enum Temporary {
    Folder(TempDir),
    File(NamedTempFile),
}

impl<'a> Bundle<'a> {
    fn begin(destination: &'a Destination, as_folder: bool) -> Result<Self, CommandError> {
        if as_folder {
            let folder = destination.folder()?;
            let root = std::fs::File::open(folder.path());
            let root = root.map_err(|error| destination.error(error))?;
            let limits = Limits {
                entries: 2 * tree::ENTRY_LIMIT as u64,
            };
            return Ok(Self {
                store: Store::folder_at(Extractor::new(root.into(), limits)),
                temporary: Temporary::Folder(folder),
            });
        }
        let file = destination.file()?;
        let top = destination.path().file_name().and_then(top_of);
        let store = file
            .as_file()
            .try_clone()
            .and_then(|file| Store::archive(file, top.unwrap_or_default(), destination));
        Ok(Self {
            store: store.map_err(|error| destination.error(error))?,
            temporary: Temporary::File(file),
        })
    }

    fn path(&self) -> &Path {
        match &self.temporary {
            Temporary::Folder(folder) => folder.path(),
            Temporary::File(file) => file.path(),
        }
    }

    fn write_manifest(
        &self,
        manifest: &Manifest<'_>,
        taken: Timestamp,
    ) -> Result<(), crate::extract::ExtractError> {
        let path = BStr::new(BUNDLE_MARK);
        let mut sink = std::io::BufWriter::new(Sink(self.store.create(path)?));
        let written = serde_json::to_writer_pretty(&mut sink, manifest)
            .map_err(std::io::Error::from)
            .and_then(|()| std::io::Write::write_all(&mut sink, b"\n"))
            .and_then(|()| {
                sink.into_inner()
                    .map_err(std::io::IntoInnerError::into_error)
            });
        let sink = written.map_err(|source| crate::extract::ExtractError::Write {
            path: path.into(),
            source,
        })?;
        self.store.complete(path, sink.0, made_here(taken))
    }

    fn publish(self, destination: &Destination) -> Result<(), CommandError> {
        self.store
            .finish()
            .map_err(|error| unwritten(destination, error))?;
        match self.temporary {
            Temporary::Folder(folder) => destination.publish_folder(folder)?,
            Temporary::File(file) => destination.publish_file(file)?,
        }
        Ok(())
    }
}

/// The attributes of files that are no copies.
fn made_here(taken: Timestamp) -> Attributes {
    Attributes {
        permissions: 0o600,
        modified: taken.as_second() * 1_000_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("12"), Ok(12));
        assert_eq!(bytes("2G"), Ok(2 << 30));
        assert_eq!(bytes("3MiB"), Ok(3 << 20));
        assert!(bytes("x").is_err() && bytes("1X").is_err() && bytes("99999999T").is_err());
    }

    #[test]
    fn an_archive_has_a_name_that_says_so() {
        assert!(archive_name("a/b.tar.zst").is_ok());
        assert!(archive_name("b.tar.gz").is_err() && archive_name(".tar.zst").is_err());
    }
}
