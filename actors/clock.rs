//! The only place that reads the time.
//!
//! # Security
//! Provided: deadlines follow monotonic time, so a jump of the system clock (an operator, NTP, a
//! virtual machine that was suspended) neither fires nor delays any of them; the wall clock is
//! used for stamps alone. Not provided: a check that the wall clock is right.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use peerstage_core::time::Time;
use tokio::time::Instant;

/// What time it is, for deadlines ([`Clock::now`]) and for stamps ([`Clock::wall`]).
///
/// Clones share one clock. It follows tokio's clock: where that is paused, time is virtual. Read
/// it on threads of the runtime only; a foreign thread sees the real time pass.
#[derive(Clone, Debug)]
pub struct Clock {
    readings: Arc<Readings>,
}

#[derive(Debug)]
struct Readings {
    started: Instant,
    epoch_ms: u64,
    /// Whether the wall clock is this machine's; a simulated one follows the epoch.
    real: bool,
    /// How far the wall clock has been moved since the start; zero outside simulations.
    jumped_ms: AtomicI64,
}

impl Clock {
    /// The clock of this machine. Deadlines count from the wall clock as it is now.
    #[must_use]
    pub fn system() -> Self {
        Self::starting_at(system_ms(), true)
    }

    /// A clock that starts at `epoch_ms` milliseconds after the Unix epoch.
    #[must_use]
    pub fn simulated(epoch_ms: u64) -> Self {
        Self::starting_at(epoch_ms, false)
    }

    fn starting_at(epoch_ms: u64, real: bool) -> Self {
        let (started, jumped_ms) = (Instant::now(), AtomicI64::new(0));
        Clock { readings: Arc::new(Readings { started, epoch_ms, real, jumped_ms }) }
    }

    /// The time for deadlines: never goes back, never jumps.
    #[must_use]
    pub fn now(&self) -> Time {
        Time(self.readings.epoch_ms).plus(whole_ms(self.readings.started.elapsed()))
    }

    /// The time for stamps that others read: the machine's wall clock, so that it is right again
    /// when the operator or NTP has set it; in simulations [`Clock::now`], moved by every
    /// [`Clock::jump`].
    #[must_use]
    pub fn wall(&self) -> Time {
        let jumped_ms = self.readings.jumped_ms.load(Ordering::Relaxed);
        let wall = if self.readings.real { system_ms() } else { self.now().0 };
        Time(wall.saturating_add_signed(jumped_ms))
    }

    /// When `time` comes on tokio's clock, for a timer; [`Time::NEVER`] is about a year away.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        const YEAR_MS: u64 = 366 * 24 * 60 * 60 * 1000;
        Instant::now() + Duration::from_millis(time.since(self.now()).min(YEAR_MS))
    }

    /// Moves the wall clock by `ms` milliseconds, as a fault of a simulated node.
    pub fn jump(&self, ms: i64) {
        self.readings.jumped_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// The machine's wall clock; one that is before 1970 stands at 1970.
#[allow(clippy::disallowed_methods, reason = "this is the one reading of the wall clock")]
fn system_ms() -> u64 {
    whole_ms(std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_follows_the_clock_of_the_runtime() {
        let clock = Clock::simulated(1_000);
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(clock.now(), Time(3_601_000));
        assert_eq!(clock.wall(), Time(3_601_000));
        tokio::time::sleep_until(clock.instant(Time(3_601_500))).await;
        assert_eq!(clock.now(), Time(3_601_500));
    }

    /// Attack row 32: our clock jumps an hour, no deadline notices.
    #[tokio::test(start_paused = true)]
    async fn a_jump_moves_stamps_and_no_deadline() {
        let clock = Clock::simulated(10_000_000);
        clock.clone().jump(-3_600_000);
        assert_eq!(clock.now(), Time(10_000_000));
        assert_eq!(clock.wall(), Time(6_400_000));
        clock.jump(i64::MIN / 2);
        assert_eq!(clock.wall(), Time::ZERO);
    }

    #[test]
    fn the_system_clock_is_past_the_day_this_was_written() {
        assert!(Clock::system().now() > Time(1_700_000_000_000));
    }

    #[tokio::test(start_paused = true)]
    async fn never_is_far_away_and_the_past_is_now() {
        let clock = Clock::simulated(5);
        assert!(clock.instant(Time::NEVER) > Instant::now() + Duration::from_hours(24 * 300));
        assert_eq!(clock.instant(Time::ZERO), Instant::now());
    }
}
