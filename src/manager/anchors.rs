//! Anchors and feelers: what a restart begins with, and how new addresses are tried.
//!
//! The peers we exchange nothing but blocks with are the anchors: nobody learns of them, so an
//! attacker that ends this process can't have taken their places beforehand, and they are dialled
//! before anybody else when it is back (Heilman et al. 2015, countermeasure 5). A feeler is a
//! handshake and nothing more; it takes no place here or there.

use super::{
    Action, Anchor, DialFailure, DialId, Manager, Place, SWEEP_INTERVAL,
    config::{ANCHOR_AGE, ANCHOR_ATTEMPTS, SEEN_INTERVAL},
    dialler::{DialPurpose, jittered},
};
use crate::{
    book::{BookChange, BookEntry},
    identity::NodeId,
    time::{Millis, Time},
};

/// The anchors of this run and of the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct Anchors {
    /// What the store knows.
    kept: Vec<Anchor>,
    /// Those of the run before that were not reached yet, with how often that failed while others
    /// were reached.
    waiting: Vec<(Anchor, u32)>,
}

/// Counts of feelers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeelerCounts {
    /// Attempts.
    pub dialled: u64,
    /// Of these, the ones that somebody answered.
    pub answered: u64,
}

impl Manager {
    /// Before the start: the anchors that the store has kept.
    pub fn restore_anchors(&mut self, anchors: impl IntoIterator<Item = Anchor>) {
        let most = self.config.anchors.min(self.config.blocks_only_outbound);
        let usable = |anchor: &Anchor| self.book.is_usable(anchor.address);
        self.anchors.kept = anchors.into_iter().filter(usable).take(most).collect();
        self.anchors.waiting = self.anchors.kept.iter().map(|anchor| (*anchor, 0)).collect();
    }

    /// The anchors that a restart would begin with.
    #[must_use]
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors.kept
    }

    /// Dials the anchors of the run before; whether one is still to be reached.
    pub(super) fn dial_anchors(&mut self, now: Time, out: &mut Vec<Action>) -> bool {
        let waiting = std::mem::take(&mut self.anchors.waiting);
        for (anchor, attempts) in waiting {
            let Anchor { address, peer } = anchor;
            let hopeless = attempts >= ANCHOR_ATTEMPTS && !self.dialler.is_expected(&peer);
            if hopeless || self.peers.contains(&peer) || self.bans.has_peer(now, &peer) {
                continue;
            }
            let due = self.book.get(&address).is_none_or(|entry| entry.next_dial <= now);
            if due && attempts < ANCHOR_ATTEMPTS {
                let exempt = self.book.is_exempt(address);
                let place = super::dialler::Place {
                    address,
                    expected: Some(peer),
                    stranger: false,
                    exempt,
                };
                self.dial(now, place, DialPurpose::Anchor, out);
            }
            self.anchors.waiting.push((anchor, attempts));
        }
        !self.anchors.waiting.is_empty()
    }

    /// How many more peers should be dialled to exchange nothing but blocks with.
    pub(super) fn missing_blocks_only(&self) -> usize {
        let dialling = self.dialler.in_flight().filter(|(_, attempt)| {
            matches!(attempt.purpose, DialPurpose::BlocksOnly | DialPurpose::Anchor)
        });
        let idle = self.anchors.waiting.iter().filter(|(a, _)| !self.dialler.is_expected(&a.peer));
        let taken = self.peers.census().of(Place::BlocksOnly);
        let taken = taken.saturating_add(dialling.count()).saturating_add(idle.count());
        self.config.blocks_only_outbound.saturating_sub(taken)
    }

    /// The peers there are now become the anchors; with fewer, earlier ones stay. Whoever greets
    /// and goes is none: an attacker would wash the anchors out that way, one refusal at a time.
    fn note_anchors(&mut self, now: Time, out: &mut Vec<Action>) {
        let present = self.peers.iter().filter(|peer| {
            peer.view.place == Place::BlocksOnly && now.since(peer.view.since) >= ANCHOR_AGE
        });
        let mut oldest: Vec<(Time, Anchor)> = present
            .map(|p| (p.view.since, Anchor { address: p.view.address, peer: p.view.peer }))
            .collect();
        oldest.sort_by_key(|(since, anchor)| (*since, anchor.peer));
        let mut kept: Vec<Anchor> = oldest.into_iter().map(|(_, anchor)| anchor).collect();
        for earlier in &self.anchors.kept {
            if kept.iter().all(|anchor| anchor.peer != earlier.peer) {
                kept.push(*earlier);
            }
        }
        kept.truncate(self.config.anchors);
        self.keep_anchors(kept, out);
    }

    /// An anchor that was banned is none.
    pub(super) fn drop_anchor(&mut self, peer: &NodeId, out: &mut Vec<Action>) {
        let kept = self.anchors.kept.iter().filter(|anchor| anchor.peer != *peer);
        let kept = kept.copied().collect();
        self.keep_anchors(kept, out);
    }

    fn keep_anchors(&mut self, kept: Vec<Anchor>, out: &mut Vec<Action>) {
        if kept != self.anchors.kept {
            self.anchors.kept = kept;
            out.push(Action::PersistAnchors(self.anchors.kept.clone()));
        }
    }

    /// Sends a feeler if there is something to find out: first whether a tried address still
    /// answers whose place another one waits for, then whether a random new one does. Only while
    /// enough peers are there: until then every dial finds out as much.
    pub(super) fn send_feeler(&mut self, now: Time, out: &mut Vec<Action>) {
        let interval = self.config.feeler_interval;
        self.next_feeler = if interval == 0 {
            Time::NEVER
        } else {
            now.plus(jittered(&self.config, &mut self.rng, interval).max(1))
        };
        let tests = self.book.tests(now);
        let under_way = self.dialler.in_flight().any(|(_, a)| a.purpose == DialPurpose::Feeler);
        if interval == 0 || under_way || self.missing_outbound() > 0 {
            return self.persist_book(out);
        }
        for view in self.peers.iter().map(|peer| &peer.view).filter(|view| view.outbound) {
            if tests.contains(&view.address) {
                self.book.on_seen(now, &view.address, &view.peer);
            }
        }
        let mut rng = self.rng.clone();
        // One that can't be dialled now holds up no other: it may be so for hours.
        let mut occupants = tests.iter().filter_map(|address| self.book.get(address));
        let entry = occupants
            .find(|entry| self.may_feel(now, entry))
            .or_else(|| self.book.draw_new(&mut rng, |entry| self.may_feel(now, entry)));
        let place = entry.map(|entry| self.place_of(entry));
        self.rng = rng;
        if let Some(place) = place
            && self.dial(now, place, DialPurpose::Feeler, out)
        {
            self.feelers.dialled = self.feelers.dialled.saturating_add(1);
        }
        self.persist_book(out);
    }

    fn may_feel(&self, now: Time, entry: &BookEntry) -> bool {
        // Through a relay it would tell nothing of the address.
        !entry.address.is_circuit()
            && entry.next_dial <= now
            && entry.peer.is_none_or(|peer| {
                peer != self.identity.node
                    && !self.peers.contains(&peer)
                    && !self.bans.has_peer(now, &peer)
            })
            && (self.book.is_exempt(entry.address) || !self.bans.has_ip(entry.address.ip()))
            && !self.peers.census().has_address(&entry.address)
            && self.dialler.may_dial(now, &self.place_of(entry))
    }

    /// A feeler was answered, by this node.
    pub fn on_felt(&mut self, now: Time, attempt: DialId, peer: NodeId, out: &mut Vec<Action>) {
        let Some(attempt) = self.dialler.finish(attempt) else { return };
        if self.check_answer(now, &attempt, (peer, attempt.address), out) {
            self.feelers.answered = self.feelers.answered.saturating_add(1);
        }
        self.look_for_peers(now, out);
    }

    /// The store is told what the book has learnt.
    pub(super) fn persist_book(&mut self, out: &mut Vec<Action>) {
        out.extend(self.book.take_changes().into_iter().map(|change| match change {
            BookChange::Keep(entry) => Action::PersistAddress(entry),
            BookChange::Forget(address) => Action::ForgetAddress(address),
        }));
    }

    /// What is due now and then: ends bans, forgets dead records, tells the store the rest.
    pub(super) fn sweep(&mut self, now: Time, out: &mut Vec<Action>) {
        self.next_sweep = now.plus(SWEEP_INTERVAL);
        self.bans.expire(now);
        let dead = self.book.forget_expired(now).into_iter();
        out.extend(dead.chain(std::mem::take(&mut self.unusable)).map(Action::ForgetRecord));
        self.note_anchors(now, out);
        self.note_seen(now, SEEN_INTERVAL);
        self.persist_book(out);
    }

    /// The addresses of connected peers have answered until now, those that were last seen so
    /// long ago are told.
    pub(super) fn note_seen(&mut self, now: Time, ago: Millis) {
        for view in self.peers.iter().map(|peer| &peer.view).filter(|view| view.outbound) {
            let last = self.book.get(&view.address).and_then(|entry| entry.last_success);
            if last.is_some_and(|at| now.since(at) >= ago) {
                self.book.on_seen(now, &view.address, &view.peer);
            }
        }
    }

    /// An attempt at an anchor ended without it. While nobody is reached, or our own machine is in
    /// trouble, that says nothing about the anchor: whoever cuts the line during a restart must
    /// not make us forget.
    pub(super) fn after_anchor(&mut self, peer: &NodeId, failure: &DialFailure) {
        let online = self.peers.len() > 0 && !matches!(failure, DialFailure::Local);
        if let Some((_, attempts)) =
            self.anchors.waiting.iter_mut().find(|(anchor, _)| online && anchor.peer == *peer)
        {
            *attempts = attempts.saturating_add(1);
        }
        // Somebody else is there: the anchor has moved or is gone.
        if matches!(failure, DialFailure::UnexpectedIdentity(_) | DialFailure::SelfConnection) {
            self.anchors.waiting.retain(|(anchor, _)| anchor.peer != *peer);
        }
    }
}
