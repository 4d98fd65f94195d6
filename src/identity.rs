//! Who a node is: an Ed25519 key, and the id that is its hash.
//!
//! # Security
//! Provided: a [`NodeId`] is always recomputed from the key that signed, so an id can't be
//! claimed without its key; verification is strict (RFC 8032 section 5.1.7, small-order points
//! and non-canonical encodings refused); every signature is bound to one purpose and one
//! network, so it means nothing elsewhere.
//! Not provided: key rotation, and any link between a key and a person.

use std::{fmt, str::FromStr};

use hkdf::Hkdf;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::backend::{self, SignatureKey, SigningKey};

/// The name of a node: SHA-256 of its Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

/// The name of a network: the hash of its genesis, chosen by the chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub [u8; 32]);

/// An Ed25519 public key (RFC 8032), compressed, not yet checked to be a point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature (RFC 8032), 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

/// What a signature is for: signatures of one purpose never verify for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Binds a node's Noise static key to its identity, in the handshake.
    Handshake,
    /// A node record: addresses, roles and capabilities.
    Record,
    /// A validator key vouches for the node that speaks for it.
    ValidatorBinding,
    /// A validator proves itself on one connection, over the handshake hash.
    ValidatorSession,
    /// A gossiped consensus message: proposal, vote or evidence.
    Consensus,
    /// A recommendation of one peer by another.
    Trust,
    /// The sender of a sealed, routed message.
    Routed,
    /// A claim that other nodes keep.
    Claim,
}

impl Purpose {
    /// The domain separator that goes in front of what is signed.
    #[must_use]
    pub const fn domain(self) -> &'static [u8] {
        match self {
            Purpose::Handshake => b"peerstage/handshake/1",
            Purpose::Record => b"peerstage/record/1",
            Purpose::ValidatorBinding => b"peerstage/validator-binding/1",
            Purpose::ValidatorSession => b"peerstage/validator-session/1",
            Purpose::Consensus => b"peerstage/consensus/1",
            Purpose::Trust => b"peerstage/trust/1",
            Purpose::Routed => b"peerstage/routed/1",
            Purpose::Claim => b"peerstage/claim/1",
        }
    }
}

/// A node's secret key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct Keypair(SigningKey);

impl Keypair {
    /// The key grown from 32 secret bytes (an RFC 8032 private key).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Keypair(SigningKey::new(seed))
    }

    /// The 32 secret bytes this key is grown from, for the key file.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.0.seed()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public())
    }

    /// The name of the node that holds this key.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.public().node_id()
    }

    /// The node's X25519 secret for Noise and sealed messages: HKDF-SHA256 (RFC 5869) of the
    /// seed, so that one file holds the whole identity and the two keys stay unrelated.
    #[must_use]
    pub fn noise_secret(&self) -> Zeroizing<[u8; 32]> {
        let seed = self.seed();
        let mut secret = Zeroizing::new([0u8; 32]);
        let expanded = Hkdf::<Sha256>::new(Some(b"peerstage/noise-static/1"), seed.as_ref())
            .expand(b"x25519", secret.as_mut());
        debug_assert!(expanded.is_ok(), "32 bytes are within HKDF's 8160");
        secret
    }

    /// Signs `message` for one purpose on one network.
    #[must_use]
    pub fn sign(&self, purpose: Purpose, network: &NetworkId, message: &[u8]) -> Signature {
        Signature(self.0.sign(&signed_digest(purpose, network, message)))
    }

    /// Signs a message that [`crate::handshake::tls`] has found to be a TLS 1.3 transcript.
    pub(crate) fn sign_transcript(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message))
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({})", self.node_id())
    }
}

impl PublicKey {
    /// The id of the node that holds the secret half.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(Sha256::digest(self.0).into())
    }

    /// Whether `signature` was made by this key for this purpose, network and message.
    #[must_use]
    pub fn verify(
        &self,
        purpose: Purpose,
        network: &NetworkId,
        message: &[u8],
        signature: &Signature,
    ) -> bool {
        backend::verify(&self.0, &signed_digest(purpose, network, message), &signature.0)
    }
}

/// What is actually signed: SHA-256 of the length-prefixed domain, the network and the message.
fn signed_digest(purpose: Purpose, network: &NetworkId, message: &[u8]) -> [u8; 32] {
    let domain = purpose.domain();
    let mut hash = Sha256::new();
    hash.update([u8::try_from(domain.len()).unwrap_or(u8::MAX)]);
    hash.update(domain);
    hash.update(network.0);
    hash.update(message);
    hash.finalize().into()
}

impl NetworkId {
    /// The network of a chain given by name, for networks without a genesis block: SHA-256.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        NetworkId(Sha256::digest(name.as_bytes()).into())
    }
}

impl NodeId {
    /// The first eight hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        hex(&self.0[..4])
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Reads hexadecimal of either case; `None` for anything else.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits?;
    if digits.len() % 2 != 0 {
        return None;
    }
    Some(digits.chunks_exact(2).map(|pair| (pair[0] << 4) | pair[1]).collect())
}

/// Why a text is not a 32-byte name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct ParseNameError;

macro_rules! name_of_32_bytes {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex(&self.0[..4]))
            }
        }
        impl FromStr for $name {
            type Err = ParseNameError;
            fn from_str(text: &str) -> Result<Self, ParseNameError> {
                let bytes = from_hex(text).ok_or(ParseNameError)?;
                bytes.try_into().map($name).map_err(|_| ParseNameError)
            }
        }
        /// 32 bytes on the wire, hexadecimal where people read.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    return serializer.collect_str(self);
                }
                self.0.serialize(serializer)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
                }
                <[u8; 32]>::deserialize(deserializer).map($name)
            }
        }
    };
}
name_of_32_bytes!(NodeId);
name_of_32_bytes!(NetworkId);
name_of_32_bytes!(PublicKey);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}..)", hex(&self.0[..4]))
    }
}

/// On the wire a signature is its 64 bytes, without a length.
impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (r, s) = self.0.split_at(32);
        let halves: (&[u8; 32], &[u8; 32]) = (
            r.try_into().map_err(serde::ser::Error::custom)?,
            s.try_into().map_err(serde::ser::Error::custom)?,
        );
        halves.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let halves = <([u8; 32], [u8; 32])>::deserialize(deserializer)?;
        let bytes = [halves.0, halves.1].concat();
        bytes.try_into().map(Signature).map_err(|_| de::Error::custom("64 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: NetworkId = NetworkId([7; 32]);

    #[test]
    fn a_signature_is_bound_to_purpose_network_and_message() {
        let key = Keypair::from_seed(&[1; 32]);
        let signature = key.sign(Purpose::Record, &NET, b"hello");
        let public = key.public();
        assert!(public.verify(Purpose::Record, &NET, b"hello", &signature));
        assert!(!public.verify(Purpose::Consensus, &NET, b"hello", &signature));
        assert!(!public.verify(Purpose::Record, &NetworkId([8; 32]), b"hello", &signature));
        assert!(!public.verify(Purpose::Record, &NET, b"hellp", &signature));
    }

    #[test]
    fn a_small_order_key_verifies_nothing() {
        let mut identity_point = [0u8; 32];
        identity_point[0] = 1;
        let signature = Signature([0; 64]);
        assert!(!PublicKey(identity_point).verify(Purpose::Record, &NET, b"", &signature));
    }

    #[test]
    fn names_print_and_parse_back() {
        let id = Keypair::from_seed(&[2; 32]).node_id();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("xyz".parse::<NodeId>(), Err(ParseNameError));
        assert_eq!(id.short().len(), 8);
    }

    #[test]
    fn names_are_text_in_json_and_bytes_on_the_wire() {
        let id = Keypair::from_seed(&[2; 32]).node_id();
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<NodeId>(&json).unwrap(), id);
        assert_eq!(crate::codec::encode(&id).unwrap(), id.0);
    }

    #[test]
    fn the_noise_key_differs_from_the_signing_key_and_is_stable() {
        let key = Keypair::from_seed(&[3; 32]);
        assert_ne!(*key.noise_secret(), *key.seed());
        assert_eq!(*key.noise_secret(), *Keypair::from_seed(&[3; 32]).noise_secret());
    }
}
