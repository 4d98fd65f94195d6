//! What Discovery is told and asked.

use actix::Message;
use peerstage_core::{
    address::Address,
    identity::NodeId,
    kademlia::{ClaimPurpose, Contact, KademliaStatus, Wish},
    manager::SessionId,
    record::{SignedRecord, VerifiedRecord},
};

use super::{Answered, SeedAnswers};
use crate::peer::{Arrivals, Outbox};

/// What comes to discovery through its queue, in order.
#[derive(Debug)]
pub enum ToDiscovery {
    /// Somebody can be asked: a peer, or a visit.
    Up(Box<Contact>, Outbox),
    /// Questions and answers.
    Arrivals(Arrivals),
    /// This connection is gone.
    Down(SessionId),
    /// A visit could not be made.
    VisitFailed {
        /// Whom it was meant for.
        peer: NodeId,
        /// Whether that says anything of the node.
        blame: bool,
    },
    /// A newer record of some node.
    Record(Box<VerifiedRecord>),
    /// A node is being dialled of which no record is known.
    Missing(NodeId),
    /// The node's own record was signed anew.
    OwnRecord(Box<SignedRecord>),
    /// Multicast DNS named a node of this network.
    Lan {
        /// Who must answer.
        node: NodeId,
        /// Where.
        address: Address,
    },
    /// The DNS seeds were asked.
    Seeds(Box<SeedAnswers>),
}

/// Find or publish something; the answer comes when that is done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Seek {
    /// What.
    pub(crate) wish: Wish,
    /// Where the end is told.
    pub(crate) answer: Answered,
}

/// Something of this node's own is not kept alive any more; answers whether it was.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub(crate) struct Withdraw(pub(crate) Publication);

/// How discovery is doing.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "DiscoveryReport")]
pub struct DiscoveryQuery;

/// Its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscoveryReport(pub KademliaStatus);

/// Names something that this node keeps alive at others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication {
    /// What it says.
    pub purpose: ClaimPurpose,
    /// The name, key or namespace: a hash.
    pub name: [u8; 32],
}
