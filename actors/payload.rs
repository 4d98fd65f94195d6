//! What a chain hands to the network and gets from it.

use actix::MessageResponse;
use bytes::Bytes;
use peerstage_core::{
    identity::{NodeId, PublicKey},
    kinds::Kind,
    messages::{MessageId, Topic},
    time::Time,
};

/// A type a chain sends and receives. [`Block`], [`Transaction`], [`Proposal`] and [`Vote`] are
/// bytes and need nothing; a chain's own types implement this, usually as [`Kind::Custom`] with a
/// topic of their own.
pub trait Payload: Sized + Send + 'static {
    /// How it travels: lane, limits, relay mode.
    const KIND: Kind;
    /// Tells a chain's own types apart; 0 for the kinds that need no topic.
    const TOPIC: Topic;

    /// Its bytes on the wire.
    fn encode(&self) -> Bytes;

    /// Reads it back.
    ///
    /// # Errors
    /// [`PayloadError`]: the peer that sent the bytes is at fault.
    fn decode(bytes: Bytes) -> Result<Self, PayloadError>;
}

/// Bytes that are not the payload they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload does not decode: {0}")]
pub struct PayloadError(pub String);

/// The chain's judgement of what it received; the network forwards nothing without it.
#[derive(Clone, Debug, PartialEq, Eq, MessageResponse)]
pub enum Verdict {
    /// Valid: forward it, credit the peer.
    Accept,
    /// Not wrong, but not worth forwarding (old, known, not judgeable now).
    Ignore,
    /// Invalid, now and for ever: don't forward it, penalise whoever sends it. The reason shows
    /// in `explain`. What another node may judge differently is [`Verdict::Ignore`].
    Reject(String),
}

impl From<Verdict> for peerstage_core::relay::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Accept => Self::Accept,
            Verdict::Ignore => Self::Ignore,
            Verdict::Reject(reason) => Self::Reject(reason),
        }
    }
}

/// A payload as it arrived.
#[derive(Clone, Debug)]
pub struct Inbound<P> {
    /// What arrived.
    pub payload: P,
    /// The neighbour it came from, not its author.
    pub from: NodeId,
    /// The validator that signed it, for proposals and votes.
    pub origin: Option<PublicKey>,
    /// Its id, the hash of its bytes; none if it was sent to this node alone, where the same
    /// words may be said twice.
    pub id: Option<MessageId>,
    /// Hops it took.
    pub hops: u8,
    /// When its first byte arrived.
    pub first_byte: Time,
}

impl<P: Payload> actix::Message for Inbound<P> {
    type Result = Verdict;
}

/// What happened to a message that was handed to the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Delivery {
    /// Peers to which it is queued, and nodes to which it is on its way sealed.
    pub queued: usize,
    /// Peers that learn of it by announcement and then ask for it: because a few others are
    /// pushed it, or because their queue was full.
    pub lazy: usize,
    /// Nodes it will not reach from here: there is no way to a validator, or it was for one node
    /// alone and no queue on the way took it.
    pub dropped: usize,
}

macro_rules! payload_of_bytes {
    ($(#[$doc:meta])* $name:ident = $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name(pub Bytes);

        impl Payload for $name {
            const KIND: Kind = $kind;
            const TOPIC: Topic = Topic(0);

            fn encode(&self) -> Bytes {
                self.0.clone()
            }

            fn decode(bytes: Bytes) -> Result<Self, PayloadError> {
                Ok($name(bytes))
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(bytes: Vec<u8>) -> Self {
                $name(bytes.into())
            }
        }

        impl From<&'static str> for $name {
            fn from(text: &'static str) -> Self {
                $name(Bytes::from_static(text.as_bytes()))
            }
        }
    };
}

payload_of_bytes!(
    /// A block, opaque to the network.
    Block = Kind::Block
);
payload_of_bytes!(
    /// A transaction, opaque to the network.
    Transaction = Kind::Transaction
);
payload_of_bytes!(
    /// A consensus proposal; the network signs it with the validator's key.
    Proposal = Kind::Proposal
);
payload_of_bytes!(
    /// A consensus vote; the network signs it with the validator's key.
    Vote = Kind::Vote
);
