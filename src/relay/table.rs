//! Every message we know of, once: how it stands, who has it, and its body while it is served.
//!
//! # Security
//! Provided: every order is bounded, oldest out first, and each is evicted by itself only: a
//! flood of garbage can't make us forget what we accepted and relay it again, nor who sent us what
//! got no verdict. What waits for a check or was asked for is in no order; the bounds of those who
//! wait ([`super::pending`], [`super::asks`]) are its bounds.
//! Not provided: memory of what was dropped without a verdict beyond the youngest few.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

pub(super) use super::orders::State;
use super::{
    index::Index,
    orders::Orders,
    peer_set::{PeerSet, PeerSlot},
    slab::{Order, Slab},
};
use crate::{
    kinds::Kind,
    messages::{MessageId, Topic},
    time::{Millis, Time},
};

/// Messages of which somebody was served more than one copy, at most.
const SERVED_AGAIN_MAX: usize = 16_384;

/// One message.
pub(super) struct Entry {
    pub(super) id: MessageId,
    hash: u32,
    pub(super) state: State,
    /// When it got this state.
    pub(super) at: Time,
    /// It has the message: we sent it, it sent or announced it.
    pub(super) has: PeerSet,
    /// It sent us a copy.
    pub(super) sent: PeerSet,
    /// We asked it for one, so one more is welcome.
    pub(super) asked: PeerSet,
    /// We announced it since `announced_at`.
    announced: PeerSet,
    announced_at: Time,
    /// How often announcing began anew.
    rounds: u8,
    served: PeerSet,
    pub(super) kind: Kind,
    pub(super) topic: Topic,
    pub(super) hops: u8,
    /// While it can be served.
    pub(super) body: Option<Bytes>,
}

/// The bounds of a [`Table`].
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) accepted: usize,
    pub(super) refused: usize,
    pub(super) bodies: usize,
    pub(super) body_bytes: usize,
}

/// All messages.
pub(super) struct Table {
    slab: Slab<Entry>,
    index: Index,
    limits: Limits,
    orders: Orders,
    /// Accepted messages with a body, oldest first.
    bodies: VecDeque<u32>,
    body_bytes: usize,
    /// Copies served beyond the first.
    served_again: BTreeMap<(u32, PeerSlot), u8>,
}

impl Entry {
    /// Which of `to` to announce the message to now; they count as told. Everybody is told again
    /// after `again`, then after twice that, and so on.
    pub(super) fn announce(&mut self, now: Time, to: &mut PeerSet, again: Millis) {
        to.remove_all(&self.has);
        if to.is_empty() {
            return;
        }
        let pause = again.saturating_mul(1u64.wrapping_shl(u32::from(self.rounds.min(16))));
        if self.announced.is_empty() {
            self.announced_at = now;
        } else if now.since(self.announced_at) >= pause {
            self.announced.clear();
            self.announced_at = now;
            self.rounds = self.rounds.saturating_add(1);
        }
        to.remove_all(&self.announced);
        self.announced.add_all(to);
    }

    /// Its queue was full: it does not have the message after all.
    pub(super) fn unlearn(&mut self, slot: PeerSlot) {
        self.has.remove(slot);
        self.announced.remove(slot);
    }
}

impl Table {
    pub(super) fn new(limits: Limits, secret: [u64; 2]) -> Self {
        Table {
            slab: Slab::default(),
            index: Index::new(secret),
            limits,
            orders: Orders::default(),
            bodies: VecDeque::new(),
            body_bytes: 0,
            served_again: BTreeMap::new(),
        }
    }

    /// The entry of a message. An id that was announced as of another kind is another message,
    /// which never comes: an id is of one kind ([`MessageId::of`]).
    pub(super) fn find(&self, kind: Kind, id: &MessageId) -> Option<u32> {
        self.find_if(id, |entry| entry.kind == kind)
    }

    /// Whether a message with this id came, and was of another kind.
    pub(super) fn came_as_another(&self, kind: Kind, id: &MessageId) -> bool {
        self.find_if(id, |entry| entry.kind != kind && !entry.state.is_absent()).is_some()
    }

    /// A question for this id as of another kind than this one, with its entry.
    pub(super) fn asked_as_another(&self, kind: Kind, id: &MessageId) -> Option<(u32, u32)> {
        let asked = |entry: &Entry| matches!(entry.state, State::Asked(_));
        let at = self.find_if(id, |entry| entry.kind != kind && asked(entry))?;
        match self.slab.get(at)?.state {
            State::Asked(ask) => Some((at, ask)),
            _ => None,
        }
    }

    fn find_if(&self, id: &MessageId, is_it: impl Fn(&Entry) -> bool) -> Option<u32> {
        let same = |at| self.slab.get(at).is_some_and(|entry| entry.id == *id && is_it(entry));
        self.index.get(self.index.hash(id), same)
    }

    pub(super) fn get(&self, at: u32) -> Option<&Entry> {
        self.slab.get(at)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Entry> {
        self.slab.get_mut(at)
    }

    /// The entry at a position, if it is still of this message.
    pub(super) fn get_same(&mut self, at: u32, id: &MessageId) -> Option<&mut Entry> {
        self.slab.get_mut(at).filter(|entry| entry.id == *id)
    }

    /// An entry, held, for a message that has none.
    pub(super) fn insert(&mut self, now: Time, id: MessageId, kind: Kind) -> u32 {
        let hash = self.index.hash(&id);
        let at = self.slab.insert(Entry {
            id,
            hash,
            state: State::Held,
            at: now,
            has: PeerSet::default(),
            sent: PeerSet::default(),
            asked: PeerSet::default(),
            announced: PeerSet::default(),
            announced_at: Time::ZERO,
            rounds: 0,
            served: PeerSet::default(),
            kind,
            topic: Topic(0),
            hops: 0,
            body: None,
        });
        self.index.insert(hash, at);
        at
    }

    fn find_or_insert(&mut self, now: Time, id: MessageId, kind: Kind) -> u32 {
        self.find(kind, &id).unwrap_or_else(|| self.insert(now, id, kind))
    }

    /// Remembers how a message that is never waited for ended; names the question for it that is
    /// now answered, if there was one.
    #[must_use]
    pub(super) fn note(
        &mut self,
        now: Time,
        id: MessageId,
        kind: Kind,
        state: State,
    ) -> Option<u32> {
        let at = self.find_or_insert(now, id, kind);
        let before = self.slab.get(at).map(|entry| entry.state);
        self.set(now, at, state);
        match before {
            Some(State::Asked(ask)) => Some(ask),
            _ => None,
        }
    }

    /// Changes how a message stands; it is the youngest of its order from now on.
    pub(super) fn set(&mut self, now: Time, at: u32, state: State) {
        let Some(entry) = self.slab.get_mut(at) else { return };
        let old = std::mem::replace(&mut entry.state, state);
        entry.at = now;
        if let Some(order) = self.orders.of(old) {
            self.slab.unlink(order, at);
        }
        if let Some(order) = self.orders.of(state) {
            self.slab.append(order, at);
        }
        while let Some(at) = self.orders.surplus(&self.limits) {
            self.remove(at);
        }
    }

    /// Nobody is asked any more for a message that was asked for. If it came before, that is
    /// remembered.
    pub(super) fn give_up(&mut self, now: Time, at: u32) {
        let came = self.slab.get(at).is_some_and(|entry| !entry.sent.is_empty());
        self.set(now, at, if came { State::Loose } else { State::Missed });
    }

    fn remove(&mut self, at: u32) {
        let state = self.slab.get(at).map(|entry| entry.state);
        if let Some(order) = state.and_then(|state| self.orders.of(state)) {
            self.slab.unlink(order, at);
        }
        let Some(entry) = self.slab.remove(at) else { return };
        self.index.remove(entry.hash, at);
        if let Some(body) = entry.body {
            self.body_bytes = self.body_bytes.saturating_sub(body.len());
            // Bodies are in the order in which messages were accepted, so it is the first.
            if self.bodies.front() == Some(&at) {
                self.bodies.pop_front();
            } else {
                self.bodies.retain(|other| *other != at);
            }
        }
        if !entry.served.is_empty() && !self.served_again.is_empty() {
            for slot in entry.served.iter() {
                self.served_again.remove(&(at, slot));
            }
        }
    }

    /// Keeps the body of an accepted message to be announced and served.
    pub(super) fn keep(&mut self, at: u32, kind: Kind, topic: Topic, hops: u8, body: Bytes) {
        let Some(entry) = self.slab.get_mut(at).filter(|entry| entry.body.is_none()) else {
            return;
        };
        self.body_bytes = self.body_bytes.saturating_add(body.len());
        (entry.kind, entry.topic, entry.hops, entry.body) = (kind, topic, hops, Some(body));
        self.bodies.push_back(at);
        while self.bodies.len() > self.limits.bodies || self.body_bytes > self.limits.body_bytes {
            if !self.drop_oldest_body() {
                break;
            }
        }
    }

    fn drop_oldest_body(&mut self) -> bool {
        let Some(at) = self.bodies.pop_front() else { return false };
        if let Some(body) = self.slab.get_mut(at).and_then(|entry| entry.body.take()) {
            self.body_bytes = self.body_bytes.saturating_sub(body.len());
        }
        true
    }

    /// Whether the message may be served to a peer once more, at most so many `times` in all and
    /// if there is `room`; if so it counts as served.
    pub(super) fn may_serve(
        &mut self,
        at: u32,
        slot: PeerSlot,
        times: u8,
        room: impl FnOnce() -> bool,
    ) -> bool {
        let Some(entry) = self.slab.get_mut(at) else { return false };
        let again = match entry.served.contains(slot) {
            true => self.served_again.get(&(at, slot)).copied().unwrap_or(0).saturating_add(1),
            false => 0,
        };
        let full = again == 1 && self.served_again.len() >= SERVED_AGAIN_MAX;
        if again >= times || full || !room() {
            return false;
        }
        entry.has.insert(slot);
        if !entry.served.insert(slot) {
            self.served_again.insert((at, slot), again);
        }
        true
    }

    /// Forgets what got its verdict longer than `age_max` ago, and what has been missed for longer
    /// than `missed_max`. What was dropped without a verdict is remembered by count only, so that
    /// a neighbour that sends old messages again is noticed.
    pub(super) fn sweep(&mut self, now: Time, age_max: Millis, missed_max: Millis) {
        let old = |table: &Table, order: &Order, age_max: Millis| {
            let first = order.first()?;
            let at = table.slab.get(first).map_or(Time::ZERO, |entry| entry.at);
            (now.since(at) > age_max).then_some(first)
        };
        while let Some(at) = old(self, &self.orders.accepted, age_max)
            .or_else(|| old(self, &self.orders.refused, age_max))
            .or_else(|| old(self, &self.orders.missed, missed_max))
        {
            self.remove(at);
        }
    }

    /// Forgets bodies that were kept longer than `age_max`.
    pub(super) fn sweep_bodies(&mut self, now: Time, age_max: Millis) {
        while let Some(entry) = self.bodies.front().and_then(|at| self.slab.get(*at)) {
            if now.since(entry.at) <= age_max {
                break;
            }
            self.drop_oldest_body();
        }
    }

    /// Forgets everything about these slots, so that others may have them.
    pub(super) fn forget_peers(&mut self, gone: &PeerSet) {
        for (_, entry) in self.slab.iter_mut() {
            let Entry { has, sent, asked, announced, served, .. } = entry;
            [has, sent, asked, announced, served].into_iter().for_each(|set| set.remove_all(gone));
        }
        self.served_again.retain(|(_, slot), _| !gone.contains(*slot));
    }

    /// The `skip`th youngest message with a body.
    pub(super) fn recent(&mut self, skip: usize) -> Option<&mut Entry> {
        let from_front = self.bodies.len().checked_sub(skip.saturating_add(1))?;
        self.slab.get_mut(*self.bodies.get(from_front)?)
    }

    /// Messages with a body.
    pub(super) fn bodies(&self) -> usize {
        self.bodies.len()
    }

    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// All entries.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Entries of messages dropped without a verdict, and cells that were ever needed.
    #[cfg(test)]
    pub(super) fn loose_and_cells(&self) -> (usize, usize) {
        (self.orders.loose.len(), self.slab.cells().saturating_add(self.index.cells()))
    }
}

#[cfg(test)]
mod tests;
