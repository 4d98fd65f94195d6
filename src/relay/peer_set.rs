//! Sets of connected peers: a bit a slot.

use std::fmt;

/// A connected peer by its number: the lowest that was free when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerSlot(pub(super) u16);

impl PeerSlot {
    /// The number, to index a table of connections with.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    fn word_and_bit(self) -> (usize, u64) {
        (usize::from(self.0 >> 6), 1u64.wrapping_shl(u32::from(self.0 & 63)))
    }
}

/// A set of peers. Up to 128 slots take no memory of their own.
#[derive(Clone, Default)]
pub struct PeerSet {
    low: [u64; 2],
    rest: Option<Box<Rest>>,
}

/// The words of slots from 128 on.
#[derive(Clone)]
struct Rest(Vec<u64>);

const LOW_WORDS: usize = 2;

impl PeerSet {
    /// The set of one peer.
    #[must_use]
    pub fn one(slot: PeerSlot) -> Self {
        let mut set = PeerSet::default();
        set.insert(slot);
        set
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        let rest = self.rest.iter().flat_map(|rest| &rest.0);
        self.low.iter().chain(rest).copied()
    }

    fn word(&self, at: usize) -> u64 {
        match self.low.get(at) {
            Some(word) => *word,
            None => {
                let rest = self.rest.as_ref().and_then(|rest| rest.0.get(at - LOW_WORDS));
                rest.copied().unwrap_or(0)
            }
        }
    }

    fn word_mut(&mut self, at: usize) -> Option<&mut u64> {
        if at < LOW_WORDS {
            return self.low.get_mut(at);
        }
        let rest = self.rest.get_or_insert_with(|| Box::new(Rest(Vec::new())));
        let at = at - LOW_WORDS;
        if rest.0.len() <= at {
            rest.0.resize(at.saturating_add(1), 0);
        }
        rest.0.get_mut(at)
    }

    /// Adds a peer; true if it was not in.
    pub fn insert(&mut self, slot: PeerSlot) -> bool {
        let (at, bit) = slot.word_and_bit();
        let Some(word) = self.word_mut(at) else { return false };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Takes a peer out.
    pub fn remove(&mut self, slot: PeerSlot) {
        if self.contains(slot) {
            let (at, bit) = slot.word_and_bit();
            if let Some(word) = self.word_mut(at) {
                *word &= !bit;
            }
        }
    }

    /// Whether a peer is in.
    #[must_use]
    pub fn contains(&self, slot: PeerSlot) -> bool {
        let (at, bit) = slot.word_and_bit();
        self.word(at) & bit != 0
    }

    /// Whether nobody is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words().all(|word| word == 0)
    }

    /// How many are in.
    #[must_use]
    pub fn len(&self) -> usize {
        let ones = |word: u64| usize::try_from(word.count_ones()).unwrap_or(0);
        self.words().map(ones).fold(0, usize::saturating_add)
    }

    /// The peers, lowest slot first.
    pub fn iter(&self) -> impl Iterator<Item = PeerSlot> {
        let slots = |(at, mut word): (u16, u64)| {
            std::iter::from_fn(move || {
                let bit = u16::try_from(word.trailing_zeros()).ok().filter(|bit| *bit < 64)?;
                word &= word.wrapping_sub(1);
                Some(PeerSlot(at.wrapping_mul(64).wrapping_add(bit)))
            })
        };
        (0u16..).zip(self.words()).flat_map(slots)
    }

    /// The peer that `skip` others precede.
    pub(super) fn nth(&self, skip: usize) -> Option<PeerSlot> {
        self.iter().nth(skip)
    }

    pub(super) fn clear(&mut self) {
        *self = PeerSet::default();
    }

    pub(super) fn add_all(&mut self, others: &PeerSet) {
        for (at, word) in others.words().enumerate() {
            if word != 0
                && let Some(own) = self.word_mut(at)
            {
                *own |= word;
            }
        }
    }

    pub(super) fn remove_all(&mut self, others: &PeerSet) {
        for (own, other) in self.low.iter_mut().zip(others.low) {
            *own &= !other;
        }
        if let (Some(own), Some(other)) = (&mut self.rest, &others.rest) {
            for (own, other) in own.0.iter_mut().zip(&other.0) {
                *own &= !other;
            }
        }
    }

    pub(super) fn keep_only(&mut self, others: &PeerSet) {
        for (own, other) in self.low.iter_mut().zip(others.low) {
            *own &= other;
        }
        if let Some(own) = &mut self.rest {
            for (at, word) in own.0.iter_mut().enumerate() {
                *word &= others.word(at.saturating_add(LOW_WORDS));
            }
        }
    }
}

impl FromIterator<PeerSlot> for PeerSet {
    fn from_iter<T: IntoIterator<Item = PeerSlot>>(slots: T) -> Self {
        let mut set = PeerSet::default();
        slots.into_iter().for_each(|slot| {
            set.insert(slot);
        });
        set
    }
}

impl PartialEq for PeerSet {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for PeerSet {}

impl fmt::Debug for PeerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|slot| slot.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(slots: &BTreeSet<u16>) -> PeerSet {
        slots.iter().map(|slot| PeerSlot(*slot)).collect()
    }

    proptest! {
        #[test]
        fn a_peer_set_is_a_set(
            a in proptest::collection::btree_set(0u16..300, 0..40),
            b in proptest::collection::btree_set(0u16..300, 0..40),
        ) {
            let check = |change: fn(&mut PeerSet, &PeerSet), model: BTreeSet<u16>| {
                let mut changed = set(&a);
                change(&mut changed, &set(&b));
                (changed == set(&model)) && changed.len() == model.len()
                    && changed.is_empty() == model.is_empty()
            };
            prop_assert!(check(PeerSet::add_all, a.union(&b).copied().collect()));
            prop_assert!(check(PeerSet::remove_all, a.difference(&b).copied().collect()));
            prop_assert!(check(PeerSet::keep_only, a.intersection(&b).copied().collect()));
            let mut emptied = set(&a);
            for (skip, slot) in a.iter().enumerate() {
                prop_assert_eq!(set(&a).nth(skip), Some(PeerSlot(*slot)));
                emptied.remove(PeerSlot(*slot));
            }
            prop_assert!(emptied.is_empty() && set(&a).nth(a.len()).is_none());
        }
    }
}
