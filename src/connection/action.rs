//! What a connection is told at its start, and what it orders.

use crate::{
    frame::{FrameError, Message},
    identity::{NetworkId, NodeId},
    kinds::Kind,
    messages::{Hello, Outgoing},
    rate::SLOWEST_BYTES_PER_SECOND,
    time::Millis,
};

/// What is fixed for the life of a connection.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The chain's network.
    pub network: NetworkId,
    /// Who the other side proved to be.
    pub remote: NodeId,
    /// The hash of this connection's handshake.
    pub handshake_hash: [u8; 32],
    /// Time between pings, ms.
    pub ping_interval: Millis,
    /// How long the peer may send nothing at all once it was pinged, ms. What it sends instead of
    /// the answer shows that it lives: the answer waits behind it where bytes are limited.
    pub ping_timeout: Millis,
    /// How long the peer may send nothing at all, ms.
    pub idle_timeout: Millis,
    /// How long the greeting may take, ms.
    pub hello_timeout: Millis,
    /// We read no faster than our own limit: a peer that is slow may be so for that.
    pub reads_slowly: bool,
}

/// What the peer did wrong; each ends the connection, and is its fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A record that is not whole frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A body or header that does not decode.
    #[error("a {0} that does not decode")]
    Malformed(Kind),
    /// Something else before the greeting, or a second greeting.
    #[error("{0} out of turn")]
    OutOfTurn(Kind),
    /// More of a kind than it may send.
    #[error("more {0} messages than it may send")]
    TooMany(Kind),
    /// A stream that belongs to no lane.
    #[error("a stream that belongs to no lane")]
    StrayStream,
    /// More records than it may send.
    #[error("more records than it may send")]
    TooManyRecords,
    /// A kind only validators may send, from a peer that did not prove to be one.
    #[error("{0} from a peer that is no validator")]
    WrongRole(Kind),
    /// A validator proof that does not verify.
    #[error("a validator proof that does not verify")]
    FalseProof,
}

/// Why a connection ends by its own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The peer broke a rule.
    #[error("violation: {0}")]
    Violation(#[from] Violation),
    /// No greeting in time.
    #[error("no greeting in time")]
    HelloTimeout,
    /// Nothing arrived for too long.
    #[error("nothing was heard for too long")]
    Idle,
    /// No sign of life.
    #[error("no answer to a ping")]
    PingTimeout,
    /// A message was started and then trickled.
    #[error("slower than {SLOWEST_BYTES_PER_SECOND} bytes per second")]
    TooSlow,
    /// The peer said goodbye, with its reason's code.
    #[error("the peer closed with reason {reason}")]
    Remote {
        /// [`crate::messages::Disconnect::reason`].
        reason: u8,
        /// [`crate::messages::Disconnect::retry_after_ms`].
        retry_after_ms: u32,
    },
}

/// Orders of the machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Queue this to the peer.
    Send(Outgoing),
    /// The peer introduced itself; its validator proof, if any, is good.
    Greeted(Box<Hello>),
    /// A whole message that passed the class checks.
    Deliver(Message),
    /// The other side has said [`crate::reason::CloseReason::Upgraded`]: nothing new follows, but
    /// what it sent before on other lanes may. Silence ends nothing from now on.
    LastWord,
    /// The peer takes so many bytes a second from now on; 0 is no limit.
    Takes(u64),
    /// A round trip was measured, ms.
    RoundTrip(Millis),
    /// End the connection; nothing more comes from this machine.
    End(End),
}
