//! What carries a connection.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How bytes reach an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransportKind {
    /// TCP, with Noise inside.
    #[default]
    Tcp,
    /// QUIC over UDP, with TLS 1.3 inside.
    Quic,
    /// A circuit ([`crate::circuits`]) through a node that TCP reaches, which carries it for both.
    TcpCircuit,
    /// A circuit through a node that QUIC reaches.
    QuicCircuit,
    /// One that this version does not know, by its number on the wire (4 to 255): kept and passed
    /// on as it came, since a signature covers it, and never dialled.
    Unknown(u8),
}

impl TransportKind {
    /// Those that this version listens with, in the order in which they are tried.
    pub const ALL: [TransportKind; 2] = [TransportKind::Quic, TransportKind::Tcp];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            TransportKind::Tcp => 0,
            TransportKind::Quic => 1,
            TransportKind::TcpCircuit => 2,
            TransportKind::QuicCircuit => 3,
            TransportKind::Unknown(number) => number,
        }
    }

    /// The transport with a number on the wire.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => TransportKind::Tcp,
            1 => TransportKind::Quic,
            2 => TransportKind::TcpCircuit,
            3 => TransportKind::QuicCircuit,
            number => TransportKind::Unknown(number),
        }
    }

    /// A short lower-case word for people, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            TransportKind::Tcp => "tcp",
            TransportKind::Quic => "quic",
            TransportKind::TcpCircuit => "tcp-circuit",
            TransportKind::QuicCircuit => "quic-circuit",
            TransportKind::Unknown(_) => "unknown",
        }
    }

    /// Whether another node carries it.
    #[must_use]
    pub const fn is_circuit(self) -> bool {
        matches!(self, TransportKind::TcpCircuit | TransportKind::QuicCircuit)
    }

    /// What reaches the node that carries a circuit; any other transport is its own carrier.
    #[must_use]
    pub const fn carrier(self) -> Self {
        match self {
            TransportKind::TcpCircuit => TransportKind::Tcp,
            TransportKind::QuicCircuit => TransportKind::Quic,
            other => other,
        }
    }

    /// A circuit through a node that this reaches; none through a circuit, or rings of relays
    /// could carry bytes for ever.
    #[must_use]
    pub const fn circuit(self) -> Option<Self> {
        match self {
            TransportKind::Tcp => Some(TransportKind::TcpCircuit),
            TransportKind::Quic => Some(TransportKind::QuicCircuit),
            _ => None,
        }
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text is no transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no transport {0:?}; expected tcp or quic")]
pub struct ParseTransportError(String);

impl FromStr for TransportKind {
    type Err = ParseTransportError;

    fn from_str(text: &str) -> Result<Self, ParseTransportError> {
        let found = TransportKind::ALL.into_iter().find(|transport| transport.name() == text);
        found.ok_or_else(|| ParseTransportError(text.to_owned()))
    }
}

/// A word in readable formats, one byte on the wire.
impl Serialize for TransportKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(self.name());
        }
        serializer.serialize_u8(self.number())
    }
}

impl<'de> Deserialize<'de> for TransportKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
        }
        u8::deserialize(deserializer).map(TransportKind::from_number)
    }
}
