//! ML-KEM-768 (FIPS 203) with its randomness as an argument.

use ml_kem::{B32, DecapsulationKey768, EncapsulationKey768, Key, KeyExport, Seed};
use zeroize::Zeroizing;

use super::NoiseError;
use crate::backend::{Decapsulator, KemKey as _, SharedSecret};

/// Length of an encapsulation (public) key in bytes (FIPS 203 table 3).
pub const KEM_PUBLIC_LEN: usize = 1184;
/// Length of a ciphertext in bytes (FIPS 203 table 3).
pub const KEM_CIPHERTEXT_LEN: usize = 1088;
/// Length of the seed `d || z` a key pair is made from, in bytes (FIPS 203 section 3.3).
pub(super) const KEM_SEED_LEN: usize = 64;

/// The secret an encapsulation yields.
pub(super) type KemSecret = SharedSecret;

/// A key pair for one handshake.
pub(super) struct KemKey {
    secret: Decapsulator,
    public: Vec<u8>,
}

impl KemKey {
    /// The pair of the seed `d || z`.
    pub(super) fn from_seed(seed: &[u8; KEM_SEED_LEN]) -> Self {
        // Boxed: the expanded key is kilobytes.
        let secret = Box::new(DecapsulationKey768::from_seed(Seed::from(*seed)));
        let public = secret.encapsulation_key().to_bytes().to_vec();
        KemKey { secret: Decapsulator::new(secret), public }
    }

    /// The encapsulation key, 1184 bytes.
    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// The secret inside `ciphertext`. Never fails for a ciphertext of the right length: a wrong
    /// one yields an unrelated secret (implicit rejection), and the next tag fails.
    pub(super) fn decapsulate(&self, ciphertext: &[u8]) -> Result<KemSecret, NoiseError> {
        self.secret.decapsulate(ciphertext).ok_or(NoiseError::Truncated)
    }
}

/// Encapsulates to `public` with the 32 random bytes `m` (FIPS 203 algorithm 17).
///
/// # Errors
/// [`NoiseError::InvalidKemKey`] unless `public` passes the input check (FIPS 203 section 7.2).
pub(super) fn encapsulate(
    public: &[u8],
    m: &[u8; 32],
) -> Result<([u8; KEM_CIPHERTEXT_LEN], KemSecret), NoiseError> {
    let public: Key<EncapsulationKey768> =
        public.try_into().map_err(|_| NoiseError::InvalidKemKey)?;
    let public = EncapsulationKey768::new(&public).map_err(|_| NoiseError::InvalidKemKey)?;
    let (ciphertext, secret) = public.encapsulate_deterministic(&B32::from(*m));
    Ok((ciphertext.into(), Zeroizing::new(secret.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_and_a_wrong_ciphertext_is_rejected_implicitly() {
        let key = KemKey::from_seed(&[7; KEM_SEED_LEN]);
        let (mut ciphertext, secret) = encapsulate(key.public(), &[8; 32]).unwrap();
        assert_eq!(*key.decapsulate(&ciphertext).unwrap(), *secret);
        ciphertext[100] ^= 1;
        assert_ne!(*key.decapsulate(&ciphertext).unwrap(), *secret);
        assert_eq!(key.decapsulate(&ciphertext[1..]), Err(NoiseError::Truncated));
    }

    /// Attack row 14: a coefficient of q or more is refused, as is a key of the wrong length.
    #[test]
    fn an_unreduced_key_is_invalid() {
        let mut public = KemKey::from_seed(&[7; KEM_SEED_LEN]).public().to_vec();
        // The first coefficient becomes 3329 = 0xd01, exactly q.
        public[0] = 0x01;
        public[1] = (public[1] & 0xf0) | 0x0d;
        assert_eq!(encapsulate(&public, &[0; 32]).err(), Some(NoiseError::InvalidKemKey));
        assert_eq!(encapsulate(&[0xff; 1184], &[0; 32]).err(), Some(NoiseError::InvalidKemKey));
        assert_eq!(encapsulate(&public[1..], &[0; 32]).err(), Some(NoiseError::InvalidKemKey));
    }
}
