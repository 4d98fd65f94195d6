//! Which Ed25519 signatures are valid: `verify_strict`, in both builds.

use ed25519_dalek::{Signature, VerifyingKey};

/// Whether `signature` is strictly valid: the scalar is reduced, neither the key nor `R` has
/// small order, `R` is in its canonical encoding, and the equation without cofactor holds.
pub(crate) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(key) else {
        return false;
    };
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}
