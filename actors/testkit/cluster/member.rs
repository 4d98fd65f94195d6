//! One node of a cluster.

use std::sync::{Arc, Mutex};

use peerstage_core::identity::NodeId;
use tokio::sync::Notify;

use super::{Inbox, lock};
use crate::{Event, Network, Notice, What, clock::Clock, store::memory::MemoryDisk};

/// One node, in its present life.
pub struct Member {
    /// The handle; `None` while it is crashed or stopped.
    pub(super) network: Option<Network>,
    pub(super) node: NodeId,
    pub(super) clock: Clock,
    pub(super) disk: MemoryDisk,
    pub(super) inbox: Inbox,
    pub(super) events: Arc<Mutex<Vec<Event>>>,
    pub(super) lives: u64,
}

impl Member {
    /// The handle; `None` while the node is crashed or stopped.
    #[must_use]
    pub fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// The node's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// How often the node was started.
    #[must_use]
    pub fn lives(&self) -> u64 {
        self.lives
    }

    /// The node's clock, to let it jump.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What the node's chain was handed, over all its lives.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// What happened in the node, over all its lives.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        lock(&self.events).clone()
    }

    /// Whether something of this sort has happened in the node.
    pub fn saw(&self, wanted: impl Fn(&What) -> bool) -> bool {
        lock(&self.events).iter().any(|event| wanted(&event.what))
    }

    /// Writes the events of a new life down and rings at each.
    pub(super) fn listen(&self, network: &Network, bell: Arc<Notify>) {
        let (mut subscription, events) = (network.subscribe(), Arc::clone(&self.events));
        actix_rt::spawn(async move {
            while let Some(notice) = subscription.next().await {
                if let Notice::Event(event) = notice {
                    lock(&events).push(event);
                    bell.notify_waiters();
                }
            }
        });
    }
}
