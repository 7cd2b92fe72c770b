//! Why a target cannot be looked at.

use std::io;

use thiserror::Error;

use super::pod::PodError;
use crate::{
    protocol::message::{Failure, Process},
    session::{RequestError, SessionError},
};

/// The target cannot be reached, or is not there.
#[derive(Debug, Error)]
pub enum TargetError {
    /// There is no agent to start.
    #[error("this kdbg carries no agent, and there is no `kdbg-agent` beside it")]
    NoAgent,
    /// The agent does not start.
    #[error("cannot start the agent: {0}")]
    Start(#[source] io::Error),
    /// The agent started and ended again before it said anything useful.
    #[error("the agent does not answer: {reason}{}", said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default())]
    NoConversation {
        /// How the conversation ended.
        #[source]
        reason: SessionError,
        /// What the agent said on its standard error.
        said: Option<String>,
    },
    /// The pod cannot be looked at.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// The conversation broke off, or the agent could not do it.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No process has this name.
    #[error("no process is named `{0}`")]
    NoSuchName(String),
    /// Several processes have this name.
    #[error("{} processes are named `{name}`", candidates.len())]
    Ambiguous {
        /// The name.
        name: String,
        /// All of them.
        candidates: Vec<Process>,
    },
    /// The process that was asked for does not belong to the target.
    #[error("process {pid} does not belong to {target}")]
    NotInTarget {
        /// The process.
        pid: u32,
        /// The target.
        target: String,
    },
    /// The target has no process that could be looked at.
    #[error("{target} has ended: no process of it is running")]
    Empty {
        /// The target.
        target: String,
    },
}

impl TargetError {
    pub(super) fn ambiguous(name: &str, candidates: Vec<Process>) -> Self {
        if candidates.is_empty() {
            Self::NoSuchName(name.to_owned())
        } else {
            Self::Ambiguous {
                name: name.to_owned(),
                candidates,
            }
        }
    }
}

impl From<Failure> for TargetError {
    fn from(failure: Failure) -> Self {
        Self::Request(failure.into())
    }
}
