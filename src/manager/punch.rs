//! Dials of nodes behind NATs: who is to help, and what a punched hole is used for.
//!
//! # Security
//! Provided: a hole is punched only to a node that is being dialled for everything, as the word
//! that passes for it goes by common peers, who must not learn whom we hear blocks from; what was
//! heard through a hole is dialled within the limits of any dial, twice a minute at one IP, and
//! neither kept as an address nor taken for another's.
//! Not provided: secrecy of whom we dial otherwise: peers and nodes close to its id are asked for
//! the record of a node that has none here.

use super::{
    Action, LinkKind, Manager, Phase,
    config::WAYS_MAX,
    dialler::{Attempt, DialPurpose},
};
use crate::{
    address::Address, identity::NodeId, reason::CloseReason, record::Capabilities, time::Time,
};

/// Peers that are asked for the record of a node that is being dialled. A guess: the node is there,
/// so some peer of ours is likely to know it.
const ASKED_FOR_A_RECORD: usize = 3;

impl Manager {
    /// Whether holes are punched.
    #[must_use]
    pub fn punches(&self) -> bool {
        self.config.hole_punching
    }

    /// A node that is being dialled for everything may be behind a NAT: its record says so, or a
    /// few random peers are asked for it, and discovery looks for it.
    pub(super) fn punch_if_needed(&mut self, now: Time, peer: NodeId, out: &mut Vec<Action>) {
        if !self.config.hole_punching {
            return;
        }
        if self.book.record(&peer).is_some() {
            return self.punch_to(now, peer, out);
        }
        out.push(Action::SeekRecord { peer });
        self.ask_random(ASKED_FOR_A_RECORD, out);
    }

    /// Has a hole punched to a node, if it is being dialled for everything and its record says that
    /// it is behind a NAT.
    pub(super) fn punch_to(&mut self, now: Time, peer: NodeId, out: &mut Vec<Action>) {
        let wanted = self.attempts_at(&peer).find(|a| a.purpose.link() == LinkKind::Full);
        if let Some(attempt) = wanted.filter(|_| self.may_punch(&peer)).cloned() {
            self.dialler.on_punch(now, peer, &attempt);
            out.push(Action::Punch { peer });
        }
    }

    /// Has a hole punched to a node without dialling it, if its record says that it is behind a NAT.
    pub(super) fn punch_hidden(&self, peer: &NodeId, out: &mut Vec<Action>) {
        if self.may_punch(peer) {
            out.push(Action::Punch { peer: *peer });
        }
    }

    /// Whether holes are punched, and one to this node may be of use.
    fn may_punch(&self, peer: &NodeId) -> bool {
        let able = self.book.record(peer).map(|known| known.record().capabilities);
        self.config.hole_punching
            && able.is_some_and(|able| able.contains(Capabilities::BEHIND_NAT))
    }

    fn attempts_at(&self, peer: &NodeId) -> impl Iterator<Item = &Attempt> {
        let all = self.dialler.in_flight().map(|(_, attempt)| attempt);
        all.filter(move |attempt| attempt.expected.as_ref() == Some(peer))
    }

    /// A hole has been punched: the node answers there now, and not for long. What else is being
    /// tried for it gives way, but for another hole.
    pub fn on_punched(&mut self, now: Time, peer: NodeId, address: Address, out: &mut Vec<Action>) {
        let exempt = self.book.is_exempt(address);
        let unwanted = self.phase != Phase::Running
            || self.bans.has_peer(now, &peer)
            || (!exempt && self.bans.has_seat(&address));
        let view = self.peers.get(&peer).map(|known| known.view.clone());
        // Whoever a relay carries becomes a direct peer by it.
        let relayed = view.filter(|view| view.address.is_circuit());
        let useless = (relayed.is_none() && self.peers.contains(&peer))
            || peer == self.identity.node
            || !self.book.is_usable(address)
            || self.book.is_own(&address);
        let no_visit = |attempt: &&Attempt| attempt.purpose != DialPurpose::Visit;
        let under_way: Vec<Attempt> = self.attempts_at(&peer).filter(no_visit).cloned().collect();
        let (ways, others): (Vec<_>, Vec<_>) = under_way.into_iter().partition(|a| a.punched);
        let full = ways.len() >= WAYS_MAX || ways.iter().any(|way| way.address == address);
        // Whom we hear blocks from is dialled by nobody's help.
        let secret = others.iter().any(|other| other.purpose.link() != LinkKind::Full);
        let crowded = others.is_empty() && !self.has_room();
        if unwanted || useless || full || secret || crowded {
            return;
        }
        let before = others.iter().chain(&ways).next().map(|a| (a.purpose, a.listed));
        let before = before.or_else(|| self.dialler.hole(now, &peer));
        let named = self.dialler.persistent(&peer).map(|at| (DialPurpose::Persistent, at));
        let missing = (self.missing_outbound() > 0).then_some((DialPurpose::Ordinary, address));
        let Some((purpose, listed)) = (match &relayed {
            Some(_) => Some((DialPurpose::Upgrade, before.map_or(address, |(_, listed)| listed))),
            None => before.or(named).or(missing),
        }) else {
            return;
        };
        // Whom the operator names is believed. Anybody else would have us dial whom it likes.
        let is_limited = purpose != DialPurpose::Persistent && !exempt;
        let too_often = is_limited && !self.dialler.may_dial_hole(now, address.ip());
        let too_near = match &relayed {
            Some(view) if !view.place.is_reserved() => {
                self.has_room_at(view.chosen, &address, Some(view)).is_err()
            }
            Some(_) => false,
            None => is_limited && !self.group_has_room(&address, Some(&peer)),
        };
        if too_often || too_near || !self.dialler.rate.take(now) {
            return;
        }
        self.give_up_dials(CloseReason::Duplicate, out, |attempt| {
            attempt.expected == Some(peer) && !attempt.punched
        });
        let there = (address, peer);
        let attempt = self.dialler.start_punched(&self.config, now, there, purpose, listed);
        let (link, expected) = (purpose.link(), Some(peer));
        out.push(Action::Dial { attempt, link, address, expected });
    }
}
