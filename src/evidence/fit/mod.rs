//! Which commit's tree the running tree is.
//!
//! Every commit gets a score: the running files that it has, each where a mapping of folders expects it. A
//! commit's score is that of its base with the changes against the base added and subtracted, so all commits
//! together cost one pass over all changes, and a commit on a side branch gets its own state, not that of
//! whatever stands beside it in time.
//!
//! Of equal scores the one counts more that lacks fewer files: a file that the commit has in a folder that
//! runs, of a kind that runs there, and that does not run. Commits with the same files equal and the same
//! files lacking cannot be told apart by what runs; they are one answer, a group.
//!
//! Installed packages are not what is looked for: a package manager keeps copies of lock files, and packages have
//! files of each other. Only where a commit tracks the very path do they count, and then as missing ones do: they
//! tell apart commits whose code fits equally well. When nothing else is known to the history, they are what runs.
//!
//! A running file may have several blobs that are it (as it is, with line endings as git keeps them, ...).

mod mappings;
mod names;
mod plan;
mod ranges;
mod scan;
mod tree;
mod variants;

#[cfg(test)]
mod tests;

use bstr::BString;

pub use mappings::FolderPair;
pub use names::{NamedTip, RefNames, names_of};
pub use ranges::{AheadBehind, Range};
pub use tree::{FileFit, TreeFit};
pub use variants::variants;

use crate::{history::History, object::ObjectId};
use plan::Plan;

/// As many answers are told of, the best first.
const ANSWERS: usize = 5;

/// A file that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningFile {
    /// Its path from `/`, without the slash in front.
    pub path: BString,
    /// The blobs that it may be; one of them in a commit makes it equal there.
    pub ids: Vec<ObjectId>,
    /// The folder of installed packages that it lies in (`app/node_modules`), when it is none of the code that
    /// was asked for. Whatever it equals, it counts only where a commit tracks it.
    pub installed_in: Option<BString>,
}

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// The commits.
    pub history: &'a History,
    /// What runs.
    pub running: &'a [RunningFile],
    /// Where to begin: the commits that these lead to are searched.
    pub tips: &'a [u32],
    /// The commit of the ref that should be running.
    pub reference: Option<u32>,
    /// Pairs of folders that the user named; empty when they are to be found.
    pub pinned: &'a [FolderPair],
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Fit {
    plan: Plan,
    /// The answers, the best first.
    pub answers: Vec<Answer>,
    /// The best of the commits that the reference leads to; may be the first of the answers.
    pub on_reference: Option<Answer>,
    /// How many commits were searched.
    pub searched: usize,
}

/// Commits that cannot be told apart by what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The weighed sum of equal files; [`Fit::tree`] counts them.
    pub score: u32,
    /// Files that it has and that do not run, though their folder and kind do.
    pub missing: u32,
    /// The commits, in order of their numbers; never empty.
    pub commits: Vec<u32>,
}

impl Search<'_> {
    /// Scores all commits.
    #[must_use]
    pub fn run(&self) -> Fit {
        let reachable = self.history.ancestors(self.tips);
        let on_reference = self
            .reference
            .map(|reference| self.history.ancestors(&[reference]));
        let plan = Plan::new(self, &reachable);
        let scores = scan::scan(self.history, &plan, &reachable);
        let prefer = |commits: &[u32]| {
            let newest = commits.iter().filter_map(|number| {
                let merged = is_set(on_reference.as_deref().unwrap_or_default(), *number);
                Some((merged, self.history.commit(*number)?.time, *number))
            });
            newest.max()
        };
        let all = |number: u32| is_set(&reachable, number);
        let answers = scan::best(&scores, ANSWERS, &all, &prefer);
        let on_reference = on_reference.as_deref().and_then(|merged| {
            let both = |number: u32| is_set(&reachable, number) && is_set(merged, number);
            scan::best(&scores, 1, &both, &prefer).into_iter().next()
        });
        Fit {
            plan,
            answers,
            on_reference,
            searched: reachable.iter().filter(|reached| **reached).count(),
        }
    }
}

impl Fit {
    /// Which running folder is which folder of the repository, the one with most equal files first.
    pub fn mappings(&self) -> &[FolderPair] {
        &self.plan.mappings
    }

    /// How many running files the history has or had a path for: only those can be equal.
    pub fn comparable(&self) -> usize {
        self.plan.comparable()
    }

    /// Whether an answer rests on more than files that lie everywhere: an empty `__init__.py`, a licence.
    pub const fn is_evidence(answer: &Answer) -> bool {
        answer.score >= plan::RARE
    }

    /// The files of a commit's tree that its score holds against it: that do not run and could.
    pub fn missing(&self, tree: &[(BString, ObjectId)]) -> Vec<BString> {
        let paths = tree.iter().map(|(path, _)| path);
        paths
            .filter(|path| self.plan.could_run.contains(*path))
            .cloned()
            .collect()
    }

    /// Compares what runs with the tree of one commit, file by file.
    pub fn tree(&self, running: &[RunningFile], tree: &[(BString, ObjectId)]) -> TreeFit {
        tree::compare(&self.plan, running, tree)
    }
}

fn is_set(flags: &[bool], number: u32) -> bool {
    flags.get(number as usize).copied().unwrap_or(false)
}
