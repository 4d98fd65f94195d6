//! Whom the MessageRelay talks to, and the queues into it.

use actix::Recipient;

use super::{Order, VerifiedRun};
use crate::{
    bridge::{Judge, Judged, Subscribe},
    events::Event,
    nat::Seen,
    peer::{Directory, FromPeer},
    scoring::Observation,
    shell::{Ordered, Queue, QueueStream},
};

/// Whom the relay talks to.
pub struct RelayLinks {
    /// Verdicts on blocks, transactions and custom messages.
    pub blockchain: Queue<Judge>,
    /// Verdicts on proposals and votes.
    pub consensus: Queue<Judge>,
    /// What peers did.
    pub observations: Queue<Observation>,
    /// What happened.
    pub events: Recipient<Event>,
    /// Whether anybody subscribed to events.
    pub subscribers: Subscribe,
    /// Who can be sent to.
    pub directory: Directory,
    /// Messages of punches, to the NatTraversal.
    pub punches: Queue<Seen>,
}

/// The queues into the relay.
pub(crate) struct RelayInputs {
    /// From the peers.
    pub arrivals: QueueStream<FromPeer>,
    /// From the chain.
    pub orders: QueueStream<Ordered<Order>>,
    /// From the bridges.
    pub verdicts: QueueStream<Judged>,
    /// From the workers.
    pub(crate) verified: (Queue<VerifiedRun>, QueueStream<VerifiedRun>),
}
