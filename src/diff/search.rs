//! The search for an edit script: Myers' divide and conquer, in the order in which git walks it.
//!
//! Two sequences usually have many shortest edit scripts, and which one is found depends on the order in
//! which the diagonals of the edit graph are walked and on how ties are broken. The paper (Myers, "An
//! O(ND) Difference Algorithm and Its Variations", 1986, section 4b) leaves both open; here they are
//! as in git, so that the same lines are marked:
//!
//! - from both ends the diagonals are walked from the highest to the lowest;
//! - with equal reach a line of the old side is taken;
//! - the box is split where the two searches meet, behind the snake that made them meet;
//! - a search that has become expensive stops at a long snake far from its corner, and one that costs
//!   more than the square root of the input stops where it came furthest.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::select::rough_square_root;
use super::{Limits, Side, coarse};

/// A run of equal lines that is long enough to split at when the search is expensive.
const LONG_SNAKE: isize = 20;
/// The cost from which such a split is taken.
const EXPENSIVE: isize = 256;
/// The cost at which any search ends, at least.
const GIVE_UP_AT_LEAST: usize = 256;
/// How much further than its cost a path must have come to be split at.
const PROGRESS_FACTOR: isize = 4;
/// How many steps pass between two looks at the clock.
const STEPS_PER_CLOCK: isize = 32;

/// Finds which elements are not common to both sequences and calls `changed` with their ranges.
///
/// What is not searched when three quarters of the time are over is left to [`coarse`].
pub(super) fn search(
    old: &[u32],
    new: &[u32],
    limits: &Limits,
    mut changed: impl FnMut(Side, Range<usize>),
) {
    let end = limits.deadline();
    let reserve = limits.timeout.unwrap_or(Duration::ZERO) / 4;
    let deadline = end.and_then(|end| end.checked_sub(reserve));
    let mut search = Search::new(old, new, deadline);
    let mut pending = vec![(Region::whole(old, new), false)];
    while let Some((region, exact)) = pending.pop() {
        let region = region.without_common_ends(old, new);
        let (old_range, new_range) = (range(&region.old), range(&region.new));
        if old_range.is_empty() || new_range.is_empty() {
            changed(Side::Old, old_range);
            changed(Side::New, new_range);
        } else if let Some(split) = search.split(&region, exact) {
            let (low, high) = region.at(split.point);
            pending.push((high, split.exact_high));
            pending.push((low, split.exact_low));
        } else {
            let (old_start, new_start) = (old_range.start, new_range.start);
            let old = old.get(old_range).unwrap_or_default();
            let new = new.get(new_range).unwrap_or_default();
            coarse::compare(old, new, end, |side, range| {
                let start = match side {
                    Side::Old => old_start,
                    Side::New => new_start,
                };
                changed(side, start + range.start..start + range.end);
            });
        }
    }
}

/// A box of the edit graph. Signed, since diagonals are differences of positions.
#[derive(Clone, Debug)]
struct Region {
    old: Range<isize>,
    new: Range<isize>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    old: isize,
    new: isize,
}

/// Where a box is split, and whether the parts must be searched without shortcuts.
struct Split {
    point: Point,
    exact_low: bool,
    exact_high: bool,
}

fn signed(position: usize) -> isize {
    isize::try_from(position).unwrap_or(isize::MAX)
}

fn unsigned(position: isize) -> usize {
    usize::try_from(position).unwrap_or(0)
}

fn range(signed: &Range<isize>) -> Range<usize> {
    unsigned(signed.start)..unsigned(signed.end)
}

impl Region {
    fn whole(old: &[u32], new: &[u32]) -> Self {
        Self {
            old: 0..signed(old.len()),
            new: 0..signed(new.len()),
        }
    }

    fn without_common_ends(mut self, old: &[u32], new: &[u32]) -> Self {
        let prefix = common_prefix(
            old.get(range(&self.old)).unwrap_or_default().iter(),
            new.get(range(&self.new)).unwrap_or_default().iter(),
        );
        self.old.start += prefix;
        self.new.start += prefix;
        let suffix = common_prefix(
            old.get(range(&self.old)).unwrap_or_default().iter().rev(),
            new.get(range(&self.new)).unwrap_or_default().iter().rev(),
        );
        self.old.end -= suffix;
        self.new.end -= suffix;
        self
    }

    fn at(self, point: Point) -> (Self, Self) {
        let low = Self {
            old: self.old.start..point.old,
            new: self.new.start..point.new,
        };
        let high = Self {
            old: point.old..self.old.end,
            new: point.new..self.new.end,
        };
        (low, high)
    }
}

fn common_prefix<'a>(
    old: impl Iterator<Item = &'a u32>,
    new: impl Iterator<Item = &'a u32>,
) -> isize {
    signed(old.zip(new).take_while(|(a, b)| a == b).count())
}

/// How far one of the two searches has come on each diagonal (old position less new position).
struct Front {
    /// The old position by diagonal.
    reach: Vec<isize>,
    /// What is added to a diagonal to get its index.
    shift: isize,
    /// The diagonals walked in this step, every other one of them.
    diagonals: Range<isize>,
    /// A reach that never wins against a real one.
    unreached: isize,
}

impl Front {
    fn new(old: usize, new: usize, unreached: isize) -> Self {
        Self {
            reach: vec![unreached; old + new + 3],
            shift: signed(new) + 1,
            diagonals: 0..0,
            unreached,
        }
    }

    fn begin(&mut self, corner: Point) {
        let diagonal = corner.old - corner.new;
        self.diagonals = diagonal..diagonal + 1;
        self.set(diagonal, corner.old);
    }

    /// Goes one diagonal further on both sides, or back by one where the box ends.
    fn widen(&mut self, bounds: &Range<isize>) {
        if self.diagonals.start > bounds.start {
            self.diagonals.start -= 1;
            self.set(self.diagonals.start - 1, self.unreached);
        } else {
            self.diagonals.start += 1;
        }
        if self.diagonals.end < bounds.end {
            self.diagonals.end += 1;
            self.set(self.diagonals.end, self.unreached);
        } else {
            self.diagonals.end -= 1;
        }
    }

    /// The diagonals of this step from the highest to the lowest.
    fn descending(&self) -> impl Iterator<Item = isize> + use<> {
        self.diagonals.clone().rev().step_by(2)
    }

    fn get(&self, diagonal: isize) -> isize {
        self.reach
            .get(unsigned(diagonal + self.shift))
            .copied()
            .unwrap_or(self.unreached)
    }

    fn set(&mut self, diagonal: isize, reach: isize) {
        if let Some(entry) = self.reach.get_mut(unsigned(diagonal + self.shift)) {
            *entry = reach;
        }
    }

    fn point(&self, diagonal: isize) -> Point {
        let old = self.get(diagonal);
        Point {
            old,
            new: old - diagonal,
        }
    }
}

struct Search<'a> {
    old: &'a [u32],
    new: &'a [u32],
    deadline: Option<Instant>,
    give_up: isize,
    forward: Front,
    backward: Front,
}

impl<'a> Search<'a> {
    fn new(old: &'a [u32], new: &'a [u32], deadline: Option<Instant>) -> Self {
        let give_up = rough_square_root(old.len() + new.len() + 3).max(GIVE_UP_AT_LEAST);
        Self {
            old,
            new,
            deadline,
            give_up: signed(give_up),
            forward: Front::new(old.len(), new.len(), -1),
            backward: Front::new(old.len(), new.len(), isize::MAX),
        }
    }

    /// Splits a box whose corners differ; `None` when the deadline has passed.
    fn split(&mut self, region: &Region, exact: bool) -> Option<Split> {
        let start = Point {
            old: region.old.start,
            new: region.new.start,
        };
        let end = Point {
            old: region.old.end,
            new: region.new.end,
        };
        let bounds = start.old - end.new..end.old - start.new + 1;
        // Paths of both searches can only meet in the forward half of a step or only in the other one.
        let meets_forward = ((start.old - start.new) - (end.old - end.new)) % 2 != 0;
        self.forward.begin(start);
        self.backward.begin(end);
        for cost in 1.. {
            if cost % STEPS_PER_CLOCK == 1
                && self
                    .deadline
                    .is_some_and(|deadline| Instant::now() > deadline)
            {
                return None;
            }
            let mut long_snake = false;
            self.forward.widen(&bounds);
            for diagonal in self.forward.descending() {
                let (point, snake) = self.step_forward(diagonal, end);
                long_snake |= snake > LONG_SNAKE;
                if meets_forward
                    && self.backward.diagonals.contains(&diagonal)
                    && self.backward.get(diagonal) <= point.old
                {
                    return Some(Split::met(point));
                }
            }
            self.backward.widen(&bounds);
            for diagonal in self.backward.descending() {
                let (point, snake) = self.step_backward(diagonal, start);
                long_snake |= snake > LONG_SNAKE;
                if !meets_forward
                    && self.forward.diagonals.contains(&diagonal)
                    && point.old <= self.forward.get(diagonal)
                {
                    return Some(Split::met(point));
                }
            }
            if exact {
                continue;
            }
            if long_snake
                && cost > EXPENSIVE
                && let Some(split) = self.split_at_long_snake(start, end, cost)
            {
                return Some(split);
            }
            if cost >= self.give_up {
                return Some(self.split_at_furthest(start, end));
            }
        }
        None
    }

    /// Takes one edit and then all equal lines; also says how many those were.
    fn step_forward(&mut self, diagonal: isize, end: Point) -> (Point, isize) {
        let lower = self.forward.get(diagonal - 1);
        let higher = self.forward.get(diagonal + 1);
        let old = if lower >= higher { lower + 1 } else { higher };
        let new = old - diagonal;
        let snake = common_prefix(
            part(self.old, old..end.old).iter(),
            part(self.new, new..end.new).iter(),
        );
        let point = Point {
            old: old + snake,
            new: new + snake,
        };
        self.forward.set(diagonal, point.old);
        (point, snake)
    }

    fn step_backward(&mut self, diagonal: isize, start: Point) -> (Point, isize) {
        let lower = self.backward.get(diagonal - 1);
        let higher = self.backward.get(diagonal + 1);
        let old = if lower < higher { lower } else { higher - 1 };
        let new = old - diagonal;
        let snake = common_prefix(
            part(self.old, start.old..old).iter().rev(),
            part(self.new, start.new..new).iter().rev(),
        );
        let point = Point {
            old: old - snake,
            new: new - snake,
        };
        self.backward.set(diagonal, point.old);
        (point, snake)
    }

    /// Splits at a long snake on a path that has come far from its corner without leaving the middle.
    fn split_at_long_snake(&self, start: Point, end: Point, cost: isize) -> Option<Split> {
        let far = |travelled: isize, diagonal: isize, corner: Point| {
            let progress = travelled - (diagonal - (corner.old - corner.new)).abs();
            (progress > PROGRESS_FACTOR * cost).then_some(progress)
        };
        let mut best: Option<(isize, Point)> = None;
        for diagonal in self.forward.descending() {
            let point = self.forward.point(diagonal);
            let travelled = (point.old - start.old) + (point.new - start.new);
            let Some(progress) = far(travelled, diagonal, start) else {
                continue;
            };
            let inside = (start.old + LONG_SNAKE..end.old).contains(&point.old)
                && (start.new + LONG_SNAKE..end.new).contains(&point.new);
            if inside
                && best.is_none_or(|(most, _)| progress > most)
                && part(self.old, point.old - LONG_SNAKE..point.old)
                    == part(self.new, point.new - LONG_SNAKE..point.new)
            {
                best = Some((progress, point));
            }
        }
        if let Some((_, point)) = best {
            return Some(Split {
                point,
                exact_low: true,
                exact_high: false,
            });
        }
        for diagonal in self.backward.descending() {
            let point = self.backward.point(diagonal);
            let travelled = (end.old - point.old) + (end.new - point.new);
            let Some(progress) = far(travelled, diagonal, end) else {
                continue;
            };
            let inside = point.old > start.old
                && point.old <= end.old - LONG_SNAKE
                && point.new > start.new
                && point.new <= end.new - LONG_SNAKE;
            if inside
                && best.is_none_or(|(most, _)| progress > most)
                && part(self.old, point.old..point.old + LONG_SNAKE)
                    == part(self.new, point.new..point.new + LONG_SNAKE)
            {
                best = Some((progress, point));
            }
        }
        best.map(|(_, point)| Split {
            point,
            exact_low: false,
            exact_high: true,
        })
    }

    /// Splits where the search that came further from its corner came furthest.
    fn split_at_furthest(&self, start: Point, end: Point) -> Split {
        let mut forward = start;
        let mut most = -1;
        for diagonal in self.forward.descending() {
            let mut point = self.forward.point(diagonal);
            if point.old > end.old {
                point = on_diagonal(diagonal, end.old);
            }
            if point.new > end.new {
                point = on_diagonal(diagonal, end.new + diagonal);
            }
            if point.old + point.new > most {
                most = point.old + point.new;
                forward = point;
            }
        }
        let mut backward = end;
        let mut least = isize::MAX;
        for diagonal in self.backward.descending() {
            let mut point = self.backward.point(diagonal);
            if point.old < start.old {
                point = on_diagonal(diagonal, start.old);
            }
            if point.new < start.new {
                point = on_diagonal(diagonal, start.new + diagonal);
            }
            if point.old + point.new < least {
                least = point.old + point.new;
                backward = point;
            }
        }
        let forward_won = (end.old + end.new) - least < most - (start.old + start.new);
        Split {
            point: if forward_won { forward } else { backward },
            exact_low: forward_won,
            exact_high: !forward_won,
        }
    }
}

impl Split {
    /// Both searches met: the point lies on a shortest path.
    fn met(point: Point) -> Self {
        Self {
            point,
            exact_low: true,
            exact_high: true,
        }
    }
}

fn on_diagonal(diagonal: isize, old: isize) -> Point {
    Point {
        old,
        new: old - diagonal,
    }
}

/// The elements of a range that may lie outside of the sequence, where a path has left the box.
fn part(sequence: &[u32], range: Range<isize>) -> &[u32] {
    if range.start < 0 {
        return &[];
    }
    sequence
        .get(unsigned(range.start)..unsigned(range.end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(old: &[u32], new: &[u32], timeout: Option<Duration>) -> Vec<(Side, Range<usize>)> {
        let limits = Limits {
            timeout,
            ..Limits::default()
        };
        let mut found = Vec::new();
        search(old, new, &limits, |side, range| {
            if !range.is_empty() {
                found.push((side, range));
            }
        });
        found
    }

    /// What is left of both sequences without the changes.
    fn common(old: &[u32], new: &[u32], changes: &[(Side, Range<usize>)]) -> (Vec<u32>, Vec<u32>) {
        let left = |sequence: &[u32], of: Side| {
            let mut left: Vec<_> = sequence.iter().copied().map(Some).collect();
            for (_, range) in changes.iter().filter(|(side, _)| *side == of) {
                left[range.clone()].fill(None);
            }
            left.into_iter().flatten().collect()
        };
        (left(old, Side::Old), left(new, Side::New))
    }

    /// The length of the longest common subsequence, by the table of the textbooks.
    fn longest_common(old: &[u32], new: &[u32]) -> usize {
        let mut row = vec![0; new.len() + 1];
        for left in old {
            let mut diagonal = 0;
            for (index, right) in new.iter().enumerate() {
                let above = row[index + 1];
                row[index + 1] = if left == right {
                    diagonal + 1
                } else {
                    above.max(row[index])
                };
                diagonal = above;
            }
        }
        row[new.len()]
    }

    #[test]
    fn of_the_shortest_scripts_for_the_papers_example_gits_is_found() {
        // ABCABBA and CBABAC; `git diff` keeps C, B, B, A, others keep C, A, B, A or B, A, B, A.
        let (old, new) = ([1, 2, 3, 1, 2, 2, 1], [3, 2, 1, 2, 1, 3]);
        let (left, _) = common(&old, &new, &changes(&old, &new, None));
        assert_eq!(left, [3, 2, 2, 1]);
    }

    proptest::proptest! {
        #[test]
        fn small_sequences_get_a_shortest_script(
            old in proptest::collection::vec(0_u32..5, 0..40),
            new in proptest::collection::vec(0_u32..5, 0..40),
        ) {
            let (old_left, new_left) = common(&old, &new, &changes(&old, &new, None));
            proptest::prop_assert_eq!(&old_left, &new_left);
            proptest::prop_assert_eq!(old_left.len(), longest_common(&old, &new));
        }
    }

    fn scrambled(length: u32, seed: u32) -> Vec<u32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % 50
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn expensive_and_late_searches_still_find_a_common_sequence() {
        let (old, new) = (scrambled(4000, 1), scrambled(4000, 2));
        for timeout in [None, Some(Duration::ZERO), Some(Duration::from_millis(1))] {
            let (old_left, new_left) = common(&old, &new, &changes(&old, &new, timeout));
            assert_eq!(old_left, new_left, "with {timeout:?}");
        }
    }
}
