//! How long to look at a target.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Until when to look.
pub(super) struct Limit {
    until: Instant,
    given: Duration,
}

impl Limit {
    pub(super) fn new(given: Duration) -> Self {
        Self {
            until: Instant::now() + given,
            given,
        }
    }

    /// What it yields, or that it took too long.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, String> {
        timeout_at(self.until, work)
            .await
            .map_err(|_| format!("it took longer than {:?}", self.given))
    }
}
