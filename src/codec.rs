//! The one place that turns wire structs into bytes and back.
//!
//! bincode 1.3.3, fixed-width little-endian, trailing bytes refused, on a slice whose length was
//! checked before. Three rules keep it safe on hostile input: no sequence without a [`Capped`] or
//! [`Text`] bound, no recursive and no zero-sized types, no maps and no floats.
//!
//! # Security
//! Provided: memory and time linear in the bytes received, one encoding per value
//! ([`decode_canonical`] refuses every other), typed errors.
//! Not provided: confidentiality or integrity; that is the channel's.

use std::{fmt, ops::Deref};

use bincode::Options;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, SeqAccess, Visitor},
};

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Longer than its class allows; refused before any decoding.
    #[error("{length} bytes are more than the {limit} bytes this message may have")]
    TooLong {
        /// Length received, bytes.
        length: usize,
        /// Limit of the class, bytes.
        limit: usize,
    },
    /// Truncated, trailing bytes, a bad tag, a bad count or text that is not UTF-8.
    #[error("the bytes are not a well-formed message")]
    Malformed,
    /// Decodes, but is not what this value encodes to.
    #[error("the bytes are not the canonical encoding")]
    NotCanonical,
}

fn options(limit: usize) -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_little_endian()
        .reject_trailing_bytes()
        .with_limit(limit as u64)
}

/// The bytes of `value`.
///
/// # Errors
/// [`CodecError::Malformed`] if the type breaks the rules above (a sequence of unknown length),
/// which no type of this package does.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    options(usize::MAX).serialize(value).map_err(|_| CodecError::Malformed)
}

/// Writes the bytes of `value` to the front of `space`; how many they are.
///
/// # Errors
/// [`CodecError::Malformed`] if they don't fit, and as [`encode`].
pub fn encode_into<T: Serialize>(value: &T, space: &mut [u8]) -> Result<usize, CodecError> {
    let room = space.len();
    let mut rest = space;
    options(usize::MAX).serialize_into(&mut rest, value).map_err(|_| CodecError::Malformed)?;
    Ok(room.saturating_sub(rest.len()))
}

/// The value in `bytes`, at most `limit` bytes long.
///
/// # Errors
/// [`CodecError`]: too long, or malformed. No input panics or allocates more than it sent.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLong { length: bytes.len(), limit });
    }
    options(limit).deserialize(bytes).map_err(|_| CodecError::Malformed)
}

/// Like [`decode`], and refuses bytes that are not exactly what the value encodes to. For
/// everything that is hashed or signed, so that one value has one id.
///
/// # Errors
/// As [`decode`], and [`CodecError::NotCanonical`].
pub fn decode_canonical<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    limit: usize,
) -> Result<T, CodecError> {
    let value = decode(bytes, limit)?;
    if encode(&value)? == bytes { Ok(value) } else { Err(CodecError::NotCanonical) }
}

/// A list of at most `MAX` elements, on the wire a `u64` count and the elements.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Capped<T, const MAX: usize>(Vec<T>);

/// A UTF-8 text of at most `MAX` bytes, on the wire a `u64` length and the bytes.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

impl<T, const MAX: usize> Capped<T, MAX> {
    /// The first `MAX` of `items`.
    #[must_use]
    pub fn first(items: impl IntoIterator<Item = T>) -> Self {
        Capped(items.into_iter().take(MAX).collect())
    }

    /// The elements.
    #[must_use]
    pub fn into_inner(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for Capped<T, MAX> {
    fn default() -> Self {
        Capped(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for Capped<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: fmt::Debug, const MAX: usize> fmt::Debug for Capped<T, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

struct CappedVisitor<T, const MAX: usize>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for CappedVisitor<T, MAX> {
    type Value = Capped<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        if seq.size_hint().is_some_and(|claimed| claimed > MAX) {
            return Err(A::Error::custom("more elements than the list may have"));
        }
        // Grows as elements arrive: a claimed count reserves nothing.
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == MAX {
                return Err(A::Error::custom("more elements than the list may have"));
            }
            items.push(item);
        }
        Ok(Capped(items))
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Capped<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(CappedVisitor(std::marker::PhantomData))
    }
}

impl<const MAX: usize> Text<MAX> {
    /// As much of `text` as fits, cut at a character.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        let mut end = text.len().min(MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Text(text[..end].to_owned())
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > MAX {
            return Err(D::Error::custom("the text is longer than it may be"));
        }
        Ok(Text(text))
    }
}

#[cfg(test)]
mod tests;
