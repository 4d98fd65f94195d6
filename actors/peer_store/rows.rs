//! Where each entry stands in the store: its table, its key, its value.

use bytes::Bytes;
use peerstage_core::{
    codec,
    identity::NodeId,
    kademlia::{ClaimKey, ClaimPurpose},
};
use serde::Serialize;

use super::Entry;
use crate::store::{StoreError, Table, WriteBatch};

/// The key of the list of anchors.
pub(super) const ANCHORS_KEY: &[u8] = b"anchors";
/// The key of the address book's salt.
pub(super) const BOOK_SALT_KEY: &[u8] = b"book_salt";
/// What the keys of the routing table's nodes begin with.
pub(super) const KADEMLIA_NODE: &[u8] = b"kademlia/node/";
/// What the keys of claims begin with.
pub(super) const CLAIM: &[u8] = b"kademlia/claim/";

/// Entries as one write.
pub(super) fn batch(entries: Vec<Entry>) -> Result<WriteBatch, StoreError> {
    let mut batch = WriteBatch::new();
    for entry in entries {
        let (table, key, value) = row(&entry);
        batch.set(table, key.into(), value.map(Bytes::from))?;
    }
    Ok(batch)
}

/// The key of a claim in the table of what fits nowhere else.
fn claim_key(key: &ClaimKey) -> Vec<u8> {
    let purpose = match key.purpose {
        ClaimPurpose::Value => 0,
        ClaimPurpose::Provider => 1,
        ClaimPurpose::Rendezvous => 2,
    };
    [CLAIM, &[purpose], &key.point.0, &key.signer.0].concat()
}

/// Where an entry goes; no value means that it is deleted.
fn row(entry: &Entry) -> (Table, Vec<u8>, Option<Vec<u8>>) {
    fn bytes<T: Serialize>(value: &T) -> Option<Vec<u8>> {
        codec::encode(value).ok()
    }
    let of = |id: &NodeId| id.0.to_vec();
    match entry {
        Entry::Ban(ban) => (Table::Bans, of(&ban.peer), bytes(ban)),
        Entry::ForgetBan(peer) => (Table::Bans, of(peer), None),
        Entry::Score(score) => (Table::Scores, of(&score.peer), bytes(score)),
        Entry::ForgetScore(peer) => (Table::Scores, of(peer), None),
        Entry::Address(entry) => {
            (Table::Peers, bytes(&entry.address).unwrap_or_default(), bytes(entry))
        }
        Entry::ForgetAddress(address) => (Table::Peers, bytes(address).unwrap_or_default(), None),
        Entry::Anchors(anchors) => (Table::Anchors, ANCHORS_KEY.to_vec(), bytes(anchors)),
        Entry::BookSalt(salt) => (Table::Meta, BOOK_SALT_KEY.to_vec(), Some(salt.to_vec())),
        Entry::Record(record) => {
            (Table::Records, of(&record.record.public_key.node_id()), bytes(record))
        }
        Entry::ForgetRecord(peer) => (Table::Records, of(peer), None),
        Entry::KademliaNode(record) => {
            let node = record.record.public_key.node_id();
            (Table::Meta, [KADEMLIA_NODE, &node.0].concat(), bytes(record))
        }
        Entry::ForgetKademliaNode(node) => (Table::Meta, [KADEMLIA_NODE, &node.0].concat(), None),
        Entry::Claim(signed) => {
            let claim = &signed.claim;
            let (purpose, point, signer) = (claim.purpose, claim.point(), claim.signer);
            (Table::Meta, claim_key(&ClaimKey { purpose, point, signer }), bytes(signed))
        }
        Entry::ForgetClaim(key) => (Table::Meta, claim_key(key), None),
    }
}
