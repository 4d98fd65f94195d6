//! Announcing what was accepted, asking for what was announced, serving what is asked for.
//!
//! A few peers are pushed a message ([`super::forward`]); the others are told of it at once, or
//! with others of its kind a moment later. Rounds in which everything recent is announced again
//! make it complete: they heal partitions, full queues and the peers that selective mode left out.

use std::collections::BTreeMap;

use super::{
    Action, Delivery, DropReason, Relay, RelayFault,
    asks::{Announcers, Ask},
    inventory::{ITEMS_MAX, Item},
    peer_set::{PeerSet, PeerSlot},
    table::State,
};
use crate::{
    kinds::{Kind, RelayMode, Sender},
    messages::MessageId,
    time::Time,
};

/// Messages looked through for one announcement: so many of the youngest, and as many of the rest
/// in turn. Keeps the work of a round small when there is nothing to tell.
const SCAN: usize = 2_048;

/// Messages that some peers will be told of in a moment.
#[derive(Default)]
pub(super) struct Lazy {
    waiting: Vec<Fresh>,
    due: Option<Time>,
}

/// One of them, and who is to be told.
struct Fresh {
    entry: u32,
    item: Item,
    to: PeerSet,
}

impl Lazy {
    pub(super) fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// These slots get other peers, who are told in rounds.
    pub(super) fn forget_peers(&mut self, gone: &PeerSet) {
        self.waiting.iter_mut().for_each(|fresh| fresh.to.remove_all(gone));
    }
}

impl Relay {
    /// Tells peers that a message just accepted can be had here: of blocks at once, of the rest
    /// after a short delay or when an announcement is full.
    pub(super) fn announce(
        &mut self,
        now: Time,
        entry: u32,
        item: Item,
        mut to: PeerSet,
        out: &mut Vec<Action>,
    ) {
        if item.0 != Kind::Block {
            self.lazy.waiting.push(Fresh { entry, item, to });
            self.lazy.due.get_or_insert(now.plus(self.config.announce_delay_ms));
            if self.lazy.waiting.len() >= ITEMS_MAX {
                self.announce_waiting(now, out);
            }
            return;
        }
        if let Some(entry) = self.table.get_same(entry, &item.1) {
            entry.announce(now, &mut to, self.config.gossip.reannounce_ms);
        }
        if !to.is_empty() {
            Self::send_inventory(Kind::Have, &to, &[item], out);
        }
    }

    /// Tells everybody who is to be told and has not got the message meanwhile.
    pub(super) fn announce_waiting(&mut self, now: Time, out: &mut Vec<Action>) {
        self.lazy.due = None;
        let mut waiting = std::mem::take(&mut self.lazy.waiting);
        let mut everyone = PeerSet::default();
        for fresh in &mut waiting {
            fresh.to.keep_only(&self.may_get(fresh.item.0));
            if let Some(entry) = self.table.get_same(fresh.entry, &fresh.item.1) {
                entry.announce(now, &mut fresh.to, self.config.gossip.reannounce_ms);
            }
            everyone.add_all(&fresh.to);
        }
        let mut items = Vec::with_capacity(waiting.len());
        for slot in everyone.iter() {
            items.clear();
            let theirs = waiting.iter().filter(|fresh| fresh.to.contains(slot));
            items.extend(theirs.map(|fresh| fresh.item));
            Self::send_inventory(Kind::Have, &PeerSet::one(slot), &items, out);
        }
        waiting.clear();
        self.lazy.waiting = waiting;
    }

    /// Announces to a few random peers what they are not known to have.
    pub(super) fn announce_round(&mut self, now: Time, out: &mut Vec<Action>) {
        self.table.sweep_bodies(now, self.config.gossip.ttl_ms);
        let mut rest = self.peers.connected.clone();
        for slot in self.choose(&mut rest, self.config.gossip.fanout).iter() {
            self.announce_recent(now, slot, out);
        }
    }

    /// One announcement to one peer, the youngest messages first.
    pub(super) fn announce_recent(&mut self, now: Time, slot: PeerSlot, out: &mut Vec<Action>) {
        let again = self.config.gossip.reannounce_ms;
        let member = self.peers.members.contains(slot);
        let full = self.peers.full.contains(slot);
        let mut allowed: BTreeMap<Kind, bool> = BTreeMap::new();
        let mut items: Vec<Item> = Vec::new();
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if SCAN.saturating_add(peer.cursor) >= self.table.bodies() {
            peer.cursor = 0;
        }
        let rest = SCAN.saturating_add(peer.cursor);
        peer.cursor = peer.cursor.saturating_add(SCAN);
        let bodies = self.table.bodies();
        for skip in (0..SCAN).chain(rest..rest.saturating_add(SCAN)).take_while(|at| *at < bodies) {
            if items.len() >= ITEMS_MAX {
                break;
            }
            let Some(kind) = self.table.recent(skip).map(|entry| entry.kind) else {
                if skip < SCAN { continue } else { break }
            };
            let may = *allowed.entry(kind).or_insert_with(|| {
                (full || !Self::is_withheld(kind)) && self.may_announce(kind, member)
            });
            let mut to = PeerSet::one(slot);
            if may && let Some(entry) = self.table.recent(skip) {
                entry.announce(now, &mut to, again);
                if !to.is_empty() {
                    items.push((kind, entry.id));
                }
            }
        }
        Self::send_inventory(Kind::Have, &PeerSet::one(slot), &items, out);
    }

    fn may_announce(&self, kind: Kind, member: bool) -> bool {
        if kind.row().sender == Sender::Validator && !self.is_validator() {
            return false;
        }
        member || self.config.mode(kind) != Some(RelayMode::ValidatorOnly)
    }

    /// A peer announced messages: ask for those we don't have, each of one peer at a time.
    pub(super) fn on_have(
        &mut self,
        now: Time,
        slot: PeerSlot,
        body: &[u8],
        out: &mut Vec<Action>,
    ) {
        let Some(items) = self.read_inventory(Kind::Have, slot, body, out) else { return };
        let proven = self.peers.get(slot).is_some_and(|peer| peer.validator.is_some());
        let blocks_only = !self.peers.full.contains(slot);
        let (member, own_role) = (self.peers.members.contains(slot), self.is_validator());
        let mut wants = Vec::new();
        for (kind, id) in items {
            if kind.row().sender == Sender::Validator {
                if !proven {
                    self.drops.add(kind, DropReason::WrongRole);
                    return self.penalise(slot, RelayFault::WrongRole, "announced", out);
                }
                let closed = self.config.mode(kind) == Some(RelayMode::ValidatorOnly) && !own_role;
                if !member || closed {
                    self.drops.add(kind, DropReason::NotInSet);
                    continue;
                }
            }
            if blocks_only && Self::is_withheld(kind) {
                self.drops.add(kind, DropReason::BlocksOnly);
                continue;
            }
            let entry = self.table.find(kind, &id);
            if entry.is_none() && self.table.came_as_another(kind, &id) {
                self.disproved(slot, kind, out);
                continue;
            }
            if let Some(known) = entry.and_then(|at| self.table.get_mut(at)) {
                known.has.insert(slot);
            }
            if self.want(now, slot, kind, id, entry) {
                wants.push((kind, id));
            }
        }
        Self::send_inventory(Kind::Want, &PeerSet::one(slot), &wants, out);
    }

    /// Whether to ask a peer for a message that it announced; if so it counts as asked.
    fn want(
        &mut self,
        now: Time,
        slot: PeerSlot,
        kind: Kind,
        id: MessageId,
        entry: Option<u32>,
    ) -> bool {
        match entry.and_then(|at| self.table.get(at)).map(|entry| entry.state) {
            None | Some(State::Loose | State::Missed) => {}
            Some(State::Asked(ask)) => {
                if let Some(ask) = self.asks.get_mut(ask).filter(|ask| ask.from != slot) {
                    ask.others.add(slot);
                }
                return false;
            }
            Some(State::Held | State::Accepted | State::Ignored | State::Rejected) => return false,
        }
        let full = self.asks.len() >= self.config.gossip.wants_max;
        let Some(peer) = self.peers.get_mut(slot) else { return false };
        if now < peer.backoff_until {
            self.drops.add(kind, DropReason::BackOff);
            return false;
        }
        if full || peer.asks >= self.config.gossip.wants_per_peer {
            self.drops.add(kind, DropReason::WantsFull);
            return false;
        }
        peer.asks = peer.asks.saturating_add(1);
        let entry = entry.unwrap_or_else(|| self.table.insert(now, id, kind));
        let deadline = now.plus(self.config.gossip.want_timeout_ms);
        let others = Announcers::default();
        let ask = self.asks.insert(Ask { entry, id, kind, from: slot, deadline, others });
        self.table.set(now, entry, State::Asked(ask));
        if let Some(entry) = self.table.get_mut(entry) {
            entry.has.insert(slot);
            entry.asked.insert(slot);
        }
        true
    }

    /// A message that was asked for is here, from whomever: nobody needs to send it any more.
    pub(super) fn on_answered(&mut self, ask: u32) -> Option<Ask> {
        let ask = self.asks.remove(ask)?;
        if let Some(peer) = self.peers.had_mut(ask.from) {
            peer.asks = peer.asks.saturating_sub(1);
        }
        Some(ask)
    }

    /// Remembers how a message that is never waited for ended.
    pub(super) fn note(&mut self, now: Time, id: MessageId, kind: Kind, state: State) {
        if let Some(ask) = self.table.note(now, id, kind, state) {
            self.on_answered(ask);
        }
    }

    /// A message is here that was also asked for as of other kinds: an id is of one kind, so
    /// whoever announced it as of another made that up.
    pub(super) fn disprove_others(
        &mut self,
        now: Time,
        kind: Kind,
        id: &MessageId,
        out: &mut Vec<Action>,
    ) {
        while let Some((entry, ask)) = self.table.asked_as_another(kind, id) {
            self.table.give_up(now, entry);
            let Some(mut ask) = self.on_answered(ask) else { continue };
            self.disproved(ask.from, ask.kind, out);
            while let Some(other) = ask.others.pop() {
                self.disproved(other, ask.kind, out);
            }
        }
    }

    fn disproved(&mut self, slot: PeerSlot, kind: Kind, out: &mut Vec<Action>) {
        self.drops.add(kind, DropReason::WrongKind);
        self.penalise(slot, RelayFault::ProtocolViolation, "announced as another kind", out);
    }

    /// Asks the next announcer for everything that did not come in time.
    pub(super) fn expire_asks(&mut self, now: Time, out: &mut Vec<Action>) {
        let mut wants = BTreeMap::new();
        while let Some(ask) = self.asks.take_expired(now) {
            let backoff = self.config.gossip.broken_backoff_ms;
            if let Some(peer) = self.peers.get_mut(ask.from) {
                peer.on_broken(now, backoff);
                self.credit(ask.from, ask.kind, Delivery::Broken);
                self.drops.add(ask.kind, DropReason::BrokenPromise);
            }
            self.ask_next(now, ask, &mut wants);
        }
        Self::send_wants(&wants, out);
    }

    /// A peer is gone: what was asked of it is asked of the next announcer.
    pub(super) fn reassign_asks(&mut self, now: Time, gone: PeerSlot, out: &mut Vec<Action>) {
        let mut wants = BTreeMap::new();
        for ask in self.asks.take_of(gone) {
            self.ask_next(now, ask, &mut wants);
        }
        Self::send_wants(&wants, out);
    }

    fn ask_next(&mut self, now: Time, mut ask: Ask, wants: &mut BTreeMap<PeerSlot, Vec<Item>>) {
        // From here on the entry may be evicted, so it is looked up again.
        self.table.give_up(now, ask.entry);
        while let Some(next) = ask.others.pop() {
            let entry = self.table.find(ask.kind, &ask.id);
            if !self.want(now, next, ask.kind, ask.id, entry) {
                continue;
            }
            wants.entry(next).or_default().push((ask.kind, ask.id));
            let entry = self.table.find(ask.kind, &ask.id).and_then(|at| self.table.get(at));
            if let Some(State::Asked(open)) = entry.map(|entry| entry.state)
                && let Some(open) = self.asks.get_mut(open)
            {
                open.others = ask.others;
            }
            return;
        }
    }

    fn send_wants(wants: &BTreeMap<PeerSlot, Vec<Item>>, out: &mut Vec<Action>) {
        for (slot, items) in wants {
            Self::send_inventory(Kind::Want, &PeerSet::one(*slot), items, out);
        }
    }

    /// A peer asks for messages: serve each at most a few times, within its bytes a second.
    pub(super) fn on_want(
        &mut self,
        now: Time,
        slot: PeerSlot,
        body: &[u8],
        out: &mut Vec<Action>,
    ) {
        let Some(items) = self.read_inventory(Kind::Want, slot, body, out) else { return };
        for (kind, id) in items {
            let found = self.table.find(kind, &id);
            let entry = found.and_then(|at| self.table.get(at));
            let stored = entry.and_then(|e| Some((found?, e.topic, e.hops, e.body.clone()?)));
            let Some((at, topic, hops, body)) = stored else {
                self.drops.add(kind, DropReason::NotHere);
                continue;
            };
            // Also what it can't know of is refused without a fault: views of the set differ.
            if !self.may_get(kind).contains(slot) {
                self.drops.add(kind, DropReason::WrongRole);
                continue;
            }
            let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
            let peer = self.peers.get_mut(slot);
            let room = || peer.is_some_and(|peer| peer.serve_bytes.take(now, bytes));
            if !self.table.may_serve(at, slot, self.config.gossip.serves_per_id, room) {
                self.drops.add(kind, DropReason::ServeLimit);
                continue;
            }
            let hops = hops.saturating_add(1).min(self.config.max_hops);
            let message = Self::outgoing(kind, hops, topic, &body);
            out.push(Action::Send { to: PeerSet::one(slot), id: Some(id), message });
        }
    }
}
