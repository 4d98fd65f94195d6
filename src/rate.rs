//! A token bucket that can't overflow: so many now, so many a second from then on.

use crate::time::{Millis, Time};

/// The slowest way between two nodes that is worth a connection, bytes a second: a modem's. Less is
/// a trickle (attack row 5), and nobody is sent to more slowly because it asked for it (row 43).
pub const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;
/// Whoever takes less than this in bytes a second, while what waits for it has no room, is cut off:
/// a quarter of the slowest way. A guess: room for what is sent again on the way and for a limit
/// that it shares among all its peers.
pub const LEAST_TAKEN_BYTES_PER_SECOND: u64 = SLOWEST_BYTES_PER_SECOND / LEAST_TAKEN_PART;
/// The part meant there.
pub(crate) const LEAST_TAKEN_PART: u64 = 4;

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

/// Bytes a second, on average: whoever finds the balance positive may send one record, and what
/// that is too much is waited for afterwards. So a limit below a record's length a second works
/// like any other, and over seconds the average is exact.
#[derive(Clone, Copy, Debug)]
pub struct ByteRate {
    per_second: u64,
    /// Thousandths of a byte; negative after a record.
    balance: i64,
    filled: Time,
}

/// How much may be sent at once after a pause: so many milliseconds' worth.
const PAUSE_MS: u64 = 50;
/// What was sent too much is waited for this long at most, ms: what is never held back (votes)
/// may be more than the limit for hours, and the rest must not wait for hours afterwards.
const DEBT_MS: u64 = 1_000;
/// Or for these bytes, two records: whoever has just sent one waits for all of it.
const DEBT_BYTES: u64 = 128 * 1024;
/// The most that is sent or read in one go: so many parts of a second's worth, so that no wait is
/// long, and at least so many bytes.
const GOES_PER_SECOND: u64 = 20;
const GO_MIN: u64 = 4 * 1024;

impl ByteRate {
    /// A limit of so many bytes a second; 0 is no limit.
    #[must_use]
    pub fn new(now: Time, per_second: u64) -> Self {
        ByteRate { per_second, balance: 0, filled: now }
    }

    /// Another limit from now on; what was sent too much stays owed.
    pub fn set_per_second(&mut self, now: Time, per_second: u64) {
        let owed = self.balance_at(now).min(0);
        (self.per_second, self.filled) = (per_second, self.filled.max(now));
        self.balance = owed.max(self.least());
    }

    /// How long until something may be sent, ms; 0 if now.
    #[must_use]
    pub fn wait(&self, now: Time) -> Millis {
        if self.per_second == 0 {
            return 0;
        }
        let debt = self.balance_at(now).min(0).unsigned_abs();
        debt.div_ceil(self.per_second)
    }

    /// So many bytes were sent, allowed or not.
    pub fn spend(&mut self, now: Time, bytes: usize) {
        if self.per_second > 0 {
            let spent = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(1_000);
            self.balance = self.balance_at(now).saturating_sub(spent).max(self.least());
            self.filled = self.filled.max(now);
        }
    }

    /// How much may go at once, bytes.
    #[must_use]
    pub fn at_once(&self) -> usize {
        match self.per_second {
            0 => usize::MAX,
            rate => usize::try_from((rate / GOES_PER_SECOND).max(GO_MIN)).unwrap_or(usize::MAX),
        }
    }

    /// How long so many bytes take, ms.
    #[must_use]
    pub fn takes(&self, bytes: usize) -> Millis {
        let thousandths = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000);
        thousandths.checked_div(self.per_second).unwrap_or(0)
    }

    /// The limit, bytes a second; 0 is none.
    #[must_use]
    pub fn per_second(&self) -> u64 {
        self.per_second
    }

    /// The most that is owed.
    fn least(&self) -> i64 {
        let debt_max = self.per_second.saturating_mul(DEBT_MS).saturating_add(DEBT_BYTES * 1_000);
        i64::try_from(debt_max).map_or(i64::MIN, |debt| -debt)
    }

    /// Bytes a second are thousandths of a byte a millisecond.
    fn balance_at(&self, now: Time) -> i64 {
        let gained = now.since(self.filled).saturating_mul(self.per_second);
        let most = self.per_second.saturating_mul(PAUSE_MS);
        let gained = i64::try_from(gained).unwrap_or(i64::MAX);
        self.balance.saturating_add(gained).min(i64::try_from(most).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was sent too much is still waited for, and no longer than a second and two records of it.
    #[test]
    fn another_limit_forgives_nothing_and_asks_for_little() {
        let mut rate = ByteRate::new(Time(0), 1_000_000);
        rate.spend(Time(0), 500_000);
        assert_eq!(rate.wait(Time(0)), 500);
        rate.set_per_second(Time(100), 2_000_000);
        assert_eq!(rate.wait(Time(100)), 200);
        rate.set_per_second(Time(100), 1_000);
        assert_eq!(rate.wait(Time(100)), DEBT_MS + DEBT_BYTES);
        rate.set_per_second(Time(100), 0);
        assert_eq!(rate.wait(Time(100)), 0);
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_applies() {
        let mut bucket = TokenBucket::new(Time(0), 10, 3);
        assert!((0..3).all(|_| bucket.take(Time(0), 1)));
        assert!(!bucket.take(Time(0), 1));
        assert_eq!(bucket.wait(Time(0)), 100);
        assert!(!bucket.take(Time(99), 1));
        assert!(bucket.take(Time(100), 1));
    }

    /// Any limit is kept to within a record over ten seconds, however large the records are.
    #[test]
    fn a_byte_rate_is_exact_over_seconds() {
        for (per_second, record) in [(1_000, 65_536), (1_000_000, 65_536), (5_000_000, 300)] {
            let mut rate = ByteRate::new(Time(0), per_second);
            let (mut now, mut sent) = (Time(0), 0u64);
            while now < Time(100_000) {
                let wait = rate.wait(now);
                now = now.plus(wait);
                if wait == 0 {
                    rate.spend(now, record);
                    sent += record as u64;
                }
            }
            let wanted = per_second * 100;
            assert!(sent.abs_diff(wanted) <= wanted / 50 + record as u64, "{sent} of {wanted}");
        }
        assert_eq!(ByteRate::new(Time(0), 0).wait(Time(0)), 0);
        let mut rate = ByteRate::new(Time(9), u64::MAX);
        rate.spend(Time(3), usize::MAX);
        assert!(rate.wait(Time(u64::MAX)) <= 1);
    }

    #[test]
    fn waiting_for_ever_fills_it_once_and_time_running_back_does_nothing() {
        let mut bucket = TokenBucket::new(Time(50), u32::MAX, 2);
        assert!(bucket.take(Time(u64::MAX), 2));
        assert!(!bucket.take(Time(0), 1));
        assert!(!bucket.take(Time(u64::MAX), u32::MAX));
    }
}
