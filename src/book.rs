//! The address book: where nodes may be reached, who told us, and what came of trying.
//!
//! Two tables of small buckets. An address that was heard of has one place in the new table; once
//! a node has answered there, one place in the tried table. A salted hash decides the places, so
//! that whoever does not know the salt fills a few buckets and no more (Heilman, Kendler, Zohar,
//! Goldberg: Eclipse Attacks on Bitcoin's Peer-to-Peer Network, USENIX Security 2015).
//!
//! # Security
//! Provided: memory is bounded by [`BookLimits`]; one neighbourhood can own only a small part of
//! either table, whatever it tells; nobody can aim at the place of another address; a tried
//! address makes room only after it was dialled and did not answer; which address is dialled is
//! random over tables and neighbourhoods, however many addresses each has, and nothing a peer says
//! weighs in; addresses nobody can be reached at never get in; this node's own addresses are
//! known and never dialled; only records of nodes that were met are passed on, a random few at a
//! time; while our own network fails, nobody is forgotten.
//! Not provided: defence against whoever owns addresses in hundreds of neighbourhoods, or knows
//! the salt, which is in the peer store.

mod as_map;
mod bucket;
mod entry;
mod limits;
mod records;
mod tables;
mod trial;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use rand::{Rng, RngExt};

pub use as_map::{AsMap, AsMapError, PREFIXES_MAX};
pub(crate) use bucket::TokenBucket;
pub use entry::{
    AGE_MAX, BookChange, BookEntry, FAILURES_UNVERIFIED_MAX, FAILURES_VERIFIED_MAX, SUCCESS_KEEPS,
    Source,
};
pub use limits::{ADDRESSES_PER_IP_MAX, AddressOutcome, BookLimits, OWN_ADDRESSES_MAX};
pub use records::RecordOutcome;
pub use trial::COLLISIONS_MAX;

use crate::{
    address::{Address, NetworkGroup},
    identity::{NodeId, PublicKey},
    record::VerifiedRecord,
    time::Time,
};
use tables::{Cell, Tables};
use trial::Collision;

/// Entries looked at to find one to dial.
const DRAWS: usize = 64;
/// In a book of up to so many addresses the one that is wanted is found for certain.
const WALK_MAX: usize = 1_024;

/// The address book.
#[derive(Clone, Debug)]
pub struct Book {
    limits: BookLimits,
    entries: BTreeMap<Address, BookEntry>,
    tables: Tables,
    collisions: Vec<Collision>,
    /// New addresses told by each neighbourhood.
    sources: BTreeMap<NetworkGroup, usize>,
    records: BTreeMap<NodeId, VerifiedRecord>,
    validators: BTreeMap<PublicKey, NodeId>,
    own: BTreeMap<Address, Time>,
    as_map: Arc<AsMap>,
    /// What the store does not know yet.
    changed: BTreeSet<Address>,
}

impl Book {
    /// An empty book. The salt decides where addresses have their places: secret, and the same
    /// at every start.
    #[must_use]
    pub fn new(limits: BookLimits, salt: [u8; 32]) -> Self {
        Book {
            tables: Tables::new(&limits, salt),
            limits,
            entries: BTreeMap::new(),
            collisions: Vec::new(),
            sources: BTreeMap::new(),
            records: BTreeMap::new(),
            validators: BTreeMap::new(),
            own: BTreeMap::new(),
            as_map: Arc::default(),
            changed: BTreeSet::new(),
        }
    }

    /// Neighbourhoods are autonomous systems from now on, where the map knows them. To be called
    /// before anything is in the book.
    pub fn set_as_map(&mut self, map: Arc<AsMap>) {
        self.as_map = map;
    }

    /// The salt, to be kept with the book.
    #[must_use]
    pub fn salt(&self) -> [u8; 32] {
        self.tables.salt()
    }

    /// The neighbourhood of an address: its autonomous system if that is known, else its /16 or
    /// /32.
    #[must_use]
    pub fn group_of(&self, address: &Address) -> NetworkGroup {
        self.as_map.group(address.ip()).unwrap_or_else(|| address.group())
    }

    /// Offers an address; `peer` is who is said to answer there.
    pub fn add_address(
        &mut self,
        now: Time,
        address: Address,
        peer: Option<NodeId>,
        source: Source,
    ) -> AddressOutcome {
        if self.own.contains_key(&address) {
            return AddressOutcome::Own;
        }
        if !self.is_usable(address) {
            return AddressOutcome::NotReachable;
        }
        if let Some(entry) = self.entries.get_mut(&address) {
            // The first word counts: a later one could only send us to the wrong node.
            if entry.peer.is_none() && peer.is_some() {
                entry.peer = peer;
                self.changed.insert(address);
            }
            entry.heard = entry.heard.max(now);
            return AddressOutcome::Known;
        }
        if address.is_routable() && self.of_ip(&address) >= ADDRESSES_PER_IP_MAX {
            return AddressOutcome::IpQuota;
        }
        if self.share_is_used(source) {
            return AddressOutcome::SourceQuota;
        }
        let entry = BookEntry::new(now, address, peer, source);
        if let Some(there) = self.tables.at(self.cell_of(&entry)) {
            let good = |known: &BookEntry| !known.is_terrible(now) || known.is_under_way(now);
            if self.get(&there).is_some_and(good) {
                return AddressOutcome::Crowded;
            }
            self.remove(&there);
        }
        self.insert(entry);
        AddressOutcome::Added
    }

    /// Puts back what a store kept. Limits hold here too: of two that belong to one place the
    /// first stays, and the store is told to forget the other.
    pub fn restore(&mut self, mut entry: BookEntry) {
        let address = entry.address;
        if self.entries.contains_key(&address) {
            return;
        }
        if entry.tried && self.tables.at(self.cell_of(&entry)).is_some() {
            entry.tried = false;
        }
        if !self.is_usable(address) || self.tables.at(self.cell_of(&entry)).is_some() {
            self.changed.insert(address);
            return;
        }
        self.insert(entry);
        self.changed.remove(&address);
    }

    /// What changed since this was last called, for the store.
    pub fn take_changes(&mut self) -> Vec<BookChange> {
        let changed = std::mem::take(&mut self.changed);
        let change = |address: Address| match self.get(&address) {
            Some(entry) => BookChange::Keep(Box::new(entry.clone())),
            None => BookChange::Forget(address),
        };
        changed.into_iter().map(change).collect()
    }

    /// Whether this node would ever dial it.
    #[must_use]
    pub fn is_usable(&self, address: Address) -> bool {
        if self.limits.allow_private { address.is_dialable() } else { address.is_routable() }
    }

    /// Whether limits by neighbourhood make no sense for it: private, and privacy is allowed.
    #[must_use]
    pub fn is_exempt(&self, address: Address) -> bool {
        self.limits.allow_private && !address.is_routable()
    }

    /// The neighbourhood whose share of the buckets it counts against.
    fn limiting_group(&self, address: &Address) -> Option<NetworkGroup> {
        (!self.is_exempt(*address)).then(|| self.group_of(address))
    }

    fn cell_of(&self, entry: &BookEntry) -> Cell {
        let group = self.limiting_group(&entry.address);
        if entry.tried {
            self.tables.tried_cell(group, &entry.address)
        } else {
            self.tables.new_cell(entry.source, group, &entry.address)
        }
    }

    /// Addresses at this one's IP; ways through relays there count apart from the others.
    fn of_ip(&self, address: &Address) -> usize {
        let of_ip = self.entries.range(Address::every_of(address.ip()));
        of_ip.filter(|(known, _)| known.is_circuit() == address.is_circuit()).count()
    }

    fn share_is_used(&self, source: Source) -> bool {
        let Source::Peer(group) = source else { return false };
        let private = self.limits.allow_private && is_private(group);
        let used = self.sources.get(&group).copied().unwrap_or(0);
        !private && used >= self.limits.per_source_max
    }

    /// Puts an entry into its place, which must be empty.
    fn insert(&mut self, entry: BookEntry) {
        self.count(&entry, true);
        let group = self.limiting_group(&entry.address);
        self.tables.put(self.cell_of(&entry), group, entry.address);
        self.changed.insert(entry.address);
        self.entries.insert(entry.address, entry);
    }

    /// Forgets an address; returns what was known.
    pub fn remove(&mut self, address: &Address) -> Option<BookEntry> {
        let entry = self.entries.remove(address)?;
        self.tables.clear(self.cell_of(&entry), self.limiting_group(address));
        self.count(&entry, false);
        self.changed.insert(*address);
        Some(entry)
    }

    /// Keeps the number of new entries of a neighbourhood.
    fn count(&mut self, entry: &BookEntry, more: bool) {
        let Source::Peer(group) = entry.source else { return };
        if entry.tried {
            return;
        }
        let used = self.sources.entry(group).or_insert(0);
        *used = if more { used.saturating_add(1) } else { used.saturating_sub(1) };
        if *used == 0 {
            self.sources.remove(&group);
        }
    }

    /// A random entry of either table with equal odds, or of the other if one is empty.
    fn draw_one(&self, rng: &mut impl Rng) -> Option<&BookEntry> {
        let tried = rng.random_bool(0.5);
        let drawn = self.tables.draw(rng, tried).or_else(|| self.tables.draw(rng, !tried))?;
        self.get(&drawn)
    }

    /// A random entry that `wanted` accepts: the order of dialling is not for peers to choose.
    /// Looks at a few dozen, and at all of a small book; in a large one there may be one all the
    /// same.
    pub fn draw(
        &self,
        rng: &mut impl Rng,
        wanted: impl Fn(&BookEntry) -> bool,
    ) -> Option<&BookEntry> {
        let drawn = (0..DRAWS).find_map(|_| self.draw_one(rng).filter(|entry| wanted(entry)));
        if drawn.is_some() || self.entries.len() > WALK_MAX {
            return drawn;
        }
        let all: Vec<&BookEntry> = self.entries.values().filter(|entry| wanted(entry)).collect();
        if all.is_empty() { None } else { all.get(rng.random_range(0..all.len())).copied() }
    }

    /// A random new address that `wanted` accepts, to see whether anybody answers there.
    pub fn draw_new(
        &self,
        rng: &mut impl Rng,
        wanted: impl Fn(&BookEntry) -> bool,
    ) -> Option<&BookEntry> {
        (0..DRAWS).find_map(|_| {
            let drawn = self.tables.draw(rng, false)?;
            self.get(&drawn).filter(|entry| wanted(entry))
        })
    }

    /// What is known of an address.
    #[must_use]
    pub fn get(&self, address: &Address) -> Option<&BookEntry> {
        self.entries.get(address)
    }

    /// An entry that is about to change.
    fn entry_mut(&mut self, address: &Address) -> Option<&mut BookEntry> {
        let entry = self.entries.get_mut(address)?;
        self.changed.insert(*address);
        Some(entry)
    }

    /// How many addresses there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many addresses are in the tried table.
    #[must_use]
    pub fn tried(&self) -> usize {
        self.tables.len(true)
    }

    /// All addresses, in order.
    pub fn entries(&self) -> impl Iterator<Item = &BookEntry> {
        self.entries.values()
    }

    /// It is being dialled; not again before `next`.
    pub fn on_dialled(&mut self, now: Time, address: &Address, next: Time) {
        if let Some(entry) = self.entries.get_mut(address) {
            entry.last_attempt = Some(now);
            entry.next_dial = next;
        }
    }

    /// Somebody else answered than was said: now we know better.
    pub fn correct_peer(&mut self, address: &Address, peer: NodeId) {
        if let Some(entry) = self.entry_mut(address) {
            entry.peer = Some(peer);
        }
    }

    /// Not to be dialled before `until`: none of the node's addresses, nor the one it was met at
    /// unless that is a relay's, behind which there are others.
    pub fn postpone(&mut self, peer: &NodeId, met_at: Option<Address>, until: Time) {
        let met_at = met_at.filter(|address| !address.is_circuit());
        for address in self.addresses_of(peer).into_iter().chain(met_at) {
            if let Some(entry) = self.entries.get_mut(&address) {
                entry.next_dial = entry.next_dial.max(until);
            }
        }
    }

    /// Takes a [`Book::postpone`] back.
    pub fn readmit(&mut self, now: Time, peer: &NodeId) {
        for address in self.addresses_of(peer) {
            if let Some(entry) = self.entries.get_mut(&address) {
                entry.next_dial = entry.next_dial.min(now);
            }
        }
    }

    /// The address is this node's own: forgotten and never taken in again (attack row 9).
    pub fn mark_own(&mut self, now: Time, address: Address) {
        self.remove(&address);
        if self.own.len() >= OWN_ADDRESSES_MAX && !self.own.contains_key(&address) {
            let oldest = self.own.iter().min_by_key(|(_, since)| **since).map(|(a, _)| *a);
            if let Some(oldest) = oldest {
                self.own.remove(&oldest);
            }
        }
        self.own.insert(address, now);
    }

    /// Whether the address is known to be this node's own.
    #[must_use]
    pub fn is_own(&self, address: &Address) -> bool {
        self.own.contains_key(address)
    }
}

/// The neighbourhoods of private, loopback and link-local addresses.
fn is_private(group: NetworkGroup) -> bool {
    let ip: IpAddr = match group {
        NetworkGroup([4, a, b, ..]) => IpAddr::from([a, b, 255, 1]),
        NetworkGroup([6, a, b, c, d]) => {
            IpAddr::from([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        }
        // Private addresses are announced by no autonomous system.
        _ => return false,
    };
    // ::1 is in the group ::/32, whose unspecified rest nobody can be reached at either.
    !Address::new(ip, 1).is_routable()
}

#[cfg(test)]
mod tests;
