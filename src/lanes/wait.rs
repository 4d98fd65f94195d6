//! How long each lane's next message waits: for its kind's rate, for bytes a second, for company.

use std::collections::VecDeque;

use super::{GATHER_BYTES, Lanes};
use crate::{
    kinds::{Kind, LANES, Lane},
    time::Time,
};

impl Lanes {
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

/// Without these in time the connection ends.
pub(super) fn keeps_connection(kind: Kind) -> bool {
    matches!(kind, Kind::Hello | Kind::Ping | Kind::Pong | Kind::Disconnect)
}
