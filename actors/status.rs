//! What a node says about itself and its peers, to the chain and to the operator.

use std::collections::BTreeMap;

use peerstage_core::{
    address::{Address, TransportKind},
    identity::{NetworkId, NodeId, PublicKey},
    kademlia::KademliaStatus,
    nat::{Candidate, Gateway, Reachability, Verdict},
    time::{Millis, Time},
};
use serde::{Deserialize, Serialize};

/// A node at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Its software.
    pub agent: String,
    /// Its network.
    pub network: NetworkId,
    /// When it started.
    pub started: Time,
    /// How long ago that was, ms.
    pub uptime_ms: Millis,
    /// Where it listens.
    pub listen: Vec<Address>,
    /// Where strangers reach it.
    pub reach: Reach,
    /// The validator it speaks for.
    pub validator: Option<PublicKey>,
    /// Connected peers.
    pub peers: usize,
    /// Of these, the ones that dialled us.
    pub inbound: usize,
    /// Of these, the ones we dialled.
    pub outbound: usize,
    /// Connected validators.
    pub validators: usize,
    /// Bans in force.
    pub banned: usize,
    /// Node records and addresses known.
    pub known_addresses: usize,
    /// The address book and what is done with it.
    pub book: BookStatus,
    /// The routing table, what is kept for others, and visits.
    pub discovery: KademliaStatus,
    /// Traffic of every connection there was.
    pub traffic: Traffic,
    /// Messages by kind.
    pub kinds: BTreeMap<String, KindCounts>,
    /// Drops by reason.
    pub drops: BTreeMap<String, u64>,
    /// The peer store: backend and health.
    pub store: String,
    /// What the chain publishes about itself ([`crate::Network::publish`]).
    pub chain: BTreeMap<String, String>,
    /// Whether the node has as many peers as it wants and no trouble.
    pub ready: bool,
}

/// The address book and what is done with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookStatus {
    /// Addresses that were heard of.
    pub new: usize,
    /// Addresses where a node has answered.
    pub tried: usize,
    /// Node records.
    pub records: usize,
    /// Peers that we dialled to exchange blocks with and nothing else.
    pub blocks_only: usize,
    /// Of these, now or before, the ones a restart begins with.
    pub anchors: usize,
    /// Addresses dialled to see whether a node answers there.
    pub feelers: u64,
    /// Of these, the ones where one did.
    pub feelers_answered: u64,
}

/// Where strangers reach a node, as far as it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// For each transport that it listens with.
    pub transports: Vec<TransportReach>,
    /// Where strangers are told to try.
    pub addresses: Vec<OwnAddress>,
    /// How the NAT maps its UDP port, by STUN: `none`, `endpoint-independent`,
    /// `address-dependent`, `udp blocked` or `unknown`.
    pub nat: String,
}

/// Whether strangers reach a node over one transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportReach {
    /// `tcp` or `quic`.
    pub transport: String,
    /// `public`, `mapped`, `forwarded`, `punchable`, `outbound_only` or `unknown`.
    pub verdict: String,
    /// Why, in a sentence.
    pub reason: String,
    /// What the router said.
    pub gateway: String,
}

/// An address that a node tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnAddress {
    /// The address.
    pub address: Address,
    /// How it is known: `configured`, `listening`, `interface`, `mapped`, `stun`, `peers` or
    /// `relayed`.
    pub origin: String,
}

impl std::fmt::Display for OwnAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.address, self.origin)
    }
}

impl From<Reachability> for Reach {
    fn from(known: Reachability) -> Self {
        let gateway = |transport: TransportKind| {
            let said = known.gateways.iter().find(|(kind, _)| *kind == transport);
            said.map_or_else(|| Gateway::NotAsked.to_string(), |(_, said)| said.to_string())
        };
        let of = |(transport, verdict): &(TransportKind, Verdict)| TransportReach {
            transport: transport.name().to_owned(),
            verdict: verdict.name().to_owned(),
            reason: verdict.reason().to_owned(),
            gateway: gateway(*transport),
        };
        let own = |candidate: &Candidate| OwnAddress {
            address: candidate.address,
            origin: candidate.origin.name().to_owned(),
        };
        Reach {
            transports: known.verdicts.iter().map(of).collect(),
            addresses: known.candidates.iter().map(own).collect(),
            nat: known.mapping.name().to_owned(),
        }
    }
}

/// Bytes on the wire, encryption included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Received.
    pub bytes_in: u64,
    /// Sent.
    pub bytes_out: u64,
}

/// Messages of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCounts {
    /// First receipts.
    pub received: u64,
    /// Receipts of what was known.
    pub duplicates: u64,
    /// Judged valid by the chain.
    pub accepted: u64,
    /// Judged invalid by the chain.
    pub rejected: u64,
    /// Queued to peers.
    pub sent: u64,
}

/// A connected peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Who.
    pub peer: NodeId,
    /// Where.
    pub address: Address,
    /// What carries the connection, or leads to the relay that does: `tcp` or `quic`.
    pub transport: String,
    /// `direct`, `punched` through a hole in its NAT if we dialled it so, or `relayed` by the node at the
    /// address.
    pub path: String,
    /// Its network group: /16, /32 or autonomous system.
    pub group: String,
    /// Its place: `inbound`, `outbound`, `blocks_only`, `persistent`, `validator`.
    pub place: String,
    /// Whether the connection carries blocks and no other gossip.
    pub blocks_only: bool,
    /// Whether we dialled.
    pub outbound: bool,
    /// The validator it proved to speak for.
    pub validator: Option<PublicKey>,
    /// Its software.
    pub agent: String,
    /// What its operator says about it.
    pub metadata: BTreeMap<String, String>,
    /// The Noise suite of the connection, or the key agreement of QUIC's TLS.
    pub suite: String,
    /// Since when.
    pub connected: Time,
    /// For how long, ms.
    pub connected_ms: Millis,
    /// Its score, points.
    pub score: f64,
    /// Its standing: `banned`, `neutral`, `relay`, `trusted`.
    pub standing: String,
    /// The last measured round trip, ms.
    pub round_trip_ms: Option<Millis>,
    /// Its traffic.
    pub traffic: Traffic,
    /// Bytes that wait to be sent to it.
    pub queued_bytes: u64,
}
