//! What somebody complains of, asked for from where the process stands.

use std::time::Duration;

use super::limit::Limit;
use crate::{
    cli::error::CommandError,
    commands::curl::{Answer, Once},
    evidence::{
        findings::{Outcome, Symptom},
        provenance::Lookup,
    },
    target::Target,
};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the whole of it may take.
const TOTAL: Duration = Duration::from_secs(10);

/// A URL that somebody complains of.
pub(super) struct Asked(Once);

impl Asked {
    /// The URL, when one was named.
    pub(super) fn new(typed: Option<&str>, target: &Target) -> Result<Option<Self>, CommandError> {
        typed
            .map(|typed| Once::new(typed, target).map(Self))
            .transpose()
    }

    /// Whether the process itself is asked.
    pub(super) const fn is_own(&self) -> bool {
        self.0.is_own
    }

    /// Asks for it. That it cannot be tried is a fact, too.
    pub(super) async fn ask(&self, target: &Target, limit: &Limit) -> Symptom {
        let once = &self.0;
        let outcome = match limit.within(once.ask(target, CONNECT, TOTAL)).await {
            Ok(Ok(answer)) => Lookup::Found(outcome(answer)),
            Ok(Err(error)) => Lookup::Unreadable(error.to_string()),
            Err(why) => Lookup::Unreadable(why),
        };
        Symptom {
            request: format!("GET {}", once.shown()),
            host: once.host(),
            port: once.port(),
            is_own: once.is_own,
            outcome,
        }
    }
}

fn outcome(answer: Answer) -> Outcome {
    match answer {
        Answer::Status(status, seen) => Outcome::Status(status, seen),
        Answer::Broken(why) => Outcome::Broken(why),
        Answer::Unreached(why) => Outcome::Unreached(why),
    }
}
