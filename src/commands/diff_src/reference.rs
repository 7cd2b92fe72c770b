//! The side of git: a repository, a commit, its tree.

use std::sync::Arc;

use bstr::{BStr, BString};
use tokio::sync::OnceCell;

use super::running::RunningTree;
use crate::{
    cli::{
        error::{CommandError, ErrorKind},
        printer::Printer,
        progress::Progress,
    },
    commands::{
        repository::{self, Opened, blocking},
        which_ref::{self, Found, Prepared},
    },
    evidence::{
        comparison::{ReferenceFile, Version},
        mapping,
    },
    git::{Commit, GitError, Repository},
    object::{HashKind, ObjectId},
};

/// What should be running.
pub(in crate::commands) struct Reference {
    repository: Arc<Repository>,
    commit: Commit,
    /// The ref as the user wrote it, or the name of the default one.
    spec: String,
    /// What the user should know of how they were found.
    notices: Vec<String>,
    /// The history, read when it is asked for; once for all pods.
    history: OnceCell<Option<Arc<Prepared>>>,
    /// The files of the commit, in the same way.
    files: OnceCell<Arc<Vec<ReferenceFile>>>,
}

impl Reference {
    /// Says what was found out while it was opened.
    pub(in crate::commands) fn print_notices(&self, printer: &Printer) {
        for notice in &self.notices {
            printer.note(notice);
        }
    }

    /// Opens the repository, fetching it first when it is a URL, and resolves the ref.
    pub(in crate::commands) async fn open(
        repo: Option<String>,
        spec: Option<String>,
        progress: &Progress,
    ) -> Result<Self, CommandError> {
        let Opened {
            repository,
            mut notices,
        } = repository::open(repo, progress).await?;
        blocking(move || {
            let (spec, full_name) = if let Some(spec) = spec {
                (spec.clone(), spec)
            } else {
                let default = repository.default_ref()?;
                notices.push(format!(
                    "the ref is `{}`, {}",
                    default.name,
                    default.reason.as_str()
                ));
                (default.name, default.full_name)
            };
            let commit = repository.resolve(&full_name)?;
            notices.extend(commit.notice.clone());
            Ok(Self {
                repository,
                commit,
                spec,
                notices,
                history: OnceCell::new(),
                files: OnceCell::new(),
            })
        })
        .await
    }

    /// The hash that names its objects.
    pub(super) fn hash_kind(&self) -> HashKind {
        self.repository.hash_kind()
    }

    /// Which commit runs; `None` when that is not known, or not at once.
    pub(super) async fn found(&self, running: &RunningTree, progress: &Progress) -> Option<Found> {
        let prepared = self.history(progress).await?;
        let named = running.files().iter();
        let named = named.map(|file| (&file.path, file.version.id));
        which_ref::fit(&self.repository, prepared, named, &running.root_paths()).await
    }

    async fn history(&self, progress: &Progress) -> Option<&Arc<Prepared>> {
        let read = || which_ref::at_once(&self.repository, &self.spec, &self.commit, progress);
        self.history.get_or_init(read).await.as_ref()
    }

    /// Reads what a comparison will ask for, before it does. What fails will fail again, and is said then.
    pub(in crate::commands) async fn warm(&self, progress: &Progress) {
        let _ = tokio::join!(self.tree(), self.history(progress));
    }

    /// The ref and the commit that it is, for people.
    pub(super) fn name(&self) -> String {
        if self.commit.id.to_string().starts_with(&self.spec) {
            return format!("`{}`", self.commit.short_id);
        }
        format!("`{}` ({})", self.spec, self.commit.short_id)
    }

    pub(super) fn spec(&self) -> &str {
        &self.spec
    }

    pub(super) const fn commit(&self) -> &Commit {
        &self.commit
    }

    pub(super) fn repository_path(&self) -> &std::path::Path {
        self.repository.display_path()
    }

    /// All files of the commit.
    pub(super) async fn tree(&self) -> Result<Arc<Vec<ReferenceFile>>, CommandError> {
        self.files
            .get_or_try_init(async || self.read_tree().await.map(Arc::new))
            .await
            .cloned()
    }

    async fn read_tree(&self) -> Result<Vec<ReferenceFile>, CommandError> {
        let (repository, commit) = (Arc::clone(&self.repository), self.commit.clone());
        blocking(move || {
            let entries = repository.tree(&commit, BStr::new(""))?;
            Ok(entries
                .into_iter()
                .map(|entry| ReferenceFile {
                    path: entry.path,
                    version: Version {
                        mode: entry.mode,
                        id: entry.id,
                    },
                })
                .collect())
        })
        .await
    }

    /// The contents of blobs, in order; one that cannot be read fails alone.
    pub(super) async fn blobs(
        &self,
        ids: Vec<ObjectId>,
    ) -> Result<Vec<Result<Vec<u8>, GitError>>, CommandError> {
        let repository = Arc::clone(&self.repository);
        blocking(move || Ok(repository.read_blobs(&ids))).await
    }

    /// The files of another commit that are wanted by their paths, at most so many, and the whole name of the commit.
    pub(in crate::commands) async fn sources_of(
        &self,
        revision: &str,
        most: usize,
        is_wanted: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<(String, Vec<(BString, Vec<u8>)>), CommandError> {
        let (repository, revision) = (Arc::clone(&self.repository), revision.to_owned());
        blocking(move || {
            let commit = repository.resolve(&revision)?;
            let mut entries = repository.tree(&commit, BStr::new(""))?;
            entries.retain(|entry| is_wanted(&entry.path));
            entries.truncate(most);
            let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
            let blobs = repository.read_blobs(&ids);
            let files = entries.into_iter().zip(blobs);
            Ok((
                commit.id.to_string(),
                files
                    .filter_map(|(entry, blob)| Some((entry.path, blob.ok()?)))
                    .collect(),
            ))
        })
        .await
    }

    /// Fails when the commit has nothing at a path that the user named.
    pub(super) fn require_folder(
        &self,
        tree: &[ReferenceFile],
        folder: &BStr,
    ) -> Result<(), CommandError> {
        if folder.is_empty()
            || tree
                .iter()
                .any(|file| mapping::strip(file.path.as_ref(), folder).is_some())
        {
            return Ok(());
        }
        // Asked again for its error, which knows names that are near.
        let path: BString = folder.into();
        match self.repository.tree(&self.commit, path.as_ref()) {
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }
}

impl From<GitError> for CommandError {
    fn from(error: GitError) -> Self {
        let kind = match &error {
            GitError::NoSuchPath { .. }
            | GitError::NotARepository { .. }
            | GitError::NotInRepository { .. }
            | GitError::EmptyRepository { .. }
            | GitError::UnknownRef { .. }
            | GitError::NoSuchRefs { .. }
            | GitError::AmbiguousRemote { .. }
            | GitError::AmbiguousId { .. }
            | GitError::Unresolvable { .. }
            | GitError::NotATree { .. }
            | GitError::PathNotInTree { .. }
            | GitError::TransportRefused { .. }
            | GitError::InvalidUrl { .. } => ErrorKind::Usage,
            GitError::MissingObject { .. }
            | GitError::CorruptObject { .. }
            | GitError::ObjectTooLarge { .. } => ErrorKind::Incomplete,
            _ => ErrorKind::Unreachable,
        };
        let hints = error.hints();
        Self::new(kind, error).hints(hints)
    }
}
