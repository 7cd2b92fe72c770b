//! Moves groups of changed lines to where git shows them.
//!
//! Where a block of lines is added after an equal one, several placements give the same result: the
//! group can slide. git slides each group as far down as it goes, joining groups that touch, and then
//! either back up to where a group of the other side stands, or to the placement that reads best by the
//! *indent heuristic* (default since git 2.14; described in the message of git's commit 433860f3d0).
//!
//! A side is kept as the positions of its unchanged lines; group `g` is what lies between the unchanged
//! lines `g - 1` and `g`, so both sides have the same number of groups and group `g` of one side
//! stands across from group `g` of the other. A slide over one unchanged line moves that line to the
//! other end of the group, and groups that meet become one by themselves.

use super::indent::{Score, SplitMeasure, indent_of};
use super::lines::Lines;

/// How far down from its lowest place the indent heuristic looks for a better one.
const LONGEST_SLIDE: usize = 100;

/// One side of a diff: where its unchanged lines stand.
#[derive(Debug)]
pub(super) struct Kept {
    /// Behind each unchanged line; 0 in front, and behind the end of the file plus one at the back.
    bounds: Vec<usize>,
}

impl Kept {
    /// From the flags of changed lines.
    pub(super) fn of(changed: &[bool]) -> Self {
        let mut bounds = vec![0];
        bounds.extend(
            changed
                .iter()
                .enumerate()
                .filter(|(_, changed)| !**changed)
                .map(|(index, _)| index + 1),
        );
        bounds.push(changed.len() + 1);
        Self { bounds }
    }

    /// How many groups there are, most of them empty.
    pub(super) fn groups(&self) -> usize {
        self.bounds.len() - 1
    }

    fn bound(&self, index: usize) -> usize {
        self.bounds.get(index).copied().unwrap_or(usize::MAX)
    }

    fn set_bound(&mut self, index: usize, value: usize) {
        if let Some(bound) = self.bounds.get_mut(index) {
            *bound = value;
        }
    }

    /// The first line of a group.
    pub(super) fn start(&self, group: usize) -> usize {
        self.bound(group)
    }

    /// The line behind a group.
    pub(super) fn end(&self, group: usize) -> usize {
        self.bound(group + 1) - 1
    }

    fn len_of(&self, group: usize) -> usize {
        self.end(group) - self.start(group)
    }

    fn is_empty(&self, group: usize) -> bool {
        self.len_of(group) == 0
    }
}

/// Slides the groups of one side; `other` is only read.
pub(super) fn slide(kept: &mut Kept, numbers: &[u32], other: &Kept, lines: &Lines<'_>) {
    let mut group = 0;
    while group < kept.groups() {
        if !kept.is_empty(group) {
            group = slide_group(kept, numbers, other, lines, group);
        }
        group += 1;
    }
}

/// Slides one group and returns its number, which counts the unchanged lines in front of it.
fn slide_group(
    kept: &mut Kept,
    numbers: &[u32],
    other: &Kept,
    lines: &Lines<'_>,
    mut group: usize,
) -> usize {
    let mut highest;
    // Where the group last stood across from one of the other side.
    let mut across;
    loop {
        let length = kept.len_of(group);
        while slide_up(kept, numbers, group) {
            group -= 1;
        }
        highest = kept.end(group);
        across = !other.is_empty(group);
        while slide_down(kept, numbers, group) {
            group += 1;
            across |= !other.is_empty(group);
        }
        // A group that grew has met another one and can perhaps go further.
        if kept.len_of(group) == length {
            break;
        }
    }
    if kept.end(group) == highest {
        return group;
    }
    if across {
        while other.is_empty(group) && slide_up(kept, numbers, group) {
            group -= 1;
        }
        return group;
    }
    let best = best_end(kept, lines, group, highest);
    while kept.end(group) > best && slide_up(kept, numbers, group) {
        group -= 1;
    }
    group
}

/// Moves the unchanged line in front of the group behind it, when it equals the group's last line.
fn slide_up(kept: &mut Kept, numbers: &[u32], group: usize) -> bool {
    let (start, end) = (kept.start(group), kept.end(group));
    if group == 0 || start == 0 || !equal(numbers, start - 1, end - 1) {
        return false;
    }
    kept.set_bound(group, end);
    true
}

/// Moves the unchanged line behind the group in front of it, when it equals the group's first line.
fn slide_down(kept: &mut Kept, numbers: &[u32], group: usize) -> bool {
    let (start, end) = (kept.start(group), kept.end(group));
    if end >= numbers.len() || !equal(numbers, start, end) {
        return false;
    }
    kept.set_bound(group + 1, start + 1);
    true
}

fn equal(numbers: &[u32], left: usize, right: usize) -> bool {
    numbers.get(left) == numbers.get(right)
}

/// The end of the group in the placement that reads best; the lowest of equally good ones.
fn best_end(kept: &Kept, lines: &Lines<'_>, group: usize, highest: usize) -> usize {
    let lowest = kept.end(group);
    let length = kept.len_of(group);
    // Further up than its own length the placements repeat.
    let first = highest
        .max(lowest.saturating_sub(length + 1))
        .max(lowest.saturating_sub(LONGEST_SLIDE));
    let mut best: Option<(Score, usize)> = None;
    for end in first..=lowest {
        let mut score = Score::default();
        score.add(&SplitMeasure::at(lines.len(), end, |line| {
            indent_of(lines.get(line))
        }));
        score.add(&SplitMeasure::at(lines.len(), end - length, |line| {
            indent_of(lines.get(line))
        }));
        if best
            .as_ref()
            .is_none_or(|(least, _)| !score.is_worse_than(least))
        {
            best = Some((score, end));
        }
    }
    best.map_or(lowest, |(_, end)| end)
}

#[cfg(test)]
mod tests {
    use super::super::lines::Numbered;
    use super::*;

    /// Slides the groups of the new side, marked with `+`, and shows the result in the same way.
    fn slid(marked: &[&str]) -> Vec<String> {
        let changed: Vec<bool> = marked.iter().map(|line| line.starts_with('+')).collect();
        let text = |keep: &dyn Fn(bool) -> bool| -> String {
            marked
                .iter()
                .filter(|line| keep(line.starts_with('+')))
                .flat_map(|line| [&line[1..], "\n"])
                .collect()
        };
        let (old, new) = (text(&|changed| !changed), text(&|_| true));
        let (old, new) = (Lines::of(old.as_bytes()), Lines::of(new.as_bytes()));
        let numbered = Numbered::of(&old, &new);
        let mut kept = Kept::of(&changed);
        let other = Kept::of(&vec![false; old.len()]);
        slide(&mut kept, &numbered.new, &other, &new);
        let mut shown: Vec<String> = marked
            .iter()
            .map(|line| format!(" {}", &line[1..]))
            .collect();
        for group in 0..kept.groups() {
            for line in &mut shown[kept.start(group)..kept.end(group)] {
                line.replace_range(..1, "+");
            }
        }
        shown
    }

    #[test]
    fn equal_lines_are_added_at_their_end() {
        assert_eq!(slid(&["+a", " a", " a", " b"]), [" a", " a", "+a", " b"]);
    }

    #[test]
    fn groups_that_meet_become_one() {
        assert_eq!(slid(&["+a", " a", "+b", " c"]), [" a", "+a", "+b", " c"]);
    }

    #[test]
    fn a_block_begins_where_it_is_indented_least() {
        assert_eq!(
            slid(&[" f() {", "   x", "+}", "+g() {", "+  x", " }", " h"]),
            [" f() {", "   x", " }", "+g() {", "+  x", "+}", " h"]
        );
    }

    #[test]
    fn a_blank_line_goes_behind_the_block_that_it_ends() {
        assert_eq!(
            slid(&[" a() {", " }", "+", "+b() {", "+}", " ", " c() {", " }"]),
            [" a() {", " }", " ", "+b() {", "+}", "+", " c() {", " }"]
        );
    }

    #[test]
    fn a_group_goes_back_to_one_across_from_it() {
        // An `a` replaces the old side's `x`; alone it would be shown behind the other two.
        let (old, new) = (Lines::of(b"x\na\na\n"), Lines::of(b"a\na\na\n"));
        let numbered = Numbered::of(&old, &new);
        let other = Kept::of(&[true, false, false]);
        let mut kept = Kept::of(&[false, false, true]);
        slide(&mut kept, &numbered.new, &other, &new);
        assert_eq!((kept.start(0), kept.end(0)), (0, 1));
    }
}
