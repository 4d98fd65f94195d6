//! Queues, frames, ids and the codec.

use bytes::{Bytes, BytesMut};
use peerstage_core::{
    frame::{Assembler, Message, RECORD_MAX},
    header::Header,
    identity::{Keypair, NetworkId},
    kinds::Kind,
    lanes::{Lanes, Pushed},
    messages::{GossipHeader, MessageId, Outgoing, Signed, Topic},
    time::Time,
};

use crate::measured;

/// Messages that fill most of one record.
const MESSAGES: usize = 240;
const NOW: Time = Time(1_000);

fn transactions() -> Vec<Outgoing> {
    let header = GossipHeader { hops: 1, topic: Topic(0) }.into();
    let body = Bytes::from(vec![7; 256]);
    let message = Outgoing { kind: Kind::Transaction, header, body };
    vec![message; MESSAGES]
}

fn fill(lanes: &mut Lanes, record: &mut BytesMut, messages: Vec<Outgoing>) {
    for message in messages {
        assert_eq!(lanes.push(message), Pushed::Queued);
    }
    lanes.fill(NOW, record, RECORD_MAX);
}

/// One record with all of [`transactions`].
fn record() -> Bytes {
    let (mut lanes, mut record) = (Lanes::new(NOW, 1 << 20), BytesMut::new());
    fill(&mut lanes, &mut record, transactions());
    assert!(lanes.is_empty(), "the record holds them all");
    record.freeze()
}

pub(crate) fn lanes() {
    let mut lanes = Lanes::new(NOW, 1 << 20);
    let mut record = BytesMut::with_capacity(RECORD_MAX);
    fill(&mut lanes, &mut record, transactions());
    record.clear();
    let messages = transactions();
    measured(|| fill(&mut lanes, &mut record, messages));
    assert!(lanes.is_empty(), "the record holds them all");
}

pub(crate) fn assemble() {
    let (first, second) = (record(), record());
    let (mut assembler, mut out) = (Assembler::default(), Vec::<Message>::with_capacity(MESSAGES));
    assembler.on_record(NOW, &first, &mut out).expect("a record");
    assert_eq!(out.len(), MESSAGES);
    out.clear();
    measured(|| assembler.on_record(NOW, &second, &mut out)).expect("a record");
    assert_eq!(out.len(), MESSAGES);
}

pub(crate) fn vote() {
    let key = Keypair::from_seed(&[1; 32]);
    let header = Header::from(GossipHeader { hops: 1, topic: Topic(0) });
    let body = Signed::seal(Kind::Vote, &key, &NetworkId([7; 32]), NOW, &[9; 64]);
    let decode = || {
        let header: GossipHeader = header.gossip().expect("a header");
        (header, Signed::parse(&body).expect("a vote"))
    };
    assert_eq!(decode().1.payload.len(), 64);
    measured(|| {
        for _ in 0..100 {
            std::hint::black_box(decode());
        }
    });
}

fn id(body: &[u8]) -> MessageId {
    MessageId::of(Kind::Transaction, Topic(0), std::hint::black_box(body))
}

pub(crate) fn id_small() {
    let body = [7; 256];
    std::hint::black_box(id(&body));
    measured(|| {
        for _ in 0..100 {
            std::hint::black_box(id(&body));
        }
    });
}

pub(crate) fn id_large() {
    let body = vec![7; 128 * 1024];
    std::hint::black_box(id(&body));
    measured(|| id(&body));
}
