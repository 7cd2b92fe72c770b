//! The steps of a comparison, from two lists of files to what differs and what is noise. Nothing is printed here.

use std::sync::Arc;

use super::{
    archives,
    contents::Cache,
    judge::{Case, Judgement},
    pairing::{self, Pins},
    reference::Reference,
    running::{self, RunningTree},
};
use crate::{
    cli::{error::CommandError, progress::Progress},
    commands::{
        facts::{self, TargetFacts},
        which_ref::Found,
    },
    evidence::{
        classes::{self, Classes},
        comparison::{self, Comparison, ReferenceFile},
        mapping::{self, Mapping},
    },
    object::HashKind,
    target::Target,
};

/// A change so soon after the start is part of the start.
const STARTING: i64 = 1_000_000_000;

/// What all steps of a run need.
pub(super) struct Run<'a> {
    pub(super) target: &'a Target,
    pub(super) reference: &'a Reference,
    /// Nothing is taken for noise.
    pub(super) exact: bool,
    /// The largest running file, in bytes.
    pub(super) max_file_size: u64,
    /// What was changed after this was changed after the process started: nanoseconds since 1970.
    late: i64,
}

/// What a comparison has found, before anything is printed.
pub(super) struct Compared {
    pub(super) running: RunningTree,
    pub(super) mappings: Vec<Mapping>,
    pub(super) comparison: Comparison,
    pub(super) judgement: Judgement,
    /// Classes that run against sources, where there are both.
    pub(super) classes: Option<Classes>,
    /// Which commit runs; `None` when that is not known, or not at once.
    pub(super) found: Option<Found>,
    /// Contents that were read for it.
    pub(super) cache: Cache,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        target: &'a Target,
        reference: &'a Reference,
        exact: bool,
        max_file_size: u64,
    ) -> Self {
        Self {
            target,
            reference,
            exact,
            max_file_size,
            late: late(target),
        }
    }

    /// Compares the two trees and tells what is noise.
    pub(super) async fn compare(
        &self,
        pins: &Pins,
        mut running: RunningTree,
        tree: &[ReferenceFile],
        facts: &TargetFacts,
        progress: &Progress,
    ) -> Result<Compared, CommandError> {
        let mut mappings = pairing::pair_up(pins, &running, tree, self.reference)?;
        let found = self.reference.found(&running, progress).await;
        let roots = running.root_paths();
        let doubt = mapping::doubt(running.files(), tree, &roots, &mappings);
        if mappings.is_empty() || doubt.is_some() {
            let folders = found.as_ref().map(Found::folders).unwrap_or_default();
            mappings = pairing::from_history(&folders, &running, tree);
        }
        if let Some(doubt) = doubt {
            // What the names say, a commit of the history may prove.
            mappings.retain(|mapping| doubt.is_settled_by(mapping));
            if mappings.is_empty() {
                return Err(pairing::in_doubt(&doubt, self.reference));
            }
        }
        if mappings.is_empty() {
            return Err(pairing::nothing_in_common(tree, self.reference));
        }
        let unknown = running.unknown();
        let running_classes = running.classes();
        let classes = classes::compare(
            running_classes.iter().map(AsRef::as_ref),
            tree.iter().map(|file| file.path.as_ref()),
            &mappings,
        );
        let mut comparison =
            comparison::compare(running.take_files(), tree, &mappings, &unknown, self.late);
        let differences = comparison.differences.len();
        tracing::debug!(differences, "the trees are compared");
        progress.say("reading the files that differ");
        let mut cache = Cache::default();
        let judgement = self
            .judge(
                &mut comparison,
                &mappings,
                &running,
                tree,
                facts,
                &mut cache,
            )
            .await?;
        Ok(Compared {
            running,
            mappings,
            comparison,
            judgement,
            classes,
            found,
            cache,
        })
    }

    /// Lists both trees.
    pub(super) async fn trees(
        &self,
        pins: &Pins,
        facts: &TargetFacts,
        progress: &Progress,
    ) -> Result<(RunningTree, Arc<Vec<ReferenceFile>>), CommandError> {
        let hash = self.reference.hash_kind();
        let running = list(self.target, pins, facts, hash, self.max_file_size, progress);
        let (running, tree) = tokio::join!(running, self.reference.tree());
        let (mut running, tree) = (running?, tree?);
        if !self.exact {
            archives::look_into(&mut running, self.target, self.reference.hash_kind()).await?;
        }
        let (count, reference) = (running.count(), tree.len());
        tracing::debug!(running = count, reference, "both trees are listed");
        Ok((running, tree))
    }

    /// Tells real differences from noise; with `--exact` all are real.
    async fn judge(
        &self,
        comparison: &mut Comparison,
        mappings: &[Mapping],
        running: &RunningTree,
        tree: &[ReferenceFile],
        facts: &TargetFacts,
        cache: &mut Cache,
    ) -> Result<Judgement, CommandError> {
        if self.exact {
            return Ok(Judgement {
                real: std::mem::take(&mut comparison.differences),
                ..Judgement::default()
            });
        }
        let case = Case {
            target: self.target,
            reference: self.reference,
            tree,
            running,
            mappings,
            facts,
            max_file_size: self.max_file_size,
            late: self.late,
        };
        case.judge(comparison, cache).await
    }
}

/// Lists the running files.
pub(super) async fn list(
    target: &Target,
    pins: &Pins,
    facts: &TargetFacts,
    hash: HashKind,
    max_file_size: u64,
    progress: &Progress,
) -> Result<RunningTree, CommandError> {
    let found = if pins.wants_roots() {
        facts::roots(target, facts).await?
    } else {
        Vec::new()
    };
    let roots = pins.roots(found);
    if roots.is_empty() {
        return Err(no_root(target));
    }
    let late = late(target);
    let running = running::walk(target, &roots, hash, max_file_size, late, progress).await?;
    if running.root_paths().is_empty() {
        return Err(no_root(target));
    }
    Ok(running)
}

fn late(target: &Target) -> i64 {
    target.process().started_at.saturating_mul(1_000_000) + STARTING
}

fn no_root(target: &Target) -> CommandError {
    let message = format!(
        "nothing of process {} says where its code is: it works in `{}`, and no argument, variable or open file of it names a folder of its own",
        target.process().id.pid,
        target.process().folder.known().map_or_else(
            || "an unknown folder".to_owned(),
            |folder| crate::render::safe(folder)
        ),
    );
    CommandError::usage(message).hint(
        "name the folder with `--root DIR`, as the process sees it; `kdbg ls` shows what is there",
    )
}
