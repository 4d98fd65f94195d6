//! Announcing what was accepted, asking for what was announced, serving what is asked for.
//!
//! Pushing is fast; this is what makes it complete. It heals partitions, full queues and the
//! peers that selective mode left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use rand::Rng;

use super::{Action, Delivery, DropReason, Relay, RelayFault};
use crate::{
    codec::{Capped, decode, encode},
    header::Header,
    identity::NodeId,
    kinds::{Kind, RelayMode, Sender},
    messages::{Inventory, InventoryItem, MessageId, Outgoing},
    time::Time,
};

/// Ids in one announcement or question ([`Inventory`]).
const ITEMS_MAX: usize = 512;
/// Other announcers remembered for an id that was asked of one.
const ANNOUNCERS_MAX: usize = 4;

/// Messages looked through for one announcement: so many of the youngest, and as many of the rest
/// in turn. Keeps the work of a round small when there is nothing to tell.
const SCAN: usize = 2_048;

/// An id that was asked of one peer.
struct Ask {
    kind: Kind,
    from: NodeId,
    deadline: Time,
    others: VecDeque<NodeId>,
}

/// Everything asked for and not here yet.
#[derive(Default)]
pub(super) struct Asks {
    open: BTreeMap<MessageId, Ask>,
    deadlines: BTreeSet<(Time, MessageId)>,
}

impl Asks {
    fn remove(&mut self, id: &MessageId) -> Option<Ask> {
        let ask = self.open.remove(id)?;
        self.deadlines.remove(&(ask.deadline, *id));
        Some(ask)
    }

    fn insert(&mut self, id: MessageId, ask: Ask) {
        self.deadlines.insert((ask.deadline, id));
        self.open.insert(id, ask);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Relay {
    /// Announces to a few random peers what they are not known to have.
    pub(super) fn announce_round(&mut self, now: Time, out: &mut Vec<Action>) {
        self.bodies.sweep(now, self.config.gossip.ttl_ms);
        let mut peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for _ in 0..self.config.gossip.fanout {
            let Some(last) = u64::try_from(peers.len()).ok().filter(|n| *n > 0) else { break };
            let at = usize::try_from(self.rng.next_u64() % last).unwrap_or(0);
            let peer = peers.swap_remove(at);
            self.announce_to(now, peer, out);
        }
    }

    /// One announcement to one peer, the youngest messages first.
    pub(super) fn announce_to(&mut self, now: Time, peer: NodeId, out: &mut Vec<Action>) {
        let again = self.config.gossip.reannounce_ms;
        let mut allowed: BTreeMap<Kind, bool> = BTreeMap::new();
        let mut items = Vec::new();
        let Some(mut state) = self.peers.remove(&peer) else { return };
        let member = state.validator.is_some_and(|key| self.validators.contains(&key));
        if SCAN.saturating_add(state.cursor) >= self.bodies.len() {
            state.cursor = 0;
        }
        let rest = self.bodies.recent(SCAN.saturating_add(state.cursor), SCAN);
        state.cursor = state.cursor.saturating_add(SCAN);
        for (id, stored) in self.bodies.recent(0, SCAN).chain(rest) {
            if items.len() >= ITEMS_MAX {
                break;
            }
            let kind = stored.kind;
            let may = *allowed.entry(kind).or_insert_with(|| self.may_announce(kind, member));
            if may && state.may_announce(now, *id, again) {
                items.push(InventoryItem { kind: kind.byte(), id: *id });
            }
        }
        self.peers.insert(peer, state);
        Self::send_inventory(Kind::Have, peer, items, out);
    }

    fn may_announce(&self, kind: Kind, member: bool) -> bool {
        if kind.row().sender == Sender::Validator && !self.is_validator() {
            return false;
        }
        member || self.config.mode(kind) != Some(RelayMode::ValidatorOnly)
    }

    fn send_inventory(kind: Kind, to: NodeId, items: Vec<InventoryItem>, out: &mut Vec<Action>) {
        if items.is_empty() {
            return;
        }
        let body = encode(&Inventory { items: Capped::first(items) }).unwrap_or_default();
        let message = Outgoing { kind, header: Header::EMPTY, body: body.into() };
        out.push(Action::Send { to: vec![to], id: None, message });
    }

    /// The items of an inventory; a peer that sends anything else is at fault (attack row 30).
    fn read_inventory(
        kind: Kind,
        peer: NodeId,
        body: &Bytes,
        out: &mut Vec<Action>,
    ) -> Option<Vec<(Kind, MessageId)>> {
        let Ok(inventory) = decode::<Inventory>(body, kind.row().body_max) else {
            Self::count(kind, DropReason::Malformed, out);
            Self::penalise(peer, RelayFault::MalformedMessage, "inventory", out);
            return None;
        };
        let items = inventory.items.iter().map(|item| {
            let kind = Kind::from_byte(item.kind)?;
            kind.row().relay.map(|_| (kind, item.id))
        });
        let items: Option<Vec<_>> = items.collect();
        if items.is_none() {
            Self::count(kind, DropReason::WrongKind, out);
            Self::penalise(peer, RelayFault::ProtocolViolation, "inventory of a kind", out);
        }
        items
    }

    /// A peer announced messages: ask for those we don't have, each of one peer at a time.
    pub(super) fn on_have(&mut self, now: Time, peer: NodeId, body: &Bytes, out: &mut Vec<Action>) {
        let Some(items) = Self::read_inventory(Kind::Have, peer, body, out) else { return };
        let proven = self.peers.get(&peer).is_some_and(|state| state.validator.is_some());
        let (member, own_role) = (self.is_member(&peer), self.is_validator());
        let mut wants = Vec::new();
        for (kind, id) in items {
            if kind.row().sender == Sender::Validator {
                if !proven {
                    Self::count(kind, DropReason::WrongRole, out);
                    return Self::penalise(peer, RelayFault::WrongRole, "announced", out);
                }
                let closed = self.config.mode(kind) == Some(RelayMode::ValidatorOnly) && !own_role;
                if !member || closed {
                    Self::count(kind, DropReason::NotInSet, out);
                    continue;
                }
            }
            if let Some(state) = self.peers.get_mut(&peer) {
                state.learn(id);
            }
            if self.seen.get(&id).is_none() && !self.pending.contains(&id) {
                self.want(now, peer, kind, id, &mut wants, out);
            }
        }
        Self::send_inventory(Kind::Want, peer, wants, out);
    }

    fn want(
        &mut self,
        now: Time,
        peer: NodeId,
        kind: Kind,
        id: MessageId,
        wants: &mut Vec<InventoryItem>,
        out: &mut Vec<Action>,
    ) {
        if let Some(ask) = self.asks.open.get_mut(&id) {
            let known = ask.from == peer || ask.others.contains(&peer);
            if !known && ask.others.len() < ANNOUNCERS_MAX {
                ask.others.push_back(peer);
            }
            return;
        }
        let full = self.asks.open.len() >= self.config.gossip.wants_max;
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if now < state.backoff_until {
            return Self::count(kind, DropReason::BackOff, out);
        }
        if full || state.asks >= self.config.gossip.wants_per_peer {
            return Self::count(kind, DropReason::WantsFull, out);
        }
        state.on_asked(id);
        let deadline = now.plus(self.config.gossip.want_timeout_ms);
        self.asks.insert(id, Ask { kind, from: peer, deadline, others: VecDeque::new() });
        wants.push(InventoryItem { kind: kind.byte(), id });
    }

    /// A message is here, from whomever: nobody needs to send it any more.
    pub(super) fn on_arrived(&mut self, id: &MessageId) {
        if let Some(ask) = self.asks.remove(id)
            && let Some(state) = self.peers.get_mut(&ask.from)
        {
            state.asks = state.asks.saturating_sub(1);
        }
    }

    /// Asks the next announcer for everything that did not come in time.
    pub(super) fn expire_asks(&mut self, now: Time, out: &mut Vec<Action>) {
        let mut wants: BTreeMap<NodeId, Vec<InventoryItem>> = BTreeMap::new();
        while let Some((at, id)) = self.asks.deadlines.first().copied() {
            if at > now {
                break;
            }
            let Some(ask) = self.asks.remove(&id) else { break };
            let backoff = self.config.gossip.broken_backoff_ms;
            if let Some(state) = self.peers.get_mut(&ask.from) {
                state.on_broken(now, backoff);
                let (peer, kind, delivery) = (ask.from, ask.kind, Delivery::Broken);
                out.push(Action::Credit { peer, kind, delivery });
                Self::count(kind, DropReason::BrokenPromise, out);
            }
            self.ask_next(now, id, ask, &mut wants, out);
        }
        Self::send_wants(wants, out);
    }

    /// A peer is gone: what was asked of it is asked of the next announcer.
    pub(super) fn reassign_asks(&mut self, now: Time, gone: &NodeId, out: &mut Vec<Action>) {
        let theirs = self.asks.open.iter().filter(|(_, ask)| ask.from == *gone);
        let ids: Vec<MessageId> = theirs.map(|(id, _)| *id).collect();
        let mut wants = BTreeMap::new();
        for id in ids {
            if let Some(ask) = self.asks.remove(&id) {
                self.ask_next(now, id, ask, &mut wants, out);
            }
        }
        Self::send_wants(wants, out);
    }

    fn ask_next(
        &mut self,
        now: Time,
        id: MessageId,
        mut ask: Ask,
        wants: &mut BTreeMap<NodeId, Vec<InventoryItem>>,
        out: &mut Vec<Action>,
    ) {
        while let Some(next) = ask.others.pop_front() {
            let mut items = Vec::new();
            self.want(now, next, ask.kind, id, &mut items, out);
            if !items.is_empty() {
                wants.entry(next).or_default().append(&mut items);
                if let Some(open) = self.asks.open.get_mut(&id) {
                    open.others = ask.others;
                }
                return;
            }
        }
    }

    fn send_wants(wants: BTreeMap<NodeId, Vec<InventoryItem>>, out: &mut Vec<Action>) {
        for (peer, items) in wants {
            for part in items.chunks(ITEMS_MAX) {
                Self::send_inventory(Kind::Want, peer, part.to_vec(), out);
            }
        }
    }

    /// A peer asks for messages: serve each at most a few times, within its bytes a second.
    pub(super) fn on_want(&mut self, now: Time, peer: NodeId, body: &Bytes, out: &mut Vec<Action>) {
        let Some(items) = Self::read_inventory(Kind::Want, peer, body, out) else { return };
        for (kind, id) in items {
            let Some(stored) = self.bodies.get(&id).filter(|stored| stored.kind == kind).cloned()
            else {
                Self::count(kind, DropReason::NotHere, out);
                continue;
            };
            // Also what it can't know of is refused without a fault: views of the set differ.
            if !self.may_get(kind, &peer) {
                Self::count(kind, DropReason::WrongRole, out);
                continue;
            }
            let bytes = u64::try_from(stored.body.len()).unwrap_or(u64::MAX);
            let times = self.config.gossip.serves_per_id;
            let state = self.peers.get_mut(&peer);
            if !state.is_some_and(|state| state.may_serve(now, id, bytes, times)) {
                Self::count(kind, DropReason::ServeLimit, out);
                continue;
            }
            let hops = stored.hops.saturating_add(1).min(self.config.max_hops);
            let message = Self::outgoing(kind, hops, stored.topic, &stored.body);
            out.push(Action::Send { to: vec![peer], id: Some(id), message });
        }
    }
}
