//! What the NatTraversal actor hears and says.

use actix::Message;
use bytes::Bytes;
use peerstage_core::{
    address::Address,
    identity::NodeId,
    nat::{Candidate, Reachability},
    time::Time,
};

/// From the NetworkManager, through a queue and so in order; and from the MessageRelay, through a
/// small one of its own, as what strangers send must not hold the rest up.
#[derive(Clone, Debug)]
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
        /// Where others reach it, if it carries circuits.
        relay: Option<Address>,
    },
    /// An address is being dialled.
    Dialled(Address),
    /// A node behind a NAT is being dialled.
    Wanted(NodeId),
    /// A peer is gone.
    Gone(NodeId),
    /// Nodes are banned until then; a time that is over lifts the ban.
    Banned(Vec<(NodeId, Time)>),
    /// A message of a punch, that its sender has sealed and signed.
    Punch {
        /// The sender.
        peer: NodeId,
        /// As it came, at most [`peerstage_core::nat::MESSAGE_MAX`] bytes.
        body: Bytes,
    },
}

/// To the NetworkManager.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum FromNat {
    /// Strangers should try these; the record is signed anew.
    OwnAddresses(Vec<Candidate>),
    /// A hole is punched, and this node answers there.
    HolePunched {
        /// The node.
        peer: NodeId,
        /// Where.
        address: Address,
    },
}

/// Asks what is known.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Reachability")]
pub struct ReachabilityQuery;

/// The node stops: what the router maps is given back.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct GiveBack;
