//! The new and the tried table: where an address belongs, what is there, a random one.
//!
//! A keyed hash of an address, its neighbourhood and whoever told it decides its one place.
//! Nobody without the key can aim at the place of another address.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, RngExt};

use super::{BookLimits, Source};
use crate::address::{Address, NetworkGroup};

/// A place in one of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) tried: bool,
    bucket: u16,
    slot: u8,
}

/// Both tables, as far as they are filled.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    salt: [u8; 32],
    new_buckets: u64,
    tried_buckets: u64,
    slots: u64,
    per_source: u64,
    per_group: u64,
    draw_by_group: bool,
    cells: BTreeMap<Cell, Address>,
    new: Filled,
    tried: Filled,
}

/// Whose odds to be drawn an address shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Neighbourhood {
    /// All addresses of a group share the odds of one.
    Group(NetworkGroup),
    /// Limits by neighbourhood make no sense for the address.
    Alone(Address),
}

/// What a table holds, so that a random neighbourhood is found at once.
#[derive(Clone, Debug, Default)]
struct Filled {
    neighbourhoods: Vec<Neighbourhood>,
    /// Where a neighbourhood is in that list, and its addresses.
    at: BTreeMap<Neighbourhood, (usize, BTreeSet<Address>)>,
    addresses: usize,
}

/// What is hashed, so that no two hashes are of the same bytes.
#[derive(Clone, Copy)]
enum Domain {
    SourceSlice = 1,
    NewBucket = 2,
    GroupSlice = 3,
    TriedBucket = 4,
    Slot = 5,
}

impl Tables {
    pub(super) fn new(limits: &BookLimits, salt: [u8; 32]) -> Self {
        Tables {
            salt,
            new_buckets: limits.new_buckets.max(1).into(),
            tried_buckets: limits.tried_buckets.max(1).into(),
            slots: limits.bucket_size.max(1).into(),
            per_source: limits.new_buckets_per_source.max(1).into(),
            per_group: limits.tried_buckets_per_group.max(1).into(),
            draw_by_group: limits.draw_by_group,
            cells: BTreeMap::new(),
            new: Filled::default(),
            tried: Filled::default(),
        }
    }

    pub(super) fn salt(&self) -> [u8; 32] {
        self.salt
    }

    fn hash(&self, domain: Domain, parts: &[&[u8]], modulus: u64) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.salt);
        hasher.update(&[domain as u8]);
        // Every part but the last has a fixed length for its domain.
        parts.iter().for_each(|part| {
            hasher.update(part);
        });
        let mut eight = [0; 8];
        hasher.finalize_xof().fill(&mut eight);
        // Off by at most one in 2^48 for these small moduli.
        u64::from_le_bytes(eight).checked_rem(modulus).unwrap_or(0)
    }

    fn cell(&self, tried: bool, bucket: u64, address: &Address) -> Cell {
        let place = bucket.to_le_bytes();
        let table = [u8::from(tried)];
        let slot = self.hash(Domain::Slot, &[&table, &place, &bytes(address)], self.slots);
        let bucket = u16::try_from(bucket).unwrap_or(0);
        Cell { tried, bucket, slot: u8::try_from(slot).unwrap_or(0) }
    }

    /// Where an address belongs while nobody has answered there. All that one neighbourhood tells
    /// goes to a few buckets; of these, one neighbourhood's addresses to one. No group: limits by
    /// neighbourhood make no sense for the address.
    pub(super) fn new_cell(
        &self,
        source: Source,
        group: Option<NetworkGroup>,
        address: &Address,
    ) -> Cell {
        let bucket = match group {
            None => self.hash(Domain::NewBucket, &[&bytes(address)], self.new_buckets),
            Some(NetworkGroup(group)) => {
                let from = match source {
                    Source::Operator => [0; 5],
                    Source::Peer(NetworkGroup(from)) => from,
                };
                let slice = self.hash(Domain::SourceSlice, &[&from, &group], self.per_source);
                let slice = slice.to_le_bytes();
                self.hash(Domain::NewBucket, &[&from, &slice], self.new_buckets)
            }
        };
        self.cell(false, bucket, address)
    }

    /// Where an address belongs once a node has answered there: one of a few buckets of its
    /// neighbourhood, whoever told it.
    pub(super) fn tried_cell(&self, group: Option<NetworkGroup>, address: &Address) -> Cell {
        let bucket = match group {
            None => self.hash(Domain::TriedBucket, &[&bytes(address)], self.tried_buckets),
            Some(NetworkGroup(group)) => {
                let slice = self.hash(Domain::GroupSlice, &[&bytes(address)], self.per_group);
                let slice = slice.to_le_bytes();
                self.hash(Domain::TriedBucket, &[&group, &slice], self.tried_buckets)
            }
        };
        self.cell(true, bucket, address)
    }

    /// Who is there.
    pub(super) fn at(&self, cell: Cell) -> Option<Address> {
        self.cells.get(&cell).copied()
    }

    fn filled(&mut self, tried: bool) -> &mut Filled {
        if tried { &mut self.tried } else { &mut self.new }
    }

    fn neighbourhood(&self, group: Option<NetworkGroup>, address: Address) -> Neighbourhood {
        let group = group.filter(|_| self.draw_by_group);
        group.map_or(Neighbourhood::Alone(address), Neighbourhood::Group)
    }

    /// Puts an address into an empty place.
    pub(super) fn put(&mut self, cell: Cell, group: Option<NetworkGroup>, address: Address) {
        let neighbourhood = self.neighbourhood(group, address);
        if self.cells.insert(cell, address).is_none() {
            self.filled(cell.tried).add(neighbourhood, address);
        }
    }

    /// Empties a place.
    pub(super) fn clear(&mut self, cell: Cell, group: Option<NetworkGroup>) {
        if let Some(address) = self.cells.remove(&cell) {
            let neighbourhood = self.neighbourhood(group, address);
            self.filled(cell.tried).remove(&neighbourhood, &address);
        }
    }

    /// How many addresses a table has.
    pub(super) fn len(&self, tried: bool) -> usize {
        if tried { self.tried.addresses } else { self.new.addresses }
    }

    /// A random address of a random neighbourhood of a table: whoever has a thousand addresses in
    /// one neighbourhood is drawn as often as whoever has one in another.
    pub(super) fn draw(&self, rng: &mut impl Rng, tried: bool) -> Option<Address> {
        let Filled { neighbourhoods, at, .. } = if tried { &self.tried } else { &self.new };
        if neighbourhoods.is_empty() {
            return None;
        }
        let drawn = neighbourhoods.get(rng.random_range(0..neighbourhoods.len()))?;
        let (_, addresses) = at.get(drawn)?;
        addresses.iter().nth(rng.random_range(0..addresses.len().max(1))).copied()
    }

    /// How many buckets of a table hold an address that matches.
    #[cfg(test)]
    pub(super) fn buckets_of(&self, tried: bool, wanted: impl Fn(&Address) -> bool) -> usize {
        let found = self.cells.iter().filter(|(cell, there)| cell.tried == tried && wanted(there));
        found.map(|(cell, _)| cell.bucket).collect::<BTreeSet<_>>().len()
    }
}

impl Filled {
    fn add(&mut self, neighbourhood: Neighbourhood, address: Address) {
        let next = self.neighbourhoods.len();
        let (position, addresses) =
            self.at.entry(neighbourhood).or_insert_with(|| (next, BTreeSet::new()));
        if *position == next {
            self.neighbourhoods.push(neighbourhood);
        }
        if addresses.insert(address) {
            self.addresses = self.addresses.saturating_add(1);
        }
    }

    fn remove(&mut self, neighbourhood: &Neighbourhood, address: &Address) {
        let Some((position, addresses)) = self.at.get_mut(neighbourhood) else { return };
        if addresses.remove(address) {
            self.addresses = self.addresses.saturating_sub(1);
        }
        if !addresses.is_empty() {
            return;
        }
        let position = *position;
        self.at.remove(neighbourhood);
        if position < self.neighbourhoods.len() {
            self.neighbourhoods.swap_remove(position);
        }
        let moved = self.neighbourhoods.get(position).copied();
        if let Some((at, _)) = moved.and_then(|moved| self.at.get_mut(&moved)) {
            *at = position;
        }
    }
}

/// An address as it is hashed: always 19 bytes.
fn bytes(address: &Address) -> [u8; 19] {
    let ip = match address.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(ip) => ip.octets(),
    };
    let mut bytes = [0; 19];
    let port = address.port().to_be_bytes();
    let parts = ip.into_iter().chain(port).chain([address.transport().number()]);
    for (to, from) in bytes.iter_mut().zip(parts) {
        *to = from;
    }
    bytes
}
