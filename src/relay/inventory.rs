//! The bytes of announcements and questions, written and read without a step a byte.
//!
//! The same bytes as [`crate::codec`] makes of [`crate::messages::Inventory`]; a test holds them
//! together.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Action, DropReason, Relay, RelayFault,
    peer_set::{PeerSet, PeerSlot},
};
use crate::{
    header::Header,
    kinds::Kind,
    messages::{MessageId, Outgoing},
};

/// Ids in one announcement or question ([`crate::messages::Inventory`]).
pub(super) const ITEMS_MAX: usize = 512;

/// The count in front, bytes.
const COUNT_LEN: usize = 8;
/// A kind's byte and an id, bytes.
const ITEM_LEN: usize = 1 + 32;

/// An item: a kind and the id of a message of it.
pub(super) type Item = (Kind, MessageId);

/// The body that lists these items.
pub(super) fn write(items: &[Item]) -> Bytes {
    let length = items.len().saturating_mul(ITEM_LEN).saturating_add(COUNT_LEN);
    let mut body = BytesMut::with_capacity(length);
    body.put_u64_le(u64::try_from(items.len()).unwrap_or(u64::MAX));
    for (kind, id) in items {
        body.put_u8(kind.byte());
        body.put_slice(&id.0);
    }
    body.freeze()
}

/// The kind's byte and id of each item in a body; `None` if the body is anything else.
pub(super) fn read(body: &[u8]) -> Option<impl Iterator<Item = (u8, MessageId)>> {
    let (count, items) = body.split_first_chunk::<COUNT_LEN>()?;
    let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
    if count > ITEMS_MAX || items.len() != count.saturating_mul(ITEM_LEN) {
        return None;
    }
    let item = |item: &[u8]| {
        let (kind, id) = item.split_first()?;
        Some((*kind, MessageId(id.try_into().ok()?)))
    };
    Some(items.chunks_exact(ITEM_LEN).filter_map(item))
}

impl Relay {
    /// Orders an announcement or a question to be sent, in as many messages as it takes.
    pub(super) fn send_inventory(kind: Kind, to: &PeerSet, items: &[Item], out: &mut Vec<Action>) {
        for part in items.chunks(ITEMS_MAX) {
            let message = Outgoing { kind, header: Header::EMPTY, body: write(part) };
            out.push(Action::Send { to: to.clone(), id: None, message });
        }
    }

    /// The items of an inventory; a peer that sends anything else is at fault (attack row 30).
    pub(super) fn read_inventory(
        &mut self,
        kind: Kind,
        slot: PeerSlot,
        body: &[u8],
        out: &mut Vec<Action>,
    ) -> Option<Vec<Item>> {
        let Some(items) = read(body) else {
            self.drops.add(kind, DropReason::Malformed);
            self.penalise(slot, RelayFault::MalformedMessage, "inventory", out);
            return None;
        };
        let items: Option<Vec<Item>> = items
            .map(|(byte, id)| {
                let kind = Kind::from_byte(byte)?;
                kind.row().relay.map(|_| (kind, id))
            })
            .collect();
        if items.is_none() {
            self.drops.add(kind, DropReason::WrongKind);
            self.penalise(slot, RelayFault::ProtocolViolation, "inventory of a kind", out);
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        codec::{Capped, decode, encode},
        messages::{Inventory, InventoryItem},
    };

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_codec(ids in proptest::collection::vec(any::<[u8; 32]>(), 0..20)) {
            let items: Vec<Item> = ids.iter().map(|id| (Kind::Vote, MessageId(*id))).collect();
            let same = items.iter().map(|(kind, id)| InventoryItem { kind: kind.byte(), id: *id });
            let encoded = encode(&Inventory { items: Capped::first(same) }).unwrap();
            prop_assert_eq!(&write(&items)[..], &encoded[..]);
        }

        #[test]
        fn what_is_read_is_what_the_codec_reads(
            count in prop_oneof![0u64..4, 510u64..515, any::<u64>()],
            length in prop_oneof![(0usize..4, 0usize..2).prop_map(|(n, more)| n * 33 + more), Just(512 * 33), Just(513 * 33)],
        ) {
            let mut body = count.to_le_bytes().to_vec();
            body.extend((0..length).map(|n| n as u8));
            let decoded = decode::<Inventory>(&body, body.len()).ok();
            let decoded: Option<Vec<_>> =
                decoded.map(|list| list.items.iter().map(|item| (item.kind, item.id)).collect());
            prop_assert_eq!(read(&body).map(|items| items.collect::<Vec<_>>()), decoded);
            prop_assert!(read(&body[..body.len().min(7)]).is_none());
        }
    }
}
