//! What the Circuits actor hears.

use peerstage_core::{
    circuits::{CircuitKey, CircuitPeer, CircuitReason},
    identity::NodeId,
    manager::SessionId,
};
use tokio::sync::oneshot;

use crate::{
    peer::{Arrivals, Outbox},
    transport::Link,
};

/// Everything the actor hears, through one queue and so in order.
#[derive(Debug)]
pub enum ToCircuits {
    /// A peer has its slot.
    Up(CircuitPeer, Outbox),
    /// Its connection is gone.
    Down(SessionId),
    /// It sent this.
    Arrivals(Arrivals),
    /// It sent something that found no room on its way here.
    Lost(SessionId),
    /// Connect to a node through a peer.
    Dial(CircuitDial),
    /// Somebody has read, written or dropped the stream of this circuit.
    Pump(CircuitKey),
}

/// An order to connect to a node through a peer.
#[derive(Debug)]
pub struct CircuitDial {
    /// The peer.
    pub(crate) relay: NodeId,
    /// The node.
    pub(crate) to: NodeId,
    /// Where the connection goes.
    pub(crate) answer: oneshot::Sender<Result<Link, CircuitReason>>,
}
