//! What the relay knows about one connected peer. Gone soon after the connection is.

use super::{action::PeerInfo, config::RelayConfig, tally::Credits};
use crate::{
    identity::{NodeId, PublicKey},
    time::{Millis, Time},
};

/// Unasked copies of the same messages a peer may send before it counts as a flood, and how many
/// of them a second are forgiven. An honest peer sends none; the margin is for its restarts.
const REPEATS: u64 = 64;
const REPEATS_PER_SECOND: u64 = 1;
/// Broken promises before a peer is left alone for a while, and how many a second are forgiven.
const BROKEN: u64 = 512;
const BROKEN_PER_SECOND: u64 = 16;
/// Buckets of bytes hold this many seconds' worth.
const BURST_SECONDS: u64 = 4;

/// A bucket of tokens that fills with time (fixed point, thousandths of a token).
#[derive(Clone, Copy)]
pub(super) struct Bucket {
    level: u64,
    per_second: u64,
    capacity: u64,
    filled_at: Time,
}

impl Bucket {
    pub(super) fn new(now: Time, per_second: u64, capacity: u64) -> Self {
        let capacity = capacity.saturating_mul(1_000);
        Bucket { level: capacity, per_second, capacity, filled_at: now }
    }

    /// Takes `tokens` if they are there.
    pub(super) fn take(&mut self, now: Time, tokens: u64) -> bool {
        // Thousandths of a token a millisecond are tokens a second.
        let gained = now.since(self.filled_at).saturating_mul(self.per_second);
        self.level = self.level.saturating_add(gained).min(self.capacity);
        self.filled_at = self.filled_at.max(now);
        let price = tokens.saturating_mul(1_000);
        let enough = self.level >= price;
        if enough {
            self.level = self.level.saturating_sub(price);
        }
        enough
    }

    fn refill(&mut self) {
        self.level = self.capacity;
    }
}

/// One peer.
pub(super) struct PeerState {
    pub(super) node: NodeId,
    pub(super) validator: Option<PublicKey>,
    pub(super) outbound: bool,
    pub(super) blocks_only: bool,
    pub(super) score: i64,
    /// How many of the older messages were gone through for it since the last turn.
    pub(super) cursor: usize,
    /// Ids asked of it and not here yet.
    pub(super) asks: usize,
    /// Messages of it that wait, and their bytes.
    pub(super) pending: usize,
    pub(super) pending_bytes: usize,
    /// What it did since this was last taken.
    pub(super) credits: Credits,
    repeats: Bucket,
    broken: Bucket,
    pub(super) backoff_until: Time,
    pub(super) serve_bytes: Bucket,
    pub(super) routed_bytes: Bucket,
    pub(super) opens: Bucket,
    pub(super) punches: Bucket,
}

impl PeerState {
    pub(super) fn new(now: Time, info: &PeerInfo, config: &RelayConfig) -> Self {
        let bytes = |rate: u64| Bucket::new(now, rate, rate.saturating_mul(BURST_SECONDS));
        PeerState {
            node: info.peer,
            validator: info.validator,
            outbound: info.outbound,
            blocks_only: info.blocks_only,
            score: 0,
            cursor: 0,
            asks: 0,
            pending: 0,
            pending_bytes: 0,
            credits: Credits::default(),
            repeats: Bucket::new(now, REPEATS_PER_SECOND, REPEATS),
            broken: Bucket::new(now, BROKEN_PER_SECOND, BROKEN),
            backoff_until: Time::ZERO,
            serve_bytes: bytes(config.gossip.serve_bytes_per_second),
            routed_bytes: bytes(config.routed.bytes_per_second),
            opens: bytes(config.routed.opens_per_second),
            punches: bytes(config.routed.punches_per_second),
        }
    }

    /// An unasked copy of something it sent before arrived. True if it sends the same things
    /// again and again.
    pub(super) fn on_repeat(&mut self, now: Time) -> bool {
        if self.repeats.take(now, 1) {
            return false;
        }
        // One fault for each bucketful.
        self.repeats.refill();
        true
    }

    /// It did not send what it announced.
    pub(super) fn on_broken(&mut self, now: Time, backoff: Millis) {
        self.asks = self.asks.saturating_sub(1);
        if !self.broken.take(now, 1) {
            self.broken.refill();
            self.backoff_until = now.plus(backoff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack row 27: a duplicate flood is noticed, one fault for a bucketful.
    #[test]
    fn many_repeats_are_a_flood() {
        let peer = NodeId([1; 32]);
        let info = PeerInfo { peer, validator: None, outbound: false, blocks_only: false };
        let mut peer = PeerState::new(Time(0), &info, &RelayConfig::default());
        let floods = (0..2 * REPEATS + 2).filter(|_| peer.on_repeat(Time(0))).count();
        assert_eq!(floods, 2);
    }

    #[test]
    fn a_bucket_never_overflows_and_time_never_runs_backwards() {
        let mut bucket = Bucket::new(Time(10), u64::MAX, u64::MAX);
        assert!(bucket.take(Time::NEVER, u64::MAX));
        assert!(!bucket.take(Time::ZERO, u64::MAX));
        let mut bucket = Bucket::new(Time(0), 2, 2);
        assert!(bucket.take(Time(0), 2) && !bucket.take(Time(499), 1) && bucket.take(Time(500), 1));
    }
}
