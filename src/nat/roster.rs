//! Who is connected and who is banned: with neither is a hole punched.
//!
//! # Security
//! Provided: memory is bounded by the manager's numbers.
//! Not provided: knowledge of bans that began a moment ago and are still on their way here.

use std::collections::{BTreeMap, BTreeSet};

use crate::{identity::NodeId, manager::BANS_MAX, time::Time};

/// Connected peers that are known as such. Far more than there are places for peers by default.
const CONNECTED_MAX: usize = 4_096;

/// The nodes that are no candidates.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    own: NodeId,
    connected: BTreeSet<NodeId>,
    banned: BTreeMap<NodeId, Time>,
}

impl Roster {
    pub(super) fn new(own: NodeId) -> Self {
        Roster { own, connected: BTreeSet::new(), banned: BTreeMap::new() }
    }

    pub(super) fn own(&self) -> NodeId {
        self.own
    }

    /// A node that there is no connection with, and may be one.
    pub(super) fn is_candidate(&self, now: Time, node: &NodeId) -> bool {
        let banned = self.banned.get(node).is_some_and(|until| *until > now);
        *node != self.own && !banned && !self.connected.contains(node)
    }

    pub(super) fn on_connected(&mut self, node: NodeId) {
        if self.connected.len() < CONNECTED_MAX {
            self.connected.insert(node);
        }
    }

    pub(super) fn on_gone(&mut self, node: &NodeId) {
        self.connected.remove(node);
    }

    /// Banned until then; a time that is over lifts the ban.
    pub(super) fn on_banned(&mut self, now: Time, node: NodeId, until: Time) {
        self.banned.retain(|_, until| *until > now);
        self.banned.remove(&node);
        if until <= now {
            return;
        }
        // As the manager does, who knows no more of them.
        if self.banned.len() >= BANS_MAX {
            let soonest = self.banned.iter().min_by_key(|(_, until)| **until);
            if let Some(soonest) = soonest.map(|(node, _)| *node) {
                self.banned.remove(&soonest);
            }
        }
        self.banned.insert(node, until);
    }
}
