//! The conclusion in one line, for the head of another command.
//!
//! It must not make that command slow: a history that has never been read is read only when that takes a
//! moment, and it must not make it fail.

use std::sync::Arc;

use bstr::BString;

use super::{
    output::Verdict,
    running_file,
    search::{Found, Prepared, Question, find, prepare},
};
use crate::{
    cli::progress::Progress,
    evidence::findings::{CodeOrigin, MatchedCommit},
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

/// Which commit runs; `None` when nobody can tell.
pub(in crate::commands) async fn fit(
    repository: &Arc<Repository>,
    prepared: &Arc<Prepared>,
    running: impl Iterator<Item = (&BString, ObjectId)>,
    roots: &[BString],
) -> Option<Found> {
    let files = running
        .map(|(path, id)| running_file(path, id, roots))
        .collect();
    match find(repository, prepared, files, Vec::new()).await {
        Ok(found) => Some(found),
        Err(error) => {
            tracing::info!(%error, "which commit runs is not known");
            None
        }
    }
}

impl Found {
    /// The commits that fit, best first, and the best one of the reference; `None` when nothing fits.
    pub(in crate::commands) fn origin(&self) -> Option<CodeOrigin> {
        if self.verdict() == Verdict::Nothing {
            return None;
        }
        let (reference, _) = self.reference.as_ref()?;
        let answers = self.answers.iter().filter(|answer| answer.is_evidence);
        Some(CodeOrigin {
            reference: reference.clone(),
            commits: answers
                .chain(&self.on_reference)
                .map(|answer| MatchedCommit {
                    commit: answer.newest.id.to_string(),
                    reached_from: answer
                        .names
                        .best
                        .clone()
                        .unwrap_or_else(|| answer.newest.short_id.clone()),
                    on_reference: answer.range.merged,
                    unmatched: answer.tree.distance(),
                })
                .collect(),
        })
    }
}
