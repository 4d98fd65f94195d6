//! Golden bytes pin every wire type: a change here is a change of the protocol.

use std::fmt::Debug;

use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::*;
use crate::codec::{decode_canonical, encode};

const NET: NetworkId = NetworkId([9; 32]);

fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, expected: &str) {
    let bytes = encode(value).unwrap();
    assert_eq!(hex(&bytes), expected);
    assert_eq!(&decode_canonical::<T>(&bytes, bytes.len()).unwrap(), value);
}

#[test]
fn connection_messages_have_golden_bytes() {
    golden(&Ping { nonce: 0x0102_0304 }, "0403020100000000");
    golden(&Disconnect { reason: 7, retry_after_ms: 1000 }, "07e8030000");
    golden(&PeersRequest { count: 16 }, "10");
    golden(
        &Hello {
            agent: Text::cut("a/1"),
            record: Capped::first([0xaa, 0xbb]),
            height: 702_861,
            observed: "1.2.3.4:5".parse().unwrap(),
            metadata: Capped::first([(Text::cut("x"), Text::cut("yz"))]),
            validator: Some(ValidatorProof {
                key: PublicKey([1; 32]),
                signature: Signature([2; 64]),
            }),
            pace: Pace { rate_factor: 2, bytes_per_second: 1_000, blocks_only: true },
            purpose: ConnectionPurpose::Visit,
        },
        &format!(
            "0300000000000000612f310200000000000000aabb8db90a000000000000000000000000000000ffff0102030405000001000000000000000100000000000000780200000000000000797a01{}{}0200e8030000000000000101000000",
            "01".repeat(32),
            "02".repeat(64)
        ),
    );
    golden(
        &Peers { records: Capped::first([Capped::first([5])]) },
        "0100000000000000010000000000000005",
    );
}

#[test]
fn gossip_messages_have_golden_bytes() {
    golden(&GossipHeader { hops: 3, topic: Topic(0x0a0b) }, "030b0a0000");
    golden(
        &Inventory { items: Capped::first([InventoryItem { kind: 20, id: MessageId([3; 32]) }]) },
        &format!("010000000000000014{}", "03".repeat(32)),
    );
    golden(&RoutedHeader { to: NodeId([4; 32]), hops: 1 }, &format!("{}01", "04".repeat(32)));
}

#[test]
fn requests_have_golden_bytes() {
    golden(
        &RequestHeader { id: 1, topic: Topic(2), deadline_ms: 3 },
        "01000000000000000200000003000000",
    );
    golden(&ResponseHeader { id: 1, status: ResponseStatus::Busy }, "010000000000000001000000");
}

#[test]
fn a_message_id_depends_on_kind_topic_and_body() {
    let none = Topic(0);
    let block = MessageId::of(Kind::Block, none, b"x");
    assert_ne!(block, MessageId::of(Kind::Transaction, none, b"x"));
    assert_ne!(block, MessageId::of(Kind::Block, Topic(1), b"x"));
    assert_eq!(block.to_string(), blake3::hash(&[20, 0, 0, 0, 0, b'x']).to_hex().as_str());
}

#[test]
fn a_signed_body_verifies_as_its_kind_on_its_network_only() {
    let key = Keypair::from_seed(&[1; 32]);
    let body = Signed::seal(Kind::Vote, &key, &NET, Time(5), b"yes");
    let signed = Signed::parse(&body).unwrap();
    assert_eq!(
        (signed.origin, signed.stamp, &signed.payload[..]),
        (key.public(), Time(5), &b"yes"[..])
    );
    assert!(signed.verify(Kind::Vote, &NET));
    assert!(!signed.verify(Kind::Proposal, &NET));
    assert!(!signed.verify(Kind::Vote, &NetworkId([0; 32])));
    assert_eq!(Signed::parse(&body.slice(..SIGNED_PREFIX - 1)), None);
}

proptest! {
    #[test]
    fn no_bytes_make_any_message_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let limit = bytes.len();
        let _ = decode_canonical::<Hello>(&bytes, limit);
        let _ = decode_canonical::<Peers>(&bytes, limit);
        let _ = decode_canonical::<Inventory>(&bytes, limit);
        let _ = decode_canonical::<RequestHeader>(&bytes, limit);
        let _ = decode_canonical::<ResponseHeader>(&bytes, limit);
        let _ = Signed::parse(&Bytes::from(bytes)).map(|signed| signed.verify(Kind::Vote, &NET));
    }

    #[test]
    fn every_inventory_comes_back(items in prop::collection::vec((any::<u8>(), any::<[u8; 32]>()), 0..512)) {
        let inventory = Inventory {
            items: Capped::first(items.into_iter().map(|(kind, id)| InventoryItem { kind, id: MessageId(id) })),
        };
        let bytes = encode(&inventory).unwrap();
        prop_assert!(bytes.len() <= Kind::Have.row().body_max);
        prop_assert_eq!(decode_canonical::<Inventory>(&bytes, bytes.len()).unwrap(), inventory);
    }
}
