//! How well a diff reads that begins or ends a group at a given line: git's *indent heuristic*.
//!
//! The weights were found by its author by fitting them to groups placed by hand in many repositories
//! (git's commit 433860f3d0). A lower score is better.

/// Indentation is counted no further than this.
const INDENT_LIMIT: usize = 200;
/// Blank lines are counted no further than this.
const BLANKS_LIMIT: usize = 20;

const START_OF_FILE: i64 = 1;
const END_OF_FILE: i64 = 21;
const BLANK: i64 = -30;
const BLANK_AFTER: i64 = 6;
/// Each of these without and with blank lines around.
const INDENT: (i64, i64) = (-4, 10);
const OUTDENT: (i64, i64) = (24, 17);
const DEDENT: (i64, i64) = (23, 17);
/// How much one differing indentation outweighs the penalties.
const INDENT_WEIGHT: i64 = 60;

/// The columns of white space in front of a line's text, `None` for a blank line.
pub(super) fn indent_of(line: &[u8]) -> Option<usize> {
    let mut indent = 0;
    for &byte in line {
        match byte {
            b' ' => indent += 1,
            b'\t' => indent += 8 - indent % 8,
            b'\n' | b'\r' => {}
            _ => return Some(indent),
        }
        if indent >= INDENT_LIMIT {
            return Some(INDENT_LIMIT);
        }
    }
    None
}

/// What stands round the place between a line and the one before it.
#[derive(Debug)]
pub(super) struct SplitMeasure {
    end_of_file: bool,
    /// Of the line behind the split, `None` if blank or behind the end.
    indent: Option<usize>,
    blanks_before: usize,
    /// Of the last line before the split that is not blank.
    indent_before: Option<usize>,
    blanks_after: usize,
    /// Of the first line after the one behind the split that is not blank.
    indent_after: Option<usize>,
}

impl SplitMeasure {
    pub(super) fn at(count: usize, split: usize, indent: impl Fn(usize) -> Option<usize>) -> Self {
        let end_of_file = split >= count;
        let (blanks_before, indent_before) = first_text((0..split.min(count)).rev(), &indent);
        let (blanks_after, indent_after) = first_text(split + 1..count, &indent);
        Self {
            end_of_file,
            indent: if end_of_file { None } else { indent(split) },
            blanks_before,
            indent_before,
            blanks_after,
            indent_after,
        }
    }
}

/// The blank lines passed up to the first line that is not blank, and that line's indentation.
fn first_text(
    lines: impl Iterator<Item = usize>,
    indent: impl Fn(usize) -> Option<usize>,
) -> (usize, Option<usize>) {
    let mut blanks = 0;
    for line in lines {
        if let Some(indent) = indent(line) {
            return (blanks, Some(indent));
        }
        blanks += 1;
        if blanks == BLANKS_LIMIT {
            return (blanks, Some(0));
        }
    }
    (blanks, None)
}

/// The sum over both ends of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Score {
    indent: i64,
    penalty: i64,
}

impl Score {
    pub(super) fn add(&mut self, split: &SplitMeasure) {
        if split.indent_before.is_none() && split.blanks_before == 0 {
            self.penalty += START_OF_FILE;
        }
        if split.end_of_file {
            self.penalty += END_OF_FILE;
        }
        let blanks_after = match split.indent {
            Some(_) => 0,
            None => 1 + split.blanks_after,
        };
        let blanks = split.blanks_before + blanks_after;
        self.penalty += BLANK * count(blanks) + BLANK_AFTER * count(blanks_after);

        let indent = split.indent.or(split.indent_after);
        // -1 stands for "no line", as a real indentation is never below 0.
        self.indent += indent.map_or(-1, count);
        let weigh = |(plain, with_blanks)| if blanks == 0 { plain } else { with_blanks };
        self.penalty += match (split.indent_before, indent) {
            (None, _) | (_, None) => 0,
            (Some(before), Some(here)) if here > before => weigh(INDENT),
            (Some(before), Some(here)) if here == before => 0,
            (Some(_), Some(here)) if split.indent_after.is_some_and(|after| after > here) => {
                weigh(OUTDENT)
            }
            (Some(_), Some(_)) => weigh(DEDENT),
        };
    }

    pub(super) fn is_worse_than(&self, other: &Self) -> bool {
        INDENT_WEIGHT * (self.indent - other.indent).signum() + (self.penalty - other.penalty) > 0
    }
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indentation_counts_columns_up_to_its_limit() {
        assert_eq!(indent_of(b"x\n"), Some(0));
        assert_eq!(indent_of(b"  \tx"), Some(8));
        assert_eq!(indent_of(b"\t x"), Some(9));
        assert_eq!(indent_of(&[b' '; 300]), Some(200));
        assert_eq!(indent_of(b"\x0cx"), Some(0), "a form feed is text to git");
    }

    #[test]
    fn blank_lines_have_no_indentation() {
        assert_eq!(indent_of(b""), None);
        assert_eq!(indent_of(b" \t \r\n"), None);
    }

    fn score(lines: &[&str], split: usize) -> Score {
        let mut score = Score::default();
        score.add(&SplitMeasure::at(lines.len(), split, |line| {
            indent_of(lines[line].as_bytes())
        }));
        score
    }

    #[test]
    fn a_split_in_front_of_a_less_indented_line_is_better() {
        let lines = ["f", "  x", "  y", "g"];
        assert!(score(&lines, 2).is_worse_than(&score(&lines, 3)));
        assert!(score(&lines, 1).is_worse_than(&score(&lines, 3)));
    }

    #[test]
    fn a_split_behind_a_blank_line_is_better() {
        let lines = ["a", "", "b", "c"];
        assert!(score(&lines, 3).is_worse_than(&score(&lines, 2)));
    }

    #[test]
    fn the_ends_of_a_file_cost_a_little() {
        let lines = ["a", "b"];
        assert!(score(&lines, 0).is_worse_than(&score(&lines, 1)));
        assert!(!score(&lines, 0).is_worse_than(&score(&lines, 0)));
    }
}
