//! Lists of paths: git's `--name-status` and `--name-only`.

use std::io::{self, Write};

use bstr::BStr;

use super::{Change, Status, Terminator, quoted};

/// Writes each changed path behind its status letter.
///
/// Behind the letter stands a tab, with [`Terminator::Nul`] a NUL.
pub fn write_name_status(
    out: &mut dyn Write,
    changes: &[Change],
    terminator: Terminator,
) -> io::Result<()> {
    for (path, status) in changed(changes) {
        let between = match terminator {
            Terminator::LineFeed => '\t',
            Terminator::Nul => '\0',
        };
        write!(out, "{}{between}", status.letter())?;
        write_path(out, path, terminator)?;
    }
    Ok(())
}

/// Writes each changed path.
pub fn write_name_only(
    out: &mut dyn Write,
    changes: &[Change],
    terminator: Terminator,
) -> io::Result<()> {
    changed(changes).try_for_each(|(path, _)| write_path(out, path, terminator))
}

fn changed(changes: &[Change]) -> impl Iterator<Item = (&BStr, Status)> {
    changes
        .iter()
        .filter_map(|change| Some((change.path.as_ref(), change.status()?)))
}

/// Writes a path with its terminator, quoted where git quotes it.
pub(super) fn write_path(
    out: &mut dyn Write,
    path: &BStr,
    terminator: Terminator,
) -> io::Result<()> {
    match terminator {
        Terminator::LineFeed => {
            out.write_all(&quoted(path))?;
            out.write_all(b"\n")
        }
        Terminator::Nul => {
            out.write_all(path)?;
            out.write_all(b"\0")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Blob;
    use super::*;
    use crate::object::{HashKind, ObjectId};

    fn changes() -> [Change; 2] {
        let blob = Blob::gitlink(ObjectId::null(HashKind::Sha1));
        ["a b", "t\tx"].map(|path| Change {
            path: path.into(),
            old: None,
            new: Some(blob.clone()),
        })
    }

    #[test]
    fn names_are_quoted_only_before_a_line_feed() {
        let mut out = Vec::new();
        write_name_only(&mut out, &changes(), Terminator::LineFeed).unwrap();
        assert_eq!(out, b"a b\n\"t\\tx\"\n");
        out.clear();
        write_name_only(&mut out, &changes(), Terminator::Nul).unwrap();
        assert_eq!(out, b"a b\0t\tx\0");
    }

    #[test]
    fn the_status_stands_in_front() {
        let mut out = Vec::new();
        write_name_status(&mut out, &changes(), Terminator::LineFeed).unwrap();
        assert_eq!(out, b"A\ta b\nA\t\"t\\tx\"\n");
        out.clear();
        write_name_status(&mut out, &changes(), Terminator::Nul).unwrap();
        assert_eq!(out, b"A\0a b\0A\0t\tx\0");
    }
}
