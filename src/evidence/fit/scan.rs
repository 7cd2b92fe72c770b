//! The one pass over all commits, and the best of them.

use std::{cmp::Reverse, collections::HashMap};

use super::{
    Answer, is_set,
    plan::{Blobs, Expected, Plan},
};
use crate::history::{Change, History};

/// What a commit comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Score {
    pub(super) sum: u32,
    pub(super) missing: u32,
    /// Tells apart which files are equal and which are missing.
    pub(super) mark: u64,
}

/// The sums of all commits: for commit `n` those from `n * slots` on.
struct States {
    sums: Vec<u32>,
    marks: Vec<u64>,
    slots: usize,
}

/// Scores the commits that are reachable; the others are nothing.
pub(super) fn scan(history: &History, plan: &Plan, reachable: &[bool]) -> Vec<Score> {
    let slots = plan.slots;
    let mut states = States {
        sums: vec![0; history.len() * slots],
        marks: vec![0; history.len() * slots],
        slots,
    };
    let mut scores = vec![Score::default(); history.len()];
    for commit in history.commits() {
        if slots == 0 || !is_set(reachable, commit.number) {
            continue;
        }
        let (sums, marks) = states.start(commit.number, commit.base);
        for change in commit.changes {
            for expected in plan.expected(change.path) {
                apply(*change, expected, sums, marks);
            }
        }
        if let Some(score) = scores.get_mut(commit.number as usize) {
            *score = combine(plan, sums, marks);
        }
    }
    scores
}

impl States {
    /// The sums of a commit, begun with those of its base.
    fn start(&mut self, number: u32, base: Option<u32>) -> (&mut [u32], &mut [u64]) {
        let at = number as usize * self.slots;
        if let Some(base) = base {
            let base = base as usize * self.slots;
            self.sums.copy_within(base..base + self.slots, at);
            self.marks.copy_within(base..base + self.slots, at);
        }
        (
            self.sums.get_mut(at..at + self.slots).unwrap_or_default(),
            self.marks.get_mut(at..at + self.slots).unwrap_or_default(),
        )
    }
}

fn apply(change: Change, expected: &Expected, sums: &mut [u32], marks: &mut [u64]) {
    let counts = |blob: Option<u32>| match (blob, &expected.blobs) {
        (None, _) => false,
        (Some(_), Blobs::Any) => true,
        (Some(blob), Blobs::Of(blobs)) => blobs.contains(&blob),
        (Some(blob), Blobs::OtherThan(blobs)) => !blobs.contains(&blob),
    };
    let (before, after) = (counts(change.before()), counts(change.after()));
    if before == after {
        return;
    }
    let (Some(sum), Some(mark)) = (sums.get_mut(expected.slot), marks.get_mut(expected.slot))
    else {
        return;
    };
    *mark ^= expected.mark;
    *sum = if after {
        sum.saturating_add(expected.weight)
    } else {
        sum.saturating_sub(expected.weight)
    };
}

fn combine(plan: &Plan, sums: &[u32], marks: &[u64]) -> Score {
    let sum = |slot: usize| sums.get(slot).copied().unwrap_or(0);
    let mark = |slot: usize| marks.get(slot).copied().unwrap_or(0);
    let mut score = Score::default();
    let mut used = vec![false; plan.missing.len()];
    for region in &plan.regions {
        // The first of several equal ones: the better mapping.
        let best = region
            .iter()
            .max_by_key(|part| (sum(part.slot), Reverse(part.slot)));
        let Some(best) = best.filter(|best| sum(best.slot) > 0) else {
            continue;
        };
        score.sum += sum(best.slot);
        score.mark ^= mark(best.slot);
        if let Some(used) = best.mapping.and_then(|mapping| used.get_mut(mapping)) {
            *used = true;
        }
    }
    for (slot, used) in plan.missing.iter().zip(used) {
        if used {
            score.missing += sum(*slot);
            score.mark ^= mark(*slot);
        }
    }
    score
}

/// The best answers among some commits. Of equal ones, `prefer` decides.
pub(super) fn best<K: Ord>(
    scores: &[Score],
    limit: usize,
    among: &dyn Fn(u32) -> bool,
    prefer: &dyn Fn(&[u32]) -> K,
) -> Vec<Answer> {
    let numbered = || {
        let all = (0_u32..).zip(scores);
        all.filter(|(number, score)| score.sum > 0 && among(*number))
    };
    let mut ranks: Vec<(Reverse<u32>, u32)> = numbered()
        .map(|(_, score)| (Reverse(score.sum), score.missing))
        .collect();
    ranks.sort_unstable();
    ranks.dedup();
    ranks.truncate(limit);
    let Some(worst) = ranks.last() else {
        return Vec::new();
    };
    let mut groups: HashMap<Score, Vec<u32>> = HashMap::new();
    for (number, score) in numbered() {
        if (Reverse(score.sum), score.missing) <= *worst {
            groups.entry(*score).or_default().push(number);
        }
    }
    let mut answers: Vec<Answer> = groups
        .into_iter()
        .map(|(score, commits)| Answer {
            score: score.sum,
            missing: score.missing,
            commits,
        })
        .collect();
    answers.sort_by_cached_key(|answer| {
        let preference = Reverse(prefer(&answer.commits));
        (Reverse(answer.score), answer.missing, preference)
    });
    answers.truncate(limit);
    answers
}
