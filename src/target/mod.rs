//! Where the process is, and how to get an agent beside it.
//!
//! A target is named on the command line (`pid/1234`, `pid/nginx`), found here, and from then on is the same
//! for everybody: a [`Session`] with an agent and the processes that it sees there.

mod agent_binary;
mod error;
mod local;
mod selector;

use crate::{
    evidence::choice::{self, Choice},
    protocol::message::{Process, ProcessScope, Request},
    session::Session,
};

pub use error::TargetError;
pub use selector::{Selector, SelectorError};

/// A target with an agent beside it.
pub struct Target {
    /// The conversation with the agent.
    pub session: Session,
    /// The processes that belong to the target, the chosen one among them.
    pub processes: Vec<Process>,
    /// Which of them is looked at, and why.
    pub choice: Choice,
    agent: local::AgentProcess,
}

/// What to look at, as it was asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which target.
    pub selector: Selector,
    /// A process of the target, when the user does not want kdbg to choose.
    pub process: Option<u32>,
}

impl Target {
    /// Starts an agent, finds the target's processes and chooses one of them.
    pub async fn open(wanted: &Wanted) -> Result<Self, TargetError> {
        let (session, agent) = local::start().await?;
        // kdbg and its agent are not part of what is looked at, not even below the shell that runs them.
        let ours = [std::process::id(), agent.pid()];
        let mut processes = match &wanted.selector {
            Selector::Pid(pid) => list(&session, ProcessScope::Tree(*pid)).await?,
            Selector::Name(name) => {
                let all = list(&session, ProcessScope::All).await?;
                let root = choice::only_tree(&all, name.as_str().into(), &ours)
                    .map_err(|candidates| TargetError::ambiguous(name, candidates))?;
                choice::descendants(&all, root)
            }
        };
        processes.retain(|process| !ours.contains(&process.id.pid));
        let choice =
            choice::choose(&processes, wanted.process).ok_or_else(|| match wanted.process {
                Some(pid) => TargetError::NotInTarget {
                    pid,
                    target: wanted.selector.to_string(),
                },
                None => TargetError::Empty {
                    target: wanted.selector.to_string(),
                },
            })?;
        Ok(Self {
            session,
            processes,
            choice,
            agent,
        })
    }

    /// The process that is looked at.
    pub fn process(&self) -> &Process {
        &self.choice.process
    }

    /// Ends the conversation and waits for the agent to be gone.
    pub async fn close(self) {
        self.session.close().await;
        self.agent.wait().await;
    }
}

async fn list(session: &Session, scope: ProcessScope) -> Result<Vec<Process>, TargetError> {
    Ok(session
        .request(&Request::Processes(scope))?
        .records()
        .await?)
}
