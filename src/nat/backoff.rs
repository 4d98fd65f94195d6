//! For how long a node is left alone, by how often it was in vain.
//!
//! # Security
//! Provided: memory is bounded; when it is full, newcomers are not remembered, and nobody who
//! waits is let off.
//! Not provided: a limit for whoever has many ids, which cost nothing.

use std::collections::BTreeMap;

use crate::{
    identity::NodeId,
    time::{Millis, Time},
};

/// Nodes that are remembered.
const KNOWN_MAX: usize = 1_024;

/// The waits of all nodes.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    /// The first wait and the longest, ms.
    waits: [Millis; 2],
    /// Times that cost the first wait alone, before one that costs the longer one.
    each: u32,
    /// How many times it was in vain, and until when the node is left alone.
    known: BTreeMap<NodeId, (u32, Time)>,
}

impl Backoff {
    pub(super) fn new(waits: [Millis; 2], each: u32) -> Self {
        Backoff { waits, each: each.max(1), known: BTreeMap::new() }
    }

    pub(super) fn waits(&self, now: Time, node: &NodeId) -> bool {
        self.known.get(node).is_some_and(|(_, until)| *until > now)
    }

    /// Once more in vain, or not known yet to be good for anything.
    pub(super) fn on_vain(&mut self, now: Time, node: NodeId) {
        let [first, longest] = self.waits;
        self.known.retain(|_, (_, until)| now.since(*until) < longest);
        let times = self.known.get(&node).map_or(0, |(times, _)| *times);
        if self.known.len() < KNOWN_MAX || times > 0 {
            let times = times.saturating_add(1);
            let doublings = match (times.checked_div(self.each), times.checked_rem(self.each)) {
                (Some(whole), Some(0)) => whole.saturating_sub(1),
                _ => 0,
            };
            let factor = 1u64.checked_shl(doublings).unwrap_or(u64::MAX);
            let until = now.plus(first.saturating_mul(factor).min(longest));
            self.known.insert(node, (times, until));
        }
    }

    pub(super) fn forget(&mut self, node: &NodeId) {
        self.known.remove(node);
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}
