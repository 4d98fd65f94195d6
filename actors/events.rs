//! What happens in a node, for whoever subscribes: the chain, the operator, the tests.

use peerstage_core::{
    address::Address,
    identity::{NodeId, PublicKey},
    kinds::Kind,
    messages::MessageId,
    reason::{CloseReason, Closure},
    time::{Millis, Time},
};
use serde::Serialize;

/// One event, with the time it happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// When.
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A peer was let in: greeted and given a slot.
    PeerConnected {
        /// Who.
        peer: NodeId,
        /// Where.
        address: Address,
        /// Whether we dialled.
        outbound: bool,
        /// The validator it proved to speak for.
        validator: Option<PublicKey>,
        /// Its software.
        agent: String,
    },
    /// A peer that was let in is gone.
    PeerDisconnected {
        /// Who.
        peer: NodeId,
        /// Where.
        address: Address,
        /// Why, and who said so.
        closure: Closure,
        /// Its score when it left, points.
        score: f64,
        /// How long it was connected, ms.
        connected_ms: Millis,
    },
    /// A peer stays, on a newer connection: one of two had to go. [`What::PeerConnected`] of the
    /// newer one follows.
    ConnectionReplaced {
        /// Who.
        peer: NodeId,
        /// Where the older connection went.
        address: Address,
        /// The peer's score, points.
        score: f64,
        /// How long the older connection was there, ms.
        connected_ms: Millis,
    },
    /// Somebody introduced itself and got no slot.
    ConnectionRefused {
        /// Who.
        peer: NodeId,
        /// Where.
        address: Address,
        /// Why.
        reason: CloseReason,
    },
    /// A connection that never became a peer.
    DialFailed {
        /// Where.
        address: Address,
        /// The stable name of the reason.
        reason: String,
    },
    /// A stranger connected to us and never became a peer.
    AcceptFailed {
        /// Where from.
        address: Address,
        /// The stable name of the reason.
        reason: String,
    },
    /// A block, transaction, proposal, vote or custom message arrived for the first time.
    Received {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: MessageId,
        /// The neighbour it came from.
        from: NodeId,
        /// The chain's judgement: `accepted`, `ignored`, `rejected` or `timed_out`.
        verdict: &'static str,
        /// When its first byte arrived.
        first_byte: Time,
    },
    /// A peer's score moved by a point or more, or crossed a threshold.
    ScoreChanged {
        /// Who.
        peer: NodeId,
        /// The score now, points.
        score: f64,
        /// Its standing now: `banned`, `neutral`, `relay`, `trusted`.
        standing: String,
    },
    /// A peer was banned.
    PeerBanned {
        /// Who.
        peer: NodeId,
        /// Until when.
        until: Time,
        /// Why.
        reason: String,
    },
    /// A ban ended or was lifted.
    PeerUnbanned {
        /// Who.
        peer: NodeId,
    },
    /// This node tells strangers to try other addresses than before.
    AddressesTold {
        /// All of them.
        addresses: Vec<Address>,
    },
    /// The node is in trouble that an operator should see.
    Alarm {
        /// The stable name of the trouble.
        name: &'static str,
        /// What it means.
        text: String,
    },
}

impl What {
    /// The stable name of the event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            What::PeerConnected { .. } => "peer_connected",
            What::PeerDisconnected { .. } => "peer_disconnected",
            What::ConnectionReplaced { .. } => "connection_replaced",
            What::ConnectionRefused { .. } => "connection_refused",
            What::DialFailed { .. } => "dial_failed",
            What::AcceptFailed { .. } => "accept_failed",
            What::Received { .. } => "received",
            What::ScoreChanged { .. } => "score_changed",
            What::PeerBanned { .. } => "peer_banned",
            What::PeerUnbanned { .. } => "peer_unbanned",
            What::AddressesTold { .. } => "addresses_told",
            What::Alarm { .. } => "alarm",
        }
    }

    /// The chain's judgement of a message, if this is a [`What::Received`].
    #[must_use]
    pub fn verdict(&self) -> Option<&'static str> {
        match self {
            What::Received { verdict, .. } => Some(verdict),
            _ => None,
        }
    }
}
