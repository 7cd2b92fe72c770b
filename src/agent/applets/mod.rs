//! Programs for whoever sits in `kdbg attach`: what `curl`, `dig`, `env`, `ps`, `ss` and `tree` would tell from where the
//! target stands, when nobody has those programs there.
//!
//! Each is one file: it takes the real one's arguments apart, asks a probe of this agent in its own process, and prints
//! what the real one would. The target is `$TARGET_PID`. An option that an applet does not know is left to the next
//! program of that name in `PATH`, which is said; nothing here writes to the target.

mod ask;
mod curl;
mod dig;
mod env;
mod folder;
mod next;
mod ps;
mod ss;
mod tree;

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use thiserror::Error;

use crate::protocol::message::Failure;

pub(super) use folder::Folder;
pub use folder::remove_all;

/// A program in the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applet {
    /// HTTP requests.
    Curl,
    /// Name servers.
    Dig,
    /// The environment of the target.
    Env,
    /// Processes.
    Ps,
    /// Sockets.
    Ss,
    /// Files.
    Tree,
}

impl Applet {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Curl,
        Self::Dig,
        Self::Env,
        Self::Ps,
        Self::Ss,
        Self::Tree,
    ];

    /// The one that is called like this; of a path its last part counts.
    #[must_use]
    pub fn named(name: &OsStr) -> Option<Self> {
        let name = Path::new(name).file_name()?;
        Self::ALL
            .into_iter()
            .find(|applet| name.as_bytes() == applet.name().as_bytes())
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Dig => "dig",
            Self::Env => "env",
            Self::Ps => "ps",
            Self::Ss => "ss",
            Self::Tree => "tree",
        }
    }

    /// Runs it with its arguments, on this process's own streams, and answers its exit code.
    #[must_use]
    pub fn run(self, arguments: &[OsString]) -> u8 {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let ended = match self {
            Self::Curl => curl::run(arguments, &mut out),
            Self::Dig => dig::run(arguments, &mut out),
            Self::Env => env::run(arguments, &mut out),
            Self::Ps => ps::run(arguments, &mut out),
            Self::Ss => ss::run(arguments, &mut out),
            Self::Tree => tree::run(arguments, &mut out),
        };
        let ended = ended.and_then(|code| {
            out.flush()?;
            Ok(code)
        });
        // What was found before stands above what went wrong.
        let _ = out.flush();
        let trouble = match ended {
            Ok(code) => return code,
            Err(Trouble::Unknown(option)) => next::run(self, &option, arguments),
            Err(trouble) => trouble,
        };
        self.complain(&trouble)
    }

    fn complain(self, trouble: &Trouble) -> u8 {
        let name = self.name();
        match trouble {
            // As a program that a closed pipe ends.
            Trouble::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 141,
            Trouble::Said { code, message } => {
                if !message.is_empty() {
                    // Nobody may be left to read it.
                    let _ = writeln!(io::stderr(), "{name}: {message}");
                }
                *code
            }
            other => {
                let _ = writeln!(io::stderr(), "{name}: {other}");
                match (self, other) {
                    (Self::Curl, Trouble::Output(_)) => 23,
                    (Self::Env, Trouble::Usage(_)) => 125,
                    (_, Trouble::Usage(_)) => 2,
                    _ => 1,
                }
            }
        }
    }
}

/// Why an applet does not do what it was asked for.
#[derive(Debug, Error)]
enum Trouble {
    /// It was called wrongly.
    #[error("{0}")]
    Usage(String),
    /// It has no such option; the real one may.
    #[error("this is the agent's own, which does not know `{0}`")]
    Unknown(String),
    /// The probe could not do it.
    #[error("{0}")]
    Failed(#[from] Failure),
    /// Its output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// Something that has a code of its own; no message for nothing.
    #[error("{message}")]
    Said {
        /// The exit code.
        code: u8,
        /// What to say, after the name of the program.
        message: String,
    },
}

impl Trouble {
    fn said(code: u8, message: impl Into<String>) -> Self {
        Self::Said {
            code,
            message: message.into(),
        }
    }
}

impl From<lexopt::Error> for Trouble {
    fn from(error: lexopt::Error) -> Self {
        match error {
            lexopt::Error::UnexpectedOption(option) => Self::Unknown(option),
            other => Self::Usage(other.to_string()),
        }
    }
}

/// Text of the target without what would steer a terminal: such bytes become `?`, as with ps and ls.
fn harmless(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .map(|byte| if byte.is_ascii_control() { b'?' } else { *byte })
        .collect()
}
