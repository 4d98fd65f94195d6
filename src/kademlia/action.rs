//! The numbers, orders, tasks and results of the discovery machine.

use serde::{Deserialize, Serialize};

use super::{ClaimKey, ClaimPurpose, StorageLimits, VerifiedClaim};
use crate::{
    address::{Address, NetworkGroup},
    identity::NodeId,
    manager::SessionId,
    messages::Outgoing,
    record::VerifiedRecord,
    time::Millis,
};

/// Numbers of the machine. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KademliaConfig {
    /// Whether this node takes part; else it asks and answers nothing.
    pub enabled: bool,
    /// How long an answer may take on a connection that is there.
    pub query_timeout: Millis,
    /// The same with the dial before it.
    pub visit_timeout: Millis,
    /// How long a lookup may take in all.
    pub task_timeout: Millis,
    /// Lookups and other tasks at a time; more are refused.
    pub tasks_max: usize,
    /// Connections for questions alone that are being opened at a time.
    pub visits_max: usize,
    /// How long such a connection is kept without a question.
    pub visit_idle: Millis,
    /// How often a random point is looked up, so that the address book and the table are fed.
    pub walk_interval: Millis,
    /// How old a bucket may become without a lookup in it (Kademlia: 1 h).
    pub refresh_interval: Millis,
    /// How often this node's own claims are published anew (Kademlia: 1 h).
    pub republish_interval: Millis,
    /// How long they live. A reader may be this far behind a claim that was withdrawn.
    pub claim_life: Millis,
    /// Own claims that are kept alive.
    pub publications_max: usize,
    /// Whether addresses that no stranger reaches count, for networks of one's own.
    pub allow_private: bool,
    /// What is kept for others.
    pub storage: StorageLimits,
}

impl Default for KademliaConfig {
    fn default() -> Self {
        KademliaConfig {
            enabled: true,
            query_timeout: 4_000,
            visit_timeout: 12_000,
            task_timeout: 60_000,
            tasks_max: 64,
            visits_max: 16,
            visit_idle: 5_000,
            walk_interval: 5 * 60 * 1000,
            refresh_interval: 60 * 60 * 1000,
            republish_interval: 60 * 60 * 1000,
            claim_life: 6 * 60 * 60 * 1000,
            publications_max: 1_024,
            allow_private: false,
            storage: StorageLimits::default(),
        }
    }
}

/// Names a task of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// Names a question of ours; also its id on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

/// What the application wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A node's record, or those of the closest nodes there are.
    FindNode(NodeId),
    /// Claims at a point of the space.
    Find(ClaimPurpose, [u8; 32]),
    /// A value of this node's own, under this name, kept alive until it is withdrawn.
    Publish {
        /// What is said.
        purpose: ClaimPurpose,
        /// The name, key or namespace: a hash.
        name: [u8; 32],
        /// The value; empty for what is no value.
        value: Vec<u8>,
    },
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The nodes that answered closest to the point, closest first.
    Nodes(Vec<VerifiedRecord>),
    /// The claims that were found, of each signer the newest.
    Claims(Vec<VerifiedClaim>),
    /// So many nodes keep the claim.
    Stored(usize),
}

/// Why a task has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum DiscoveryError {
    /// Too many are under way.
    #[error("too many tasks of discovery are under way")]
    TooMany,
    /// Nobody to ask.
    #[error("no node is known to ask")]
    NoNodes,
    /// The value is longer than a claim may carry.
    #[error("a value has at most {} bytes", super::PAYLOAD_MAX)]
    TooLong,
    /// Nobody took the claim.
    #[error("no node took the claim")]
    NotStored,
    /// It took too long, and nothing was found.
    #[error("timed out")]
    Timeout,
    /// Discovery over the network is switched off here.
    #[error("discovery is switched off")]
    Off,
}

/// A node that this one can talk to now.
#[derive(Clone, Debug)]
pub struct Contact {
    /// Its connection.
    pub session: SessionId,
    /// Its own record.
    pub record: VerifiedRecord,
    /// Where it is: where we dialled it, or where it came from.
    pub address: Address,
    /// Whether we dialled it.
    pub outbound: bool,
    /// Whether the connection is for questions alone.
    pub visit: bool,
    /// The neighbourhood it was seen in; `None` where limits make no sense.
    pub group: Option<NetworkGroup>,
}

/// What a node did wrong. The scoring decides what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KademliaFault {
    /// A question or an answer that is none.
    Malformed,
    /// A record or claim that can't be true.
    Forged,
    /// An answer nobody asked for.
    Unasked,
}

/// An order to the shell, to be carried out in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Queue this to a contact.
    Send {
        /// On this connection.
        session: SessionId,
        /// The question's name, if it is one: a full queue fails it.
        query: Option<QueryId>,
        /// What.
        message: Outgoing,
    },
    /// Connect to a node for questions: then `on_contact_up` or `on_visit_failed`.
    Visit {
        /// Whom.
        peer: NodeId,
        /// Where it says it is, best first.
        addresses: Vec<Address>,
    },
    /// A connection for questions is not needed any more.
    EndVisit(SessionId),
    /// A record that was learnt from a node in this neighbourhood, for the address book.
    Learnt {
        /// The record.
        record: Box<VerifiedRecord>,
        /// Who told it.
        source: Option<NetworkGroup>,
    },
    /// A node broke a rule.
    Penalise {
        /// Who.
        peer: NodeId,
        /// How.
        fault: KademliaFault,
    },
    /// A task ended; each ends exactly once.
    Complete {
        /// Which.
        task: TaskId,
        /// How.
        result: Result<Outcome, DiscoveryError>,
    },
    /// Keep a node of the table in the store.
    PersistNode(Box<VerifiedRecord>),
    /// Forget one.
    ForgetNode(NodeId),
    /// Keep a claim in the store.
    PersistClaim(Box<VerifiedClaim>),
    /// Forget one.
    ForgetClaim(ClaimKey),
    /// A counter goes up.
    Count(&'static str),
}

/// Numbers for people and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KademliaStatus {
    /// Nodes in the routing table.
    pub nodes: usize,
    /// Of these, the ones that this node reached itself.
    pub reached: usize,
    /// Claims kept for others.
    pub claims: usize,
    /// Claims of this node that are kept alive.
    pub publications: usize,
    /// Tasks under way.
    pub tasks: usize,
    /// Connections for questions alone.
    pub visits: usize,
}
