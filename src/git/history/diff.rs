//! Which paths of two trees have different blobs.
//!
//! Folders of the same name are the same and not read. The two sides are read in step, so that nothing is held
//! but the folders that are still to be compared; the depth of a hostile tree costs no stack, and a tree that
//! names itself a thousand times meets a limit.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use bstr::BString;
use gix::objs::tree::EntryRef;

use crate::git::blob::{Reader, library_kind};
use crate::git::error::GitError;
use crate::git::object_id;
use crate::git::repository::Repository;
use crate::object::ObjectId;

/// Paths with the blobs on both sides.
pub(super) type Changes = Vec<(BString, Option<ObjectId>, Option<ObjectId>)>;

/// The most entries that one comparison reads, several times as many as the largest public trees have.
const ENTRY_LIMIT: usize = 8_000_000;
/// The longest path, more than any file system takes.
const PATH_LIMIT: usize = 64 * 1024;
/// So many bytes of trees are remembered: the next commit is compared with what this one was.
const REMEMBERED: usize = 24 << 20;

/// Compares trees, one after the other, in one thread.
pub(super) struct TreeDiff<'repo> {
    reader: Reader<'repo>,
    remembered: HashMap<ObjectId, Arc<[u8]>>,
    remembered_bytes: usize,
}

/// A pair of folders that are still to be compared.
struct Pair {
    /// Their path with a slash at the end, empty for the top.
    prefix: BString,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
}

#[derive(Debug, thiserror::Error)]
#[error("it holds a path of more than {PATH_LIMIT} bytes")]
struct PathTooLong;

impl<'repo> TreeDiff<'repo> {
    pub(super) fn new(repository: &'repo Repository) -> Self {
        Self {
            reader: repository.reader(),
            remembered: HashMap::new(),
            remembered_bytes: 0,
        }
    }

    /// The paths whose blobs differ; `None` once there are more than `limit`. Modes do not count, and
    /// submodules have no blob.
    pub(super) fn run(
        &mut self,
        old: Option<ObjectId>,
        new: ObjectId,
        limit: usize,
    ) -> Result<Option<Changes>, GitError> {
        let mut changes = Changes::new();
        let mut entries = 0;
        let mut pending = Vec::new();
        if old != Some(new) {
            pending.push(Pair {
                prefix: BString::default(),
                old,
                new: Some(new),
            });
        }
        while let Some(pair) = pending.pop() {
            entries += self.folder(&pair, &mut changes, &mut pending)?;
            if changes.len() > limit {
                return Ok(None);
            }
            if entries > ENTRY_LIMIT {
                return Err(GitError::TreeTooLarge {
                    commit: new.to_string(),
                    limit: ENTRY_LIMIT,
                });
            }
        }
        Ok(Some(changes))
    }

    /// Compares the entries of two folders, and answers how many there were.
    fn folder(
        &mut self,
        pair: &Pair,
        changes: &mut Changes,
        pending: &mut Vec<Pair>,
    ) -> Result<usize, GitError> {
        let repository = self.reader.repository;
        let named = pair.new.or(pair.old);
        let corrupt = |source: crate::git::BoxedError| match named {
            Some(id) => repository.corrupt(id, source),
            None => repository.missing(ObjectId::null(repository.hash_kind())),
        };
        let (old, new) = (self.tree(pair.old)?, self.tree(pair.new)?);
        let kind = library_kind(repository.hash_kind());
        let mut old = gix::objs::TreeRefIter::from_bytes(&old, kind);
        let mut new = gix::objs::TreeRefIter::from_bytes(&new, kind);
        let mut left = old
            .next()
            .transpose()
            .map_err(|error| corrupt(error.into()))?;
        let mut right = new
            .next()
            .transpose()
            .map_err(|error| corrupt(error.into()))?;
        let mut count = 0;
        loop {
            let order = match (&left, &right) {
                (None, None) => return Ok(count),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => gix::objs::tree::name_order(
                    left.filename,
                    left.mode.is_tree(),
                    right.filename,
                    right.mode.is_tree(),
                ),
            };
            count += 1;
            let (old_entry, new_entry) = match order {
                Ordering::Less => (left.take(), None),
                Ordering::Greater => (None, right.take()),
                Ordering::Equal => (left.take(), right.take()),
            };
            if !entry(&pair.prefix, old_entry, new_entry, changes, pending) {
                return Err(corrupt(PathTooLong.into()));
            }
            if order != Ordering::Greater {
                left = old
                    .next()
                    .transpose()
                    .map_err(|error| corrupt(error.into()))?;
            }
            if order != Ordering::Less {
                right = new
                    .next()
                    .transpose()
                    .map_err(|error| corrupt(error.into()))?;
            }
        }
    }

    /// The bytes of a tree; none for a folder that is not there.
    fn tree(&mut self, id: Option<ObjectId>) -> Result<Arc<[u8]>, GitError> {
        let Some(id) = id else {
            return Ok(Arc::default());
        };
        if let Some(content) = self.remembered.get(&id) {
            return Ok(Arc::clone(content));
        }
        let content: Arc<[u8]> = self.reader.with_tree(&id, |content| Ok(content.into()))?;
        self.remembered_bytes += content.len();
        if self.remembered_bytes > REMEMBERED {
            self.remembered.clear();
            self.remembered_bytes = content.len();
        }
        self.remembered.insert(id, Arc::clone(&content));
        Ok(content)
    }
}

/// Notes what an entry says; false when its path is too long.
fn entry(
    prefix: &BString,
    old: Option<EntryRef<'_>>,
    new: Option<EntryRef<'_>>,
    changes: &mut Changes,
    pending: &mut Vec<Pair>,
) -> bool {
    if let (Some(old), Some(new)) = (&old, &new)
        && old.oid == new.oid
    {
        return true;
    }
    let Some(name) = old.as_ref().or(new.as_ref()).map(|entry| entry.filename) else {
        return true;
    };
    let path = |slash: &[u8]| -> BString { [prefix.as_slice(), name, slash].concat().into() };
    if prefix.len() + name.len() >= PATH_LIMIT {
        return false;
    }
    let folder = |side: &Option<EntryRef<'_>>| {
        let side = side.as_ref().filter(|entry| entry.mode.is_tree())?;
        Some(object_id(side.oid))
    };
    let blob = |side: &Option<EntryRef<'_>>| {
        let side = side
            .as_ref()
            .filter(|entry| entry.mode.is_blob_or_symlink())?;
        Some(object_id(side.oid))
    };
    let (old_folder, new_folder) = (folder(&old), folder(&new));
    if old_folder.is_some() || new_folder.is_some() {
        pending.push(Pair {
            prefix: path(b"/"),
            old: old_folder,
            new: new_folder,
        });
    }
    let (old_blob, new_blob) = (blob(&old), blob(&new));
    if old_blob != new_blob {
        changes.push((path(b""), old_blob, new_blob));
    }
    true
}
