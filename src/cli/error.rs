//! The error of a command: what went wrong, what to do about it, and the exit code that it asks for.

use std::{error::Error, io};

use super::exit::ExitStatus;
use crate::{
    evidence::redact::Redactor,
    protocol::message::Cause,
    session::{RequestError, SessionError},
    target::{SelectorError, TargetError, pod::PodError},
};

/// An error that ends a command.
#[derive(Debug)]
pub struct CommandError {
    kind: ErrorKind,
    source: Box<dyn Error + Send + Sync>,
    hints: Vec<String>,
}

/// What kind of error it is; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line asks for something that makes no sense.
    Usage,
    /// The target or the repository is not there, or does not allow it.
    Unreachable,
    /// The target is there, but what was asked for could not be read.
    Incomplete,
    /// The transfer or the protocol broke.
    Broken,
    /// The reader of the output has gone.
    BrokenPipe,
}

impl CommandError {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            source: source.into(),
            hints: Vec::new(),
        }
    }

    /// The command line makes no sense.
    pub fn usage(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Usage, source)
    }

    /// Something that is not the user's doing.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Broken, source)
    }

    /// Adds what to do about it, a sentence that starts with a verb.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds several of them.
    #[must_use]
    pub fn hints(mut self, hints: impl IntoIterator<Item = String>) -> Self {
        self.hints.extend(hints);
        self
    }

    /// Output could not be written. A closed pipe is no error; a full disk is.
    #[expect(clippy::needless_pass_by_value, reason = "`map_err` passes it so")]
    pub fn output(error: io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::BrokenPipe {
            ErrorKind::BrokenPipe
        } else {
            ErrorKind::Broken
        };
        Self::new(kind, format!("cannot write the output: {error}"))
    }

    /// A file of the user's choice could not be written.
    pub fn output_to(path: &std::path::Path, error: &io::Error) -> Self {
        Self::new(
            ErrorKind::Broken,
            format!("cannot write `{}`: {error}", path.display()),
        )
    }

    /// Whether nobody reads the output any more.
    pub fn is_broken_pipe(&self) -> bool {
        self.kind == ErrorKind::BrokenPipe
    }

    /// The hints, in order.
    pub fn all_hints(&self) -> &[String] {
        &self.hints
    }

    /// The exit code that this error asks for.
    pub fn exit_status(&self) -> ExitStatus {
        match self.kind {
            ErrorKind::Usage => ExitStatus::Usage,
            ErrorKind::Unreachable => ExitStatus::Unreachable,
            ErrorKind::Incomplete => ExitStatus::Incomplete,
            ErrorKind::Broken => ExitStatus::Broken,
            ErrorKind::BrokenPipe => ExitStatus::Complete,
        }
    }
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(formatter)
    }
}

impl From<SelectorError> for CommandError {
    fn from(error: SelectorError) -> Self {
        let hint = error.hint();
        Self::usage(error).hint(hint)
    }
}

impl From<RequestError> for CommandError {
    fn from(error: RequestError) -> Self {
        let (kind, hints) = match &error {
            RequestError::Failed(failure) => {
                let kind = match failure.cause {
                    Cause::NoSuchProcess { .. }
                    | Cause::Gone(_)
                    | Cause::Denied(_)
                    | Cause::NotFound
                    | Cause::NoShell
                    | Cause::Lacks(_) => ErrorKind::Unreachable,
                    // A part of the path is a file: there is nothing below it.
                    Cause::Io { errno } if errno == nix::libc::ENOTDIR => ErrorKind::Unreachable,
                    Cause::NotAFolder(_) | Cause::NotAFile(_) | Cause::LinkLoop => ErrorKind::Usage,
                    Cause::BadRequest | Cause::Busy => ErrorKind::Broken,
                    _ => ErrorKind::Incomplete,
                };
                (kind, failure.remedies())
            }
            RequestError::Session(session @ SessionError::Lost { .. }) => {
                (ErrorKind::Unreachable, session_hints(session))
            }
            RequestError::Session(session) => (ErrorKind::Broken, session_hints(session)),
            RequestError::Unreadable => (ErrorKind::Broken, Vec::new()),
            RequestError::Stalled { .. } | RequestError::TooLong { .. } => {
                (ErrorKind::Incomplete, Vec::new())
            }
        };
        Self::new(kind, error).hints(hints)
    }
}

fn session_hints(error: &SessionError) -> Vec<String> {
    match error {
        SessionError::Closed => {
            vec!["run the command again with `-vv` to see what the agent did".to_owned()]
        }
        SessionError::Lost { .. } => {
            vec!["run the command again: it gets another agent".to_owned()]
        }
        _ => Vec::new(),
    }
}

impl From<TargetError> for CommandError {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Request(error) => error.into(),
            TargetError::Pod(error) => error.into(),
            TargetError::NoAgent => Self::new(ErrorKind::Unreachable, error)
                .hint("build the agent too: `cargo build --features agent`, or use a release build, which carries it"),
            TargetError::Start(_) | TargetError::NoConversation { .. } => Self::new(ErrorKind::Broken, error),
            TargetError::NoSuchName(_) => Self::new(ErrorKind::Unreachable, error).hint("list the processes with `ps ax`"),
            TargetError::Ambiguous { ref candidates, .. } => {
                let rows = candidates.iter().map(|process| {
                    let arguments = Redactor::new(false).arguments(&process.arguments);
                    let arguments = arguments.iter().map(|argument| crate::render::safe(&argument.bytes())).collect::<Vec<_>>();
                    format!("choose `pid/{}` ({})", process.id.pid, arguments.join(" "))
                });
                let rows: Vec<_> = rows.collect();
                Self::usage(error).hints(rows)
            }
            TargetError::NotInTarget { .. } => Self::usage(error).hint("list the processes of the target with `kdbg ps`"),
            TargetError::Empty { .. } => Self::new(ErrorKind::Unreachable, error),
        }
    }
}

impl From<PodError> for CommandError {
    fn from(error: PodError) -> Self {
        let cause = match &error {
            PodError::Elsewhere { source, .. } => source.as_ref(),
            error => error,
        };
        let kind = match cause {
            PodError::WhichContainer { .. }
            | PodError::NoSuchContainer { .. }
            | PodError::Ambiguous { .. } => ErrorKind::Usage,
            PodError::NoConversation { .. } => ErrorKind::Broken,
            _ => ErrorKind::Unreachable,
        };
        let hints = error.hints();
        Self::new(kind, error).hints(hints)
    }
}
