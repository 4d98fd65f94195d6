//! The headers of circuit messages.

use serde::{Deserialize, Serialize};

use crate::identity::NodeId;

/// A circuit's number on one connection, chosen by the side that opens it there: odd by the side
/// that dialled the connection, even by the other, each greater than the one before. The header of
/// [`crate::kinds::Kind::CircuitOpened`] and [`crate::kinds::Kind::CircuitData`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CircuitId(pub u32);

/// The header of [`crate::kinds::Kind::CircuitOpen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitOpen {
    /// Its number.
    pub circuit: CircuitId,
    /// Who is at the other end.
    pub other: OtherEnd,
}

/// Who is at the other end of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtherEnd {
    /// To a relay: whom the circuit is for.
    To(NodeId),
    /// From a relay: who asks for it.
    From(NodeId),
}

/// The header of [`crate::kinds::Kind::CircuitCredit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitCredit {
    /// The circuit.
    pub circuit: CircuitId,
    /// How many more bytes may be sent.
    pub bytes: u32,
}

/// The header of [`crate::kinds::Kind::CircuitClose`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitClose {
    /// The circuit.
    pub circuit: CircuitId,
    /// [`super::CircuitReason`] as its code.
    pub reason: u8,
}
