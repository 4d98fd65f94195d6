//! Rendezvous points: nodes that keep registrations of namespaces, and say so in their records.
//!
//! # Security
//! Provided: only who was reached is a point, few of one neighbourhood are, and memory is bounded.
//! Not provided: points that nobody controls: whoever has addresses in many neighbourhoods can be
//! most of them, and ids close to a namespace cost hashes only.

use std::collections::BTreeMap;

use rand::{Rng, RngExt};

use crate::{
    address::NetworkGroup,
    identity::NodeId,
    record::{Capabilities, VerifiedRecord},
    time::Time,
};

/// Points that are remembered.
const POINTS_MAX: usize = 64;
/// Of these, in one neighbourhood.
const PER_GROUP_MAX: usize = 2;

/// The points that this node knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Points {
    known: BTreeMap<NodeId, (VerifiedRecord, Option<NetworkGroup>)>,
}

/// Whether a node says that it keeps registrations.
pub(super) fn is_point(record: &VerifiedRecord) -> bool {
    record.record().capabilities.contains(Capabilities::RENDEZVOUS)
}

impl Points {
    /// A node in this neighbourhood was reached; it is remembered if its record says that it is a
    /// point. When there are too many a random one goes.
    pub(super) fn note(
        &mut self,
        record: &VerifiedRecord,
        group: Option<NetworkGroup>,
        rng: &mut impl Rng,
    ) {
        let node = record.node();
        if !is_point(record) {
            self.known.remove(&node);
            return;
        }
        let others = self.known.iter().filter(|(other, _)| **other != node);
        let near = others.filter(|(_, (_, of))| group.is_some() && *of == group).count();
        if near >= PER_GROUP_MAX {
            return;
        }
        if self.known.len() >= POINTS_MAX && !self.known.contains_key(&node) {
            let victim = rng.random_range(0..self.known.len());
            let victim = self.known.keys().nth(victim).copied();
            victim.map(|victim| self.known.remove(&victim));
        }
        self.known.insert(node, (record.clone(), group));
    }

    /// Those whose records are alive.
    pub(super) fn alive(&self, now: Time) -> impl Iterator<Item = &VerifiedRecord> {
        self.known.values().map(|(record, _)| record).filter(move |record| !record.is_expired(now))
    }

    /// A point signed a newer record.
    pub(super) fn on_record(&mut self, record: &VerifiedRecord) {
        if let Some((known, _)) = self.known.get_mut(&record.node()) {
            known.clone_from(record);
        }
    }

    pub(super) fn forget_expired(&mut self, now: Time) {
        self.known.retain(|_, (record, _)| !record.is_expired(now));
    }
}
