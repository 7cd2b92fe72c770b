//! Exit codes, documented in `docs/exit-codes.md`.

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// All was read and nothing was found.
    Complete,
    /// A difference or a finding.
    Found,
    /// The command line makes no sense.
    Usage,
    /// Something was shown, but something that was needed could not be read.
    Incomplete,
    /// The target, the repository or the cluster cannot be reached, or does not allow it.
    Unreachable,
    /// The transfer or the protocol broke.
    Broken,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// The code of a command that was run for the user.
    Command(u8),
}

impl ExitStatus {
    /// The code, as the shell sees it.
    pub const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Found => 1,
            Self::Usage => 2,
            Self::Incomplete => 3,
            Self::Unreachable => 4,
            Self::Broken => 5,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Command(code) => code,
        }
    }

    /// The status of a comparison: a certain difference beats an incomplete reading.
    pub const fn of_comparison(differs: bool, complete: bool) -> Self {
        match (differs, complete) {
            (true, _) => Self::Found,
            (false, false) => Self::Incomplete,
            (false, true) => Self::Complete,
        }
    }
}
