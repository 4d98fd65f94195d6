//! The address book: where nodes may be reached, who told us, and what came of trying.
//!
//! # Security
//! Provided: memory is bounded by [`BookLimits`]; one neighbourhood can own only a small part of
//! what is not verified yet; addresses nobody can be reached at never get in; this node's own
//! addresses are known and never dialled; only records of nodes that were met are passed on, a
//! random few at a time; only what was verified is kept on disk.
//! Not provided: the salted tried and new buckets of Heilman et al. 2015: an attacker with
//! addresses in many neighbourhoods can still fill the unverified part of the book. Verified
//! entries are never displaced by unverified ones.

mod bucket;
mod entry;
mod records;

use std::{collections::BTreeMap, net::IpAddr};

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

pub(crate) use bucket::TokenBucket;
pub use entry::{BookEntry, Source};
pub use records::RecordOutcome;

use crate::{
    address::{Address, NetworkGroup},
    identity::{NodeId, PublicKey},
    record::VerifiedRecord,
    time::Time,
};

/// Addresses of one IP in the book, unless it is private; a few nodes behind one NAT.
pub const ADDRESSES_PER_IP_MAX: usize = 4;
/// This node's own addresses that are remembered; the oldest is forgotten.
pub const OWN_ADDRESSES_MAX: usize = 64;
/// Attempts without any success after which an address that never answered is forgotten
/// (Bitcoin: 3 within an hour, `addrman.cpp` `IsTerrible`; more patient, a node may restart).
pub const FAILURES_UNVERIFIED_MAX: u32 = 5;
/// The same for an address that has answered before (Bitcoin: 10 in a week).
pub const FAILURES_VERIFIED_MAX: u32 = 10;
/// Entries looked at to find one to dial.
const DRAWS: usize = 64;
/// Entries looked at to find one to displace; cheap, as a flood of addresses pays it each time.
const DISPLACE_DRAWS: usize = 8;

/// How large the book may become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BookLimits {
    /// Addresses.
    pub addresses_max: usize,
    /// Records.
    pub records_max: usize,
    /// Unverified addresses told by one network group (Bitcoin: 64 buckets of 1024 per group).
    pub per_source_max: usize,
    /// Whether private and loopback addresses are let in, for networks of one's own.
    pub allow_private: bool,
}

impl Default for BookLimits {
    fn default() -> Self {
        BookLimits {
            addresses_max: 20_000,
            records_max: 4_096,
            per_source_max: 64,
            allow_private: false,
        }
    }
}

/// The address book.
#[derive(Clone, Debug)]
pub struct Book {
    limits: BookLimits,
    entries: BTreeMap<Address, Slot>,
    /// The keys of `entries` in no order, so that a random one is found at once.
    pool: Vec<Address>,
    /// Unverified entries told by each neighbourhood.
    sources: BTreeMap<NetworkGroup, usize>,
    records: BTreeMap<NodeId, VerifiedRecord>,
    validators: BTreeMap<PublicKey, NodeId>,
    own: BTreeMap<Address, Time>,
}

#[derive(Clone, Debug)]
struct Slot {
    entry: BookEntry,
    /// Where its key is in the pool.
    position: usize,
}

/// What became of an address that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOutcome {
    /// It is in the book now.
    Added,
    /// It was already.
    Known,
    /// Nobody can be reached there, or only by us.
    NotReachable,
    /// It is this node's own.
    Own,
    /// The neighbourhood that told it has had its share.
    SourceQuota,
    /// Too many addresses of this IP are known.
    IpQuota,
    /// The book is full of verified addresses.
    Full,
}

impl Book {
    /// An empty book.
    #[must_use]
    pub fn new(limits: BookLimits) -> Self {
        Book {
            limits,
            entries: BTreeMap::new(),
            pool: Vec::new(),
            sources: BTreeMap::new(),
            records: BTreeMap::new(),
            validators: BTreeMap::new(),
            own: BTreeMap::new(),
        }
    }

    /// Offers an address; `peer` is who is said to answer there.
    pub fn add_address(
        &mut self,
        now: Time,
        rng: &mut impl Rng,
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
        if let Some(slot) = self.entries.get_mut(&address) {
            // The first word counts: a later one could only send us to the wrong node.
            if slot.entry.peer.is_none() {
                slot.entry.peer = peer;
            }
            return AddressOutcome::Known;
        }
        if address.is_routable() && self.of_ip(address.ip()) >= ADDRESSES_PER_IP_MAX {
            return AddressOutcome::IpQuota;
        }
        if self.share_is_used(source) {
            return AddressOutcome::SourceQuota;
        }
        if self.entries.len() >= self.limits.addresses_max && !self.displace(rng) {
            return AddressOutcome::Full;
        }
        self.insert(BookEntry::new(now, address, peer, source));
        AddressOutcome::Added
    }

    /// Puts back what a store kept. Limits hold here too.
    pub fn restore(&mut self, entry: BookEntry) {
        let known = self.entries.contains_key(&entry.address);
        let full = self.entries.len() >= self.limits.addresses_max;
        if !known && !full && self.is_usable(entry.address) {
            self.insert(entry);
        }
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

    fn of_ip(&self, ip: IpAddr) -> usize {
        self.entries.range(Address::new(ip, 0)..=Address::new(ip, u16::MAX)).count()
    }

    fn share_is_used(&self, source: Source) -> bool {
        let Source::Peer(group) = source else { return false };
        let private = self.limits.allow_private && is_private(group);
        let used = self.sources.get(&group).copied().unwrap_or(0);
        !private && used >= self.limits.per_source_max
    }

    fn insert(&mut self, entry: BookEntry) {
        self.count(&entry, true);
        let address = entry.address;
        self.entries.insert(address, Slot { entry, position: self.pool.len() });
        self.pool.push(address);
    }

    /// Forgets an address; returns what was known.
    pub fn remove(&mut self, address: &Address) -> Option<BookEntry> {
        let slot = self.entries.remove(address)?;
        if slot.position < self.pool.len() {
            self.pool.swap_remove(slot.position);
        }
        let moved = self.pool.get(slot.position).copied();
        if let Some(moved) = moved.and_then(|address| self.entries.get_mut(&address)) {
            moved.position = slot.position;
        }
        self.count(&slot.entry, false);
        Some(slot.entry)
    }

    /// Keeps the number of unverified entries of a neighbourhood.
    fn count(&mut self, entry: &BookEntry, more: bool) {
        let Source::Peer(group) = entry.source else { return };
        if entry.is_verified() {
            return;
        }
        let used = self.sources.entry(group).or_insert(0);
        *used = if more { used.saturating_add(1) } else { used.saturating_sub(1) };
        if *used == 0 {
            self.sources.remove(&group);
        }
    }

    /// Makes room: forgets the most failed of a few random unverified entries.
    fn displace(&mut self, rng: &mut impl Rng) -> bool {
        let mut worst: Option<(u32, Address)> = None;
        for _ in 0..DISPLACE_DRAWS {
            let drawn = self.draw_one(rng).filter(|entry| !entry.is_verified());
            let Some((failures, address)) = drawn.map(|e| (e.failures, e.address)) else {
                continue;
            };
            if worst.is_none_or(|(most, _)| failures > most) {
                worst = Some((failures, address));
            }
        }
        worst.is_some_and(|(_, address)| self.remove(&address).is_some())
    }

    fn draw_one(&self, rng: &mut impl Rng) -> Option<&BookEntry> {
        if self.pool.is_empty() {
            return None;
        }
        let address = self.pool.get(rng.random_range(0..self.pool.len()))?;
        self.get(address)
    }

    /// A random entry that `wanted` accepts: the order of dialling is not for peers to choose.
    /// Looks at a few dozen; in a large book there may be one all the same.
    pub fn draw(
        &self,
        rng: &mut impl Rng,
        wanted: impl Fn(&BookEntry) -> bool,
    ) -> Option<&BookEntry> {
        if self.pool.len() > DRAWS {
            return (0..DRAWS).find_map(|_| self.draw_one(rng).filter(|entry| wanted(entry)));
        }
        if self.pool.is_empty() {
            return None;
        }
        let start = rng.random_range(0..self.pool.len());
        let (before, after) = self.pool.split_at_checked(start)?;
        let mut around = after.iter().chain(before).filter_map(|address| self.get(address));
        around.find(|entry| wanted(entry))
    }

    /// What is known of an address.
    #[must_use]
    pub fn get(&self, address: &Address) -> Option<&BookEntry> {
        self.entries.get(address).map(|slot| &slot.entry)
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

    /// All addresses, in order.
    pub fn entries(&self) -> impl Iterator<Item = &BookEntry> {
        self.entries.values().map(|slot| &slot.entry)
    }

    /// It is being dialled; not again before `next`.
    pub fn on_dialled(&mut self, now: Time, address: &Address, next: Time) {
        if let Some(slot) = self.entries.get_mut(address) {
            slot.entry.last_attempt = Some(now);
            slot.entry.next_dial = next;
        }
    }

    /// `peer` answered there.
    pub fn on_success(&mut self, now: Time, address: &Address, peer: NodeId) {
        let Some(mut entry) = self.remove(address) else { return };
        entry.peer = Some(peer);
        entry.failures = 0;
        entry.successes = entry.successes.saturating_add(1);
        entry.last_success = Some(now);
        self.insert(entry);
    }

    /// Nobody answered, or not who was meant. Returns the entry if it is forgotten for good.
    pub fn on_failure(&mut self, address: &Address, next: Time) -> Option<BookEntry> {
        let entry = self.entries.get_mut(address).map(|slot| &mut slot.entry)?;
        entry.failures = entry.failures.saturating_add(1);
        entry.next_dial = entry.next_dial.max(next);
        let verified = entry.is_verified();
        let most = if verified { FAILURES_VERIFIED_MAX } else { FAILURES_UNVERIFIED_MAX };
        if entry.failures >= most { self.remove(address) } else { None }
    }

    /// Somebody else answered than was said: now we know better.
    pub fn correct_peer(&mut self, address: &Address, peer: NodeId) {
        if let Some(slot) = self.entries.get_mut(address) {
            slot.entry.peer = Some(peer);
        }
    }

    /// Not to be dialled before `until`: none of the node's addresses, nor the one it was met at.
    pub fn postpone(&mut self, peer: &NodeId, met_at: Option<Address>, until: Time) {
        for address in self.addresses_of(peer).into_iter().chain(met_at) {
            if let Some(slot) = self.entries.get_mut(&address) {
                slot.entry.next_dial = slot.entry.next_dial.max(until);
            }
        }
    }

    /// Takes a [`Book::postpone`] back.
    pub fn readmit(&mut self, now: Time, peer: &NodeId) {
        for address in self.addresses_of(peer) {
            if let Some(slot) = self.entries.get_mut(&address) {
                slot.entry.next_dial = slot.entry.next_dial.min(now);
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
    let NetworkGroup([family, a, b, c, d]) = group;
    let ip: IpAddr = if family == 4 {
        IpAddr::from([a, b, 255, 1])
    } else {
        IpAddr::from([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    };
    // ::1 is in the group ::/32, whose unspecified rest nobody can be reached at either.
    !Address::new(ip, 1).is_routable()
}

#[cfg(test)]
mod tests;
