//! What the NetworkManager is told and asked.

use std::collections::{BTreeMap, BTreeSet};

use actix::Message;
use peerstage_core::{
    address::{Address, NetworkGroup},
    config::PeerAddress,
    identity::{NodeId, PublicKey},
    manager::{ManagerStatus, NameId, Place, SessionId},
    record::VerifiedRecord,
    time::{Millis, Time},
};

/// Connects to an address and keeps at it. Answers whether it is dialled from now on.
#[derive(Clone, Debug, Message)]
#[rtype(result = "bool")]
pub struct Connect {
    /// Where, and who must answer if it is known.
    pub target: PeerAddress,
    /// Who names it.
    pub named: Named,
}

/// Who names a node to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The configuration, by a name of a bootstrap node, which has no place of its own.
    Bootstrap(NameId),
    /// The configuration, by a name of a persistent peer.
    Persistent(NameId),
    /// The configuration, by a name that leads elsewhere now.
    Moved(NameId),
    /// DNS or the local network.
    Found,
    /// The operator or the chain, until it is disconnected.
    Now,
}

/// Disconnects a peer; answers whether it was connected.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct Disconnect {
    /// The peer.
    pub peer: NodeId,
}

/// From discovery: connect to this node for questions.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Visit {
    /// Whom.
    pub(crate) peer: NodeId,
    /// Where it says it is.
    pub(crate) addresses: Vec<Address>,
}

/// From discovery: this visit is over.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct EndVisit(pub(crate) SessionId);

/// From discovery: a record that was learnt from a node in that neighbourhood.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Learnt {
    /// The record, verified.
    pub(crate) record: Box<VerifiedRecord>,
    /// Who told it.
    pub(crate) source: Option<NetworkGroup>,
}

/// The node's own record says something new: it is to be signed anew.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RefreshRecord;

/// The validator set.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SetValidators(pub BTreeSet<PublicKey>);

/// The connected peers, or one of them.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<PeerRow>")]
pub struct PeerQuery(pub Option<NodeId>);

/// How many peers and addresses there are.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "ManagerReport")]
pub struct ManagerQuery;

/// Says goodbye to everybody; answered when they are gone.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Shutdown;

/// A connected peer, without its score.
#[derive(Clone, Debug)]
pub struct PeerRow {
    /// Who.
    pub peer: NodeId,
    /// Where.
    pub address: Address,
    /// Its neighbourhood.
    pub group: NetworkGroup,
    /// Its place.
    pub place: Place,
    /// Whether the connection carries blocks and no other gossip.
    pub blocks_only: bool,
    /// Whether we dialled.
    pub outbound: bool,
    /// Whether we dialled through a hole in its NAT.
    pub punched: bool,
    /// The validator it proved to speak for.
    pub validator: Option<PublicKey>,
    /// Its software.
    pub agent: String,
    /// What its operator says about it.
    pub metadata: BTreeMap<String, String>,
    /// The Noise suite.
    pub suite: &'static str,
    /// Since when.
    pub since: Time,
    /// The last measured round trip, ms.
    pub round_trip_ms: Option<Millis>,
    /// Bytes received from it.
    pub bytes_in: u64,
    /// Bytes sent to it.
    pub bytes_out: u64,
    /// Bytes that wait to be sent to it.
    pub queued_bytes: u64,
}

/// The manager's numbers.
#[derive(Clone, Copy, Debug)]
pub struct ManagerReport {
    /// Of the machine.
    pub status: ManagerStatus,
    /// Connected validators.
    pub validators: usize,
    /// Bytes received on connections that are gone or there.
    pub bytes_in: u64,
    /// Bytes sent on connections that are gone or there.
    pub bytes_out: u64,
}
