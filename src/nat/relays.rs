//! Peers that carry circuits, and which of them are told as ways to this node.
//!
//! # Security
//! Provided: the relays told are in different neighbourhoods where there are such; one that is told
//! stays so for [`TOLD_FOR`] while it is connected, so newcomers can't push it out, and then another
//! has its turn if there is one, so those that came first and carry nothing are not all there is
//! for ever. Memory is bounded by the number of peers.
//! Not provided: a relay's word that it will carry; whoever dials finds out. Nobody tests it.

use std::collections::BTreeMap;

use super::{Action, Candidate, NatTraversal, Origin, verdict::PATIENCE};
use crate::{
    address::Address,
    identity::NodeId,
    time::{Millis, Time},
};

/// Relays that are told: one, and one for when that is gone. More would only fill records.
pub const RELAYS_TOLD: usize = 2;
/// How long a relay is told before another has its turn, ms. A guess: a record is known everywhere
/// within minutes, and lives for a day.
pub(super) const TOLD_FOR: Millis = 60 * 60 * 1_000;
/// Peers that are remembered as relays. More than there are places for peers by default.
const KNOWN_MAX: usize = 1_024;

/// A peer that carries circuits.
#[derive(Clone, Copy, Debug)]
struct Relay {
    address: Address,
    since: Time,
    /// When it was told last, or has been since.
    told: Option<Time>,
}

/// The relays among the peers.
#[derive(Clone, Debug, Default)]
pub(super) struct Relays {
    known: BTreeMap<NodeId, Relay>,
    told: Vec<NodeId>,
}

impl Relays {
    /// A peer that others reach at this address carries circuits.
    pub(super) fn add(&mut self, now: Time, peer: NodeId, address: Address) {
        if self.known.len() < KNOWN_MAX || self.known.contains_key(&peer) {
            let known = self.known.entry(peer);
            known.or_insert(Relay { address, since: now, told: None }).address = address;
            self.choose(now);
        }
    }

    /// A peer is gone.
    pub(super) fn forget(&mut self, now: Time, peer: &NodeId) {
        if self.known.remove(peer).is_some() {
            self.told.retain(|told| told != peer);
            self.choose(now);
        }
    }

    /// Lets another have its turn after one that was told for long enough.
    pub(super) fn rotate(&mut self, now: Time) {
        let since = |peer: &NodeId| self.known.get(peer).and_then(|relay| relay.told);
        let oldest = self.told.iter().copied().min_by_key(since);
        let over = oldest.filter(|peer| {
            since(peer).is_some_and(|since| now.since(since) >= TOLD_FOR)
                && self.known.len() > self.told.len()
        });
        if let Some(over) = over {
            if let Some(relay) = self.known.get_mut(&over) {
                relay.told = Some(now);
            }
            self.told.retain(|told| *told != over);
            self.choose(now);
        }
    }

    /// The ways to this node through those that are told.
    pub(super) fn circuits(&self) -> impl Iterator<Item = Address> {
        let address = |peer: &NodeId| self.known.get(peer).and_then(|r| r.address.through());
        self.told.iter().filter_map(address)
    }

    /// Fills up what is told: the one that was not told for longest, and then the oldest, in
    /// another neighbourhood than those, else in any.
    fn choose(&mut self, now: Time) {
        while self.told.len() < RELAYS_TOLD {
            let told = self.told.iter().filter_map(|peer| self.known.get(peer));
            let groups: Vec<_> = told.map(|relay| relay.address.group()).collect();
            let others = self.known.iter_mut().filter(|(peer, _)| !self.told.contains(peer));
            let best = others.min_by_key(|(peer, relay)| {
                (groups.contains(&relay.address.group()), relay.told, relay.since, **peer)
            });
            let Some((best, relay)) = best else { return };
            relay.told = Some(now);
            self.told.push(*best);
        }
    }
}

impl NatTraversal {
    /// A peer that is connected directly carries circuits, and others reach it at this address.
    pub fn on_relay(&mut self, now: Time, peer: NodeId, address: Address, out: &mut Vec<Action>) {
        if self.counts(&address) {
            self.relays.add(now, peer, address);
            self.announce(now, out);
        }
    }

    /// Whether strangers need a relay: none has come lately, and nothing says that one could, or
    /// for so long that it was wrong. What only peers and STUN name is the outside of a NAT.
    pub(super) fn wants_relays(&self, now: Time) -> bool {
        let surely = |candidate: &Candidate| {
            matches!(candidate.origin, Origin::Listening | Origin::Interface | Origin::Mapped)
        };
        self.config.external.is_empty()
            && !self.strangers.came_lately(now)
            && (!self.direct_candidates().iter().any(surely) || now.since(self.since) >= PATIENCE)
    }

    /// Peers see this node elsewhere than before: the line has changed, and who came to the old
    /// address says nothing of the new one.
    pub(super) fn look_outside(&mut self) {
        for (is_v4, known) in [true, false].into_iter().zip(&mut self.outside) {
            let Some(seen) = self.witnesses.ip(is_v4) else { continue };
            if known.replace(seen).is_some_and(|before| before != seen) {
                self.strangers.move_on();
            }
        }
    }
}
