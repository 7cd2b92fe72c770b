//! Finding the commits that are new, and what each changed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;

use super::HistoryStep;
use super::diff::{Changes, TreeDiff};
use crate::git::blob::{Reader, library_kind};
use crate::git::error::GitError;
use crate::git::object_id;
use crate::git::repository::Repository;
use crate::history::{Appender, History, NewCommit};
use crate::object::ObjectId;

/// So many commits are one thread's portion; neighbours share trees, so it is large.
const PORTION: usize = 256;
/// So many portions are compared before their changes are added: what waits takes memory.
const WINDOW: usize = 32;
/// A merge with more changes than this is compared with its other parents too: one of them is nearer.
const FAR: usize = 64;
/// How often the finding is told of.
const TELL: usize = 4096;

/// A commit as it was read.
#[derive(Clone, Debug)]
struct Found {
    id: ObjectId,
    tree: ObjectId,
    parents: Vec<ObjectId>,
    time: i64,
}

/// Adds what the tips lead to and the history lacks; answers how many commits that were.
pub(super) fn extend(
    repository: &Repository,
    history: &mut History,
    tips: &[ObjectId],
    cancel: &AtomicBool,
    progress: &(dyn Fn(HistoryStep) + Sync),
) -> Result<usize, GitError> {
    let mut numbers = history.numbers();
    let found = find(repository, &numbers, tips, cancel, progress)?;
    if found.is_empty() {
        return Ok(0);
    }
    // The new trees by commit: a base may be new itself.
    let trees: HashMap<ObjectId, ObjectId> = found
        .iter()
        .map(|commit| (commit.id, commit.tree))
        .collect();
    let done = AtomicUsize::new(0);
    let mut appender = Appender::new(history);
    for window in found.chunks(PORTION * WINDOW) {
        let parts: Vec<Result<Vec<Compared>, GitError>> = window
            .par_chunks(PORTION)
            .map(|portion| {
                let part = compare(repository, &trees, portion, cancel)?;
                let so_far = done.fetch_add(portion.len(), Ordering::Relaxed) + portion.len();
                progress(HistoryStep::Comparing(so_far, found.len()));
                Ok(part)
            })
            .collect();
        let mut commits = window.iter();
        for part in parts {
            for (compared, commit) in part?.into_iter().zip(&mut commits) {
                let number = |id: &ObjectId| numbers.get(id).copied();
                let added = appender
                    .push(&NewCommit {
                        id: commit.id,
                        time: commit.time,
                        parents: commit.parents.iter().filter_map(number).collect(),
                        base: compared.base.as_ref().and_then(number),
                        changes: compared.changes,
                    })
                    .map_err(|source| repository.corrupt(commit.id, source))?;
                numbers.insert(commit.id, added);
            }
        }
    }
    Ok(found.len())
}

/// A step of the search for commits.
enum Step {
    Enter(ObjectId),
    /// All its parents have been found.
    Leave(Found),
}

/// The commits that are not known yet, every parent before its children, and of several parents the first
/// directly before: neighbours are alike then.
fn find(
    repository: &Repository,
    known: &HashMap<ObjectId, u32>,
    tips: &[ObjectId],
    cancel: &AtomicBool,
    progress: &(dyn Fn(HistoryStep) + Sync),
) -> Result<Vec<Found>, GitError> {
    let reader = repository.reader();
    let shallow = shallow_commits(repository);
    let mut found: Vec<Found> = Vec::new();
    let mut seen: HashSet<ObjectId> = HashSet::new();
    let mut buffer = Vec::new();
    let mut pending: Vec<Step> = Vec::new();
    for tip in tips {
        pending.push(Step::Enter(*tip));
        while let Some(step) = pending.pop() {
            let id = match step {
                Step::Leave(commit) => {
                    found.push(commit);
                    continue;
                }
                Step::Enter(id) => id,
            };
            if known.contains_key(&id) || !seen.insert(id) {
                continue;
            }
            if seen.len().is_multiple_of(TELL) {
                check(repository, cancel)?;
                progress(HistoryStep::Finding(seen.len()));
            }
            match read(&reader, id, &mut buffer)? {
                Object::Commit(mut commit) => {
                    if shallow.contains(&id) {
                        commit.parents.clear();
                    }
                    let parents = commit.parents.clone();
                    pending.push(Step::Leave(commit));
                    // The last one pushed is visited first, and the first parent is to be visited last.
                    pending.extend(parents.into_iter().map(Step::Enter));
                }
                Object::Tag(target) => pending.push(Step::Enter(target)),
                Object::Other => {}
            }
        }
    }
    Ok(found)
}

/// What a ref may lead to.
enum Object {
    Commit(Found),
    Tag(ObjectId),
    /// A tree or a blob, which has no history.
    Other,
}

fn read(reader: &Reader<'_>, id: ObjectId, buffer: &mut Vec<u8>) -> Result<Object, GitError> {
    let repository = reader.repository;
    let kind = library_kind(repository.hash_kind());
    Ok(match reader.read(&id, buffer)? {
        gix::objs::Kind::Tag => {
            let tag = gix::objs::TagRef::from_bytes(buffer, kind)
                .map_err(|error| repository.corrupt(id, error))?;
            Object::Tag(object_id(&tag.target()))
        }
        gix::objs::Kind::Commit => {
            let (mut tree, mut parents, mut time) = (None, Vec::new(), 0);
            for token in gix::objs::CommitRefIter::from_bytes(buffer, kind) {
                use gix::objs::commit::ref_iter::Token;
                match token.map_err(|error| repository.corrupt(id, error))? {
                    Token::Tree { id } => tree = Some(object_id(&id)),
                    Token::Parent { id } => parents.push(object_id(&id)),
                    Token::Author { .. } => {}
                    Token::Committer { signature } => {
                        time = signature.seconds();
                        break;
                    }
                    _ => break,
                }
            }
            let tree = tree.ok_or_else(|| repository.corrupt(id, "it names no tree"))?;
            Object::Commit(Found {
                id,
                tree,
                parents,
                time,
            })
        }
        gix::objs::Kind::Tree | gix::objs::Kind::Blob => Object::Other,
    })
}

/// What a commit changed against the nearest of its parents.
struct Compared {
    base: Option<ObjectId>,
    changes: Changes,
}

fn compare(
    repository: &Repository,
    trees: &HashMap<ObjectId, ObjectId>,
    portion: &[Found],
    cancel: &AtomicBool,
) -> Result<Vec<Compared>, GitError> {
    let mut diff = TreeDiff::new(repository);
    let reader = repository.reader();
    let mut buffer = Vec::new();
    let mut tree_of = |id: &ObjectId| match trees.get(id) {
        Some(tree) => Ok(*tree),
        None => match read(&reader, *id, &mut buffer)? {
            Object::Commit(commit) => Ok(commit.tree),
            Object::Tag(_) | Object::Other => {
                Err(repository.corrupt(*id, "it is named as a parent and is no commit"))
            }
        },
    };
    portion
        .iter()
        .map(|commit| {
            check(repository, cancel)?;
            let Some((first, others)) = commit.parents.split_first() else {
                let changes = diff.run(None, commit.tree, usize::MAX)?.unwrap_or_default();
                let base = None;
                return Ok(Compared { base, changes });
            };
            let enough = if others.is_empty() { usize::MAX } else { FAR };
            let first_tree = tree_of(first)?;
            if let Some(changes) = diff.run(Some(first_tree), commit.tree, enough)? {
                let base = Some(*first);
                return Ok(Compared { base, changes });
            }
            // The nearest: the first parent's again, unless another one's is shorter.
            let mut best: Option<Compared> = None;
            for parent in others.iter().chain([first]) {
                let limit = best
                    .as_ref()
                    .map_or(usize::MAX, |best| best.changes.len().saturating_sub(1));
                let tree = tree_of(parent)?;
                if let Some(changes) = diff.run(Some(tree), commit.tree, limit)? {
                    let base = Some(*parent);
                    best = Some(Compared { base, changes });
                }
            }
            best.ok_or_else(|| repository.corrupt(commit.id, "it has no parents"))
        })
        .collect()
}

/// The commits at which a shallow clone ends.
fn shallow_commits(repository: &Repository) -> HashSet<ObjectId> {
    let local = repository.inner.to_thread_local();
    let commits = local.shallow_commits().ok().flatten();
    commits
        .iter()
        .flat_map(|commits| commits.iter())
        .map(|id| object_id(id))
        .collect()
}

fn check(repository: &Repository, cancel: &AtomicBool) -> Result<(), GitError> {
    if cancel.load(Ordering::Relaxed) {
        return Err(GitError::HistoryCancelled {
            path: repository.display_path().to_owned(),
        });
    }
    Ok(())
}
