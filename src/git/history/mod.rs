//! The history of a repository: every commit that a ref leads to, with what it changed.
//!
//! Reading it once takes a tree comparison for each commit, so the result is kept in the user's cache and only
//! commits that are new since are read. An object is read by its name and checked against it; a commit-graph
//! file is not consulted, because nothing checks what it says.

mod diff;
mod store;
mod tips;
mod walk;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::error::GitError;
use super::repository::Repository;
use crate::history::History;
use crate::object::ObjectId;

pub use tips::{Tip, Tips};

/// Packs of so many bytes are read in one or two seconds.
const SMALL: u64 = 16 << 20;

/// How a history is read.
#[derive(Clone, Copy, Debug)]
pub struct HistoryOptions<'a> {
    /// The folder of kdbg's caches; `None` keeps nothing.
    pub cache_dir: Option<&'a Path>,
    /// Set from elsewhere (Ctrl-C), it ends the reading.
    pub cancel: &'a AtomicBool,
}

/// A history and how it was come by.
#[derive(Clone, Debug)]
pub struct ReadHistory {
    /// Commits, of which all tips' ancestors are some: others are of refs that have moved since, or that were
    /// asked for by another run.
    pub history: History,
    /// How many commits were read now; the others were kept from before.
    pub added: usize,
}

/// What is being done, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryStep {
    /// The commits that are new are being found; so many so far.
    Finding(usize),
    /// So many of so many are compared with their parents.
    Comparing(usize, usize),
}

impl Repository {
    /// Reads the history that the tips lead to.
    pub fn history(
        &self,
        tips: &[ObjectId],
        options: &HistoryOptions<'_>,
        progress: &(dyn Fn(HistoryStep) + Sync),
    ) -> Result<ReadHistory, GitError> {
        let store = options
            .cache_dir
            .and_then(|cache| store::Store::new(cache, self));
        let mut history = store
            .as_ref()
            .and_then(store::Store::load)
            .unwrap_or_else(|| History::new(self.hash_kind()));
        let added = walk::extend(self, &mut history, tips, options.cancel, progress)?;
        if added > 0
            && let Some(store) = store
        {
            if let Some(smaller) = without_lost(&history, tips) {
                history = smaller;
            }
            store.save(&history);
        }
        tracing::info!(
            commits = history.len(),
            added,
            changes = history.change_count(),
            paths = history.path_count(),
            blobs = history.blob_count(),
            "the history is read"
        );
        Ok(ReadHistory { history, added })
    }

    /// Whether the history can be read in a moment, as far as the size of the packs says so.
    pub fn is_small(&self) -> bool {
        let folder = self.inner.objects_dir().join("pack");
        let sizes = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let bytes: u64 = sizes
            .filter_map(|entry| entry.metadata().ok())
            .map(|file| file.len())
            .sum();
        bytes <= SMALL
    }

    /// Whether a history of this repository has been kept: reading it is then a matter of moments.
    pub fn has_kept_history(&self, cache_dir: &Path) -> bool {
        store::Store::new(cache_dir, self).is_some_and(|store| store.exists())
    }
}

/// The history without what no tip leads to, once that is most of it.
fn without_lost(history: &History, tips: &[ObjectId]) -> Option<History> {
    let numbers = history.numbers();
    let tips: Vec<u32> = tips
        .iter()
        .filter_map(|id| numbers.get(id).copied())
        .collect();
    let keep = history.ancestors(&tips);
    let kept = keep.iter().filter(|kept| **kept).count();
    (kept < history.len() / 2)
        .then(|| history.retain(&keep).ok())
        .flatten()
}
