//! What the relay knows about one connected peer. Gone when the connection is.

use std::collections::{BTreeMap, VecDeque};

use super::config::RelayConfig;
use crate::{
    identity::PublicKey,
    messages::MessageId,
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

/// What we know a peer to know about one message.
#[derive(Clone, Copy, Default)]
struct Known {
    /// It has the message: we sent it, it sent or announced it.
    has: bool,
    /// Copies it sent us.
    received: u8,
    /// Times we asked it.
    asked: u8,
    /// Times it was served.
    served: u8,
    /// When we announced it last.
    announced: Option<Time>,
}

/// One connected peer.
pub(super) struct PeerState {
    pub(super) validator: Option<PublicKey>,
    pub(super) outbound: bool,
    pub(super) score: i64,
    pub(super) standing: bool,
    known: BTreeMap<MessageId, Known>,
    order: VecDeque<MessageId>,
    known_max: usize,
    /// How many of the older messages were gone through for it since the last turn.
    pub(super) cursor: usize,
    /// Ids asked of it and not here yet.
    pub(super) asks: usize,
    /// Messages of it that wait, and their bytes.
    pub(super) pending: usize,
    pub(super) pending_bytes: usize,
    repeats: Bucket,
    broken: Bucket,
    pub(super) backoff_until: Time,
    pub(super) serve_bytes: Bucket,
    pub(super) routed_bytes: Bucket,
    pub(super) opens: Bucket,
}

impl PeerState {
    pub(super) fn new(
        now: Time,
        validator: Option<PublicKey>,
        outbound: bool,
        config: &RelayConfig,
    ) -> Self {
        let bytes = |rate: u64| Bucket::new(now, rate, rate.saturating_mul(BURST_SECONDS));
        PeerState {
            validator,
            outbound,
            score: 0,
            standing: false,
            known: BTreeMap::new(),
            order: VecDeque::new(),
            known_max: config.known_per_peer,
            cursor: 0,
            asks: 0,
            pending: 0,
            pending_bytes: 0,
            repeats: Bucket::new(now, REPEATS_PER_SECOND, REPEATS),
            broken: Bucket::new(now, BROKEN_PER_SECOND, BROKEN),
            backoff_until: Time::ZERO,
            serve_bytes: bytes(config.gossip.serve_bytes_per_second),
            routed_bytes: bytes(config.routed.bytes_per_second),
            opens: bytes(config.routed.opens_per_second),
        }
    }

    fn entry(&mut self, id: MessageId) -> &mut Known {
        if !self.known.contains_key(&id) {
            self.order.push_back(id);
            while self.order.len() > self.known_max.max(1) {
                if let Some(oldest) = self.order.pop_front() {
                    self.known.remove(&oldest);
                }
            }
        }
        self.known.entry(id).or_default()
    }

    /// Whether it is known to have the message.
    pub(super) fn has(&self, id: &MessageId) -> bool {
        self.known.get(id).is_some_and(|known| known.has)
    }

    /// Remembers that it has the message.
    pub(super) fn learn(&mut self, id: MessageId) {
        self.entry(id).has = true;
    }

    /// Forgets that it has the message: its queue was full.
    pub(super) fn unlearn(&mut self, id: &MessageId) {
        if let Some(known) = self.known.get_mut(id) {
            known.has = false;
            known.announced = None;
        }
    }

    /// A copy arrived from it. True if it sends the same things again and again unasked.
    pub(super) fn on_copy(&mut self, now: Time, id: MessageId) -> bool {
        let known = self.entry(id);
        known.has = true;
        known.received = known.received.saturating_add(1);
        let welcome = known.asked.saturating_add(1);
        if known.received <= welcome || self.repeats.take(now, 1) {
            return false;
        }
        // One fault for each bucketful.
        self.repeats.refill();
        true
    }

    /// Whether it sent this message more often than it was asked to.
    pub(super) fn repeated(&self, id: &MessageId) -> bool {
        self.known.get(id).is_some_and(|known| known.received > known.asked.saturating_add(1))
    }

    /// We ask it for a message.
    pub(super) fn on_asked(&mut self, id: MessageId) {
        self.asks = self.asks.saturating_add(1);
        let known = self.entry(id);
        known.asked = known.asked.saturating_add(1);
    }

    /// It did not send what it announced.
    pub(super) fn on_broken(&mut self, now: Time, backoff: Millis) {
        self.asks = self.asks.saturating_sub(1);
        if !self.broken.take(now, 1) {
            self.broken.refill();
            self.backoff_until = now.plus(backoff);
        }
    }

    /// Whether it may be served the message once more; if so this counts as served.
    pub(super) fn may_serve(&mut self, now: Time, id: MessageId, bytes: u64, times: u8) -> bool {
        if self.known.get(&id).is_some_and(|known| known.served >= times) {
            return false;
        }
        if !self.serve_bytes.take(now, bytes) {
            return false;
        }
        let known = self.entry(id);
        known.served = known.served.saturating_add(1);
        known.has = true;
        true
    }

    /// Whether to announce the message to it now; if so this counts as announced.
    pub(super) fn may_announce(&mut self, now: Time, id: MessageId, again: Millis) -> bool {
        if let Some(known) = self.known.get(&id) {
            let recently = known.announced.is_some_and(|at| now.since(at) < again);
            if known.has || recently {
                return false;
            }
        }
        self.entry(id).announced = Some(now);
        true
    }

    #[cfg(test)]
    pub(super) fn known_len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> PeerState {
        let config = RelayConfig { known_per_peer: 8, ..RelayConfig::default() };
        PeerState::new(Time(0), None, false, &config)
    }

    #[test]
    fn the_inventory_is_bounded() {
        let mut peer = peer();
        for n in 0..100 {
            peer.learn(MessageId([n; 32]));
        }
        assert_eq!((peer.known_len(), peer.order.len()), (8, 8));
        assert!(peer.has(&MessageId([99; 32])) && !peer.has(&MessageId([0; 32])));
    }

    /// Attack row 27: a duplicate flood is noticed; copies we asked for are not.
    #[test]
    fn only_unasked_repeats_are_a_flood() {
        let mut peer = peer();
        let id = MessageId([1; 32]);
        for _ in 0..100 {
            peer.on_asked(id);
            assert!(!peer.on_copy(Time(0), id));
        }
        let other = MessageId([2; 32]);
        let floods = (0..=2 * REPEATS + 2).filter(|_| peer.on_copy(Time(0), other)).count();
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
