//! Lists of paths: git's `--name-status` and `--name-only`.

use std::io::{self, Write};

use bstr::{BStr, ByteSlice as _};

use super::{Change, Status, Terminator, quoted};

/// Writes each changed path behind its status letter.
///
/// Behind the letter stands a tab, with [`Terminator::Nul`] a NUL.
pub fn write_name_status(
    out: &mut dyn Write,
    changes: &[Change],
    terminator: Terminator,
) -> io::Result<()> {
    let between = match terminator {
        Terminator::LineFeed => '\t',
        Terminator::Nul => '\0',
    };
    for (change, status) in changed(changes) {
        write!(out, "{}", status.letter())?;
        if let Some(origin) = change.origin.as_ref().filter(|_| status == Status::Renamed) {
            write!(out, "{:03}{between}", origin.similarity)?;
            match terminator {
                Terminator::LineFeed => out.write_all(&quoted(&origin.path))?,
                Terminator::Nul => out.write_all(&origin.path)?,
            }
        }
        write!(out, "{between}")?;
        write_path(out, change.path.as_ref(), terminator)?;
    }
    Ok(())
}

/// Writes each changed path.
pub fn write_name_only(
    out: &mut dyn Write,
    changes: &[Change],
    terminator: Terminator,
) -> io::Result<()> {
    changed(changes).try_for_each(|(change, _)| write_path(out, change.path.as_ref(), terminator))
}

fn changed(changes: &[Change]) -> impl Iterator<Item = (&Change, Status)> {
    changes
        .iter()
        .filter_map(|change| Some((change, change.status()?)))
}

/// Both paths of a rename in one, as `--stat` prints them: what they share stands round braces.
pub(super) fn renamed(old: &[u8], new: &[u8]) -> Vec<u8> {
    let (quoted_old, quoted_new) = (quoted(old), quoted(new));
    if *quoted_old != *old || *quoted_new != *new {
        return [&*quoted_old, b" => ", &*quoted_new].concat();
    }
    let common = old.iter().zip(new).take_while(|(old, new)| old == new);
    let front = old
        .get(..common.count())
        .and_then(|common| common.rfind_byte(b'/'))
        .map_or(0, |slash| slash + 1);
    // The slash in front of what differs may be the one behind it too: `a/{b => }/c`.
    let at_least = front.saturating_sub(1);
    let most = old.len().min(new.len()).saturating_sub(at_least);
    let mut back = 0;
    for length in 1..=most {
        let (left, right) = (old.get(old.len() - length), new.get(new.len() - length));
        if left != right {
            break;
        }
        if left == Some(&b'/') {
            back = length;
        }
    }
    let middle = |path: &[u8]| {
        let end = path.len().saturating_sub(back).max(front);
        path.get(front..end).unwrap_or_default().to_vec()
    };
    let between = [middle(old), b" => ".to_vec(), middle(new)].concat();
    if front + back == 0 {
        return between;
    }
    [
        old.get(..front).unwrap_or_default(),
        b"{",
        &between,
        b"}",
        old.get(old.len() - back..).unwrap_or_default(),
    ]
    .concat()
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
            origin: None,
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
    fn the_paths_of_a_rename_share_what_they_have_in_common() {
        // As `git diff -M --stat` prints them.
        for (old, new, expected) in [
            ("a", "b", "a => b"),
            ("dir/a", "dir/b", "dir/{a => b}"),
            ("a/x", "b/x", "{a => b}/x"),
            ("p/a/x", "p/b/x", "p/{a => b}/x"),
            ("p/a/x", "p/x", "p/{a => }/x"),
            ("p/x", "p/a/x", "p/{ => a}/x"),
            ("\t", "b", "\"\\t\" => b"),
        ] {
            let shown = renamed(old.as_bytes(), new.as_bytes());
            assert_eq!(String::from_utf8(shown).unwrap(), expected);
        }
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
