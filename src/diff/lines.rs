//! Two contents as sequences of lines, with equal lines under equal numbers.
//!
//! Everything above compares numbers instead of bytes. A line includes its line feed, so a last line
//! without one differs from the same text with one, as in git. Pure: borrows the contents, does no I/O.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The lines of one content.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    content: &'a [u8],
    /// Where each line ends, behind its line feed.
    ends: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(content: &'a [u8]) -> Self {
        let mut ends: Vec<usize> = bstr::ByteSlice::find_iter(content, b"\n")
            .map(|at| at + 1)
            .collect();
        if !content.is_empty() && ends.last() != Some(&content.len()) {
            ends.push(content.len());
        }
        Self { content, ends }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The line with this index, empty behind the last one.
    pub(super) fn get(&self, index: usize) -> &'a [u8] {
        let start = match index.checked_sub(1) {
            None => 0,
            Some(before) => self.ends.get(before).copied().unwrap_or(usize::MAX),
        };
        self.ends
            .get(index)
            .and_then(|&end| self.content.get(start..end))
            .unwrap_or_default()
    }
}

/// How often a line occurs on each side.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Occurrences {
    pub(super) old: u32,
    pub(super) new: u32,
}

/// Both sides as numbers; equal numbers stand for equal lines.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) old: Vec<u32>,
    pub(super) new: Vec<u32>,
    /// By number.
    pub(super) occurrences: Vec<Occurrences>,
}

impl Numbered {
    pub(super) fn of(old: &Lines<'_>, new: &Lines<'_>) -> Self {
        let mut numbering = Numbering {
            // std's keyed hash: the contents come from a target that may be hostile.
            numbers: HashMap::with_capacity(old.len().max(new.len())),
            occurrences: Vec::with_capacity(old.len()),
        };
        let old = numbering.number(old, |occurrences| occurrences.old += 1);
        let new = numbering.number(new, |occurrences| occurrences.new += 1);
        Self {
            old,
            new,
            occurrences: numbering.occurrences,
        }
    }
}

struct Numbering<'a> {
    numbers: HashMap<&'a [u8], u32>,
    occurrences: Vec<Occurrences>,
}

impl<'a> Numbering<'a> {
    fn number(&mut self, lines: &Lines<'a>, count: fn(&mut Occurrences)) -> Vec<u32> {
        (0..lines.len())
            .map(|index| {
                // More lines than u32 counts would need a content above the size limit.
                let next = u32::try_from(self.occurrences.len()).unwrap_or(u32::MAX);
                let number = match self.numbers.entry(lines.get(index)) {
                    Entry::Occupied(entry) => *entry.get(),
                    Entry::Vacant(entry) => {
                        self.occurrences.push(Occurrences::default());
                        *entry.insert(next)
                    }
                };
                if let Some(occurrences) = self.occurrences.get_mut(number as usize) {
                    count(occurrences);
                }
                number
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(content: &[u8]) -> Vec<&[u8]> {
        let lines = Lines::of(content);
        (0..lines.len()).map(|index| lines.get(index)).collect()
    }

    #[test]
    fn a_line_keeps_its_line_feed_and_the_last_may_have_none() {
        assert_eq!(split(b"a\n\nb"), [&b"a\n"[..], b"\n", b"b"]);
        assert_eq!(split(b"a\r\n"), [b"a\r\n"]);
        assert_eq!(split(b""), [b""; 0]);
    }

    #[test]
    fn a_line_behind_the_last_is_empty() {
        assert_eq!(Lines::of(b"a\n").get(1), b"");
        assert_eq!(Lines::of(b"a\n").get(7), b"");
    }

    #[test]
    fn equal_lines_have_equal_numbers_and_are_counted_by_side() {
        let numbered = Numbered::of(&Lines::of(b"a\nb\na\n"), &Lines::of(b"b\na"));
        assert_eq!(numbered.old, [0, 1, 0]);
        assert_eq!(
            numbered.new,
            [1, 2],
            "`a` without a line feed is another line"
        );
        let counts: Vec<_> = numbered
            .occurrences
            .iter()
            .map(|of| (of.old, of.new))
            .collect();
        assert_eq!(counts, [(2, 0), (1, 1), (0, 1)]);
    }
}
