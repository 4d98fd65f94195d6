//! The primitives by AWS-LC (`aws-lc-rs`): C, assembly and run-time detection of the CPU.

use std::sync::Arc;

use aws_lc_rs::{
    aead::{self, CHACHA20_POLY1305, LessSafeKey, UnboundKey},
    agreement::{self, PrivateKey, UnparsedPublicKey, X25519},
    kem::{self, DecapsulationKey, ML_KEM_768},
    signature::{self, Ed25519KeyPair, KeyPair},
};
use ed25519_dalek::Signer;
// Deprecated as a format to store keys in; here it goes from one library to the other.
#[allow(deprecated, reason = "the form that AWS-LC imports")]
use ml_kem::ExpandedKeyEncoding;
use ml_kem::{Ciphertext, Decapsulate, DecapsulationKey768, MlKem768};
use zeroize::Zeroizing;

use super::{AeadKey, DhKey, KemKey, Refused, SharedSecret, SignatureKey, strict};

/// ChaCha20-Poly1305; `None` if AWS-LC had no memory for the key: it then refuses everything.
pub(crate) struct Aead(Option<LessSafeKey>);

impl AeadKey for Aead {
    fn new(key: &[u8; 32]) -> Self {
        Aead(UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new))
    }

    fn seal(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; 16], Refused> {
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let key = self.0.as_ref().ok_or(Refused)?;
        let tag = key
            .seal_in_place_separate_tag(nonce, aead::Aad::from(associated), text)
            .map_err(|_| Refused)?;
        tag.as_ref().try_into().map_err(|_| Refused)
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        text: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), Refused> {
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let key = self.0.as_ref().ok_or(Refused)?;
        key.open_in_place_separate_tag(nonce, aead::Aad::from(associated), tag, text)
            .map(|_| ())
            .map_err(|_| Refused)
    }
}

/// X25519. Shared, not copied, by its clones; AWS-LC computes the public half with the key.
#[derive(Clone)]
pub(crate) struct DhSecret {
    key: Option<Arc<PrivateKey>>,
    public: [u8; 32],
}

impl DhKey for DhSecret {
    fn new(secret: &[u8; 32]) -> Self {
        let key = PrivateKey::from_private_key(&X25519, secret).ok();
        let public = key
            .as_ref()
            .and_then(|key| key.compute_public_key().ok())
            .and_then(|public| public.as_ref().try_into().ok());
        match public {
            Some(public) => DhSecret { key: key.map(Arc::new), public },
            // Out of memory: nothing agrees with the key zero, so the handshake fails.
            None => DhSecret { key: None, public: [0; 32] },
        }
    }

    fn public(&self) -> [u8; 32] {
        self.public
    }

    fn agree(&self, remote: &[u8; 32]) -> Option<SharedSecret> {
        let remote = UnparsedPublicKey::new(&X25519, remote);
        // AWS-LC compares the result with zero itself, in constant time (RFC 7748 section 6.1).
        agreement::agree(self.key.as_ref()?, remote, Refused, |shared| {
            let mut secret = Zeroizing::new([0; 32]);
            let shared: &[u8; 32] = shared.try_into().map_err(|_| Refused)?;
            secret.copy_from_slice(shared);
            Ok(secret)
        })
        .ok()
    }
}

/// ML-KEM-768. Without memory for the imported key, `ml-kem` goes on with its own.
pub(crate) enum Decapsulator {
    Imported(DecapsulationKey),
    Own(Box<DecapsulationKey768>),
}

impl KemKey for Decapsulator {
    #[allow(deprecated, reason = "the form that AWS-LC imports")]
    fn new(key: Box<DecapsulationKey768>) -> Self {
        let expanded = Zeroizing::new(<[u8; 2400]>::from(key.to_expanded_bytes()));
        match DecapsulationKey::new(&ML_KEM_768, expanded.as_ref()) {
            Ok(imported) => Decapsulator::Imported(imported),
            Err(_) => Decapsulator::Own(key),
        }
    }

    fn decapsulate(&self, ciphertext: &[u8]) -> Option<SharedSecret> {
        match self {
            Decapsulator::Imported(key) => {
                let shared = key.decapsulate(kem::Ciphertext::from(ciphertext)).ok()?;
                let mut secret = Zeroizing::new([0; 32]);
                let shared: &[u8; 32] = shared.as_ref().try_into().ok()?;
                secret.copy_from_slice(shared);
                Some(secret)
            }
            Decapsulator::Own(key) => {
                let ciphertext: Ciphertext<MlKem768> = ciphertext.try_into().ok()?;
                Some(Zeroizing::new(key.decapsulate(&ciphertext).into()))
            }
        }
    }
}

/// Ed25519. Without memory for AWS-LC's key, dalek signs: the bytes are the same.
#[derive(Clone)]
pub(crate) struct SigningKey {
    seed: Zeroizing<[u8; 32]>,
    key: Option<Arc<Ed25519KeyPair>>,
}

impl SigningKey {
    fn dalek(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&self.seed)
    }
}

impl SignatureKey for SigningKey {
    fn new(seed: &[u8; 32]) -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Arc::new);
        SigningKey { seed: Zeroizing::new(*seed), key }
    }

    fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
    }

    fn public(&self) -> [u8; 32] {
        let public = self.key.as_ref().and_then(|key| key.public_key().as_ref().try_into().ok());
        public.unwrap_or_else(|| self.dalek().verifying_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.key.as_ref().and_then(|key| key.try_sign(message).ok());
        let signature = signature.and_then(|signature| signature.as_ref().try_into().ok());
        signature.unwrap_or_else(|| self.dalek().sign(message).to_bytes())
    }
}

/// Strict verification. Where AWS-LC's rules could differ from dalek's, dalek decides: AWS-LC
/// takes keys and `R` of small order, which strictness refuses. All else they share: a scalar
/// below the group's order, the equation without cofactor, compared as bytes with `R`.
pub(crate) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let is_plain = signature.first_chunk().is_some_and(|r| is_ordinary(r) && is_ordinary(key));
    if !is_plain {
        return strict::verify(key, message, signature);
    }
    let key = signature::UnparsedPublicKey::new(&signature::ED25519, key);
    key.verify(message, signature).is_ok()
}

/// The field prime 2^255 - 19, little-endian.
const PRIME: [u8; 32] = little_endian([0x7fff_ffff_ffff_ffff, u64::MAX, u64::MAX, u64::MAX - 18]);

/// The `y` of all eight points of small order, reduced: 1 (order 1), -1 (order 2), 0 (order 4)
/// and the two of order 8. Their encodings with either sign are refused by strictness.
const SMALL_ORDER: [[u8; 32]; 5] = [
    little_endian([0, 0, 0, 1]),
    little_endian([0x7fff_ffff_ffff_ffff, u64::MAX, u64::MAX, u64::MAX - 19]),
    [0; 32],
    little_endian([
        0x05fc_536d_8802_38b1,
        0x3933_c6d3_05ac_dfd5,
        0xf098_eff2_89f4_c345,
        0xb027_b2c2_8f95_e826,
    ]),
    little_endian([
        0x7a03_ac92_77fd_c74e,
        0xc6cc_392c_fa53_202a,
        0x0f67_100d_760b_3cba,
        0x4fd8_4d3d_706a_17c7,
    ]),
];

/// The bytes of a number given by its four digits to the base 2^64, highest first.
const fn little_endian(digits: [u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 32 {
        bytes[at] = (digits[3 - at / 8] >> (8 * (at % 8))) as u8;
        at += 1;
    }
    bytes
}

/// Whether an encoding of a point is reduced and not of small order. Points and signatures are
/// public: the comparisons need not be constant-time.
fn is_ordinary(point: &[u8; 32]) -> bool {
    let mut y = *point;
    y[31] &= 0x7f;
    y.iter().rev().lt(PRIME.iter().rev()) && !SMALL_ORDER.contains(&y)
}
