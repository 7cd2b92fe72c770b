//! The conclusion in one line, for the head of another command.
//!
//! It must not make that command slow: a history that has never been read is read only when that takes a
//! moment, and it must not make it fail.

use std::sync::Arc;

use bstr::BString;

use super::{
    search::{Prepared, Question, find, prepare},
    without_slash,
};
use crate::{
    cli::progress::Progress,
    evidence::fit::{FolderPair, RunningFile},
    git::{self, Commit, Repository},
    object::ObjectId,
};

/// The repository's side, when it is known or can be had at once.
pub(in crate::commands) async fn at_once(
    repository: &Arc<Repository>,
    spec: &str,
    commit: &Commit,
    progress: &Progress,
) -> Option<Arc<Prepared>> {
    let cache = git::default_cache_dir().ok();
    let is_kept = cache.is_some_and(|cache| repository.has_kept_history(&cache));
    if !is_kept && !repository.is_small() {
        tracing::info!(
            "`kdbg which-ref` reads the history, and diff-src says then which commit runs"
        );
        return None;
    }
    let question = Question {
        reference: None,
        resolved: Some((spec.to_owned(), commit.clone())),
        refs: None,
        // What is read in a moment need not be kept.
        keeps: is_kept,
    };
    match prepare(repository, question, progress).await {
        Ok(prepared) => Some(Arc::new(prepared)),
        Err(error) => {
            tracing::info!(%error, "which commit runs is not known");
            None
        }
    }
}

/// What a search of the history says, for another command.
#[derive(Default)]
pub(in crate::commands) struct Short {
    /// Which commit runs, in one line; `None` when nothing fits.
    pub(in crate::commands) headline: Option<String>,
    /// Which running folder is which folder of the repository, over all of its history; none when nothing fits.
    pub(in crate::commands) folders: Vec<FolderPair>,
}

/// Searches the history for the running files.
pub(in crate::commands) async fn in_short(
    repository: &Arc<Repository>,
    prepared: &Arc<Prepared>,
    running: impl Iterator<Item = (BString, ObjectId)>,
) -> Short {
    let files = running
        .map(|(path, id)| RunningFile {
            path: without_slash(&path),
            ids: vec![id],
        })
        .collect();
    match find(repository, prepared, files, Vec::new()).await {
        Ok(found) => Short {
            headline: found.headline(),
            folders: found.folders(),
        },
        Err(error) => {
            tracing::info!(%error, "which commit runs is not known");
            Short::default()
        }
    }
}
