//! The primitives in Rust: RustCrypto and dalek.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};
use ed25519_dalek::Signer;
use ml_kem::{Ciphertext, Decapsulate, DecapsulationKey768, MlKem768};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

pub(crate) use super::strict::verify;
use super::{AeadKey, DhKey, KemKey, Refused, SharedSecret, SignatureKey};

/// ChaCha20-Poly1305 by `chacha20poly1305`.
pub(crate) struct Aead(ChaCha20Poly1305);

impl AeadKey for Aead {
    fn new(key: &[u8; 32]) -> Self {
        Aead(ChaCha20Poly1305::new(&Key::from(*key)))
    }

    fn seal(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; 16], Refused> {
        self.0
            .encrypt_inout_detached(&Nonce::from(*nonce), associated, text.into())
            .map(Into::into)
            .map_err(|_| Refused)
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        text: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), Refused> {
        let (nonce, tag) = (Nonce::from(*nonce), Tag::from(*tag));
        self.0.decrypt_inout_detached(&nonce, associated, text.into(), &tag).map_err(|_| Refused)
    }
}

/// X25519 by `x25519-dalek`.
#[derive(Clone)]
pub(crate) struct DhSecret(StaticSecret);

impl DhKey for DhSecret {
    fn new(secret: &[u8; 32]) -> Self {
        DhSecret(StaticSecret::from(*secret))
    }

    fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }

    fn agree(&self, remote: &[u8; 32]) -> Option<SharedSecret> {
        let shared = self.0.diffie_hellman(&PublicKey::from(*remote));
        shared.was_contributory().then(|| Zeroizing::new(shared.to_bytes()))
    }
}

/// ML-KEM-768 by `ml-kem`.
pub(crate) struct Decapsulator(Box<DecapsulationKey768>);

impl KemKey for Decapsulator {
    fn new(key: Box<DecapsulationKey768>) -> Self {
        Decapsulator(key)
    }

    fn decapsulate(&self, ciphertext: &[u8]) -> Option<SharedSecret> {
        let ciphertext: Ciphertext<MlKem768> = ciphertext.try_into().ok()?;
        Some(Zeroizing::new(self.0.decapsulate(&ciphertext).into()))
    }
}

/// Ed25519 by `ed25519-dalek`.
#[derive(Clone)]
pub(crate) struct SigningKey(ed25519_dalek::SigningKey);

impl SignatureKey for SigningKey {
    fn new(seed: &[u8; 32]) -> Self {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}
