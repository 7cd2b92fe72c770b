//! Counts of changed lines: git's `--stat`, `--numstat` and `--shortstat`.
//!
//! Counting needs the edit script but not its placement, and never the text of a patch.

use std::io::{self, Write};

use bstr::BString;

use super::lines::Lines;
use super::names::{renamed, write_path};
use super::patch::{content, is_binary};
use super::{Blob, Change, Limits, Status, Terminator, quoted, script};

/// How much of one path changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCount {
    /// The path in the repository.
    pub path: BString,
    /// What happened to it.
    pub status: Status,
    /// How much of it.
    pub counts: Counts,
    /// The path in the reference, when that is another.
    pub origin: Option<BString>,
}

/// The amount of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Lines of text; both are 0 when only the mode differs.
    Text {
        /// Lines that only what runs has.
        added: usize,
        /// Lines that only the reference has.
        deleted: usize,
    },
    /// Bytes of a file that is not compared by lines; both are 0 when only the mode differs.
    Binary {
        /// The size in the reference, 0 if it does not have the file.
        old: usize,
        /// The size of what runs, 0 if it does not have the file.
        new: usize,
    },
}

impl FileCount {
    /// Counts a change; `None` when its sides are equal.
    #[must_use]
    pub fn of(change: &Change, limits: &Limits) -> Option<Self> {
        let (old, new) = (change.old.as_ref(), change.new.as_ref());
        let same_content = match (old, new) {
            (Some(old), Some(new)) => old.id == new.id,
            _ => false,
        };
        let size = |blob: Option<&Blob>| match blob {
            Some(blob) if !same_content => blob.content.len(),
            _ => 0,
        };
        let binary = [old, new]
            .into_iter()
            .flatten()
            .any(|blob| is_binary(blob, limits));
        let counts = if binary {
            Counts::Binary {
                old: size(old),
                new: size(new),
            }
        } else if same_content {
            Counts::Text {
                added: 0,
                deleted: 0,
            }
        } else {
            let (old, new) = (Lines::of(content(old)), Lines::of(content(new)));
            let (added, deleted) = script::count(&old, &new, limits);
            Counts::Text { added, deleted }
        };
        Some(Self {
            path: change.path.clone(),
            status: change.status()?,
            counts,
            origin: change.origin.as_ref().map(|origin| origin.path.clone()),
        })
    }

    /// The path as it is printed for people; both paths of a rename.
    fn name(&self) -> Vec<u8> {
        match &self.origin {
            Some(origin) => renamed(origin, &self.path),
            None => quoted(&self.path).into_owned(),
        }
    }

    /// Counts all changes that have a difference, in their order.
    #[must_use]
    pub fn all(changes: &[Change], limits: &Limits) -> Vec<Self> {
        changes
            .iter()
            .filter_map(|change| Self::of(change, limits))
            .collect()
    }

    fn lines(&self) -> (usize, usize) {
        match self.counts {
            Counts::Text { added, deleted } => (added, deleted),
            Counts::Binary { .. } => (0, 0),
        }
    }
}

/// Writes added and deleted lines and the path of each file, `-` for a binary one.
pub fn write_numstat(
    out: &mut dyn Write,
    files: &[FileCount],
    terminator: Terminator,
) -> io::Result<()> {
    for file in files {
        match file.counts {
            Counts::Text { added, deleted } => write!(out, "{added}\t{deleted}\t")?,
            Counts::Binary { .. } => write!(out, "-\t-\t")?,
        }
        match (&file.origin, terminator) {
            (None, _) => write_path(out, file.path.as_ref(), terminator)?,
            (Some(origin), Terminator::Nul) => {
                out.write_all(&[b"\0", origin.as_slice(), b"\0", &file.path, b"\0"].concat())?;
            }
            (Some(_), Terminator::LineFeed) => {
                out.write_all(&file.name())?;
                out.write_all(b"\n")?;
            }
        }
    }
    Ok(())
}

/// Writes the line with the totals; nothing for no files.
pub fn write_shortstat(out: &mut dyn Write, files: &[FileCount]) -> io::Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let (added, deleted) = files
        .iter()
        .map(FileCount::lines)
        .fold((0, 0), |sum, lines| (sum.0 + lines.0, sum.1 + lines.1));
    let plural = |count| if count == 1 { "" } else { "s" };
    write!(out, " {} file{} changed", files.len(), plural(files.len()))?;
    // With neither kind git prints both, so that a change of modes does not look like an oversight.
    if added > 0 || deleted == 0 {
        write!(out, ", {added} insertion{}(+)", plural(added))?;
    }
    if deleted > 0 || added == 0 {
        write!(out, ", {deleted} deletion{}(-)", plural(deleted))?;
    }
    writeln!(out)
}

/// Writes a line with a graph for each file, at most `width` columns wide where git keeps to it, and the totals.
pub fn write_stat(out: &mut dyn Write, files: &[FileCount], width: usize) -> io::Result<()> {
    let names: Vec<_> = files.iter().map(FileCount::name).collect();
    let layout = Layout::of(files, names.iter().map(Vec::len), width);
    for (file, name) in files.iter().zip(&names) {
        let (ellipsis, name) = shortened(name, layout.name);
        out.write_all(b" ")?;
        out.write_all(ellipsis)?;
        out.write_all(name)?;
        let padding = layout.name.saturating_sub(ellipsis.len() + name.len());
        let number_width = layout.number;
        write!(out, "{:padding$} | ", "")?;
        match file.counts {
            Counts::Binary { old: 0, new: 0 } => write!(out, "{:>number_width$}", "Bin")?,
            Counts::Binary { old, new } => {
                write!(out, "{:>number_width$} {old} -> {new} bytes", "Bin")?;
            }
            Counts::Text {
                added: 0,
                deleted: 0,
            } => write!(out, "{:>number_width$}", 0)?,
            Counts::Text { added, deleted } => {
                write!(out, "{:>number_width$} ", added + deleted)?;
                let (plus, minus) = layout.graph_of(added, deleted);
                write!(out, "{}{}", "+".repeat(plus), "-".repeat(minus))?;
            }
        }
        writeln!(out)?;
    }
    write_shortstat(out, files)
}

/// The widths of the columns of `--stat`.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    name: usize,
    number: usize,
    graph: usize,
    /// The most changed lines of any file.
    most: usize,
}

/// The columns that are neither name nor number nor graph: blanks and the bar.
const FRAME: usize = 6;
/// The least that name and graph get together.
const SMALLEST: usize = 16;
/// The least that a graph is cut to.
const GRAPH_AT_LEAST: usize = 6;

impl Layout {
    fn of(files: &[FileCount], names: impl Iterator<Item = usize>, width: usize) -> Self {
        let longest_name = names.max().unwrap_or(0);
        let most = files
            .iter()
            .map(|file| {
                let (added, deleted) = file.lines();
                added + deleted
            })
            .max()
            .unwrap_or(0);
        let mut binary = 0;
        let mut number = digits(most);
        for file in files {
            if let Counts::Binary { old, new } = file.counts {
                binary = binary.max("Bin  ->  bytes".len() + digits(old) + digits(new));
                number = number.max("Bin".len());
            }
        }
        let width = width.max(SMALLEST + FRAME + number);
        // What both want; the text behind `Bin` goes into the column of the graph.
        let mut graph = if most + 4 > binary {
            most
        } else {
            binary.saturating_sub(4)
        };
        let mut name = longest_name;
        if name + number + FRAME + graph > width {
            let share = (width * 3 / 8).saturating_sub(number + FRAME);
            if graph > share {
                graph = share.max(GRAPH_AT_LEAST);
            }
            let left = width - number - FRAME;
            if name > left.saturating_sub(graph) {
                name = left.saturating_sub(graph);
            } else {
                graph = left - name;
            }
        }
        Self {
            name,
            number,
            graph,
            most,
        }
    }

    /// How many `+` and `-` stand for a file.
    fn graph_of(&self, added: usize, deleted: usize) -> (usize, usize) {
        if self.graph > self.most {
            return (added, deleted);
        }
        let mut total = self.scaled(added + deleted);
        if total < 2 && added > 0 && deleted > 0 {
            total = 2;
        }
        if added < deleted {
            let plus = self.scaled(added);
            (plus, total.saturating_sub(plus))
        } else {
            let minus = self.scaled(deleted);
            (total.saturating_sub(minus), minus)
        }
    }

    /// A share of the graph; anything but 0 gets at least one column.
    fn scaled(&self, count: usize) -> usize {
        if count == 0 || self.most == 0 {
            return 0;
        }
        1 + count * self.graph.saturating_sub(1) / self.most
    }
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// The end of a name that is too long, from a slash if there is one, behind an ellipsis.
fn shortened(name: &[u8], width: usize) -> (&'static [u8], &[u8]) {
    if name.len() <= width {
        return (b"", name);
    }
    let ellipsis = b"...";
    let cut = name.len() - width.saturating_sub(ellipsis.len());
    let rest = name.get(cut..).unwrap_or_default();
    let slash = rest.iter().position(|&byte| byte == b'/').unwrap_or(0);
    (ellipsis, rest.get(slash..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, counts: Counts) -> FileCount {
        FileCount {
            path: path.into(),
            status: Status::Modified,
            counts,
            origin: None,
        }
    }

    fn text(path: &str, added: usize, deleted: usize) -> FileCount {
        file(path, Counts::Text { added, deleted })
    }

    fn stat(files: &[FileCount], width: usize) -> String {
        let mut out = Vec::new();
        write_stat(&mut out, files, width).unwrap();
        String::from_utf8(out).unwrap()
    }

    // The expected texts are those of git 2.39.

    #[test]
    fn a_graph_that_fits_has_one_column_a_line() {
        assert_eq!(
            stat(&[text("a", 2, 1), text("long", 0, 12)], 80),
            " a    |  3 ++-\n long | 12 ------------\n 2 files changed, 2 insertions(+), 13 deletions(-)\n"
        );
    }

    #[test]
    fn a_change_of_mode_has_no_graph() {
        assert_eq!(
            stat(&[text("a", 0, 0)], 80),
            " a | 0\n 1 file changed, 0 insertions(+), 0 deletions(-)\n"
        );
    }

    #[test]
    fn both_kinds_get_a_column_of_a_scaled_graph() {
        let out = stat(&[text("a", 1, 1), text("b", 1000, 0)], 30);
        assert!(out.starts_with(" a |    2 +-\n b | 1000 +++++"), "{out}");
    }

    #[test]
    fn binary_files_show_their_sizes() {
        let files = [
            file("x", Counts::Binary { old: 0, new: 12 }),
            file("y", Counts::Binary { old: 0, new: 0 }),
        ];
        assert_eq!(
            stat(&files, 80),
            " x | Bin 0 -> 12 bytes\n y | Bin\n 2 files changed, 0 insertions(+), 0 deletions(-)\n"
        );
    }

    #[test]
    fn long_names_lose_their_front_at_a_slash() {
        assert_eq!(
            shortened(b"some/deep/folder/file", 14),
            (&b"..."[..], &b"/file"[..])
        );
        assert_eq!(shortened(b"abcdefghijkl", 8), (&b"..."[..], &b"hijkl"[..]));
        assert_eq!(shortened(b"abc", 3), (&b""[..], &b"abc"[..]));
    }

    #[test]
    fn the_totals_name_only_what_happened() {
        let short = |files: &[FileCount]| {
            let mut out = Vec::new();
            write_shortstat(&mut out, files).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(short(&[]), "");
        assert_eq!(
            short(&[text("a", 1, 0)]),
            " 1 file changed, 1 insertion(+)\n"
        );
        assert_eq!(
            short(&[text("a", 0, 2)]),
            " 1 file changed, 2 deletions(-)\n"
        );
    }

    #[test]
    fn numstat_has_dashes_for_binary_files_and_raw_names_before_nul() {
        let files = [
            text("a\tb", 1, 2),
            file("x", Counts::Binary { old: 1, new: 2 }),
        ];
        let mut out = Vec::new();
        write_numstat(&mut out, &files, Terminator::LineFeed).unwrap();
        assert_eq!(out, b"1\t2\t\"a\\tb\"\n-\t-\tx\n");
        out.clear();
        write_numstat(&mut out, &files, Terminator::Nul).unwrap();
        assert_eq!(out, b"1\t2\ta\tb\0-\t-\tx\0");
    }
}
