//! CipherState (Noise section 5.1): a key and a counter.

use zeroize::Zeroizing;

use super::{NoiseError, TAG_LEN};
use crate::backend::{Aead, AeadKey};

/// A direction closes for good when its counter reaches this: far below 2^64 - 1, which Noise
/// reserves for rekeying, and above anything a session reaches (2^48 records are 16 exbibytes).
pub const NONCE_LIMIT: u64 = 1 << 48;

/// The nonce that Noise section 4.2 sets aside for `REKEY`.
const REKEY_NONCE: u64 = u64::MAX;

/// ChaCha20-Poly1305 under one key with a 64-bit counter nonce.
pub(super) struct CipherState {
    cipher: Aead,
    nonce: u64,
}

impl CipherState {
    /// The state that starts with `key` at counter zero.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self::starting_at(key, 0)
    }

    /// The state that starts with `key` at counter `nonce`.
    pub(super) fn starting_at(key: &[u8; 32], nonce: u64) -> Self {
        CipherState { cipher: Aead::new(key), nonce }
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
            .seal(&nonce_bytes(self.nonce), associated, text)
            .map_err(|_| NoiseError::NonceExhausted)?;
        self.nonce += 1;
        Ok(tag)
    }

    /// Checks `tag` and decrypts `text` in place.
    ///
    /// # Errors
    /// [`NoiseError::BadMac`]: the counter is unchanged (Noise section 5.1) and `text` holds no
    /// plaintext.
    pub(super) fn decrypt(
        &mut self,
        associated: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), NoiseError> {
        self.check_limit()?;
        self.cipher
            .open(&nonce_bytes(self.nonce), associated, text, tag)
            .map_err(|_| NoiseError::BadMac)?;
        self.nonce += 1;
        Ok(())
    }

    /// Replaces the key by the first 32 bytes of `ENCRYPT(k, 2^64 - 1, empty, zeros)` (Noise
    /// section 4.2). The counter goes on.
    pub(super) fn rekey(&mut self) {
        let mut key = Zeroizing::new([0u8; 32]);
        let encrypted = self.cipher.seal(&nonce_bytes(REKEY_NONCE), &[], key.as_mut_slice());
        debug_assert!(encrypted.is_ok(), "32 bytes are within ChaCha20's 256 GiB");
        if encrypted.is_ok() {
            self.cipher = Aead::new(&key);
        } else {
            // A key of zeros would be everyone's: this direction ends here.
            self.nonce = NONCE_LIMIT;
        }
    }

    fn check_limit(&self) -> Result<(), NoiseError> {
        if self.nonce >= NONCE_LIMIT { Err(NoiseError::NonceExhausted) } else { Ok(()) }
    }
}

/// Noise section 12.3: 32 zero bits, then the counter in little-endian.
fn nonce_bytes(counter: u64) -> [u8; 12] {
    let mut nonce = [0u8; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_tag_leaves_the_counter_alone_and_no_plaintext() {
        let mut sender = CipherState::new(&[1; 32]);
        let mut receiver = CipherState::new(&[1; 32]);
        let mut text = *b"ten blocks";
        let tag = sender.encrypt(b"", &mut text).unwrap();
        let sealed = text;

        let mut bad = tag;
        bad[0] ^= 1;
        assert_eq!(receiver.decrypt(b"", &mut text, &bad), Err(NoiseError::BadMac));
        assert_eq!(receiver.nonce(), 0);
        assert!(text == sealed || text == [0; 10], "{text:?}");
        text = sealed;
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
