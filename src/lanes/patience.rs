//! Whether a peer takes what waits for it: how long a full queue stays full.
//!
//! # Security
//! Provided: a peer that reads a little now and then keeps no queue full for longer than the
//! timeout (attack row 43); what we hold back by limits of our own is not held against it.
//! Not provided: a judgement of peers whose queues have room, however slow they are.

use super::Lanes;
use crate::{
    kinds::Kind,
    messages::Outgoing,
    rate::{LEAST_TAKEN_BYTES_PER_SECOND, LEAST_TAKEN_PART},
    time::{Millis, Time},
};

/// A queue that had no room for a message, until half of what waited has left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full {
    kind: Kind,
    /// Of the kind and in all, bytes.
    half: [usize; 2],
    /// Since when the peer is watched, and what had left by then.
    watched: Option<(Time, u64)>,
}

impl Lanes {
    /// Whether a message would be queued now without pushing out another.
    #[must_use]
    pub fn has_room(&self, kind: Kind, cost: usize) -> bool {
        self.fits(kind, cost)
    }

    pub(super) fn fits(&self, kind: Kind, size: usize) -> bool {
        let used = self.bytes_by_kind.get(kind.index()).copied().unwrap_or(usize::MAX);
        // One message of the largest size always fits its empty queue, whatever its overhead.
        let room_of_kind = used == 0 || used.saturating_add(size) <= kind.row().queue_bytes;
        room_of_kind && self.bytes.saturating_add(size) <= self.bytes_max
    }

    /// What a message takes up in its queue, bytes.
    #[must_use]
    pub fn cost(message: &Outgoing) -> usize {
        super::cost(message)
    }

    /// Bytes of a kind that wait, overhead included.
    #[must_use]
    pub fn bytes_of(&self, kind: Kind) -> usize {
        self.bytes_by_kind.get(kind.index()).copied().unwrap_or(0)
    }

    /// Bytes of a kind that have left so far; wraps.
    #[must_use]
    pub fn left_of(&self, kind: Kind) -> u64 {
        self.left.get(kind.index()).copied().unwrap_or(0)
    }

    /// A message of this kind found no room.
    pub fn note_full(&mut self, kind: Kind) {
        let half = [self.bytes_of(kind) / 2, self.bytes / 2];
        self.full.get_or_insert(Full { kind, half, watched: None });
    }

    /// Whether a queue is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// We held back everything for so long: no fault of the peer.
    pub(super) fn excuse(&mut self, span: Millis) {
        if let Some((since, _)) = self.full.as_mut().and_then(|full| full.watched.as_mut()) {
            *since = since.plus(span);
        }
    }

    /// Whether a queue stayed full for `timeout` while the peer took next to nothing. The time
    /// counts from the first call after [`Lanes::is_full`] became true.
    pub fn is_slow(&mut self, now: Time, timeout: Millis) -> bool {
        self.look_for_room();
        let left = self.left.iter().fold(0u64, |sum, left| sum.wrapping_add(*left));
        let [_, ours] = &self.rates;
        let own_limit = ours.wait(now) > 0;
        // Of a limit of our own that is slower still, the same part.
        let least = match ours.per_second() {
            0 => LEAST_TAKEN_BYTES_PER_SECOND,
            ours => (ours / LEAST_TAKEN_PART).min(LEAST_TAKEN_BYTES_PER_SECOND),
        };
        let Some(full) = &mut self.full else { return false };
        let Some((since, before)) = full.watched else {
            full.watched = Some((now, left));
            return false;
        };
        let span = now.since(since);
        if span < timeout {
            return false;
        }
        full.watched = Some((now, left));
        let taken = left.wrapping_sub(before).saturating_mul(1_000);
        !own_limit && taken < least.saturating_mul(span)
    }

    /// When [`Lanes::is_slow`] should be asked again.
    #[must_use]
    pub fn slow_at(&self, timeout: Millis) -> Option<Time> {
        let (since, _) = self.full?.watched?;
        Some(since.plus(timeout))
    }

    /// Half of what waited when the queue was full has left.
    pub(super) fn look_for_room(&mut self) {
        let room = |full: Full| {
            let [of_kind, in_all] = full.half;
            self.bytes_of(full.kind) <= of_kind && self.bytes <= in_all
        };
        self.full = self.full.filter(|full| !room(*full));
    }
}
