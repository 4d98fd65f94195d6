//! Visits: connections for questions of discovery alone. They take no slot, carry nothing else,
//! and end by themselves.
//!
//! # Security
//! Provided: visitors are bounded in all, and for each IP and neighbourhood; they can't displace a
//! peer, and a visit that its maker forgets ends after [`VISIT_LIFE`]; a visit is dialled under the
//! same rules of spacing and rate as any other dial (attack row 18), so answers of discovery can't
//! aim this node at a victim. None runs over a circuit: a relay carries peers, not the lookups of
//! strangers.
//! Not provided: a place for every visitor; a lookup of a visitor that finds none goes elsewhere.

use std::collections::BTreeMap;

use super::{
    Action, Established, LinkKind, Manager, Phase, SessionId, close,
    dialler::{Attempt, DialPurpose, Place},
};
use crate::{
    address::{Address, NetworkGroup},
    book::{RecordOutcome, Source},
    identity::NodeId,
    reason::CloseReason,
    record::VerifiedRecord,
    time::{Millis, Time},
};

/// Visits of others at a time; a guess, a lookup of theirs takes a second or two.
pub const VISITORS_MAX: usize = 32;
/// Of these, from one neighbourhood.
pub const VISITORS_PER_GROUP_MAX: usize = 8;
/// Of these, from one IP.
pub const VISITORS_PER_IP_MAX: usize = 2;
/// Own visits at a time, being dialled or there.
pub const VISITS_MAX: usize = 64;
/// The longest a visit lasts, ms.
pub const VISIT_LIFE: Millis = 30_000;

/// A visit that is there.
#[derive(Clone, Copy, Debug)]
struct Visit {
    peer: NodeId,
    address: Address,
    outbound: bool,
    until: Time,
}

/// All visits, by connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Visits {
    live: BTreeMap<SessionId, Visit>,
}

impl Visits {
    fn count(&self, wanted: impl Fn(&Visit) -> bool) -> usize {
        self.live.values().filter(|visit| wanted(visit)).count()
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.live.values().map(|visit| visit.until).min()
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }
}

impl Manager {
    /// Discovery wants to ask a node that is no peer. Answered with `VisitUp` or `VisitFailed`.
    pub fn visit(&mut self, now: Time, peer: NodeId, addresses: &[Address], out: &mut Vec<Action>) {
        let visits = self.dialler.in_flight().filter(|(_, a)| a.purpose == DialPurpose::Visit);
        let under_way = visits.count().saturating_add(self.visits.count(|visit| visit.outbound));
        let barred = self.phase != Phase::Running
            || peer == self.identity.node
            || self.peers.contains(&peer)
            || self.bans.has_peer(now, &peer)
            || under_way >= VISITS_MAX;
        let places = addresses.iter().filter(|address| !barred && self.may_visit(**address));
        let places = places.map(|address| self.place_to_visit(*address, peer));
        let place = places.into_iter().find(|place| self.dialler.may_visit(now, place));
        let Some(place) = place.filter(|_| self.dialler.rate.take(now)) else {
            return out.push(Action::VisitFailed { peer, blame: false });
        };
        let attempt = self.dialler.start(&self.config, now, place, DialPurpose::Visit);
        let (link, address, expected) = (LinkKind::Visit, place.address, Some(peer));
        out.push(Action::Dial { attempt, link, address, expected });
    }

    fn may_visit(&self, address: Address) -> bool {
        let known = self.book.get(&address).is_some();
        !address.is_circuit()
            && !self.book.is_own(&address)
            && (known || self.book.is_usable(address))
            && (self.book.is_exempt(address) || !self.bans.has_ip(address.ip()))
    }

    fn place_to_visit(&self, address: Address, peer: NodeId) -> Place {
        let verified = self.book.get(&address).is_some_and(|entry| entry.is_verified());
        let exempt = self.book.is_exempt(address);
        Place { address, expected: Some(peer), stranger: !verified, exempt }
    }

    /// Discovery needs a visit no more.
    pub fn end_visit(&mut self, session: SessionId, out: &mut Vec<Action>) {
        self.end_visits(CloseReason::Requested, out, |known, _| *known == session);
    }

    /// Ends the visits of or at a node.
    pub(super) fn end_visits_with(
        &mut self,
        peer: &NodeId,
        reason: CloseReason,
        out: &mut Vec<Action>,
    ) {
        self.end_visits(reason, out, |_, visit| visit.peer == *peer);
    }

    /// Ends all visits, at the node's end.
    pub(super) fn end_all_visits(&mut self, out: &mut Vec<Action>) {
        self.end_visits(CloseReason::Shutdown, out, |_, _| true);
    }

    /// Ends visits that have lasted long enough.
    pub(super) fn end_late_visits(&mut self, now: Time, out: &mut Vec<Action>) {
        self.end_visits(CloseReason::Idle, out, |_, visit| visit.until <= now);
    }

    fn end_visits(
        &mut self,
        reason: CloseReason,
        out: &mut Vec<Action>,
        wanted: impl Fn(&SessionId, &Visit) -> bool,
    ) {
        let ended = self.visits.live.iter().filter(|(session, visit)| wanted(session, visit));
        let ended: Vec<SessionId> = ended.map(|(session, _)| *session).collect();
        for session in ended {
            self.visits.live.remove(&session);
            out.push(close(session, reason));
            out.push(Action::VisitDown { session });
        }
    }

    /// A connection for questions has introduced itself.
    pub(super) fn on_visit_established(
        &mut self,
        now: Time,
        session: SessionId,
        new: Established,
        attempt: Option<&Attempt>,
        out: &mut Vec<Action>,
    ) {
        let peer = new.peer;
        if let Some(attempt) = attempt
            && !self.check_answer(now, attempt, (peer, new.address), out)
        {
            let own = peer == self.identity.node;
            let wrong = CloseReason::UnexpectedIdentity;
            return out.push(close(session, if own { CloseReason::SelfConnection } else { wrong }));
        }
        let outbound = attempt.is_some();
        if let Some(reason) = self.refuses_visit(now, &new, outbound) {
            out.push(close(session, reason));
            if outbound {
                out.push(Action::VisitFailed { peer, blame: false });
            }
            return;
        }
        let (address, until) = (new.address, now.plus(VISIT_LIFE));
        self.visits.live.insert(session, Visit { peer, address, outbound, until });
        out.push(Action::VisitUp { peer, session, address, outbound });
        if let Some(record) = new.record.filter(|record| outbound && record.node() == peer) {
            let source = Source::Peer(self.book.group_of(&address));
            let limit = usize::MAX;
            let outcome = self.book.add_record(now, &mut self.rng, record, source, limit);
            self.persist_record(&peer, outcome, out);
            self.persist_book(out);
        }
    }

    fn refuses_visit(&self, now: Time, new: &Established, outbound: bool) -> Option<CloseReason> {
        let group = self.book.group_of(&new.address);
        let near = |visit: &Visit| self.book.group_of(&visit.address) == group;
        let of_group = self.visits.count(|visit| !visit.outbound && near(visit));
        let of_ip = self.visits.count(|v| !v.outbound && v.address.ip() == new.address.ip());
        let crowded = of_group >= VISITORS_PER_GROUP_MAX || of_ip >= VISITORS_PER_IP_MAX;
        if self.phase != Phase::Running {
            Some(CloseReason::Shutdown)
        } else if new.peer == self.identity.node {
            Some(CloseReason::SelfConnection)
        } else if new.address.is_circuit() {
            Some(CloseReason::ProtocolError)
        } else if self.bans.has_peer(now, &new.peer) {
            Some(CloseReason::Banned)
        } else if self.peers.contains(&new.peer) {
            Some(CloseReason::Duplicate)
        } else if outbound {
            None
        } else if self.visits.count(|visit| !visit.outbound) >= VISITORS_MAX {
            Some(CloseReason::TooManyPeers)
        } else if crowded && !self.book.is_exempt(new.address) {
            Some(CloseReason::GroupLimit)
        } else {
            None
        }
    }

    /// Whether the connection that is gone was a visit.
    pub(super) fn on_visit_closed(&mut self, session: SessionId, out: &mut Vec<Action>) -> bool {
        let was = self.visits.live.remove(&session).is_some();
        if was {
            out.push(Action::VisitDown { session });
        }
        was
    }

    /// Discovery learnt a record from a node in that neighbourhood: the address book gets it,
    /// under the same quota as what peers tell.
    pub fn on_learnt(
        &mut self,
        now: Time,
        record: VerifiedRecord,
        source: Option<NetworkGroup>,
        out: &mut Vec<Action>,
    ) {
        let node = record.node();
        let banned = self.bans.has_peer(now, &node);
        let ours = node == self.identity.node;
        if self.phase != Phase::Running || ours || banned || !self.book.is_news(record.signed()) {
            return;
        }
        let told_by = source.or_else(|| {
            record.record().addresses.first().map(|address| self.book.group_of(address))
        });
        let Some(group) = told_by else { return };
        let limit = usize::MAX;
        let source = Source::Peer(group);
        let outcome = self.book.add_record(now, &mut self.rng, record, source, limit);
        let stored = matches!(outcome, RecordOutcome::Stored { .. });
        // Whoever is being dialled now may have needed it.
        if stored {
            self.punch_to(now, node, out);
        }
        self.persist_record(&node, outcome, out);
        self.persist_book(out);
        if stored && self.next_look == Time::NEVER && self.wants_peers() {
            self.look_for_peers(now, out);
        }
    }
}
