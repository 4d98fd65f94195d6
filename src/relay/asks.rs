//! What was asked for and is not here yet. Bounded by `wants_max` and `wants_per_peer`.

use super::{
    peer_set::{PeerSet, PeerSlot},
    slab::{Order, Slab},
};
use crate::{kinds::Kind, messages::MessageId, time::Time};

/// Other announcers remembered for an id that was asked of one.
const ANNOUNCERS_MAX: usize = 4;

/// An id that was asked of one peer.
pub(super) struct Ask {
    /// The entry of the message in the table.
    pub(super) entry: u32,
    pub(super) id: MessageId,
    pub(super) kind: Kind,
    pub(super) from: PeerSlot,
    pub(super) deadline: Time,
    pub(super) others: Announcers,
}

/// Who else announced it, first come first.
#[derive(Clone, Copy, Default)]
pub(super) struct Announcers([Option<PeerSlot>; ANNOUNCERS_MAX]);

/// Everything asked for, by deadline: each is given the same time.
#[derive(Default)]
pub(super) struct Asks {
    open: Slab<Ask>,
    order: Order,
}

impl Announcers {
    /// Remembers one more, if there is room.
    pub(super) fn add(&mut self, slot: PeerSlot) {
        if !self.0.contains(&Some(slot))
            && let Some(free) = self.0.iter_mut().find(|known| known.is_none())
        {
            *free = Some(slot);
        }
    }

    /// Takes out the first.
    pub(super) fn pop(&mut self) -> Option<PeerSlot> {
        self.0.iter_mut().find_map(Option::take)
    }

    fn forget_peers(&mut self, gone: &PeerSet) {
        for known in &mut self.0 {
            *known = known.filter(|slot| !gone.contains(*slot));
        }
    }
}

impl Asks {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Ask> {
        self.open.get_mut(at)
    }

    pub(super) fn insert(&mut self, ask: Ask) -> u32 {
        let at = self.open.insert(ask);
        self.open.append(&mut self.order, at);
        at
    }

    pub(super) fn remove(&mut self, at: u32) -> Option<Ask> {
        self.open.get(at)?;
        self.open.unlink(&mut self.order, at);
        self.open.remove(at)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        Some(self.open.get(self.order.first()?)?.deadline)
    }

    /// Takes out one whose time is over.
    pub(super) fn take_expired(&mut self, now: Time) -> Option<Ask> {
        if self.deadline()? > now { None } else { self.remove(self.order.first()?) }
    }

    /// Takes out everything asked of a peer.
    pub(super) fn take_of(&mut self, slot: PeerSlot) -> Vec<Ask> {
        let theirs = self.open.iter().filter(|(_, ask)| ask.from == slot);
        let theirs: Vec<u32> = theirs.map(|(at, _)| at).collect();
        theirs.into_iter().filter_map(|at| self.remove(at)).collect()
    }

    /// These slots get other peers, who announced nothing yet.
    pub(super) fn forget_peers(&mut self, gone: &PeerSet) {
        self.open.iter_mut().for_each(|(_, ask)| ask.others.forget_peers(gone));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcers_are_asked_first_come_first_and_forgotten_with_their_slot() {
        let mut others = Announcers::default();
        for n in [5, 3, 5, 4, 2, 1] {
            others.add(PeerSlot(n));
        }
        others.forget_peers(&PeerSet::one(PeerSlot(3)));
        assert_eq!(others.pop(), Some(PeerSlot(5)));
        assert_eq!(others.pop(), Some(PeerSlot(4)));
        assert_eq!((others.pop(), others.pop()), (Some(PeerSlot(2)), None), "four at most");
    }
}
