//! Peers that a relay carries: how they are reached, and how they become direct ones.
//!
//! A relayed peer is a peer like any other, at its relay's address. While it is one, the direct
//! addresses in its record are dialled now and then, by both sides; the first direct connection
//! takes the relayed one's place.
//!
//! # Security
//! Provided: no circuit is dialled but through a peer, so a record can't make this node dial one
//! stranger to reach another, the operator's own wishes apart; only who was met at a relay's
//! address is taken for that relay. Upgrades are attempts like others, held to their spacing, and
//! ever rarer, and none goes to an address that is known as another node's. Whoever a relay brought
//! stays what it was, not chosen, whoever dials; where it is directly the limits of a newcomer hold.
//! Relayed peers that chose us are few, whatever many relays bring them. A direct connection never
//! gives way to a relayed one.
//! Not provided: direct connections where neither side can be dialled nor a hole punched. Places
//! among the relayed ones for whoever comes late.

use std::collections::BTreeMap;

use super::{
    Action, Manager, PeerView, Phase,
    census::counts_in_group,
    config::{RELAYED_PART, RELAYED_PART_OF_RELAY, UPGRADE_REFUSALS_MAX, UPGRADE_REFUSED_PAUSE},
    dialler::{DialPurpose, Place, jittered},
};
use crate::{
    address::Address,
    identity::NodeId,
    reason::CloseReason,
    record::Capabilities,
    time::{Millis, Time},
};

/// Attempts at relayed peers at once: whoever comes through relays and says that it is where nobody
/// answers keeps the other places for dials free.
const UPGRADES_MAX: usize = 2;
/// Until the first attempt to reach a relayed peer directly, ms: it may be dialling us just now.
const UPGRADE_FIRST: Millis = 1_000;
/// Until the next, doubled each time, and the longest, ms. Networks change seldom (iroh issue 3463:
/// not every 5 s for ever).
const UPGRADE_BACKOFF: Millis = 5_000;
const UPGRADE_BACKOFF_MAX: Millis = 10 * 60 * 1_000;

/// Relayed peers, when they are tried directly next, and how often they were.
#[derive(Clone, Debug, Default)]
pub(super) struct Upgrades {
    waiting: BTreeMap<NodeId, (Time, u32)>,
    /// Nodes that had no room for a direct connection, and until when none is tried.
    refused: BTreeMap<NodeId, Time>,
}

/// How surely a peer is the relay at an address; the surest is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sure {
    /// It says so, and comes from that machine.
    Near,
    /// It was met there before.
    Met,
    /// It was dialled there.
    Dialled,
}

impl Upgrades {
    pub(super) fn note(&mut self, now: Time, peer: NodeId, relayed: bool) {
        if relayed {
            let first = now.plus(UPGRADE_FIRST);
            let first = self.refused.get(&peer).map_or(first, |until| first.max(*until));
            self.waiting.insert(peer, (first, 0));
        } else {
            self.waiting.remove(&peer);
        }
    }

    /// A direct connection was ended by the other side, soon after it took a relayed one's place.
    pub(super) fn note_refusal(&mut self, now: Time, peer: NodeId, reason: CloseReason) {
        if !matches!(reason, CloseReason::GroupLimit | CloseReason::TooManyPeers) {
            return;
        }
        self.refused.retain(|_, until| *until > now);
        if self.refused.len() < UPGRADE_REFUSALS_MAX {
            self.refused.insert(peer, now.plus(UPGRADE_REFUSED_PAUSE));
        }
    }

    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.waiting.remove(peer);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.waiting.values().map(|(next, _)| *next).min()
    }
}

impl Manager {
    /// The connected peer that carries what goes to this address, if that is a circuit.
    #[must_use]
    pub fn relay_of(&self, address: &Address) -> Option<NodeId> {
        let relay = address.relay()?;
        // Whoever was dialled there and does not offer it refuses, and whoever asks hears why.
        let dialled =
            |view: &&PeerView| view.outbound && view.address == relay && !view.blocks_only;
        let dialled = || self.peers().find(dialled).map(|view| view.peer);
        self.relays().get(&relay).copied().or_else(dialled)
    }

    /// The connected peers that carry circuits, by where others reach them. A record alone proves
    /// nothing: anybody can write another's address into its own.
    pub(super) fn relays(&self) -> BTreeMap<Address, NodeId> {
        let mut found: BTreeMap<Address, (Sure, NodeId)> = BTreeMap::new();
        for view in self.peers.iter().map(|peer| &peer.view) {
            let record = self.book.record(&view.peer).map(|record| record.record());
            let serves = record.filter(|r| r.capabilities.contains(Capabilities::RELAY));
            let Some(record) = serves else { continue };
            if view.blocks_only || view.address.is_circuit() {
                continue;
            }
            let dialled = view.outbound.then_some((view.address, Sure::Dialled));
            let recorded = record.addresses.iter().filter(|address| !address.is_circuit());
            let recorded = recorded.filter_map(|address| {
                let entry = self.book.get(address);
                let met = entry.is_some_and(|e| e.is_verified() && e.peer == Some(view.peer));
                let near = view.address.ip() == address.ip();
                let sure = if met { Some(Sure::Met) } else { near.then_some(Sure::Near) };
                sure.map(|sure| (*address, sure))
            });
            for (address, sure) in recorded.chain(dialled) {
                let known = found.entry(address).or_insert((sure, view.peer));
                if sure > known.0 {
                    *known = (sure, view.peer);
                }
            }
        }
        found.into_iter().map(|(address, (_, peer))| (address, peer)).collect()
    }

    /// What must be dialled to reach a place: the place itself, or first the relay in front of it,
    /// as a peer like any; nothing where the place is not worth that.
    pub(super) fn first_hop(
        &self,
        now: Time,
        place: Place,
        purpose: DialPurpose,
    ) -> Option<(Place, DialPurpose)> {
        let Some(relay) = place.address.relay() else { return Some((place, purpose)) };
        if self.relay_of(&place.address).is_some() {
            return Some((place, purpose));
        }
        let entry = self.book.get(&relay);
        let hop = match purpose {
            // The operator named the relay too.
            DialPurpose::Persistent | DialPurpose::Bootstrap => {
                let exempt = self.book.is_exempt(relay);
                let expected = entry.and_then(|entry| entry.peer);
                let useless = expected.is_some_and(|peer| {
                    self.peers.contains(&peer) || self.bans.has_peer(now, &peer)
                });
                let banned = !exempt && self.bans.has_seat(&relay);
                // It may have said that it is full.
                let early = entry.is_some_and(|entry| entry.next_dial > now);
                let hop = Place { address: relay, expected, stranger: false, exempt };
                Some(hop).filter(|_| !useless && !banned && !early)
            }
            // A record did: it gets no more than any node that is looked for.
            DialPurpose::Validator => {
                let wanted = |entry: &&_| self.missing_outbound() > 0 && self.is_wanted(now, entry);
                entry.filter(wanted).map(|entry| self.place_of(entry))
            }
            _ => None,
        };
        hop.map(|hop| (hop, DialPurpose::Ordinary))
    }

    pub(super) fn note_upgrade(&mut self, now: Time, peer: &NodeId) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.note_upgrade(&self.config, now);
        }
    }

    /// Whether a peer's new connection may take the old one's place, where it comes from.
    pub(super) fn may_move(&self, old: &PeerView, new: &PeerView) -> Result<(), CloseReason> {
        use super::Place;
        if new.place.is_reserved() {
            return Ok(());
        }
        // It would leave a place of one kind for one that a stranger could not have. A relayed one
        // keeps its kind, and neither side can be full for that.
        let full = match new.place {
            place if place == old.place || old.address.is_circuit() => false,
            Place::Inbound => self.is_full(),
            Place::Outbound => self.peers.census().outbound() >= self.outbound_max(),
            _ => false,
        };
        if full {
            return Err(CloseReason::TooManyPeers);
        }
        self.has_room_at(new.chosen, &new.address, Some(old))
    }

    /// Whether the limits by IP, neighbourhood and relay leave room for one more peer, chosen or
    /// not, if this one leaves.
    pub(super) fn has_room_at(
        &self,
        chosen: bool,
        address: &Address,
        leaving: Option<&PeerView>,
    ) -> Result<(), CloseReason> {
        let (census, group) = (self.peers.census(), self.book.group_of(address));
        let exempt = self.book.is_exempt(*address);
        let without = |count: usize, leaves: bool| count.saturating_sub(usize::from(leaves));
        let inbound = leaving.filter(|old| old.place == super::Place::Inbound);
        let same_ip = inbound.is_some_and(|old| {
            let way = |address: &Address| (address.ip(), address.is_circuit());
            way(&old.address) == way(address)
        });
        if address.is_circuit() && !chosen {
            let most = self.relayed_max();
            let relayed = inbound.is_some_and(|old| old.address.is_circuit());
            let of_relay = (most / RELAYED_PART_OF_RELAY).max(1);
            return if without(census.relayed(), relayed) >= most {
                Err(CloseReason::TooManyPeers)
            } else if !exempt && without(census.through(address), same_ip) >= of_relay {
                Err(CloseReason::GroupLimit)
            } else {
                Ok(())
            };
        }
        let near = leaving
            .is_some_and(|old| counts_in_group(old) && (old.chosen, old.group) == (chosen, group));
        let of_group = without(census.in_group(chosen, group), near);
        let full = if chosen {
            of_group >= self.config.max_outbound_per_group
        } else {
            of_group >= self.config.max_inbound_per_group
                || without(census.with_ip(address), same_ip) >= self.config.max_inbound_per_ip
        };
        if full && !exempt { Err(CloseReason::GroupLimit) } else { Ok(()) }
    }

    /// Inbound places that relayed peers may have.
    fn relayed_max(&self) -> usize {
        (self.inbound_max() / RELAYED_PART).max(1)
    }

    /// Tries to reach relayed peers directly, those whose time has come.
    pub(super) fn upgrade_peers(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.phase != Phase::Running {
            return;
        }
        let upgrading = self.dialler.in_flight().filter(|(_, a)| a.purpose == DialPurpose::Upgrade);
        let room = UPGRADES_MAX.saturating_sub(upgrading.count());
        let due = self.upgrades.waiting.iter().filter(|(_, (next, _))| *next <= now);
        let mut due: Vec<_> = due.map(|(peer, (next, times))| (*next, *peer, *times)).collect();
        due.sort_unstable();
        for (_, peer, _) in due.split_off(room.min(due.len())) {
            if let Some((next, _)) = self.upgrades.waiting.get_mut(&peer) {
                *next = now.plus(UPGRADE_FIRST);
            }
        }
        for (_, peer, times) in due {
            match self.direct_place(&peer, times) {
                Some(place) => drop(self.dial(now, place, DialPurpose::Upgrade, out)),
                // It may tell more to whoever punches than to everybody.
                None => self.punch_hidden(&peer, out),
            }
            if let Some((next, attempts)) = self.upgrades.waiting.get_mut(&peer) {
                let factor = 1u64.checked_shl(*attempts).unwrap_or(u64::MAX);
                let wait = UPGRADE_BACKOFF.saturating_mul(factor).min(UPGRADE_BACKOFF_MAX);
                *attempts = attempts.saturating_add(1);
                *next = now.plus(jittered(&self.config, &mut self.rng, wait).max(1));
            }
        }
    }

    /// A direct address of a peer, by its own record: of those that are any use another each time.
    /// The others at its machine are tried with it.
    fn direct_place(&self, peer: &NodeId, times: u32) -> Option<Place> {
        let view = &self.peers.get(peer)?.view;
        let record = self.book.record(peer)?.record();
        let usable = |address: &&Address| {
            // Whoever is known to be there is not to be dialled for another, nor blamed for it.
            let of_another =
                |entry: &crate::book::BookEntry| entry.peer.is_some_and(|p| p != *peer);
            let exempt = self.book.is_exempt(**address);
            !address.is_circuit()
                && self.book.is_usable(**address)
                && !self.book.is_own(address)
                && !self.book.get(address).is_some_and(of_another)
                && (exempt || !self.bans.has_seat(address))
                && (view.place.is_reserved()
                    || self.has_room_at(view.chosen, address, Some(view)).is_ok())
        };
        let all: Vec<Address> = record.addresses.iter().filter(usable).copied().collect();
        let next = usize::try_from(times).unwrap_or(usize::MAX).checked_rem(all.len())?;
        let address = *all.get(next)?;
        let stranger = self.book.get(&address).is_none_or(|entry| !entry.is_verified());
        let exempt = self.book.is_exempt(address);
        Some(Place { address, expected: Some(*peer), stranger, exempt })
    }
}
