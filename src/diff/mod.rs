//! Differences between two trees, printed as git prints them.
//!
//! A [`Change`] is one path with what the reference has (`old`) and what runs (`new`), so that `+` is what
//! runs. The writers print slices of changes: [`write_patch`] what `git diff --no-renames` prints,
//! [`write_stat`], [`write_numstat`] and [`write_shortstat`] the counts, [`write_name_status`] and
//! [`write_name_only`] the paths. Nothing here reads a file or a repository; the caller brings the
//! contents and an [`std::io::Write`]. The oracle is git itself: `tests/it/diff_oracle.rs` compares byte by byte.
//!
//! From bytes to a patch: `lines` numbers the lines, `select` leaves out those that mislead, `search` finds
//! the edit script (`coarse` when time runs out), `sliders` with `indent` places it, `hunks` groups it,
//! `patch` prints it.

use std::time::{Duration, Instant};

use bstr::BString;

use crate::object::{FileMode, ObjectId};

mod binary;
mod coarse;
mod hunks;
mod indent;
mod lines;
mod names;
mod patch;
mod quote;
mod script;
mod search;
mod select;
pub mod similarity;
mod sliders;
mod stat;

pub use names::{write_name_only, write_name_status};
pub use patch::{Abbreviation, PatchOptions, write_patch};
pub use quote::quoted;
pub use stat::{Counts, FileCount, write_numstat, write_shortstat, write_stat};

/// One path with what each side has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path in the repository, `/` between its parts.
    pub path: BString,
    /// What the reference has.
    pub old: Option<Blob>,
    /// What runs.
    pub new: Option<Blob>,
    /// Where the reference has it, when that is another path.
    pub origin: Option<Origin>,
}

/// The path that a file was renamed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its path in the reference.
    pub path: BString,
    /// How alike the contents are, in percent, as [`similarity`] counts.
    pub similarity: u8,
}

/// One version of a file, a link or a submodule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its kind.
    pub mode: FileMode,
    /// Its name; blobs with equal names are taken to have equal contents.
    pub id: ObjectId,
    /// The bytes of the file, or the target of the link, or the text of [`Blob::gitlink`].
    pub content: Vec<u8>,
}

impl Blob {
    /// A submodule's commit, with the text that git diffs for it.
    #[must_use]
    pub fn gitlink(commit: ObjectId) -> Self {
        Self {
            mode: FileMode::Gitlink,
            id: commit,
            content: format!("Subproject commit {commit}\n").into_bytes(),
        }
    }
}

/// What happened to a path, from the reference to what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Only what runs has the path.
    Added,
    /// Only the reference has the path.
    Deleted,
    /// Content or permission differ.
    Modified,
    /// One is a file, the other a link or a submodule.
    TypeChanged,
    /// The reference has it at another path.
    Renamed,
}

impl Status {
    /// git's letter: `A`, `D`, `M`, `T` or `R`.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Deleted => 'D',
            Self::Modified => 'M',
            Self::TypeChanged => 'T',
            Self::Renamed => 'R',
        }
    }
}

impl Change {
    /// What happened; `None` when the sides are equal, and then no writer prints the path.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match (&self.old, &self.new) {
            (None, None) => None,
            (None, Some(_)) => Some(Status::Added),
            (Some(_), None) => Some(Status::Deleted),
            (Some(_), Some(_)) if self.origin.is_some() => Some(Status::Renamed),
            (Some(old), Some(new)) if !old.mode.same_type(new.mode) => Some(Status::TypeChanged),
            (Some(old), Some(new)) => {
                (old.mode != new.mode || old.id != new.id).then_some(Status::Modified)
            }
        }
    }
}

/// Sorts into git's order: by the bytes of the whole path, so `a.b` stands before `a/b`.
pub fn sort(changes: &mut [Change]) {
    changes.sort_by(|left, right| left.path.cmp(&right.path));
}

/// What stands behind each record of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Terminator {
    /// A line feed; names with unusual bytes are quoted.
    #[default]
    LineFeed,
    /// A NUL, git's `-z`; names are printed as they are.
    Nul,
}

/// What is too much to compare line by line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Contents above this many bytes are treated as binary; git's `core.bigFileThreshold`.
    pub big_file: usize,
    /// How long one file's search for the shortest script may take, `None` for no limit.
    ///
    /// What is not searched by then is compared coarsely: the patch is still correct, only longer.
    pub timeout: Option<Duration>,
}

impl Default for Limits {
    /// git's 512 MiB, and 5 seconds a file.
    fn default() -> Self {
        Self {
            big_file: 512 << 20,
            timeout: Some(Duration::from_secs(5)),
        }
    }
}

impl Limits {
    fn deadline(&self) -> Option<Instant> {
        self.timeout
            .and_then(|timeout| Instant::now().checked_add(timeout))
    }
}

/// Which of the two sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::HashKind;

    /// The status between sides of a mode and an id.
    fn status(old: Option<(FileMode, u8)>, new: Option<(FileMode, u8)>) -> Option<char> {
        let blob = |(mode, id)| Blob {
            mode,
            id: ObjectId::Sha1([id; 20]),
            content: vec![id],
        };
        let change = Change {
            path: "x".into(),
            old: old.map(blob),
            new: new.map(blob),
            origin: None,
        };
        change.status().map(Status::letter)
    }

    #[test]
    fn the_status_follows_presence_type_mode_and_id() {
        use FileMode::{Executable, Regular, Symlink};
        assert_eq!(status(None, Some((Regular, 1))), Some('A'));
        assert_eq!(status(Some((Regular, 1)), None), Some('D'));
        let of_file = |new| status(Some((Regular, 1)), Some(new));
        assert_eq!(of_file((Regular, 2)), Some('M'));
        assert_eq!(of_file((Executable, 1)), Some('M'));
        assert_eq!(of_file((Symlink, 1)), Some('T'));
        assert_eq!(of_file((Regular, 1)), None);
        assert_eq!(status(None, None), None);
    }

    #[test]
    fn paths_are_ordered_by_their_bytes() {
        let mut changes = ["a/b", "a0", "a", "a.b", "a-b", "B"].map(|path| Change {
            path: path.into(),
            old: None,
            new: None,
            origin: None,
        });
        sort(&mut changes);
        let paths = changes.map(|change| change.path.to_string());
        assert_eq!(paths, ["B", "a", "a-b", "a.b", "a/b", "a0"]);
    }

    #[test]
    fn a_submodule_is_one_line_of_text() {
        let blob = Blob::gitlink(ObjectId::null(HashKind::Sha1));
        let expected = format!("Subproject commit {}\n", "0".repeat(40));
        assert_eq!(blob.content, expected.as_bytes());
    }
}
