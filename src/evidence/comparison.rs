//! The running tree against the reference tree: which paths differ.

use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice as _};

use super::mapping;
use crate::object::{FileMode, ObjectId};

/// One side of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its type and execute bit.
    pub mode: FileMode,
    /// Its blob.
    pub id: ObjectId,
}

/// A running file, under the root that it was found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningFile {
    /// The root's position.
    pub root: u32,
    /// Its path, relative to the root.
    pub path: BString,
    /// What it is.
    pub version: Version,
}

/// A file of the reference tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceFile {
    /// Its path from the top of the repository.
    pub path: BString,
    /// What it is.
    pub version: Version,
}

/// A path that is not the same on both sides. At least one side is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path from the top of the repository.
    pub path: BString,
    /// What the reference has.
    pub reference: Option<Version>,
    /// What runs.
    pub running: Option<RunningFile>,
}

/// A root with the folder of the repository that it is, and within the root the folder that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// The root's position.
    pub root: u32,
    /// The running folder, relative to the root.
    pub running: BString,
    /// The folder of the repository.
    pub repository: BString,
}

/// The outcome of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The differences, by path.
    pub differences: Vec<Difference>,
    /// Files that are the same on both sides.
    pub equal: usize,
    /// Running files outside of every pairing, which were not compared.
    pub outside: usize,
    /// Running paths that stand in the place of an unreadable one, see [`compare`].
    pub hidden: usize,
    /// Submodules of the reference, whose content is in another repository.
    pub submodules: Vec<BString>,
}

/// Compares the trees.
///
/// `unreadable` are repository paths (folders or files) whose running side could not be read: what the
/// reference has there is neither deleted nor equal, so it is left out and counted as hidden.
pub fn compare(
    running: Vec<RunningFile>,
    reference: &[ReferenceFile],
    pairings: &[Pairing],
    unreadable: &[BString],
) -> Comparison {
    let mut comparison = Comparison::default();
    let mut missing: HashMap<&BStr, Version> = HashMap::with_capacity(reference.len());
    for file in reference {
        let path: &BStr = file.path.as_ref();
        if !pairings
            .iter()
            .any(|pairing| mapping::strip(path, pairing.repository.as_ref()).is_some())
        {
            continue;
        }
        if file.version.mode == FileMode::Gitlink {
            comparison.submodules.push(file.path.clone());
        } else if is_in_any(path, unreadable) {
            comparison.hidden += 1;
        } else {
            missing.insert(path, file.version);
        }
    }
    for file in running {
        let Some(path) = repository_path(&file, pairings) else {
            comparison.outside += 1;
            continue;
        };
        match missing.remove(path.as_bstr()) {
            Some(version) if version == file.version => comparison.equal += 1,
            None if is_in_any(path.as_bstr(), &comparison.submodules) => {}
            version => comparison.differences.push(Difference {
                path,
                reference: version,
                running: Some(file),
            }),
        }
    }
    let deleted = missing.into_iter().map(|(path, version)| Difference {
        path: path.to_owned(),
        reference: Some(version),
        running: None,
    });
    comparison.differences.extend(deleted);
    comparison
        .differences
        .sort_by(|left, right| left.path.cmp(&right.path));
    comparison
}

/// Where a running file belongs in the repository, by the innermost pairing that holds it.
pub fn repository_path(file: &RunningFile, pairings: &[Pairing]) -> Option<BString> {
    repository_path_of(file.root, file.path.as_ref(), pairings)
}

/// Where a running path belongs in the repository.
pub fn repository_path_of(root: u32, path: &BStr, pairings: &[Pairing]) -> Option<BString> {
    pairings
        .iter()
        .filter(|pairing| pairing.root == root)
        .filter_map(|pairing| Some((pairing, mapping::strip(path, pairing.running.as_ref())?)))
        .max_by_key(|(pairing, _)| pairing.running.len())
        .map(|(pairing, rest)| mapping::join(pairing.repository.as_ref(), rest))
}

fn is_in_any(path: &BStr, folders: &[BString]) -> bool {
    folders
        .iter()
        .any(|folder| mapping::strip(path, folder.as_ref()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{HashKind, blob_id};

    fn version(content: &str) -> Version {
        Version {
            mode: FileMode::Regular,
            id: blob_id(HashKind::Sha1, content.as_bytes()).unwrap(),
        }
    }

    fn running(path: &str, content: &str) -> RunningFile {
        RunningFile {
            root: 0,
            path: path.into(),
            version: version(content),
        }
    }

    fn reference(path: &str, content: &str) -> ReferenceFile {
        ReferenceFile {
            path: path.into(),
            version: version(content),
        }
    }

    fn pairing(running: &str, repository: &str) -> Pairing {
        Pairing {
            root: 0,
            running: running.into(),
            repository: repository.into(),
        }
    }

    fn paths(comparison: &Comparison) -> Vec<String> {
        comparison
            .differences
            .iter()
            .map(|difference| {
                let status = match (&difference.reference, &difference.running) {
                    (None, _) => 'A',
                    (_, None) => 'D',
                    _ => 'M',
                };
                format!("{status} {}", difference.path)
            })
            .collect()
    }

    #[test]
    fn added_deleted_and_modified_files_are_told_from_equal_ones() {
        let comparison = compare(
            vec![
                running("same", "1"),
                running("changed", "2"),
                running("new", "3"),
            ],
            &[
                reference("same", "1"),
                reference("changed", "x"),
                reference("gone", "4"),
            ],
            &[pairing("", "")],
            &[],
        );
        assert_eq!(paths(&comparison), ["M changed", "D gone", "A new"]);
        assert_eq!(comparison.equal, 1);
    }

    #[test]
    fn a_change_of_mode_alone_is_a_difference() {
        let mut file = running("run", "1");
        file.version.mode = FileMode::Executable;
        let comparison = compare(
            vec![file],
            &[reference("run", "1")],
            &[pairing("", "")],
            &[],
        );
        assert_eq!(paths(&comparison), ["M run"]);
    }

    #[test]
    fn only_the_paired_folder_of_the_repository_counts() {
        let comparison = compare(
            vec![running("a", "1"), running("deps/b", "2")],
            &[
                reference("svc/a", "1"),
                reference("svc/c", "3"),
                reference("other/d", "4"),
            ],
            &[pairing("", "svc")],
            &[],
        );
        assert_eq!(paths(&comparison), ["D svc/c", "A svc/deps/b"]);
    }

    #[test]
    fn running_files_outside_of_the_pairing_are_counted_and_not_called_added() {
        let comparison = compare(
            vec![running("pkg/a", "1"), running("b", "2")],
            &[reference("a", "1")],
            &[pairing("pkg", "")],
            &[],
        );
        assert_eq!(
            (paths(&comparison), comparison.outside, comparison.equal),
            (vec![], 1, 1)
        );
    }

    #[test]
    fn what_could_not_be_read_is_not_called_deleted() {
        let comparison = compare(
            vec![],
            &[reference("secret/a", "1"), reference("b", "2")],
            &[pairing("", "")],
            &["secret".into()],
        );
        assert_eq!(
            (paths(&comparison), comparison.hidden),
            (vec!["D b".to_owned()], 1)
        );
    }

    #[test]
    fn a_submodule_is_named_and_its_files_are_not_called_added() {
        let mut link = reference("vendor/lib", "x");
        link.version.mode = FileMode::Gitlink;
        let comparison = compare(
            vec![running("vendor/lib/a.c", "1")],
            &[link],
            &[pairing("", "")],
            &[],
        );
        assert_eq!(
            (paths(&comparison), comparison.submodules),
            (vec![], vec![BString::from("vendor/lib")])
        );
    }

    #[test]
    fn the_innermost_pairing_decides() {
        let pairings = [pairing("", "app"), pairing("vendor/x", "libs/x")];
        let path = |path: &str| {
            repository_path_of(0, path.into(), &pairings)
                .unwrap()
                .to_string()
        };
        assert_eq!(path("vendor/x/a"), "libs/x/a");
        assert_eq!(path("vendor/y/a"), "app/vendor/y/a");
    }
}
