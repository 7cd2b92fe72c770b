//! What runs beside the tree of one commit, file by file.

use std::collections::HashMap;

use bstr::{BStr, BString};

use super::{RunningFile, plan::Plan};
use crate::object::ObjectId;

/// What became of one running file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileFit {
    /// The commit has it; where.
    Equal(BString),
    /// The commit has another content there; where.
    Differs(BString),
    /// The commit has nothing there; another commit has.
    Absent(BString),
    /// No commit ever had anything there.
    Unknown,
}

/// A running tree beside a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeFit {
    /// In the order of the running files.
    pub files: Vec<FileFit>,
}

impl TreeFit {
    /// How many are equal.
    #[must_use]
    pub fn equal(&self) -> usize {
        let equal = |file: &&FileFit| matches!(file, FileFit::Equal(_));
        self.files.iter().filter(equal).count()
    }

    /// How many that could be equal are not: the distance.
    #[must_use]
    pub fn distance(&self) -> usize {
        let apart = |file: &&FileFit| matches!(file, FileFit::Differs(_) | FileFit::Absent(_));
        self.files.iter().filter(apart).count()
    }

    /// How many no commit knows.
    #[must_use]
    pub fn unknown(&self) -> usize {
        let unknown = |file: &&FileFit| matches!(file, FileFit::Unknown);
        self.files.iter().filter(unknown).count()
    }
}

pub(super) fn compare(
    plan: &Plan,
    running: &[RunningFile],
    tree: &[(BString, ObjectId)],
) -> TreeFit {
    let tree: HashMap<&BStr, &ObjectId> =
        tree.iter().map(|(path, id)| (path.as_ref(), id)).collect();
    let files = plan
        .paths
        .iter()
        .zip(running)
        .map(|(paths, file)| one(paths, file, &tree))
        .collect();
    TreeFit { files }
}

fn one(paths: &[BString], file: &RunningFile, tree: &HashMap<&BStr, &ObjectId>) -> FileFit {
    let at = |path: &BString| tree.get(<&BStr>::from(path.as_slice())).copied();
    if let Some(path) = paths
        .iter()
        .find(|path| at(path).is_some_and(|id| file.ids.contains(id)))
    {
        return FileFit::Equal(path.clone());
    }
    if let Some(path) = paths.iter().find(|path| at(path).is_some()) {
        return FileFit::Differs(path.clone());
    }
    match paths.first() {
        Some(path) if file.installed_in.is_none() => FileFit::Absent(path.clone()),
        _ => FileFit::Unknown,
    }
}
