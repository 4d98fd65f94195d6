//! Lanes as stories: who goes first, who never starves, what a full queue does.

use proptest::prelude::*;

use super::*;
use crate::frame::{Assembler, Message, RECORD_MAX};

const MIB: usize = 1024 * 1024;

fn message(kind: Kind, size: usize) -> Outgoing {
    plain(kind, vec![kind.byte(); size])
}

fn record(lanes: &mut Lanes, now: Time) -> Bytes {
    let mut record = BytesMut::new();
    lanes.fill(now, &mut record, RECORD_MAX);
    record.freeze()
}

fn received(assembler: &mut Assembler, record: Bytes) -> Vec<Message> {
    let mut out = Vec::new();
    assembler.on_record(Time(0), &record, &mut out).unwrap();
    out
}

#[test]
fn a_vote_never_waits_behind_a_block_for_more_than_one_record() {
    let mut lanes = Lanes::new(Time(0), 16 * MIB);
    let mut assembler = Assembler::default();
    lanes.push(message(Kind::Block, 4 * MIB));
    assert_eq!(received(&mut assembler, record(&mut lanes, Time(0))), vec![]);
    lanes.push(message(Kind::Vote, 100));
    let next = received(&mut assembler, record(&mut lanes, Time(0)));
    assert_eq!(next.iter().map(|m| m.kind).collect::<Vec<_>>(), vec![Kind::Vote]);
}

#[test]
fn a_flood_of_votes_starves_nobody() {
    let mut lanes = Lanes::new(Time(0), 16 * MIB);
    let mut assembler = Assembler::default();
    for _ in 0..1000 {
        assert_eq!(lanes.push(message(Kind::Vote, 1000)), Pushed::Queued);
    }
    for kind in [Kind::Block, Kind::Ping, Kind::Transaction, Kind::Request] {
        lanes.push(message(kind, 16));
    }
    let mut votes_before = 0;
    let mut others = Vec::new();
    while others.len() < 4 {
        for message in received(&mut assembler, record(&mut lanes, Time(0))) {
            match message.kind {
                Kind::Vote => votes_before += 1,
                kind => others.push(kind),
            }
        }
    }
    assert!(votes_before <= 4 * (CONSENSUS_RUN / 1000 + 66), "{votes_before} votes went first");
}

#[test]
fn the_shares_of_saturated_lanes_follow_their_weights() {
    let mut lanes = Lanes::new(Time(0), 64 * MIB);
    let mut assembler = Assembler::default();
    lanes.push(message(Kind::Block, 4 * MIB));
    lanes.push(message(Kind::Response, 4 * MIB));
    let mut records = 0;
    loop {
        records += 1;
        let done = received(&mut assembler, record(&mut lanes, Time(0)));
        if let Some(first) = done.first() {
            assert_eq!(first.kind, Kind::Block);
            break;
        }
    }
    let lower = 4 * MIB / RECORD_MAX;
    assert!(records >= lower && records <= lower * 2, "the block took {records} records");
}

#[test]
fn a_sender_paces_itself_to_what_the_receiver_allows() {
    let mut lanes = Lanes::new(Time(0), 16 * MIB);
    let mut assembler = Assembler::default();
    let burst = Kind::PeersRequest.row().burst as usize;
    for _ in 0..3 {
        lanes.push(message(Kind::PeersRequest, 1));
    }
    assert_eq!(received(&mut assembler, record(&mut lanes, Time(0))).len(), 1, "coalesced");
    for _ in 1..burst {
        lanes.push(message(Kind::PeersRequest, 1));
        assert_eq!(received(&mut assembler, record(&mut lanes, Time(0))).len(), 1);
    }
    lanes.push(message(Kind::PeersRequest, 1));
    assert_eq!(received(&mut assembler, record(&mut lanes, Time(0))).len(), 0);
    let ready = lanes.ready_at(Time(0)).unwrap();
    assert_eq!(ready, Time(1000));
    assert_eq!(received(&mut assembler, record(&mut lanes, ready)).len(), 1);
    assert_eq!(lanes.ready_at(ready), None);
}

#[test]
fn a_full_queue_does_what_its_kind_says() {
    let mut lanes = Lanes::new(Time(0), 64 * MIB);
    while lanes.push(message(Kind::Transaction, 100_000)) == Pushed::Queued {}
    assert!(lanes.bytes() <= Kind::Transaction.row().queue_bytes);
    assert_eq!(lanes.push(message(Kind::Transaction, 100_000)), Pushed::Dropped);

    while lanes.push(message(Kind::Vote, 4000)) == Pushed::Queued {}
    assert!(matches!(lanes.push(message(Kind::Vote, 4000)), Pushed::QueuedDropping(1)));

    lanes.push(message(Kind::Response, 4 * MIB));
    assert_eq!(lanes.push(message(Kind::Response, 4 * MIB)), Pushed::Overflowed);
}

#[test]
fn the_total_is_bounded_whatever_the_kinds_allow() {
    let mut lanes = Lanes::new(Time(0), 5 * MIB);
    assert_eq!(lanes.push(message(Kind::Block, 4 * MIB)), Pushed::Queued);
    assert_eq!(lanes.push(message(Kind::Response, 4 * MIB)), Pushed::Overflowed);
    assert!(lanes.bytes() <= 5 * MIB);
}

proptest! {
    /// Whatever is pushed comes out once, in order within its kind, and the accounts end at zero.
    #[test]
    fn everything_queued_arrives_once(sizes in prop::collection::vec((0usize..16, 0usize..3000), 1..60)) {
        let mut lanes = Lanes::new(Time(0), 64 * MIB);
        let mut assembler = Assembler::default();
        let mut expected = 0;
        for (kind, size) in sizes {
            let row = &KINDS[kind];
            if row.overflow == Overflow::Coalesce {
                continue;
            }
            if lanes.push(message(row.kind, size.min(row.body_max))) == Pushed::Queued {
                expected += 1;
            }
        }
        let (mut arrived, mut now) = (0, Time(0));
        while let Some(ready) = lanes.ready_at(now) {
            now = ready;
            arrived += received(&mut assembler, record(&mut lanes, now)).len();
        }
        prop_assert_eq!(arrived, expected);
        prop_assert!(lanes.is_empty());
    }
}
