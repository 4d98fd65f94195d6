//! The cryptographic primitives behind one interface, from one of two libraries.
//!
//! `pure` is the RustCrypto and dalek crates: the default, Rust only. `accelerated` is AWS-LC,
//! by the feature of that name: C and assembly (docs/adr/0010 has the counts). They compute the
//! same functions, so nothing on the wire and no trace of a simulation depends on the choice;
//! `tests` holds them against each other.
//!
//! # Security
//! Provided: the same verdicts from both, down to the encodings of Ed25519 that libraries differ
//! on; secrets are wiped when dropped (AWS-LC wipes whatever it frees); if AWS-LC is out of
//! memory, an operation falls back on the pure library or refuses, and never yields a result
//! that is not computed.
//! Not provided: anything that draws randomness. AWS-LC has no ML-KEM key generation and no
//! encapsulation that take theirs as an argument (`aws-lc-rs` does not export them), so both
//! builds take these two from `ml-kem`.

#[cfg(feature = "accelerated")]
mod accelerated;
#[cfg(any(test, not(feature = "accelerated")))]
mod pure;
mod strict;

#[cfg(all(test, feature = "accelerated"))]
mod tests;
#[cfg(test)]
mod vectors;

use ml_kem::DecapsulationKey768;
use zeroize::Zeroizing;

#[cfg(feature = "accelerated")]
pub(crate) use accelerated::{Aead, Decapsulator, DhSecret, SigningKey, verify};
#[cfg(not(feature = "accelerated"))]
pub(crate) use pure::{Aead, Decapsulator, DhSecret, SigningKey, verify};

/// 32 secret bytes that two sides share.
pub(crate) type SharedSecret = Zeroizing<[u8; 32]>;

/// The operation was refused: a tag that doesn't match, or more text than one nonce carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// A key of ChaCha20-Poly1305 (RFC 8439).
pub(crate) trait AeadKey {
    /// The key of 32 bytes.
    fn new(key: &[u8; 32]) -> Self;

    /// Encrypts `text` in place: its tag.
    ///
    /// # Errors
    /// [`Refused`] over 256 GiB.
    fn seal(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; 16], Refused>;

    /// Decrypts `text` in place.
    ///
    /// # Errors
    /// [`Refused`] if the tag doesn't match. `text` then holds no plaintext: it is as it was, or
    /// zero.
    fn open(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        text: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), Refused>;
}

/// A secret of X25519 (RFC 7748).
pub(crate) trait DhKey: Clone {
    /// The secret of 32 bytes, clamped when used.
    fn new(secret: &[u8; 32]) -> Self;

    /// The public half.
    fn public(&self) -> [u8; 32];

    /// The secret shared with `remote`; `None` if it is zero, since everyone knows it then.
    fn agree(&self, remote: &[u8; 32]) -> Option<SharedSecret>;
}

/// A secret key of ML-KEM-768 (FIPS 203).
pub(crate) trait KemKey {
    /// Takes over a key pair.
    fn new(key: Box<DecapsulationKey768>) -> Self;

    /// The secret inside a ciphertext of 1088 bytes; `None` for another length.
    fn decapsulate(&self, ciphertext: &[u8]) -> Option<SharedSecret>;
}

/// A secret key of Ed25519 (RFC 8032).
pub(crate) trait SignatureKey: Clone {
    /// The key grown from 32 secret bytes.
    fn new(seed: &[u8; 32]) -> Self;

    /// The bytes it was grown from.
    fn seed(&self) -> Zeroizing<[u8; 32]>;

    /// The public half.
    fn public(&self) -> [u8; 32];

    /// The signature of `message`: always the same for the same key and message.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}
