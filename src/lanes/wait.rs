//! How long each lane's next message waits: for its kind's rate, for bytes a second, for company.

use std::collections::VecDeque;

use super::{GATHER_BYTES, Lanes, buckets};
use crate::{
    kinds::{Kind, LANES, Lane},
    messages::Pace,
    rate::{ByteRate, SLOWEST_BYTES_PER_SECOND},
    time::Time,
};

impl Lanes {
    /// The receiver said how fast it takes messages. It can't choose to be sent less than
    /// [`SLOWEST_BYTES_PER_SECOND`]: what waits for it costs us memory.
    pub fn set_pace(&mut self, now: Time, pace: Pace) {
        self.buckets = buckets(now, pace.rate_factor);
        self.set_taken(now, pace.bytes_per_second);
    }

    /// The receiver said what it takes from now on, bytes a second; 0 is no limit.
    pub fn set_taken(&mut self, now: Time, bytes_per_second: u64) {
        let bytes = Some(bytes_per_second).filter(|bytes| *bytes > 0);
        let bytes = bytes.map_or(0, |bytes| bytes.max(SLOWEST_BYTES_PER_SECOND));
        let [taken, _] = &mut self.rates;
        taken.set_per_second(now, bytes);
    }

    /// Sends at most so many bytes a second, lane 0 apart; 0 is no limit.
    pub fn set_upload_rate(&mut self, now: Time, bytes_per_second: u64) {
        let [_, sent] = &mut self.rates;
        *sent = ByteRate::new(now, bytes_per_second);
    }

    /// Leaves these lanes out, one bit each: what each of them was given still waits for its own
    /// stream.
    pub fn block(&mut self, lanes: u8) {
        self.blocked = lanes;
    }

    /// When something may be sent: now if a message is ready, later if all are paced, `None` if
    /// nothing waits.
    #[must_use]
    pub fn ready_at(&self, now: Time) -> Option<Time> {
        if self.waiting & !self.blocked == 0 {
            return None;
        }
        (0..LANES).filter_map(|lane| self.lane_wait(lane, now)).min().map(|wait| now.plus(wait))
    }

    /// How long the lane's next message must wait, ms; `None` if nothing waits there.
    pub(super) fn lane_wait(&self, lane: usize, now: Time) -> Option<u64> {
        let held = if self.never_waits(lane) { 0 } else { self.held_until.since(now) };
        self.lane_wait_unheld(lane, now).map(|wait| wait.max(held))
    }

    pub(super) fn lane_wait_unheld(&self, lane: usize, now: Time) -> Option<u64> {
        if self.waiting & !self.blocked & (1 << lane) == 0 {
            return None;
        }
        if self.in_progress.get(lane)?.is_some() {
            return Some(self.rate_wait(lane, now));
        }
        let bucket = self.pace_wait(lane, now)?;
        Some(bucket.max(self.rate_wait(lane, now)).max(self.gather_wait(lane, now)))
    }

    /// Votes never wait for bytes a second, nor does what keeps the connection, or the message
    /// of its lane that was begun before it.
    fn never_waits(&self, lane: usize) -> bool {
        let next = self.queues.get(lane).and_then(VecDeque::front);
        lane == 0 || next.is_some_and(|message| keeps_connection(message.kind))
    }

    /// How long the lane's messages wait for company, ms.
    fn gather_wait(&self, lane: usize, now: Time) -> u64 {
        let waiting = self.bytes_by_kind.get(Kind::Transaction.index()).copied().unwrap_or(0);
        let gathers = lane == Lane::Transactions as usize && self.gathering;
        if gathers && waiting < GATHER_BYTES { self.gathered.since(now) } else { 0 }
    }

    /// How long the bytes a second keep a lane waiting, ms.
    pub(super) fn rate_wait(&self, lane: usize, now: Time) -> u64 {
        if self.never_waits(lane) {
            return 0;
        }
        let [theirs, ours] = &self.rates;
        theirs.wait(now).max(ours.wait(now))
    }
}

/// Without these in time the connection ends, or its speed is wrong.
pub(super) fn keeps_connection(kind: Kind) -> bool {
    matches!(kind, Kind::Hello | Kind::Ping | Kind::Pong | Kind::Takes | Kind::Disconnect)
}
