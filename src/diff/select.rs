//! Which lines take part in the search for an edit script.
//!
//! git leaves lines out before it searches: a line that the other side does not have can only be
//! changed, and a line that the other side has very often (a blank, a closing brace) among many such
//! lines only misleads the search. Leaving out the same lines is a condition for finding the same
//! script as git. The limits are git's (`XDL_SIMSCAN_WINDOW`, `XDL_KPDIS_RUN`, `XDL_MAX_EQLIMIT`).

use std::ops::Range;

use super::lines::Numbered;

/// How far git looks round a frequent line.
const WINDOW: usize = 100;
/// A frequent line is dropped when the lines round it are unmatched by this factor less one.
const UNMATCHED_FACTOR: usize = 4;
/// No line needs to occur more often than this to count as frequent.
const FREQUENT_AT_MOST: usize = 1024;

/// One side of what the search sees.
#[derive(Debug, Default)]
pub(super) struct Selected {
    /// The numbers of the lines that take part.
    pub(super) numbers: Vec<u32>,
    /// Where each of them stands in the file.
    pub(super) indices: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The other side does not have the line.
    Unmatched,
    Unique,
    /// The other side has the line too often for a match to mean much.
    Frequent,
}

/// How many lines at the start and at the end of both sides are equal.
pub(super) fn common_ends(old: &[u32], new: &[u32]) -> (usize, usize) {
    let prefix = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let suffix = old
        .iter()
        .skip(prefix)
        .rev()
        .zip(new.iter().skip(prefix).rev())
        .take_while(|(a, b)| a == b)
        .count();
    (prefix, suffix)
}

/// Selects the lines of both sides between the common ends.
pub(super) fn select(numbered: &Numbered, prefix: usize, suffix: usize) -> (Selected, Selected) {
    let old = select_side(
        &numbered.old,
        prefix..numbered.old.len().saturating_sub(suffix),
        |number| occurrences(numbered, number).1,
    );
    let new = select_side(
        &numbered.new,
        prefix..numbered.new.len().saturating_sub(suffix),
        |number| occurrences(numbered, number).0,
    );
    (old, new)
}

fn occurrences(numbered: &Numbered, number: u32) -> (usize, usize) {
    numbered
        .occurrences
        .get(number as usize)
        .map_or((0, 0), |count| (count.old as usize, count.new as usize))
}

fn select_side(
    numbers: &[u32],
    range: Range<usize>,
    on_other_side: impl Fn(u32) -> usize,
) -> Selected {
    let frequent = rough_square_root(numbers.len()).min(FREQUENT_AT_MOST);
    let start = range.start;
    let lines = numbers.get(range).unwrap_or_default();
    let uses: Vec<Use> = lines
        .iter()
        .map(|&number| match on_other_side(number) {
            0 => Use::Unmatched,
            count if count >= frequent => Use::Frequent,
            _ => Use::Unique,
        })
        .collect();
    let mut selected = Selected::default();
    for (offset, (&number, &line_use)) in lines.iter().zip(&uses).enumerate() {
        let keep = match line_use {
            Use::Unmatched => false,
            Use::Unique => true,
            Use::Frequent => !misleads(&uses, offset),
        };
        if keep {
            selected.numbers.push(number);
            selected.indices.push(start + offset);
        }
    }
    selected
}

/// Whether a frequent line stands among so many unmatched ones that matching it would mislead.
fn misleads(uses: &[Use], offset: usize) -> bool {
    let before = uses.get(..offset).unwrap_or_default();
    let after = uses.get(offset + 1..).unwrap_or_default();
    let (unmatched_before, frequent_before) = run(before.iter().rev());
    let (unmatched_after, frequent_after) = run(after.iter());
    if unmatched_before == 0 || unmatched_after == 0 {
        return false;
    }
    // The line itself counts once for each direction.
    let frequent = frequent_before + frequent_after + 2;
    let unmatched = unmatched_before + unmatched_after;
    frequent * UNMATCHED_FACTOR < frequent + unmatched
}

/// The unmatched and the frequent lines up to the next one that is neither.
fn run<'a>(uses: impl Iterator<Item = &'a Use>) -> (usize, usize) {
    uses.take(WINDOW)
        .take_while(|&&line_use| line_use != Use::Unique)
        .fold((0, 0), |(unmatched, frequent), line_use| match line_use {
            Use::Unmatched => (unmatched + 1, frequent),
            _ => (unmatched, frequent + 1),
        })
}

/// git's approximation of a square root: the power of two with half the bits, rounded up.
pub(super) fn rough_square_root(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    1 << bits.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::super::lines::Lines;
    use super::*;

    #[test]
    fn the_rough_square_root_is_a_power_of_two() {
        let roots = [0, 1, 3, 4, 15, 16, 100, 1 << 20].map(rough_square_root);
        assert_eq!(roots, [1, 2, 2, 4, 4, 8, 16, 2048]);
    }

    #[test]
    fn common_ends_do_not_overlap() {
        assert_eq!(common_ends(&[1, 1, 1], &[1, 1]), (2, 0));
        assert_eq!(common_ends(&[1, 2, 3], &[1, 9, 8, 3]), (1, 1));
        assert_eq!(common_ends(&[], &[1]), (0, 0));
    }

    #[test]
    fn lines_of_one_side_only_take_no_part() {
        let numbered = Numbered::of(&Lines::of(b"a\nb\nc\n"), &Lines::of(b"c\nx\na\n"));
        let (old, new) = select(&numbered, 0, 0);
        assert_eq!(old.indices, [0, 2]);
        assert_eq!(new.indices, [0, 2]);
        assert_eq!(old.numbers, [0, 2]);
    }

    #[test]
    fn a_frequent_line_among_unmatched_ones_takes_no_part() {
        let unmatched = "only here\n".repeat(20);
        let old = format!("{unmatched}}}\n{unmatched}");
        let new = "}\n".repeat(100);
        let numbered = Numbered::of(&Lines::of(old.as_bytes()), &Lines::of(new.as_bytes()));
        let (old, new) = select(&numbered, 0, 0);
        assert!(old.numbers.is_empty());
        assert_eq!(new.numbers.len(), 100, "one occurrence is not frequent");
    }
}
