//! Listing the tree of a commit.
//!
//! The tree is read level by level, each level on all processors, and sorted at the end: the depth of a
//! hostile tree costs no stack, and a tree that names itself a thousand times (a "git bomb") meets a limit
//! on entries instead of on memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use bstr::{BStr, BString, ByteSlice as _};
use rayon::prelude::*;

use super::blob::{Reader, library_kind};
use super::error::GitError;
use super::near;
use super::object_id;
use super::repository::Repository;
use super::resolve::Commit;
use crate::object::{FileMode, ObjectId};

/// The most entries of one listing, several times as many as the largest public repositories have.
const ENTRY_LIMIT: usize = 2_000_000;
/// The longest path of a listing, more than any file system takes.
const PATH_LIMIT: usize = 64 * 1024;
/// So many trees are one thread's portion.
const PORTION: usize = 32;
/// As many paths are searched for a hint.
const HINT_LIMIT: usize = 200_000;

/// One file, link or submodule of a tree; folders are not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// The path from the top of the repository, as bytes, `/` between its parts.
    pub path: BString,
    /// What it is.
    pub mode: FileMode,
    /// The name of its content; of a submodule, the name of its commit.
    pub id: ObjectId,
}

/// A folder that is still to be read.
struct Folder {
    /// Its path with a slash at the end, empty for the top.
    prefix: BString,
    id: ObjectId,
}

/// What one thread found: entries, and folders for the next level.
type Part = (Vec<TreeEntry>, Vec<Folder>);

/// A tree holds a name that git refuses to check out.
#[derive(Debug, thiserror::Error)]
#[error("it holds an entry named `{0}`")]
struct BadName(String);

/// A tree holds a path that no file system takes.
#[derive(Debug, thiserror::Error)]
#[error("it holds a path of more than {PATH_LIMIT} bytes")]
struct PathTooLong;

impl Repository {
    /// Lists everything below `path` in the tree of `commit`, folders descended into, in git's order of paths.
    ///
    /// `path` is relative to the top of the repository; empty or `.` is the top; a file gives its one entry.
    /// Paths of entries are relative to the top whatever `path` is. The same as `git ls-tree -r REF -- path`.
    pub fn tree(&self, commit: &Commit, path: &BStr) -> Result<Vec<TreeEntry>, GitError> {
        let reader = self.reader();
        let components = components(path);
        let Some(components) = components else {
            return Err(self.path_not_in_tree(&reader, commit, path));
        };
        let mut folder = Folder {
            prefix: BString::default(),
            id: commit.tree,
        };
        let last = components.len().checked_sub(1);
        for (index, component) in components.iter().enumerate() {
            match find_entry(&reader, &folder, component.as_bstr())? {
                Some(Found::Folder(inner)) => folder = inner,
                Some(Found::Entry(entry)) if Some(index) == last => return Ok(vec![entry]),
                _ => return Err(self.path_not_in_tree(&reader, commit, path)),
            }
        }
        self.list(folder, &commit.short_id)
    }

    fn list(&self, top: Folder, commit: &str) -> Result<Vec<TreeEntry>, GitError> {
        let mut entries = Vec::new();
        let mut level = vec![top];
        // Counted while a level is read: its next one can be a thousand times as large.
        let count = AtomicUsize::new(0);
        let too_large = || GitError::TreeTooLarge {
            commit: commit.to_owned(),
            limit: ENTRY_LIMIT,
        };
        while !level.is_empty() {
            let parts: Vec<Result<Part, GitError>> = level
                .par_chunks(PORTION)
                .map(|portion| {
                    let reader = self.reader();
                    let (mut found, mut folders) = (Vec::new(), Vec::new());
                    for folder in portion {
                        let before = found.len() + folders.len();
                        read_folder(&reader, folder, &mut found, &mut folders)?;
                        let added = found.len() + folders.len() - before;
                        if count.fetch_add(added, Ordering::Relaxed) + added > ENTRY_LIMIT {
                            return Err(too_large());
                        }
                    }
                    Ok((found, folders))
                })
                .collect();
            level = Vec::new();
            for part in parts {
                let (found, folders) = part?;
                entries.extend(found);
                level.extend(folders);
            }
        }
        entries.par_sort_unstable_by(|left: &TreeEntry, right| left.path.cmp(&right.path));
        Ok(entries)
    }

    fn path_not_in_tree(&self, reader: &Reader<'_>, commit: &Commit, path: &BStr) -> GitError {
        let candidates = self.near_paths(reader, commit, path);
        GitError::PathNotInTree {
            path: path.to_owned(),
            commit: commit.short_id.clone(),
            candidates,
        }
    }

    /// Paths that look like one that is missing: siblings of the first part that does not exist, else folders
    /// and files anywhere whose last part is the wanted one.
    fn near_paths(&self, reader: &Reader<'_>, commit: &Commit, path: &BStr) -> Vec<BString> {
        let parts: Vec<&[u8]> = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b"." && *part != b"..")
            .collect();
        let mut folder = Folder {
            prefix: BString::default(),
            id: commit.tree,
        };
        let mut missing: &[u8] = b"";
        for part in &parts {
            if let Ok(Some(Found::Folder(inner))) = find_entry(reader, &folder, part.as_bstr()) {
                folder = inner;
            } else {
                missing = part;
                break;
            }
        }
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        if read_folder(reader, &folder, &mut files, &mut folders).is_err() {
            return Vec::new();
        }
        let siblings: Vec<BString> = files
            .into_iter()
            .map(|entry| entry.path)
            .chain(
                folders
                    .into_iter()
                    .map(|folder| without_slash(&folder.prefix)),
            )
            .collect();
        let prefix = folder.prefix.clone();
        let names = siblings
            .iter()
            .filter_map(|path| path.strip_prefix(prefix.as_slice()));
        let near: Vec<BString> = near::nearest(missing, names)
            .into_iter()
            .map(|name| {
                let mut path = prefix.clone();
                path.extend_from_slice(name);
                path
            })
            .collect();
        if near.is_empty() {
            self.same_last_part(commit, parts.last().copied())
        } else {
            near
        }
    }

    fn same_last_part(&self, commit: &Commit, wanted: Option<&[u8]>) -> Vec<BString> {
        let top = Folder {
            prefix: BString::default(),
            id: commit.tree,
        };
        let (Some(wanted), Ok(entries)) = (wanted, self.list(top, &commit.short_id)) else {
            return Vec::new();
        };
        let mut found: Vec<BString> = Vec::new();
        for entry in entries.iter().take(HINT_LIMIT) {
            let mut end = 0;
            for part in entry.path.split(|byte| *byte == b'/') {
                end += part.len();
                if part == wanted
                    && let Some(path) = entry.path.get(..end)
                    && found.last().is_none_or(|last| *last != path)
                {
                    found.push(path.into());
                }
                end += 1;
            }
            if found.len() >= 3 {
                break;
            }
        }
        found.truncate(3);
        found
    }
}

enum Found {
    Folder(Folder),
    Entry(TreeEntry),
}

/// The parts of a path below the top, `None` when it leads out of the repository.
fn components(path: &BStr) -> Option<Vec<BString>> {
    if path.starts_with(b"/") {
        return None;
    }
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| (part != b"..").then(|| BString::from(part)))
        .collect()
}

fn find_entry(
    reader: &Reader<'_>,
    folder: &Folder,
    name: &BStr,
) -> Result<Option<Found>, GitError> {
    let (mut entries, mut folders) = (Vec::new(), Vec::new());
    read_folder(reader, folder, &mut entries, &mut folders)?;
    let wanted = |path: &[u8]| path.strip_prefix(folder.prefix.as_slice()) == Some(name);
    if let Some(found) = folders
        .into_iter()
        .find(|inner| wanted(&without_slash(&inner.prefix)))
    {
        return Ok(Some(Found::Folder(found)));
    }
    Ok(entries
        .into_iter()
        .find(|entry| wanted(&entry.path))
        .map(Found::Entry))
}

fn without_slash(prefix: &BString) -> BString {
    prefix.strip_suffix(b"/").unwrap_or(prefix).into()
}

fn read_folder(
    reader: &Reader<'_>,
    folder: &Folder,
    entries: &mut Vec<TreeEntry>,
    folders: &mut Vec<Folder>,
) -> Result<(), GitError> {
    let corrupt = |source: super::BoxedError| reader.repository.corrupt(folder.id, source);
    reader.with_tree(&folder.id, |content| {
        let kind = library_kind(reader.repository.hash_kind());
        for entry in gix::objs::TreeRefIter::from_bytes(content, kind) {
            let entry = entry.map_err(|error| corrupt(error.into()))?;
            if is_refused(entry.filename) {
                return Err(corrupt(BadName(entry.filename.to_string()).into()));
            }
            let id = object_id(entry.oid);
            let mut path = Vec::with_capacity(folder.prefix.len() + entry.filename.len() + 1);
            path.extend_from_slice(&folder.prefix);
            path.extend_from_slice(entry.filename);
            if path.len() > PATH_LIMIT {
                return Err(corrupt(PathTooLong.into()));
            }
            let mode = match entry.mode.kind() {
                gix::objs::tree::EntryKind::Tree => {
                    path.push(b'/');
                    folders.push(Folder {
                        prefix: path.into(),
                        id,
                    });
                    continue;
                }
                gix::objs::tree::EntryKind::Blob => FileMode::Regular,
                gix::objs::tree::EntryKind::BlobExecutable => FileMode::Executable,
                gix::objs::tree::EntryKind::Link => FileMode::Symlink,
                gix::objs::tree::EntryKind::Commit => FileMode::Gitlink,
            };
            entries.push(TreeEntry {
                path: path.into(),
                mode,
                id,
            });
        }
        Ok(())
    })
}

/// Names that a tree cannot have by honest means and that would make two paths look alike or lead out of the
/// tree. git refuses to put them into an index for the same reason.
fn is_refused(name: &BStr) -> bool {
    name.is_empty()
        || *name == "."
        || *name == ".."
        || name.contains(&b'/')
        || name.eq_ignore_ascii_case(b".git")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_as_git_takes_them() {
        let parts = |path: &str| components(path.into());
        assert_eq!(parts(""), Some(vec![]));
        assert_eq!(parts("."), Some(vec![]));
        assert_eq!(parts("./a//b/"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(parts("a/../b"), None);
        assert_eq!(parts("/a"), None);
    }

    #[test]
    fn names_that_lead_astray_are_refused() {
        for name in ["", ".", "..", "a/b", ".git", ".GIT"] {
            assert!(is_refused(name.into()), "{name}");
        }
        for name in [".gitignore", "...", "a", "git"] {
            assert!(!is_refused(name.into()), "{name}");
        }
    }
}
