//! Every message kind, in one table: code, documentation and `peerstage explain kinds` read it.

mod shown;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use shown::table_as_markdown;

use crate::{rate::TokenBucket, time::Time};

/// A message kind as it travels: one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// First message of both sides: who I am and what I can do.
    Hello = 1,
    /// Are you there? Answered by [`Kind::Pong`] with the same nonce.
    Ping = 2,
    /// The answer to a ping.
    Pong = 3,
    /// The last message of a connection: why it ends.
    Disconnect = 4,
    /// From now on so many bytes a second are taken.
    Takes = 5,
    /// Asks for node records.
    PeersRequest = 10,
    /// Signed node records.
    Peers = 11,
    /// A question of discovery ([`crate::kademlia::Query`]).
    DiscoveryQuery = 12,
    /// The answer to one ([`crate::kademlia::Answer`]).
    DiscoveryAnswer = 13,
    /// A block, opaque to the network.
    Block = 20,
    /// A transaction, opaque to the network.
    Transaction = 21,
    /// Ids of messages the sender has and can serve.
    Have = 22,
    /// Ids of messages the sender wants pushed.
    Want = 23,
    /// A consensus proposal, signed by its validator.
    Proposal = 30,
    /// A consensus vote, signed by its validator.
    Vote = 31,
    /// A question with an id and a deadline.
    Request = 40,
    /// The answer to a request.
    Response = 41,
    /// A sealed message to a node that the sender isn't connected to.
    Routed = 50,
    /// Asks a relay for a circuit to a node, or offers a node one ([`crate::circuits`]).
    CircuitOpen = 51,
    /// The node at the other end takes the circuit.
    CircuitOpened = 52,
    /// Bytes of a circuit.
    CircuitData = 53,
    /// So many more bytes may be sent.
    CircuitCredit = 54,
    /// A circuit is over, or was refused.
    CircuitClose = 55,
    /// A gossiped message of the chain's own, under a topic.
    Custom = 60,
}

/// The lanes of a connection, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Lane {
    /// Votes and proposals.
    Consensus = 0,
    /// Blocks.
    Blocks = 1,
    /// Pings, peer exchange, announcements.
    Control = 2,
    /// Transactions.
    Transactions = 3,
    /// Everything that may wait.
    Bulk = 4,
}

/// How many lanes there are.
pub const LANES: usize = 5;

/// What happens to a message when the queue to a peer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The caller is told that it was not queued.
    Reject,
    /// The message is dropped and counted; the peer learns of it by announcement later.
    DropNewest,
    /// The oldest message of the lane makes room.
    DropOldest,
    /// A queued message of the same kind is replaced.
    Coalesce,
    /// The peer reads too slowly to be useful: the connection ends.
    Disconnect,
}

/// Who may send a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    /// Any peer.
    Anyone,
    /// Only a peer that proved to be a validator.
    Validator,
}

/// How a kind spreads unless the configuration says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayMode {
    /// To every peer that does not have it.
    Flood,
    /// To peers whose score reaches the relay threshold, else to the best few.
    Selective,
    /// To proven validators only.
    ValidatorOnly,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct KindRow {
    /// The kind.
    pub kind: Kind,
    /// Its name in configuration, logs, metrics and documents.
    pub name: &'static str,
    /// The lane it travels in.
    pub lane: Lane,
    /// The longest body, bytes.
    pub body_max: usize,
    /// Messages per second a peer may send; a sender paces itself to this.
    pub rate_per_second: u32,
    /// Messages a peer may send at once before the rate applies.
    pub burst: u32,
    /// Bytes of this kind that may wait in the queue to one peer.
    pub queue_bytes: usize,
    /// What a full queue does.
    pub overflow: Overflow,
    /// Who may send it.
    pub sender: Sender,
    /// Whether the body starts with an origin's signature ([`crate::messages::Signed`]).
    pub signed: bool,
    /// How it spreads; `None` for messages between two neighbours.
    pub relay: Option<RelayMode>,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The longest body of any kind, bytes: a block (row [`Kind::Block`]).
pub const BODY_MAX: usize = 4 * MIB;

const fn neighbour(
    kind: Kind,
    name: &'static str,
    body_max: usize,
    rate: u32,
    burst: u32,
) -> KindRow {
    KindRow {
        kind,
        name,
        lane: Lane::Control,
        body_max,
        rate_per_second: rate,
        burst,
        queue_bytes: 64 * KIB,
        overflow: Overflow::DropNewest,
        sender: Sender::Anyone,
        signed: false,
        relay: None,
    }
}

const fn gossip(
    kind: Kind,
    name: &'static str,
    lane: Lane,
    body_max: usize,
    rate: u32,
    burst: u32,
) -> KindRow {
    KindRow {
        lane,
        queue_bytes: 2 * MIB,
        relay: Some(RelayMode::Flood),
        ..neighbour(kind, name, body_max, rate, burst)
    }
}

/// A message of a circuit. All share a lane, so that data stays between opening and close; its queue
/// holds the windows of all circuits that one peer may have by default.
const fn circuit(k: Kind, name: &'static str, body: usize, rate: u32, burst: u32) -> KindRow {
    let queue_bytes = if body == 0 { 64 * KIB } else { 2 * MIB };
    let row = neighbour(k, name, body, rate, burst);
    KindRow { lane: Lane::Bulk, overflow: Overflow::Reject, queue_bytes, ..row }
}

/// The table. Rates are guesses with a margin of ten over the busiest public chain of each class
/// (Bitcoin 7 transactions a second, Solana 4,000), to be replaced by measurements.
pub const KINDS: [KindRow; 24] = [
    neighbour(Kind::Hello, "hello", 8 * KIB, 1, 2),
    neighbour(Kind::Ping, "ping", 16, 2, 10),
    neighbour(Kind::Pong, "pong", 16, 2, 10),
    neighbour(Kind::Disconnect, "disconnect", 256, 1, 1),
    // Shares are divided four times a second.
    KindRow { overflow: Overflow::Coalesce, ..neighbour(Kind::Takes, "takes", 16, 5, 20) },
    KindRow {
        overflow: Overflow::Coalesce,
        ..neighbour(Kind::PeersRequest, "peers_request", 16, 1, 5)
    },
    KindRow { queue_bytes: 256 * KIB, ..neighbour(Kind::Peers, "peers", 32 * KIB, 1, 10) },
    KindRow {
        overflow: Overflow::Reject,
        ..neighbour(Kind::DiscoveryQuery, "discovery_query", 2 * KIB, 50, 200)
    },
    KindRow {
        queue_bytes: 512 * KIB,
        ..neighbour(Kind::DiscoveryAnswer, "discovery_answer", 32 * KIB, 50, 200)
    },
    KindRow {
        queue_bytes: 8 * MIB,
        ..gossip(Kind::Block, "block", Lane::Blocks, BODY_MAX, 20, 64)
    },
    gossip(Kind::Transaction, "transaction", Lane::Transactions, 512 * KIB, 20_000, 40_000),
    KindRow { queue_bytes: 256 * KIB, ..neighbour(Kind::Have, "have", 17 * KIB, 100, 400) },
    KindRow { queue_bytes: 256 * KIB, ..neighbour(Kind::Want, "want", 17 * KIB, 100, 400) },
    KindRow {
        signed: true,
        sender: Sender::Validator,
        overflow: Overflow::DropOldest,
        relay: Some(RelayMode::ValidatorOnly),
        queue_bytes: 8 * MIB,
        ..gossip(Kind::Proposal, "proposal", Lane::Consensus, BODY_MAX, 50, 200)
    },
    KindRow {
        signed: true,
        sender: Sender::Validator,
        overflow: Overflow::DropOldest,
        relay: Some(RelayMode::ValidatorOnly),
        ..gossip(Kind::Vote, "vote", Lane::Consensus, 4 * KIB, 10_000, 20_000)
    },
    KindRow {
        lane: Lane::Bulk,
        overflow: Overflow::Reject,
        queue_bytes: MIB,
        ..neighbour(Kind::Request, "request", 256 * KIB, 500, 1_000)
    },
    KindRow {
        lane: Lane::Bulk,
        overflow: Overflow::Disconnect,
        queue_bytes: 8 * MIB,
        ..neighbour(Kind::Response, "response", BODY_MAX, 1_000, 2_000)
    },
    KindRow {
        lane: Lane::Bulk,
        overflow: Overflow::Reject,
        queue_bytes: MIB,
        ..neighbour(Kind::Routed, "routed", 128 * KIB, 200, 400)
    },
    circuit(Kind::CircuitOpen, "circuit_open", 0, 100, 400),
    circuit(Kind::CircuitOpened, "circuit_opened", 0, 100, 400),
    // 64 MB a second in full messages; a lone vote is one too.
    circuit(Kind::CircuitData, "circuit_data", 16 * KIB, 4_000, 8_000),
    circuit(Kind::CircuitCredit, "circuit_credit", 0, 4_000, 8_000),
    circuit(Kind::CircuitClose, "circuit_close", 0, 100, 400),
    KindRow {
        overflow: Overflow::Reject,
        ..gossip(Kind::Custom, "custom", Lane::Bulk, MIB, 1_000, 2_000)
    },
];

/// The kind of each wire byte: looked up once a message, so it is no search.
const BY_BYTE: [Option<Kind>; 64] = {
    let mut kinds = [None; 64];
    let mut at = 0;
    while at < KINDS.len() {
        kinds[KINDS[at].kind as usize] = Some(KINDS[at].kind);
        at += 1;
    }
    kinds
};

impl KindRow {
    /// The bucket of messages of this kind at `factor` times its rate, with `tolerance` bursts.
    #[must_use]
    pub fn bucket(&self, now: Time, factor: u32, tolerance: u32) -> TokenBucket {
        let burst = self.burst.saturating_mul(factor).saturating_mul(tolerance);
        TokenBucket::new(now, self.rate_per_second.saturating_mul(factor), burst)
    }
}

impl Kind {
    /// The kind of a wire byte.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Kind> {
        BY_BYTE.get(usize::from(byte)).copied().flatten()
    }

    /// The wire byte.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// The kind of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Kind> {
        KINDS.iter().find(|row| row.name == name).map(|row| row.kind)
    }

    /// This kind's row of the table.
    #[must_use]
    pub const fn row(self) -> &'static KindRow {
        &KINDS[self.index()]
    }

    /// Whether it is one of the two that a visit may carry.
    #[must_use]
    pub const fn is_discovery(self) -> bool {
        matches!(self, Kind::DiscoveryQuery | Kind::DiscoveryAnswer)
    }

    /// The name in configuration, logs, metrics and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Position in [`KINDS`], for arrays with one cell a kind.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Kind::Hello => 0,
            Kind::Ping => 1,
            Kind::Pong => 2,
            Kind::Disconnect => 3,
            Kind::Takes => 4,
            Kind::PeersRequest => 5,
            Kind::Peers => 6,
            Kind::DiscoveryQuery => 7,
            Kind::DiscoveryAnswer => 8,
            Kind::Block => 9,
            Kind::Transaction => 10,
            Kind::Have => 11,
            Kind::Want => 12,
            Kind::Proposal => 13,
            Kind::Vote => 14,
            Kind::Request => 15,
            Kind::Response => 16,
            Kind::Routed => 17,
            Kind::CircuitOpen => 18,
            Kind::CircuitOpened => 19,
            Kind::CircuitData => 20,
            Kind::CircuitCredit => 21,
            Kind::CircuitClose => 22,
            Kind::Custom => 23,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Lane {
    /// The lane of a wire byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Lane> {
        match byte {
            0 => Some(Lane::Consensus),
            1 => Some(Lane::Blocks),
            2 => Some(Lane::Control),
            3 => Some(Lane::Transactions),
            4 => Some(Lane::Bulk),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
