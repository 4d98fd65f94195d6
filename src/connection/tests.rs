//! A connection as stories: the greeting, liveness, and a hostile peer in every role.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::{
    codec::{Capped, Text, encode},
    frame::RECORD_MAX,
    header::Header,
    identity::{Keypair, NetworkId, NodeId},
    lanes::Lanes,
    messages::{GossipHeader, Outgoing, Pace, Topic, ValidatorProof},
};

const NET: NetworkId = NetworkId([1; 32]);

fn terms() -> Terms {
    Terms {
        network: NET,
        remote: NodeId([2; 32]),
        handshake_hash: [3; 32],
        ping_interval: 20_000,
        ping_timeout: 10_000,
        idle_timeout: 60_000,
        hello_timeout: 5_000,
        reads_slowly: false,
    }
}

fn hello(validator: Option<ValidatorProof>) -> Hello {
    Hello {
        agent: Text::cut("test/1"),
        record: Capped::default(),
        height: 0,
        observed: "1.2.3.4:5".parse().unwrap(),
        metadata: Capped::default(),
        validator,
        pace: Pace::default(),
        purpose: Default::default(),
    }
}

fn proof(remote: NodeId) -> ValidatorProof {
    let key = Keypair::from_seed(&[7; 32]);
    let signed = validator_proof_message(&remote, &[3; 32]);
    ValidatorProof {
        key: key.public(),
        signature: key.sign(Purpose::ValidatorSession, &NET, &signed),
    }
}

/// One side of a connection and the remote's outgoing queues.
struct Scene {
    connection: Connection,
    remote: Lanes,
}

impl Scene {
    fn new() -> Self {
        let connection = Connection::new(Time(0), terms(), &hello(None), 0, &mut Vec::new());
        Scene { connection, remote: Lanes::new(Time(0), 64 << 20) }
    }

    fn greeted(validator: Option<ValidatorProof>) -> Self {
        let mut scene = Scene::new();
        let out = scene.receives(Time(10), Kind::Hello, vec![], encode(&hello(validator)).unwrap());
        assert!(matches!(out[0], Action::Greeted(_)), "{out:?}");
        scene
    }

    fn receives(&mut self, now: Time, kind: Kind, header: Vec<u8>, body: Vec<u8>) -> Vec<Action> {
        self.remote.push(Outgoing {
            kind,
            header: Header::new(&header).unwrap(),
            body: body.into(),
        });
        let (mut out, mut record) = (Vec::new(), BytesMut::new());
        self.remote.fill(now, &mut record, RECORD_MAX);
        self.connection.on_record(now, &record, &mut out);
        out
    }

    fn wakes(&mut self) -> (Time, Vec<Action>) {
        let (now, mut out) = (self.connection.deadline().unwrap(), Vec::new());
        self.connection.on_deadline(now, &mut out);
        (now, out)
    }
}

fn gossip() -> Vec<u8> {
    encode(&GossipHeader { hops: 0, topic: Topic(0) }).unwrap()
}

fn violation(out: &[Action]) -> Violation {
    match out.last() {
        Some(Action::End(End::Violation(violation))) => *violation,
        other => panic!("no violation but {other:?}"),
    }
}

#[test]
fn both_greet_then_a_round_trip_is_measured() {
    let mut out = Vec::new();
    Connection::new(Time(0), terms(), &hello(None), 0, &mut out);
    assert!(matches!(&out[0], Action::Send(message) if message.kind == Kind::Hello));

    let mut scene = Scene::greeted(None);
    let pong = encode(&Ping { nonce: 1 }).unwrap();
    assert_eq!(scene.receives(Time(52), Kind::Pong, vec![], pong), vec![Action::RoundTrip(42)]);
    let (now, out) = scene.wakes();
    assert_eq!(now, Time(20_052));
    assert!(matches!(&out[0], Action::Send(message) if message.kind == Kind::Ping));
}

#[test]
fn a_silent_peer_is_given_up() {
    let mut scene = Scene::new();
    assert_eq!(scene.wakes(), (Time(5_000), vec![Action::End(End::HelloTimeout)]));
    let mut scene = Scene::greeted(None);
    assert_eq!(scene.wakes(), (Time(10_010), vec![Action::End(End::PingTimeout)]));
    assert_eq!(scene.connection.deadline(), None);
}

/// Behind the last word on the control lane other lanes may bring what was sent before it; silence
/// is no fault any more. Before the greeting it is a goodbye like any.
#[test]
fn what_was_sent_before_the_last_word_is_heard_after_it() {
    let upgraded = || {
        let reason = CloseReason::Upgraded.code();
        encode(&Disconnect { reason, retry_after_ms: 0 }).unwrap()
    };
    let mut scene = Scene::greeted(None);
    let out = scene.receives(Time(20), Kind::Disconnect, vec![], upgraded());
    assert_eq!(out, [Action::LastWord]);
    let out = scene.receives(Time(30), Kind::Block, gossip(), vec![7; 1_000]);
    assert!(matches!(&out[..], [Action::Deliver(message)] if message.kind == Kind::Block));
    assert_eq!(scene.connection.deadline(), None);
    let out = Scene::new().receives(Time(20), Kind::Disconnect, vec![], upgraded());
    assert!(matches!(&out[..], [Action::End(End::Remote { .. })]));
}

#[test]
fn what_the_peer_takes_may_change() {
    let mut scene = Scene::greeted(None);
    let takes = |bytes_per_second| encode(&Takes { bytes_per_second }).unwrap();
    for bytes in [1_000, 0, u64::MAX] {
        let out = scene.receives(Time(20), Kind::Takes, vec![], takes(bytes));
        assert_eq!(out, [Action::Takes(bytes)]);
    }
    let out = scene.receives(Time(20), Kind::Takes, vec![], vec![]);
    assert_eq!(violation(&out), Violation::Malformed(Kind::Takes));
}

#[test]
fn a_ping_is_answered_with_its_nonce() {
    let mut scene = Scene::greeted(None);
    let ping = encode(&Ping { nonce: 99 }).unwrap();
    let out = scene.receives(Time(20), Kind::Ping, vec![], ping.clone());
    assert_eq!(out, vec![Action::Send(plain(Kind::Pong, ping))]);
}

#[test]
fn nothing_is_delivered_before_the_greeting_and_there_is_only_one() {
    let out = Scene::new().receives(Time(1), Kind::Transaction, gossip(), vec![1]);
    assert_eq!(violation(&out), Violation::OutOfTurn(Kind::Transaction));
    let mut scene = Scene::greeted(None);
    let out = scene.receives(Time(11), Kind::Hello, vec![], encode(&hello(None)).unwrap());
    assert_eq!(violation(&out), Violation::OutOfTurn(Kind::Hello));
}

#[test]
fn a_role_is_proven_never_claimed() {
    let out = Scene::greeted(None).receives(Time(20), Kind::Vote, gossip(), vec![0; 104]);
    assert_eq!(violation(&out), Violation::WrongRole(Kind::Vote));

    let mut scene = Scene::greeted(Some(proof(NodeId([2; 32]))));
    let out = scene.receives(Time(20), Kind::Vote, gossip(), vec![0; 104]);
    assert!(matches!(out[0], Action::Deliver(_)));

    let stolen = Some(proof(NodeId([9; 32])));
    let out = Scene::new().receives(Time(1), Kind::Hello, vec![], encode(&hello(stolen)).unwrap());
    assert_eq!(violation(&out), Violation::FalseProof);
}

#[test]
fn a_flood_of_a_kind_is_a_violation_and_a_paced_sender_is_not() {
    let mut scene = Scene::greeted(None);
    for second in 0..100u64 {
        let out = scene.receives(Time(1000 * second + 20), Kind::PeersRequest, vec![], vec![1]);
        assert!(matches!(out[0], Action::Deliver(_)), "{out:?}");
    }
    let request = [2u8, 3, 7, 0, 10, 0, 1, 0, 0, 0, 1];
    let mut out = Vec::new();
    for _ in 0..20 {
        scene.connection.on_record(Time(99_500), &request, &mut out);
    }
    assert_eq!(violation(&out), Violation::TooMany(Kind::PeersRequest));
}

/// Attack row 6: records without content count.
#[test]
fn a_flood_of_empty_records_ends_the_connection() {
    let mut scene = Scene::greeted(None);
    let mut out = Vec::new();
    for _ in 0..=RECORDS_BURST {
        scene.connection.on_record(Time(20), &[], &mut out);
    }
    assert_eq!(violation(&out), Violation::TooManyRecords);
}

/// Attack row 5: a message that was started must arrive at 16 KiB a second or faster.
#[test]
fn a_trickling_message_is_cut_off_and_a_slow_one_is_not() {
    let start = |scene: &mut Scene| {
        let first = [1u8, 1, 11, 0, 20, 5, 0, 0, 64, 0, 0, 0, 0, 0, 0];
        scene.connection.on_record(Time(20), &first, &mut Vec::new());
        let pong = encode(&Ping { nonce: 1 }).unwrap();
        scene.receives(Time(21), Kind::Pong, vec![], pong);
    };
    let mut scene = Scene::greeted(None);
    start(&mut scene);
    assert_eq!(scene.wakes(), (Time(10_020), vec![Action::End(End::TooSlow)]));

    let mut scene = Scene::greeted(None);
    start(&mut scene);
    for second in 1..10u64 {
        let mut frame = vec![1u8, 0, 0, 80];
        frame.resize(4 + 20_480, 0);
        scene.connection.on_record(Time(1000 * second), &frame, &mut Vec::new());
    }
    assert_eq!(scene.wakes(), (Time(10_020), vec![]));
}

/// Attack row 5, inside one record: its bytes are a sign of life, and still too slow.
#[test]
fn a_trickling_record_is_cut_off() {
    let mut scene = Scene::greeted(None);
    let pong = encode(&Ping { nonce: 1 }).unwrap();
    scene.receives(Time(20), Kind::Pong, vec![], pong);
    for second in 1..10u64 {
        scene.connection.on_partial_record(Time(1000 * second), 100, true);
    }
    assert_eq!(scene.wakes(), (Time(11_000), vec![Action::End(End::TooSlow)]));

    let mut scene = Scene::greeted(None);
    scene.connection.on_partial_record(Time(20), 100, true);
    scene.connection.on_partial_record(Time(30), 0, false);
    assert_eq!(scene.connection.deadline(), Some(Time(10_030)), "the ping's, nothing trickles");
}

/// The answer waits behind what a limit lets through slowly; the peer is not dead.
#[test]
fn a_peer_that_sends_something_else_than_the_answer_lives() {
    let mut scene = Scene::greeted(None);
    for second in 1..60u64 {
        scene.connection.on_partial_record(Time(1_000 * second), 20_000, false);
        assert!(scene.connection.deadline().unwrap() > Time(1_000 * second));
    }
    assert_eq!(scene.wakes(), (Time(69_000), vec![Action::End(End::PingTimeout)]));
}

/// The other's pings arrive late here, so ours show it that we live.
#[test]
fn a_node_that_reads_slowly_pings_again_without_an_answer() {
    let terms = Terms { reads_slowly: true, ..terms() };
    let mut connection = Connection::new(Time(0), terms, &hello(None), 0, &mut Vec::new());
    let mut out = Vec::new();
    let mut lanes = Lanes::new(Time(0), 1 << 20);
    lanes.push(plain(Kind::Hello, encode(&hello(None)).unwrap()));
    let mut record = BytesMut::new();
    lanes.fill(Time(0), &mut record, RECORD_MAX);
    connection.on_record(Time(0), &record, &mut out);
    let mut pings = 0;
    for _ in 0..6 {
        let now = connection.deadline().unwrap();
        out.clear();
        connection.on_deadline(now, &mut out);
        connection.on_partial_record(now, 4_096, true);
        pings += out.iter().filter(|action| matches!(action, Action::Send(_))).count();
    }
    assert_eq!(pings, 6);
}

#[test]
fn a_header_or_body_that_does_not_decode_is_a_violation() {
    for (kind, header, body) in [
        (Kind::Block, vec![], vec![1]),
        (Kind::Block, vec![0; 6], vec![1]),
        (Kind::Block, vec![0, 1, 0, 0, 0], vec![1]),
        (Kind::Request, vec![0; 3], vec![]),
        (Kind::Ping, vec![], vec![0; 7]),
        (Kind::Ping, vec![1], vec![0; 8]),
        (Kind::Have, vec![1], vec![]),
    ] {
        let out = Scene::greeted(None).receives(Time(20), kind, header, body);
        assert_eq!(violation(&out), Violation::Malformed(kind));
    }
}

#[test]
fn a_goodbye_carries_its_reason() {
    let body = encode(&Disconnect { reason: 4, retry_after_ms: 60_000 }).unwrap();
    let out = Scene::greeted(None).receives(Time(20), Kind::Disconnect, vec![], body);
    assert_eq!(out, vec![Action::End(End::Remote { reason: 4, retry_after_ms: 60_000 })]);
}

proptest! {
    /// An arbitrary hostile peer: any records at any times, and the machine stays in one piece.
    #[test]
    fn no_peer_can_make_it_panic(records in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..64)), 0..20)) {
        let mut scene = Scene::greeted(None);
        let mut out = Vec::new();
        for (now, record) in records {
            scene.connection.on_record(Time(now), &record, &mut out);
            scene.connection.on_deadline(Time(now), &mut out);
        }
        prop_assert!(out.iter().filter(|action| matches!(action, Action::End(_))).count() <= 1);
    }
}
