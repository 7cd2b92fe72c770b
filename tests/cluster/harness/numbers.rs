//! Numbers that look random and are the same for the same seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// Marsaglia's xorshift: small, and the same on every machine.
pub(crate) struct Numbers {
    seed: u64,
    state: u64,
}

impl Numbers {
    /// Numbers of a seed, which is not 0.
    pub(crate) fn of(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// Numbers of the seed in `KDBG_TEST_SEED`, else of another one each time.
    pub(crate) fn new() -> Self {
        let given = std::env::var("KDBG_TEST_SEED").ok();
        let seed = given.map_or_else(
            || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                now.map_or(1, |now| u64::from(now.subsec_nanos()) | 1)
            },
            |given| given.parse().expect("KDBG_TEST_SEED is a number"),
        );
        Self::of(seed)
    }

    /// By which the same numbers come again.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % limit
    }

    /// One of several.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let place = self.below(u64::try_from(of.len()).unwrap_or(1));
        of[usize::try_from(place).unwrap_or_default()]
    }
}
