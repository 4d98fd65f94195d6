//! What goes into the relay and what it orders.

use bytes::Bytes;

use super::peer_set::PeerSet;
use crate::{
    header::Header,
    identity::{NodeId, PublicKey},
    kinds::Kind,
    messages::{MessageId, Outgoing, Topic},
    time::Time,
};

/// A connected peer, as the handshake proved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who it is.
    pub peer: NodeId,
    /// The validator it proved to speak for on this connection.
    pub validator: Option<PublicKey>,
    /// Whether we dialled it.
    pub outbound: bool,
    /// Whether the connection carries blocks and no other gossip ([`crate::messages::Pace`]).
    pub blocks_only: bool,
}

/// A message as it came off a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// What it is.
    pub kind: Kind,
    /// The header.
    pub header: Header,
    /// The body's bytes. Up to [`crate::frame::COPY_MAX`] they are copied if they are kept, so
    /// they may be a slice of a large buffer.
    pub body: Bytes,
    /// [`MessageId::of`] kind, topic and body, computed where the message was read.
    pub id: MessageId,
    /// When its first byte arrived.
    pub first_byte: Time,
}

/// Names one message that waits for a signature check or a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerdictTicket(pub u64);

impl VerdictTicket {
    /// The kind of the message, also when it does not wait any more; `None` for a ticket that
    /// was never given out.
    #[must_use]
    pub fn kind(self) -> Option<Kind> {
        let [kind, ..] = self.0.to_be_bytes();
        Kind::from_byte(kind)
    }
}

/// What the chain says about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good: forward it.
    Accept,
    /// Not useful, nobody's fault: don't forward it.
    Ignore,
    /// Invalid: don't forward it, and it is the fault of whoever sent it.
    Reject(String),
}

/// An order to the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Queue `message` to each of `to`; where `id` is given, report refusals with
    /// [`super::Relay::on_queue_result`].
    Send {
        /// The peers.
        to: PeerSet,
        /// The gossiped message it carries.
        id: Option<MessageId>,
        /// Encoded once.
        message: Outgoing,
    },
    /// Check the origin's signature on a worker ([`crate::messages::Signed::verify`]), then call
    /// [`super::Relay::on_verified`].
    Verify {
        /// Names the message.
        ticket: VerdictTicket,
        /// The kind the signature covers.
        kind: Kind,
        /// The signed body.
        body: Bytes,
    },
    /// Ask the chain, then call [`super::Relay::on_verdict`].
    Judge {
        /// Names the message.
        ticket: VerdictTicket,
        /// The message.
        message: Delivered,
    },
    /// Hand a message that needs no verdict to the application.
    Deliver(Delivered),
    /// A protocol fault of a peer.
    Penalise {
        /// Whose.
        peer: NodeId,
        /// Which.
        fault: RelayFault,
        /// What exactly, for the event log; written by us or by our chain.
        detail: String,
    },
}

/// A message for the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The neighbour it came from; for a sealed message, the node that sealed it.
    pub peer: NodeId,
    /// What it is.
    pub kind: Kind,
    /// The chain's topic for [`Kind::Custom`], else 0.
    pub topic: Topic,
    /// The whole body; signed kinds start with [`crate::messages::Signed`].
    pub body: Bytes,
    /// Its id.
    pub id: MessageId,
    /// Hops it claims to have taken.
    pub hops: u8,
    /// When its first byte arrived here.
    pub first_byte: Time,
    /// Whether it was sent to this node alone.
    pub direct: bool,
}

impl Delivered {
    /// Whether it is the network's own, about a hole to be punched, and never the chain's.
    #[must_use]
    pub fn is_punch(&self) -> bool {
        self.direct && self.topic == Topic::PUNCH
    }
}

/// Protocol faults the relay can prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelayFault {
    /// The chain rejected a block.
    InvalidBlock,
    /// The chain rejected a transaction.
    InvalidTransaction,
    /// A bad signature, or a proposal or vote the chain rejected.
    InvalidVote,
    /// A kind that only validators send, from a peer that proved no validator.
    WrongRole,
    /// Bytes that are not a message.
    MalformedMessage,
    /// The same message over and over.
    DuplicateFlood,
    /// A signed message it sent before, again after that grew too old.
    Replay,
    /// Anything else the protocol forbids, or a custom message the chain rejected.
    ProtocolViolation,
}

impl RelayFault {
    /// The name scoring and logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RelayFault::InvalidBlock => "invalid_block",
            RelayFault::InvalidTransaction => "invalid_transaction",
            RelayFault::InvalidVote => "invalid_vote",
            RelayFault::WrongRole => "wrong_role",
            RelayFault::MalformedMessage => "malformed_message",
            RelayFault::DuplicateFlood => "duplicate_flood",
            RelayFault::Replay => "replay",
            RelayFault::ProtocolViolation => "protocol_violation",
        }
    }

    /// The fault of sending an invalid message of `kind`.
    #[must_use]
    pub const fn invalid(kind: Kind) -> Self {
        match kind {
            Kind::Block => RelayFault::InvalidBlock,
            Kind::Transaction => RelayFault::InvalidTransaction,
            Kind::Proposal | Kind::Vote => RelayFault::InvalidVote,
            _ => RelayFault::ProtocolViolation,
        }
    }
}

/// How a peer's copy of an accepted message compares to the others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Delivery {
    /// It was the first.
    First,
    /// It came about when others did.
    Duplicate,
    /// It came long after the first.
    Late,
    /// It was announced and asked for, and never came. Service quality, never a fault: the
    /// peer's queue may just be full.
    Broken,
}

impl Delivery {
    /// All of them, in order.
    pub const ALL: [Delivery; 4] =
        [Delivery::First, Delivery::Duplicate, Delivery::Late, Delivery::Broken];
}

/// Why something was not delivered, forwarded or served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// From a peer that is gone.
    UnknownPeer,
    /// Not a kind the relay handles.
    WrongKind,
    /// Longer than its kind allows.
    TooLong,
    /// Not decodable.
    Malformed,
    /// Seen before.
    Duplicate,
    /// More hops than we accept.
    HopLimit,
    /// The sender may not send this kind.
    WrongRole,
    /// A consensus message, and we are no validator.
    NotValidator,
    /// The origin or the sender is not in our validator set.
    NotInSet,
    /// Its stamp is too old.
    Expired,
    /// Its stamp is too far in the future.
    FromFuture,
    /// Too many messages wait already.
    PendingFull,
    /// The origin's signature is bad.
    BadSignature,
    /// The chain ignored it.
    Ignored,
    /// The chain rejected it.
    Rejected,
    /// The chain or a worker did not answer in time: our own overload.
    VerdictTimeout,
    /// A verdict or check for something no longer waited for.
    LateVerdict,
    /// A peer's queue was full; the message will be announced.
    QueueFull,
    /// An announced message did not come.
    BrokenPromise,
    /// Too many announcements at once.
    WantsFull,
    /// The announcer broke too many promises lately.
    BackOff,
    /// Asked for something we don't have.
    NotHere,
    /// Asked too often, or for too many bytes.
    ServeLimit,
    /// Over the bytes or messages we carry or open for one peer.
    RoutedLimit,
    /// No way to the receiver of a sealed message.
    NoRoute,
    /// A sealed message we can't open or whose sender did not sign it.
    NotOpened,
    /// A validator we have no connection to and no record of.
    ValidatorUnreachable,
    /// On a connection that carries blocks and no other gossip.
    BlocksOnly,
}

impl DropReason {
    /// All of them, in order.
    pub const ALL: [DropReason; 28] = [
        DropReason::UnknownPeer,
        DropReason::WrongKind,
        DropReason::TooLong,
        DropReason::Malformed,
        DropReason::Duplicate,
        DropReason::HopLimit,
        DropReason::WrongRole,
        DropReason::NotValidator,
        DropReason::NotInSet,
        DropReason::Expired,
        DropReason::FromFuture,
        DropReason::PendingFull,
        DropReason::BadSignature,
        DropReason::Ignored,
        DropReason::Rejected,
        DropReason::VerdictTimeout,
        DropReason::LateVerdict,
        DropReason::QueueFull,
        DropReason::BrokenPromise,
        DropReason::WantsFull,
        DropReason::BackOff,
        DropReason::NotHere,
        DropReason::ServeLimit,
        DropReason::RoutedLimit,
        DropReason::NoRoute,
        DropReason::NotOpened,
        DropReason::ValidatorUnreachable,
        DropReason::BlocksOnly,
    ];

    /// The label of the metric.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::UnknownPeer => "unknown_peer",
            DropReason::WrongKind => "wrong_kind",
            DropReason::TooLong => "too_long",
            DropReason::Malformed => "malformed",
            DropReason::Duplicate => "duplicate",
            DropReason::HopLimit => "hop_limit",
            DropReason::WrongRole => "wrong_role",
            DropReason::NotValidator => "not_validator",
            DropReason::NotInSet => "not_in_set",
            DropReason::Expired => "expired",
            DropReason::FromFuture => "from_future",
            DropReason::PendingFull => "pending_full",
            DropReason::BadSignature => "bad_signature",
            DropReason::Ignored => "ignored",
            DropReason::Rejected => "rejected",
            DropReason::VerdictTimeout => "verdict_timeout",
            DropReason::LateVerdict => "late_verdict",
            DropReason::QueueFull => "queue_full",
            DropReason::BrokenPromise => "broken_promise",
            DropReason::WantsFull => "wants_full",
            DropReason::BackOff => "back_off",
            DropReason::NotHere => "not_here",
            DropReason::ServeLimit => "serve_limit",
            DropReason::RoutedLimit => "routed_limit",
            DropReason::NoRoute => "no_route",
            DropReason::NotOpened => "not_opened",
            DropReason::ValidatorUnreachable => "validator_unreachable",
            DropReason::BlocksOnly => "blocks_only",
        }
    }
}

/// What became of a message of our own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// Its id.
    pub id: Option<MessageId>,
    /// Peers it was ordered to be queued to; none is not an error: it is announced later.
    pub sent: PeerSet,
    /// Peers it is announced to, now or in a moment.
    pub announced: PeerSet,
    /// Nodes it was sealed to and routed to.
    pub routed: Vec<NodeId>,
    /// Validators it should go to and that there is no way to.
    pub unreachable: usize,
    /// Whether it was broadcast before; then nothing is sent again.
    pub duplicate: bool,
}

/// Why a message of our own was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// A kind between neighbours.
    #[error("messages of kind {0} are not relayed")]
    WrongKind(Kind),
    /// Too long for its kind.
    #[error("{length} bytes are more than the {limit} bytes this kind may have")]
    TooLong {
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A signed kind without its signed prefix.
    #[error("the body does not start with an origin's signature")]
    NotSigned,
    /// Only validators send this kind, or the origin is no validator.
    #[error("only a validator of the current set sends this kind")]
    NotValidator,
    /// No connection, no peers, or no known sealing key.
    #[error("no way to reach this node")]
    NoRoute,
}
