//! The signed card of a node: who it is, where it can be reached and what it does.
//!
//! A record travels from node to node; each one verifies it alone, without asking anybody.
//!
//! # Security
//! Provided: nobody but the holder of the node's key can make or change a record
//! ([`VerifiedRecord`] can only be had by verification, and its id is recomputed from the key
//! that signed); a record is worthless on another network; it dies by itself after at most
//! [`LIFE_MAX`]; a newer one replaces an older one and never the other way round.
//! Not provided: that the addresses are the node's own, or that its coordinate and uplink are
//! true: claims, which cost nobody but who plans with them. A liar can name a victim's address, so
//! whoever dials must space its attempts (see [`crate::book`]) and check who answers.
//! A [`ValidatorBinding`] has no end of its own: it holds as long as the validator's key is in
//! the validator set.

use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    codec::{self, Capped, CodecError},
    coordinate::Coordinate,
    identity::{Keypair, NetworkId, NodeId, PublicKey, Purpose, Signature},
    time::{Millis, Time},
};

/// Addresses in a record; four transports for each of two address families.
pub const ADDRESSES_MAX: usize = 8;
/// The longest encoded signed record, bytes; a full one has 432.
pub const BYTES_MAX: usize = 2048;
/// The longest life of a record, ms: 24 h. A node signs a new one at half of it, so that one
/// which has left is forgotten within a day (a guess; ENR, EIP-778, has no end at all).
pub const LIFE_MAX: Millis = 24 * 60 * 60 * 1000;
/// How far in the future a record may have been issued, ms: 10 min, as much as Bitcoin allows an
/// address's time stamp (`net_processing.cpp`, `ProcessAddrs`).
pub const AHEAD_MAX: Millis = 10 * 60 * 1000;

/// What a node does in the network, a set of bits. Claims, except where a proof goes with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Roles(pub u32);

/// What a node's software can do, a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(pub u32);

impl Roles {
    /// Keeps and relays the chain.
    pub const FULL: Roles = Roles(1);
    /// Votes; only believed with a proof.
    pub const VALIDATOR: Roles = Roles(1 << 1);
    /// Is there to introduce newcomers.
    pub const BOOTSTRAP: Roles = Roles(1 << 2);
    /// Follows, without relaying.
    pub const LIGHT: Roles = Roles(1 << 3);

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Roles) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Roles) -> Roles {
        Roles(self.0 | other.0)
    }
}

impl Capabilities {
    /// Speaks the hybrid handshake; whoever has seen this never accepts the classical one again.
    pub const HYBRID: Capabilities = Capabilities(1);
    /// Passes sealed messages on to third parties.
    pub const ROUTING: Capabilities = Capabilities(1 << 1);
    /// Keeps registrations of namespaces ([`crate::kademlia::ClaimPurpose::Rendezvous`]).
    pub const RENDEZVOUS: Capabilities = Capabilities(1 << 2);
    /// Is behind a NAT that may let nobody in: whoever dials it does well to have it send too
    /// ([`crate::nat::PunchMessage`]).
    pub const BEHIND_NAT: Capabilities = Capabilities(1 << 3);
    /// Takes connections that a relay carries ([`crate::circuits`]).
    pub const CIRCUITS: Capabilities = Capabilities(1 << 4);
    /// Carries circuits for others.
    pub const RELAY: Capabilities = Capabilities(1 << 5);

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Capabilities) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 | other.0)
    }
}

/// What kind of line a node sends over: a hint for whoever plans who forwards to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UplinkClass {
    /// Not said.
    #[default]
    Unsaid,
    /// A mobile network: metered, changes its address.
    Mobile,
    /// A home's line: slow upstream, often behind a NAT.
    Home,
    /// A company's line.
    Office,
    /// A data centre.
    Server,
}

/// How fast a node can send, by its own word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// The kind of line.
    pub class: UplinkClass,
    /// KiB a second; 0: not said.
    pub rate_kib: u32,
}

/// A validator's word that a node speaks for it: its signature over the node's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorBinding {
    /// The validator's key, not the node's.
    pub key: PublicKey,
    /// Over the 32 bytes of the node id ([`Purpose::ValidatorBinding`]).
    pub signature: Signature,
}

/// What a node says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node's key; its hash is the node's id.
    pub public_key: PublicKey,
    /// Its X25519 static key, for the secure channel and for sealed messages.
    pub noise_key: [u8; 32],
    /// Where it says it can be reached, best first.
    pub addresses: Capped<Address, ADDRESSES_MAX>,
    /// What it does.
    pub roles: Roles,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Where it stands in the network's map of round trips, if it knows.
    pub coordinate: Option<Coordinate>,
    /// How fast it can send, by its own word.
    pub uplink: Uplink,
    /// The validator it speaks for.
    pub validator: Option<ValidatorBinding>,
    /// Grows with every new record of the node.
    pub sequence: u64,
    /// When it was signed, by the signer's clock.
    pub issued: Time,
    /// When it dies, at most [`LIFE_MAX`] after `issued`.
    pub expires: Time,
}

/// A record and its signature, as it travels: not yet believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRecord {
    /// What the node says.
    pub record: NodeRecord,
    /// Over the canonical bytes of `record` ([`Purpose::Record`]).
    pub signature: Signature,
}

/// A record whose signatures, network, times and id were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRecord {
    node: NodeId,
    signed: SignedRecord,
}

/// Why a record is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not the bytes of a record.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Not signed by the key in it, for this network.
    #[error("the record's signature is not its node's, or is for another network")]
    BadSignature,
    /// The validator did not sign this node's id.
    #[error("the validator named in the record did not sign this node's id")]
    BadValidator,
    /// Ends before it starts, or lives too long.
    #[error("the record would live {0} ms, 1 to {LIFE_MAX} ms are allowed")]
    BadLife(Millis),
    /// Dead already.
    #[error("the record expired at {0}")]
    Expired(Time),
    /// From the future.
    #[error("the record was issued at {0}, more than {AHEAD_MAX} ms ahead")]
    FromFuture(Time),
}

impl RecordError {
    /// Whether whoever passed the record on is to blame. Times are not: a clock may be wrong,
    /// ours too, and a record may die on its way.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        !matches!(self, RecordError::Expired(_) | RecordError::FromFuture(_))
    }
}

impl ValidatorBinding {
    /// The validator vouches for a node.
    #[must_use]
    pub fn sign(validator: &Keypair, network: &NetworkId, node: &NodeId) -> Self {
        let signature = validator.sign(Purpose::ValidatorBinding, network, &node.0);
        ValidatorBinding { key: validator.public(), signature }
    }

    fn verify(&self, network: &NetworkId, node: &NodeId) -> bool {
        self.key.verify(Purpose::ValidatorBinding, network, &node.0, &self.signature)
    }
}

impl NodeRecord {
    /// Signs this record as its node; `key` must be the one in it.
    ///
    /// # Errors
    /// [`RecordError::Codec`] if it can't be encoded, which no record does.
    pub fn sign(self, key: &Keypair, network: &NetworkId) -> Result<SignedRecord, RecordError> {
        let signature = key.sign(Purpose::Record, network, &codec::encode(&self)?);
        Ok(SignedRecord { record: self, signature })
    }
}

impl SignedRecord {
    /// Reads a record that came over the wire; says nothing about its truth.
    ///
    /// # Errors
    /// [`RecordError::Codec`]: too long, malformed or not canonical.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        Ok(codec::decode_canonical(bytes, BYTES_MAX)?)
    }

    /// The bytes that travel.
    ///
    /// # Errors
    /// [`RecordError::Codec`] if it can't be encoded, which no record does.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        Ok(codec::encode(self)?)
    }

    /// Believes the record, or says why not: life and times first because they cost nothing,
    /// then one strict Ed25519 verification, and one more for a validator.
    ///
    /// # Errors
    /// [`RecordError`], all but a transport's.
    pub fn verify(self, network: &NetworkId, now: Time) -> Result<VerifiedRecord, RecordError> {
        let record = &self.record;
        let life = record.expires.since(record.issued);
        if life == 0 || life > LIFE_MAX {
            return Err(RecordError::BadLife(life));
        }
        if record.expires <= now {
            return Err(RecordError::Expired(record.expires));
        }
        if record.issued > now.plus(AHEAD_MAX) {
            return Err(RecordError::FromFuture(record.issued));
        }
        let bytes = codec::encode(record)?;
        if !record.public_key.verify(Purpose::Record, network, &bytes, &self.signature) {
            return Err(RecordError::BadSignature);
        }
        let node = record.public_key.node_id();
        if record.validator.is_some_and(|binding| !binding.verify(network, &node)) {
            return Err(RecordError::BadValidator);
        }
        Ok(VerifiedRecord { node, signed: self })
    }
}

impl VerifiedRecord {
    /// The node's id, computed from the key that signed.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What the node says.
    #[must_use]
    pub fn record(&self) -> &NodeRecord {
        &self.signed.record
    }

    /// The record as it travels.
    #[must_use]
    pub fn signed(&self) -> &SignedRecord {
        &self.signed
    }

    /// The validator the node speaks for.
    #[must_use]
    pub fn validator(&self) -> Option<PublicKey> {
        self.signed.record.validator.map(|binding| binding.key)
    }

    /// Whether it is dead by now.
    #[must_use]
    pub fn is_expired(&self, now: Time) -> bool {
        self.signed.record.expires <= now
    }
}

#[cfg(test)]
pub(crate) mod tests;
