//! Who can be sent to directly: the chain's own calls look here without asking any actor.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use peerstage_core::{identity::NodeId, manager::SessionId};

use super::Outbox;

type Rows = HashMap<NodeId, (SessionId, Outbox)>;

/// The ways to the peers that have their slot, kept by the MessageRelay. A clone is a handle on
/// the same rows.
#[derive(Clone, Default)]
pub struct Directory(Arc<RwLock<Rows>>);

impl Directory {
    /// The way to a peer.
    #[must_use]
    pub fn outbox(&self, peer: &NodeId) -> Option<Outbox> {
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rows.get(peer).map(|(_, outbox)| outbox.clone())
    }

    /// A peer has its slot.
    pub(crate) fn insert(&self, peer: NodeId, session: SessionId, outbox: Outbox) {
        self.write(|rows| rows.insert(peer, (session, outbox)));
    }

    /// A connection is gone; a newer one of the same peer stays.
    pub(crate) fn remove(&self, peer: &NodeId, session: SessionId) {
        self.write(|rows| {
            if rows.get(peer).is_some_and(|(current, _)| *current == session) {
                rows.remove(peer);
            }
        });
    }

    fn write<R>(&self, work: impl FnOnce(&mut Rows) -> R) {
        work(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}
