//! CipherState (Noise section 5.1): a key and a counter.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};
use zeroize::Zeroizing;

use super::{NoiseError, TAG_LEN};

/// A direction closes for good when its counter reaches this: far below 2^64 - 1, which Noise
/// reserves for rekeying, and above anything a session reaches (2^48 records are 16 exbibytes).
pub const NONCE_LIMIT: u64 = 1 << 48;

/// The nonce that Noise section 4.2 sets aside for `REKEY`.
const REKEY_NONCE: u64 = u64::MAX;

/// ChaCha20-Poly1305 under one key with a 64-bit counter nonce.
pub(super) struct CipherState {
    cipher: ChaCha20Poly1305,
    nonce: u64,
}

impl CipherState {
    /// The state that starts with `key` at counter zero.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self::starting_at(key, 0)
    }

    /// The state that starts with `key` at counter `nonce`.
    pub(super) fn starting_at(key: &[u8; 32], nonce: u64) -> Self {
        CipherState { cipher: ChaCha20Poly1305::new(&Key::from(*key)), nonce }
    }

    /// The counter of the next message.
    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Encrypts `text` in place and returns its tag.
    ///
    /// # Errors
    /// [`NoiseError::NonceExhausted`] at the limit; `text` is then untouched.
    pub(super) fn encrypt(
        &mut self,
        associated: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], NoiseError> {
        self.check_limit()?;
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce_bytes(self.nonce), associated, text.into())
            .map_err(|_| NoiseError::NonceExhausted)?;
        self.nonce += 1;
        Ok(tag.into())
    }

    /// Checks `tag`, then decrypts `text` in place. The tag is verified before a byte is
    /// decrypted.
    ///
    /// # Errors
    /// [`NoiseError::BadMac`]: `text` and the counter are unchanged (Noise section 5.1).
    pub(super) fn decrypt(
        &mut self,
        associated: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), NoiseError> {
        self.check_limit()?;
        self.cipher
            .decrypt_inout_detached(
                &nonce_bytes(self.nonce),
                associated,
                text.into(),
                &Tag::from(*tag),
            )
            .map_err(|_| NoiseError::BadMac)?;
        self.nonce += 1;
        Ok(())
    }

    /// Replaces the key by the first 32 bytes of `ENCRYPT(k, 2^64 - 1, empty, zeros)` (Noise
    /// section 4.2). The counter goes on.
    pub(super) fn rekey(&mut self) {
        let mut key = Zeroizing::new([0u8; 32]);
        let encrypted = self.cipher.encrypt_inout_detached(
            &nonce_bytes(REKEY_NONCE),
            &[],
            key.as_mut_slice().into(),
        );
        debug_assert!(encrypted.is_ok(), "32 bytes are within ChaCha20's 256 GiB");
        self.cipher = ChaCha20Poly1305::new(&Key::from(*key));
    }

    fn check_limit(&self) -> Result<(), NoiseError> {
        if self.nonce >= NONCE_LIMIT { Err(NoiseError::NonceExhausted) } else { Ok(()) }
    }
}

/// Noise section 12.3: 32 zero bits, then the counter in little-endian.
fn nonce_bytes(counter: u64) -> Nonce {
    let mut nonce = [0u8; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::from(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_tag_leaves_counter_and_text_alone() {
        let mut sender = CipherState::new(&[1; 32]);
        let mut receiver = CipherState::new(&[1; 32]);
        let mut text = *b"ten blocks";
        let tag = sender.encrypt(b"", &mut text).unwrap();
        let sealed = text;

        let mut bad = tag;
        bad[0] ^= 1;
        assert_eq!(receiver.decrypt(b"", &mut text, &bad), Err(NoiseError::BadMac));
        assert_eq!((receiver.nonce(), text), (0, sealed));
        assert_eq!(receiver.decrypt(b"", &mut text, &tag), Ok(()));
        assert_eq!((receiver.nonce(), &text), (1, b"ten blocks"));
    }

    #[test]
    fn a_new_key_keeps_the_counter() {
        let mut cipher = CipherState::starting_at(&[1; 32], 7);
        let before = cipher.encrypt(b"", &mut []).unwrap();
        cipher.rekey();
        assert_eq!(cipher.nonce(), 8);
        cipher.nonce = 7;
        assert_ne!(cipher.encrypt(b"", &mut []).unwrap(), before);
    }

    /// Attack row 16: the counter stops before it can wrap or reach the rekey nonce.
    #[test]
    fn the_last_counter_is_one_below_the_limit() {
        let mut cipher = CipherState::starting_at(&[1; 32], NONCE_LIMIT - 1);
        assert!(cipher.encrypt(b"", &mut []).is_ok());
        assert_eq!(cipher.encrypt(b"", &mut []), Err(NoiseError::NonceExhausted));
        assert_eq!(cipher.decrypt(b"", &mut [], &[0; 16]), Err(NoiseError::NonceExhausted));
    }
}
