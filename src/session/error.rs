//! What can go wrong with a conversation, and with one request in it.

use bstr::BString;
use thiserror::Error;

use crate::protocol::{FrameError, HelloError, SILENCE_LIMIT, StreamError, message::Failure};

/// The conversation as a whole is over.
#[derive(Clone, Debug, Error)]
pub enum SessionError {
    /// The other side said something that is no greeting.
    #[error("{reason}{}", first_line(said))]
    Stranger {
        /// What is wrong with it.
        #[source]
        reason: HelloError,
        /// What it said, for people to read.
        said: BString,
    },
    /// The pipe was closed, or the agent ended.
    #[error("the agent has gone away")]
    Closed,
    /// The conversation broke, and somebody knows why.
    #[error("{what}")]
    Lost {
        /// What happened to the agent.
        what: String,
    },
    /// Nothing was heard for too long.
    #[error("the agent has said nothing for {} s", SILENCE_LIMIT.as_secs())]
    Silent,
    /// What came is not a frame.
    #[error("the pipe to the agent is damaged: {0}")]
    Garbled(#[from] FrameError),
    /// A stream did not arrive as it was sent.
    #[error("a stream from the agent is damaged: {0}")]
    Damaged(#[from] StreamError),
    /// The pipe cannot be read or written.
    #[error("the pipe to the agent is broken: {0}")]
    Pipe(String),
}

/// One request has no answer.
#[derive(Clone, Debug, Error)]
pub enum RequestError {
    /// The agent could not do it.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The conversation ended first.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// What arrived is not what the request asks for.
    #[error("the agent's answer cannot be understood")]
    Unreadable,
    /// The agent is there, but this request does not get on.
    #[error("no answer in {seconds} s to the request to {doing}")]
    Stalled {
        /// How long nothing came.
        seconds: u64,
        /// What was asked for.
        doing: &'static str,
    },
    /// More came than this program is willing to hold.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// The most that is held.
        limit: usize,
    },
}

/// The first line of what a stranger said.
fn first_line(bytes: &BString) -> String {
    let text = bytes.to_string();
    let line = text.trim().lines().next().unwrap_or_default();
    if line.is_empty() {
        String::new()
    } else {
        format!(": it said `{}`", line.chars().take(200).collect::<String>())
    }
}
