//! What an operator can ask of a node, and what it answers.

use std::{fmt, str::FromStr, time::Duration};

use actix::Message;
use bytes::Bytes;
use peerstage_core::{
    config::PeerAddress,
    identity::{NodeId, PublicKey},
    kinds::{Kind, KindRow, RelayMode},
    messages::Topic,
    scoring::{BanRecord, Explanation},
};
use serde::{Deserialize, Serialize};

use super::checks::Readiness;
use crate::{
    network::{SendError, Stopped},
    payload::Delivery,
    status::{PeerInfo, Status},
};

/// The fewest hexadecimal digits that may stand for a whole node id.
pub const PREFIX_DIGITS_MIN: usize = 4;

/// A peer as an operator names it: its id, or the first digits of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerName(String);

/// One request of an operator.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<AdminResponse, AdminError>")]
pub enum AdminRequest {
    /// The node at a glance.
    Status,
    /// Whether the node serves, check by check.
    Readiness,
    /// Every connected peer, best score first.
    Peers,
    /// One connected peer.
    Peer(PeerName),
    /// Why a peer has the score it has.
    Explain(PeerName),
    /// The bans in force.
    Bans,
    /// The table of message kinds.
    Kinds,
    /// Bans a peer; answered when the ban is on disk.
    Ban {
        /// Whom.
        peer: PeerName,
        /// Why, in a line.
        reason: String,
        /// How long; the configuration's `scoring.ban_duration` if `None`.
        duration: Option<Duration>,
    },
    /// Lifts a ban.
    Unban(PeerName),
    /// Connects to an address and keeps at it.
    Connect(PeerAddress),
    /// Disconnects a peer and leaves it alone for a while.
    Disconnect(PeerName),
    /// Spreads a message.
    Broadcast {
        /// Block, transaction, proposal, vote or custom.
        kind: Kind,
        /// The topic of a custom message.
        topic: Topic,
        /// The message.
        body: Bytes,
    },
    /// Changes how a kind spreads, from now on.
    SetRelayMode {
        /// The kind.
        kind: Kind,
        /// The mode.
        mode: RelayMode,
    },
    /// Replaces the validator set.
    SetValidators(Vec<PublicKey>),
    /// Stops the node.
    Shutdown,
}

/// The answer to a request, in JSON as what it holds.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum AdminResponse {
    /// To [`AdminRequest::Status`].
    Status(Box<Status>),
    /// To [`AdminRequest::Readiness`].
    Readiness(Readiness),
    /// To [`AdminRequest::Peers`].
    Peers(Vec<PeerInfo>),
    /// To [`AdminRequest::Peer`].
    Peer(Box<PeerInfo>),
    /// To [`AdminRequest::Explain`].
    Explained {
        /// For programs.
        explanation: Box<Explanation>,
        /// For people.
        text: String,
    },
    /// To [`AdminRequest::Bans`].
    Bans(Vec<BanRecord>),
    /// To [`AdminRequest::Kinds`].
    Kinds(Vec<KindRow>),
    /// To [`AdminRequest::Broadcast`].
    Delivery(Delivery),
    /// It was done, to this peer if it was about one.
    Done {
        /// Always true.
        done: bool,
        /// Its whole id.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<NodeId>,
    },
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The request makes no sense.
    #[error("{error}")]
    BadInput {
        /// What is wrong.
        error: String,
        /// What to do.
        hint: &'static str,
    },
    /// There is no such peer.
    #[error("no peer is known by {0}")]
    UnknownPeer(PeerName),
    /// The peer is known, but it is not connected.
    #[error("{0} is not connected")]
    NotConnected(NodeId),
    /// The peer is known, but it is not banned.
    #[error("{0} is not banned")]
    NotBanned(NodeId),
    /// Several peers begin with these digits.
    #[error("{count} peers begin with {name}")]
    Ambiguous {
        /// The digits.
        name: PeerName,
        /// How many.
        count: usize,
    },
    /// The network would not send it.
    #[error(transparent)]
    Send(SendError),
    /// Every event stream there may be is open.
    #[error("{max} event streams are open, which is all there may be")]
    TooManyStreams {
        /// How many.
        max: usize,
    },
    /// The network has stopped, or does not answer.
    #[error("the network has stopped")]
    Stopped,
}

impl AdminError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            AdminError::BadInput { hint, .. } => hint,
            AdminError::UnknownPeer(_) => "`peerstage peers` lists the connected ones",
            AdminError::NotConnected(_) => "`peerstage connect HOST:PORT` dials",
            AdminError::NotBanned(_) => "`peerstage bans` lists the bans in force",
            AdminError::Ambiguous { .. } => "give more digits",
            AdminError::Send(SendError::TooLong { .. }) => "`peerstage explain kinds` shows limits",
            AdminError::Send(SendError::WrongKind(_)) => {
                "use block, transaction, proposal, vote or custom"
            }
            AdminError::Send(SendError::NotValidator) => {
                "set node.role and add the key to the validator set"
            }
            AdminError::Send(SendError::NoRoute) => "wait until peers are connected",
            AdminError::Send(SendError::TooSlow) => "send less to this node, or wait",
            AdminError::TooManyStreams { .. } => "close one of them",
            AdminError::Send(SendError::Stopped) | AdminError::Stopped => {
                "the node is stopping; its log says why"
            }
        }
    }
}

impl From<SendError> for AdminError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Stopped => AdminError::Stopped,
            other => AdminError::Send(other),
        }
    }
}

impl From<Stopped> for AdminError {
    fn from(_: Stopped) -> Self {
        AdminError::Stopped
    }
}

impl AdminResponse {
    /// Done, about nobody in particular.
    #[must_use]
    pub const fn done() -> Self {
        AdminResponse::Done { done: true, peer: None }
    }

    /// Done to a peer.
    #[must_use]
    pub const fn done_to(peer: NodeId) -> Self {
        AdminResponse::Done { done: true, peer: Some(peer) }
    }
}

/// A text that names no peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no peer; expected 4 to 64 hexadecimal digits")]
pub struct PeerNameError(String);

impl PeerName {
    /// The id, if all of it was given.
    #[must_use]
    pub fn whole(&self) -> Option<NodeId> {
        self.0.parse().ok()
    }

    /// Whether this may mean `peer`.
    #[must_use]
    pub fn matches(&self, peer: &NodeId) -> bool {
        peer.to_string().starts_with(&self.0)
    }
}

impl FromStr for PeerName {
    type Err = PeerNameError;

    fn from_str(text: &str) -> Result<Self, PeerNameError> {
        let fits = (PREFIX_DIGITS_MIN..=64).contains(&text.len());
        if !fits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            // What is echoed is short, whatever was sent.
            return Err(PeerNameError(text.chars().take(80).collect()));
        }
        Ok(PeerName(text.to_ascii_lowercase()))
    }
}

impl TryFrom<String> for PeerName {
    type Error = PeerNameError;

    fn try_from(text: String) -> Result<Self, PeerNameError> {
        text.parse()
    }
}

impl From<PeerName> for String {
    fn from(name: PeerName) -> String {
        name.0
    }
}

impl From<NodeId> for PeerName {
    fn from(peer: NodeId) -> Self {
        PeerName(peer.to_string())
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
