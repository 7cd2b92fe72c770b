//! The running tree against the reference tree: which paths differ.

use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice as _};

use super::{
    mapping::{self, Mapping},
    noise,
};
use crate::object::{FileMode, ObjectId};

/// One side of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its type and execute bit.
    pub mode: FileMode,
    /// Its blob.
    pub id: ObjectId,
}

/// A running file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningFile {
    /// Its path, as the process sees it: absolute.
    pub path: BString,
    /// What it is.
    pub version: Version,
    /// Its size in bytes.
    pub size: u64,
    /// When its content was last changed, or it itself (its name, owner, mode), whichever is later: nanoseconds
    /// since 1970.
    pub changed: i64,
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
    /// Where the reference has it, when that is another path.
    pub origin: Option<Origin>,
}

pub use crate::diff::Origin;

/// A moment after which nothing was changed.
pub const NEVER: i64 = i64::MAX;

/// The outcome of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The differences, by path.
    pub differences: Vec<Difference>,
    /// Files that are the same on both sides.
    pub equal: usize,
    /// Of those, the ones that were changed later than they should: path and running file.
    pub equal_but_late: Vec<(BString, RunningFile)>,
    /// Running files outside of every mapping, which were not compared.
    pub outside: Vec<RunningFile>,
    /// A second running file for a path of the reference, which is not the same.
    pub copies: Vec<(BString, RunningFile)>,
    /// Reference paths that stand in the place of an unreadable running one, see [`compare`].
    pub hidden: usize,
    /// Submodules of the reference, whose content is in another repository.
    pub submodules: Vec<BString>,
    /// Running files below a submodule.
    pub in_submodules: Vec<RunningFile>,
    /// How many of the running files below each mapping are the same as in the reference.
    pub coverage: Vec<Coverage>,
}

/// What a mapping explains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Running files that are equal.
    pub equal: usize,
    /// Running files that belong to it.
    pub of: usize,
}

/// Compares the trees.
///
/// `unreadable` are running paths (folders or files) that could not be read: what the reference has there is
/// neither deleted nor equal, so it is left out and counted as hidden. What was changed after `late` (nanoseconds
/// since 1970) is told even when it is equal.
pub fn compare(
    running: Vec<RunningFile>,
    reference: &[ReferenceFile],
    mappings: &[Mapping],
    unreadable: &[BString],
    late: i64,
) -> Comparison {
    let mut matching = Matching::new(reference, mappings, unreadable);
    let mut claims: Vec<Claim> = Vec::new();
    for file in running {
        matching.place(file, &mut claims);
    }
    matching.settle(claims, late)
}

/// A running file with the path that it belongs to.
struct Claim {
    path: BString,
    mapping: usize,
    file: RunningFile,
}

struct Matching<'a> {
    mappings: &'a [Mapping],
    /// What the reference has below the mappings.
    wanted: HashMap<&'a BStr, Version>,
    outcome: Comparison,
}

impl<'a> Matching<'a> {
    fn new(
        reference: &'a [ReferenceFile],
        mappings: &'a [Mapping],
        unreadable: &[BString],
    ) -> Self {
        let unreadable: Vec<BString> = unreadable
            .iter()
            .flat_map(|path| {
                mappings
                    .iter()
                    .filter_map(move |mapping| mapping.repository_path(path.as_ref()))
            })
            .collect();
        let mut outcome = Comparison {
            coverage: vec![Coverage::default(); mappings.len()],
            ..Comparison::default()
        };
        let mut wanted = HashMap::with_capacity(reference.len());
        for file in reference {
            let path: &BStr = file.path.as_ref();
            if !mappings
                .iter()
                .any(|mapping| mapping::strip(path, mapping.repository.as_ref()).is_some())
            {
                continue;
            }
            if file.version.mode == FileMode::Gitlink {
                outcome.submodules.push(file.path.clone());
            } else if is_in_any(path, &unreadable) {
                outcome.hidden += 1;
            } else {
                wanted.insert(path, file.version);
            }
        }
        Self {
            mappings,
            wanted,
            outcome,
        }
    }

    /// Finds where a running file belongs. Of several places the one counts that the reference has, those of inner
    /// folders and of heavier mappings first; equal content decides only where the first place is vacant.
    fn place(&mut self, file: RunningFile, claims: &mut Vec<Claim>) {
        let mut places: Vec<(usize, usize, BString)> = self
            .mappings
            .iter()
            .enumerate()
            .filter_map(|(index, mapping)| {
                let path = mapping.repository_path(file.path.as_ref())?;
                Some((index, mapping.running.len(), path))
            })
            .collect();
        places.sort_by_key(|(index, length, _)| (std::cmp::Reverse(*length), *index));
        let known = places
            .iter()
            .find(|(_, _, path)| self.wanted.contains_key(path.as_bstr()));
        let Some((mapping, _, path)) = known.or(places.first()).cloned() else {
            self.outcome.outside.push(file);
            return;
        };
        if is_in_any(path.as_ref(), &self.outcome.submodules) {
            self.outcome.in_submodules.push(file);
            return;
        }
        claims.push(Claim {
            path,
            mapping,
            file,
        });
    }

    /// Gives each path its running file: the one of the heaviest mapping.
    fn settle(mut self, mut claims: Vec<Claim>, late: i64) -> Comparison {
        claims.sort_by(|left, right| {
            (&left.path, left.mapping, &left.file.path).cmp(&(
                &right.path,
                right.mapping,
                &right.file.path,
            ))
        });
        let mut previous: Option<(BString, Option<Version>)> = None;
        for claim in claims {
            let is_known = self.wanted.contains_key(claim.path.as_bstr());
            if let Some(coverage) = self.outcome.coverage.get_mut(claim.mapping)
                && (is_known || !is_beside(claim.path.as_ref()))
            {
                coverage.of += 1;
            }
            if let Some((path, version)) = &previous
                && *path == claim.path
            {
                if *version != Some(claim.file.version) {
                    self.outcome.copies.push((claim.path, claim.file));
                }
                continue;
            }
            let version = self.wanted.remove(claim.path.as_bstr());
            previous = Some((claim.path.clone(), version));
            if version == Some(claim.file.version) {
                self.equal(claim, late);
            } else {
                self.outcome.differences.push(Difference {
                    path: claim.path,
                    reference: version,
                    running: Some(claim.file),
                    origin: None,
                });
            }
        }
        let missing = self.wanted.into_iter().map(|(path, version)| Difference {
            path: path.to_owned(),
            reference: Some(version),
            running: None,
            origin: None,
        });
        self.outcome.differences.extend(missing);
        self.outcome
            .differences
            .sort_by(|left, right| left.path.cmp(&right.path));
        self.outcome
    }

    fn equal(&mut self, claim: Claim, late: i64) {
        self.outcome.equal += 1;
        if let Some(coverage) = self.outcome.coverage.get_mut(claim.mapping) {
            coverage.equal += 1;
        }
        if claim.file.changed > late {
            self.outcome.equal_but_late.push((claim.path, claim.file));
        }
    }
}

/// Whether a path is of a kind that no repository is expected to have: it says nothing of how well a mapping fits.
fn is_beside(path: &BStr) -> bool {
    noise::is_dependency(path, &|_| true).is_some() || path.contains_str("__pycache__/")
}

/// Whether a path is, or lies below, one of these.
pub fn is_in_any(path: &BStr, folders: &[BString]) -> bool {
    folders
        .iter()
        .any(|folder| mapping::strip(path, folder.as_ref()).is_some())
}

/// Files for tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::object::{HashKind, blob_id};

    pub(crate) fn version(content: &str) -> Version {
        Version {
            mode: FileMode::Regular,
            id: blob_id(HashKind::Sha1, content.as_bytes()).unwrap(),
        }
    }

    pub(crate) fn running(path: &str, content: &str) -> RunningFile {
        RunningFile {
            path: path.into(),
            version: version(content),
            size: content.len() as u64,
            changed: 0,
        }
    }

    pub(crate) fn reference(path: &str, content: &str) -> ReferenceFile {
        ReferenceFile {
            path: path.into(),
            version: version(content),
        }
    }

    pub(crate) fn mapped(running: &str, repository: &str) -> Mapping {
        Mapping {
            running: running.into(),
            repository: repository.into(),
            how: mapping::How::Asked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        testing::{mapped, reference, running},
        *,
    };

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
                running("/app/same", "1"),
                running("/app/changed", "2"),
                running("/app/new", "3"),
                running("/app/node_modules/x.js", "4"),
            ],
            &[
                reference("same", "1"),
                reference("changed", "x"),
                reference("gone", "4"),
            ],
            &[mapped("/app", "")],
            &[],
            NEVER,
        );
        assert_eq!(
            paths(&comparison),
            ["M changed", "D gone", "A new", "A node_modules/x.js"]
        );
        assert_eq!(comparison.equal, 1);
        assert_eq!(comparison.coverage, [Coverage { equal: 1, of: 3 }]);
    }

    #[test]
    fn a_change_of_mode_alone_is_a_difference() {
        let mut file = running("/run", "1");
        file.version.mode = FileMode::Executable;
        let comparison = compare(
            vec![file],
            &[reference("run", "1")],
            &[mapped("/", "")],
            &[],
            NEVER,
        );
        assert_eq!(paths(&comparison), ["M run"]);
    }

    #[test]
    fn only_the_mapped_folder_of_the_repository_counts() {
        let comparison = compare(
            vec![running("/app/a", "1"), running("/app/deps/b", "2")],
            &[
                reference("svc/a", "1"),
                reference("svc/c", "3"),
                reference("other/d", "4"),
            ],
            &[mapped("/app", "svc")],
            &[],
            NEVER,
        );
        assert_eq!(paths(&comparison), ["D svc/c", "A svc/deps/b"]);
    }

    #[test]
    fn running_files_outside_of_the_mapping_are_counted_and_not_called_added() {
        let comparison = compare(
            vec![running("/app/pkg/a", "1"), running("/app/b", "2")],
            &[reference("a", "1")],
            &[mapped("/app/pkg", "")],
            &[],
            NEVER,
        );
        assert_eq!(
            (
                paths(&comparison),
                comparison.outside.len(),
                comparison.equal
            ),
            (vec![], 1, 1)
        );
    }

    #[test]
    fn what_could_not_be_read_is_not_called_deleted() {
        let comparison = compare(
            vec![],
            &[reference("secret/a", "1"), reference("b", "2")],
            &[mapped("/app", "")],
            &["/app/secret".into()],
            NEVER,
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
            vec![running("/vendor/lib/a.c", "1")],
            &[link],
            &[mapped("/", "")],
            &[],
            NEVER,
        );
        assert_eq!(
            (
                paths(&comparison),
                comparison.submodules,
                comparison.in_submodules.len()
            ),
            (vec![], vec![BString::from("vendor/lib")], 1)
        );
    }

    #[test]
    fn the_innermost_mapping_decides_and_another_fills_what_it_has_not() {
        let mappings = [
            mapped("/app", "app"),
            mapped("/app", "tests/unit"),
            mapped("/app/vendor/x", "libs/x"),
        ];
        let comparison = compare(
            vec![
                running("/app/a", "1"),
                running("/app/test_a", "2"),
                running("/app/vendor/x/b", "3"),
                running("/app/new", "4"),
            ],
            &[
                reference("app/a", "1"),
                reference("tests/unit/test_a", "2"),
                reference("libs/x/b", "3"),
            ],
            &mappings,
            &[],
            NEVER,
        );
        assert_eq!(paths(&comparison), ["A app/new"]);
        assert_eq!(comparison.equal, 3);
    }

    #[test]
    fn a_second_copy_that_differs_is_told_beside_the_first() {
        let comparison = compare(
            vec![running("/app/a", "1"), running("/opt/a", "2")],
            &[reference("a", "1")],
            &[mapped("/app", ""), mapped("/opt", "")],
            &[],
            NEVER,
        );
        assert!(paths(&comparison).is_empty());
        let [(path, file)] = comparison.copies.as_slice() else {
            panic!("{:?}", comparison.copies);
        };
        assert_eq!(
            (path.to_string(), file.path.to_string()),
            ("a".to_owned(), "/opt/a".to_owned())
        );
    }

    #[test]
    fn an_equal_file_that_was_changed_late_is_told() {
        let mut file = running("/app/a", "1");
        file.changed = 11;
        let comparison = compare(
            vec![file, running("/app/b", "1")],
            &[reference("a", "1"), reference("b", "1")],
            &[mapped("/app", "")],
            &[],
            10,
        );
        let late: Vec<_> = comparison
            .equal_but_late
            .iter()
            .map(|(path, _)| path.to_string())
            .collect();
        assert_eq!((late, comparison.equal), (vec!["a".to_owned()], 2));
    }
}
