//! The connected peers by slot.
//!
//! A slot that was left is quarantined: bits of the peer that had it are still set in many
//! entries. It is given out again only after they were cleared ([`Peers::release`]), for all
//! quarantined slots at once.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    peer::PeerState,
    peer_set::{PeerSet, PeerSlot},
};
use crate::identity::{NodeId, PublicKey};

/// Slots that wait to be cleared before they are; makes one pass over all messages serve so many
/// disconnections.
const QUARANTINE_MAX: usize = 64;
/// Slots in all.
const SLOTS_MAX: usize = u16::MAX as usize;

/// The peers.
#[derive(Default)]
pub(super) struct Peers {
    /// Also the peers that left, while their slot is quarantined: they still answer for what
    /// they sent.
    slots: Vec<Option<PeerState>>,
    by_node: BTreeMap<NodeId, PeerSlot>,
    free: BTreeSet<PeerSlot>,
    quarantined: PeerSet,
    pub(super) connected: PeerSet,
    /// Connected peers that take more than blocks.
    pub(super) full: PeerSet,
    /// Connected peers that proved a validator of the current set.
    pub(super) members: PeerSet,
    /// Connected peers in relay standing.
    pub(super) standing: PeerSet,
}

impl Peers {
    /// Whether [`Peers::release`] must be called before a peer is added.
    pub(super) fn must_release(&self) -> bool {
        let full = self.free.is_empty() && self.slots.len() >= SLOTS_MAX;
        self.quarantined.len() >= QUARANTINE_MAX || (full && !self.quarantined.is_empty())
    }

    /// Frees the quarantined slots, after everything about them was forgotten elsewhere.
    pub(super) fn release(&mut self) -> PeerSet {
        let gone = std::mem::take(&mut self.quarantined);
        for slot in gone.iter() {
            if let Some(state) = self.slots.get_mut(slot.index()) {
                *state = None;
            }
            self.free.insert(slot);
        }
        gone
    }

    /// Gives a peer the lowest free slot; `None` if there is none.
    pub(super) fn add(&mut self, state: PeerState, member: bool) -> Option<PeerSlot> {
        let slot = match self.free.pop_first() {
            Some(slot) => slot,
            None if self.slots.len() < SLOTS_MAX => {
                let slot = PeerSlot(u16::try_from(self.slots.len()).ok()?);
                self.slots.push(None);
                slot
            }
            None => return None,
        };
        self.by_node.insert(state.node, slot);
        self.connected.insert(slot);
        if !state.blocks_only {
            self.full.insert(slot);
        }
        if member {
            self.members.insert(slot);
        }
        *self.slots.get_mut(slot.index())? = Some(state);
        Some(slot)
    }

    /// A peer left; false if it was not connected.
    pub(super) fn remove(&mut self, slot: PeerSlot) -> bool {
        if !self.connected.contains(slot) {
            return false;
        }
        let sets = [&mut self.connected, &mut self.full, &mut self.members, &mut self.standing];
        for set in sets {
            set.remove(slot);
        }
        self.quarantined.insert(slot);
        if let Some(state) = self.slots.get(slot.index()).and_then(Option::as_ref) {
            self.by_node.remove(&state.node);
        }
        true
    }

    /// A connected peer.
    pub(super) fn get(&self, slot: PeerSlot) -> Option<&PeerState> {
        self.had(slot).filter(|_| self.connected.contains(slot))
    }

    /// A connected peer.
    pub(super) fn get_mut(&mut self, slot: PeerSlot) -> Option<&mut PeerState> {
        let connected = self.connected.contains(slot);
        self.had_mut(slot).filter(|_| connected)
    }

    /// The peer that has the slot, or had it last.
    pub(super) fn had(&self, slot: PeerSlot) -> Option<&PeerState> {
        self.slots.get(slot.index())?.as_ref()
    }

    /// The peer that has the slot, or had it last.
    pub(super) fn had_mut(&mut self, slot: PeerSlot) -> Option<&mut PeerState> {
        self.slots.get_mut(slot.index())?.as_mut()
    }

    /// The slot of a connected peer.
    pub(super) fn slot(&self, node: &NodeId) -> Option<PeerSlot> {
        self.by_node.get(node).copied()
    }

    /// The connected peers, lowest slot first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerSlot, &PeerState)> {
        self.connected.iter().filter_map(|slot| Some((slot, self.had(slot)?)))
    }

    pub(super) fn len(&self) -> usize {
        self.by_node.len()
    }

    /// The validator set changed.
    pub(super) fn on_validators(&mut self, set: &BTreeSet<PublicKey>) {
        let is_member = |peer: &PeerState| peer.validator.is_some_and(|key| set.contains(&key));
        let members = self.iter().filter(|(_, peer)| is_member(peer)).map(|(slot, _)| slot);
        self.members = members.collect();
    }
}
