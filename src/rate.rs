//! A token bucket that can't overflow: so many now, so many a second from then on.

use crate::time::{Millis, Time};

/// A token bucket in integer arithmetic (thousandths of a token).
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    thousandths: u64,
    capacity: u64,
    per_ms: u64,
    filled: Time,
}

impl TokenBucket {
    /// A full bucket: `burst` tokens at once, `per_second` from then on.
    #[must_use]
    pub fn new(now: Time, per_second: u32, burst: u32) -> Self {
        let capacity = u64::from(burst).saturating_mul(1000);
        TokenBucket { thousandths: capacity, capacity, per_ms: u64::from(per_second), filled: now }
    }

    /// Takes `tokens` if there are as many.
    pub fn take(&mut self, now: Time, tokens: u32) -> bool {
        self.refill(now);
        match self.thousandths.checked_sub(u64::from(tokens).saturating_mul(1000)) {
            Some(rest) => {
                self.thousandths = rest;
                true
            }
            None => false,
        }
    }

    /// Milliseconds until one token is there; 0 if it is.
    #[must_use]
    pub fn wait(&self, now: Time) -> Millis {
        let gained = now.since(self.filled).saturating_mul(self.per_ms);
        let have = self.thousandths.saturating_add(gained).min(self.capacity);
        if have >= 1000 {
            return 0;
        }
        1000u64.saturating_sub(have).div_ceil(self.per_ms.max(1))
    }

    fn refill(&mut self, now: Time) {
        let gained = now.since(self.filled).saturating_mul(self.per_ms);
        self.thousandths = self.thousandths.saturating_add(gained).min(self.capacity);
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_applies() {
        let mut bucket = TokenBucket::new(Time(0), 10, 3);
        assert!((0..3).all(|_| bucket.take(Time(0), 1)));
        assert!(!bucket.take(Time(0), 1));
        assert_eq!(bucket.wait(Time(0)), 100);
        assert!(!bucket.take(Time(99), 1));
        assert!(bucket.take(Time(100), 1));
    }

    #[test]
    fn waiting_for_ever_fills_it_once_and_time_running_back_does_nothing() {
        let mut bucket = TokenBucket::new(Time(50), u32::MAX, 2);
        assert!(bucket.take(Time(u64::MAX), 2));
        assert!(!bucket.take(Time(0), 1));
        assert!(!bucket.take(Time(u64::MAX), u32::MAX));
    }
}
