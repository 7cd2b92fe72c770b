//! The refs by which people know a commit.

use std::collections::BTreeSet;

use super::is_set;
use crate::history::History;

/// A ref and the commit that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTip {
    /// Its full name.
    pub name: String,
    /// The number of the commit.
    pub commit: u32,
}

/// The refs of some commits, those first that people use most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefNames {
    /// Refs that are one of the commits.
    pub at: Vec<NamedTip>,
    /// Refs that lead to one of the commits; counted only, there may be thousands.
    pub containing: usize,
    /// The best known of them.
    pub best: Option<String>,
}

/// Finds the refs of some commits.
#[must_use]
pub fn names_of(history: &History, commits: &[u32], tips: &[NamedTip]) -> RefNames {
    let wanted: BTreeSet<u32> = commits.iter().copied().collect();
    let descendants = history.descendants(commits);
    let mut at: Vec<NamedTip> = tips
        .iter()
        .filter(|tip| wanted.contains(&tip.commit))
        .cloned()
        .collect();
    at.sort_by(|left, right| rank(&left.name).cmp(&rank(&right.name)));
    let containing: Vec<&NamedTip> = tips
        .iter()
        .filter(|tip| is_set(&descendants, tip.commit))
        .collect();
    let best = at.first().map(|tip| tip.name.clone()).or_else(|| {
        let names = containing.iter().map(|tip| &tip.name);
        names.min_by_key(|name| rank(name)).cloned()
    });
    RefNames {
        at,
        containing: containing.len(),
        best,
    }
}

/// Branches before tags before those of remotes before whatever else was fetched. A remote's HEAD is only
/// another name of one of its branches.
fn rank(name: &str) -> (usize, &str) {
    let kinds = ["refs/heads/", "refs/tags/", "refs/remotes/"];
    let kind = kinds.iter().position(|kind| name.starts_with(kind));
    let is_alias = name == "HEAD" || name.ends_with("/HEAD");
    let rank = if is_alias { 9 } else { kind.unwrap_or(3) };
    (rank, name)
}
