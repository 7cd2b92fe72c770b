//! Which folder of the repository a running folder is.
//!
//! Equal blobs vote: a running file that is somewhere in the reference tree says that the folder above the
//! common end of both paths is the same. Files that stand in many places of the tree (an empty
//! `__init__.py`, a licence) say little, so a vote is split among them.

use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice};

use crate::object::ObjectId;

/// A running folder and the folder of the repository that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The running folder, relative to its root; empty for the root itself.
    pub running: BString,
    /// The folder of the repository; empty for its top.
    pub repository: BString,
    /// How it was found.
    pub how: How,
}

/// How a mapping was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The user said so.
    Asked,
    /// So many running files, of so many that have a name, are the same in the repository under it.
    Voted {
        /// Files that agree.
        agree: usize,
        /// Files that were asked.
        of: usize,
    },
}

impl How {
    /// How many files agree; what the user says outweighs any number.
    pub const fn agreeing(self) -> usize {
        match self {
            Self::Asked => usize::MAX,
            Self::Voted { agree, .. } => agree,
        }
    }
}

/// Blobs in more places than this have no vote: they are boilerplate.
const COMMON: usize = 50;

/// Finds the mapping that most of the running files agree with; `None` when no file is equal to any in the
/// reference tree. Both sides are paths with blob names.
pub fn vote<'a>(
    running: impl Iterator<Item = (&'a BStr, ObjectId)>,
    reference: impl Iterator<Item = (&'a BStr, ObjectId)>,
) -> Option<Mapping> {
    let mut places: HashMap<ObjectId, Vec<&BStr>> = HashMap::new();
    for (path, id) in reference {
        places.entry(id).or_default().push(path);
    }
    let mut votes: HashMap<(&BStr, &BStr), (f64, usize)> = HashMap::new();
    let mut asked = 0;
    for (path, id) in running {
        asked += 1;
        let Some(same) = places.get(&id).filter(|same| same.len() <= COMMON) else {
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "at most COMMON")]
        let weight = 1.0 / same.len() as f64;
        for other in same {
            let vote = votes.entry(fork(path, other)).or_default();
            vote.0 += weight;
            vote.1 += 1;
        }
    }
    // With equal weight the shorter paths win, so that the answer does not depend on the order of a map.
    let best = votes
        .into_iter()
        .max_by(|((left_a, left_b), left), ((right_a, right_b), right)| {
            left.0
                .total_cmp(&right.0)
                .then_with(|| (right_a, right_b).cmp(&(left_a, left_b)))
        });
    best.map(|((running, repository), (_, agree))| Mapping {
        running: running.into(),
        repository: repository.into(),
        how: How::Voted { agree, of: asked },
    })
}

/// Cuts the common end, in whole parts, off two paths: `a/src/x.py` and `svc/src/x.py` fork at `a` and `svc`.
/// Files that were renamed fork at their folders.
fn fork<'a>(left: &'a BStr, right: &'a BStr) -> (&'a BStr, &'a BStr) {
    let (mut left, mut right) = (parent(left).0, parent(right).0);
    loop {
        let ((left_parent, left_name), (right_parent, right_name)) = (parent(left), parent(right));
        if left_name != right_name || left.is_empty() || right.is_empty() {
            return (left, right);
        }
        (left, right) = (left_parent, right_parent);
    }
}

fn parent(path: &BStr) -> (&BStr, &BStr) {
    match path.rsplit_once_str("/") {
        Some((parent, name)) => (parent.as_bstr(), name.as_bstr()),
        None => (b"".as_bstr(), path),
    }
}

/// Joins a folder and a path in it; either may be empty.
pub fn join(folder: &BStr, path: &BStr) -> BString {
    if folder.is_empty() {
        return path.to_owned();
    }
    if path.is_empty() {
        return folder.to_owned();
    }
    let mut joined = folder.to_owned();
    joined.push(b'/');
    joined.extend_from_slice(path);
    joined
}

/// The path inside of a folder; `None` when it lies elsewhere. An empty folder holds everything.
pub fn strip<'a>(path: &'a BStr, folder: &BStr) -> Option<&'a BStr> {
    if folder.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(folder.as_bytes())?;
    if rest.is_empty() {
        Some(b"".as_bstr())
    } else {
        rest.strip_prefix(b"/").map(ByteSlice::as_bstr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{HashKind, blob_id};

    fn tree<'a>(files: &[(&'a str, &str)]) -> Vec<(&'a BStr, ObjectId)> {
        files
            .iter()
            .map(|&(path, content)| {
                (
                    BStr::new(path),
                    blob_id(HashKind::Sha1, content.as_bytes()).unwrap(),
                )
            })
            .collect()
    }

    fn voted(running: &[(&str, &str)], reference: &[(&str, &str)]) -> Option<(String, String)> {
        vote(tree(running).into_iter(), tree(reference).into_iter())
            .map(|mapping| (mapping.running.to_string(), mapping.repository.to_string()))
    }

    fn pair(running: &str, repository: &str) -> (String, String) {
        (running.to_owned(), repository.to_owned())
    }

    #[test]
    fn a_folder_of_a_monorepo_is_found() {
        let running = [("app.py", "1"), ("lib/a.py", "2"), ("lib/b.py", "changed")];
        let reference = [
            ("services/shop/app.py", "1"),
            ("services/shop/lib/a.py", "2"),
            ("services/shop/lib/b.py", "3"),
            ("services/cart/app.py", "9"),
        ];
        assert_eq!(voted(&running, &reference), Some(pair("", "services/shop")));
    }

    #[test]
    fn a_package_below_the_running_root_is_found() {
        let running = [
            ("node_modules/express/lib/a.js", "1"),
            ("node_modules/express/lib/b.js", "2"),
            ("node_modules/other/x.js", "3"),
        ];
        assert_eq!(
            voted(&running, &[("lib/a.js", "1"), ("lib/b.js", "2")]),
            Some(pair("node_modules/express", ""))
        );
    }

    #[test]
    fn boilerplate_in_many_places_does_not_decide() {
        let mut reference: Vec<(String, &str)> = (0..20)
            .map(|n| (format!("svc{n}/__init__.py"), ""))
            .collect();
        reference.push(("svc7/main.py".to_owned(), "unique"));
        let reference: Vec<(&str, &str)> = reference
            .iter()
            .map(|(path, content)| (path.as_str(), *content))
            .collect();
        assert_eq!(
            voted(&[("__init__.py", ""), ("main.py", "unique")], &reference),
            Some(pair("", "svc7"))
        );
    }

    #[test]
    fn a_renamed_file_votes_for_its_folder() {
        assert_eq!(
            voted(&[("main.py", "1")], &[("src/app.py", "1")]),
            Some(pair("", "src"))
        );
    }

    #[test]
    fn nothing_in_common_gives_no_mapping() {
        assert_eq!(voted(&[("a", "1")], &[("a", "2")]), None);
    }

    #[test]
    fn folders_join_and_strip() {
        assert_eq!(join("".into(), "a/b".into()), "a/b");
        assert_eq!(join("x".into(), "a/b".into()), "x/a/b");
        assert_eq!(strip("x/a".into(), "x".into()), Some("a".into()));
        assert_eq!(strip("xy/a".into(), "x".into()), None);
        assert_eq!(strip("x/a".into(), "".into()), Some("x/a".into()));
    }
}
