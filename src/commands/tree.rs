//! Trees of the target, listed and copied.

use std::{os::unix::ffi::OsStrExt as _, path::Path};

use bstr::{BStr, BString, ByteSlice as _};
use futures::{StreamExt as _, stream};

use super::{
    fetch::{Budget, FetchError, Fetched, fetch, is_final},
    store::Store,
};
use crate::{
    cli::error::CommandError,
    extract::{self, Attributes, ExtractError, FileWriter},
    protocol::message::{
        Entry, Failure, FileKind, Process, ProcessId, Request, Skip, TreeRecord, WalkRequest,
    },
    session::{RequestError, Session},
};

/// More files than this are listed by mistake: a whole file system.
pub(super) const ENTRY_LIMIT: usize = 1_000_000;

/// Files that are asked for at once: enough for small ones not to wait for each other's way there and back.
const AT_ONCE: usize = 16;

/// The trees below some folders of the target.
pub(super) struct Tree {
    /// The folders, in the order they were asked for.
    pub(super) roots: Vec<Root>,
    /// What is below them, by root and path.
    pub(super) items: Vec<Item>,
}

/// A folder, or a single file, that was asked for.
pub(super) struct Root {
    /// As it was asked for; empty for the working directory.
    pub(super) asked: BString,
    /// As the process reaches it; `None` when it cannot be opened.
    pub(super) path: Option<BString>,
}

/// Something below a root.
pub(super) struct Item {
    pub(super) root: usize,
    /// Relative to the root, empty for the root itself.
    pub(super) path: BString,
    pub(super) found: Found,
}

/// What is there.
pub(super) enum Found {
    Entry(Entry),
    Unreadable(Failure),
    Skipped(Skip),
}

/// What became of an item.
pub(super) enum Outcome {
    /// A folder was made.
    Folder,
    /// A file was copied.
    File(Box<Fetched>),
    /// A link is made, or is to be made at the end.
    Link,
    /// It is there, and nothing that is copied.
    LeftOut(String),
    /// It could not be copied.
    Missing(String),
}

/// Lists the trees below some folders. What is written meanwhile has a name that is found nowhere else; it
/// is left out, or a destination within the tree would be copied into itself.
pub(super) async fn walk(
    session: &Session,
    process: &Process,
    roots: Vec<BString>,
    temporary: &Path,
) -> Result<Tree, CommandError> {
    let mut tree = Tree {
        roots: roots
            .iter()
            .map(|asked| Root {
                asked: asked.clone(),
                path: None,
            })
            .collect(),
        items: Vec::new(),
    };
    // `.git` is never written (see `extract`), so not walked; other spellings of it are refused one by one.
    let mut leave_out = vec![BString::from(".git")];
    leave_out.extend(
        temporary
            .file_name()
            .map(|name| BString::from(name.as_bytes())),
    );
    let mut reply = session.request(&Request::Walk(WalkRequest {
        process: process.id,
        roots,
        hash: None,
        hash_limit: 0,
        leave_out,
        leave_out_paths: Vec::new(),
    }))?;
    loop {
        let records = match reply.batch().await {
            Ok(Some(records)) => records,
            Ok(None) => break,
            Err(RequestError::Failed(failure)) if !failure.is_gone() => {
                tree.refuse(&failure);
                break;
            }
            Err(error) => return Err(error.into()),
        };
        for record in records {
            tree.add(record);
        }
        if tree.items.len() > ENTRY_LIMIT {
            return Err(
                CommandError::usage(format!("there are more than {ENTRY_LIMIT} files"))
                    .hint("name the folders that matter with `--root DIR`"),
            );
        }
    }
    tree.items
        .sort_by(|left, right| (left.root, &left.path).cmp(&(right.root, &right.path)));
    Ok(tree)
}

impl Tree {
    /// No files.
    pub(super) const fn empty() -> Self {
        Self {
            roots: Vec::new(),
            items: Vec::new(),
        }
    }

    fn add(&mut self, record: TreeRecord) {
        let position = |root: u32| usize::try_from(root).unwrap_or(usize::MAX);
        let (root, path, found) = match record {
            TreeRecord::Root { root, path } => {
                if let Some(root) = self.roots.get_mut(position(root)) {
                    root.path = Some(path);
                }
                return;
            }
            TreeRecord::Entry { root, entry, .. } => {
                (root, entry.path.clone(), Found::Entry(entry))
            }
            TreeRecord::Unreadable {
                root,
                path,
                failure,
            } => (root, path, Found::Unreadable(failure)),
            TreeRecord::Skipped { root, path, skip } => (root, path, Found::Skipped(skip)),
        };
        let root = position(root);
        self.items.push(Item { root, path, found });
    }

    /// Notes why nothing more can be listed, at each root.
    fn refuse(&mut self, failure: &Failure) {
        for root in 0..self.roots.len() {
            self.items.push(Item {
                root,
                path: BString::default(),
                found: Found::Unreadable(failure.clone()),
            });
        }
    }

    /// The path of an item, as the process sees it.
    pub(super) fn full_path(&self, item: &Item) -> BString {
        let root = self.roots.get(item.root);
        let base = root.and_then(|root| root.path.as_ref().or(Some(&root.asked)));
        join(
            base.map_or(BStr::new(""), |base| base.as_bstr()),
            item.path.as_ref(),
        )
    }

    /// The path by which an item is asked for. A working directory that was removed has no other name.
    fn source(&self, item: &Item) -> BString {
        match self.roots.get(item.root) {
            Some(root) if root.asked.is_empty() && !item.path.is_empty() => item.path.clone(),
            _ => self.full_path(item),
        }
    }
}

fn join(base: &BStr, path: &BStr) -> BString {
    if path.is_empty() {
        return base.into();
    }
    let mut joined = BString::from(base.strip_suffix(b"/").unwrap_or(base));
    joined.push(b'/');
    joined.extend_from_slice(path);
    joined
}

/// Copies all items of a tree to a store. `place` says where each goes; the empty path is the store itself.
/// Answers what became of each, in their order.
pub(super) async fn copy(
    session: &Session,
    process: ProcessId,
    tree: &Tree,
    store: &Store<'_>,
    place: impl Fn(&Item) -> BString,
    max_bytes: u64,
) -> Result<Vec<Outcome>, CopyError> {
    let (plan, budget) = plan(tree, max_bytes);
    let work = tree.items.iter().zip(plan).map(|(item, fits)| {
        let (to, from, budget) = (place(item), tree.source(item), &budget);
        async move {
            let fetched = match &item.found {
                Found::Entry(entry) if entry.kind == FileKind::File && fits => {
                    if let Err(refusal) = extract::check(to.as_ref()) {
                        return (item, to, Some(Err(ExtractError::from(refusal).into())));
                    }
                    let make = || store.create(to.as_ref());
                    Some(fetch(session, process, from.as_ref(), entry.size, budget, make).await)
                }
                _ => None,
            };
            (item, to, fetched)
        }
    });
    let mut arriving = stream::iter(work).buffered(AT_ONCE);
    let mut outcomes = Vec::with_capacity(tree.items.len());
    while let Some((item, to, fetched)) = arriving.next().await {
        let outcome = match fetched {
            Some(fetched) => keep(store, to.as_ref(), fetched)?,
            None => make(store, to.as_ref(), &item.found)?,
        };
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Why copying ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    /// The target is gone.
    #[error(transparent)]
    Read(#[from] RequestError),
    /// The destination cannot be written.
    #[error(transparent)]
    Write(#[from] ExtractError),
}

/// Which files fit into the limit, first come, first served, and what is left for those that grow.
fn plan(tree: &Tree, max_bytes: u64) -> (Vec<bool>, Budget) {
    let mut left = max_bytes;
    let fits = |item: &Item| match &item.found {
        Found::Entry(entry) if entry.kind == FileKind::File => match left.checked_sub(entry.size) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        },
        _ => true,
    };
    let fits = tree.items.iter().map(fits).collect();
    (fits, Budget::new(left))
}

/// Completes a file that arrived, or removes what did not.
fn keep(
    store: &Store<'_>,
    to: &BStr,
    fetched: Result<(Fetched, FileWriter), FetchError>,
) -> Result<Outcome, CopyError> {
    let missing = match fetched {
        Ok((fetched, writer)) => {
            return match store.complete(to, writer, attributes(&fetched.entry)) {
                Ok(()) => Ok(Outcome::File(Box::new(fetched))),
                Err(ExtractError::Refused(refusal)) => Ok(Outcome::LeftOut(refusal.to_string())),
                Err(error) => Err(error.into()),
            };
        }
        Err(FetchError::Request(error)) if is_final(&error) => return Err(error.into()),
        // What has this name belongs to another item.
        Err(FetchError::Write(ExtractError::Refused(refusal))) => {
            return Ok(Outcome::LeftOut(refusal.to_string()));
        }
        Err(FetchError::Write(error)) => return Err(error.into()),
        Err(FetchError::Request(error)) => error.to_string(),
        Err(error @ FetchError::OverLimit) => error.to_string(),
    };
    store.discard(to);
    Ok(Outcome::Missing(missing))
}

/// Makes what needs no content.
fn make(store: &Store<'_>, to: &BStr, found: &Found) -> Result<Outcome, CopyError> {
    let made = match found {
        Found::Unreadable(failure) => return Ok(Outcome::Missing(failure.to_string())),
        Found::Skipped(Skip::PseudoFileSystem(name)) => {
            return Ok(Outcome::LeftOut(format!(
                "the kernel makes it up while it is read ({name})"
            )));
        }
        Found::Skipped(Skip::OtherRoot(root)) => {
            return Ok(Outcome::LeftOut(format!("it is part of root {root}")));
        }
        Found::Skipped(Skip::LeftOut) => {
            let reason = if to.ends_with(b".git") {
                "it is a git repository, which can run programs"
            } else {
                "it is the copy itself"
            };
            return Ok(Outcome::LeftOut(reason.to_owned()));
        }
        Found::Entry(entry) => match entry.kind {
            FileKind::Folder => store
                .folder(to, attributes(entry))
                .map(|()| Outcome::Folder),
            FileKind::Symlink => {
                let target = entry
                    .link
                    .as_ref()
                    .map_or(BStr::new(""), |link| link.as_ref());
                store.link(to, target).map(|()| Outcome::Link)
            }
            FileKind::File => return Ok(Outcome::Missing(FetchError::OverLimit.to_string())),
            kind => return Ok(Outcome::LeftOut(format!("it is a {kind}"))),
        },
    };
    match made {
        Err(ExtractError::Refused(refusal)) => Ok(Outcome::LeftOut(refusal.to_string())),
        other => Ok(other?),
    }
}

pub(super) const fn attributes(entry: &Entry) -> Attributes {
    Attributes {
        permissions: entry.permissions,
        modified: entry.modified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(path: &str, size: u64) -> Item {
        Item {
            root: 0,
            path: path.into(),
            found: Found::Entry(Entry {
                path: path.into(),
                kind: FileKind::File,
                permissions: 0o644,
                uid: 0,
                gid: 0,
                size,
                modified: 0,
                changed: 0,
                link: None,
            }),
        }
    }

    fn tree(asked: &str, path: Option<&str>, items: Vec<Item>) -> Tree {
        let root = Root {
            asked: asked.into(),
            path: path.map(Into::into),
        };
        Tree {
            roots: vec![root],
            items,
        }
    }

    #[test]
    fn files_fit_in_their_order_and_small_ones_behind_a_large_one_too() {
        let tree = tree("", None, vec![item("a", 5), item("b", 100), item("c", 4)]);
        assert_eq!(plan(&tree, 10).0, [true, false, true]);
    }

    #[test]
    fn paths_are_joined_whatever_the_root() {
        let at = |asked: &str, path: &str, below: &str| {
            let tree = tree(asked, Some(path), vec![item(below, 0)]);
            let item = &tree.items[0];
            (
                tree.full_path(item).to_string(),
                tree.source(item).to_string(),
            )
        };
        assert_eq!(
            at("/", "/", "etc/x"),
            ("/etc/x".to_owned(), "/etc/x".to_owned())
        );
        assert_eq!(at("", "/app", "x"), ("/app/x".to_owned(), "x".to_owned()));
        assert_eq!(
            at("/l", "/app/file", ""),
            ("/app/file".to_owned(), "/app/file".to_owned())
        );
    }
}
