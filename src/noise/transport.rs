//! Transport records: what flows once the handshake is done.
//!
//! A record is a big-endian `u16` length and that many bytes of ciphertext with its tag. Each
//! direction replaces its key after every [`REKEY_RECORDS`] records; both sides count, so nothing
//! about it is on the wire.

use std::ops::Range;

use bytes::{Buf, BytesMut};

use super::{NONCE_LIMIT, NoiseError, TAG_LEN, cipher::CipherState};

/// Length of the length, in bytes.
pub const RECORD_HEADER_LEN: usize = 2;
/// Longest record without its header, with its tag, in bytes (Noise section 3).
pub const RECORD_LEN_MAX: usize = 65_535;
/// Longest plaintext of a record, in bytes.
pub const PLAINTEXT_LEN_MAX: usize = RECORD_LEN_MAX - TAG_LEN;
/// Records under one key. Our choice, like BOLT 8 (1,000) and BIP 324 (224).
pub const REKEY_RECORDS: u64 = 1_024;

/// Bytes under one key at most: a second limit that the first one implies.
const REKEY_BYTES_MAX: u64 = 1 << 30;

const _: () = assert!(REKEY_RECORDS * (RECORD_LEN_MAX as u64) < REKEY_BYTES_MAX);
const _: () = assert!(NONCE_LIMIT.is_multiple_of(REKEY_RECORDS));

/// Why a direction closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// A record was forged, damaged, repeated, dropped or reordered.
    #[error("record fails authentication")]
    BadMac,
    /// A record that is too short for its tag.
    #[error("record is shorter than its tag of 16 bytes")]
    TooShort,
    /// Plaintext that doesn't fit a record: a mistake of the caller.
    #[error("plaintext is longer than 65519 bytes")]
    TooLong,
    /// 2^48 records: open a new connection.
    #[error("2^48 records under one session")]
    Exhausted,
    /// An error closed this direction earlier.
    #[error("closed by an earlier error")]
    Closed,
}

impl TransportError {
    /// A stable label for logs and metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            TransportError::BadMac => "bad_mac",
            TransportError::TooShort => "short_record",
            TransportError::TooLong => "oversized",
            TransportError::Exhausted => "nonce_exhausted",
            TransportError::Closed => "closed",
        }
    }
}

/// Both directions of a session.
#[derive(Debug)]
pub struct Transport {
    /// Our direction.
    pub sealer: Sealer,
    /// The remote's direction.
    pub opener: Opener,
}

impl Transport {
    pub(super) fn new(sealer: Sealer, opener: Opener) -> Self {
        Transport { sealer, opener }
    }

    /// The two directions, to live in different places.
    #[must_use]
    pub fn split(self) -> (Sealer, Opener) {
        (self.sealer, self.opener)
    }
}

/// Encrypts records of our direction.
pub struct Sealer {
    cipher: CipherState,
}

impl Sealer {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Sealer { cipher: CipherState::new(key) }
    }

    /// Appends one record to `out`. `write` appends its plaintext, at most `room` bytes, straight
    /// to where it is encrypted; if it appends nothing there is no record. Returns the length of
    /// the plaintext.
    ///
    /// # Errors
    /// [`TransportError::TooLong`] over 65,519 bytes and [`TransportError::Exhausted`] at the
    /// nonce limit; `out` is as it was.
    pub fn seal_with(
        &mut self,
        out: &mut BytesMut,
        room: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<usize, TransportError> {
        let start = out.len();
        let text_start = start + RECORD_HEADER_LEN;
        out.reserve(RECORD_HEADER_LEN + room.min(PLAINTEXT_LEN_MAX) + TAG_LEN);
        out.extend_from_slice(&[0; RECORD_HEADER_LEN]);
        write(out);
        let text_len = out.len().saturating_sub(text_start);
        if text_len == 0 {
            out.truncate(start);
            return Ok(0);
        }
        match self.seal_in_place(out.get_mut(start..).unwrap_or_default()) {
            Ok(tag) => out.extend_from_slice(&tag),
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        }
        rekey_when_due(&mut self.cipher);
        Ok(text_len)
    }

    /// Appends one record with the concatenation of `parts` to `out`, also an empty one.
    ///
    /// # Errors
    /// As [`Sealer::seal_with`].
    pub fn seal(&mut self, parts: &[&[u8]], out: &mut BytesMut) -> Result<(), TransportError> {
        let start = out.len();
        out.extend_from_slice(&[0; RECORD_HEADER_LEN]);
        parts.iter().for_each(|part| out.extend_from_slice(part));
        match self.seal_in_place(out.get_mut(start..).unwrap_or_default()) {
            Ok(tag) => out.extend_from_slice(&tag),
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        }
        rekey_when_due(&mut self.cipher);
        Ok(())
    }

    /// Fills the length in and encrypts what follows it; the tag is still to be appended.
    fn seal_in_place(&mut self, record: &mut [u8]) -> Result<[u8; TAG_LEN], TransportError> {
        let (header, text) =
            record.split_first_chunk_mut::<RECORD_HEADER_LEN>().ok_or(TransportError::TooShort)?;
        let length = text.len().saturating_add(TAG_LEN);
        *header = u16::try_from(length).map_err(|_| TransportError::TooLong)?.to_be_bytes();
        self.cipher.encrypt(&[], text).map_err(|_| TransportError::Exhausted)
    }

    /// Records sealed so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.cipher.nonce()
    }
}

/// A record that was decrypted where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Where in the buffer its plaintext stands.
    pub text: Range<usize>,
    /// Bytes of the buffer that the record took.
    pub consumed: usize,
}

/// Decrypts records of the remote's direction.
pub struct Opener {
    cipher: CipherState,
    closed: bool,
}

impl Opener {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Opener { cipher: CipherState::new(key), closed: false }
    }

    /// Takes the next record off the front of `buffer` and decrypts it in place: its plaintext,
    /// without a copy, or `None` while the record is incomplete.
    ///
    /// # Errors
    /// As [`Opener::open_in_place`].
    pub fn open(&mut self, buffer: &mut BytesMut) -> Result<Option<BytesMut>, TransportError> {
        let Some(Opened { text, consumed }) = self.open_in_place(buffer)? else {
            return Ok(None);
        };
        let mut record = buffer.split_to(consumed);
        record.truncate(text.end);
        record.advance(text.start);
        Ok(Some(record))
    }

    /// Decrypts the record at the front of `buffer` where it stands; `None` while it is
    /// incomplete, and then `buffer` is as it was.
    ///
    /// # Errors
    /// Any error closes the direction: every later call answers [`TransportError::Closed`], and
    /// no plaintext of a bad record is ever returned.
    pub fn open_in_place(&mut self, buffer: &mut [u8]) -> Result<Option<Opened>, TransportError> {
        if self.closed {
            return Err(TransportError::Closed);
        }
        let opened = self.open_next(buffer);
        self.closed = opened.is_err();
        opened
    }

    /// How many more bytes `buffer` needs before [`open`](Self::open) can answer: at most one
    /// record, so a reader that reserves this much holds at most 64 KiB ahead.
    #[must_use]
    pub fn missing(&self, buffer: &[u8]) -> usize {
        let wanted = match buffer.first_chunk::<RECORD_HEADER_LEN>() {
            Some(header) => RECORD_HEADER_LEN + usize::from(u16::from_be_bytes(*header)),
            None => RECORD_HEADER_LEN,
        };
        wanted.saturating_sub(buffer.len())
    }

    /// Records opened so far. A refused record doesn't count.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.cipher.nonce()
    }

    fn open_next(&mut self, buffer: &mut [u8]) -> Result<Option<Opened>, TransportError> {
        let Some((header, rest)) = buffer.split_first_chunk_mut::<RECORD_HEADER_LEN>() else {
            return Ok(None);
        };
        let record_len = usize::from(u16::from_be_bytes(*header));
        // Refused from the header alone, before its body is waited for.
        let text_len = record_len.checked_sub(TAG_LEN).ok_or(TransportError::TooShort)?;
        let Some(record) = rest.get_mut(..record_len) else { return Ok(None) };
        let (text, tag) = record.split_at_mut(text_len);
        let tag = *tag.first_chunk::<TAG_LEN>().ok_or(TransportError::TooShort)?;
        self.cipher.decrypt(&[], text, &tag).map_err(|error| match error {
            NoiseError::NonceExhausted => TransportError::Exhausted,
            _ => TransportError::BadMac,
        })?;
        rekey_when_due(&mut self.cipher);
        let text = RECORD_HEADER_LEN..RECORD_HEADER_LEN + text_len;
        Ok(Some(Opened { text, consumed: RECORD_HEADER_LEN + record_len }))
    }
}

fn rekey_when_due(cipher: &mut CipherState) {
    if cipher.nonce().is_multiple_of(REKEY_RECORDS) {
        cipher.rekey();
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("records", &self.records()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Opener { cipher, closed } = self;
        f.debug_struct("Opener")
            .field("records", &cipher.nonce())
            .field("closed", closed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Opener {
    /// An opener whose counter starts near its limit.
    pub(super) fn starting_at(key: &[u8; 32], nonce: u64) -> Self {
        Opener { cipher: CipherState::starting_at(key, nonce), closed: false }
    }
}

#[cfg(test)]
impl Sealer {
    /// A sealer whose counter starts near its limit.
    pub(super) fn starting_at(key: &[u8; 32], nonce: u64) -> Self {
        Sealer { cipher: CipherState::starting_at(key, nonce) }
    }
}
