//! Edits grouped into the hunks of a unified patch, with git's heading behind the second `@@`.

use std::ops::Range;

use super::lines::Lines;
use super::script::Edit;

/// Headings are cut to this many bytes.
const HEADING_LIMIT: usize = 80;

/// Some edits with the unchanged lines round them.
#[derive(Debug)]
pub(super) struct Hunk<'a, 'e> {
    pub(super) old: Range<usize>,
    pub(super) new: Range<usize>,
    pub(super) edits: &'e [Edit],
    /// The last line in front of the hunk that looks like the head of a function; may be empty.
    pub(super) heading: &'a [u8],
}

/// Groups edits whose contexts touch or overlap.
pub(super) fn hunks<'a, 'e>(
    old: &Lines<'a>,
    new: &Lines<'a>,
    edits: &'e [Edit],
    context: usize,
) -> Vec<Hunk<'a, 'e>> {
    let mut headings = Headings::new(old);
    let near = |left: &Edit, right: &Edit| {
        right.old.start.saturating_sub(left.old.end) <= context.saturating_mul(2)
    };
    edits
        .chunk_by(near)
        .filter_map(|edits| {
            let (first, last) = (edits.first()?, edits.last()?);
            let before = context.min(first.old.start).min(first.new.start);
            let after = context
                .min(old.len().saturating_sub(last.old.end))
                .min(new.len().saturating_sub(last.new.end));
            let old_start = first.old.start - before;
            Some(Hunk {
                old: old_start..last.old.end + after,
                new: first.new.start - before..last.new.end + after,
                edits,
                heading: headings.before(old_start),
            })
        })
        .collect()
}

/// Finds headings for rising line numbers without reading a line twice.
struct Headings<'a, 'l> {
    lines: &'l Lines<'a>,
    read: usize,
    found: &'a [u8],
}

impl<'a, 'l> Headings<'a, 'l> {
    fn new(lines: &'l Lines<'a>) -> Self {
        Self {
            lines,
            read: 0,
            found: b"",
        }
    }

    fn before(&mut self, line: usize) -> &'a [u8] {
        let found = (self.read..line)
            .rev()
            .find_map(|line| heading(self.lines.get(line)));
        self.read = line.max(self.read);
        self.found = found.unwrap_or(self.found);
        self.found
    }
}

/// The line as a heading, when it begins with a letter, `_` or `$`.
fn heading(line: &[u8]) -> Option<&[u8]> {
    let first = *line.first()?;
    if !(first.is_ascii_alphabetic() || first == b'_' || first == b'$') {
        return None;
    }
    let cut = line.get(..HEADING_LIMIT).unwrap_or(line);
    let blanks = cut
        .iter()
        .rev()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        .count();
    cut.get(..cut.len() - blanks)
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "the hunks are ranges")]
mod tests {
    use super::*;

    /// The old ranges and the headings of hunks round changes of single lines.
    fn old_ranges(content: &str, changed: &[usize], context: usize) -> Vec<(Range<usize>, String)> {
        let lines = Lines::of(content.as_bytes());
        let edits: Vec<Edit> = changed
            .iter()
            .map(|&line| Edit {
                old: line..line + 1,
                new: line..line + 1,
            })
            .collect();
        hunks(&lines, &lines, &edits, context)
            .into_iter()
            .map(|hunk| {
                assert_eq!(hunk.old, hunk.new);
                let heading = String::from_utf8_lossy(hunk.heading).into_owned();
                (hunk.old, heading)
            })
            .collect()
    }

    fn ranges(changed: &[usize], context: usize) -> Vec<Range<usize>> {
        let content = "0\n".repeat(20);
        let hunks = old_ranges(&content, changed, context);
        hunks.into_iter().map(|(range, _)| range).collect()
    }

    #[test]
    fn the_context_ends_with_the_file() {
        assert_eq!(ranges(&[1], 3), [0..5]);
        assert_eq!(ranges(&[18], 3), [15..20]);
        assert_eq!(ranges(&[4], 0), [4..5]);
    }

    #[test]
    fn hunks_join_when_their_contexts_touch() {
        assert_eq!(ranges(&[3, 10], 3), [0..14]);
        assert_eq!(ranges(&[3, 11], 3), [0..7, 8..15]);
        assert_eq!(ranges(&[3, 4], 0), [3..5]);
        assert_eq!(ranges(&[3, 5], 0), [3..4, 5..6]);
    }

    #[test]
    fn a_huge_context_is_the_whole_file() {
        assert_eq!(ranges(&[3, 15], usize::MAX), [0..20]);
    }

    #[test]
    fn the_heading_is_the_last_line_before_the_hunk_that_begins_like_a_name() {
        let content = "fn a() {\n  x\n}\n_b \t\r\n  x\n  x\n$c\n 7\n#d\n";
        let heading = |line| old_ranges(content, &[line], 1).remove(0).1;
        assert_eq!(heading(1), "", "the hunk begins with the candidate");
        assert_eq!(heading(2), "fn a() {");
        assert_eq!(heading(5), "_b");
        assert_eq!(heading(8), "$c");
    }

    #[test]
    fn a_heading_stays_until_the_next_one() {
        let content = format!("name\n{}", " x\n".repeat(20));
        let headings: Vec<_> = old_ranges(&content, &[5, 15], 1)
            .into_iter()
            .map(|(_, heading)| heading)
            .collect();
        assert_eq!(headings, ["name", "name"]);
    }

    #[test]
    fn a_heading_is_cut_and_then_loses_its_trailing_blanks() {
        let line = format!("{}  {}", "a".repeat(79), "b".repeat(9));
        assert_eq!(heading(line.as_bytes()), Some("a".repeat(79).as_bytes()));
    }
}
