//! The repository that a command was told of.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::task::spawn_blocking;

use crate::{
    cli::{error::CommandError, progress::Progress},
    git::{self, FetchOptions, GitError, Repository},
};

/// An open repository, and what the user should know of how it was come by.
pub(super) struct Opened {
    pub(super) repository: Arc<Repository>,
    pub(super) notices: Vec<String>,
}

/// Opens a repository, fetching it first when it is a URL; the one around the current directory when none is
/// named.
pub(super) async fn open(
    repo: Option<String>,
    progress: &Progress,
) -> Result<Opened, CommandError> {
    let cancel = Cancel::default();
    let options = FetchOptions {
        cancel: cancel.flag(),
        ..FetchOptions::default()
    };
    let progress = progress.clone();
    blocking(move || {
        let mut notices = Vec::new();
        let repository = match repo {
            Some(url) if git::is_url(&url) => {
                let mut say = |step: git::Progress| progress.say(describe(&step));
                let fetched = git::fetch(&url, &git::default_cache_dir()?, &options, &mut say)?;
                notices.extend(fetched.notices);
                Repository::open(fetched.path)?
            }
            Some(path) => Repository::open(path)?,
            None => Repository::discover(".")?,
        };
        Ok(Opened {
            repository: Arc::new(repository),
            notices,
        })
    })
    .await
}

/// How far a fetch is, in words.
fn describe(step: &git::Progress) -> String {
    match step {
        git::Progress::Waiting => {
            "waiting for another kdbg that fetches the same repository".to_owned()
        }
        git::Progress::Step {
            phase,
            done,
            total: Some(total),
            ..
        } => format!(
            "fetching the repository: {}, {done} of {total}",
            phase.as_str()
        ),
        git::Progress::Step { phase, done, .. } => {
            format!("fetching the repository: {}, {done}", phase.as_str())
        }
        git::Progress::Connecting => "fetching the repository".to_owned(),
    }
}

/// Runs git work where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, CommandError> {
    match spawn_blocking(work).await {
        Ok(result) => result.map_err(CommandError::from),
        Err(error) => Err(CommandError::internal(error)),
    }
}

/// Tells work in another thread to stop when the command is interrupted.
#[derive(Default)]
pub(super) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// What the work looks at.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
