//! One address in the book.

use serde::{Deserialize, Serialize};

use crate::{
    address::{Address, NetworkGroup},
    identity::NodeId,
    time::Time,
};

/// Who told us of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The operator, by configuration or command.
    Operator,
    /// A peer in this neighbourhood.
    Peer(NetworkGroup),
}

/// What is known of one address; what a store keeps of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookEntry {
    /// Where.
    pub address: Address,
    /// Who is said to answer there; proven once `last_success` is there.
    pub peer: Option<NodeId>,
    /// Who told us first.
    pub source: Source,
    /// Since when it is known.
    pub added: Time,
    /// Connections since it is known.
    pub successes: u32,
    /// Attempts since the last connection that led to none.
    pub failures: u32,
    /// When a connection there last succeeded.
    pub last_success: Option<Time>,
    /// When it was last dialled.
    pub last_attempt: Option<Time>,
    /// Not to be dialled before.
    pub next_dial: Time,
}

impl BookEntry {
    pub(super) fn new(now: Time, address: Address, peer: Option<NodeId>, source: Source) -> Self {
        BookEntry {
            address,
            peer,
            source,
            added: now,
            successes: 0,
            failures: 0,
            last_success: None,
            last_attempt: None,
            next_dial: Time::ZERO,
        }
    }

    /// Whether a node has answered there, with the identity it was dialled for.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.last_success.is_some()
    }
}
