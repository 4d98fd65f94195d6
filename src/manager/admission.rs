//! Who becomes a peer: the gate before the handshake, twins and slots after it.

use super::{
    Action, Direction, Established, Manager, PeerView, Phase, Place, RECORDS_MAX, SessionId, close,
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
    /// Its twin stays, and what was sent here is still heard.
    HearOut,
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
        self.enter(now, session, (address, None), out);
    }

    /// As [`Manager::on_inbound_attempt`], through the relay at this address; `from` is who the
    /// relay says it is, which the handshake must prove.
    pub fn on_circuit_attempt(
        &mut self,
        now: Time,
        session: SessionId,
        (address, from): (Address, NodeId),
        out: &mut Vec<Action>,
    ) {
        self.enter(now, session, (address, Some(from)), out);
    }

    fn enter(
        &mut self,
        now: Time,
        session: SessionId,
        (address, from): (Address, Option<NodeId>),
        out: &mut Vec<Action>,
    ) {
        let exempt = self.book.is_exempt(address);
        let banned = from.is_some_and(|from| self.bans.has_peer(now, &from))
            || (!exempt && self.bans.has_seat(&address));
        let entered = if self.phase != Phase::Running {
            Err(CloseReason::Shutdown)
        } else if banned {
            Err(CloseReason::Banned)
        } else {
            self.gate.enter(&self.config, now, session, (address, from), exempt)
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
        let view = self.view_of(now, session, &established, attempt.as_ref());
        let verdict = if !answered {
            let own = peer == self.identity.node;
            Verdict::Refuse(if own {
                CloseReason::SelfConnection
            } else {
                CloseReason::UnexpectedIdentity
            })
        } else {
            self.judge(now, &established, &view)
        };
        self.carry_out(now, view, established, verdict, out);
        self.look_for_peers(now, out);
    }

    /// The peer as it would be shown.
    fn view_of(
        &self,
        now: Time,
        session: SessionId,
        new: &Established,
        attempt: Option<&Attempt>,
    ) -> PeerView {
        let outbound = new.direction != Direction::Inbound;
        let upgrade = attempt.is_some_and(|attempt| attempt.purpose == DialPurpose::Upgrade);
        let mut view = PeerView {
            peer: new.peer,
            session,
            address: new.address,
            group: self.book.group_of(&new.address),
            outbound,
            punched: attempt.is_some_and(|a| a.punched && a.address == new.address),
            // Whom a relay brought has chosen us, though we dial it to be rid of the relay.
            chosen: outbound && !upgrade,
            since: now,
            place: Place::Inbound,
            blocks_only: new.blocks_only,
            validator: new.validator,
        };
        // A peer that we chose and that dials us in turn, or whose dial has crossed with ours, is
        // still the one that we chose: no inbound place is taken, no outbound one becomes free.
        view.chosen |= self.peers.get(&new.peer).is_some_and(|peer| {
            let old = &peer.view;
            let same = old.place == Place::Outbound && old.group == view.group;
            // A relayed one is who it was wherever it is directly, whichever side has dialled.
            let moves = !view.address.is_circuit() && peer.is_upgrading(&self.config, now);
            !view.blocks_only && (same || (old.chosen && (moves || upgrade)))
        });
        view.place = self.place_for(&view);
        view
    }

    fn judge(&self, now: Time, new: &Established, view: &PeerView) -> Verdict {
        let PeerView { peer, outbound, chosen, group, place, address, .. } = *view;
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
            let direct = !address.is_circuit();
            let twin = Twin { direct, outbound, channel: new.channel };
            let own = &self.identity.node;
            let survives = newcomer_survives(&self.config, own, now, old, twin);
            return if !survives && direct && old.is_upgrading(&self.config, now) {
                Verdict::HearOut
            } else if !survives {
                Verdict::Refuse(CloseReason::Duplicate)
            } else {
                self.may_move(&old.view, view).map_or_else(Verdict::Refuse, |()| Verdict::Replace)
            };
        }
        if place.is_reserved() {
            return Verdict::Admit;
        }
        let census = self.peers.census();
        let room = self.has_room_at(chosen, &address, None);
        if chosen {
            let full = if place == Place::BlocksOnly {
                census.of(place) >= self.config.blocks_only_outbound
            } else {
                census.outbound() >= self.outbound_max()
            };
            return if let Err(reason) = room {
                Verdict::Refuse(reason)
            } else if full {
                Verdict::Refuse(CloseReason::TooManyPeers)
            } else {
                Verdict::Admit
            };
        }
        if let Err(reason) = room {
            return Verdict::Refuse(reason);
        }
        if !self.is_full() {
            return Verdict::Admit;
        }
        if address.is_circuit() {
            // Nobody is sent away for one whom nobody can place.
            return Verdict::Refuse(CloseReason::TooManyPeers);
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
    pub(super) fn inbound_max(&self) -> usize {
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
        view: PeerView,
        new: Established,
        verdict: Verdict,
        out: &mut Vec<Action>,
    ) {
        let PeerView { peer, session, address, outbound, validator, group, .. } = view;
        let asks = outbound && view.chosen && !view.blocks_only;
        let mut replaces = None;
        match verdict {
            Verdict::Refuse(reason) => {
                let full = reason == CloseReason::TooManyPeers && !outbound;
                let asker = (&peer, address);
                let records =
                    if full { self.records_for(now, asker, None, RECORDS_MAX) } else { Vec::new() };
                let retry_after = if full { FULL_PAUSE } else { 0 };
                return out.push(Action::Close { session, reason, retry_after, records });
            }
            Verdict::Replace => {
                let old = self.peers.get(&peer);
                let upgrades =
                    old.filter(|old| !address.is_circuit() && old.is_upgrading(&self.config, now));
                let upgrades = upgrades.map(|old| (old.view.session, old.view.address));
                let upgrades = upgrades.is_some_and(|(old, at)| self.hears_out(old, peer, at));
                replaces = self.peers.replace(now, new.channel, view);
                if upgrades {
                    self.note_upgrade(now, &peer);
                }
                out.extend(replaces.map(|old| match upgrades {
                    true => Action::Retire { session: old },
                    false => close(old, CloseReason::Duplicate),
                }));
            }
            Verdict::HearOut if !self.hears_out(session, peer, address) => {
                return out.push(close(session, CloseReason::Duplicate));
            }
            Verdict::HearOut => {
                self.note_upgrade(now, &peer);
                return out.push(Action::HearOut { session, peer });
            }
            Verdict::Evict(victim) => {
                self.close_peer(now, &victim, CloseReason::Evicted, out);
                self.peers.insert(Peer::new(now, view, new.channel));
            }
            Verdict::Admit => self.peers.insert(Peer::new(now, view, new.channel)),
        }
        self.upgrades.note(now, peer, address.is_circuit());
        // Our dial would lose against this connection; else the other side may prefer it already.
        if !outbound && peer < self.identity.node && !address.is_circuit() {
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
        if asks && self.wants_peers() {
            let count = u8::try_from(RECORDS_MAX).unwrap_or(u8::MAX);
            out.push(Action::RequestPeers { peer, count });
        }
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
        self.on_heard_out(session);
        if self.on_visit_closed(session, out) {
            return;
        }
        let gone = self.peers.of_session(session).and_then(|peer| self.peers.remove(&peer));
        let Some(gone) = gone else { return };
        self.upgrades.forget(&gone.view.peer);
        if closure.by_remote && gone.is_upgrading(&self.config, now) {
            self.upgrades.note_refusal(now, gone.view.peer, closure.reason);
        }
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
