//! Reads the two sides of what differs, and prints it while it comes.

use bstr::BString;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    DiffSrcArgs,
    output::{Format, Report},
    reference::Reference,
    running::RunningTree,
};
use crate::{
    cli::{error::CommandError, printer::Printer},
    diff::{Blob, Change, FileCount, write_patch},
    evidence::comparison::{Difference, RunningFile},
    object::{FileMode, blob_id},
    protocol::message::{Cause, FileHead, FileTail, Request},
    session::RequestError,
    target::Target,
};

/// Differences that are read and printed at a time: what is held in memory is their contents.
const PORTION: usize = 128;
/// Files that the agent reads at once; enough to hide a round trip of 50 ms.
const AT_ONCE: usize = 16;

/// A running file's content could not be had: it is listed, and the run is incomplete.
enum Content {
    Read(Blob),
    Gone(String),
}

/// Prints the differences in the wanted format and counts them in the report.
pub(super) async fn print(
    report: &mut Report<'_>,
    target: &Target,
    reference: &Reference,
    running: &RunningTree,
    format: Format,
    args: &DiffSrcArgs,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let differences = std::mem::take(&mut report.comparison.differences);
    if format.needs_contents() {
        let mut counts = Vec::new();
        for portion in differences.chunks(PORTION) {
            let changes = read(portion, target, reference, running, args, report).await?;
            if format == Format::Patch {
                let options = Format::patch_options(args, printer);
                write_patch(printer.data(), &changes, &options).map_err(CommandError::output)?;
            } else {
                counts.extend(FileCount::all(&changes, &Format::limits(args)));
            }
        }
        format.print_counts(&counts, args, printer)?;
        report.counts = counts;
    } else {
        let changes: Vec<Change> = differences.iter().map(without_contents).collect();
        format.print_names(&changes, args, printer)?;
    }
    report.comparison.differences = differences;
    Ok(())
}

pub(super) fn without_contents(difference: &Difference) -> Change {
    let blob = |version: crate::evidence::comparison::Version| Blob {
        mode: version.mode,
        id: version.id,
        content: Vec::new(),
    };
    Change {
        path: difference.path.clone(),
        old: difference.reference.map(blob),
        new: difference.running.as_ref().map(|file| blob(file.version)),
    }
}

async fn read(
    portion: &[Difference],
    target: &Target,
    reference: &Reference,
    running: &RunningTree,
    args: &DiffSrcArgs,
    report: &mut Report<'_>,
) -> Result<Vec<Change>, CommandError> {
    let ids = portion
        .iter()
        .filter_map(|difference| difference.reference.map(|version| version.id))
        .collect();
    let running_sides = stream::iter(portion.iter().map(|difference| async move {
        match &difference.running {
            Some(file) => read_running(file, target, running, args.max_file_size)
                .await
                .map(Some),
            None => Ok(None),
        }
    }))
    .buffered(AT_ONCE)
    .try_collect::<Vec<_>>();
    let (blobs, running_sides) = tokio::join!(reference.blobs(ids), running_sides);
    let (mut blobs, running_sides) = (blobs?.into_iter(), running_sides?);
    let mut changes = Vec::with_capacity(portion.len());
    for (difference, running_side) in portion.iter().zip(running_sides) {
        let old = match difference.reference {
            None => Ok(None),
            Some(version) => match blobs.next() {
                Some(Ok(content)) => Ok(Some(Blob {
                    mode: version.mode,
                    id: version.id,
                    content,
                })),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("the repository did not answer".to_owned()),
            },
        };
        let new = match running_side {
            None => Ok(None),
            Some(Content::Read(blob)) => Ok(Some(blob)),
            Some(Content::Gone(reason)) => Err(reason),
        };
        match (old, new) {
            (Ok(old), Ok(new)) => changes.push(Change {
                path: difference.path.clone(),
                old,
                new,
            }),
            (Err(reason), _) | (_, Err(reason)) => {
                report.unshown.push((difference.path.clone(), reason));
            }
        }
    }
    Ok(changes)
}

/// Reads a running file. A file that has changed since it was named is shown as it is now, and named anew.
async fn read_running(
    file: &RunningFile,
    target: &Target,
    running: &RunningTree,
    limit: u64,
) -> Result<Content, RequestError> {
    let (mode, content) = if let Some(link) = running.link_of(file) {
        (FileMode::Symlink, link.to_vec())
    } else {
        match read_file(running.path_of(file), target, limit).await {
            Ok(read) => read,
            // The file may go at any time; the target or the pipe going is another matter.
            Err(RequestError::Failed(failure)) if !failure.is_gone() => {
                return Ok(Content::Gone(failure.to_string()));
            }
            Err(error) => return Err(error),
        }
    };
    match blob_id(file.version.id.kind(), &content) {
        Ok(id) => Ok(Content::Read(Blob { mode, id, content })),
        Err(error) => Ok(Content::Gone(error.to_string())),
    }
}

async fn read_file(
    path: BString,
    target: &Target,
    limit: u64,
) -> Result<(FileMode, Vec<u8>), RequestError> {
    let request = Request::ReadFile {
        process: target.process().id,
        path: path.clone(),
    };
    for _ in 0..3 {
        let mut reply = target.session.request(&request)?;
        let head: FileHead = reply.head().await?;
        let content = reply
            .bytes(usize::try_from(limit).unwrap_or(usize::MAX))
            .await?;
        let tail: FileTail = reply.trailer()?;
        if !tail.changed {
            return Ok((FileMode::of_file(head.entry.permissions), content));
        }
    }
    Err(crate::protocol::message::Failure::at("read", path.as_ref(), Cause::KeepsChanging).into())
}
