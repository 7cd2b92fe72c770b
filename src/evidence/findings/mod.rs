//! What is wrong, from facts of several probes at once.
//!
//! A rule is a small function from [`Facts`] to [`Finding`]s. It always names the facts that it joined, with their
//! sources, and what would refute it. A fact that could not be read makes no rule speak: it becomes
//! [`Id::AccessDenied`] or a line of what was not checked, never an absence.
//!
//! [`judge`] runs the rules and puts their findings in order: causes first, then what is true and not to blame.

mod access;
mod env;
mod facts;
mod files;
mod image;
mod network;
mod sockets;
mod source;
mod symptom;
#[cfg(test)]
mod tests;
mod verdict;

use bstr::BString;
use serde::{Deserialize, Serialize};

pub use env::mistakable_links;
pub use facts::{
    Built, Check, CodeFile, CodeOrigin, Denied, Drift, DriftedFile, Facts, MatchedCommit, Outcome,
    PatchedFile, ProgramHint, Replica, Symptom, Variables,
};
pub use files::{asks_for_activity, files};
pub use sockets::{
    DeclaredPort, NetFacts, PodFacts, bypassed_services, has_full_queue, judge_sockets,
};
pub use verdict::{RuledOut, Unchecked, Verdict, judge};

/// Something that is wrong, or that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule found it.
    pub id: Id,
    /// What it is about: a variable, a file, a pod. One finding for each.
    pub about: BString,
    /// How bad it is if it is true.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// What is the matter, in one sentence without its period.
    pub cause: BString,
    /// The facts that show it.
    pub facts: Vec<Fact>,
    /// What would show that it is not so.
    pub refuted_by: String,
    /// What to do about it.
    pub next: Vec<Next>,
}

/// The rules, by what they find. The text of an id never changes: scripts match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// The code takes a kubelet's link for something else.
    ServiceLinkCollision,
    /// The code reads a variable that is not set.
    ReadButUnset,
    /// What declares a variable has changed since the container started.
    Stale,
    /// Two declarations of a variable say different things.
    Shadowed,
    /// The running code is not that of the reference.
    Drift,
    /// The running code is of a commit that the reference does not have.
    NotOnRef,
    /// Somebody changed the code in the running container.
    PatchedAfterStart,
    /// The replicas do not run the same image.
    ReplicasDiffer,
    /// What the program needs cannot be reached.
    Unreachable,
    /// A file is deleted and still takes up space.
    DeletedOpen,
    /// Nothing more can be written to a file system.
    VolumeFull,
    /// The process has nearly as many descriptors as it may have.
    DescriptorLimitNear,
    /// A log is not written any more.
    LogStalled,
    /// What somebody complains of shows when it is tried.
    SymptomReproduced,
    /// Something could not be looked at.
    AccessDenied,
    /// The program connects to an address that nobody has any more.
    StaleEndpoint,
    /// The program connects to pods of a Service by their own addresses.
    BypassesService,
    /// The peers have closed, and the process has not.
    CloseWait,
    /// A declared port listens on loopback only.
    ListenLoopback,
    /// A Service leads to a port on which the pod does not listen.
    PortMismatch,
    /// A listener's queue is full.
    BacklogFull,
}

/// Gives the ids their texts, and lists all of them: one that is not here does not compile.
macro_rules! texts {
    ($($variant:ident => $text:literal,)*) => {
        impl Id {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

texts! {
    ServiceLinkCollision => "env.service-link-collision",
    ReadButUnset => "env.read-but-unset",
    Stale => "env.stale",
    Shadowed => "env.shadowed",
    Drift => "src.drift",
    NotOnRef => "src.not-on-ref",
    PatchedAfterStart => "src.patched-after-start",
    ReplicasDiffer => "image.replicas-differ",
    Unreachable => "net.unreachable",
    DeletedOpen => "files.deleted-open",
    VolumeFull => "files.volume-full",
    DescriptorLimitNear => "files.fd-limit-near",
    LogStalled => "files.log-stalled",
    SymptomReproduced => "symptom.reproduced",
    AccessDenied => "access.denied",
    StaleEndpoint => "net.stale-endpoint",
    BypassesService => "net.bypasses-service",
    CloseWait => "net.close-wait",
    ListenLoopback => "net.listen-loopback",
    PortMismatch => "net.port-mismatch",
    BacklogFull => "net.backlog-full",
}

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How bad something is if it is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It breaks what the program is for.
    High,
    /// It may break something.
    Medium,
    /// It is worth knowing.
    Low,
}

/// How sure something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// The facts leave no other reading.
    Certain,
    /// Another reading would be strange.
    Likely,
    /// It may be so.
    Possible,
}

/// A fact with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What is known.
    pub text: BString,
    /// From where.
    pub source: Source,
}

/// Where a fact is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `/proc/PID/environ` of the process.
    Environ,
    /// A line of the running code.
    Code {
        /// The file, as the process sees it.
        path: BString,
        /// Its line, counted from 1.
        line: usize,
    },
    /// A file in the container.
    File(BString),
    /// The container's spec.
    Spec,
    /// An object of the cluster, as in `Service shop/reviews`.
    Object(String),
    /// A repository, as in `master` or a commit.
    Git(String),
    /// The pod's status.
    Status,
    /// Something that was tried from the pod.
    Probe,
    /// The kernel's tables of sockets.
    Sockets,
}

/// What to do about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// What it achieves.
    pub what: String,
    /// The command, or the edit, exactly; empty when there is none to give.
    pub command: BString,
}

/// A fact from its parts.
fn fact(text: impl Into<BString>, source: Source) -> Fact {
    Fact {
        text: text.into(),
        source,
    }
}
