//! The way of a message into the node: class checks, duplicates, origin and age. What passes
//! waits for its signature check and its verdict ([`super::verdict`]).

use bytes::Bytes;

use super::{
    Action, Delivered, Delivery, DropReason, Inbound, Relay, RelayFault, peer_set::PeerSlot,
    table::State,
};
use crate::{
    frame::COPY_MAX,
    identity::{NodeId, PublicKey},
    kinds::{Kind, RelayMode, Sender},
    messages::{GossipHeader, MessageId, Signed, Topic},
    time::Time,
};

/// The hop count that says: for the receiver alone, don't forward. Only for [`Kind::Custom`].
pub const DIRECT_HOPS: u8 = u8::MAX;

/// Who a gossiped message came from.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// A neighbour, who answers for what it sends.
    Peer(PeerSlot),
    /// A node that sealed it to us, proven by its signature; the carriers can't know the content.
    Sealed(NodeId),
}

/// A message that is not a duplicate.
struct Arrived {
    /// Its entry, held.
    entry: u32,
    /// Whether its sender sent it before, and was not asked to do so again.
    repeated: bool,
}

impl Source {
    pub(super) fn accountable(self) -> Option<PeerSlot> {
        match self {
            Source::Peer(slot) => Some(slot),
            Source::Sealed(_) => None,
        }
    }
}

/// A body to be kept: a copy of its own if it may be a slice of a large buffer, which it would
/// keep alive.
pub(super) fn own(body: &Bytes) -> Bytes {
    if body.len() <= COPY_MAX { Bytes::copy_from_slice(body) } else { body.clone() }
}

impl Relay {
    /// A message arrived from a connected peer. `wall` is the wall clock: stamps are compared
    /// with it, and nothing else is.
    pub fn on_message(
        &mut self,
        now: Time,
        wall: Time,
        slot: PeerSlot,
        message: Inbound,
        out: &mut Vec<Action>,
    ) {
        self.on_wall(now, wall);
        let kind = message.kind;
        if self.peers.get(slot).is_none() {
            return self.drops.add(kind, DropReason::UnknownPeer);
        }
        let row = kind.row();
        if message.body.len() > row.body_max {
            self.drops.add(kind, DropReason::TooLong);
            return self.penalise(slot, RelayFault::MalformedMessage, "too long", out);
        }
        // A peer that was told so too late, or does not care: neither costs it anything.
        if !self.peers.full.contains(slot) && Self::is_withheld(kind) {
            return self.drops.add(kind, DropReason::BlocksOnly);
        }
        if message.body.len() > self.body_max(kind) {
            return self.on_over_limit(now, kind, message.id);
        }
        match kind {
            Kind::Have => self.on_have(now, slot, &message.body, out),
            Kind::Want => self.on_want(now, slot, &message.body, out),
            Kind::Routed => self.on_routed(now, wall, slot, &message, out),
            _ if row.relay.is_some() => self.on_gossip(now, wall, slot, message, out),
            _ => self.drops.add(kind, DropReason::WrongKind),
        }
    }

    /// Within the protocol's limit and over our own: not for us, nobody's fault, and nothing that
    /// is waited for or asked for again.
    fn on_over_limit(&mut self, now: Time, kind: Kind, id: MessageId) {
        self.drops.add(kind, DropReason::TooLong);
        self.note(now, id, kind, State::Ignored);
    }

    fn on_gossip(
        &mut self,
        now: Time,
        wall: Time,
        slot: PeerSlot,
        message: Inbound,
        out: &mut Vec<Action>,
    ) {
        let kind = message.kind;
        let header = message.header.gossip();
        let Some(GossipHeader { hops, topic }) =
            header.filter(|header| kind == Kind::Custom || header.topic == Topic(0))
        else {
            self.drops.add(kind, DropReason::Malformed);
            return self.penalise(slot, RelayFault::MalformedMessage, "header", out);
        };
        let Some(peer) = self.peers.get(slot) else { return };
        let (node, proven) = (peer.node, peer.validator);
        if kind.row().sender == Sender::Validator && proven.is_none() {
            self.drops.add(kind, DropReason::WrongRole);
            return self.penalise(slot, RelayFault::WrongRole, kind.name(), out);
        }
        let message = Delivered {
            peer: node,
            kind,
            topic,
            body: message.body,
            id: message.id,
            hops,
            first_byte: message.first_byte,
            direct: kind == Kind::Custom && hops == DIRECT_HOPS,
        };
        // Who is connected needs no hole. Nobody's fault: the connection may be a moment old.
        if message.is_punch() {
            return self.drops.add(kind, DropReason::WrongKind);
        }
        self.receive(now, wall, Source::Peer(slot), proven, message, out);
    }

    /// What is common to messages from neighbours and messages that came sealed.
    pub(super) fn receive(
        &mut self,
        now: Time,
        wall: Time,
        source: Source,
        proven: Option<PublicKey>,
        message: Delivered,
        out: &mut Vec<Action>,
    ) {
        let kind = message.kind;
        if message.direct {
            // Not deduplicated: the same words may be said twice.
            return self.await_check(now, source, None, None, message, out);
        }
        if message.hops > self.config.max_hops {
            return self.drops.add(kind, DropReason::HopLimit);
        }
        let Some(Arrived { entry, repeated }) = self.arrive(now, source, &message, out) else {
            return self.drops.add(kind, DropReason::Duplicate);
        };
        let refusal = if kind.row().sender == Sender::Validator {
            self.check_role(kind, proven)
        } else {
            None
        };
        let checked = match refusal {
            Some(reason) => Err(reason),
            None if kind.row().signed => self.check_origin(wall, source, &message, out).map(Some),
            None => Ok(None),
        };
        match checked {
            Ok(signed) => self.await_check(now, source, Some(entry), signed, message, out),
            Err(reason) => {
                self.let_go(now, Some(entry), kind, reason);
                // Only a second copy from the same neighbour proves a replay of its own.
                if let Some(slot) = source.accountable()
                    && reason == DropReason::Expired
                    && repeated
                {
                    self.penalise(slot, RelayFault::Replay, kind.name(), out);
                }
            }
        }
    }

    /// The duplicate check, before anything of the body is looked at (attack row 27): the one
    /// look-up of a message. `None` for a duplicate.
    fn arrive(
        &mut self,
        now: Time,
        source: Source,
        message: &Delivered,
        out: &mut Vec<Action>,
    ) -> Option<Arrived> {
        let kind = message.kind;
        let found = self.table.find(kind, &message.id);
        let entry = found.unwrap_or_else(|| self.table.insert(now, message.id, kind));
        let known = self.table.get_mut(entry)?;
        let (state, at) = (known.state, known.at);
        let slot = source.accountable();
        let mut repeated = false;
        if let Some(slot) = slot {
            known.has.insert(slot);
            if !known.sent.insert(slot) {
                repeated = !known.asked.contains(slot);
                known.asked.remove(slot);
            }
            if repeated && self.peers.get_mut(slot).is_some_and(|peer| peer.on_repeat(now)) {
                self.penalise(slot, RelayFault::DuplicateFlood, kind.name(), out);
            }
        }
        match state {
            State::Held if found.is_some() => return None,
            State::Held => {}
            State::Asked(ask) => {
                self.on_answered(ask);
                self.table.set(now, entry, State::Held);
            }
            State::Loose | State::Missed => self.table.set(now, entry, State::Held),
            State::Accepted => {
                let late = now.since(at) > self.config.late_ms;
                let delivery = if late { Delivery::Late } else { Delivery::Duplicate };
                // What it sends again unasked earns nothing.
                if let Some(slot) = slot.filter(|_| !repeated) {
                    self.credit(slot, kind, delivery);
                }
                return None;
            }
            State::Rejected => {
                if let Some(slot) = slot.filter(|_| kind != Kind::Custom) {
                    self.penalise(slot, RelayFault::invalid(kind), "rejected before", out);
                }
                return None;
            }
            State::Ignored => return None,
        }
        if self.asks.len() > 0 {
            self.disprove_others(now, kind, &message.id, out);
        }
        Some(Arrived { entry, repeated })
    }

    /// Whether a validators' kind is for us to take from this peer.
    fn check_role(&self, kind: Kind, proven: Option<PublicKey>) -> Option<DropReason> {
        // Our view of the set may lag behind theirs: not counted as anyone's fault.
        if !proven.is_some_and(|key| self.validators.contains(&key)) {
            return Some(DropReason::NotInSet);
        }
        let closed = self.config.mode(kind) == Some(RelayMode::ValidatorOnly);
        (closed && !self.is_validator()).then_some(DropReason::NotValidator)
    }

    /// Origin and age of a signed message, before its signature is checked (attack rows 29, 32).
    fn check_origin(
        &mut self,
        wall: Time,
        source: Source,
        message: &Delivered,
        out: &mut Vec<Action>,
    ) -> Result<(PublicKey, Time), DropReason> {
        let Some(signed) = Signed::parse(&message.body) else {
            if let Some(slot) = source.accountable() {
                self.penalise(slot, RelayFault::MalformedMessage, "no signature", out);
            }
            return Err(DropReason::Malformed);
        };
        let (origin, stamp) = (signed.origin, signed.stamp);
        // Neither age nor membership is anyone's fault: clocks and views of the set differ, and
        // an honest neighbour may be handed old messages by others.
        if !self.validators.contains(&origin) {
            Err(DropReason::NotInSet)
        } else if wall.since(stamp) > self.config.stamp_past_ms
            || self.origins.refuses(&origin, stamp, &message.id)
        {
            Err(DropReason::Expired)
        } else if stamp.since(wall) > self.config.stamp_future_ms {
            Err(DropReason::FromFuture)
        } else {
            Ok((origin, stamp))
        }
    }

    /// Drops a message without a verdict: it may come again.
    pub(super) fn let_go(&mut self, now: Time, entry: Option<u32>, kind: Kind, reason: DropReason) {
        self.drops.add(kind, reason);
        if let Some(entry) = entry {
            self.table.set(now, entry, State::Loose);
        }
    }
}
