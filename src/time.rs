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
    fn the_earliest_deadline_wins() {
        assert_eq!(earliest(Some(Time(3)), Some(Time(2))), Some(Time(2)));
        assert_eq!(earliest(None, Some(Time(2))), Some(Time(2)));
        assert_eq!(earliest(None, None), None);
    }
}
