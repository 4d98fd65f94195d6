//! A token bucket in whole numbers.

use crate::time::{Millis, Time};

/// Lets `burst` things pass at once and a steady trickle afterwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    /// Thousandths of a thousandth of a token.
    level: u64,
    burst: u64,
    per_ms: u64,
    filled: Time,
}

/// One token, in the bucket's unit: a token per second is a thousand of them per ms.
const TOKEN: u64 = 1_000_000;

impl TokenBucket {
    /// A full bucket that refills with `per_thousand_seconds` tokens in 1000 s.
    pub(crate) fn new(now: Time, burst: u64, per_thousand_seconds: u64) -> Self {
        let burst = burst.saturating_mul(TOKEN);
        TokenBucket { level: burst, burst, per_ms: per_thousand_seconds, filled: now }
    }

    fn refill(&mut self, now: Time) {
        let earned = now.since(self.filled).saturating_mul(self.per_ms);
        self.level = self.level.saturating_add(earned).min(self.burst);
        self.filled = self.filled.max(now);
    }

    /// Takes a token; false if there is none.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        self.take_up_to(now, 1) == 1
    }

    /// Takes as many of `wanted` tokens as there are.
    pub(crate) fn take_up_to(&mut self, now: Time, wanted: usize) -> usize {
        self.refill(now);
        let there = usize::try_from(self.level / TOKEN).unwrap_or(usize::MAX);
        let taken = there.min(wanted);
        self.level = self.level.saturating_sub((taken as u64).saturating_mul(TOKEN));
        taken
    }

    /// Returns tokens that were taken and not needed.
    pub(crate) fn give_back(&mut self, tokens: usize) {
        let tokens = (tokens as u64).saturating_mul(TOKEN);
        self.level = self.level.saturating_add(tokens).min(self.burst);
    }

    /// Whether it is as good as a new one, so that it needn't be remembered.
    pub(crate) fn is_full(&self, now: Time) -> bool {
        let missing: Millis = self.burst.saturating_sub(self.level);
        now.since(self.filled).saturating_mul(self.per_ms) >= missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_trickle() {
        // Bitcoin's rate for addresses: a tenth of a token per second.
        let mut bucket = TokenBucket::new(Time(0), 3, 100);
        assert_eq!(bucket.take_up_to(Time(0), 10), 3);
        assert!(!bucket.take(Time(9_999)));
        assert!(bucket.take(Time(10_000)));
        assert!(!bucket.take(Time(10_001)));
        assert!(!bucket.is_full(Time(39_999)));
        assert!(bucket.is_full(Time(40_000)));
    }

    #[test]
    fn no_clock_overflows_it() {
        let mut bucket = TokenBucket::new(Time(5), u64::MAX, u64::MAX);
        assert!(bucket.take(Time::NEVER));
        assert!(bucket.take(Time::ZERO));
        let mut none = TokenBucket::new(Time(5), 0, 0);
        assert!(!none.take(Time::NEVER));
    }
}
