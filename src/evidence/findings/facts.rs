//! What the rules look at. Probes fill it in; what a probe could not read is [`Lookup::Unreadable`], and what nobody
//! asked for is [`Lookup::Missing`].

use bstr::BString;

use crate::evidence::{
    environment::Environment,
    files::FileFacts,
    provenance::{Attribution, Declarations, Lookup, Restart},
    reads::FileReads,
    redact::Redactor,
};

/// What is known of one container.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Its namespace.
    pub namespace: String,
    /// What made its pod, as kubectl takes it (`deploy/productpage-v1`); `None` for a bare pod or no pod at all.
    pub owner: Option<String>,
    /// Its variables.
    pub variables: Lookup<Variables<'a>>,
    /// The running code, as far as it was read.
    pub code: Vec<CodeFile>,
    /// Names that stand in compiled programs; looked for where no source runs.
    pub hints: Vec<ProgramHint>,
    /// How the running code differs from the reference.
    pub drift: Lookup<Drift>,
    /// Which commits have the running code.
    pub origin: Lookup<CodeOrigin>,
    /// Files of the code that were changed after the process started.
    pub patched: Lookup<Vec<PatchedFile>>,
    /// The pods of the same owner, this one included.
    pub replicas: Lookup<Vec<Replica>>,
    /// What was tried from the pod.
    pub checks: Vec<Check>,
    /// What the process holds open, and on what.
    pub files: Lookup<FileFacts>,
    /// What somebody complains of, tried from the pod; `None` when nobody named it.
    pub symptom: Option<Symptom>,
    /// What could not be looked at.
    pub denied: Vec<Denied>,
    /// Decides what of a value is shown.
    pub redactor: Redactor,
}

/// The variables of a process.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// As it has them.
    pub environment: &'a Environment,
    /// Where they come from.
    pub attribution: &'a Attribution,
    /// What the cluster declares now.
    pub declarations: &'a Declarations,
    /// What a restart would change.
    pub restart: &'a Restart,
    /// Whether the container's spec is known: without it nobody can say that it sets something not.
    pub has_spec: bool,
}

/// A file of the running code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeFile {
    /// Its path, as the process sees it.
    pub path: BString,
    /// What it reads.
    pub reads: FileReads,
    /// Whether it is the program's own, and not of a library.
    pub own: bool,
    /// Its lines that the reference does not have, counted from 1; `None` when it was not compared.
    pub changed_lines: Option<Vec<usize>>,
    /// The build that it went into, when only that runs; `None` for a file that is there itself.
    pub built: Option<Built>,
}

/// A program that was compiled, and the commit that it says it is of: its source is read there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The commit, whole.
    pub commit: String,
    /// The file in the container that names it.
    pub said_by: BString,
    /// Whether it was built with changes that are in no commit; `None` when it does not say.
    pub modified: Option<bool>,
}

/// A name of a variable that stands in a program without sources: that it reads it, and for what, cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramHint {
    /// The program, as the process sees it.
    pub path: BString,
    /// The variable.
    pub name: BString,
}

/// How the running code differs from a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The reference, as it was asked for.
    pub reference: String,
    /// Its commit.
    pub commit: String,
    /// The files that differ.
    pub files: Vec<DriftedFile>,
    /// How many were compared.
    pub compared: usize,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftedFile {
    /// Its path in the repository.
    pub path: BString,
    /// Its path as the process sees it; `None` when it does not run.
    pub running: Option<BString>,
    /// Lines that only the running one has.
    pub added: usize,
    /// Lines that only the reference has.
    pub deleted: usize,
}

/// Which commits have the running code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeOrigin {
    /// The reference, as it was asked for.
    pub reference: String,
    /// The commits that fit best, best first.
    pub commits: Vec<MatchedCommit>,
}

/// A commit that has the running code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchedCommit {
    /// Its id.
    pub commit: String,
    /// A ref from which it is reached.
    pub reached_from: String,
    /// Whether the reference has it.
    pub on_reference: bool,
    /// Running files that it has not; 0 for a perfect fit.
    pub unmatched: usize,
}

/// A file that was changed after the process started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchedFile {
    /// Its path, as the process sees it.
    pub path: BString,
    /// The seconds between the start and the change.
    pub seconds_after_start: u64,
    /// Whether its content is that of the reference; `None` when it was not compared.
    pub as_reference: Option<bool>,
}

/// A pod of the same owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its name.
    pub pod: String,
    /// The image that its spec asks for.
    pub image: String,
    /// The digest that runs; empty before it runs.
    pub image_id: String,
    /// The hash of its template (`pod-template-hash`): another one during a rollout.
    pub template: String,
}

/// Something that was tried from the pod, as in `resolves reviews` or `connects to reviews:9080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was tried, to follow `the pod`.
    pub what: String,
    /// What it leads to: `reviews:9080`.
    pub to: String,
    /// Whether it worked; `Missing` when it was not tried.
    pub worked: Lookup<bool>,
    /// What was seen.
    pub seen: String,
}

/// A URL that somebody says does not answer as it should, asked for from the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symptom {
    /// The request, as in `GET http://reviews:9080/reviews/0`.
    pub request: String,
    /// Whom it asks, without the port.
    pub host: String,
    /// On which port.
    pub port: u16,
    /// Whether that is the process itself.
    pub is_own: bool,
    /// What came of it; `Unreadable` when it could not be tried.
    pub outcome: Lookup<Outcome>,
}

/// What came of a request, each with what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole response with this status.
    Status(u16, String),
    /// A connection, and no whole response.
    Broken(String),
    /// No connection.
    Unreached(String),
}

/// Something that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What: `the environment of process 7`.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What would let it be looked at; empty when nothing is known to.
    pub needs: String,
}
