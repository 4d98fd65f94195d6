//! The payload that binds a node's identity to a handshake.

use crate::{
    identity::{Keypair, NetworkId, PublicKey, Purpose, Signature},
    noise::{DH_LEN, HASH_LEN, Role},
};

use super::error::HandshakeError;

/// Length of the identity payload in bytes: Ed25519 public key and signature.
pub const IDENTITY_LEN: usize = 32 + 64;

/// What the identity key signs: the role (so that nothing can be reflected), the handshake hash
/// before the message (so that nothing can be replayed) and the Noise key it vouches for.
fn statement(role: Role, hash: &[u8; HASH_LEN], noise_key: &[u8; DH_LEN]) -> Vec<u8> {
    [&[role as u8][..], hash, noise_key].concat()
}

/// The payload of our message.
pub(super) fn prove(
    keypair: &Keypair,
    network: &NetworkId,
    role: Role,
    hash: &[u8; HASH_LEN],
    noise_key: &[u8; DH_LEN],
) -> [u8; IDENTITY_LEN] {
    let signature = keypair.sign(Purpose::Handshake, network, &statement(role, hash, noise_key));
    let mut payload = [0u8; IDENTITY_LEN];
    payload[..32].copy_from_slice(&keypair.public().0);
    payload[32..].copy_from_slice(&signature.0);
    payload
}

/// The identity that the remote's payload proves.
///
/// # Errors
/// [`HandshakeError::BadIdentitySignature`], or [`HandshakeError::Malformed`] for a payload of
/// another length.
pub(super) fn check(
    payload: &[u8],
    network: &NetworkId,
    role: Role,
    hash: &[u8; HASH_LEN],
    noise_key: &[u8; DH_LEN],
) -> Result<PublicKey, HandshakeError> {
    let (key, signature) = payload.split_at_checked(32).ok_or(HandshakeError::Malformed)?;
    let key = PublicKey(key.try_into().map_err(|_| HandshakeError::Malformed)?);
    let signature = Signature(signature.try_into().map_err(|_| HandshakeError::Malformed)?);
    let message = statement(role, hash, noise_key);
    if key.verify(Purpose::Handshake, network, &message, &signature) {
        Ok(key)
    } else {
        Err(HandshakeError::BadIdentitySignature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: NetworkId = NetworkId([5; 32]);

    #[test]
    fn a_proof_holds_for_one_role_hash_key_and_network() {
        let keypair = Keypair::from_seed(&[1; 32]);
        let payload = prove(&keypair, &NET, Role::Initiator, &[2; 32], &[3; 32]);
        let bad = Err(HandshakeError::BadIdentitySignature);
        let check = |net: [u8; 32], role, hash, key| {
            check(&payload, &NetworkId(net), role, &[hash; 32], &[key; 32])
        };
        assert_eq!(check([5; 32], Role::Initiator, 2, 3), Ok(keypair.public()));
        assert_eq!(check([6; 32], Role::Initiator, 2, 3), bad);
        assert_eq!(check([5; 32], Role::Responder, 2, 3), bad);
        assert_eq!(check([5; 32], Role::Initiator, 9, 3), bad);
        assert_eq!(check([5; 32], Role::Initiator, 2, 9), bad);
    }

    #[test]
    fn a_payload_of_another_length_is_malformed() {
        for len in [0, 31, 32, 95, 97] {
            let checked = check(&vec![0; len], &NET, Role::Initiator, &[0; 32], &[0; 32]);
            assert_eq!(checked, Err(HandshakeError::Malformed), "{len} bytes");
        }
    }
}
