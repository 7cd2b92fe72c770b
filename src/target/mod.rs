//! Where the process is, and how to get an agent beside it.
//!
//! A target is named on the command line (`pid/1234`, `deploy/web`), found here, and from then on is the same
//! for everybody: a [`Session`] with an agent and the processes that it sees there.

mod agent_binary;
mod error;
mod local;
pub mod pod;
mod selector;

use std::fmt;

use crate::{
    evidence::choice::{self, Choice},
    protocol::message::{Process, ProcessScope, Request},
    session::Session,
};

pub use error::TargetError;
pub use selector::{Kind, Selector, SelectorError};

use pod::{Described, PodFound, PodOptions, PodRefused};

/// A target with an agent beside it.
pub struct Target {
    /// The conversation with the agent.
    pub session: Session,
    /// The processes that belong to the target, the chosen one among them.
    pub processes: Vec<Process>,
    /// Which of them is looked at, and why.
    pub choice: Choice,
    /// Where the agent stands.
    pub place: Place,
}

/// Where the agent of a target stands.
pub enum Place {
    /// On this machine, as a child of this process.
    Machine(local::AgentProcess),
    /// In a pod.
    Pod(Box<pod::Place>),
}

/// What to look at, as it was asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which target.
    pub selector: Selector,
    /// A process of the target, when the user does not want kdbg to choose.
    pub process: Option<u32>,
    /// How to get beside it, when it is in a cluster.
    pub pod: PodOptions,
}

/// A target that was found and not opened yet.
pub enum Candidate {
    /// A process of this machine.
    Local,
    /// A container of a pod.
    Pod(Box<PodFound>),
    /// A pod that cannot be looked at; never the first.
    Refused(PodRefused),
}

impl Wanted {
    /// Finds what the name means: one process, or the pods, best first.
    pub async fn candidates(&self) -> Result<Vec<Candidate>, TargetError> {
        Ok(match &self.selector {
            Selector::Pid(_) | Selector::Name(_) => vec![Candidate::Local],
            Selector::Object { .. } | Selector::Labels(_) => {
                let (found, refused) = Box::pin(pod::find(&self.pod, &self.selector)).await?;
                let found = found.into_iter().map(|pod| Candidate::Pod(Box::new(pod)));
                found
                    .chain(refused.into_iter().map(Candidate::Refused))
                    .collect()
            }
        })
    }
}

impl Candidate {
    /// What to call it.
    pub fn name(&self) -> String {
        match self {
            Self::Local => "this machine".to_owned(),
            Self::Pod(pod) => pod.name(),
            Self::Refused(pod) => pod.name.clone(),
        }
    }

    /// What the cluster tells of it; `None` for a process of this machine, and for what cannot be looked at.
    pub fn described(&self) -> Option<Described> {
        match self {
            Self::Local | Self::Refused(_) => None,
            Self::Pod(pod) => Some(pod.described()),
        }
    }

    /// Gets an agent beside it, one that is held ready where there is one, and chooses the process to look at.
    pub async fn open(self, wanted: &Wanted) -> Result<Target, TargetError> {
        if let Self::Pod(pod) = &self {
            // Boxed, as the other ways are.
            let kept = pod::keep::take_found(&wanted.pod, pod, wanted.process);
            if let Some(opened) = Box::pin(kept).await {
                return Ok(opened.into());
            }
        }
        self.open_own(wanted).await
    }

    /// Puts an agent beside it and chooses the process to look at.
    async fn open_own(self, wanted: &Wanted) -> Result<Target, TargetError> {
        match self {
            // Boxed: the way to a target is long, and every command would carry its state.
            Self::Local => Box::pin(open_local(wanted)).await,
            Self::Refused(pod) => Err(pod.error.into()),
            Self::Pod(pod) => {
                // The way there is long, and its future large.
                let opened = Box::pin(pod.open(&wanted.pod, wanted.process)).await?;
                Ok(opened.into())
            }
        }
    }
}

/// Starts an agent on this machine, finds the target's processes and chooses one of them.
async fn open_local(wanted: &Wanted) -> Result<Target, TargetError> {
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
        Selector::Object { .. } | Selector::Labels(_) => Vec::new(),
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
    Ok(Target {
        session,
        processes,
        choice,
        place: Place::Machine(agent),
    })
}

impl From<pod::Opened> for Target {
    fn from(opened: pod::Opened) -> Self {
        Self {
            session: opened.session,
            processes: opened.processes,
            choice: opened.choice,
            place: Place::Pod(Box::new(opened.place)),
        }
    }
}

/// A pod by its name, a process of this machine by its number.
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Machine(_) => write!(formatter, "pid/{}", self.process().id.pid),
            Place::Pod(place) => formatter.write_str(&place.pod),
        }
    }
}

impl Target {
    /// Finds the target, the best one where a name means several, and opens it.
    pub async fn open(wanted: &Wanted) -> Result<Self, TargetError> {
        let (target, ()) = Self::open_prepared(wanted, |_| ()).await?;
        Ok(target)
    }

    /// The same; `prepare` is called when it is found, before an agent is beside it, with what the cluster tells of it.
    pub async fn open_prepared<P>(
        wanted: &Wanted,
        prepare: impl FnOnce(Option<Described>) -> P,
    ) -> Result<(Self, P), TargetError> {
        let named = pod::keep::named(&wanted.pod, &wanted.selector);
        if let Some(name) = named {
            // Boxed, as the other ways are.
            let kept = pod::keep::take_named(&wanted.pod, name, wanted.process);
            if let Some(opened) = Box::pin(kept).await {
                let prepared = prepare(Some(opened.place.described()));
                return Ok((opened.into(), prepared));
            }
        }
        let found = Self::find(wanted).await?;
        let prepared = prepare(found.described());
        let opened = match named {
            // Its keeper was asked.
            Some(_) => found.open_own(wanted).await?,
            None => found.open(wanted).await?,
        };
        Ok((opened, prepared))
    }

    /// Finds the target, the best one where a name means several.
    async fn find(wanted: &Wanted) -> Result<Candidate, TargetError> {
        let mut candidates = wanted.candidates().await?;
        if candidates.is_empty() {
            return Err(TargetError::Empty {
                target: wanted.selector.to_string(),
            });
        }
        Ok(candidates.swap_remove(0))
    }

    /// This machine, with its agent as the process: it stands in the network in which kdbg does.
    pub async fn here() -> Result<Self, TargetError> {
        let (session, agent) = local::start().await?;
        let processes = list(&session, ProcessScope::Tree(agent.pid())).await?;
        let choice =
            choice::choose(&processes, Some(agent.pid())).ok_or_else(|| TargetError::Empty {
                target: "here".to_owned(),
            })?;
        Ok(Self {
            session,
            processes,
            choice,
            place: Place::Machine(agent),
        })
    }

    /// A pod of kdbg's own, started now, with its agent as the process.
    pub async fn open_temporary(pod: &mut pod::Temporary) -> Result<Self, TargetError> {
        // The way there is long, and its future large.
        Ok(Box::pin(pod.open()).await?.into())
    }

    /// The process that is looked at.
    pub fn process(&self) -> &Process {
        &self.choice.process
    }

    /// Ends the conversation and waits for the agent to be gone.
    pub async fn close(self) {
        self.session.close().await;
        match self.place {
            Place::Machine(agent) => agent.wait().await,
            // It ends by itself, with its conversation.
            Place::Pod(_) => {}
        }
    }
}

async fn list(session: &Session, scope: ProcessScope) -> Result<Vec<Process>, TargetError> {
    Ok(session
        .request(&Request::Processes(scope))?
        .records()
        .await?)
}
