//! What the MessageRelay is told and asked.

use std::{collections::BTreeMap, sync::Arc};

use actix::Message;
use bytes::Bytes;
use peerstage_core::{
    identity::{NodeId, PublicKey},
    kinds::{Kind, RelayMode},
    messages::Topic,
    relay::{DropReason, RelayError, RelayFault, VerdictTicket},
    scoring::Fault,
};
use tokio::sync::oneshot;

use crate::{network::SendError, payload::Delivery, shell::BytePermit, status::KindCounts};

/// From the chain: spread this.
#[derive(Debug, Message)]
#[rtype(result = "Result<Delivery, SendError>")]
pub struct Broadcast {
    /// Its kind.
    pub kind: Kind,
    /// Its topic, for custom messages.
    pub topic: Topic,
    /// Its body; signed kinds signed.
    pub body: Bytes,
}

/// From the chain, through the relay's intake: spread or send this, and tell what became of it.
#[derive(Debug)]
pub struct Order {
    /// To one node, or to all.
    pub to: Option<NodeId>,
    /// The key that it is sealed to, for one node alone, where that is not the one of a record.
    pub sealed_to: Option<[u8; 32]>,
    /// Its kind.
    pub kind: Kind,
    /// Its topic, for custom messages.
    pub topic: Topic,
    /// Its body.
    pub body: Bytes,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Delivery, SendError>>,
}

/// From the NetworkManager: a verified record of some node.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RecordSeen {
    /// Whose.
    pub node: NodeId,
    /// Its key for sealed messages.
    pub noise_key: [u8; 32],
    /// The validator it speaks for, by its record.
    pub validator: Option<PublicKey>,
}

/// From the chain: how a kind spreads from now on.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SetMode {
    /// The kind.
    pub kind: Kind,
    /// Its mode.
    pub mode: RelayMode,
}

/// How many messages of each kind, and what was not done and why.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Counts")]
pub struct CountsQuery;

/// The relay's counters.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// By kind.
    pub kinds: BTreeMap<Kind, KindCounts>,
    /// What was not done, by reason.
    pub drops: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub(super) fn of(&mut self, kind: Kind) -> &mut KindCounts {
        self.kinds.entry(kind).or_default()
    }

    pub(super) fn dropped(&mut self, kind: Kind, reason: DropReason, count: u64) {
        if reason == DropReason::Duplicate {
            self.of(kind).duplicates += count;
        }
        *self.drops.entry(reason.name()).or_default() += count;
        metrics::counter!(
            "peerstage_relay_not_done_total", "kind" => kind.name(), "reason" => reason.name()
        )
        .increment(count);
    }
}

/// From a worker: whether a signature is good.
#[derive(Debug)]
pub(crate) struct Verified {
    /// Names the message.
    pub(crate) ticket: VerdictTicket,
    /// Whether it is.
    pub(crate) valid: bool,
    /// The message's share of its peer's budget.
    pub(crate) permit: Option<Arc<BytePermit>>,
}

/// From a worker: all that one run of it checked, in one crossing.
#[derive(Debug)]
pub(crate) struct VerifiedRun(pub(crate) Vec<Verified>);

impl From<RelayError> for SendError {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::WrongKind(kind) => SendError::WrongKind(kind),
            RelayError::TooLong { length, limit } => SendError::TooLong { length, limit },
            RelayError::NotSigned | RelayError::NotValidator => SendError::NotValidator,
            RelayError::NoRoute => SendError::NoRoute,
        }
    }
}

/// The scoring fault that a relay fault is.
pub(super) fn fault_of(fault: RelayFault) -> Fault {
    match fault {
        RelayFault::InvalidBlock => Fault::InvalidBlock,
        RelayFault::InvalidTransaction => Fault::InvalidTransaction,
        RelayFault::InvalidVote => Fault::InvalidVote,
        RelayFault::WrongRole => Fault::WrongRole,
        RelayFault::MalformedMessage => Fault::MalformedMessage,
        RelayFault::DuplicateFlood => Fault::DuplicateFlood,
        RelayFault::Replay => Fault::Replay,
        RelayFault::ProtocolViolation => Fault::ProtocolViolation,
    }
}
