//! How many bytes a stream may have on the way: slow start and its return after silence.
//!
//! A window in the manner of RFC 5681: it doubles every round trip until a loss halves it, grows
//! by a segment a round trip after that, and starts over after a silence longer than the
//! retransmission timeout. This is why a block on a cold connection takes several round trips.

use super::fabric::Micros;

/// Payload of a full TCP segment over Ethernet, in bytes.
const FULL_SEGMENT_BYTES: usize = 1_460;

/// Bytes that may be sent before the first acknowledgement (RFC 6928: ten segments).
pub const INITIAL_WINDOW_BYTES: usize = 10 * FULL_SEGMENT_BYTES;

/// The congestion window of one direction of a connection.
#[derive(Debug)]
pub(super) struct Congestion {
    enabled: bool,
    window: usize,
    /// Above this the window grows slowly.
    threshold: usize,
    in_flight: usize,
    last_sent: Micros,
    /// Losses before this time belong to a round that was answered already.
    answered_until: Micros,
}

impl Congestion {
    pub(super) fn new(enabled: bool) -> Self {
        Congestion {
            enabled,
            window: INITIAL_WINDOW_BYTES,
            threshold: usize::MAX,
            in_flight: 0,
            last_sent: 0,
            answered_until: 0,
        }
    }

    /// How many of `wanted` bytes may leave now. Nothing, rather than a sliver of a segment.
    pub(super) fn allowed(&self, wanted: usize) -> usize {
        let room = self.window.saturating_sub(self.in_flight);
        if !self.enabled || room >= wanted {
            wanted
        } else if room < FULL_SEGMENT_BYTES {
            0
        } else {
            room
        }
    }

    /// Before bytes leave: a window that was not used for so long says nothing about the path
    /// any more (RFC 5681 section 4.1).
    pub(super) fn on_wish(&mut self, now: Micros, timeout_us: Micros) {
        if self.in_flight == 0 && now.saturating_sub(self.last_sent) > timeout_us {
            self.window = self.window.min(INITIAL_WINDOW_BYTES);
        }
    }

    pub(super) fn on_sent(&mut self, now: Micros, bytes: usize) {
        self.in_flight = self.in_flight.saturating_add(bytes);
        self.last_sent = now;
    }

    pub(super) fn on_acknowledged(&mut self, bytes: usize, window_max: usize) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        let growth = if self.window < self.threshold {
            bytes
        } else {
            FULL_SEGMENT_BYTES.saturating_mul(bytes) / self.window.max(1)
        };
        self.window = self.window.saturating_add(growth).min(window_max.max(INITIAL_WINDOW_BYTES));
    }

    /// A segment is lost: the window halves, once a round trip.
    pub(super) fn on_loss(&mut self, now: Micros, round_trip_us: Micros) {
        if now >= self.answered_until {
            self.threshold = (self.window / 2).max(2 * FULL_SEGMENT_BYTES);
            self.window = self.threshold;
            self.answered_until = now.saturating_add(round_trip_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 1 << 20;

    #[test]
    fn a_window_doubles_until_a_loss_halves_it() {
        let mut path = Congestion::new(true);
        for round in 0..4 {
            let window = INITIAL_WINDOW_BYTES << round;
            assert_eq!(path.allowed(LARGE), window);
            path.on_sent(round, window);
            assert_eq!(path.allowed(1), 0);
            path.on_acknowledged(window, LARGE);
        }
        path.on_loss(10, 100);
        path.on_loss(20, 100);
        assert_eq!(path.allowed(LARGE), INITIAL_WINDOW_BYTES << 3, "two losses of one round");
        path.on_sent(30, INITIAL_WINDOW_BYTES << 3);
        path.on_acknowledged(INITIAL_WINDOW_BYTES << 3, LARGE);
        assert_eq!(path.allowed(LARGE), (INITIAL_WINDOW_BYTES << 3) + FULL_SEGMENT_BYTES);
    }

    #[test]
    fn a_window_is_cold_again_after_silence() {
        let mut path = Congestion::new(true);
        path.on_sent(0, INITIAL_WINDOW_BYTES);
        path.on_acknowledged(INITIAL_WINDOW_BYTES, LARGE);
        path.on_wish(100, 200);
        assert_eq!(path.allowed(LARGE), 2 * INITIAL_WINDOW_BYTES);
        path.on_wish(201, 200);
        assert_eq!(path.allowed(LARGE), INITIAL_WINDOW_BYTES);
    }

    #[test]
    fn without_congestion_control_everything_may_leave() {
        assert_eq!(Congestion::new(false).allowed(usize::MAX), usize::MAX);
    }
}
