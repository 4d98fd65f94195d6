//! The records in the book: which are kept, which are passed on.

use rand::Rng;

use super::{AddressOutcome, Book, Source};
use crate::{
    address::Address,
    identity::{NodeId, PublicKey},
    record::{SignedRecord, VerifiedRecord},
    time::Time,
};

/// Records looked at to find one to displace.
const DRAWS: usize = 64;

/// What became of a record that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It is the node's newest and in the book now.
    Stored {
        /// Addresses in it that were new to the book.
        added: usize,
        /// The node whose record had to go for it.
        displaced: Option<NodeId>,
    },
    /// The book has this one or a newer one.
    NotNewer,
    /// The book is full of records of nodes that were met.
    Full,
}

impl Book {
    /// Whether a record, believed or not, would be news: checked before its signature is.
    #[must_use]
    pub fn is_news(&self, signed: &SignedRecord) -> bool {
        let node = signed.record.public_key.node_id();
        self.records.get(&node).is_none_or(|known| known.record().sequence < signed.record.sequence)
    }

    /// Takes in a verified record and at most `addresses_max` new addresses of it.
    pub fn add_record(
        &mut self,
        now: Time,
        rng: &mut impl Rng,
        record: VerifiedRecord,
        source: Source,
        addresses_max: usize,
    ) -> RecordOutcome {
        let node = record.node();
        let mut displaced = None;
        match self.records.get(&node) {
            Some(known) if known.record().sequence >= record.record().sequence => {
                return RecordOutcome::NotNewer;
            }
            Some(_) => self.drop_unlisted(&node, &record),
            None if self.records.len() >= self.limits.records_max => {
                displaced = self.displace_record(now, rng);
                if displaced.is_none() {
                    return RecordOutcome::Full;
                }
            }
            None => {}
        }
        let mut added = 0usize;
        for address in record.record().addresses.iter().copied() {
            if added >= addresses_max {
                break;
            }
            let outcome = self.add_address(now, address, Some(node), source);
            added = added.saturating_add(usize::from(outcome == AddressOutcome::Added));
        }
        self.index_validator(&record);
        self.records.insert(node, record);
        RecordOutcome::Stored { added, displaced }
    }

    /// Unverified addresses a node no longer lists are forgotten.
    fn drop_unlisted(&mut self, node: &NodeId, newer: &VerifiedRecord) {
        for address in self.addresses_of(node) {
            let listed = newer.record().addresses.contains(&address);
            let verified = self.get(&address).is_some_and(|entry| entry.is_verified());
            if !listed && !verified {
                self.remove(&address);
            }
        }
    }

    /// Of two nodes that speak for one validator, the one with the later record counts.
    fn index_validator(&mut self, record: &VerifiedRecord) {
        let Some(key) = record.validator() else { return };
        let current = self.validators.get(&key).and_then(|node| self.records.get(node));
        let issued = record.record().issued;
        if current.is_none_or(|known| known.record().issued <= issued) {
            self.validators.insert(key, record.node());
        }
    }

    /// Forgets a record that is dead or of a node never met; the node, if there was one.
    fn displace_record(&mut self, now: Time, rng: &mut impl Rng) -> Option<NodeId> {
        for _ in 0..DRAWS {
            let mut from = [0u8; 32];
            rng.fill_bytes(&mut from);
            let drawn = self.records.range(NodeId(from)..).next();
            let drawn = drawn.or_else(|| self.records.iter().next());
            let Some((node, record)) = drawn.map(|(node, record)| (*node, record)) else {
                continue;
            };
            if record.is_expired(now) || !self.was_met(&node) {
                self.remove_record(&node);
                return Some(node);
            }
        }
        None
    }

    fn remove_record(&mut self, node: &NodeId) {
        let Some(record) = self.records.remove(node) else { return };
        if let Some(key) = record.validator()
            && self.validators.get(&key) == Some(node)
        {
            self.validators.remove(&key);
        }
    }

    /// Forgets records that are dead; which nodes they were of.
    pub fn forget_expired(&mut self, now: Time) -> Vec<NodeId> {
        let dead = self.records.values().filter(|record| record.is_expired(now));
        let dead: Vec<NodeId> = dead.map(VerifiedRecord::node).collect();
        dead.iter().for_each(|node| self.remove_record(node));
        dead
    }

    /// Whether a connection to one of the node's addresses has ever succeeded.
    #[must_use]
    pub fn was_met(&self, node: &NodeId) -> bool {
        let addresses = self.records.get(node).map(|record| &record.record().addresses);
        addresses.is_some_and(|addresses| {
            addresses.iter().any(|address| {
                self.get(address).is_some_and(|e| e.is_verified() && e.peer == Some(*node))
            })
        })
    }

    /// A node's newest record.
    #[must_use]
    pub fn record(&self, node: &NodeId) -> Option<&VerifiedRecord> {
        self.records.get(node)
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// The node that speaks for a validator, if its record is known.
    #[must_use]
    pub fn node_of_validator(&self, key: &PublicKey) -> Option<NodeId> {
        self.validators.get(key).copied()
    }

    /// The addresses in a node's record that are in the book as its own.
    #[must_use]
    pub fn addresses_of(&self, node: &NodeId) -> Vec<Address> {
        let Some(record) = self.records.get(node) else { return Vec::new() };
        let of_node =
            |address: &&Address| self.get(address).is_some_and(|entry| entry.peer == Some(*node));
        record.record().addresses.iter().filter(of_node).copied().collect()
    }

    /// A few living records to pass on: of nodes that may be told, as `told` says, which hears
    /// whether the node was met at an address (attack row 18); at most `count`, and never more than
    /// a quarter of a large book (Bitcoin: 23 %, `MAX_PCT_ADDR_TO_SEND`). Those that `preferred`
    /// names come first, then those of the least `rank`: with the same rank the same few, however
    /// often somebody asks.
    pub fn sample(
        &self,
        now: Time,
        rank: impl Fn(&NodeId) -> u64,
        count: usize,
        told: impl Fn(&VerifiedRecord, bool) -> bool,
        preferred: impl Fn(&VerifiedRecord) -> bool,
    ) -> Vec<SignedRecord> {
        let known = self.records.values().filter(|record| {
            let usable = record.record().addresses.iter().any(|address| self.is_usable(*address));
            let met = self.was_met(&record.node());
            usable && told(record, met) && !record.is_expired(now)
        });
        let (mut first, mut rest): (Vec<_>, Vec<_>) = known.partition(|record| preferred(record));
        let most = first.len().saturating_add(rest.len()).div_ceil(4).max(SAMPLE_FLOOR).min(count);
        first.sort_by_cached_key(|record| rank(&record.node()));
        first.truncate(most);
        rest.sort_by_cached_key(|record| rank(&record.node()));
        first.into_iter().chain(rest).take(most).map(|record| record.signed().clone()).collect()
    }
}

/// Records a sample may have in any book, so that a small network learns of itself.
const SAMPLE_FLOOR: usize = 8;
