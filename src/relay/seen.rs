//! Which messages were seen, bounded by time and by count; and the bodies that can be served.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::{
    identity::PublicKey,
    kinds::Kind,
    messages::{MessageId, Topic},
    time::{Millis, Time},
};

/// How a seen message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted,
    Ignored,
    Rejected,
}

/// Ids with their outcome, oldest out first. Refused ids live in a cache of their own, so that
/// a flood of garbage can't make us forget what we accepted and relay it again.
pub(super) struct Seen {
    accepted: Generation,
    refused: Generation,
    origins: BTreeMap<PublicKey, Origin>,
    origin_max: usize,
}

/// One first-in first-out cache.
struct Generation {
    entries: BTreeMap<MessageId, (Time, Outcome)>,
    order: VecDeque<MessageId>,
    count_max: usize,
}

/// Signed messages of one validator by stamp. One validator can only push out its own.
#[derive(Default)]
struct Origin {
    stamps: BTreeSet<(Time, MessageId)>,
    /// Everything up to this stamp is refused: it may have been seen and forgotten.
    floor: Time,
}

impl Generation {
    fn new(count_max: usize) -> Self {
        Generation { entries: BTreeMap::new(), order: VecDeque::new(), count_max }
    }

    fn insert(&mut self, now: Time, id: MessageId, outcome: Outcome) {
        if self.entries.insert(id, (now, outcome)).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > self.count_max {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }

    fn sweep(&mut self, now: Time, age_max: Millis) {
        while let Some(oldest) = self.order.front() {
            let at = self.entries.get(oldest).map(|entry| entry.0);
            if at.is_some_and(|at| now.since(at) <= age_max) {
                break;
            }
            self.entries.remove(oldest);
            self.order.pop_front();
        }
    }
}

impl Seen {
    pub(super) fn new(accepted_max: usize, refused_max: usize, origin_max: usize) -> Self {
        Seen {
            accepted: Generation::new(accepted_max),
            refused: Generation::new(refused_max),
            origins: BTreeMap::new(),
            origin_max,
        }
    }

    /// When and how `id` ended, if it is remembered.
    pub(super) fn get(&self, id: &MessageId) -> Option<(Time, Outcome)> {
        self.accepted.entries.get(id).or_else(|| self.refused.entries.get(id)).copied()
    }

    pub(super) fn insert(&mut self, now: Time, id: MessageId, outcome: Outcome) {
        let generation = match outcome {
            Outcome::Accepted => &mut self.accepted,
            Outcome::Ignored | Outcome::Rejected => &mut self.refused,
        };
        generation.insert(now, id, outcome);
    }

    /// Whether a signed message was seen, or is so old that it may have been.
    pub(super) fn origin_refuses(&self, origin: &PublicKey, stamp: Time, id: &MessageId) -> bool {
        self.origins.get(origin).is_some_and(|o| o.stamps.contains(&(stamp, *id)))
            || self.origin_floor_refuses(origin, stamp)
    }

    fn origin_floor_refuses(&self, origin: &PublicKey, stamp: Time) -> bool {
        self.origins.get(origin).is_some_and(|o| stamp <= o.floor && o.floor > Time::ZERO)
    }

    /// Remembers a signed message whose signature was checked.
    pub(super) fn insert_signed(&mut self, origin: PublicKey, stamp: Time, id: MessageId) {
        let entry = self.origins.entry(origin).or_default();
        entry.stamps.insert((stamp, id));
        while entry.stamps.len() > self.origin_max {
            if let Some((stamp, _)) = entry.stamps.pop_first() {
                entry.floor = entry.floor.max(stamp);
            }
        }
    }

    /// Forgets what is older than `age_max`; stamps older than `stamp_min` are refused anyway.
    pub(super) fn sweep(&mut self, now: Time, age_max: Millis) {
        self.accepted.sweep(now, age_max);
        self.refused.sweep(now, age_max);
    }

    /// Forgets signed messages of origins that left, and those whose stamp the window refuses.
    pub(super) fn sweep_origins(&mut self, stamp_min: Time, members: &BTreeSet<PublicKey>) {
        self.origins.retain(|origin, _| members.contains(origin));
        for entry in self.origins.values_mut() {
            while entry.stamps.first().is_some_and(|(stamp, _)| *stamp < stamp_min) {
                if let Some((stamp, _)) = entry.stamps.pop_first() {
                    entry.floor = entry.floor.max(stamp);
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accepted.order.len() + self.refused.order.len()
    }
}

/// A message that can be served.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) at: Time,
    pub(super) kind: Kind,
    pub(super) topic: Topic,
    pub(super) hops: u8,
    pub(super) body: Bytes,
}

/// Accepted messages by age, bounded in count and bytes.
pub(super) struct Bodies {
    entries: BTreeMap<MessageId, Stored>,
    order: VecDeque<MessageId>,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

impl Bodies {
    pub(super) fn new(count_max: usize, bytes_max: usize) -> Self {
        Bodies { entries: BTreeMap::new(), order: VecDeque::new(), bytes: 0, count_max, bytes_max }
    }

    pub(super) fn get(&self, id: &MessageId) -> Option<&Stored> {
        self.entries.get(id)
    }

    pub(super) fn insert(&mut self, id: MessageId, stored: Stored) {
        if self.entries.contains_key(&id) {
            return;
        }
        self.bytes = self.bytes.saturating_add(stored.body.len());
        self.entries.insert(id, stored);
        self.order.push_back(id);
        while self.order.len() > self.count_max || self.bytes > self.bytes_max {
            if !self.drop_oldest() {
                break;
            }
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.order.pop_front() else { return false };
        if let Some(stored) = self.entries.remove(&oldest) {
            self.bytes = self.bytes.saturating_sub(stored.body.len());
        }
        true
    }

    pub(super) fn sweep(&mut self, now: Time, age_max: Millis) {
        while let Some(stored) = self.order.front().and_then(|id| self.entries.get(id)) {
            if now.since(stored.at) <= age_max {
                break;
            }
            self.drop_oldest();
        }
    }

    /// At most `count` from the `skip`th youngest on, the youngest first.
    pub(super) fn recent(
        &self,
        skip: usize,
        count: usize,
    ) -> impl Iterator<Item = (&MessageId, &Stored)> {
        let ids = self.order.iter().rev().skip(skip).take(count);
        ids.filter_map(|id| self.entries.get_key_value(id))
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MessageId {
        MessageId([n; 32])
    }

    #[test]
    fn garbage_never_evicts_what_was_accepted() {
        let mut seen = Seen::new(4, 2, 8);
        seen.insert(Time(1), id(0), Outcome::Accepted);
        for n in 1..100 {
            seen.insert(Time(2), id(n), Outcome::Rejected);
        }
        assert_eq!(seen.get(&id(0)), Some((Time(1), Outcome::Accepted)));
        assert_eq!(seen.len(), 3);
        seen.sweep(Time(20), 10);
        assert_eq!(seen.len(), 0);
    }

    /// Attack row 29: replay after eviction is refused by age, and an origin that floods only
    /// pushes out its own messages.
    #[test]
    fn a_forgotten_signed_message_is_refused_by_age() {
        let (flooder, other) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let mut seen = Seen::new(4, 2, 2);
        seen.insert_signed(other, Time(5), id(9));
        for n in 1..=3 {
            seen.insert_signed(flooder, Time(n), id(n as u8));
        }
        assert!(seen.origin_refuses(&flooder, Time(1), &id(1)), "evicted, so too old");
        assert!(seen.origin_refuses(&flooder, Time(2), &id(2)), "still remembered");
        assert!(!seen.origin_refuses(&flooder, Time(4), &id(4)));
        assert!(!seen.origin_refuses(&other, Time(1), &id(8)), "others are untouched");
        seen.sweep_origins(Time(6), &BTreeSet::from([flooder, other]));
        assert!(seen.origin_refuses(&other, Time(5), &id(9)));
    }

    #[test]
    fn bodies_are_bounded_in_count_bytes_and_time() {
        let mut bodies = Bodies::new(3, 10);
        let stored = |at| Stored {
            at: Time(at),
            kind: Kind::Block,
            topic: Topic(0),
            hops: 0,
            body: Bytes::from_static(b"1234"),
        };
        for n in 0..5 {
            bodies.insert(id(n), stored(u64::from(n)));
        }
        let recent: Vec<_> = bodies.recent(0, 9).map(|(id, _)| *id).collect();
        assert_eq!((recent, bodies.bytes()), (vec![id(4), id(3)], 8));
        bodies.sweep(Time(14), 10);
        assert_eq!(bodies.bytes(), 4);
    }
}
