//! SymmetricState (Noise section 5.2): the running hash and the chaining key.

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{NoiseError, TAG_LEN, cipher::CipherState};

/// Length of SHA-256's output in bytes.
pub const HASH_LEN: usize = 32;

/// Everything both sides have in common so far.
pub(super) struct SymmetricState {
    cipher: Option<CipherState>,
    chaining_key: Zeroizing<[u8; HASH_LEN]>,
    hash: [u8; HASH_LEN],
}

impl SymmetricState {
    /// `InitializeSymmetric(protocol_name)`.
    pub(super) fn new(protocol_name: &str) -> Self {
        let name = protocol_name.as_bytes();
        let mut hash = [0u8; HASH_LEN];
        match hash.get_mut(..name.len()) {
            Some(start) => start.copy_from_slice(name),
            None => hash = Sha256::digest(name).into(),
        }
        SymmetricState { cipher: None, chaining_key: Zeroizing::new(hash), hash }
    }

    /// `GetHandshakeHash()`, at any point of the handshake.
    pub(super) fn hash(&self) -> &[u8; HASH_LEN] {
        &self.hash
    }

    /// `MixHash(data)`.
    pub(super) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = Sha256::new().chain_update(self.hash).chain_update(data).finalize().into();
    }

    /// `MixKey(input_key_material)`.
    pub(super) fn mix_key(&mut self, material: &[u8]) {
        let (chaining_key, key) = derive(&self.chaining_key, material);
        self.chaining_key = chaining_key;
        self.cipher = Some(CipherState::new(&key));
    }

    /// `EncryptAndHash(text)`, appended to `out`; in clear while there is no key.
    pub(super) fn encrypt_and_hash(
        &mut self,
        text: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), NoiseError> {
        let start = out.len();
        out.extend_from_slice(text);
        let hash = self.hash;
        let sealed = out.get_mut(start..).unwrap_or_default();
        if let Some(cipher) = &mut self.cipher {
            let tag = cipher.encrypt(&hash, sealed)?;
            out.extend_from_slice(&tag);
        }
        self.mix_hash(out.get(start..).unwrap_or_default());
        Ok(())
    }

    /// `DecryptAndHash(sealed)`: the text. A wrong tag changes nothing.
    pub(super) fn decrypt_and_hash(&mut self, sealed: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let mut text = sealed.to_vec();
        if let Some(cipher) = &mut self.cipher {
            let tag = *sealed.last_chunk::<TAG_LEN>().ok_or(NoiseError::Truncated)?;
            text.truncate(sealed.len() - TAG_LEN);
            cipher.decrypt(&self.hash, &mut text, &tag)?;
        }
        self.mix_hash(sealed);
        Ok(text)
    }

    /// The length of the tag that follows encrypted fields: zero while there is no key.
    pub(super) fn tag_len(&self) -> usize {
        if self.cipher.is_some() { TAG_LEN } else { 0 }
    }

    /// `Split()`: the keys of the initiator's and of the responder's direction.
    pub(super) fn split(&self) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
        derive(&self.chaining_key, &[])
    }
}

/// `HKDF(chaining_key, material, 2)`: Noise's chain of HMACs is RFC 5869 with empty info.
fn derive(chaining_key: &[u8; 32], material: &[u8]) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
    let mut both = Zeroizing::new([0u8; 64]);
    let expanded = Hkdf::<Sha256>::new(Some(chaining_key), material).expand(&[], both.as_mut());
    debug_assert!(expanded.is_ok(), "64 bytes are within HKDF's 8160");
    let (mut first, mut second) = (Zeroizing::new([0u8; 32]), Zeroizing::new([0u8; 32]));
    first.copy_from_slice(&both[..32]);
    second.copy_from_slice(&both[32..]);
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_padded_and_a_long_one_hashed() {
        let short = SymmetricState::new("Noise_XX_25519_ChaChaPoly_SHA256");
        assert_eq!(short.hash(), b"Noise_XX_25519_ChaChaPoly_SHA256");
        let long = SymmetricState::new("Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256");
        let digest: [u8; 32] =
            Sha256::digest(b"Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256").into();
        assert_eq!(long.hash(), &digest);
    }

    #[test]
    fn without_a_key_fields_are_clear_and_hashed() {
        let mut state = SymmetricState::new("n");
        let before = *state.hash();
        let mut out = Vec::new();
        state.encrypt_and_hash(b"clear", &mut out).unwrap();
        assert_eq!(out, b"clear");
        assert_ne!(*state.hash(), before);
    }

    #[test]
    fn a_field_shorter_than_its_tag_is_truncated() {
        let mut state = SymmetricState::new("n");
        state.mix_key(b"secret");
        assert_eq!(state.decrypt_and_hash(&[0; 15]), Err(NoiseError::Truncated));
    }
}
