//! Reads the two sides of what differs, and prints it while it comes.

use std::collections::HashMap;

use bstr::{BStr, BString};
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
    evidence::comparison::{Difference, RunningFile, Version},
    object::{FileMode, blob_id},
    protocol::message::{Cause, FileHead, FileTail, Request},
    session::RequestError,
    target::Target,
};

/// Differences that are read and printed at a time: what is held in memory is their contents.
pub(super) const PORTION: usize = 128;
/// Files that the agent reads at once; enough to hide a round trip of 50 ms.
const AT_ONCE: usize = 16;
/// Contents that are kept from the judgement for the printing, in bytes.
const CACHE: usize = 64 << 20;

/// Both sides of a difference, or why they could not be had.
pub(super) type Sides = Result<(Option<Blob>, Option<Blob>), String>;

/// A running file's content could not be had: it is listed, and the run is incomplete.
enum Content {
    Read(Blob),
    Gone(String),
}

/// Contents that were read already, by the path of their difference.
#[derive(Default)]
pub(super) struct Cache {
    sides: HashMap<BString, (Option<Blob>, Option<Blob>)>,
    bytes: usize,
}

impl Cache {
    fn keep(&mut self, path: &BString, sides: &Sides) {
        let Ok((old, new)) = sides else { return };
        let size = |blob: &Option<Blob>| blob.as_ref().map_or(0, |blob| blob.content.len());
        let size = size(old) + size(new);
        if self.bytes + size <= CACHE {
            self.bytes += size;
            self.sides.insert(path.clone(), (old.clone(), new.clone()));
        }
    }

    /// Forgets a path whose sides are others now.
    pub(super) fn forget(&mut self, path: &BStr) {
        self.sides.remove(path);
    }
}

/// Reads contents.
pub(super) struct Reader<'a> {
    pub(super) target: &'a Target,
    pub(super) reference: &'a Reference,
    pub(super) running: &'a RunningTree,
    /// The largest running file.
    pub(super) limit: u64,
}

/// Prints the differences in the wanted format and counts them in the report.
pub(super) async fn print(
    report: &mut Report<'_>,
    reader: &Reader<'_>,
    cache: &mut Cache,
    format: Format,
    args: &DiffSrcArgs,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let differences = std::mem::take(&mut report.judgement.real);
    if format.needs_contents() {
        let mut counts = Vec::new();
        for portion in differences.chunks(PORTION) {
            let changes = changes(portion, reader, cache, report).await?;
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
    report.judgement.real = differences;
    Ok(())
}

pub(super) fn without_contents(difference: &Difference) -> Change {
    let blob = |version: Version| Blob {
        mode: version.mode,
        id: version.id,
        content: Vec::new(),
    };
    Change {
        path: difference.path.clone(),
        old: difference.reference.map(blob),
        new: difference.running.as_ref().map(|file| blob(file.version)),
        origin: difference.origin.clone(),
    }
}

async fn changes(
    portion: &[Difference],
    reader: &Reader<'_>,
    cache: &mut Cache,
    report: &mut Report<'_>,
) -> Result<Vec<Change>, CommandError> {
    let contents = reader.read(portion, cache).await?;
    let mut changes = Vec::with_capacity(portion.len());
    for (difference, sides) in portion.iter().zip(contents) {
        match sides {
            Ok((old, new)) => changes.push(Change {
                path: difference.path.clone(),
                old,
                new,
                origin: difference.origin.clone(),
            }),
            Err(reason) => report.unshown.push((difference.path.clone(), reason)),
        }
    }
    Ok(changes)
}

impl Reader<'_> {
    /// Reads both sides of some differences; what was read before is not read again.
    pub(super) async fn read(
        &self,
        portion: &[Difference],
        cache: &mut Cache,
    ) -> Result<Vec<Sides>, CommandError> {
        let mut unknown: Vec<Difference> = Vec::new();
        for difference in portion {
            if !cache.sides.contains_key(&difference.path) {
                unknown.push(difference.clone());
            }
        }
        let mut read = self.read_anew(&unknown).await?.into_iter();
        let mut contents = Vec::with_capacity(portion.len());
        for difference in portion {
            if let Some(sides) = cache.sides.get(&difference.path) {
                contents.push(Ok(sides.clone()));
            } else {
                let sides = read
                    .next()
                    .unwrap_or_else(|| Err("the content was not read".to_owned()));
                contents.push(sides);
            }
        }
        for (difference, sides) in portion.iter().zip(&contents) {
            if !cache.sides.contains_key(&difference.path) {
                cache.keep(&difference.path, sides);
            }
        }
        Ok(contents)
    }

    async fn read_anew(&self, portion: &[Difference]) -> Result<Vec<Sides>, CommandError> {
        let ids = portion
            .iter()
            .filter_map(|difference| difference.reference.map(|version| version.id))
            .collect();
        let running_sides = stream::iter(portion.iter().map(|difference| async move {
            match &difference.running {
                Some(file) => self.read_running(file).await.map(Some),
                None => Ok(None),
            }
        }))
        .buffered(AT_ONCE)
        .try_collect::<Vec<_>>();
        let (blobs, running_sides) = tokio::join!(self.reference.blobs(ids), running_sides);
        let (mut blobs, running_sides) = (blobs?.into_iter(), running_sides?);
        let sides = portion
            .iter()
            .zip(running_sides)
            .map(|(difference, running)| {
                let old = match difference.reference {
                    None => None,
                    Some(version) => match blobs.next() {
                        Some(Ok(content)) => Some(Blob {
                            mode: version.mode,
                            id: version.id,
                            content,
                        }),
                        Some(Err(error)) => return Err(error.to_string()),
                        None => return Err("the repository did not answer".to_owned()),
                    },
                };
                match running {
                    None => Ok((old, None)),
                    Some(Content::Read(blob)) => Ok((old, Some(blob))),
                    Some(Content::Gone(reason)) => Err(reason),
                }
            });
        Ok(sides.collect())
    }

    /// Reads a running file. A file that has changed since it was named is shown as it is now, and named anew.
    async fn read_running(&self, file: &RunningFile) -> Result<Content, RequestError> {
        let (mode, content) = if let Some(link) = self.running.link_of(file) {
            (FileMode::Symlink, link.to_vec())
        } else if let Some(content) = self.running.inner_of(file) {
            (file.version.mode, content.clone())
        } else {
            match self.read_file(file.path.clone()).await {
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

    async fn read_file(&self, path: BString) -> Result<(FileMode, Vec<u8>), RequestError> {
        let request = Request::ReadFile {
            process: self.target.process().id,
            path: path.clone(),
        };
        for _ in 0..3 {
            let mut reply = self.target.session.request(&request)?;
            let head: FileHead = reply.head().await?;
            let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
            let content = reply.bytes(limit).await?;
            let tail: FileTail = reply.trailer()?;
            if !tail.changed {
                return Ok((FileMode::of_file(head.entry.permissions), content));
            }
        }
        let keeps_changing = Cause::KeepsChanging;
        Err(crate::protocol::message::Failure::at("read", path.as_ref(), keeps_changing).into())
    }
}
