//! What is inside the messages: a small header and a body that stays a slice of what arrived.
//!
//! Connection messages are bodies without a header. Gossiped messages have a header that is
//! rewritten at each hop and a body that never is; their id is the BLAKE3 hash of kind, topic
//! and body.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    codec::{Capped, Text},
    header::Header,
    identity::{Keypair, NetworkId, NodeId, PublicKey, Purpose, Signature, hex},
    kinds::Kind,
    time::Time,
};

/// The id of a gossiped message: BLAKE3 of the kind byte, the topic (4 bytes, little-endian) and
/// the body as received. A hop that changes any of them makes another message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct MessageId(pub [u8; 32]);

/// A topic of the chain's own messages and requests.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Topic(pub u32);

impl Topic {
    /// The network's own: [`crate::nat::PunchMessage`], inside a sealed message.
    pub const PUNCH: Topic = Topic(u32::MAX);
}

/// A message ready to be queued: encoded once, shared by all the peers it goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// What it is.
    pub kind: Kind,
    /// The header.
    pub header: Header,
    /// The body, at most the kind's `body_max`.
    pub body: Bytes,
}

/// The first message of both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Software and version, for people: `peerstage/0.1.0`.
    pub agent: Text<64>,
    /// The sender's signed record, encoded ([`crate::record::SignedRecord`]).
    pub record: Capped<u8, 2048>,
    /// The height of the sender's chain, a claim.
    pub height: u64,
    /// Where the sender sees the receiver.
    pub observed: Address,
    /// Words about the node that its operator wants peers to see: name and text.
    pub metadata: Capped<(Text<64>, Text<256>), 16>,
    /// Proof that the sender speaks for a validator.
    pub validator: Option<ValidatorProof>,
    /// What the sender takes; the receiver of the greeting sends no faster.
    pub pace: Pace,
    /// What the sender wants of the connection; only the dialler's word counts.
    pub purpose: ConnectionPurpose,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectionPurpose {
    /// To be peers: it takes a slot, and everything may be said.
    #[default]
    Peer,
    /// A few questions of discovery: it takes no slot, is short, and nothing else is heard.
    Visit,
}

/// How fast a node lets a peer send to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// How many times the rates of the table of kinds; 0 counts as 1.
    pub rate_factor: u16,
    /// Bytes a second, everything but lane 0; 0 is no limit.
    pub bytes_per_second: u64,
    /// Nothing but blocks on this connection, in either direction: no transactions, no custom
    /// messages but those to the other side alone, none of either announced, nothing sealed to
    /// be carried, no peer exchange.
    pub blocks_only: bool,
}

impl Default for Pace {
    /// The table's rates, and as many bytes as come with them.
    fn default() -> Self {
        Pace { rate_factor: 1, bytes_per_second: 0, blocks_only: false }
    }
}

/// A validator's signature over the handshake hash of this very connection
/// ([`Purpose::ValidatorSession`]), the signer's own node id first: worthless anywhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorProof {
    /// The validator's key, not the node's.
    pub key: PublicKey,
    /// Over node id (32 bytes) and handshake hash (32 bytes).
    pub signature: Signature,
}

/// Ping and pong: the nonce is chosen by the side that measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Echoed by the pong.
    pub nonce: u64,
}

/// What the sender takes from now on; lane 0 and what keeps the connection never wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takes {
    /// Bytes a second, as [`Pace::bytes_per_second`]; 0 is no limit.
    pub bytes_per_second: u64,
}

/// The last message of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnect {
    /// [`crate::reason::CloseReason`] as its code.
    pub reason: u8,
    /// When it makes sense to come back, ms from now; 0 if it is not said.
    pub retry_after_ms: u32,
}

/// Asks for at most `count` node records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersRequest {
    /// How many, at most 32.
    pub count: u8,
}

/// Signed node records, each encoded ([`crate::record::SignedRecord`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// Of the longest records, 2048 bytes, 15 fit the kind's limit.
    pub records: Capped<Capped<u8, 2048>, 32>,
}

/// Announces or asks for messages by kind and id; the body of [`Kind::Have`] and [`Kind::Want`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// At most 512 entries.
    pub items: Capped<InventoryItem, 512>,
}

/// One announced or wanted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InventoryItem {
    /// The kind's byte.
    pub kind: u8,
    /// The message.
    pub id: MessageId,
}

/// Header of every gossiped message: rewritten at each hop, so it proves nothing about the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GossipHeader {
    /// Hops taken so far; the origin sends 0.
    pub hops: u8,
    /// The chain's topic for [`Kind::Custom`], else 0.
    pub topic: Topic,
}

/// Header of [`Kind::Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHeader {
    /// Chosen by the asker, unique among its open requests on this connection.
    pub id: u64,
    /// What is asked about.
    pub topic: Topic,
    /// How long the asker will wait, ms.
    pub deadline_ms: u32,
}

/// Header of [`Kind::Response`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseHeader {
    /// The request's id.
    pub id: u64,
    /// Whether the body is an answer.
    pub status: ResponseStatus,
}

/// Header of [`Kind::DiscoveryQuery`] and [`Kind::DiscoveryAnswer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryHeader {
    /// Chosen by the asker; the answer repeats it.
    pub id: u64,
}

/// How a request ended on the serving side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResponseStatus {
    /// The body is the answer.
    Ok,
    /// Over the asker's quota, or the server has too much to do.
    Busy,
    /// Nobody serves this topic here.
    Unsupported,
    /// The server tried and failed.
    Failed,
}

/// Header of [`Kind::Routed`]; the body is sealed to `to` ([`crate::sealed`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutedHeader {
    /// The node that can open it.
    pub to: NodeId,
    /// Hops taken so far; the origin sends 0.
    pub hops: u8,
}

/// The start of a signed body ([`Kind::Proposal`], [`Kind::Vote`]): 104 bytes, then the payload.
/// The signature covers kind, stamp and payload under [`Purpose::Consensus`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The validator that made it.
    pub origin: PublicKey,
    /// When, by its wall clock.
    pub stamp: Time,
    /// Its signature.
    pub signature: Signature,
    /// What it says, opaque to the network.
    pub payload: Bytes,
}

/// Bytes in front of a signed payload: key 32, stamp 8, signature 64.
pub const SIGNED_PREFIX: usize = 32 + 8 + 64;

impl MessageId {
    /// The id of a body of a kind and topic; the topic is 0 for all kinds but [`Kind::Custom`].
    #[must_use]
    pub fn of(kind: Kind, topic: Topic, body: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind.byte()]);
        hasher.update(&topic.0.to_le_bytes());
        hasher.update(body);
        MessageId(*hasher.finalize().as_bytes())
    }
}

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// 32 bytes on the wire, hexadecimal where people read.
impl Serialize for MessageId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        self.0.serialize(serializer)
    }
}

impl std::fmt::Debug for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MessageId({})", hex(&self.0[..4]))
    }
}

impl Signed {
    /// Signs a payload as a validator and lays out the body.
    #[must_use]
    pub fn seal(
        kind: Kind,
        key: &Keypair,
        network: &NetworkId,
        stamp: Time,
        payload: &[u8],
    ) -> Bytes {
        let signature = key.sign(Purpose::Consensus, network, &signed_bytes(kind, stamp, payload));
        let mut body = BytesMut::with_capacity(SIGNED_PREFIX.saturating_add(payload.len()));
        body.put_slice(&key.public().0);
        body.put_u64_le(stamp.0);
        body.put_slice(&signature.0);
        body.put_slice(payload);
        body.freeze()
    }

    /// Reads the prefix; the payload stays a slice of `body`. `None` if it is too short.
    #[must_use]
    pub fn parse(body: &Bytes) -> Option<Self> {
        let origin = body.get(..32)?.try_into().ok()?;
        let stamp = u64::from_le_bytes(body.get(32..40)?.try_into().ok()?);
        let signature = body.get(40..SIGNED_PREFIX)?.try_into().ok()?;
        Some(Signed {
            origin: PublicKey(origin),
            stamp: Time(stamp),
            signature: Signature(signature),
            payload: body.slice(SIGNED_PREFIX..),
        })
    }

    /// Whether the origin signed this, as this kind, on this network.
    #[must_use]
    pub fn verify(&self, kind: Kind, network: &NetworkId) -> bool {
        let message = signed_bytes(kind, self.stamp, &self.payload);
        self.origin.verify(Purpose::Consensus, network, &message, &self.signature)
    }
}

fn signed_bytes(kind: Kind, stamp: Time, payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(payload.len().saturating_add(9));
    message.push(kind.byte());
    message.extend_from_slice(&stamp.0.to_le_bytes());
    message.extend_from_slice(payload);
    message
}

/// What a [`ValidatorProof`] signs: the speaking node's id and the handshake hash.
#[must_use]
pub fn validator_proof_message(node: &NodeId, handshake_hash: &[u8; 32]) -> Vec<u8> {
    [node.0, *handshake_hash].concat()
}

#[cfg(test)]
mod tests;
