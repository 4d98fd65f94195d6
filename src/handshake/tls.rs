//! What QUIC's TLS 1.3 needs of this network: names of the protocol, and keys as TLS writes them.
//!
//! # Security
//! Provided: the identity key signs a TLS transcript and nothing else by these functions, and
//! what it signs can't be mistaken for any other signature of ours: those are over 32 bytes,
//! these over at least 130 that begin with 64 spaces (RFC 8446 section 4.4.3). The network id is
//! in the protocol's name, which the transcript covers: nodes of two networks share no name, so
//! their handshake can't complete.
//! Not provided: the handshake itself, which is the shell's TLS library's.

use crate::{
    backend,
    identity::{Keypair, NetworkId, PublicKey, Signature, hex},
    noise::Suite,
};

use super::config::PqPolicy;

/// Bytes of an Ed25519 public key as TLS carries it.
pub const SPKI_LEN: usize = SPKI_PREFIX.len() + 32;

/// The label under which both sides derive the channel's hash (RFC 8446 section 7.5); the context
/// is the network id.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-peerstage/1";

/// `SubjectPublicKeyInfo` of an Ed25519 key up to the key itself (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What stands in front of every transcript that is signed, per side (RFC 8446 section 4.4.3).
const CONTEXTS: [&[u8]; 2] =
    [b"TLS 1.3, server CertificateVerify\0", b"TLS 1.3, client CertificateVerify\0"];
const PADDING: [u8; 64] = [0x20; 64];
/// SHA-256 and SHA-384, the hashes of the cipher suites.
const TRANSCRIPT_LENS: [usize; 2] = [32, 48];

/// The names that a node offers in ALPN under its policy, best first: the protocol and its
/// version, the key agreement, the network.
#[must_use]
pub fn protocol_names(network: &NetworkId, policy: PqPolicy) -> Vec<Vec<u8>> {
    let suites = Suite::BY_PREFERENCE.into_iter();
    let offered = suites.filter(|suite| policy.suites().contains(*suite));
    offered.map(|suite| protocol_name(network, suite)).collect()
}

/// The suite whose name both sides agreed on; `None` for a name of something else.
#[must_use]
pub fn suite_of(network: &NetworkId, name: &[u8]) -> Option<Suite> {
    Suite::BY_PREFERENCE.into_iter().find(|suite| protocol_name(network, *suite) == name)
}

fn protocol_name(network: &NetworkId, suite: Suite) -> Vec<u8> {
    format!("peerstage/1/{}/{}", tls_name(suite), hex(&network.0)).into_bytes()
}

/// The key agreement of a suite as TLS calls it.
#[must_use]
pub const fn tls_name(suite: Suite) -> &'static str {
    match suite {
        Suite::Classical => "X25519",
        Suite::Hybrid => "X25519MLKEM768",
    }
}

/// A key as a raw public key of TLS (RFC 7250).
#[must_use]
pub fn key_to_spki(key: &PublicKey) -> [u8; SPKI_LEN] {
    let mut spki = [0u8; SPKI_LEN];
    let (prefix, rest) = spki.split_at_mut(SPKI_PREFIX.len());
    prefix.copy_from_slice(&SPKI_PREFIX);
    rest.copy_from_slice(&key.0);
    spki
}

/// The key in a raw public key of TLS; `None` for any other kind of key or encoding.
#[must_use]
pub fn key_from_spki(spki: &[u8]) -> Option<PublicKey> {
    let key = spki.strip_prefix(&SPKI_PREFIX)?;
    key.try_into().ok().map(PublicKey)
}

/// Signs a TLS 1.3 transcript; `None` if the message is anything else.
#[must_use]
pub fn sign_transcript(keypair: &Keypair, message: &[u8]) -> Option<Signature> {
    is_transcript(message).then(|| keypair.sign_transcript(message))
}

/// Whether `key` signed this TLS 1.3 transcript, by the strict rules of all our signatures.
#[must_use]
pub fn verify_transcript(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = signature.try_into() else { return false };
    is_transcript(message) && backend::verify(&key.0, message, &signature)
}

fn is_transcript(message: &[u8]) -> bool {
    let rest = message.strip_prefix(&PADDING);
    rest.is_some_and(|rest| {
        let hashes = CONTEXTS.into_iter().filter_map(|context| rest.strip_prefix(context));
        hashes.into_iter().any(|hash| TRANSCRIPT_LENS.contains(&hash.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: NetworkId = NetworkId([9; 32]);

    fn transcript(context: &[u8], hash_len: usize) -> Vec<u8> {
        [&PADDING[..], context, &vec![7; hash_len]].concat()
    }

    #[test]
    fn a_policy_offers_what_it_allows_best_first() {
        let names = |policy| {
            let names = protocol_names(&NET, policy);
            names.iter().map(|name| suite_of(&NET, name).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names(PqPolicy::Prefer), [Suite::Hybrid, Suite::Classical]);
        assert_eq!(names(PqPolicy::Require), [Suite::Hybrid]);
        assert_eq!(names(PqPolicy::Classical), [Suite::Classical]);
        let name = protocol_names(&NET, PqPolicy::Require).remove(0);
        let text = format!("peerstage/1/X25519MLKEM768/{}", "09".repeat(32));
        assert_eq!(name, text.as_bytes());
        assert!(name.len() <= 255, "RFC 7301 section 3.1");
        assert_eq!(suite_of(&NetworkId([8; 32]), &name), None);
    }

    #[test]
    fn a_key_comes_back_and_other_keys_are_none() {
        let key = Keypair::from_seed(&[1; 32]).public();
        let spki = key_to_spki(&key);
        assert_eq!(key_from_spki(&spki), Some(key));
        for at in 0..SPKI_PREFIX.len() {
            let mut other = spki;
            other[at] ^= 1;
            assert_eq!(key_from_spki(&other), None);
        }
        assert_eq!(key_from_spki(&spki[..43]), None);
        assert_eq!(key_from_spki(&[&spki[..], &[0]].concat()), None);
    }

    #[test]
    fn only_transcripts_are_signed_and_verified() {
        let keypair = Keypair::from_seed(&[1; 32]);
        for context in CONTEXTS {
            for len in TRANSCRIPT_LENS {
                let message = transcript(context, len);
                let signature = sign_transcript(&keypair, &message).unwrap();
                assert!(verify_transcript(&keypair.public(), &message, &signature.0));
                let stranger = Keypair::from_seed(&[2; 32]).public();
                assert!(!verify_transcript(&stranger, &message, &signature.0));
                assert!(!verify_transcript(&keypair.public(), &message, &signature.0[..63]));
            }
        }
        let refused = [vec![], vec![0; 32], transcript(CONTEXTS[0], 31), transcript(b"", 64)];
        for message in refused {
            assert_eq!(sign_transcript(&keypair, &message), None);
        }
    }
}
