//! What the comparison says of the running process itself.

use bstr::BString;

use crate::render::safe;

/// A conclusion that is no difference of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A file was changed while the process ran: what runs may be what it was before.
    ChangedAfterStart {
        /// Its path in the repository.
        path: BString,
        /// Its path in the target.
        running: BString,
        /// When: nanoseconds since 1970.
        changed: i64,
        /// When the process started: milliseconds since 1970.
        started: i64,
        /// Whether it is the same as in the reference now.
        is_equal: bool,
    },
    /// A file of the reference is not there, and its folder was changed while the process ran.
    DeletedAfterStart {
        /// Its path in the repository.
        path: BString,
        /// Where it would be.
        running: BString,
        /// When the folder was changed: nanoseconds since 1970.
        changed: i64,
        /// When the process started: milliseconds since 1970.
        started: i64,
    },
    /// The process uses a file that was deleted or replaced.
    DeletedInUse {
        /// The name that it had.
        running: BString,
    },
    /// Code runs from two places, and one of them is not the same.
    OtherCopy {
        /// Its path in the repository.
        path: BString,
        /// The copy that differs.
        running: BString,
    },
    /// An installed package is not the one that the lock file names.
    OtherVersion {
        /// The package.
        package: String,
        /// The version in the lock file.
        locked: String,
        /// The version that is installed.
        installed: String,
        /// The lock file.
        lock: BString,
    },
}

impl Finding {
    /// Its name, for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ChangedAfterStart { .. } => "changed-after-start",
            Self::DeletedAfterStart { .. } => "deleted-after-start",
            Self::DeletedInUse { .. } => "deleted-in-use",
            Self::OtherCopy { .. } => "other-copy",
            Self::OtherVersion { .. } => "other-version",
        }
    }

    /// The path in the target that it is about.
    pub const fn running(&self) -> Option<&BString> {
        match self {
            Self::ChangedAfterStart { running, .. }
            | Self::DeletedAfterStart { running, .. }
            | Self::DeletedInUse { running }
            | Self::OtherCopy { running, .. } => Some(running),
            Self::OtherVersion { .. } => None,
        }
    }

    /// The whole of it in a sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::ChangedAfterStart {
                running,
                changed,
                started,
                is_equal,
                ..
            } => {
                let now = if *is_equal {
                    "; it is the same as the ref now"
                } else {
                    ""
                };
                format!(
                    "`{}` was changed {} after the process started, so what runs may be older{now}",
                    safe(running),
                    later(*changed, *started)
                )
            }
            Self::DeletedAfterStart {
                running,
                changed,
                started,
                ..
            } => format!(
                "`{}` is not there, and its folder was changed {} after the process started: what runs may still have it",
                safe(running),
                later(*changed, *started)
            ),
            Self::DeletedInUse { running } => format!(
                "`{}` was deleted or replaced, and the process still runs the old one",
                safe(running)
            ),
            Self::OtherCopy { path, running } => format!(
                "`{}` is another copy of `{}`, and differs",
                safe(running),
                safe(path)
            ),
            Self::OtherVersion {
                package,
                locked,
                installed,
                lock,
            } => format!(
                "`{package}` {installed} is installed, and `{}` says {locked}",
                safe(lock)
            ),
        }
    }
}

/// How much later, in the largest unit that fits.
fn later(changed: i64, started: i64) -> String {
    let seconds = (changed / 1_000_000_000)
        .saturating_sub(started / 1000)
        .max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_say_how_much_later() {
        let finding = |changed: i64| Finding::ChangedAfterStart {
            path: "x".into(),
            running: "/app/x".into(),
            changed: changed * 1_000_000_000,
            started: 10_000,
            is_equal: true,
        };
        assert_eq!(
            finding(15).sentence(),
            "`/app/x` was changed 5 s after the process started, so what runs may be older; it is the same as the ref now"
        );
        assert!(finding(10 + 7200).sentence().contains("2 h after"));
    }
}
