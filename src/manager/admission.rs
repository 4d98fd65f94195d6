//! Who becomes a peer: the gate before the handshake, twins and slots after it.

use super::{
    Action, DialFailure, DialId, Direction, Established, Manager, PeerView, Phase, Place,
    RECORDS_MAX, SessionId, close,
    dialler::{Attempt, DialPurpose, jittered},
    down,
    peers::{Peer, Twin, newcomer_survives},
};
use crate::{
    address::Address,
    book::Source,
    identity::NodeId,
    reason::{CloseReason, Closure},
    time::{Millis, Time},
};

/// When one who found no room should come back, and when we do, ms: a minute (attack row 50).
const FULL_PAUSE: Millis = 60_000;
/// The longest pause a remote can ask of us, ms: 1 h.
const RETRY_AFTER_MAX: Millis = 60 * 60 * 1000;

/// What to do with a connection whose handshake is done.
enum Verdict {
    Admit,
    Replace,
    Evict(NodeId),
    Refuse(CloseReason),
}

impl Manager {
    /// Somebody connected; nothing was read or computed yet. Answered with `Accept` or `Close`.
    pub fn on_inbound_attempt(
        &mut self,
        now: Time,
        session: SessionId,
        address: Address,
        out: &mut Vec<Action>,
    ) {
        let exempt = self.book.is_exempt(address);
        let entered = if self.phase != Phase::Running {
            Err(CloseReason::Shutdown)
        } else if !exempt && self.bans.has_ip(address.ip()) {
            Err(CloseReason::Banned)
        } else {
            self.gate.enter(&self.config, now, session, address, exempt)
        };
        match entered {
            Ok(gives_way) => {
                // Whoever is silent makes room for whoever came just now (attack row 2).
                out.extend(gives_way.map(|silent| close(silent, CloseReason::HandshakeTimeout)));
                out.push(Action::Accept { session });
            }
            Err(reason) => out.push(close(session, reason)),
        }
    }

    /// Handshake and hello are done.
    pub fn on_established(
        &mut self,
        now: Time,
        session: SessionId,
        established: Established,
        out: &mut Vec<Action>,
    ) {
        let attempt = match established.direction {
            Direction::Inbound => {
                if !self.gate.leave(session) {
                    return out.push(close(session, CloseReason::HandshakeTimeout));
                }
                None
            }
            Direction::Outbound(id) => match self.dialler.finish(id) {
                Some(attempt) => Some(attempt),
                None => {
                    // Given up meanwhile: its twin is up, or it took too long.
                    let twin = self.peers.contains(&established.peer);
                    let late = CloseReason::HandshakeTimeout;
                    let reason = if twin { CloseReason::Duplicate } else { late };
                    return out.push(close(session, reason));
                }
            },
        };
        let visit = match &attempt {
            Some(attempt) => attempt.purpose == DialPurpose::Visit,
            None => established.visit,
        };
        if visit {
            return self.on_visit_established(now, session, established, attempt.as_ref(), out);
        }
        let peer = established.peer;
        let at = established.address;
        let answered = attempt.as_ref().is_none_or(|a| self.check_answer(now, a, (peer, at), out));
        let verdict = if !answered {
            let own = peer == self.identity.node;
            Verdict::Refuse(if own {
                CloseReason::SelfConnection
            } else {
                CloseReason::UnexpectedIdentity
            })
        } else {
            let view = self.view_of(now, session, &established);
            self.judge(now, &established, &view)
        };
        self.carry_out(now, session, established, verdict, out);
        self.look_for_peers(now, out);
    }

    /// Learns from who answered a dial; false if it is the wrong node.
    pub(super) fn check_answer(
        &mut self,
        now: Time,
        attempt: &Attempt,
        (peer, answered): (NodeId, Address),
        out: &mut Vec<Action>,
    ) -> bool {
        if peer == self.identity.node {
            self.after_failure(now, attempt, DialFailure::SelfConnection, out);
            return false;
        }
        if attempt.expected.is_some_and(|expected| expected != peer) {
            self.after_failure(now, attempt, DialFailure::UnexpectedIdentity(peer), out);
            return false;
        }
        // Of the node's addresses that were tried together, the one that answered.
        let address = answered;
        let named = matches!(attempt.purpose, DialPurpose::Bootstrap | DialPurpose::Persistent);
        // Nobody but us gets in by a hole, and we won't the next time.
        if named && !attempt.punched {
            self.book.add_address(now, address, Some(peer), Source::Operator);
        }
        self.dialler.on_target(&self.config, &mut self.rng, now, &attempt.listed, Some(peer));
        if attempt.purpose == DialPurpose::Visit {
            self.book.on_visited(now, &address, peer);
        } else {
            self.book.on_success(now, &address, peer);
        }
        self.persist_book(out);
        true
    }

    /// The peer as it would be shown.
    fn view_of(&self, now: Time, session: SessionId, new: &Established) -> PeerView {
        let outbound = new.direction != Direction::Inbound;
        let mut view = PeerView {
            peer: new.peer,
            session,
            address: new.address,
            group: self.book.group_of(&new.address),
            outbound,
            chosen: outbound,
            since: now,
            place: Place::Inbound,
            blocks_only: new.blocks_only,
            validator: new.validator,
        };
        // A peer that we chose and that dials us in turn, or whose dial has crossed with ours, is
        // still the one that we chose: no inbound place is taken, no outbound one becomes free.
        view.chosen |= self.peers.get(&new.peer).is_some_and(|old| {
            old.view.place == Place::Outbound && old.view.group == view.group && !view.blocks_only
        });
        view.place = self.place_for(&view);
        view
    }

    fn judge(&self, now: Time, new: &Established, view: &PeerView) -> Verdict {
        let PeerView { peer, outbound, chosen, group, place, .. } = *view;
        if self.phase != Phase::Running {
            return Verdict::Refuse(CloseReason::Shutdown);
        }
        if peer == self.identity.node {
            return Verdict::Refuse(CloseReason::SelfConnection);
        }
        if self.bans.has_peer(now, &peer) {
            return Verdict::Refuse(CloseReason::Banned);
        }
        if let Some(old) = self.peers.get(&peer) {
            let twin = Twin { outbound, channel: new.channel };
            let own = &self.identity.node;
            return if !newcomer_survives(&self.config, own, now, old, twin) {
                Verdict::Refuse(CloseReason::Duplicate)
            } else if place == Place::Inbound && old.view.place != place && self.is_full() {
                // It would leave a place of another kind for one that a stranger could not have.
                Verdict::Refuse(CloseReason::TooManyPeers)
            } else {
                Verdict::Replace
            };
        }
        if place.is_reserved() {
            return Verdict::Admit;
        }
        let limited = !self.book.is_exempt(new.address);
        let census = self.peers.census();
        let of_group = census.in_group(chosen, group);
        if chosen {
            let full = if place == Place::BlocksOnly {
                census.of(place) >= self.config.blocks_only_outbound
            } else {
                census.outbound() >= self.outbound_max()
            };
            return if limited && of_group >= self.config.max_outbound_per_group {
                Verdict::Refuse(CloseReason::GroupLimit)
            } else if full {
                Verdict::Refuse(CloseReason::TooManyPeers)
            } else {
                Verdict::Admit
            };
        }
        if limited
            && (of_group >= self.config.max_inbound_per_group
                || census.with_ip(&new.address) >= self.config.max_inbound_per_ip)
        {
            return Verdict::Refuse(CloseReason::GroupLimit);
        }
        if !self.is_full() {
            return Verdict::Admit;
        }
        let victim = self.peers.victim(now, &self.eviction_key, group);
        victim.map_or(Verdict::Refuse(CloseReason::TooManyPeers), Verdict::Evict)
    }

    /// Whether the next inbound peer takes another's place, if it finds any.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let inbound = self.peers.census().inbound();
        let ordinary = inbound.saturating_add(self.peers.census().outbound());
        inbound >= self.inbound_max() || ordinary >= self.config.max_peers
    }

    /// Inbound slots: what is left when the outbound ones we wish for are kept free, so that
    /// filling our inbound slots can't keep us from choosing peers ourselves (attack row 21).
    fn inbound_max(&self) -> usize {
        let kept = self.config.wished_outbound.min(self.config.max_outbound);
        let left = self.config.max_peers.saturating_sub(kept).max(usize::from(kept == 0));
        self.config.max_inbound.min(left)
    }

    /// Outbound slots: what is left beside the inbound peers there are.
    pub(super) fn outbound_max(&self) -> usize {
        let left = self.config.max_peers.saturating_sub(self.peers.census().inbound());
        self.config.max_outbound.min(left)
    }

    fn carry_out(
        &mut self,
        now: Time,
        session: SessionId,
        new: Established,
        verdict: Verdict,
        out: &mut Vec<Action>,
    ) {
        let view = self.view_of(now, session, &new);
        let PeerView { peer, address, outbound, validator, blocks_only, group, .. } = view;
        let mut replaces = None;
        match verdict {
            Verdict::Refuse(reason) => {
                let full = reason == CloseReason::TooManyPeers && !outbound;
                let records =
                    if full { self.records_for(now, &peer, None, RECORDS_MAX) } else { Vec::new() };
                let retry_after = if full { FULL_PAUSE } else { 0 };
                return out.push(Action::Close { session, reason, retry_after, records });
            }
            Verdict::Replace => {
                replaces = self.peers.replace(now, new.channel, view);
                out.extend(replaces.map(|old| close(old, CloseReason::Duplicate)));
            }
            Verdict::Evict(victim) => {
                self.close_peer(now, &victim, CloseReason::Evicted, out);
                self.peers.insert(Peer::new(now, view, new.channel));
            }
            Verdict::Admit => self.peers.insert(Peer::new(now, view, new.channel)),
        }
        // Our dial would lose against this connection; else the other side may prefer it already.
        if !outbound && peer < self.identity.node {
            self.cancel_dials(&peer, CloseReason::Duplicate, out);
        }
        out.push(Action::PeerUp { peer, session, address, outbound, validator, replaces });
        if let Some(record) = new.record.filter(|record| record.node() == peer) {
            let source = Source::Peer(group);
            let limit = usize::MAX;
            let outcome = self.book.add_record(now, &mut self.rng, record, source, limit);
            self.persist_record(&peer, outcome, out);
            self.persist_book(out);
        }
        if outbound && !blocks_only && self.wants_peers() {
            let count = u8::try_from(RECORDS_MAX).unwrap_or(u8::MAX);
            out.push(Action::RequestPeers { peer, count });
        }
    }

    /// An attempt failed.
    pub fn on_dial_failed(
        &mut self,
        now: Time,
        attempt: DialId,
        failure: DialFailure,
        out: &mut Vec<Action>,
    ) {
        let Some(attempt) = self.dialler.finish(attempt) else { return };
        self.after_failure(now, &attempt, failure, out);
        self.look_for_peers(now, out);
    }

    pub(super) fn after_failure(
        &mut self,
        now: Time,
        attempt: &Attempt,
        failure: DialFailure,
        out: &mut Vec<Action>,
    ) {
        let Attempt { address, listed, punched, expected, .. } = *attempt;
        // The other of two ways through one hole has got there, or may still.
        let is_reached = |peer| self.dialler.is_expected(&peer) || self.peers.contains(&peer);
        if punched && expected.is_some_and(is_reached) {
            return out.push(Action::DialFailed { address, expected, failure });
        }
        self.dialler.on_target(&self.config, &mut self.rng, now, &listed, None);
        if let Some(peer) = expected.filter(|_| attempt.purpose == DialPurpose::Anchor) {
            self.after_anchor(&peer, &failure);
        }
        match failure {
            DialFailure::SelfConnection => self.book.mark_own(now, address),
            // Our own trouble says nothing about the address (attack row 25).
            DialFailure::Local => {}
            _ => {
                let failures = self.book.get(&listed).map_or(0, |entry| entry.failures);
                let wait = super::dialler::backoff(&self.config, &mut self.rng, failures);
                let online = self.peers.len() > 0;
                self.book.on_failure(now, &listed, now.plus(wait), online);
                if let DialFailure::UnexpectedIdentity(peer) = failure
                    && !punched
                {
                    self.book.correct_peer(&address, peer);
                }
            }
        }
        if let Some(peer) = expected.filter(|_| attempt.purpose == DialPurpose::Visit) {
            out.push(Action::VisitFailed { peer, blame: failure != DialFailure::Local });
        }
        self.persist_book(out);
        out.push(Action::DialFailed { address, expected, failure });
    }

    /// A connection is gone, before or after it was a peer.
    pub fn on_closed(
        &mut self,
        now: Time,
        session: SessionId,
        closure: Closure,
        out: &mut Vec<Action>,
    ) {
        self.gate.leave(session);
        if self.on_visit_closed(session, out) {
            return;
        }
        let gone = self.peers.of_session(session).and_then(|peer| self.peers.remove(&peer));
        let Some(gone) = gone else { return };
        out.push(down(now, &gone.view, closure));
        if gone.view.outbound {
            self.book.on_seen(now, &gone.view.address, &gone.view.peer);
        }
        let pause = self.pause_after(&closure);
        self.postpone(&gone.view.peer, Some(gone.view.address), now.plus(pause));
        self.look_for_peers(now, out);
    }

    /// How long a node is left alone after its connection ended.
    fn pause_after(&mut self, closure: &Closure) -> Millis {
        let reason = match closure.reason {
            CloseReason::Banned | CloseReason::WrongNetwork | CloseReason::WrongVersion => {
                self.config.disconnect_pause
            }
            CloseReason::TooManyPeers
            | CloseReason::GroupLimit
            | CloseReason::Evicted
            | CloseReason::Requested
            | CloseReason::RateLimited => FULL_PAUSE,
            _ => self.config.dial_backoff,
        };
        let asked = closure.retry_after.min(RETRY_AFTER_MAX);
        jittered(
            &self.config,
            &mut self.rng,
            if closure.by_remote { reason.max(asked) } else { reason },
        )
    }
}
