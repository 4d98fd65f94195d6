//! The bridges: where the chain's code meets the network.
//!
//! A bridge hands what arrived to the chain's handler and its verdict back to the relay. Nothing
//! is forwarded before. A handler that panics or hangs costs its message and a counter, never
//! the peer that sent it.

mod blockchain;
mod consensus;
mod handlers;
mod judging;
mod monitoring;

use std::sync::Arc;

use peerstage_core::{
    identity::NodeId,
    kinds::Kind,
    messages::MessageId,
    relay::{Delivered, VerdictTicket},
    time::Time,
};

pub use blockchain::{BlockchainBridge, DirectCounts, Watching};
pub use consensus::{ConsensusBridge, Publish, Signing};
pub(crate) use handlers::label as verdict_label;
pub use handlers::{Handler, Handlers, closure_handler, recipient_handler};
pub use judging::Judging;
pub use monitoring::{MonitoringBridge, Notice, Subscribe, Subscription};

use crate::{payload::Verdict, shell::BytePermit};

/// From the MessageRelay: the chain's verdict on this, please.
#[derive(Debug)]
pub struct Judge {
    /// Names the message.
    pub ticket: VerdictTicket,
    /// The message.
    pub message: Delivered,
    /// Its share of its peer's budget; given back with the verdict.
    pub permit: Option<Arc<BytePermit>>,
}

/// To the MessageRelay: the chain's verdict.
#[derive(Debug)]
pub struct Judged {
    /// Names the message.
    pub ticket: VerdictTicket,
    /// What the chain said.
    pub verdict: Verdict,
    /// What it was about; `None` if no handler was asked.
    pub about: Option<About>,
}

/// The message a verdict is about, for counters and events.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: MessageId,
    /// The neighbour it came from.
    pub from: NodeId,
    /// When its first byte arrived.
    pub first_byte: Time,
}

/// Messages that may wait for a bridge; the relay's own bound on pending verdicts is lower, so
/// this is never reached.
pub(crate) const JUDGE_QUEUE: usize = 65_536;
