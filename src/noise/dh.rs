//! X25519 (RFC 7748) that refuses keys which contribute nothing.

use zeroize::Zeroizing;

use super::NoiseError;
use crate::backend::{DhKey, DhSecret, SharedSecret};

/// Length of an X25519 key in bytes.
pub const DH_LEN: usize = 32;

/// The field prime 2^255 - 19, little-endian.
const PRIME: [u8; DH_LEN] = {
    let mut prime = [0xff; DH_LEN];
    prime[0] = 0xed;
    prime[DH_LEN - 1] = 0x7f;
    prime
};

/// An X25519 key pair; the secret is wiped when dropped.
#[derive(Clone)]
pub struct StaticKey {
    secret: DhSecret,
    public: [u8; DH_LEN],
}

impl StaticKey {
    /// The pair of a 32-byte secret (clamped when used, RFC 7748 section 5).
    #[must_use]
    pub fn from_secret(secret: [u8; DH_LEN]) -> Self {
        let secret = DhSecret::new(&Zeroizing::new(secret));
        let public = secret.public();
        StaticKey { secret, public }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &[u8; DH_LEN] {
        &self.public
    }

    /// The secret shared with `remote`.
    ///
    /// # Errors
    /// [`NoiseError::LowOrderPoint`] if the result is zero: the remote key is of low order and
    /// everyone would know the secret (RFC 7748 section 6.1).
    pub(super) fn agree(&self, remote: &[u8; DH_LEN]) -> Result<SharedSecret, NoiseError> {
        self.secret.agree(remote).ok_or(NoiseError::LowOrderPoint)
    }
}

#[cfg(test)]
impl StaticKey {
    /// A pair whose halves don't belong together, as only an attacker presents it.
    pub(super) fn forged(secret: [u8; DH_LEN], public: [u8; DH_LEN]) -> Self {
        StaticKey { secret: DhSecret::new(&secret), public }
    }
}

impl std::fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StaticKey({})", crate::identity::hex(&self.public))
    }
}

/// Refuses a public key that isn't its own reduced encoding. RFC 7748 section 5 reduces such
/// keys silently; no honest implementation produces one, and refusing them leaves exactly one
/// encoding for every key (five of the twelve well-known bad points are of this kind).
///
/// # Errors
/// [`NoiseError::LowOrderPoint`].
pub(super) fn check_canonical(public: &[u8; DH_LEN]) -> Result<(), NoiseError> {
    // Public data: the comparison need not be constant-time.
    if public.iter().rev().lt(PRIME.iter().rev()) { Ok(()) } else { Err(NoiseError::LowOrderPoint) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reduced_encodings_are_canonical() {
        let mut below = PRIME;
        below[0] -= 1;
        assert_eq!(check_canonical(&below), Ok(()));
        assert_eq!(check_canonical(&PRIME), Err(NoiseError::LowOrderPoint));
        assert_eq!(check_canonical(&[0; 32]), Ok(()), "zero is canonical; agreement refuses it");
        let mut masked = [9u8; 32];
        masked[31] |= 0x80;
        assert_eq!(check_canonical(&masked), Err(NoiseError::LowOrderPoint));
    }

    #[test]
    fn zero_contributes_nothing() {
        let key = StaticKey::from_secret([3; 32]);
        assert!(matches!(key.agree(&[0; 32]), Err(NoiseError::LowOrderPoint)));
    }
}
