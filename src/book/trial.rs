//! From new to tried and back: what came of dialling an address, and the test before one tried
//! address makes room for another (Heilman et al. 2015, countermeasures 3 and 4).

use super::{Book, entry::UNDER_WAY};
use crate::{
    address::Address,
    identity::NodeId,
    time::{Millis, Time},
};

/// Addresses that wait for the place of another; more wait for their next success.
pub const COLLISIONS_MAX: usize = 16;
/// How long a success speaks for whoever has the place, ms: 4 h, as in Bitcoin. The newcomer is
/// then as good as what it would replace.
const SPEAKS_FOR: Millis = 4 * 60 * 60 * 1000;
/// How long the test of an occupant may take, ms: 40 min, as in Bitcoin. One that can't be dialled,
/// because it is banned or connected to us, must not hold a place up for ever.
const TEST_WINDOW: Millis = 40 * 60 * 1000;

/// An address that has answered, whose place in the tried table another one has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Collision {
    candidate: Address,
    since: Time,
}

impl Book {
    /// `peer` answered there.
    pub fn on_success(&mut self, now: Time, address: &Address, peer: NodeId) {
        self.on_visited(now, address, peer);
        if self.get(address).is_some_and(|entry| !entry.tried) {
            self.promote(now, address, true);
        }
    }

    /// A lookup of discovery found `peer` there. Lookups go where answers lead them, so that what
    /// liars tell would fill the tried table faster than feelers do, which draw from all
    /// neighbourhoods: the address stays in the table that it is in.
    pub fn on_visited(&mut self, now: Time, address: &Address, peer: NodeId) {
        let Some(entry) = self.entry_mut(address) else { return };
        entry.peer = Some(peer);
        entry.failures = 0;
        entry.successes = entry.successes.saturating_add(1);
        entry.last_success = Some(now);
    }

    /// `peer` is connected there, or was until now: as good as if it had just answered.
    pub fn on_seen(&mut self, now: Time, address: &Address, peer: &NodeId) {
        let proven = |entry: &&mut super::BookEntry| {
            entry.is_verified() && entry.peer.as_ref() == Some(peer)
        };
        if let Some(entry) = self.entries.get_mut(address).filter(proven) {
            entry.last_success = Some(now);
            self.changed.insert(*address);
        }
    }

    /// Moves an address to its tried place, or notes who must be tested first.
    fn promote(&mut self, now: Time, address: &Address, test: bool) {
        let cell = self.tables.tried_cell(self.limiting_group(address), address);
        if let Some(occupant) = self.tables.at(cell) {
            let occupies = |entry: &super::BookEntry| !entry.is_terrible(now);
            let tested = test && self.limits.test_before_evict;
            if tested && self.get(&occupant).is_some_and(occupies) {
                let waits = self.collisions.iter().any(|known| known.candidate == *address);
                if !waits && self.collisions.len() < COLLISIONS_MAX {
                    self.collisions.push(Collision { candidate: *address, since: now });
                }
                return;
            }
            self.demote(&occupant);
        }
        let Some(mut entry) = self.remove(address) else { return };
        entry.tried = true;
        self.insert(entry);
    }

    /// Moves an address back to the new table, where it gives way to one that has answered too.
    fn demote(&mut self, address: &Address) {
        let Some(mut entry) = self.remove(address) else { return };
        entry.tried = false;
        let cell = self.cell_of(&entry);
        if let Some(there) = self.tables.at(cell) {
            if self.get(&there).is_some_and(super::BookEntry::is_verified) {
                return;
            }
            self.remove(&there);
        }
        self.insert(entry);
    }

    /// The tried addresses whose places others wait for, to be dialled now, [`COLLISIONS_MAX`] at
    /// most. Settles those that have been tested meanwhile.
    pub fn tests(&mut self, now: Time) -> Vec<Address> {
        let mut waiting = std::mem::take(&mut self.collisions);
        let mut tests = Vec::new();
        waiting.retain(|collision| {
            let test = self.settle(now, *collision);
            tests.extend(test);
            test.is_some()
        });
        self.collisions = waiting;
        tests
    }

    /// Who is to be dialled before a collision is settled; `None` once it is.
    fn settle(&mut self, now: Time, collision: Collision) -> Option<Address> {
        let Collision { candidate, since } = collision;
        let waits = self.get(&candidate).is_some_and(|entry| entry.is_verified() && !entry.tried);
        if !waits {
            return None;
        }
        let cell = self.tables.tried_cell(self.limiting_group(&candidate), &candidate);
        let occupant = self.tables.at(cell).and_then(|there| self.get(&there));
        let Some(occupant) = occupant else {
            self.promote(now, &candidate, true);
            return None;
        };
        if occupant.last_success.is_some_and(|at| now.since(at) < SPEAKS_FOR) {
            return None;
        }
        let dialled = occupant.last_attempt.filter(|at| *at >= since);
        match dialled {
            Some(at) if occupant.failures > 0 && now.since(at) >= UNDER_WAY => {
                self.promote(now, &candidate, false);
                None
            }
            _ if now.since(since) >= TEST_WINDOW => {
                self.promote(now, &candidate, false);
                None
            }
            _ => Some(occupant.address),
        }
    }

    /// Nobody answered, or not who was meant. `online`: others are reached, so it is not our own
    /// network that fails. Forgets the address if it is terrible.
    pub fn on_failure(&mut self, now: Time, address: &Address, next: Time, online: bool) {
        let Some(entry) = self.entry_mut(address) else { return };
        let more = entry.failures.saturating_add(1);
        let last = if entry.is_verified() {
            super::FAILURES_VERIFIED_MAX
        } else {
            super::FAILURES_UNVERIFIED_MAX
        };
        // While nobody is reached, nobody is forgotten.
        entry.failures = if online { more } else { more.min(last.saturating_sub(1)) };
        entry.next_dial = entry.next_dial.max(next);
        if online && entry.is_terrible(now) {
            self.remove(address);
        }
    }
}
