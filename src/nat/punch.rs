//! What two nodes that punch say to each other, and what a punch wants of its actor.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Mapping;
use crate::{address::Address, codec::Capped, identity::NodeId, time::Millis};

/// Addresses of an offer.
pub const CANDIDATES_MAX: usize = 8;

/// The longest message of a punch, bytes: a nonce, two numbers, a key and eight addresses.
pub const MESSAGE_MAX: usize = 256;

/// What a message of a punch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PunchStep {
    /// Let us punch; here I am.
    Offer,
    /// Yes; here am I.
    Answer,
    /// Begin now.
    Go,
}

/// A message of a punch, as it travels inside a sealed message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PunchMessage {
    /// Names the try, and makes its probes.
    pub nonce: [u8; 16],
    /// What it is for.
    pub step: PunchStep,
    /// How the sender's NAT maps: 0 unknown, 1 none, 2 endpoint-independent, 3 address-dependent.
    pub mapping: u8,
    /// The sender's Noise key, which the answer is sealed to.
    pub noise_key: [u8; 32],
    /// Where the sender's UDP port may be.
    pub candidates: Capped<Address, CANDIDATES_MAX>,
}

/// Orders to the actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PunchAction {
    /// Send this, sealed to the node's Noise key if that is given, through common peers.
    Tell(NodeId, Option<[u8; 32]>, PunchMessage),
    /// Send this from the node's UDP port.
    Probe(SocketAddr, [u8; 20]),
    /// Somebody answers there: connect over QUIC.
    Dial(NodeId, Address),
    /// It is over.
    Ended(Punched),
}

/// How a punch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PunchOutcome {
    /// A connection with a machine that was sent to.
    Connected,
    /// A connection by another way, before anything was sent or to another place.
    Unneeded,
    /// No connection.
    Failed,
}

impl PunchOutcome {
    /// In a word, for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PunchOutcome::Connected => "connected",
            PunchOutcome::Unneeded => "unneeded",
            PunchOutcome::Failed => "failed",
        }
    }
}

/// What came of a punch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Punched {
    /// With whom.
    pub peer: NodeId,
    /// How it ended.
    pub outcome: PunchOutcome,
    /// How long it took from the first offer, ms.
    pub took: Millis,
    /// How the NATs map: ours, theirs.
    pub mappings: [Mapping; 2],
}

pub(super) fn code_of(mapping: Mapping) -> u8 {
    match mapping {
        Mapping::Unknown | Mapping::Blocked => 0,
        Mapping::Direct => 1,
        Mapping::EndpointIndependent => 2,
        Mapping::AddressDependent => 3,
    }
}

pub(super) fn mapping_of(code: u8) -> Mapping {
    match code {
        1 => Mapping::Direct,
        2 => Mapping::EndpointIndependent,
        3 => Mapping::AddressDependent,
        _ => Mapping::Unknown,
    }
}
