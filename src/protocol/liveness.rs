//! The clock of a conversation: when to say something, and when to give up on the other side.
//!
//! A websocket, a proxy or a frozen laptop can swallow a conversation without closing it (closing a
//! websocket does not even end the process that it started), so silence itself must end both sides.

use std::time::{Duration, Instant};

/// A side that has said nothing for this long sends a ping.
pub const PING_AFTER: Duration = Duration::from_secs(5);
/// A side that has heard nothing for this long gives up: three pings are missing.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(15);

/// Tells a side what its clock asks for. Time is handed in, never read.
#[derive(Clone, Copy, Debug)]
pub struct Liveness {
    heard: Instant,
    said: Instant,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Send a ping.
    Ping,
    /// Nothing before this much time has passed.
    Wait(Duration),
    /// The other side is gone.
    Silent,
}

impl Liveness {
    /// Starts the clock.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            heard: now,
            said: now,
        }
    }

    /// Something arrived.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Something was sent.
    pub fn said(&mut self, now: Instant) {
        self.said = now;
    }

    /// What the clock asks for at `now`.
    #[must_use]
    pub fn beat(&self, now: Instant) -> Beat {
        let unheard = now.saturating_duration_since(self.heard);
        let unsaid = now.saturating_duration_since(self.said);
        if unheard >= SILENCE_LIMIT {
            Beat::Silent
        } else if unsaid >= PING_AFTER {
            Beat::Ping
        } else {
            Beat::Wait(
                SILENCE_LIMIT
                    .saturating_sub(unheard)
                    .min(PING_AFTER.saturating_sub(unsaid)),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_pings_when_it_has_nothing_to_say_and_gives_up_after_three_missing_pings() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut liveness = Liveness::new(start);
        assert_eq!(liveness.beat(at(1)), Beat::Wait(Duration::from_secs(4)));
        assert_eq!(liveness.beat(at(5)), Beat::Ping);
        liveness.said(at(5));
        assert_eq!(liveness.beat(at(6)), Beat::Wait(Duration::from_secs(4)));
        liveness.said(at(14));
        assert_eq!(liveness.beat(at(14)), Beat::Wait(Duration::from_secs(1)));
        assert_eq!(liveness.beat(at(15)), Beat::Silent);
        liveness.heard(at(15));
        assert_eq!(liveness.beat(at(15)), Beat::Wait(Duration::from_secs(4)));
    }
}
