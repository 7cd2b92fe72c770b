//! Waiting with a deadline, and failures that say what was waited for and what the cluster last said about it.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::cluster::Cluster;

/// Why a test failed, in words.
#[derive(Debug, Clone)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// Returns a function for `map_err` that says what could not be done.
    pub(crate) fn of<E: std::error::Error>(operation: &str) -> impl FnOnce(E) -> Self {
        move |error| {
            let causes = std::iter::successors(error.source(), |cause| cause.source());
            let chain: Vec<String> = std::iter::once(error.to_string())
                .chain(causes.map(ToString::to_string))
                .collect();
            Self(format!("cannot {operation}: {}", chain.join(": ")))
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::of("ask the API server")(error)
    }
}

/// Fails with the message when the condition does not hold.
pub(crate) fn check(holds: bool, message: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(message()))
    }
}

/// What a look at the cluster found: the thing waited for, or what there is instead.
pub(crate) type Look<T> = Result<T, String>;

/// How long anything may take before a test gives it up.
///
/// It says nothing about kdbg's speed, which the benchmarks measure: the machine of a test run may be busy with other
/// things, or be given less of a processor than it seems to have. Pods have been seen to take three minutes to start.
pub(crate) const PATIENCE: Duration = Duration::from_mins(10);

/// A look may be several requests, or a command in a pod.
const LOOK_LIMIT: Duration = Duration::from_mins(1);

/// Between two looks at the programs of the cluster.
const HEALTH_AFTER: Duration = Duration::from_secs(2);

/// Looks again and again until it finds what is waited for.
///
/// Ends before the deadline when a program of the cluster is dead: what is waited for will not come then.
pub(crate) async fn wait_until<T>(
    cluster: &Cluster,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Look<T>, Failure>,
) -> Result<T, Failure> {
    let start = Instant::now();
    let mut next_health_check = HEALTH_AFTER;
    let mut seen = "nothing yet".to_owned();
    loop {
        let mut looking = Box::pin(timeout(LOOK_LIMIT, look()));
        // A request hangs when the program is dead that it is for.
        seen = loop {
            match timeout(HEALTH_AFTER, &mut looking).await {
                Ok(Ok(Ok(Ok(found)))) => return Ok(found),
                Ok(Ok(Ok(Err(seen)))) => break seen,
                Ok(Ok(Err(failure))) => break failure.to_string(),
                Ok(Err(_)) => break format!("no answer within {} s", LOOK_LIMIT.as_secs()),
                Err(_) => unbroken(cluster, what, &seen).await?,
            }
        };
        let waited = start.elapsed();
        if waited > next_health_check || waited > PATIENCE {
            next_health_check = waited + HEALTH_AFTER;
            unbroken(cluster, what, &seen).await?;
        }
        if waited > PATIENCE {
            return Err(Failure::new(format!(
                "waited {} s until {what}; last seen: {seen}; load of this machine: {}",
                PATIENCE.as_secs(),
                std::fs::read_to_string("/proc/loadavg")
                    .unwrap_or_default()
                    .trim_end()
            )));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Fails when a program of the cluster is dead.
async fn unbroken(cluster: &Cluster, what: &str, seen: &str) -> Result<(), Failure> {
    let examined = cluster.clone();
    let broken = tokio::task::spawn_blocking(move || examined.broken())
        .await
        .expect("the check does not panic");
    broken.map_or(Ok(()), |broken| {
        Err(Failure::new(format!(
            "the cluster broke while waiting until {what}; last seen: {seen}\n{broken}"
        )))
    })
}
