//! A message's header, kept inside the message: no allocation for it, in or out.

use std::ops::Deref;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    codec,
    messages::{GossipHeader, Topic},
};

/// The longest header of any kind, bytes ([`crate::messages::RoutedHeader`] has 33). On the wire
/// one byte carries the length; a longer header is refused.
pub const HEADER_MAX: usize = 40;

/// The bytes of a header, at most [`HEADER_MAX`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    length: u8,
    bytes: [u8; HEADER_MAX],
}

impl Header {
    /// No header.
    pub const EMPTY: Header = Header { length: 0, bytes: [0; HEADER_MAX] };

    /// A copy of `bytes`; `None` if they are more than [`HEADER_MAX`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut header = Header { length: u8::try_from(bytes.len()).ok()?, ..Header::EMPTY };
        header.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(header)
    }

    /// The encoding of a header struct. One that does not fit, which none of this package's
    /// does, leaves the header empty, and receivers refuse the message.
    #[must_use]
    pub fn of<T: Serialize>(value: &T) -> Self {
        let mut bytes = [0; HEADER_MAX];
        let length = codec::encode_into(value, &mut bytes).ok();
        match length.and_then(|length| u8::try_from(length).ok()) {
            Some(length) => Header { length, bytes },
            None => Header::EMPTY,
        }
    }

    /// The header struct in these bytes; `None` if they are not its canonical encoding.
    #[must_use]
    pub fn read<T: Serialize + DeserializeOwned>(&self) -> Option<T> {
        let value = codec::decode::<T>(self, HEADER_MAX).ok()?;
        (Header::of(&value) == *self).then_some(value)
    }

    /// The gossip header in these bytes. Every five bytes are the canonical encoding of one, so
    /// the length is all there is to check.
    #[must_use]
    pub fn gossip(&self) -> Option<GossipHeader> {
        let [hops, topic @ ..] = self.first_chunk::<5>().filter(|_| self.len() == 5)?;
        Some(GossipHeader { hops: *hops, topic: Topic(u32::from_le_bytes(*topic)) })
    }
}

impl From<GossipHeader> for Header {
    fn from(header: GossipHeader) -> Self {
        let [a, b, c, d] = header.topic.0.to_le_bytes();
        let mut bytes = [0; HEADER_MAX];
        if let Some(front) = bytes.first_chunk_mut::<5>() {
            *front = [header.hops, a, b, c, d];
        }
        Header { length: 5, bytes }
    }
}

impl Default for Header {
    fn default() -> Self {
        Header::EMPTY
    }
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{identity::NodeId, messages::RoutedHeader};

    proptest! {
        /// The short way reads and writes what the codec does, and refuses what it refuses.
        #[test]
        fn a_gossip_header_is_what_the_codec_says(bytes in prop::collection::vec(any::<u8>(), 0..9)) {
            let header = Header::new(&bytes).unwrap();
            prop_assert_eq!(header.gossip(), header.read::<GossipHeader>());
            if let Some(gossip) = header.gossip() {
                prop_assert_eq!(Header::from(gossip), Header::of(&gossip));
            }
        }
    }

    #[test]
    fn the_longest_header_fits_and_a_longer_one_is_none() {
        let routed = RoutedHeader { to: NodeId([4; 32]), hops: 1 };
        assert_eq!(Header::of(&routed).len(), 33);
        assert_eq!(Header::of(&routed).read::<RoutedHeader>(), Some(routed));
        assert!(Header::new(&[0; HEADER_MAX]).is_some());
        assert!(Header::new(&[0; HEADER_MAX + 1]).is_none());
    }
}
