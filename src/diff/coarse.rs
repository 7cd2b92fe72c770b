//! The comparison for what could not be searched in time: `similar`, which keeps its own deadline.
//!
//! This is the only file that knows `similar`. It is not the first choice because it walks the diagonals
//! in another order than git and so often finds another script of the same length: over real version
//! pairs a quarter of the files got a patch that differs from git's. For a part that is too hard to
//! search it gives a good script quickly and at its deadline a plain replacement.

use std::convert::Infallible;
use std::ops::Range;
use std::time::Instant;

use similar::Algorithm;
use similar::algorithms::{DiffHook, diff_slices_deadline};

use super::Side;

/// Calls `changed` with the elements that are not common to both sequences.
pub(super) fn compare(
    old: &[u32],
    new: &[u32],
    deadline: Option<Instant>,
    changed: impl FnMut(Side, Range<usize>),
) {
    let mut report = Report { changed };
    match diff_slices_deadline(Algorithm::Myers, &mut report, old, new, deadline) {
        Ok(()) => {}
    }
}

struct Report<F> {
    changed: F,
}

impl<F: FnMut(Side, Range<usize>)> DiffHook for Report<F> {
    type Error = Infallible;

    fn delete(&mut self, old: usize, length: usize, _new: usize) -> Result<(), Infallible> {
        (self.changed)(Side::Old, old..old + length);
        Ok(())
    }

    fn insert(&mut self, _old: usize, new: usize, length: usize) -> Result<(), Infallible> {
        (self.changed)(Side::New, new..new + length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn compare_until(
        old: &[u32],
        new: &[u32],
        deadline: Option<Instant>,
    ) -> Vec<(Side, Range<usize>)> {
        let mut found = Vec::new();
        compare(old, new, deadline, |side, range| {
            found.push((side, range));
        });
        found.sort_by_key(|(side, _)| *side == Side::New);
        found
    }

    #[test]
    fn common_elements_are_not_reported() {
        assert_eq!(
            compare_until(&[1, 2, 3], &[1, 4, 3], None),
            [(Side::Old, 1..2), (Side::New, 1..2)]
        );
    }

    #[test]
    fn behind_the_deadline_a_part_is_replaced() {
        let past = Instant::now().checked_sub(Duration::from_secs(1));
        assert!(past.is_some());
        assert_eq!(
            compare_until(&[1, 2, 3, 4], &[2, 1, 4, 3], past),
            [(Side::Old, 0..4), (Side::New, 0..4)]
        );
    }
}
