//! What the NatTraversal actor hears and says.

use actix::Message;
use peerstage_core::{
    address::Address,
    identity::NodeId,
    nat::{Candidate, Reachability},
};

/// From the NetworkManager, through a queue and so in order.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    /// A peer has its slot, and says where it sees this node.
    At {
        /// The peer.
        peer: NodeId,
        /// Where it is.
        remote: Address,
        /// Whether this node dialled it.
        outbound: bool,
        /// Where it sees this node.
        observed: Address,
    },
    /// An address is being dialled.
    Dialled(Address),
    /// A peer is gone.
    Gone(NodeId),
}

/// To the NetworkManager: strangers should try these; the record is signed anew.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct OwnAddresses(pub Vec<Candidate>);

/// Asks what is known.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Reachability")]
pub struct ReachabilityQuery;

/// The node stops: what the router maps is given back.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct GiveBack;
