//! The edit script between two contents: which lines of each side are changed, as git finds them.

use std::ops::Range;

use super::Limits;
use super::Side;
use super::lines::{Lines, Numbered};
use super::search::search;
use super::select::{common_ends, select};
use super::sliders::{Kept, slide};

/// A run of lines of the old side replaced by a run of the new side; one of them may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) old: Range<usize>,
    pub(super) new: Range<usize>,
}

/// The number of lines added and of lines deleted, without placing them.
pub(super) fn count(old: &Lines<'_>, new: &Lines<'_>, limits: &Limits) -> (usize, usize) {
    if old.len() == 0 || new.len() == 0 {
        return (new.len(), old.len());
    }
    let marks = Marks::between(&Numbered::of(old, new), limits);
    let count = |flags: &[bool]| flags.iter().filter(|changed| **changed).count();
    (count(&marks.new), count(&marks.old))
}

/// The edits in order, placed where git shows them.
pub(super) fn edits(old: &Lines<'_>, new: &Lines<'_>, limits: &Limits) -> Vec<Edit> {
    if old.len() == 0 || new.len() == 0 {
        let whole = Edit {
            old: 0..old.len(),
            new: 0..new.len(),
        };
        return Some(whole).into_iter().filter(Edit::is_change).collect();
    }
    let numbered = Numbered::of(old, new);
    let marks = Marks::between(&numbered, limits);
    let mut old_kept = Kept::of(&marks.old);
    let mut new_kept = Kept::of(&marks.new);
    slide(&mut old_kept, &numbered.old, &new_kept, old);
    slide(&mut new_kept, &numbered.new, &old_kept, new);
    (0..old_kept.groups())
        .map(|group| Edit {
            old: old_kept.start(group)..old_kept.end(group),
            new: new_kept.start(group)..new_kept.end(group),
        })
        .filter(Edit::is_change)
        .collect()
}

impl Edit {
    fn is_change(&self) -> bool {
        !self.old.is_empty() || !self.new.is_empty()
    }
}

/// By line, whether it is changed. Both sides have the same number of unchanged lines.
struct Marks {
    old: Vec<bool>,
    new: Vec<bool>,
}

impl Marks {
    fn between(numbered: &Numbered, limits: &Limits) -> Self {
        let (prefix, suffix) = common_ends(&numbered.old, &numbered.new);
        let (old, new) = select(numbered, prefix, suffix);
        let mut marks = Self {
            old: changed_between(numbered.old.len(), prefix, suffix),
            new: changed_between(numbered.new.len(), prefix, suffix),
        };
        // Until the search says otherwise the selected lines are unchanged.
        set(&mut marks.old, &old.indices, false);
        set(&mut marks.new, &new.indices, false);
        search(&old.numbers, &new.numbers, limits, |side, range| {
            let (flags, indices) = match side {
                Side::Old => (&mut marks.old, &old.indices),
                Side::New => (&mut marks.new, &new.indices),
            };
            set(flags, indices.get(range).unwrap_or_default(), true);
        });
        marks
    }
}

/// Flags for a file whose common ends are unchanged and whose other lines are changed.
fn changed_between(length: usize, prefix: usize, suffix: usize) -> Vec<bool> {
    let mut flags = vec![false; length];
    if let Some(middle) = flags.get_mut(prefix..length.saturating_sub(suffix)) {
        middle.fill(true);
    }
    flags
}

fn set(flags: &mut [bool], indices: &[usize], value: bool) {
    for &index in indices {
        if let Some(flag) = flags.get_mut(index) {
            *flag = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn edits_of(old: &str, new: &str) -> Vec<(Range<usize>, Range<usize>)> {
        edits(
            &Lines::of(old.as_bytes()),
            &Lines::of(new.as_bytes()),
            &Limits::default(),
        )
        .into_iter()
        .map(|edit| (edit.old, edit.new))
        .collect()
    }

    #[test]
    fn equal_contents_have_no_edit() {
        assert_eq!(edits_of("", ""), []);
        assert_eq!(edits_of("a\nb\n", "a\nb\n"), []);
    }

    #[test]
    fn an_empty_side_is_one_edit() {
        assert_eq!(edits_of("", "a\nb"), [(0..0, 0..2)]);
        assert_eq!(edits_of("a\n", ""), [(0..1, 0..0)]);
    }

    #[test]
    fn a_replaced_line_is_one_edit() {
        assert_eq!(edits_of("a\nb\nc\n", "a\nx\nc\n"), [(1..2, 1..2)]);
    }

    #[test]
    fn a_function_added_behind_an_equal_end_is_placed_as_a_whole() {
        // Without the heuristic the edit would start at the first closing brace's next line and end in
        // the middle of the second function.
        let old = "f() {\n  a\n}\n\ng() {\n  a\n}\n";
        let new = "f() {\n  a\n}\n\nh() {\n  a\n}\n\ng() {\n  a\n}\n";
        assert_eq!(edits_of(old, new), [(4..4, 4..8)]);
    }

    fn content() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0_u8..6, 0..60).prop_map(|lines| {
            lines
                .iter()
                .flat_map(|line| [b' ', b'a' + line, b'\n'])
                .skip(1)
                .collect()
        })
    }

    proptest! {
        #[test]
        fn edits_turn_the_old_side_into_the_new_one(old in content(), new in content(), timeout in proptest::option::of(Just(Duration::ZERO))) {
            let limits = Limits { timeout, ..Limits::default() };
            let (old_lines, new_lines) = (Lines::of(&old), Lines::of(&new));
            let mut built: Vec<u8> = Vec::new();
            let mut at = 0;
            let edits = edits(&old_lines, &new_lines, &limits);
            for edit in &edits {
                (at..edit.old.start).for_each(|line| built.extend(old_lines.get(line)));
                edit.new.clone().for_each(|line| built.extend(new_lines.get(line)));
                at = edit.old.end;
            }
            (at..old_lines.len()).for_each(|line| built.extend(old_lines.get(line)));
            prop_assert_eq!(&built, &new);

            let total = edits.iter().fold((0, 0), |sum, edit| (sum.0 + edit.new.len(), sum.1 + edit.old.len()));
            prop_assert_eq!(total, count(&old_lines, &new_lines, &limits), "placing keeps the counts");
        }
    }
}
