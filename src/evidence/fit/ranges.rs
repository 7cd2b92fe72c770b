//! An answer as people say it: from this commit to that one, and how far that is from the reference.

use super::is_set;
use crate::history::History;

/// The commits of an answer from the oldest to the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The number of the oldest.
    pub oldest: u32,
    /// The number of the newest.
    pub newest: u32,
    /// How many there are between, both included.
    pub commits: usize,
    /// Whether the reference leads to them.
    pub merged: bool,
    /// How many more commits there are that the reference does not lead to and that hold the same.
    pub beside: usize,
}

/// How far a commit and the reference are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AheadBehind {
    /// Commits that only the commit leads to, itself included.
    pub ahead: usize,
    /// Commits that only the reference leads to, itself included.
    pub behind: usize,
}

impl Range {
    /// The range of some commits: of those that the reference leads to, when there are some; commits beside
    /// them on branches that do not touch the files are only counted. `None` without commits.
    #[must_use]
    pub fn of(history: &History, commits: &[u32], reference: Option<u32>) -> Option<Self> {
        let merged = reference.map(|reference| history.ancestors(&[reference]));
        let is_merged = |number: &u32| {
            merged
                .as_deref()
                .is_some_and(|merged| is_set(merged, *number))
        };
        let on_reference: Vec<u32> = commits.iter().copied().filter(is_merged).collect();
        let told = if on_reference.is_empty() {
            commits
        } else {
            &on_reference
        };
        let time = |number: &u32| Some((history.commit(*number)?.time, *number));
        Some(Self {
            oldest: told.iter().filter_map(time).min()?.1,
            newest: told.iter().filter_map(time).max()?.1,
            commits: told.len(),
            merged: !on_reference.is_empty(),
            beside: commits.len() - told.len(),
        })
    }
}

impl AheadBehind {
    /// Counts the commits that only one of both leads to.
    #[must_use]
    pub fn of(history: &History, commit: u32, reference: u32) -> Self {
        let (ours, theirs) = (
            history.ancestors(&[commit]),
            history.ancestors(&[reference]),
        );
        let only = |left: &[bool], right: &[bool]| {
            let pairs = left.iter().zip(right);
            pairs.filter(|(left, right)| **left && !**right).count()
        };
        Self {
            ahead: only(&ours, &theirs),
            behind: only(&theirs, &ours),
        }
    }
}
