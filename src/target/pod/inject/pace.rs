//! When to try again to run the agent in a container that may not be there yet.
//!
//! An attempt in a container that is not there is refused after a round trip or two, and one that is not refused in that time
//! is being started. That takes the node 50 ms and more of its processor, and a second one beside it would make both late;
//! where the cluster is far away, only several attempts under way notice soon that the container is there.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Between two attempts, at first.
const AFTER: Duration = Duration::from_millis(25);
/// The same when it takes long. Every attempt is two TLS handshakes for the cluster, and sixteen pods may wait at once.
const AT_LATEST: Duration = Duration::from_millis(250);
/// How long an attempt that seems to come through is left alone.
const HEAD_START: Duration = Duration::from_secs(1);
/// Attempts under way at once.
const LANES: usize = 3;

/// When to try next.
pub(super) struct Pace {
    started: Instant,
    /// When the newest attempt began.
    newest: Option<Instant>,
    /// When those under way began, oldest first.
    under_way: VecDeque<Instant>,
    /// How long the last refusal took. Zero where none is to be expected, as the container runs.
    refusal: Option<Duration>,
}

impl Pace {
    /// `runs`: the kubelet has said that the container runs.
    pub(super) fn new(now: Instant, runs: bool) -> Self {
        Self {
            started: now,
            newest: None,
            under_way: VecDeque::with_capacity(LANES),
            refusal: runs.then_some(Duration::ZERO),
        }
    }

    /// How long the first attempt is left alone.
    pub(super) fn head_start(&self) -> Duration {
        match self.refusal {
            Some(Duration::ZERO) => HEAD_START,
            _ => Duration::ZERO,
        }
    }

    /// Whether another attempt may be under way beside those that are.
    pub(super) fn has_lane(&self) -> bool {
        self.under_way.len() < LANES
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.newest = Some(now);
        self.under_way.push_back(now);
    }

    /// The attempt that began then was refused because nothing can be run in the container yet, or no more.
    pub(super) fn refused(&mut self, began: Instant, now: Instant) {
        self.end(began);
        self.refusal = Some(now - began);
    }

    /// The attempt that began then has ended in another way.
    pub(super) fn end(&mut self, began: Instant) {
        if let Some(place) = self.under_way.iter().position(|other| *other == began) {
            self.under_way.remove(place);
        }
    }

    /// When to begin the next attempt, unless one of those under way ends before. The pause is a part of what was waited
    /// already, so that little is lost in the end.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let Some(newest) = self.newest else {
            return now;
        };
        let next = newest + ((now - self.started) / 8).clamp(AFTER, AT_LATEST);
        match (self.under_way.front(), self.refusal) {
            (Some(oldest), Some(refusal)) if next - *oldest >= refusal => {
                next.max(*oldest + HEAD_START)
            }
            _ => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn attempts_that_are_refused_follow_each_other_at_a_pause_that_grows_with_the_wait() {
        let start = Instant::now();
        let mut pace = Pace::new(start, false);
        assert_eq!(pace.next(start), start, "the first at once");
        for (waited, pause) in [(0, 25), (200, 25), (1000, 125), (5000, 250)] {
            let began = start + ms(waited);
            pace.begin(began);
            pace.refused(began, began + ms(15));
            assert_eq!(pace.next(began), began + ms(pause));
        }
    }

    #[test]
    fn one_that_is_not_refused_in_the_time_that_a_refusal_takes_is_left_alone() {
        let start = Instant::now();
        let mut pace = Pace::new(start, false);
        pace.begin(start);
        pace.refused(start, start + ms(15));
        let began = start + ms(20);
        pace.begin(began);
        assert_eq!(pace.next(began), began + HEAD_START);
        // it was slow only, and is refused after all
        pace.refused(began, began + ms(300));
        assert!(pace.next(began + ms(300)) < began + ms(300), "at once");
    }

    #[test]
    fn far_away_where_a_refusal_takes_long_several_are_under_way() {
        let start = Instant::now();
        let mut pace = Pace::new(start, false);
        pace.begin(start);
        pace.refused(start, start + ms(400));
        let mut now = start + ms(400);
        for _ in 0..LANES {
            assert!(pace.has_lane());
            pace.begin(now);
            assert!(pace.next(now) < now + ms(60), "{:?}", now - start);
            now += ms(10);
        }
        assert!(!pace.has_lane());
        pace.end(start + ms(400));
        assert!(pace.has_lane());
    }

    #[test]
    fn in_a_container_that_runs_already_the_first_has_a_head_start() {
        let start = Instant::now();
        let mut pace = Pace::new(start, true);
        assert_eq!(pace.head_start(), HEAD_START);
        pace.begin(start);
        assert_eq!(pace.next(start), start + HEAD_START);
        // it has ended meanwhile
        pace.refused(start, start + ms(15));
        assert_eq!(pace.next(start + ms(15)), start + AFTER);
    }
}
