//! The connections below circuits, and which numbers mean what on them.

use std::collections::BTreeMap;

use super::{
    CircuitClose, CircuitId, CircuitKey, CircuitPeer, Lookup,
    config::{OPENS_BURST, OPENS_PER_SECOND, UNSAID_MAX},
};
use crate::{rate::TokenBucket, time::Time};

/// What a circuit's number on one connection stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A circuit that ends here.
    End(CircuitKey),
    /// One side, 0 or 1, of a circuit that passes through.
    Leg(u64, usize),
}

/// A connection with a peer.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: CircuitPeer,
    pub(super) circuits: BTreeMap<CircuitId, Use>,
    /// The number of the next circuit that this side opens; none when they are used up.
    next: Option<u32>,
    /// The greatest number that the other side has used.
    theirs: u32,
    /// Circuits to carry that this peer asks for.
    pub(super) asks: TokenBucket,
    /// Circuits to carry that others call this peer by.
    pub(super) called: TokenBucket,
    /// Ends of circuits that found the queue full, and when they are said again.
    pub(super) unsaid: Vec<CircuitClose>,
    pub(super) say_at: Option<Time>,
}

impl Session {
    pub(super) fn new(now: Time, peer: CircuitPeer) -> Self {
        let next = Some(if peer.outbound { 1 } else { 2 });
        let opens = || TokenBucket::new(now, OPENS_PER_SECOND, OPENS_BURST);
        Session {
            peer,
            circuits: BTreeMap::new(),
            next,
            theirs: 0,
            asks: opens(),
            called: opens(),
            unsaid: Vec::new(),
            say_at: None,
        }
    }

    /// This close is to be said again. A peer that takes none of so many takes nothing at all, and
    /// its connection ends soon.
    pub(super) fn say_again(&mut self, at: Time, close: CircuitClose) {
        if self.unsaid.len() < UNSAID_MAX {
            self.unsaid.push(close);
            self.say_at.get_or_insert(at);
        }
    }

    /// A number for a circuit that this side opens.
    pub(super) fn take_number(&mut self) -> Option<CircuitId> {
        let number = self.next?;
        self.next = number.checked_add(2);
        Some(CircuitId(number))
    }

    fn is_ours(&self, id: CircuitId) -> bool {
        (id.0 % 2 == 1) == self.peer.outbound
    }

    /// The other side opens a circuit with this number; whether it may.
    pub(super) fn note_theirs(&mut self, id: CircuitId) -> bool {
        let new = !self.is_ours(id) && id.0 > self.theirs;
        if new {
            self.theirs = id.0;
        }
        new
    }

    pub(super) fn look_up(&self, id: CircuitId) -> Lookup {
        if let Some(using) = self.circuits.get(&id) {
            return Lookup::Found(*using);
        }
        let was = if self.is_ours(id) {
            id.0 != 0 && self.next.is_none_or(|next| id.0 < next)
        } else {
            id.0 != 0 && id.0 <= self.theirs
        };
        if was { Lookup::Over } else { Lookup::Unknown }
    }
}
