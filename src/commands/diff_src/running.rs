//! The side of the process: its roots, walked and named by the agent.

use std::collections::HashMap;

use bstr::{BStr, BString};

use crate::{
    cli::{error::CommandError, progress::Progress},
    evidence::{
        comparison::{RunningFile, Version},
        roots::Root,
    },
    object::{FileMode, HashKind, ObjectId},
    protocol::message::{Entry, Failure, FileKind, Request, Skip, TreeRecord, WalkRequest},
    render::safe,
    target::Target,
};

/// git keeps its own files in folders of this name, so no tree can hold one.
const GIT_FOLDER: &str = ".git";

/// The running files, as far as they could be read.
#[derive(Default)]
pub(super) struct RunningTree {
    roots: Vec<WalkedRoot>,
    files: Vec<RunningFile>,
    count: usize,
    links: HashMap<(u32, BString), BString>,
    /// What is there and could not be read: root, path, why.
    pub(super) unreadable: Vec<(u32, BString, Failure)>,
    /// What was left out: root, path, why.
    pub(super) skipped: Vec<(u32, BString, Skip)>,
    /// Pipes, sockets and devices, which git cannot hold.
    pub(super) special: usize,
}

/// A root and what became of it.
pub(super) struct WalkedRoot {
    /// What was asked for, and why.
    pub(super) asked: Root,
    /// Its path as the kernel names it; `None` when it could not be opened.
    pub(super) path: Option<BString>,
}

/// Has the agent walk the roots.
pub(super) async fn walk(
    target: &Target,
    roots: &[Root],
    hash: HashKind,
    hash_limit: u64,
    progress: &Progress,
) -> Result<RunningTree, CommandError> {
    let request = Request::Walk(WalkRequest {
        process: target.process().id,
        roots: roots.iter().map(|root| root.path.clone()).collect(),
        hash: Some(hash),
        hash_limit,
        leave_out: vec![GIT_FOLDER.into()],
    });
    let mut tree = RunningTree {
        roots: roots
            .iter()
            .map(|root| WalkedRoot {
                asked: root.clone(),
                path: None,
            })
            .collect(),
        ..RunningTree::default()
    };
    let mut reply = target.session.request(&request)?;
    while let Some(records) = reply.batch().await? {
        for record in records {
            tree.add(record);
        }
        progress.say(format!("naming the running files ({})", tree.count));
    }
    if let Some(file) = tree.files.iter().find(|file| file.path.is_empty()) {
        let message = format!("`{}` is a file, not a folder", safe(&tree.path_of(file)));
        return Err(
            CommandError::usage(message).hint("name the folder that it lies in with `--root DIR`")
        );
    }
    if tree.readable_roots().next().is_none()
        && let Some((_, _, failure)) = tree.unreadable.first()
    {
        return Err(crate::session::RequestError::Failed(failure.clone()).into());
    }
    Ok(tree)
}

impl RunningTree {
    fn add(&mut self, record: TreeRecord) {
        match record {
            TreeRecord::Root { root, path } => {
                if let Some(walked) = self.roots.get_mut(root as usize) {
                    walked.path = Some(path);
                }
            }
            TreeRecord::Entry {
                root,
                entry,
                id: Some(id),
            } => self.add_file(root, entry, id),
            TreeRecord::Entry {
                entry, id: None, ..
            } => {
                if !matches!(
                    entry.kind,
                    FileKind::Folder | FileKind::File | FileKind::Symlink
                ) {
                    self.special += 1;
                }
            }
            TreeRecord::Unreadable {
                root,
                path,
                failure,
            } => self.unreadable.push((root, path, failure)),
            TreeRecord::Skipped { root, path, skip } => self.skipped.push((root, path, skip)),
        }
    }

    fn add_file(&mut self, root: u32, entry: Entry, id: ObjectId) {
        let mode = if entry.kind == FileKind::Symlink {
            FileMode::Symlink
        } else {
            FileMode::of_file(entry.permissions)
        };
        if let Some(link) = entry.link {
            self.links.insert((root, entry.path.clone()), link);
        }
        self.count += 1;
        self.files.push(RunningFile {
            root,
            path: entry.path,
            version: Version { mode, id },
        });
    }

    pub(super) fn roots(&self) -> &[WalkedRoot] {
        &self.roots
    }

    /// The positions of the roots that could be opened.
    pub(super) fn readable_roots(&self) -> impl Iterator<Item = u32> {
        (0..)
            .zip(&self.roots)
            .filter(|(_, root)| root.path.is_some())
            .map(|(position, _)| position)
    }

    /// The files of a root with their names.
    pub(super) fn named(&self, root: u32) -> impl Iterator<Item = (&BStr, ObjectId)> {
        self.files
            .iter()
            .filter(move |file| file.root == root)
            .map(|file| (file.path.as_ref(), file.version.id))
    }

    /// All files, which are no longer here then: there may be very many.
    pub(super) fn take_files(&mut self) -> Vec<RunningFile> {
        std::mem::take(&mut self.files)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Where a file stands, as the process sees it.
    pub(super) fn path_of(&self, file: &RunningFile) -> BString {
        let root = self
            .roots
            .get(file.root as usize)
            .and_then(|root| root.path.as_ref());
        let Some(root) = root else {
            return file.path.clone();
        };
        if file.path.is_empty() {
            return root.clone();
        }
        let mut path = root.clone();
        if !path.ends_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(&file.path);
        path
    }

    /// Where a symbolic link points.
    pub(super) fn link_of(&self, file: &RunningFile) -> Option<&BString> {
        self.links.get(&(file.root, file.path.clone()))
    }
}
