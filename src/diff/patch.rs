//! The unified patch, as `git diff --no-renames` prints it.

use std::io::{self, BufWriter, Write};

use anstyle::{AnsiColor, Style};

use super::hunks::{Hunk, hunks};
use super::lines::Lines;
use super::quote::{quoted, quoted_behind};
use super::script::edits;
use super::{Blob, Change, Limits, Origin, Status, binary};
use crate::object::{FileMode, ObjectId};

/// How a patch is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchOptions {
    /// Unchanged lines round a change; git's `-U`.
    pub context: usize,
    /// The length of the names in `index` lines.
    pub abbreviation: Abbreviation,
    /// Whether binary files are written in a form that can be applied; git's `--binary`.
    pub binary: bool,
    /// Whether git's default colours are added. They carry nothing that the text does not.
    pub color: bool,
    /// What is not compared by lines, or not for long.
    pub limits: Limits,
}

impl Default for PatchOptions {
    /// Three lines of context, names of seven digits, binary files only named, no colour.
    fn default() -> Self {
        Self {
            context: 3,
            abbreviation: Abbreviation::Digits(7),
            binary: false,
            color: false,
            limits: Limits::default(),
        }
    }
}

/// The length of the names in `index` lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abbreviation {
    /// This many digits; git takes 7, and more in repositories with many objects.
    Digits(usize),
    /// All digits; git's `--full-index`.
    Full,
}

/// Writes the patch that turns the old sides into the new ones.
pub fn write_patch(
    out: &mut dyn Write,
    changes: &[Change],
    options: &PatchOptions,
) -> io::Result<()> {
    let mut writer = PatchWriter {
        out: BufWriter::with_capacity(1 << 16, out),
        options,
    };
    for change in changes {
        let (old, new) = (change.old.as_ref(), change.new.as_ref());
        match change.status() {
            None => {}
            // git patches a path of another type by taking the old one away first.
            Some(Status::TypeChanged) => {
                writer.file(&change.path, None, old, None)?;
                writer.file(&change.path, None, None, new)?;
            }
            Some(_) => writer.file(&change.path, change.origin.as_ref(), old, new)?,
        }
    }
    writer.out.flush()
}

/// Whether git would not compare the content by lines: it is too large or has a NUL early on.
pub(super) fn is_binary(blob: &Blob, limits: &Limits) -> bool {
    /// git looks no further (`FIRST_FEW_BYTES`).
    const LOOKED_AT: usize = 8000;
    let start = blob.content.get(..LOOKED_AT).unwrap_or(&blob.content);
    blob.mode != FileMode::Gitlink && (blob.content.len() > limits.big_file || start.contains(&0))
}

/// The path of the old side.
fn old_path<'a>(path: &'a [u8], origin: Option<&'a Origin>) -> &'a [u8] {
    origin.map_or(path, |origin| origin.path.as_slice())
}

/// What a piece of a patch is; its colour follows from it alone.
#[derive(Clone, Copy)]
enum Label {
    Meta,
    HunkRange,
    Deleted,
    Added,
}

impl Label {
    fn style(self) -> Style {
        match self {
            Self::Meta => Style::new().bold(),
            Self::HunkRange => AnsiColor::Cyan.on_default(),
            Self::Deleted => AnsiColor::Red.on_default(),
            Self::Added => AnsiColor::Green.on_default(),
        }
    }
}

struct PatchWriter<'o, W: Write> {
    out: BufWriter<W>,
    options: &'o PatchOptions,
}

impl<W: Write> PatchWriter<'_, W> {
    fn file(
        &mut self,
        path: &[u8],
        origin: Option<&Origin>,
        old: Option<&Blob>,
        new: Option<&Blob>,
    ) -> io::Result<()> {
        self.header(path, origin, old, new)?;
        let (old_content, new_content) = (content(old), content(new));
        if let (Some(old), Some(new)) = (old, new)
            && old.id == new.id
        {
            return Ok(());
        }
        let old_name = old.map_or_else(
            || b"/dev/null".to_vec(),
            |_| quoted_behind(b"a/", old_path(path, origin)),
        );
        let new_name = new.map_or_else(|| b"/dev/null".to_vec(), |_| quoted_behind(b"b/", path));
        if self.is_binary(old, new) {
            if self.options.binary {
                return binary::write(&mut self.out, old_content, new_content);
            }
            return self.binary_files_differ(&old_name, &new_name);
        }
        self.text(&old_name, &new_name, old_content, new_content)
    }

    fn is_binary(&self, old: Option<&Blob>, new: Option<&Blob>) -> bool {
        [old, new]
            .into_iter()
            .flatten()
            .any(|blob| is_binary(blob, &self.options.limits))
    }

    fn header(
        &mut self,
        path: &[u8],
        origin: Option<&Origin>,
        old: Option<&Blob>,
        new: Option<&Blob>,
    ) -> io::Result<()> {
        let names = [
            b"diff --git ",
            quoted_behind(b"a/", old_path(path, origin)).as_slice(),
            b" ",
            quoted_behind(b"b/", path).as_slice(),
        ]
        .concat();
        self.meta(&names)?;
        match (old, new) {
            (None, Some(new)) => self.meta_mode("new file mode", new.mode)?,
            (Some(old), None) => self.meta_mode("deleted file mode", old.mode)?,
            (Some(old), Some(new)) if old.mode != new.mode => {
                self.meta_mode("old mode", old.mode)?;
                self.meta_mode("new mode", new.mode)?;
            }
            _ => {}
        }
        if let Some(origin) = origin {
            self.meta(format!("similarity index {}%", origin.similarity).as_bytes())?;
            self.meta(&[b"rename from ", &*quoted(&origin.path)].concat())?;
            self.meta(&[b"rename to ", &*quoted(path)].concat())?;
        }
        let Some(kind) = old.or(new).map(|blob| blob.id.kind()) else {
            return Ok(());
        };
        let id = |blob: Option<&Blob>| blob.map_or(ObjectId::null(kind), |blob| blob.id);
        if id(old) == id(new) {
            return Ok(());
        }
        let digits = match self.options.abbreviation {
            // A binary patch is applied only to the exact content, so git names it in full.
            _ if self.options.binary && self.is_binary(old, new) => usize::MAX,
            Abbreviation::Full => usize::MAX,
            Abbreviation::Digits(digits) => digits,
        };
        let mut line = format!(
            "index {}..{}",
            abbreviated(id(old), digits),
            abbreviated(id(new), digits)
        );
        if let (Some(old), Some(new)) = (old, new)
            && old.mode == new.mode
        {
            line.push(' ');
            line.push_str(new.mode.as_octal());
        }
        self.meta(line.as_bytes())
    }

    fn meta(&mut self, line: &[u8]) -> io::Result<()> {
        self.styled(Label::Meta, &[line])?;
        self.out.write_all(b"\n")
    }

    fn meta_mode(&mut self, what: &str, mode: FileMode) -> io::Result<()> {
        self.meta(format!("{what} {}", mode.as_octal()).as_bytes())
    }

    fn styled(&mut self, label: Label, pieces: &[&[u8]]) -> io::Result<()> {
        let style = label.style();
        if self.options.color {
            write!(self.out, "{style}")?;
        }
        for piece in pieces {
            self.out.write_all(piece)?;
        }
        if self.options.color {
            write!(self.out, "{style:#}")?;
        }
        Ok(())
    }

    fn binary_files_differ(&mut self, old_name: &[u8], new_name: &[u8]) -> io::Result<()> {
        self.out.write_all(b"Binary files ")?;
        self.out.write_all(old_name)?;
        self.out.write_all(b" and ")?;
        self.out.write_all(new_name)?;
        self.out.write_all(b" differ\n")
    }

    fn text(&mut self, old_name: &[u8], new_name: &[u8], old: &[u8], new: &[u8]) -> io::Result<()> {
        let (old_part, new_part) = if self.options.context == 0 {
            without_common_tail(old, new)
        } else {
            (old, new)
        };
        let (old, new) = (Lines::of(old_part), Lines::of(new_part));
        let edits = edits(&old, &new, &self.options.limits);
        if edits.is_empty() {
            return Ok(());
        }
        self.meta(&[b"--- ", old_name, tab_behind(old_name)].concat())?;
        self.meta(&[b"+++ ", new_name, tab_behind(new_name)].concat())?;
        hunks(&old, &new, &edits, self.options.context)
            .iter()
            .try_for_each(|hunk| self.hunk(&old, &new, hunk))
    }

    fn hunk(&mut self, old: &Lines<'_>, new: &Lines<'_>, hunk: &Hunk<'_, '_>) -> io::Result<()> {
        let range = format!("@@ -{} +{} @@", position(&hunk.old), position(&hunk.new));
        self.styled(Label::HunkRange, &[range.as_bytes()])?;
        if !hunk.heading.is_empty() {
            self.out.write_all(b" ")?;
            self.out.write_all(hunk.heading)?;
        }
        self.out.write_all(b"\n")?;
        let mut at = hunk.old.start;
        for edit in hunk.edits {
            self.context(old, at..edit.old.start)?;
            for line in edit.old.clone() {
                self.line(Some(Label::Deleted), b"-", old.get(line))?;
            }
            for line in edit.new.clone() {
                self.line(Some(Label::Added), b"+", new.get(line))?;
            }
            at = edit.old.end;
        }
        self.context(old, at..hunk.old.end)
    }

    fn context(&mut self, old: &Lines<'_>, lines: std::ops::Range<usize>) -> io::Result<()> {
        for line in lines {
            self.line(None, b" ", old.get(line))?;
        }
        Ok(())
    }

    fn line(&mut self, label: Option<Label>, sign: &[u8], line: &[u8]) -> io::Result<()> {
        match label.filter(|_| self.options.color) {
            None => {
                self.out.write_all(sign)?;
                self.out.write_all(line)?;
            }
            // The end of the line stays outside, so that a carriage return does not move the reset.
            Some(label) => {
                let text = line.strip_suffix(b"\n").unwrap_or(line);
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                self.styled(label, &[sign, text])?;
                self.out
                    .write_all(line.get(text.len()..).unwrap_or_default())?;
            }
        }
        if line.ends_with(b"\n") {
            return Ok(());
        }
        self.out.write_all(b"\n\\ No newline at end of file\n")
    }
}

/// The content of a side, empty when it does not have the file.
pub(super) fn content(blob: Option<&Blob>) -> &[u8] {
    blob.map_or(b"", |blob| &blob.content)
}

fn abbreviated(id: ObjectId, digits: usize) -> String {
    let mut name = id.to_string();
    name.truncate(digits);
    name
}

/// A tab ends a name with a blank in it, for programs that look for a time behind the name.
fn tab_behind(name: &[u8]) -> &'static [u8] {
    if name.contains(&b' ') { b"\t" } else { b"" }
}

/// A range as hunk headers have it: counted from 1, without a length of 1, and an empty one by the
/// line in front of it.
fn position(range: &std::ops::Range<usize>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => (range.start + 1).to_string(),
        length => format!("{},{length}", range.start + 1),
    }
}

/// Cuts off what both contents end with, in blocks and then back to the end of a line.
///
/// git does so when no context is wanted. It saves time, and it decides how far down groups can slide.
fn without_common_tail<'a>(old: &'a [u8], new: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    const BLOCK: usize = 1024;
    let common = old
        .rchunks_exact(BLOCK)
        .zip(new.rchunks_exact(BLOCK))
        .take_while(|(old, new)| old == new)
        .count()
        * BLOCK;
    let tail = old.get(old.len() - common..).unwrap_or_default();
    let kept = tail
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(common, |line_feed| line_feed + 1);
    let cut = common - kept;
    (
        old.get(..old.len() - cut).unwrap_or(old),
        new.get(..new.len() - cut).unwrap_or(new),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{HashKind, blob_id};

    #[expect(clippy::unnecessary_wraps, reason = "a side of a change is optional")]
    fn blob(mode: FileMode, content: &[u8]) -> Option<Blob> {
        let id = blob_id(HashKind::Sha1, content).unwrap();
        let content = content.to_vec();
        Some(Blob { mode, id, content })
    }

    fn change(path: &str, old: Option<Blob>, new: Option<Blob>) -> Change {
        let path = path.into();
        Change {
            path,
            old,
            new,
            origin: None,
        }
    }

    fn patch(change: Change, options: &PatchOptions) -> String {
        let mut out = Vec::new();
        write_patch(&mut out, &[change], options).unwrap();
        String::from_utf8(out).unwrap()
    }

    // The expected texts are those of git 2.39; the many cases are in tests/it/diff_oracle.rs.

    #[test]
    fn a_changed_line_with_a_missing_final_line_feed() {
        let change = change(
            "a b",
            blob(FileMode::Regular, b"x\n"),
            blob(FileMode::Regular, b"y"),
        );
        assert_eq!(
            patch(change, &PatchOptions::default()),
            "diff --git a/a b b/a b\nindex 587be6b..e25f181 100644\n--- a/a b\t\n+++ b/a b\t\n\
             @@ -1 +1 @@\n-x\n+y\n\\ No newline at end of file\n"
        );
    }

    #[test]
    fn a_change_of_mode_alone_has_no_names_of_blobs() {
        let change = change(
            "a",
            blob(FileMode::Regular, b"x\n"),
            blob(FileMode::Executable, b"x\n"),
        );
        assert_eq!(
            patch(change, &PatchOptions::default()),
            "diff --git a/a b/a\nold mode 100644\nnew mode 100755\n"
        );
    }

    #[test]
    fn a_change_of_type_is_a_deletion_and_an_addition() {
        let change = change(
            "a",
            blob(FileMode::Regular, b""),
            blob(FileMode::Symlink, b"t"),
        );
        assert_eq!(
            patch(change, &PatchOptions::default()),
            "diff --git a/a b/a\ndeleted file mode 100644\nindex e69de29..0000000\n\
             diff --git a/a b/a\nnew file mode 120000\nindex 0000000..32f64f4\n\
             --- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+t\n\\ No newline at end of file\n"
        );
    }

    #[test]
    fn a_nul_counts_only_among_the_first_bytes() {
        let at = |index: usize| {
            let mut content = vec![b'x'; 9000];
            content[index] = 0;
            is_binary(
                &blob(FileMode::Regular, &content).unwrap(),
                &Limits::default(),
            )
        };
        assert!(at(0) && at(7999));
        assert!(!at(8000));
    }

    #[test]
    fn a_content_above_the_limit_is_binary() {
        let options = PatchOptions {
            limits: Limits {
                big_file: 3,
                ..Limits::default()
            },
            ..PatchOptions::default()
        };
        let at_limit = change("a", None, blob(FileMode::Regular, b"ab\n"));
        assert!(patch(at_limit, &options).ends_with("+ab\n"));
        let above = change("a", None, blob(FileMode::Regular, b"abc\n"));
        assert!(patch(above, &options).ends_with("Binary files /dev/null and b/a differ\n"));
    }

    #[test]
    fn colours_follow_the_kind_of_line_and_carry_nothing() {
        let change = change(
            "a",
            blob(FileMode::Regular, b"name\n1\n2\n3\nx\r\n"),
            blob(FileMode::Regular, b"name\n1\n2\n3\ny\r\n"),
        );
        let plain = patch(change.clone(), &PatchOptions::default());
        let options = PatchOptions {
            color: true,
            ..PatchOptions::default()
        };
        let colored = patch(change, &options);
        assert!(colored.contains("\x1b[1mdiff --git a/a b/a\x1b[0m\n"));
        assert!(colored.contains("\x1b[36m@@ -2,4 +2,4 @@\x1b[0m name\n"));
        assert!(colored.contains("\x1b[31m-x\x1b[0m\r\n\x1b[32m+y\x1b[0m\r\n"));
        assert_eq!(anstream::adapter::strip_str(&colored).to_string(), plain);
    }

    #[test]
    fn the_common_tail_is_cut_in_blocks_up_to_a_line_feed() {
        let tail = b"0123456\n".repeat(256);
        let (old, new) = (
            [b"a\n", tail.as_slice()].concat(),
            [b"b\n", tail.as_slice()].concat(),
        );
        assert_eq!(
            without_common_tail(&old, &new),
            (&b"a\n0123456\n"[..], &b"b\n0123456\n"[..])
        );
        assert_eq!(
            without_common_tail(&old[..900], &new),
            (&old[..900], &new[..])
        );
    }
}
