//! The comparison as facts for findings, and the list of the code that runs.

use std::{collections::HashMap, sync::Arc};

use bstr::{BString, ByteSlice as _};

use super::{
    compare::{self, Compared, Run},
    contents::{PORTION, Reader},
    pairing::Pins,
    reference::Reference,
    running::RunningTree,
};
use crate::{
    cli::{error::CommandError, progress::Progress},
    commands::facts::TargetFacts,
    diff::{Change, Counts, FileCount, Limits, PatchOptions, write_patch},
    evidence::{
        comparison::{Difference, ReferenceFile},
        finding::Finding,
        findings::{CodeOrigin, Drift, DriftedFile, PatchedFile},
        provenance::Lookup,
        reads::Language,
    },
    object::HashKind,
    protocol::message::Failure,
    target::Target,
};

/// A longer patch is read by nobody, in bytes.
const LONGEST_PATCH: usize = 4 << 20;
/// Larger files are no sources, in bytes.
const LARGEST: u64 = 64 << 20;

/// The code that runs.
#[derive(Clone)]
pub(in crate::commands) struct Code {
    /// Sources that run, by their names: path as the process sees it, size in bytes.
    pub(in crate::commands) sources: Vec<(BString, u64)>,
    /// Compiled code that lies among them and names what it reads: classes of Java. Path and size.
    pub(in crate::commands) compiled: Vec<(BString, u64)>,
    /// What is there and could not be read.
    pub(in crate::commands) unreadable: Vec<(BString, Failure)>,
}

/// How the running code differs from the reference.
pub(in crate::commands) struct Changes {
    /// The files.
    pub(in crate::commands) drift: Drift,
    /// Which commits have them.
    pub(in crate::commands) origin: Lookup<CodeOrigin>,
    /// Those that were changed after the process started.
    pub(in crate::commands) patched: Vec<PatchedFile>,
    /// Of files that differ, by the path that the process sees: what runs, and its lines that the reference lacks.
    pub(in crate::commands) contents: HashMap<BString, (Vec<u8>, Vec<usize>)>,
    /// Paths whose contents could not be had, with the reason.
    pub(in crate::commands) unshown: Vec<(BString, String)>,
    /// All of it as a patch, when that was wanted; cut where it is too long.
    pub(in crate::commands) patch: BString,
}

/// The code that runs, listed and not compared yet.
pub(in crate::commands) struct Listing<'a> {
    pub(in crate::commands) code: Code,
    facts: &'a TargetFacts,
    pins: Pins,
    trees: Option<(Run<'a>, RunningTree, Arc<Vec<ReferenceFile>>)>,
}

impl<'a> Listing<'a> {
    /// Lists the code.
    pub(in crate::commands) async fn read(
        target: &'a Target,
        reference: Option<&'a Reference>,
        facts: &'a TargetFacts,
        progress: &Progress,
    ) -> Result<Self, CommandError> {
        let pins = Pins::new(&[], &[], &[])?;
        let Some(reference) = reference else {
            let running =
                compare::list(target, &pins, facts, HashKind::Sha1, LARGEST, progress).await?;
            return Ok(Self {
                code: Code::of(&running),
                facts,
                pins,
                trees: None,
            });
        };
        let run = Run::new(target, reference, false, LARGEST);
        let (running, tree) = run.trees(&pins, facts, progress).await?;
        Ok(Self {
            code: Code::of(&running),
            facts,
            pins,
            trees: Some((run, running, tree)),
        })
    }

    /// Compares it; `Missing` without a reference.
    pub(in crate::commands) async fn compare(
        self,
        wants_patch: bool,
        progress: &Progress,
    ) -> Lookup<Changes> {
        let Some((run, running, tree)) = self.trees else {
            return Lookup::Missing;
        };
        let compared = run.compare(&self.pins, running, &tree, self.facts, progress);
        let changes = match compared.await {
            Ok(compared) => changes(&run, compared, wants_patch).await,
            Err(error) => Err(error),
        };
        changes.map_or_else(|error| Lookup::Unreadable(error.to_string()), Lookup::Found)
    }
}

impl Code {
    fn of(running: &RunningTree) -> Self {
        Self {
            sources: sources(running),
            compiled: compiled(running),
            unreadable: running.unreadable.clone(),
        }
    }
}

fn sources(running: &RunningTree) -> Vec<(BString, u64)> {
    named(running, |path| Language::of(path, b"").is_some())
}

fn compiled(running: &RunningTree) -> Vec<(BString, u64)> {
    named(running, |path| path.ends_with(b".class"))
}

fn named(running: &RunningTree, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<(BString, u64)> {
    running
        .files()
        .iter()
        .filter(|file| running.inner_of(file).is_none() && running.link_of(file).is_none())
        .filter(|file| is_wanted(&file.path))
        .map(|file| (file.path.clone(), file.size))
        .collect()
}

async fn changes(
    run: &Run<'_>,
    mut compared: Compared,
    wants_patch: bool,
) -> Result<Changes, CommandError> {
    let reader = Reader {
        target: run.target,
        reference: run.reference,
        running: &compared.running,
        limit: run.max_file_size,
    };
    let mut files = Vec::new();
    let mut contents = HashMap::new();
    let mut unshown = Vec::new();
    let mut patch = BString::default();
    for portion in compared.judgement.real.chunks(PORTION) {
        let sides = reader.read(portion, &mut compared.cache).await?;
        for (difference, sides) in portion.iter().zip(sides) {
            match sides {
                Ok((old, new)) => {
                    let change = Change {
                        path: difference.path.clone(),
                        old,
                        new,
                        origin: difference.origin.clone(),
                    };
                    files.push(drifted(difference, &change));
                    if wants_patch && patch.len() < LONGEST_PATCH {
                        // Writing to memory does not fail.
                        let one = std::slice::from_ref(&change);
                        let _ = write_patch(&mut *patch, one, &PatchOptions::default());
                    }
                    if let (Some(running), Some(new)) = (&difference.running, &change.new) {
                        let lines = added_lines(&change);
                        contents.insert(running.path.clone(), (new.content.clone(), lines));
                    }
                }
                Err(reason) => unshown.push((difference.path.clone(), reason)),
            }
        }
    }
    let origin = match &compared.found {
        Some(found) => found.origin().map_or(Lookup::Missing, Lookup::Found),
        None => Lookup::Unreadable(
            "the history is long and was not read yet: `kdbg which-ref` reads and keeps it"
                .to_owned(),
        ),
    };
    Ok(Changes {
        drift: Drift {
            reference: run.reference.spec().to_owned(),
            commit: run.reference.commit().id.to_string(),
            compared: compared.comparison.equal + files.len(),
            files,
        },
        origin,
        patched: patched(&compared),
        contents,
        unshown,
        patch,
    })
}

fn drifted(difference: &Difference, change: &Change) -> DriftedFile {
    let count = FileCount::of(change, &Limits::default());
    let (added, deleted) = match count.map(|count| count.counts) {
        Some(Counts::Text { added, deleted }) => (added, deleted),
        Some(Counts::Binary { .. }) | None => (0, 0),
    };
    DriftedFile {
        path: difference.path.clone(),
        running: difference.running.as_ref().map(|file| file.path.clone()),
        added,
        deleted,
    }
}

/// The lines that only what runs has, counted from 1: those of the patch's `+` lines.
fn added_lines(change: &Change) -> Vec<usize> {
    let options = PatchOptions {
        context: 0,
        ..PatchOptions::default()
    };
    let mut patch = Vec::new();
    // Writing to memory does not fail.
    if write_patch(&mut patch, std::slice::from_ref(change), &options).is_err() {
        return Vec::new();
    }
    // Lines of a content begin with a sign, so this is a hunk's head: `@@ -1,2 +3,4 @@`.
    let heads = patch.lines().filter_map(|line| line.strip_prefix(b"@@ "));
    heads.filter_map(added_range).flatten().collect()
}

fn added_range(head: &[u8]) -> Option<std::ops::Range<usize>> {
    let added = head
        .split_str(" ")
        .find_map(|part| part.strip_prefix(b"+"))?;
    let added = added.to_str().ok()?;
    let (start, count) = added.split_once(',').unwrap_or((added, "1"));
    let (start, count): (usize, usize) = (start.parse().ok()?, count.parse().ok()?);
    Some(start..start.saturating_add(count))
}

/// The files that were changed while the process ran.
fn patched(compared: &Compared) -> Vec<PatchedFile> {
    let findings = compared.judgement.findings.iter();
    findings
        .filter_map(|finding| match finding {
            Finding::ChangedAfterStart {
                running,
                changed,
                started,
                is_equal,
                ..
            } => Some(PatchedFile {
                path: running.clone(),
                seconds_after_start: u64::try_from(changed / 1_000_000_000 - started / 1_000)
                    .unwrap_or_default(),
                as_reference: Some(*is_equal),
            }),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diff::Blob,
        object::{FileMode, HashKind, blob_id},
    };

    #[test]
    fn added_lines_are_those_of_the_running_file() {
        let blob = |text: &str| Blob {
            mode: FileMode::Regular,
            id: blob_id(HashKind::Sha1, text.as_bytes()).unwrap(),
            content: text.into(),
        };
        let change = |old: Option<&str>, new: &str| Change {
            path: "x".into(),
            old: old.map(blob),
            new: Some(blob(new)),
            origin: None,
        };
        let added = added_lines(&change(Some("a\nb\nc\nd\n"), "a\nB\nB2\nc\n@@ -1 +9 @@\n"));
        assert_eq!(added, [2, 3, 5]);
        assert_eq!(added_lines(&change(None, "a\nb\n")), [1, 2]);
        let gone: [usize; 0] = [];
        assert_eq!(added_lines(&change(Some("a\nb\n"), "a\n")), gone);
    }
}
