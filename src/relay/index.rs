//! Where in the slab a message's entry is: a hash table that can be asked, but not gone through.
//!
//! Open addressing with linear probing; what follows a removed cell moves up, so that nothing
//! but entries takes room. The table grows when it is half full and never shrinks.
//!
//! # Security
//! Provided: the place of an id depends on two secret words, so nobody who grinds ids can aim
//! them at one place and make look-ups slow. Nothing can go through the cells, so no behaviour
//! depends on the hash.
//! Not provided: a bound on the number of entries; that is the table's.

use super::slab::NONE;
use crate::messages::MessageId;

/// Cells at the start.
const CELLS_MIN: usize = 64;

/// Positions by id.
pub(super) struct Index {
    secret: [u64; 2],
    cells: Vec<Cell>,
    len: usize,
}

/// A position and the hash it was put by; [`NONE`] if the cell is empty.
#[derive(Clone, Copy)]
struct Cell {
    hash: u32,
    at: u32,
}

const EMPTY: Cell = Cell { hash: 0, at: NONE };

impl Index {
    /// An empty index; `secret` must not be known to any peer.
    pub(super) fn new(secret: [u64; 2]) -> Self {
        Index { secret, cells: vec![EMPTY; CELLS_MIN], len: 0 }
    }

    /// The hash of an id: its first 16 bytes and the secret, by folded multiplication.
    pub(super) fn hash(&self, id: &MessageId) -> u32 {
        let half = |from: usize| {
            let bytes = id.0.get(from..from.saturating_add(8)).and_then(|b| b.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or([0; 8]))
        };
        let [first, second] = self.secret;
        let product =
            u128::from(half(0) ^ first).wrapping_mul(u128::from(half(8) ^ second)).to_le_bytes();
        let word = |at: usize| {
            let bytes = product.get(at..at.saturating_add(4)).and_then(|b| b.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or([0; 4]))
        };
        word(0) ^ word(4) ^ word(8) ^ word(12)
    }

    fn mask(&self) -> usize {
        self.cells.len().wrapping_sub(1)
    }

    fn home(&self, hash: u32) -> usize {
        usize::try_from(hash).unwrap_or(0) & self.mask()
    }

    fn cell(&self, place: usize) -> Cell {
        self.cells.get(place).copied().unwrap_or(EMPTY)
    }

    fn set(&mut self, place: usize, cell: Cell) {
        if let Some(old) = self.cells.get_mut(place) {
            *old = cell;
        }
    }

    /// The position put by `hash` for which `is_it` holds.
    pub(super) fn get(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut place = self.home(hash);
        loop {
            let cell = self.cell(place);
            if cell.at == NONE {
                return None;
            }
            if cell.hash == hash && is_it(cell.at) {
                return Some(cell.at);
            }
            place = place.wrapping_add(1) & self.mask();
        }
    }

    /// Puts a position that is not in it.
    pub(super) fn insert(&mut self, hash: u32, at: u32) {
        self.len = self.len.saturating_add(1);
        if self.len.saturating_mul(2) > self.cells.len() {
            let doubled = vec![EMPTY; self.cells.len().saturating_mul(2)];
            for cell in std::mem::replace(&mut self.cells, doubled) {
                if cell.at != NONE {
                    self.put(cell);
                }
            }
        }
        self.put(Cell { hash, at });
    }

    fn put(&mut self, cell: Cell) {
        let mut place = self.home(cell.hash);
        while self.cell(place).at != NONE {
            place = place.wrapping_add(1) & self.mask();
        }
        self.set(place, cell);
    }

    /// Takes a position out, if it is there.
    pub(super) fn remove(&mut self, hash: u32, at: u32) {
        let mask = self.mask();
        let mut hole = self.home(hash);
        while self.cell(hole).at != at {
            if self.cell(hole).at == NONE {
                return;
            }
            hole = hole.wrapping_add(1) & mask;
        }
        self.len = self.len.saturating_sub(1);
        let mut place = hole;
        loop {
            place = place.wrapping_add(1) & mask;
            let cell = self.cell(place);
            if cell.at == NONE {
                break;
            }
            // A cell may move up to the hole if that is not in front of where it belongs.
            let from_home = place.wrapping_sub(self.home(cell.hash)) & mask;
            if from_home >= place.wrapping_sub(hole) & mask {
                self.set(hole, cell);
                hole = place;
            }
        }
        self.set(hole, EMPTY);
    }

    #[cfg(test)]
    pub(super) fn cells(&self) -> usize {
        self.cells.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As a map, also when all hashes are one of a few and so collide and wrap around.
        #[test]
        fn an_index_is_a_map(
            steps in proptest::collection::vec((any::<bool>(), 0u32..80), 0..600),
            narrow in any::<bool>(),
        ) {
            let mut index = Index::new([1, 2]);
            let mut model: BTreeMap<u32, u32> = BTreeMap::new();
            let hash = |at: u32| if narrow { at % 3 + 62 } else { at.wrapping_mul(0x9E37_79B9) };
            for (insert, at) in steps {
                if insert && !model.contains_key(&at) {
                    index.insert(hash(at), at);
                    model.insert(at, hash(at));
                } else {
                    index.remove(hash(at), at);
                    model.remove(&at);
                }
                prop_assert_eq!(index.len, model.len());
                for at in 0..80 {
                    let found = index.get(hash(at), |other| other == at);
                    prop_assert_eq!(found.is_some(), model.contains_key(&at));
                }
            }
        }
    }

    #[test]
    fn the_place_of_an_id_is_secret() {
        let ids: Vec<MessageId> = (0..64u8).map(|n| MessageId([n; 32])).collect();
        let hashes = |secret| {
            let index = Index::new(secret);
            ids.iter().map(|id| index.hash(id)).collect::<Vec<_>>()
        };
        let one = hashes([0x1234_5678_9ABC_DEF1, 0xFEDC_BA98_7654_3211]);
        let other = hashes([0x1234_5678_9ABC_DEF3, 0xFEDC_BA98_7654_3211]);
        assert_eq!(one.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
        assert!(one.iter().zip(&other).all(|(a, b)| a != b));
    }
}
