//! The files that run, named by the agent as git would name them.

use bstr::{BString, ByteSlice as _};

use crate::{
    cli::{error::CommandError, progress::Progress},
    evidence::roots::{Root, system},
    object::{FileMode, HashKind, ObjectId},
    protocol::message::{Cause, Entry, Failure, FileKind, Request, Skip, TreeRecord, WalkRequest},
    target::Target,
};

/// git keeps its own files in folders of this name, so no tree can hold one.
const GIT_FOLDER: &str = ".git";

/// A running file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedFile {
    /// Its path as the process sees it.
    pub(super) path: BString,
    /// Its type and execute bit.
    pub(super) mode: FileMode,
    /// Its blob.
    pub(super) id: ObjectId,
    /// Its size in bytes.
    pub(super) size: u64,
}

/// What became of the walk.
#[derive(Default)]
pub(super) struct NamedFiles {
    /// The files, in order of their paths.
    pub(super) files: Vec<NamedFile>,
    /// The folders that were walked, as the kernel names them, with what they were asked for as.
    pub(super) roots: Vec<(Root, BString)>,
    /// What is there and could not be read: path and why.
    pub(super) unreadable: Vec<(BString, Failure)>,
    /// Folders of git that lie among them.
    pub(super) git_folders: Vec<BString>,
}

/// Has the agent walk the roots and name what is there. Without roots nothing is walked.
pub(super) async fn walk(
    target: &Target,
    roots: &[Root],
    hash: HashKind,
    hash_limit: u64,
    progress: &Progress,
) -> Result<NamedFiles, CommandError> {
    let mut found = NamedFiles::default();
    if roots.is_empty() {
        return Ok(found);
    }
    let request = Request::Walk(WalkRequest {
        process: target.process().id,
        roots: roots.iter().map(|root| root.path.clone()).collect(),
        hash: Some(hash),
        hash_limit,
        leave_out: vec![GIT_FOLDER.into()],
        leave_out_paths: left_out(roots),
    });
    let mut paths: Vec<Option<BString>> = vec![None; roots.len()];
    let mut reply = target.session.request(&request)?;
    while let Some(records) = reply.batch().await? {
        for record in records {
            if !is_vain_guess(&record, roots) {
                found.add(record, &mut paths);
            }
        }
        progress.say(format!("naming the running files ({})", found.files.len()));
    }
    if paths.iter().all(Option::is_none)
        && let Some((_, failure)) = found.unreadable.first()
    {
        return Err(crate::session::RequestError::Failed(failure.clone()).into());
    }
    let asked = roots.iter().zip(paths);
    found.roots = asked
        .filter_map(|(root, path)| Some((root.clone(), path?)))
        .collect();
    found
        .files
        .sort_unstable_by(|left, right| left.path.cmp(&right.path));
    // Two roots may lead to the same folder by different names.
    found.files.dedup_by(|left, right| left.path == right.path);
    Ok(found)
}

/// What is left out of a walk: where `/` itself is a root that was found, and not asked for, the folders of the
/// distribution and of the kubelet's mounts are nobody's code.
pub(super) fn left_out(roots: &[Root]) -> Vec<BString> {
    let is_found_slash = |root: &Root| root.path == "/" && !root.is_asked();
    if roots.iter().any(is_found_slash) {
        system::left_out_of_slash()
    } else {
        Vec::new()
    }
}

/// Whether a record says that a folder is not there that might have been.
fn is_vain_guess(record: &TreeRecord, roots: &[Root]) -> bool {
    let TreeRecord::Unreadable {
        root,
        path,
        failure,
    } = record
    else {
        return false;
    };
    path.is_empty()
        && matches!(failure.cause, Cause::NotFound)
        && roots.get(*root as usize).is_some_and(|root| root.is_guess)
}

impl NamedFiles {
    fn add(&mut self, record: TreeRecord, roots: &mut [Option<BString>]) {
        let whole = |roots: &[Option<BString>], root: u32, path: &BString| {
            let root = roots.get(root as usize).and_then(Option::as_ref);
            root.map_or_else(|| path.clone(), |root| below(root, path))
        };
        match record {
            TreeRecord::Root { root, path } => {
                if let Some(slot) = roots.get_mut(root as usize) {
                    *slot = Some(path);
                }
            }
            TreeRecord::Entry {
                root,
                entry,
                id: Some(id),
            } => self.files.push(NamedFile {
                path: whole(roots, root, &entry.path),
                mode: mode(&entry),
                id,
                size: entry.size,
            }),
            TreeRecord::Unreadable {
                root,
                path,
                failure,
            } => self.unreadable.push((whole(roots, root, &path), failure)),
            TreeRecord::Skipped {
                root,
                path,
                skip: Skip::LeftOut,
            } => self.git_folders.push(whole(roots, root, &path)),
            TreeRecord::Entry { id: None, .. } | TreeRecord::Skipped { .. } => {}
        }
    }
}

fn mode(entry: &Entry) -> FileMode {
    if entry.kind == FileKind::Symlink {
        FileMode::Symlink
    } else {
        FileMode::of_file(entry.permissions)
    }
}

/// A path below a folder.
pub(super) fn below(folder: &BString, path: &BString) -> BString {
    if path.is_empty() {
        return folder.clone();
    }
    let folder = folder.trim_end_with(|character| character == '/');
    [folder, b"/", path.as_slice()].concat().into()
}
