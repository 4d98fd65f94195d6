//! The numbers, orders and errors of the request machine.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ServeTicket;
use crate::{
    identity::NodeId,
    messages::{Outgoing, Topic},
    time::{Millis, Time},
};

/// Numbers of the request machine. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestConfig {
    /// Own requests open at a time.
    pub open_max: usize,
    /// Bytes of the bodies of own open requests.
    pub open_bytes_max: usize,
    /// Own requests in flight to one peer.
    pub open_per_peer: usize,
    /// Time one peer has, when another could be asked instead (stall timer, attack row 39).
    pub attempt_ms: Millis,
    /// Peers tried for one request.
    pub attempts_max: usize,
    /// The longest deadline of a request, own or of others.
    pub deadline_ms_max: u32,
    /// Requests served at a time.
    pub serving_max: usize,
    /// Requests served at a time for one peer; each counts until the work for it has ended.
    pub serving_per_peer: usize,
    /// Bytes of requests being served.
    pub serving_bytes_max: usize,
    /// Cost a second one peer may cause; four seconds' worth at once. One unit is a byte.
    pub cost_per_second: u64,
    /// What a request costs besides its bytes and those of its answer.
    pub cost_per_request: u64,
    /// The longest answer, bytes (geth's soft limit is the same).
    pub answer_max: usize,
}

impl Default for RequestConfig {
    fn default() -> Self {
        RequestConfig {
            open_max: 4_096,
            open_bytes_max: 16 * 1024 * 1024,
            open_per_peer: 64,
            attempt_ms: 2_000,
            attempts_max: 4,
            deadline_ms_max: 60_000,
            serving_max: 1_024,
            serving_per_peer: 64,
            serving_bytes_max: 32 * 1024 * 1024,
            cost_per_second: 4 * 1024 * 1024,
            cost_per_request: 4 * 1024,
            answer_max: 2 * 1024 * 1024,
        }
    }
}

/// Names one of our requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This peer and no other.
    Peer(NodeId),
    /// Any peer; another one if it fails.
    Any,
    /// One of the so many best by score at that moment; another if it fails.
    Best(usize),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No peer to ask, or none left.
    #[error("no peer to ask")]
    NoPeers,
    /// The deadline passed.
    #[error("no answer before the deadline")]
    Timeout,
    /// The peer has too much to do, or we asked too much of it.
    #[error("the peer is busy")]
    Busy,
    /// The peer does not serve this topic.
    #[error("the peer does not serve this topic")]
    Unsupported,
    /// The peer tried and failed.
    #[error("the peer failed to answer")]
    Failed,
    /// The connection ended first.
    #[error("the connection ended")]
    Disconnected,
    /// The question is too long.
    #[error("{length} bytes are more than the {limit} bytes a request may have")]
    TooLong {
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Too many of our own requests are open.
    #[error("too many requests are open")]
    TooMany,
}

/// Protocol faults of answers and questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestFault {
    /// Bytes that are not a message.
    MalformedMessage,
    /// An answer to nothing, or two open requests under one id.
    ProtocolViolation,
}

impl RequestFault {
    /// The name scoring and logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RequestFault::MalformedMessage => "malformed_message",
            RequestFault::ProtocolViolation => "protocol_violation",
        }
    }
}

/// How well a peer serves; never a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// It answered after so many milliseconds.
    Answered(Millis),
    /// It did not answer in time.
    Timeout,
}

/// An order to the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestAction {
    /// Queue a message; if a request is refused, call [`super::Requests::on_queue_refused`].
    Send {
        /// To whom.
        to: NodeId,
        /// Which of our requests it is, if it is one.
        id: Option<RequestId>,
        /// The message.
        message: Outgoing,
    },
    /// A request of ours is over.
    Complete {
        /// Which.
        id: RequestId,
        /// Who answered, and the answer.
        result: Result<(NodeId, Bytes), RequestError>,
    },
    /// Answer a peer's question with [`super::Requests::on_answer`] before the deadline. Call it
    /// once for each question, also where the answer comes too late: it frees the place.
    Serve {
        /// Names the question.
        ticket: ServeTicket,
        /// Who asks.
        peer: NodeId,
        /// What about.
        topic: Topic,
        /// The question.
        body: Bytes,
        /// When an answer is of no use any more.
        deadline: Time,
    },
    /// Nobody waits for this answer any more: break the work off, then say so with
    /// [`super::Requests::on_answer`].
    Abandon(ServeTicket),
    /// A protocol fault.
    Penalise {
        /// Whose.
        peer: NodeId,
        /// Which.
        fault: RequestFault,
    },
    /// A service observation.
    Observe {
        /// Of whom.
        peer: NodeId,
        /// What.
        service: Service,
    },
    /// Count something that was not done: `late_response`, `busy`, `late_answer`, ...
    Count(&'static str),
}
