//! The way of a message through the node: class checks, duplicates, age, signature, verdict,
//! forward.

use super::{
    Action, Delivered, Delivery, DropReason, Inbound, Relay, RelayFault, Verdict, VerdictTicket,
    pending::{Stage, Waiting},
    seen::{Outcome, Stored},
};
use crate::{
    codec::decode,
    identity::{NodeId, PublicKey},
    kinds::{Kind, RelayMode, Sender},
    messages::{GossipHeader, HEADER_MAX, MessageId, Signed, Topic},
    time::Time,
};

/// The hop count that says: for the receiver alone, don't forward. Only for [`Kind::Custom`].
pub const DIRECT_HOPS: u8 = u8::MAX;

/// Longest reason of a rejection that is passed on, characters.
const REASON_CHARS_MAX: usize = 120;

/// Who a gossiped message came from.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// A neighbour, who answers for what it sends.
    Peer(NodeId),
    /// A node that sealed it to us, proven by its signature; the carriers can't know the content.
    Sealed(NodeId),
}

impl Source {
    fn node(self) -> NodeId {
        match self {
            Source::Peer(node) | Source::Sealed(node) => node,
        }
    }

    fn accountable(self) -> Option<NodeId> {
        match self {
            Source::Peer(peer) => Some(peer),
            Source::Sealed(_) => None,
        }
    }
}

impl Relay {
    /// A message arrived from a connected peer. `wall` is the wall clock: stamps are compared
    /// with it, and nothing else is.
    pub fn on_message(&mut self, now: Time, wall: Time, message: Inbound, out: &mut Vec<Action>) {
        self.on_wall(now, wall);
        let Inbound { peer, kind, .. } = message;
        if !self.peers.contains_key(&peer) {
            return Self::count(kind, DropReason::UnknownPeer, out);
        }
        if message.body.len() > kind.row().body_max || message.header.len() > HEADER_MAX {
            Self::count(kind, DropReason::TooLong, out);
            return Self::penalise(peer, RelayFault::MalformedMessage, "too long", out);
        }
        match kind {
            Kind::Have => self.on_have(now, peer, &message.body, out),
            Kind::Want => self.on_want(now, peer, &message.body, out),
            Kind::Routed => self.on_routed(now, wall, &message, out),
            _ if kind.row().relay.is_some() => self.on_gossip(now, wall, message, out),
            _ => Self::count(kind, DropReason::WrongKind, out),
        }
    }

    fn on_gossip(&mut self, now: Time, wall: Time, message: Inbound, out: &mut Vec<Action>) {
        let Inbound { peer, kind, .. } = message;
        let header = decode::<GossipHeader>(&message.header, HEADER_MAX);
        let Some(header) = header.ok().filter(|h| kind == Kind::Custom || h.topic == Topic(0))
        else {
            Self::count(kind, DropReason::Malformed, out);
            return Self::penalise(peer, RelayFault::MalformedMessage, "header", out);
        };
        let proven = self.peers.get(&peer).and_then(|state| state.validator);
        if kind.row().sender == Sender::Validator && proven.is_none() {
            Self::count(kind, DropReason::WrongRole, out);
            return Self::penalise(peer, RelayFault::WrongRole, kind.name(), out);
        }
        let message = Delivered {
            peer,
            kind,
            topic: header.topic,
            body: message.body,
            id: message.id,
            hops: header.hops,
            first_byte: message.first_byte,
            direct: kind == Kind::Custom && header.hops == DIRECT_HOPS,
        };
        self.receive(now, wall, Source::Peer(peer), proven, message, out);
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
        let (kind, id) = (message.kind, message.id);
        if message.hops > self.config.max_hops && !message.direct {
            return Self::count(kind, DropReason::HopLimit, out);
        }
        self.on_arrived(&id);
        if !message.direct && self.is_duplicate(now, source, kind, &id, out) {
            return;
        }
        if kind.row().sender == Sender::Validator {
            // Our view of the set may lag behind theirs: not counted as anyone's fault.
            if !proven.is_some_and(|key| self.validators.contains(&key)) {
                return Self::count(kind, DropReason::NotInSet, out);
            }
            if self.config.mode(kind) == Some(RelayMode::ValidatorOnly) && !self.is_validator() {
                return Self::count(kind, DropReason::NotValidator, out);
            }
        }
        let signed = if kind.row().signed {
            match self.check_origin(wall, source, &message, out) {
                Some(signed) => Some(signed),
                None => return,
            }
        } else {
            None
        };
        self.await_check(now, source, signed, message, out);
    }

    /// The duplicate check, before anything of the body is looked at (attack row 27).
    fn is_duplicate(
        &mut self,
        now: Time,
        source: Source,
        kind: Kind,
        id: &MessageId,
        out: &mut Vec<Action>,
    ) -> bool {
        let peer = source.accountable();
        if let Some((peer, state)) = peer.and_then(|p| Some((p, self.peers.get_mut(&p)?)))
            && state.on_copy(now, *id)
        {
            Self::penalise(peer, RelayFault::DuplicateFlood, kind.name(), out);
        }
        if self.pending.contains(id) {
            let _is_new = peer.map(|peer| self.pending.on_copy(id, peer));
            Self::count(kind, DropReason::Duplicate, out);
            return true;
        }
        let Some((at, outcome)) = self.seen.get(id) else { return false };
        Self::count(kind, DropReason::Duplicate, out);
        let Some(peer) = peer else { return true };
        let late = now.since(at) > self.config.late_ms;
        let credit = |delivery| Action::Credit { peer, kind, delivery };
        match outcome {
            Outcome::Accepted if late => out.push(credit(Delivery::Late)),
            // What it sends again unasked earns nothing.
            Outcome::Accepted if self.peers.get(&peer).is_some_and(|p| p.repeated(id)) => {}
            Outcome::Accepted => out.push(credit(Delivery::Duplicate)),
            Outcome::Rejected if kind == Kind::Custom => {}
            Outcome::Rejected => {
                Self::penalise(peer, RelayFault::invalid(kind), "rejected before", out);
            }
            Outcome::Ignored => {}
        }
        true
    }

    /// Origin and age of a signed message, before its signature is checked (attack rows 29, 32).
    fn check_origin(
        &mut self,
        wall: Time,
        source: Source,
        message: &Delivered,
        out: &mut Vec<Action>,
    ) -> Option<(PublicKey, Time)> {
        let Some(signed) = Signed::parse(&message.body) else {
            Self::count(message.kind, DropReason::Malformed, out);
            if let Some(peer) = source.accountable() {
                Self::penalise(peer, RelayFault::MalformedMessage, "no signature", out);
            }
            return None;
        };
        let (origin, stamp) = (signed.origin, signed.stamp);
        // Neither age nor membership is anyone's fault: clocks and views of the set differ, and
        // an honest neighbour may be handed old messages by others.
        let refusal = if !self.validators.contains(&origin) {
            Some(DropReason::NotInSet)
        } else if wall.since(stamp) > self.config.stamp_past_ms
            || self.seen.origin_refuses(&origin, stamp, &message.id)
        {
            Some(DropReason::Expired)
        } else if stamp.since(wall) > self.config.stamp_future_ms {
            Some(DropReason::FromFuture)
        } else {
            None
        };
        if let Some(reason) = refusal {
            Self::count(message.kind, reason, out);
            // Only a second copy from the same neighbour proves a replay of its own.
            let replayer = source.accountable().filter(|_| reason == DropReason::Expired);
            if let Some(peer) = replayer
                && self.peers.get(&peer).is_some_and(|state| state.repeated(&message.id))
            {
                Self::penalise(peer, RelayFault::Replay, message.kind.name(), out);
            }
            return None;
        }
        Some((origin, stamp))
    }

    /// Orders the signature check, or goes on to the verdict.
    fn await_check(
        &mut self,
        now: Time,
        source: Source,
        signed: Option<(PublicKey, Time)>,
        message: Delivered,
        out: &mut Vec<Action>,
    ) {
        let limits = &self.config.pending;
        let bytes = message.body.len();
        let full = self.pending.len() >= limits.count_max
            || self.pending.bytes().saturating_add(bytes) > limits.bytes_max;
        let peer_full = self.peers.get(&source.node()).is_some_and(|peer| {
            peer.pending >= limits.count_per_peer
                || peer.pending_bytes.saturating_add(bytes) > limits.bytes_per_peer
        });
        let (kind, id) = (message.kind, message.id);
        if full || peer_full {
            // Not remembered as seen: it may be asked for when there is room again.
            return Self::count(kind, DropReason::PendingFull, out);
        }
        if signed.is_none() {
            return self.await_verdict(now, source.accountable(), None, message, out);
        }
        self.charge(&source.accountable(), bytes);
        let deadline = now.plus(self.config.pending.other_timeout_ms);
        let body = message.body.clone();
        let sender = source.accountable();
        let ticket = self.pending.insert(Stage::Verify, message, sender, signed, deadline);
        debug_assert!(self.pending.contains(&id), "signed kinds are never direct");
        out.push(Action::Verify { ticket, kind, body });
    }

    /// A worker checked a signature.
    pub fn on_verified(
        &mut self,
        now: Time,
        ticket: VerdictTicket,
        valid: bool,
        out: &mut Vec<Action>,
    ) {
        let Some(waiting) = self.pending.take(ticket, Stage::Verify) else {
            return Self::count(Kind::Vote, DropReason::LateVerdict, out);
        };
        self.discharge(&waiting);
        let kind = waiting.message.kind;
        if !valid {
            self.seen.insert(now, waiting.message.id, Outcome::Rejected);
            Self::count(kind, DropReason::BadSignature, out);
            return Self::blame(&waiting, "bad signature", out);
        }
        let id = waiting.message.id;
        let copies = waiting.copies;
        self.await_verdict(now, waiting.sender, waiting.signed, waiting.message, out);
        for peer in copies {
            self.pending.on_copy(&id, peer);
        }
    }

    /// Asks the chain, or accepts at once what needs no verdict.
    fn await_verdict(
        &mut self,
        now: Time,
        sender: Option<NodeId>,
        signed: Option<(PublicKey, Time)>,
        message: Delivered,
        out: &mut Vec<Action>,
    ) {
        if message.kind == Kind::Custom && !self.config.pending.judge_custom {
            out.push(Action::Deliver(message.clone()));
            return self.accept(now, sender, signed, &message, out);
        }
        self.charge(&sender, message.body.len());
        let deadline = now.plus(self.config.verdict_ms(message.kind));
        let shown = message.clone();
        let ticket = self.pending.insert(Stage::Judge, message, sender, signed, deadline);
        out.push(Action::Judge { ticket, message: shown });
    }

    /// The chain gave its verdict.
    pub fn on_verdict(
        &mut self,
        now: Time,
        ticket: VerdictTicket,
        verdict: Verdict,
        out: &mut Vec<Action>,
    ) {
        let Some(waiting) = self.pending.take(ticket, Stage::Judge) else {
            return Self::count(Kind::Block, DropReason::LateVerdict, out);
        };
        self.discharge(&waiting);
        let (kind, id) = (waiting.message.kind, waiting.message.id);
        match verdict {
            Verdict::Accept => {
                self.accept(now, waiting.sender, waiting.signed, &waiting.message, out);
                for peer in waiting.copies {
                    let delivery = Delivery::Duplicate;
                    out.push(Action::Credit { peer, kind, delivery });
                }
            }
            Verdict::Ignore => {
                self.refuse(now, &waiting, Outcome::Ignored);
                Self::count(kind, DropReason::Ignored, out);
            }
            Verdict::Reject(reason) => {
                self.refuse(now, &waiting, Outcome::Rejected);
                debug_assert!(self.seen.get(&id).is_some() || waiting.message.direct);
                Self::count(kind, DropReason::Rejected, out);
                let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
                Self::blame(&waiting, &reason, out);
            }
        }
    }

    /// Good: remember, keep to serve, credit, forward.
    fn accept(
        &mut self,
        now: Time,
        sender: Option<NodeId>,
        signed: Option<(PublicKey, Time)>,
        message: &Delivered,
        out: &mut Vec<Action>,
    ) {
        let kind = message.kind;
        if let Some(peer) = sender {
            out.push(Action::Credit { peer, kind, delivery: Delivery::First });
        }
        if message.direct {
            return;
        }
        if let Some((origin, stamp)) = signed {
            self.seen.insert_signed(origin, stamp, message.id);
        }
        let stored = Stored {
            at: now,
            kind,
            topic: message.topic,
            hops: message.hops,
            body: message.body.clone(),
        };
        self.keep(now, message.id, stored);
        self.forward(message, out);
    }

    fn refuse(&mut self, now: Time, waiting: &Waiting, outcome: Outcome) {
        if !waiting.message.direct {
            self.seen.insert(now, waiting.message.id, outcome);
        }
    }

    /// Everything whose time is over is ignored: our own overload is nobody's fault.
    pub(super) fn expire_pending(&mut self, now: Time, out: &mut Vec<Action>) {
        while let Some(waiting) = self.pending.take_expired(now) {
            self.discharge(&waiting);
            // Our own overload: not remembered, so that the message may come again.
            Self::count(waiting.message.kind, DropReason::VerdictTimeout, out);
        }
    }

    fn charge(&mut self, sender: &Option<NodeId>, bytes: usize) {
        if let Some(peer) = sender.as_ref().and_then(|peer| self.peers.get_mut(peer)) {
            peer.pending = peer.pending.saturating_add(1);
            peer.pending_bytes = peer.pending_bytes.saturating_add(bytes);
        }
    }

    fn discharge(&mut self, waiting: &Waiting) {
        let peer = waiting.sender.as_ref().and_then(|peer| self.peers.get_mut(peer));
        if let Some(peer) = peer {
            peer.pending = peer.pending.saturating_sub(1);
            peer.pending_bytes = peer.pending_bytes.saturating_sub(waiting.message.body.len());
        }
    }

    /// Honest nodes forward nothing before its verdict, so everyone who sent it is at fault.
    fn blame(waiting: &Waiting, detail: &str, out: &mut Vec<Action>) {
        let fault = RelayFault::invalid(waiting.message.kind);
        // Custom topics are passed on unjudged where nobody handles them: no carrier's fault.
        let carriers = waiting.sender.iter().chain(&waiting.copies);
        for peer in carriers.filter(|_| waiting.message.kind != Kind::Custom) {
            Self::penalise(*peer, fault, detail, out);
        }
    }
}
