//! Commands that run beside the target.

use bstr::BString;
use serde::{Deserialize, Serialize};

use super::{ProcessId, Reading};

/// A command to run beside a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// Beside which process.
    pub process: ProcessId,
    /// The program and its arguments; nothing for a shell.
    pub command: Vec<BString>,
    /// The terminal that the command gets; without one it gets three pipes.
    pub terminal: Option<Terminal>,
    /// Variables of its environment, beside those that the agent sets.
    pub environment: Vec<(BString, BString)>,
    /// Where it starts, in the file system that it sees; `None` for the working directory of the process.
    pub folder: Option<BString>,
    /// Whether it sees the file system of the process as its own, and so runs the programs that are there.
    pub chroot: bool,
    /// What a shell's prompt calls the target.
    pub title: BString,
}

/// A terminal, as its programs need to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// What kind it is: the value of `TERM`.
    pub name: BString,
    /// How large it is.
    pub size: TerminalSize,
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Its lines.
    pub rows: u16,
    /// The characters of a line.
    pub columns: u16,
}

/// A signal that is passed on to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunSignal {
    /// `SIGINT`
    Interrupt,
    /// `SIGTERM`
    Terminate,
    /// `SIGHUP`
    HangUp,
    /// `SIGQUIT`
    Quit,
}

impl RunSignal {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Interrupt, Self::Terminate, Self::HangUp, Self::Quit];
}

/// A command that has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHead {
    /// Its process, in the agent's pid namespace.
    pub pid: u32,
    /// The program that was started, as it was looked for.
    pub program: BString,
    /// Where programs are looked for: the value of `PATH`.
    pub path: BString,
    /// Who it is.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// Where it has started, as it can name it; or why that is `/` and not the working directory of the process.
    pub folder: Reading<BString>,
    /// The folder with the agent's own programs, first in `path`; `None` where the target's own run.
    pub applets: Option<Reading<BString>>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEnd {
    /// By itself, with this code.
    Exited(u8),
    /// By a signal.
    Killed {
        /// Its number.
        signal: i32,
    },
    /// It never started; there was no head.
    NotStarted {
        /// What the kernel said to its execution.
        errno: i32,
    },
}
