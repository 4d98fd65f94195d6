//! The Noise Protocol Framework (revision 34), without IO: pattern XX and its hybrid
//! post-quantum form XXhfs, and the transport records that follow.
//!
//! [`HandshakeState`] runs a pattern's tokens over message buffers; when all three messages are
//! through it splits into a [`Sealer`] and an [`Opener`], one for each direction. Everything
//! random comes in as bytes ([`EphemeralSeeds`]), so a handshake replays from a seed.
//!
//! # Security
//! Provided: XX's mutual authentication of static keys, forward secrecy, and identity hiding
//! (Noise section 7.7 and 7.8); with the hybrid suite, both identities and all traffic stay
//! secret from someone who records today and owns a quantum computer later (ML-KEM-768,
//! FIPS 203). X25519 keys that contribute nothing are refused before anything is written,
//! invalid KEM keys are refused, a bad tag ends a direction for good without moving its nonce,
//! keys are replaced every [`REKEY_RECORDS`] records and wiped when dropped.
//! Not provided: post-quantum *authentication* (a quantum computer that exists while the
//! handshake runs can impersonate), hiding of record lengths, and the responder's anonymity
//! towards an active dialler (a property of XX).

mod cipher;
mod dh;
#[doc(hidden)]
pub mod fuzzing;
mod kem;
mod suite;
mod symmetric;
mod transport;
mod xx;

#[cfg(test)]
mod tests;

pub use cipher::NONCE_LIMIT;
pub use dh::{DH_LEN, StaticKey};
pub use kem::{KEM_CIPHERTEXT_LEN, KEM_PUBLIC_LEN};
pub use suite::{Suite, Suites};
pub use symmetric::HASH_LEN;
pub use transport::{
    Opened, Opener, PLAINTEXT_LEN_MAX, RECORD_HEADER_LEN, RECORD_LEN_MAX, REKEY_RECORDS, Sealer,
    Transport, TransportError,
};
pub use xx::{EphemeralSeeds, Ephemerals, HandshakeState, Role};

/// Length of an authentication tag in bytes (RFC 8439 section 2.5).
pub const TAG_LEN: usize = 16;

/// Why a handshake message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoiseError {
    /// The remote X25519 key is of low order or not canonically encoded.
    #[error("X25519 key is of low order or not canonical")]
    LowOrderPoint,
    /// The remote ML-KEM-768 key fails the input check of FIPS 203 section 7.2.
    #[error("ML-KEM-768 encapsulation key is invalid")]
    InvalidKemKey,
    /// The authentication tag doesn't match.
    #[error("authentication tag doesn't match")]
    BadMac,
    /// The message is too short for its tokens.
    #[error("handshake message is shorter than its pattern")]
    Truncated,
    /// The remote sent our own ephemeral key back.
    #[error("our own ephemeral key came back")]
    Reflected,
    /// A message out of turn: a mistake of the caller, not of the remote.
    #[error("handshake message out of turn")]
    OutOfTurn,
    /// The nonce limit is reached.
    #[error("2^48 messages under one key")]
    NonceExhausted,
}
