//! What the machine is told of peers, and what it orders.

use bytes::Bytes;

use super::CircuitReason;
use crate::{
    address::{Address, NetworkGroup},
    identity::NodeId,
    manager::SessionId,
    messages::Outgoing,
    record::Capabilities,
};

/// A circuit that ends at this node. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CircuitKey(pub u64);

/// A peer, as far as circuits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitPeer {
    /// Its connection.
    pub session: SessionId,
    /// Who it is.
    pub peer: NodeId,
    /// Where it is; a circuit itself if it is not connected directly.
    pub address: Address,
    /// The neighbourhood it counts in, by the map of autonomous systems if there is one.
    pub group: NetworkGroup,
    /// Whether this node dialled it.
    pub outbound: bool,
    /// What its record says it can do.
    pub capabilities: Capabilities,
}

/// What this node is in a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It opened the circuit.
    Dialled,
    /// It took the circuit.
    Accepted,
    /// It carries the circuit for others.
    Carried,
}

impl Role {
    /// The stable name, for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Role::Dialled => "dialled",
            Role::Accepted => "accepted",
            Role::Carried => "carried",
        }
    }
}

/// Orders to the actor, to be carried out in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Queue this; if there is no room, tell [`super::Circuits::on_rejected`].
    Send {
        /// On this connection.
        session: SessionId,
        /// The message.
        message: Outgoing,
    },
    /// Somebody offers a circuit: [`super::Circuits::accept`] or [`super::Circuits::close`] it.
    Offered {
        /// The circuit.
        key: CircuitKey,
        /// Whom it comes through, and where that is.
        relay: (NodeId, Address),
        /// Who is said to be at the other end. Whoever takes the circuit has its handshake prove it.
        from: NodeId,
    },
    /// The other end has taken a circuit that was dialled.
    Opened(CircuitKey),
    /// Bytes for a circuit that ends here.
    Received(CircuitKey, Bytes),
    /// More may be sent on a circuit that ends here.
    Credited(CircuitKey),
    /// A circuit that ends here is over, or was not taken. The last word about it.
    Closed(CircuitKey, CircuitReason),
    /// A peer broke a rule.
    Penalise {
        /// Who.
        peer: NodeId,
        /// What it did.
        what: &'static str,
    },
    /// Count: a circuit began.
    Began(Role),
    /// Count: a circuit that had begun is over.
    Ended(Role, CircuitReason),
    /// Count: a circuit was not begun.
    Refused(CircuitReason),
    /// Count: bytes were passed on.
    Passed(usize),
    /// Count: a message meant nothing.
    Ignored(&'static str),
}
