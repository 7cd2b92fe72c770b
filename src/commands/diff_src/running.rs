//! The side of the process: its roots, walked and named by the agent.

use std::collections::HashMap;

use bstr::{BStr, BString};

use crate::{
    cli::{error::CommandError, progress::Progress},
    evidence::{
        comparison::{RunningFile, Version},
        mapping,
        roots::Root,
    },
    object::{FileMode, HashKind, ObjectId},
    protocol::message::{Cause, Entry, Failure, FileKind, Request, Skip, TreeRecord, WalkRequest},
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
    links: HashMap<BString, BString>,
    /// The contents of files inside of archives.
    inner: HashMap<BString, Vec<u8>>,
    /// Class files inside of archives.
    classes: Vec<BString>,
    /// Archives that could not be looked into, with the reason.
    pub(super) unopened: Vec<(BString, String)>,
    /// When each folder was last changed.
    folders: HashMap<BString, i64>,
    late: i64,
    /// What is there and could not be read: path, why.
    pub(super) unreadable: Vec<(BString, Failure)>,
    /// What was left out: path, why.
    pub(super) skipped: Vec<(BString, Skip)>,
    /// Pipes, sockets and devices, which git cannot hold.
    pub(super) special: usize,
    /// A root that is a file.
    file_root: Option<BString>,
}

/// A root and what became of it.
pub(super) struct WalkedRoot {
    /// What was asked for, and why.
    pub(super) asked: Root,
    /// Its path as the kernel names it; `None` when it could not be opened.
    pub(super) path: Option<BString>,
}

/// Has the agent walk the roots. What was changed after `late` (nanoseconds since 1970) is of interest.
pub(super) async fn walk(
    target: &Target,
    roots: &[Root],
    hash: HashKind,
    hash_limit: u64,
    late: i64,
    progress: &Progress,
) -> Result<RunningTree, CommandError> {
    let request = Request::Walk(WalkRequest {
        process: target.process().id,
        roots: roots.iter().map(|root| root.path.clone()).collect(),
        hash: Some(hash),
        hash_limit,
        leave_out: vec![GIT_FOLDER.into()],
        leave_out_paths: crate::commands::running::left_out(roots),
    });
    let mut tree = RunningTree {
        roots: roots
            .iter()
            .map(|root| WalkedRoot {
                asked: root.clone(),
                path: None,
            })
            .collect(),
        late,
        ..RunningTree::default()
    };
    let mut reply = target.session.request(&request)?;
    while let Some(records) = reply.batch().await? {
        for record in records {
            tree.add(record);
        }
        progress.say(format!("naming the running files ({})", tree.count));
    }
    if let Some(path) = &tree.file_root {
        let message = format!("`{}` is a file, not a folder", safe(path));
        return Err(
            CommandError::usage(message).hint("name the folder that it lies in with `--root DIR`")
        );
    }
    if tree.root_paths().is_empty()
        && let Some((_, failure)) = tree.unreadable.first()
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
                root,
                entry,
                id: None,
            } => match entry.kind {
                FileKind::Folder => {
                    let path = self.absolute(root, entry.path.as_ref());
                    let changed = entry.modified.max(entry.changed);
                    self.folders.insert(path, changed);
                }
                FileKind::File | FileKind::Symlink => {}
                _ => self.special += 1,
            },
            TreeRecord::Unreadable {
                root,
                path,
                failure,
            } => {
                let is_vain_guess = path.is_empty()
                    && matches!(failure.cause, Cause::NotFound)
                    && self.is_guess(root);
                if !is_vain_guess {
                    self.unreadable
                        .push((self.absolute(root, path.as_ref()), failure));
                }
            }
            TreeRecord::Skipped { root, path, skip } => self
                .skipped
                .push((self.absolute(root, path.as_ref()), skip)),
        }
    }

    fn is_guess(&self, root: u32) -> bool {
        self.roots
            .get(root as usize)
            .is_some_and(|root| root.asked.is_guess)
    }

    fn add_file(&mut self, root: u32, entry: Entry, id: ObjectId) {
        let mode = if entry.kind == FileKind::Symlink {
            FileMode::Symlink
        } else {
            FileMode::of_file(entry.permissions)
        };
        let path = self.absolute(root, entry.path.as_ref());
        if entry.path.is_empty() && !self.is_guess(root) {
            self.file_root = Some(path.clone());
        }
        if let Some(link) = entry.link {
            self.links.insert(path.clone(), link);
        }
        self.count += 1;
        self.files.push(RunningFile {
            path,
            version: Version { mode, id },
            size: entry.size,
            changed: entry.modified.max(entry.changed),
        });
    }

    /// A path below a root as the process sees it.
    fn absolute(&self, root: u32, path: &BStr) -> BString {
        let root = self.roots.get(root as usize);
        let folder = root.map(|root| root.path.as_ref().unwrap_or(&root.asked.path));
        folder.map_or_else(
            || path.to_owned(),
            |folder| mapping::join(folder.as_ref(), path),
        )
    }

    pub(super) fn roots(&self) -> &[WalkedRoot] {
        &self.roots
    }

    /// The paths of the roots that could be opened, as the kernel names them.
    pub(super) fn root_paths(&self) -> Vec<BString> {
        let roots = self.roots.iter();
        roots.filter_map(|root| root.path.clone()).collect()
    }

    /// The root that a path lies below: the innermost.
    pub(super) fn root_of(&self, path: &BStr) -> Option<&WalkedRoot> {
        self.roots
            .iter()
            .filter(|root| {
                let folder = root.path.as_ref();
                folder.is_some_and(|folder| mapping::strip(path, folder.as_ref()).is_some())
            })
            .max_by_key(|root| root.path.as_ref().map_or(0, |path| path.len()))
    }

    pub(super) fn files(&self) -> &[RunningFile] {
        &self.files
    }

    /// All files, which are no longer here then: there may be very many.
    pub(super) fn take_files(&mut self) -> Vec<RunningFile> {
        std::mem::take(&mut self.files)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Adds a file inside of an archive.
    pub(super) fn add_inner(&mut self, file: RunningFile, content: Vec<u8>) {
        self.count += 1;
        self.inner.insert(file.path.clone(), content);
        self.files.push(file);
    }

    /// Adds the name of a class, which nothing but its name is compared of.
    pub(super) fn add_class(&mut self, path: BString) {
        self.classes.push(path);
    }

    /// Notes that an archive could not be looked into.
    pub(super) fn unopened(&mut self, path: &BString, reason: String) {
        self.unopened.push((path.clone(), reason));
    }

    /// Class files: in archives, and as they are.
    pub(super) fn classes(&self) -> Vec<BString> {
        let loose = self.files.iter().map(|file| &file.path);
        let loose = loose.filter(|path| path.ends_with(b".class"));
        self.classes.iter().chain(loose).cloned().collect()
    }

    /// The content of a file inside of an archive.
    pub(super) fn inner_of(&self, file: &RunningFile) -> Option<&Vec<u8>> {
        self.inner.get(&file.path)
    }

    /// Where a symbolic link points.
    pub(super) fn link_of(&self, file: &RunningFile) -> Option<&BString> {
        self.links.get(&file.path)
    }

    /// When the folder was changed that a path would lie in, if that was late.
    pub(super) fn late_folder_of(&self, path: &BStr) -> Option<i64> {
        let mut folder = mapping::parent(path).0;
        while folder.len() > 1 {
            if let Some(changed) = self.folders.get(folder) {
                return Some(*changed).filter(|changed| *changed > self.late);
            }
            folder = mapping::parent(folder).0;
        }
        None
    }

    /// The running paths of which nothing is known: unreadable, or on purpose not read.
    pub(super) fn unknown(&self) -> Vec<BString> {
        let unreadable = self.unreadable.iter().map(|(path, _)| path);
        let skipped = self
            .skipped
            .iter()
            // What lies below another root is known: it is listed there.
            .filter(|(_, skip)| !matches!(skip, Skip::OtherRoot(_)))
            .map(|(path, _)| path);
        unreadable.chain(skipped).cloned().collect()
    }
}
