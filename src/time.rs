//! Time as an argument: machines are told what time it is, they never ask.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A span of time in milliseconds.
pub type Millis = u64;

/// A point in time: milliseconds since the Unix epoch, on a clock that only moves forward.
///
/// The shell reads the wall clock once when it starts and adds monotonic time from then on, so
/// a jump of the system clock neither fires nor delays any deadline. All arithmetic saturates:
/// a number chosen by a remote peer can never overflow.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Time(pub u64);

impl Time {
    /// The Unix epoch.
    pub const ZERO: Time = Time(0);
    /// The end of time: a deadline that never comes.
    pub const NEVER: Time = Time(u64::MAX);

    /// The point `span` milliseconds later.
    #[must_use]
    pub const fn plus(self, span: Millis) -> Time {
        Time(self.0.saturating_add(span))
    }

    /// The point `span` milliseconds earlier.
    #[must_use]
    pub const fn minus(self, span: Millis) -> Time {
        Time(self.0.saturating_sub(span))
    }

    /// Milliseconds from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Time) -> Millis {
        self.0.saturating_sub(earlier.0)
    }

    /// The point as people and log tools read it: RFC 3339, UTC, to the millisecond. Times after
    /// the year 9999, which that format doesn't have, are `never`.
    #[must_use]
    pub fn utc(self) -> String {
        const DAY: Millis = 24 * 60 * 60 * 1000;
        /// 10000-01-01T00:00:00Z.
        const YEAR_10000: Millis = 253_402_300_800_000;
        if self.0 >= YEAR_10000 {
            return "never".to_owned();
        }
        // Days to a date of the Gregorian calendar: H. Hinnant, "chrono-Compatible Low-Level Date
        // Algorithms", `civil_from_days`. Years begin in March there, eras have 400 of them.
        let days = self.0 / DAY + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let ms = self.0 % DAY;
        let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
        let (seconds, ms) = (ms / 1_000 % 60, ms % 1_000);
        format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1000, self.0 % 1000)
    }
}

/// The earlier of two optional deadlines.
#[must_use]
pub fn earliest(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Time(u64::MAX).plus(u64::MAX), Time::NEVER);
        assert_eq!(Time(5).minus(6), Time::ZERO);
        assert_eq!(Time(5).since(Time(9)), 0);
    }

    #[test]
    fn a_time_is_readable() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_744_715_726, "2026-11-27T01:58:35.726Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "never"),
            (u64::MAX, "never"),
        ] {
            assert_eq!(Time(ms).utc(), text);
        }
    }

    #[test]
    fn the_earliest_deadline_wins() {
        assert_eq!(earliest(Some(Time(3)), Some(Time(2))), Some(Time(2)));
        assert_eq!(earliest(None, Some(Time(2))), Some(Time(2)));
        assert_eq!(earliest(None, None), None);
    }
}
