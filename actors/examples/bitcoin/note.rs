//! Notes: short texts that anybody may gossip, paid for with work so that spam costs its sender.

use bytes::Bytes;
use peerstage::{
    Payload, PayloadError,
    core::{kinds::Kind, messages::Topic},
};

/// The topic of notes.
pub const TOPIC: Topic = Topic(1);
/// Longest note, bytes: a nonce and 280 characters.
const LENGTH_MAX: usize = NONCE + 280;
/// Length of the nonce in front, bytes.
const NONCE: usize = 8;
/// Leading zero bits of the hash of a note with postage: some 65,000 hashes, below 0.1 s.
const POSTAGE_BITS: u32 = 16;

/// A text with its postage. Whether the postage is paid follows from the bytes alone, so that
/// every node judges the same and nobody is blamed for passing on what was good elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note(Bytes);

impl Note {
    /// A note with postage; `None` if the text is too long.
    #[must_use]
    pub fn paid(text: &str) -> Option<Note> {
        let nonces = 0..u64::MAX;
        let fits = text.len() <= LENGTH_MAX - NONCE;
        fits.then(|| nonces.map(|nonce| Note::new(nonce, text)).find(Note::is_paid)).flatten()
    }

    /// A note as its sender wrote it.
    #[must_use]
    pub fn new(nonce: u64, text: &str) -> Note {
        let mut bytes = nonce.to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        Note(bytes.into())
    }

    /// Whether the work was done.
    #[must_use]
    pub fn is_paid(&self) -> bool {
        let [a, b, c, d, ..] = *blake3::hash(&self.0).as_bytes();
        u32::from_be_bytes([a, b, c, d]).leading_zeros() >= POSTAGE_BITS
    }
}

impl Payload for Note {
    const KIND: Kind = Kind::Custom;
    const TOPIC: Topic = TOPIC;

    fn encode(&self) -> Bytes {
        self.0.clone()
    }

    fn decode(bytes: Bytes) -> Result<Self, PayloadError> {
        let text = bytes.get(NONCE..).ok_or_else(|| PayloadError("no nonce".to_owned()))?;
        if bytes.len() > LENGTH_MAX || std::str::from_utf8(text).is_err() {
            return Err(PayloadError("no text of at most 280 bytes".to_owned()));
        }
        Ok(Note(bytes))
    }
}
