//! Lanes as stories: who goes first, who never starves, what a full queue does.

use proptest::prelude::*;

use super::*;
use crate::{
    frame::{Assembler, Message, RECORD_MAX},
    messages::Pace,
    rate::SLOWEST_BYTES_PER_SECOND,
};

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

/// Strangers' messages that wait for their rate hold up nothing of the node's own.
#[test]
fn what_is_carried_holds_up_nothing_that_is_not() {
    let mut lanes = Lanes::new(Time(0), 16 * MIB);
    let mut assembler = Assembler::default();
    let opens = Kind::CircuitOpen.row().burst as usize;
    for _ in 0..opens + 20 {
        assert_eq!(lanes.push(message(Kind::CircuitOpen, 0)), Pushed::Queued);
    }
    let first = received(&mut assembler, record(&mut lanes, Time(0)));
    assert_eq!(first.len(), opens, "the others wait");
    assert_eq!(lanes.ready_at(Time(0)), Some(Time(10)));
    for kind in [Kind::Request, Kind::Response, Kind::Custom] {
        lanes.push(message(kind, 100));
        let next = received(&mut assembler, record(&mut lanes, Time(0)));
        assert_eq!(next.iter().map(|m| m.kind).collect::<Vec<_>>(), [kind]);
    }
    let next = received(&mut assembler, record(&mut lanes, Time(10)));
    assert_eq!(next.iter().map(|m| m.kind).collect::<Vec<_>>(), [Kind::CircuitOpen]);
}

/// While both wait, what is carried has about a quarter; alone it has all.
#[test]
fn what_is_carried_has_a_quarter_of_its_lane() {
    let mut lanes = Lanes::new(Time(0), 16 * MIB);
    let mut assembler = Assembler::default();
    for _ in 0..60 {
        lanes.push(message(Kind::CircuitData, 16 * 1024));
        lanes.push(message(Kind::Custom, 16 * 1024));
    }
    let mut bytes = [0usize; 2];
    while bytes[1] < 40 * 16 * 1024 {
        for message in received(&mut assembler, record(&mut lanes, Time(0))) {
            bytes[usize::from(message.kind == Kind::Custom)] += message.body.len();
        }
    }
    let share = bytes[0] * 100 / (bytes[0] + bytes[1]);
    assert!((20..=30).contains(&share), "{share} % is carried");
    let mut rest = 0;
    while !lanes.is_empty() {
        rest += received(&mut assembler, record(&mut lanes, Time(0))).len();
    }
    assert!(rest > 60 && lanes.ready_at(Time(0)).is_none());
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

/// Bytes of each lane's messages in so many seconds at a limit of 1 MB a second, while every lane
/// but the votes' always has something to send, and votes use `votes` bytes a second.
fn shares(seconds: u64, votes: usize) -> [usize; LANES] {
    const RATE: u64 = 1_000_000;
    let mut lanes = Lanes::new(Time(0), 64 * MIB);
    lanes.set_upload_rate(Time(0), RATE);
    let mut assembler = Assembler::default();
    let mut bytes = [0; LANES];
    for ms in 0..seconds * 1000 {
        for (kind, size) in [
            (Kind::Block, 300_000),
            (Kind::Have, 16 * 1024),
            (Kind::Transaction, 250),
            (Kind::Request, 100_000),
        ] {
            while lanes.has_room(kind, Lanes::cost(&message(kind, size))) {
                lanes.push(message(kind, size));
            }
        }
        if ms % 100 == 0 {
            (0..votes / 10 / 1_000).for_each(|_| {
                assert_ne!(lanes.push(message(Kind::Vote, 1_000)), Pushed::Overflowed)
            });
        }
        let now = Time(ms);
        for message in received(&mut assembler, record(&mut lanes, now)) {
            bytes[message.kind.row().lane as usize] += message.body.len();
        }
    }
    bytes
}

/// Blocks 8, control 4, transactions 4, bulk 2, of what the limit and the votes leave.
#[test]
fn saturated_lanes_share_a_limit_by_weight() {
    for votes in [0, 300_000] {
        let bytes = shares(20, votes);
        let left = 20 * (1_000_000 - votes);
        for (lane, weight) in [(1, 8), (2, 4), (3, 4), (4, 2)] {
            let (got, wanted) = (bytes[lane], left * weight / 18);
            assert!(got.abs_diff(wanted) <= wanted / 10, "lane {lane}: {got}, not {wanted}");
        }
        assert!(bytes[0].abs_diff(20 * votes) <= votes / 10, "{} bytes of votes", bytes[0]);
    }
}

/// The other side takes a node for dead whose pings wait behind what a low limit holds back.
#[test]
fn a_ping_goes_in_front_of_what_a_limit_holds_back() {
    let mut lanes = Lanes::new(Time(0), 64 * MIB);
    lanes.set_upload_rate(Time(0), 10_000);
    let mut assembler = Assembler::default();
    lanes.push(message(Kind::Block, MIB));
    (0..10)
        .for_each(|_| assert_ne!(lanes.push(message(Kind::Have, 16 * 1024)), Pushed::Overflowed));
    for ms in 0..5_000 {
        received(&mut assembler, record(&mut lanes, Time(ms)));
    }
    lanes.hold(Time(0), Time(60_000));
    lanes.push(message(Kind::Ping, 8));
    lanes.push(message(Kind::Disconnect, 8));
    let mut kinds = Vec::new();
    for message in received(&mut assembler, record(&mut lanes, Time(5_000))) {
        kinds.push(message.kind);
    }
    // The one that was begun is finished first: lanes hold whole messages, in order.
    assert_eq!(kinds, [Kind::Have, Kind::Ping, Kind::Disconnect]);
    assert_eq!(received(&mut assembler, record(&mut lanes, Time(5_001))), []);
}

/// Votes alone may be more than the limit. What is behind them waits until they are fewer, and
/// not for as long again as they were many.
#[test]
fn what_votes_took_too_much_is_soon_forgiven() {
    let mut lanes = Lanes::new(Time(0), 64 * MIB);
    lanes.set_upload_rate(Time(0), 100_000);
    lanes.push(message(Kind::Block, 1_000));
    let mut now = Time(0);
    for _ in 0..600 {
        (0..200)
            .for_each(|_| assert_ne!(lanes.push(message(Kind::Vote, 1_000)), Pushed::Overflowed));
        while lanes.ready_at(now) == Some(now) {
            record(&mut lanes, now);
        }
        now = now.plus(1_000);
    }
    lanes.push(message(Kind::Block, 1_000));
    let ready = lanes.ready_at(now).expect("a block waits");
    assert!(ready.since(now) <= 3_000, "it waits for {} ms more", ready.since(now));
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

/// A lone transaction leaves an idle link at once; those right behind it gather until there is a
/// record's worth or their time is over, and votes wait for neither.
#[test]
fn transactions_on_a_busy_link_gather_and_a_lone_one_does_not_wait() {
    let mut lanes = Lanes::new(Time(0), 16 * MIB);
    let mut assembler = Assembler::default();
    let mut sent = |lanes: &mut Lanes, now| {
        let record = record(lanes, Time(now));
        received(&mut assembler, record).len()
    };
    lanes.push(message(Kind::Transaction, 256));
    assert_eq!(sent(&mut lanes, 100), 1, "at once");
    for _ in 0..3 {
        lanes.push(message(Kind::Transaction, 256));
    }
    assert_eq!(lanes.ready_at(Time(101)), Some(Time(100 + GATHER_MS)));
    lanes.push(message(Kind::Vote, 100));
    assert_eq!(sent(&mut lanes, 101), 1, "the vote");
    assert_eq!(sent(&mut lanes, 100 + GATHER_MS), 3, "all of them together");
    for _ in 0..GATHER_BYTES / 256 {
        lanes.push(message(Kind::Transaction, 256));
    }
    assert_eq!(sent(&mut lanes, 101 + GATHER_MS), GATHER_BYTES / 256, "they are many");
    assert_eq!(lanes.ready_at(Time(102 + GATHER_MS)), None);
}

/// Attack row 43: a peer can ask to be sent slowly, but not so slowly that what waits for it waits
/// for days.
#[test]
fn no_pace_is_slower_than_the_slowest_way() {
    for asked in [1, 1_000, SLOWEST_BYTES_PER_SECOND] {
        let mut lanes = Lanes::new(Time(0), 16 * MIB);
        lanes.set_pace(
            Time(0),
            Pace { rate_factor: 1, bytes_per_second: asked, blocks_only: false },
        );
        lanes.push(message(Kind::Custom, MIB));
        let (mut now, mut sent) = (Time(0), 0);
        while let Some(at) = lanes.ready_at(now) {
            now = now.max(at);
            sent += record(&mut lanes, now).len();
        }
        let seconds = MIB as u64 / SLOWEST_BYTES_PER_SECOND;
        assert!(now < Time((seconds + 2) * 1_000), "{sent} bytes took {now:?} at {asked}");
    }
}

/// Fills the queue of custom messages; the peer takes so many bytes each second. When it counts
/// as slow, if it does within ten minutes.
fn slow_after(bytes_per_second: usize, lanes: &mut Lanes) -> Option<Time> {
    for now in (0..600).map(|second| Time(second * 1_000)) {
        while lanes.push(message(Kind::Custom, 50_000)) == Pushed::Queued {}
        if lanes.is_slow(now, 20_000) {
            return Some(now);
        }
        let mut taken = BytesMut::new();
        while taken.len() < bytes_per_second && lanes.ready_at(now) == Some(now) {
            lanes.fill(now, &mut taken, bytes_per_second.max(FRAME_HEADER + FRAME_MIN + 1));
        }
    }
    None
}

/// Attack row 43: a socket that takes a little now and then never stalls, but a queue that stays
/// full tells.
#[test]
fn a_peer_that_keeps_a_queue_full_is_slow_and_a_modem_is_not() {
    let lanes = || Lanes::new(Time(0), 16 * MIB);
    assert_eq!(slow_after(0, &mut lanes()), Some(Time(20_000)));
    assert_eq!(slow_after(1_000, &mut lanes()), Some(Time(20_000)));
    assert_eq!(slow_after(16 * 1024, &mut lanes()), None);
    assert_eq!(slow_after(MIB, &mut lanes()), None);
    let mut ours = lanes();
    ours.set_upload_rate(Time(0), 1_000);
    assert_eq!(slow_after(MIB, &mut ours), None, "the limit is our own");
}

/// What was full once and is empty again is nobody's fault, and what we held back isn't either.
#[test]
fn a_queue_that_was_full_for_a_moment_costs_nothing() {
    let mut lanes = Lanes::new(Time(0), 16 * MIB);
    while lanes.push(message(Kind::Custom, 50_000)) == Pushed::Queued {}
    assert!(lanes.is_full() && !lanes.is_slow(Time(0), 20_000));
    lanes.excuse(5_000);
    assert!(!lanes.is_slow(Time(24_999), 20_000));
    assert_eq!(lanes.slow_at(20_000), Some(Time(25_000)));
    while lanes.bytes() > MIB {
        record(&mut lanes, Time(24_999));
    }
    assert!(!lanes.is_full() && !lanes.is_slow(Time(60_000), 20_000));
    assert_eq!(lanes.slow_at(20_000), None);
}
