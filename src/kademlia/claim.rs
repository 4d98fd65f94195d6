//! What nodes keep for each other: signed claims, each with an end.
//!
//! # Security
//! Provided: only the holder of a key makes or changes its claims; a value lies where only its
//! signer's values can lie, so nobody can take another's place; an older claim never replaces a
//! newer one; a claim dies after at most [`CLAIM_LIFE_MAX`]; a claim to provide or to take part
//! carries the claimant's own verified record, so nobody can be claimed for.
//! Not provided: that a provider has what it says, and secrecy: names are hashes, payloads are
//! open to whoever asks.

use serde::{Deserialize, Serialize};

use super::{ClaimKey, Point};
use crate::{
    codec::{self, Capped},
    identity::{Keypair, NetworkId, NodeId, PublicKey, Purpose, Signature},
    record::{AHEAD_MAX, SignedRecord, VerifiedRecord},
    time::{Millis, Time},
};

/// The longest payload of a claim, bytes (BitTorrent's BEP 44 allows 1,000).
pub const PAYLOAD_MAX: usize = 1_024;
/// The longest encoded claim, bytes.
pub const CLAIM_MAX: usize = 4 + 32 + 32 + 8 + 8 + 8 + 8 + PAYLOAD_MAX + 64;
/// The longest life of a claim, ms: 24 h, as a node record's.
pub const CLAIM_LIFE_MAX: Millis = 24 * 60 * 60 * 1000;

/// What a claim says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClaimPurpose {
    /// "This is my value of that name"; the payload is the value.
    Value,
    /// "I have what that key names"; the payload is the claimant's signed record.
    Provider,
    /// "I take part in that namespace"; the payload is the claimant's signed record. Only for
    /// rendezvous points.
    Rendezvous,
}

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What it says.
    pub purpose: ClaimPurpose,
    /// Who says it.
    pub signer: PublicKey,
    /// The value's name, the key, or the namespace: a hash.
    pub name: [u8; 32],
    /// Grows with every new claim of the signer about the same.
    pub sequence: u64,
    /// When it was signed, by the signer's clock.
    pub issued: Time,
    /// When it dies.
    pub expires: Time,
    /// The value or the record.
    pub payload: Capped<u8, PAYLOAD_MAX>,
}

/// A claim and its signature, as it travels: not yet believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedClaim {
    /// What is said.
    pub claim: Claim,
    /// Over the canonical bytes of `claim` ([`Purpose::Claim`]).
    pub signature: Signature,
}

/// A claim whose signature, times and payload were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedClaim {
    signed: SignedClaim,
    record: Option<Box<VerifiedRecord>>,
}

/// Why a claim is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Not the bytes of a claim.
    #[error("not the bytes of a claim")]
    Malformed,
    /// Not signed by the key in it, for this network.
    #[error("the claim's signature is not its signer's, or is for another network")]
    BadSignature,
    /// Ends before it starts, or lives too long.
    #[error("the claim would live {0} ms, 1 to {CLAIM_LIFE_MAX} ms are allowed")]
    BadLife(Millis),
    /// The payload is no record of the signer.
    #[error("the record in the claim is not its signer's")]
    BadRecord,
    /// Dead, from the future, or its record is.
    #[error("the claim is not of this time")]
    OutOfTime,
}

impl ClaimError {
    /// Whether whoever passed the claim on is to blame; a clock may be wrong, ours too.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        !matches!(self, ClaimError::OutOfTime)
    }
}

impl Claim {
    /// What it is kept under.
    #[must_use]
    pub fn key(&self) -> ClaimKey {
        ClaimKey { purpose: self.purpose, point: self.point(), signer: self.signer }
    }

    /// Where it is stored.
    #[must_use]
    pub fn point(&self) -> Point {
        match self.purpose {
            ClaimPurpose::Value => Point::of_value(&self.signer, &self.name),
            ClaimPurpose::Provider | ClaimPurpose::Rendezvous => Point(self.name),
        }
    }

    /// Signs the claim as its signer; `key` must be the one in it. `None` if it can't be
    /// encoded, which no claim does.
    #[must_use]
    pub fn sign(self, key: &Keypair, network: &NetworkId) -> Option<SignedClaim> {
        let bytes = codec::encode(&self).ok()?;
        let signature = key.sign(Purpose::Claim, network, &bytes);
        Some(SignedClaim { claim: self, signature })
    }
}

impl SignedClaim {
    /// Reads a claim that came over the wire; says nothing about its truth.
    ///
    /// # Errors
    /// [`ClaimError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ClaimError> {
        codec::decode_canonical(bytes, CLAIM_MAX).map_err(|_| ClaimError::Malformed)
    }

    /// The bytes that travel.
    #[must_use]
    pub fn encode(&self) -> Capped<u8, CLAIM_MAX> {
        // Encoding fails for no claim.
        Capped::first(codec::encode(self).unwrap_or_default())
    }

    /// Believes the claim, or says why not: times first because they cost nothing, then one
    /// Ed25519 verification, and that of the record in it.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn verify(self, network: &NetworkId, now: Time) -> Result<VerifiedClaim, ClaimError> {
        let claim = &self.claim;
        let life = claim.expires.since(claim.issued);
        if life == 0 || life > CLAIM_LIFE_MAX {
            return Err(ClaimError::BadLife(life));
        }
        if claim.expires <= now || claim.issued > now.plus(AHEAD_MAX) {
            return Err(ClaimError::OutOfTime);
        }
        let bytes = codec::encode(claim).map_err(|_| ClaimError::Malformed)?;
        if !claim.signer.verify(Purpose::Claim, network, &bytes, &self.signature) {
            return Err(ClaimError::BadSignature);
        }
        let record = match claim.purpose {
            ClaimPurpose::Value => None,
            ClaimPurpose::Provider | ClaimPurpose::Rendezvous => {
                let record = SignedRecord::decode(&claim.payload)
                    .and_then(|record| record.verify(network, now))
                    .map_err(|error| match error.is_fault() {
                        true => ClaimError::BadRecord,
                        false => ClaimError::OutOfTime,
                    })?;
                if record.record().public_key != claim.signer {
                    return Err(ClaimError::BadRecord);
                }
                Some(Box::new(record))
            }
        };
        Ok(VerifiedClaim { signed: self, record })
    }
}

impl VerifiedClaim {
    /// What is said.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.signed.claim
    }

    /// The claim as it travels.
    #[must_use]
    pub fn signed(&self) -> &SignedClaim {
        &self.signed
    }

    /// The record of who provides or takes part.
    #[must_use]
    pub fn record(&self) -> Option<&VerifiedRecord> {
        self.record.as_deref()
    }

    /// Who says it.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.signed.claim.signer.node_id()
    }
}
