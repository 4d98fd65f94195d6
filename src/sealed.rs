//! A message sealed to one node: whoever carries it learns nothing but its length.
//!
//! X25519 between a fresh ephemeral key and the receiver's Noise static key, HKDF-SHA256
//! (RFC 5869), ChaCha20-Poly1305 (RFC 8439). Layout: ephemeral public key (32 bytes),
//! ciphertext, tag (16 bytes). The bytes are specified in `docs/protocol.md`, section 10.
//!
//! # Security
//! Provided: confidentiality and integrity towards carriers, binding to the receiver's key and
//! to the associated data, refusal of low-order points (RFC 7748 section 6.1).
//! Not provided: who sent it (the plaintext carries a signature where that matters), forward
//! secrecy once the receiver's static key leaks, hiding of the length, and freshness.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::backend::{Aead, AeadKey, DhKey, DhSecret};

/// Bytes a sealed message is longer than its plaintext: ephemeral key 32, tag 16.
pub const SEALED_OVERHEAD: usize = 32 + TAG_LEN;

/// Bytes of a tag (RFC 8439 section 2.5).
const TAG_LEN: usize = 16;

/// Every key is used once.
const NONCE: [u8; 12] = [0; 12];

/// The HKDF label: one purpose, one version.
const LABEL: &[u8] = b"peerstage/sealed/1";

/// Why a message was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// Shorter than ephemeral key and tag.
    #[error("a sealed message has at least {SEALED_OVERHEAD} bytes")]
    TooShort,
    /// A public key of low order: the shared secret would be known to everyone.
    #[error("the public key has low order")]
    LowOrder,
    /// Sealed to another key, for other associated data, or damaged.
    #[error("the message can't be opened with this key")]
    NotForThisKey,
}

/// Seals `plaintext` to the holder of the X25519 secret behind `to`.
///
/// `ephemeral` must be 32 secret bytes that are used for this one message only.
///
/// # Errors
/// [`SealedError::LowOrder`] if `to` is no usable key.
pub fn seal(
    to: &[u8; 32],
    ephemeral: Zeroizing<[u8; 32]>,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, SealedError> {
    let secret = DhSecret::new(&ephemeral);
    let public = secret.public();
    let cipher = cipher(&secret, to, &public, to)?;
    let mut sealed = Vec::with_capacity(plaintext.len() + SEALED_OVERHEAD);
    sealed.extend_from_slice(&public);
    sealed.extend_from_slice(plaintext);
    let text = sealed.get_mut(public.len()..).unwrap_or_default();
    let tag = cipher.seal(&NONCE, aad, text).map_err(|_| SealedError::NotForThisKey)?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// Opens what was sealed to the public half of `secret` with the same associated data.
///
/// # Errors
/// [`SealedError`]: too short, a low-order ephemeral key, or a tag that does not match.
pub fn open(secret: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealedError> {
    let (ephemeral, rest) = sealed.split_first_chunk::<32>().ok_or(SealedError::TooShort)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(SealedError::TooShort)?;
    let secret = DhSecret::new(secret);
    let receiver = secret.public();
    let cipher = cipher(&secret, ephemeral, ephemeral, &receiver)?;
    let mut text = ciphertext.to_vec();
    cipher.open(&NONCE, aad, &mut text, tag).map_err(|_| SealedError::NotForThisKey)?;
    Ok(text)
}

/// The X25519 public key of a secret.
#[must_use]
pub fn public_of(secret: &[u8; 32]) -> [u8; 32] {
    DhSecret::new(secret).public()
}

/// The cipher both sides derive: the salt binds both public keys.
fn cipher(
    secret: &DhSecret,
    other: &[u8; 32],
    ephemeral: &[u8; 32],
    receiver: &[u8; 32],
) -> Result<Aead, SealedError> {
    let shared = secret.agree(other).ok_or(SealedError::LowOrder)?;
    let salt = [ephemeral.as_slice(), receiver].concat();
    let mut key = Zeroizing::new([0u8; 32]);
    Hkdf::<Sha256>::new(Some(&salt), shared.as_ref())
        .expand(LABEL, key.as_mut())
        .map_err(|_| SealedError::NotForThisKey)?;
    Ok(Aead::new(&key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::hex;

    const SECRET: [u8; 32] = [7; 32];

    fn sealed(plaintext: &[u8]) -> Vec<u8> {
        seal(&public_of(&SECRET), Zeroizing::new([9; 32]), b"aad", plaintext).unwrap()
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(hex(&sealed(b"hello")), GOLDEN);
    }

    const GOLDEN: &str = concat!(
        "57db4b359f23ae5e146e4e2512056704722506348c150c14753d0c933d04d421",
        "ffef7b41b203dbd16ac6506c8fdacaa4b55df29e1c",
    );

    #[test]
    fn only_the_receiver_with_the_same_associated_data_opens() {
        let bytes = sealed(b"hello");
        assert_eq!(bytes.len(), 5 + SEALED_OVERHEAD);
        assert_eq!(open(&SECRET, b"aad", &bytes), Ok(b"hello".to_vec()));
        assert_eq!(open(&[8; 32], b"aad", &bytes), Err(SealedError::NotForThisKey));
        assert_eq!(open(&SECRET, b"other", &bytes), Err(SealedError::NotForThisKey));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = sealed(b"hello");
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&SECRET, b"aad", &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn low_order_points_are_refused_on_both_sides() {
        // The points of order 1, 2 and 4 and their non-canonical spellings.
        let mut one = [0u8; 32];
        one[0] = 1;
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        for point in [[0; 32], one, minus_one] {
            let refused = seal(&point, Zeroizing::new([9; 32]), b"", b"x");
            assert_eq!(refused, Err(SealedError::LowOrder));
            let forged = [point.as_slice(), &[0; 40]].concat();
            assert_eq!(open(&SECRET, b"", &forged), Err(SealedError::LowOrder));
        }
    }

    proptest! {
        #[test]
        fn any_plaintext_comes_back(plaintext in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(open(&SECRET, b"aad", &sealed(&plaintext)), Ok(plaintext));
        }

        #[test]
        fn arbitrary_bytes_never_open(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&SECRET, b"", &bytes).is_err());
        }
    }
}
