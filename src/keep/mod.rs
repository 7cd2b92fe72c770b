//! Sessions that were started before anybody asks for one.
//!
//! Starting a program in a container takes a node longer than all that a short command does with it. So a keeper (`kdbg
//! keep`) holds one ready whose greeting is done, and lends it to the next command on this machine: it hands the bytes
//! of the two on to each other, over a socket that only its user can reach. One command is one agent, as without a
//! keeper, so however either of them ends, the other one learns of it as ever.
//!
//! `folder` says where the sockets are and which are dead, `spare` is a session that waits, `offer` what the two sides
//! say before they hand over, and `keeper` the loop that has them all. Nothing here knows where an agent runs: that is a
//! [`Source`]'s, which for pods is `target::pod::keep`.

mod folder;
mod keeper;
mod offer;
mod spare;

use std::fmt;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

pub use folder::{Folder, FolderError, Key, Lender};
pub use keeper::{Event, Keeper, Settings, Why};
pub use offer::{Ask, Borrowed, NotLent, borrow};

/// The pipe to an agent that has just been started, before a byte of it was read.
pub struct Pipe {
    /// What the agent says.
    pub input: Box<dyn AsyncRead + Send + Unpin>,
    /// What it is told.
    pub output: Box<dyn AsyncWrite + Send + Unpin>,
}

/// Where a keeper has its agents from.
pub trait Source: Send + Sync + 'static {
    /// Finds the target anew, and how an agent is started beside it.
    fn stand(&self) -> BoxFuture<'_, Result<(), Trouble>>;
    /// Starts one more agent.
    fn start(&self) -> BoxFuture<'_, Result<Pipe, Trouble>>;
    /// What a command has to know of the target, in JSON, as it is at this moment.
    fn facts<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<serde_json::Value, Trouble>>;
    /// Finds out what became of the target when an agent has ended that nobody told to.
    fn examine(&self) -> BoxFuture<'_, Trouble>;
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Not for this command, or not now; all stays as it is.
    Passing(String),
    /// The place where agents were started is gone. The target may be found anew.
    Fallen(String),
    /// There is nothing to keep any more.
    Over(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing(reason) | Self::Fallen(reason) | Self::Over(reason) => {
                formatter.write_str(reason)
            }
        }
    }
}
