//! What the cluster can be asked for while the agent is still on its way, which takes longer than all of the answers.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::{
    cli::error::CommandError,
    commands::declared::{Ask, Declared},
    evidence::{findings::Replica, peers::Directory, provenance::Lookup},
    target::pod::{Described, directory, replicas::replicas},
};

/// Answers that are older are asked for again: an image may have been pulled meanwhile.
const FRESH: Duration = Duration::from_secs(5);

/// Questions under way. Dropping them takes them back.
pub(super) struct Early {
    asked: Instant,
    described: Option<Described>,
    ask: Ask,
    pub(super) declared: Pending<Result<Declared, CommandError>>,
    pub(super) replicas: Pending<Lookup<Vec<Replica>>>,
    /// `None` for a process of this machine.
    pub(super) directory: Option<Pending<Directory>>,
}

/// One of them.
pub(super) struct Pending<T>(JoinHandle<T>);

impl Early {
    /// Asks. `None` is a process of this machine, of which a cluster knows nothing.
    pub(super) fn begin(described: Option<Described>, ask: Ask) -> Self {
        let of_declared = described.clone();
        let of_replicas = described.clone();
        let of_directory = described.clone();
        Self {
            asked: Instant::now(),
            declared: Pending::begin(async move {
                Declared::of_cluster(of_declared.as_ref(), ask).await
            }),
            replicas: Pending::begin(async move {
                match of_replicas {
                    Some(one) => replicas(&one.cluster, &one.object, &one.container).await,
                    None => Lookup::Missing,
                }
            }),
            directory: of_directory.map(|one| {
                Pending::begin(async move { directory::read(&one.cluster, &one.object).await })
            }),
            described,
            ask,
        }
    }

    /// The same, asked again when it has been too long.
    pub(super) fn fresh(self) -> Self {
        if self.asked.elapsed() < FRESH {
            return self;
        }
        Self::begin(self.described.clone(), self.ask)
    }
}

impl<T: Send + 'static> Pending<T> {
    fn begin(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// The answer; an error only when the work panicked.
    pub(super) async fn get(mut self) -> Result<T, CommandError> {
        (&mut self.0).await.map_err(CommandError::internal)
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
