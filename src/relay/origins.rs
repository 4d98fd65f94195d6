//! Signed messages by origin and stamp: what was seen is never accepted again, however old.

use std::collections::{BTreeMap, BTreeSet};

use crate::{identity::PublicKey, messages::MessageId, time::Time};

/// The signed messages of every validator.
pub(super) struct Origins {
    origins: BTreeMap<PublicKey, Origin>,
    count_max: usize,
}

/// Signed messages of one validator by stamp. One validator can only push out its own.
#[derive(Default)]
struct Origin {
    stamps: BTreeSet<(Time, MessageId)>,
    /// Everything up to this stamp is refused: it may have been seen and forgotten.
    floor: Time,
}

impl Origins {
    /// Remembers up to `count_max` messages of each.
    pub(super) fn new(count_max: usize) -> Self {
        Origins { origins: BTreeMap::new(), count_max }
    }

    /// Whether a signed message was seen, or is so old that it may have been.
    pub(super) fn refuses(&self, origin: &PublicKey, stamp: Time, id: &MessageId) -> bool {
        self.origins.get(origin).is_some_and(|origin| {
            let forgotten = stamp <= origin.floor && origin.floor > Time::ZERO;
            forgotten || origin.stamps.contains(&(stamp, *id))
        })
    }

    /// Remembers a signed message whose signature was checked.
    pub(super) fn insert(&mut self, origin: PublicKey, stamp: Time, id: MessageId) {
        let entry = self.origins.entry(origin).or_default();
        entry.stamps.insert((stamp, id));
        while entry.stamps.len() > self.count_max {
            if let Some((stamp, _)) = entry.stamps.pop_first() {
                entry.floor = entry.floor.max(stamp);
            }
        }
    }

    /// Forgets signed messages of origins that left, and those whose stamp the window refuses.
    pub(super) fn sweep(&mut self, stamp_min: Time, members: &BTreeSet<PublicKey>) {
        self.origins.retain(|origin, _| members.contains(origin));
        for entry in self.origins.values_mut() {
            while entry.stamps.first().is_some_and(|(stamp, _)| *stamp < stamp_min) {
                if let Some((stamp, _)) = entry.stamps.pop_first() {
                    entry.floor = entry.floor.max(stamp);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MessageId {
        MessageId([n; 32])
    }

    /// Attack row 29: replay after eviction is refused by age, and an origin that floods only
    /// pushes out its own messages.
    #[test]
    fn a_forgotten_signed_message_is_refused_by_age() {
        let (flooder, other) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let mut origins = Origins::new(2);
        origins.insert(other, Time(5), id(9));
        for n in 1..=3 {
            origins.insert(flooder, Time(n), id(n as u8));
        }
        assert!(origins.refuses(&flooder, Time(1), &id(1)), "evicted, so too old");
        assert!(origins.refuses(&flooder, Time(2), &id(2)), "still remembered");
        assert!(!origins.refuses(&flooder, Time(4), &id(4)));
        assert!(!origins.refuses(&other, Time(1), &id(8)), "others are untouched");
        origins.sweep(Time(6), &BTreeSet::from([flooder, other]));
        assert!(origins.refuses(&other, Time(5), &id(9)));
    }
}
