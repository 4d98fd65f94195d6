//! Dials of nodes behind NATs.

use super::super::*;
use super::{
    anchors::{kinds, settled_among},
    stories::{Story, dials, far, node, verified},
};
use crate::{
    record::{
        Capabilities,
        tests::{NET, keypair, record_of},
    },
    time::Millis,
};

/// The record of a node behind a NAT, signed so many ms after the first.
fn hidden(number: u64, later: Millis) -> SignedRecord {
    let now = crate::record::tests::NOW.plus(later);
    let mut record = record_of(&keypair(number), &[far(number)], now);
    record.capabilities = record.capabilities.with(Capabilities::BEHIND_NAT);
    record.sign(&keypair(number), &NET).unwrap()
}

/// Dials whom it is told to, and nobody else.
fn quiet() -> Story {
    Story::new(ManagerConfig {
        min_peers: 0,
        wished_outbound: 0,
        blocks_only_outbound: 0,
        ..ManagerConfig::default()
    })
}

fn hole(port: u16) -> Address {
    Address::new([60, 1, 1, 1].into(), port).over(crate::address::TransportKind::Quic)
}

fn punched(actions: &[Action]) -> Vec<NodeId> {
    let punch = |action: &Action| match action {
        Action::Punch { peer } => Some(*peer),
        _ => None,
    };
    actions.iter().filter_map(punch).collect()
}

fn sought(actions: &[Action]) -> Vec<NodeId> {
    let seek = |action: &Action| match action {
        Action::SeekRecord { peer } => Some(*peer),
        _ => None,
    };
    actions.iter().filter_map(seek).collect()
}

fn asked(actions: &[Action]) -> Vec<NodeId> {
    let ask = |action: &Action| match action {
        Action::RequestPeers { peer, .. } => Some(*peer),
        _ => None,
    };
    actions.iter().filter_map(ask).collect()
}

impl Story {
    fn wants(&mut self, number: u64) {
        let target = Target { address: far(number), expected: Some(node(number)) };
        assert!(self.does(|m, now, out| m.connect(now, target, out)));
    }

    fn is_told(&mut self, by: u64, records: Vec<SignedRecord>) {
        self.does(|m, now, out| m.on_records(now, &node(by), records, out));
    }

    fn opens(&mut self, number: u64, port: u16) {
        self.does(|m, now, out| m.on_punched(now, node(number), hole(port), out));
    }

    fn fails(&mut self, attempt: DialId) {
        self.does(|m, now, out| m.on_dial_failed(now, attempt, DialFailure::Timeout, out));
    }
}

/// What passes for a hole goes by common peers, who must not learn whom we hear blocks from, and
/// are not asked for records of those either.
#[test]
fn no_hole_is_punched_to_those_that_we_only_hear_blocks_from() {
    let (_, all) = settled_among(ManagerConfig::default(), 600, |n| hidden(n, 0));
    let of = |wanted: LinkKind| {
        let dials = kinds(&all).into_iter().filter(|(_, link, _)| *link == wanted);
        let number = |at: Address| (1..=20).find(|n| far(*n) == at).unwrap();
        dials.map(|(_, _, at)| node(number(at))).collect::<Vec<NodeId>>()
    };
    assert_eq!(punched(&all), of(LinkKind::Full));
    assert_eq!(sought(&all), [], "the records were known");
    assert!(of(LinkKind::BlocksOnly).len() == 2 && !of(LinkKind::Feeler).is_empty());
}

#[test]
fn an_anchor_that_is_dialled_is_nobodys_to_know() {
    let mut story = Story::new(ManagerConfig { wished_outbound: 0, ..ManagerConfig::default() });
    story.comes(100, far(100));
    let anchor = Anchor { address: far(1), peer: node(1) };
    story.manager.restore_anchors([anchor]);
    let orders = story.pass(2_000);
    let [(_, LinkKind::BlocksOnly, _)] = kinds(&orders)[..] else { panic!("{orders:?}") };
    assert_eq!(punched(&orders), []);
    story.is_told(100, vec![hidden(1, 0)]);
    assert_eq!(punched(&story.out), []);
    story.opens(1, 5_000);
    assert_eq!(story.out, [], "it stays what it is: a dial for blocks");
}

/// A record that comes while its node is dialled is acted on if it is news, however often it comes.
#[test]
fn a_hole_is_punched_when_the_record_comes() {
    let mut story = quiet();
    for n in 100..110 {
        story.comes(n, far(n));
    }
    story.wants(1);
    assert_eq!((dials(&story.out).len(), asked(&story.out).len()), (1, 3));
    assert_eq!(punched(&story.out), [], "nobody knows yet");
    assert_eq!(sought(&story.out), [node(1)], "discovery looks for it too");
    story.is_told(100, vec![hidden(1, 0); 20]);
    assert_eq!(punched(&story.out), [node(1)]);
    story.is_told(101, vec![hidden(1, 0); 20]);
    assert_eq!(punched(&story.out), []);
    story.is_told(102, vec![hidden(1, 1), hidden(2, 0)]);
    assert_eq!(punched(&story.out), [node(1)], "nobody dials the other");
    story.is_told(103, vec![verified(3, &[far(3)]).signed().clone()]);
    story.wants(3);
    assert!(asked(&story.out).is_empty() && punched(&story.out).is_empty());
    assert_eq!(sought(&story.out), []);
}

/// Ids can be chosen: whoever has the lowest is asked no more often than others.
#[test]
fn random_peers_are_asked_for_a_record() {
    let mut story = Story::new(ManagerConfig::default());
    for n in 100..120 {
        story.comes(n, far(n));
    }
    let mut all = std::collections::BTreeSet::new();
    for n in 1..=6 {
        story.wants(n);
        all.extend(asked(&story.out));
    }
    assert!(all.len() > 6, "{} peers", all.len());
}

/// Both ways that were heard from are tried. When one has worked the other is not given up, as the
/// other side may prefer it already; but that it fails means nothing.
#[test]
fn two_ways_through_a_hole_are_tried_together() {
    let mut story = Story::new(ManagerConfig::default());
    story.wants(1);
    let [(plain, _)] = story.dials()[..] else { panic!("one dial") };
    story.opens(1, 5_000);
    let [(first, _)] = story.dials()[..] else { panic!("a dial: {:?}", story.out) };
    let cancelled = |attempt| Action::CancelDial { attempt, reason: CloseReason::Duplicate };
    assert!(story.out.contains(&cancelled(plain)));
    story.opens(1, 5_000);
    assert_eq!(story.out, [], "it is under way");
    story.opens(1, 5_001);
    let [(second, there)] = story.dials()[..] else { panic!("a dial: {:?}", story.out) };
    assert!(!story.out.contains(&cancelled(first)));
    story.opens(1, 5_002);
    assert_eq!(story.out, []);
    let session = story.session();
    let mut established = Story::established(1, there, Direction::Outbound(second));
    established.record = Some(verified(1, &[far(1)]));
    story.does(|m, now, out| m.on_established(now, session, established, out));
    assert!(story.has(1) && !story.out.contains(&cancelled(first)));
    story.fails(first);
    assert!(story.has(1) && story.dials().is_empty());
    let target = &story.manager.dialler.targets[0];
    assert_eq!(target.failures, 0);
    assert_eq!(story.manager.peer(&node(1)).unwrap().place, Place::Persistent);
    // The port is open for this connection and no other.
    assert!(story.manager.book().get(&there).is_none());
    assert!(story.manager.book().get(&far(1)).is_some(), "its record's");
}

/// What fails by a hole fails: the next attempt is made later and later.
#[test]
fn a_named_node_that_is_punched_in_vain_is_dialled_less_often() {
    let mut story = Story::new(ManagerConfig::default());
    story.wants(1);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let [(_, at)] = story.dials()[..] else { panic!("one dial: {:?}", story.out) };
        assert_eq!(at, far(1));
        story.opens(1, 5_000);
        let [(first, _)] = story.dials()[..] else { panic!("{:?}", story.out) };
        story.opens(1, 5_001);
        let [(second, _)] = story.dials()[..] else { panic!("{:?}", story.out) };
        story.fails(first);
        story.fails(second);
        let failed = story.now;
        while story.dials().is_empty() {
            story.now = story.manager.deadline().unwrap();
            story.does(|m, now, out| m.on_deadline(now, out));
        }
        waits.push(story.now.since(failed));
    }
    assert!((800..3_000).contains(&waits[0]) && waits[7] > 100_000, "{waits:?}");
    // Each is twice as long, a quarter more or less, and the look around a second more.
    assert!(waits.windows(3).all(|three| three[2] > three[0]), "{waits:?}");
}

#[test]
fn a_hole_is_dialled_within_the_limits_of_any_dial() {
    let mut story = quiet();
    story.wants(1);
    let opens = |story: &mut Story, number, port| {
        story.opens(number, port);
        !story.dials().is_empty()
    };
    // Somebody's who was banned five times over, and our own.
    for n in 200..205 {
        story.comes(n, hole(n as u16));
        story.does(|m, now, out| m.on_banned(now, node(n), now.plus(60_000), out));
    }
    assert!(!opens(&mut story, 1, 5_000));
    for n in 200..205 {
        story.does(|m, now, out| m.on_unbanned(now, &node(n), out));
    }
    story.does(|m, now, _| m.on_listening(now, hole(5_001)));
    assert!(!opens(&mut story, 1, 5_001));
    assert!(opens(&mut story, 1, 5_000));
    // All places for attempts are taken, so a second way is one too many.
    (2..=8).for_each(|n| story.wants(n));
    assert_eq!(story.manager.status().dialling, 8);
    assert!(!opens(&mut story, 1, 5_002));
    assert!(opens(&mut story, 2, 5_003), "one that takes another's place is none more");
}

/// A hole's IP is its node's word: two dials a minute, however many nodes and ports are named.
#[test]
fn forged_holes_lead_to_two_dials_a_minute_at_one_ip() {
    let config =
        ManagerConfig { min_peers: 0, blocks_only_outbound: 0, ..ManagerConfig::default() };
    let mut story = Story::new(config);
    let dialled = |story: &mut Story| {
        let mut dialled = 0;
        for n in 0..100 {
            story.opens(9 + u64::from(n), 6_000 + n);
            for (attempt, _) in story.dials() {
                dialled += 1;
                story.fails(attempt);
            }
        }
        dialled
    };
    assert_eq!(dialled(&mut story), 2);
    story.pass(59_000);
    assert_eq!(dialled(&mut story), 0);
    story.pass(1_000);
    assert_eq!(dialled(&mut story), 2);
    // Whoever really is there may be dialled all the same.
    story.comes(200, far(200));
    story.is_told(200, vec![verified(50, &[hole(9_000)]).signed().clone()]);
    let began = story.now;
    while story.dials().is_empty() {
        story.now = story.manager.deadline().unwrap();
        story.does(|m, now, out| m.on_deadline(now, out));
    }
    assert!(story.now.since(began) < 10_000);
}

/// The address that is told may refuse at once, and the hole be there half a second later.
#[test]
fn a_hole_counts_for_what_was_dialled_when_it_was_ordered() {
    let mut story = Story::new(ManagerConfig {
        min_peers: 0,
        wished_outbound: 1,
        blocks_only_outbound: 0,
        ..ManagerConfig::default()
    });
    story.comes(100, far(100));
    story.is_told(100, vec![hidden(1, 0)]);
    let mut orders = story.pass(1_000);
    while dials(&orders).is_empty() {
        orders = story.pass(1_000);
    }
    assert_eq!(punched(&orders), [node(1)]);
    let [(plain, _)] = dials(&orders)[..] else { panic!("{orders:?}") };
    story.fails(plain);
    // Another takes its place.
    story.is_told(100, vec![verified(2, &[far(2)]).signed().clone()]);
    while story.dials().is_empty() {
        story.now = story.manager.deadline().unwrap();
        story.does(|m, now, out| m.on_deadline(now, out));
    }
    assert_eq!(story.manager.missing_outbound(), 0);
    story.opens(1, 5_000);
    let [(_, at)] = story.dials()[..] else { panic!("{:?}", story.out) };
    assert_eq!(at, hole(5_000));
}

/// Attack row 20: no hole leads to a third peer of our choice in one neighbourhood.
#[test]
fn a_hole_in_a_crowded_neighbourhood_is_not_dialled() {
    let mut story = Story::new(ManagerConfig {
        min_peers: 0,
        wished_outbound: 8,
        blocks_only_outbound: 0,
        ..ManagerConfig::default()
    });
    story.opens(1, 5_000);
    assert_eq!(story.dials().len(), 1);
    let near = |number: u8| Address::new([60, 1, number, 1].into(), 5_000);
    let quic = |at: Address| at.over(crate::address::TransportKind::Quic);
    for (number, dialled) in [(2, true), (3, false)] {
        story.does(|m, now, out| m.on_punched(now, node(number), quic(near(number as u8)), out));
        assert_eq!(!story.dials().is_empty(), dialled, "{number}");
    }
}

/// What discovery finds of a node that is being dialled has the hole punched.
#[test]
fn a_hole_is_punched_when_discovery_finds_the_record() {
    let mut story = quiet();
    story.comes(100, far(100));
    story.wants(1);
    assert_eq!(sought(&story.out), [node(1)]);
    let found = |number: u64| hidden(number, 0).verify(&NET, crate::record::tests::NOW).unwrap();
    story.does(|m, now, out| m.on_learnt(now, found(1), None, out));
    assert_eq!(punched(&story.out), [node(1)]);
    story.does(|m, now, out| m.on_learnt(now, found(2), None, out));
    assert_eq!(punched(&story.out), []);
}

/// A node that cannot punch asks nobody for records because of it.
#[test]
fn without_hole_punching_nothing_is_asked_or_ordered() {
    let config = ManagerConfig { hole_punching: false, min_peers: 0, ..ManagerConfig::default() };
    let mut story = Story::new(ManagerConfig { wished_outbound: 0, ..config });
    story.comes(100, far(100));
    story.wants(1);
    assert!(asked(&story.out).is_empty() && sought(&story.out).is_empty());
    story.is_told(100, vec![hidden(1, 0)]);
    assert_eq!(punched(&story.out), []);
}

/// Whoever comes through a relay and is behind a NAT is punched by the upgrade's dial, and the hole
/// takes the relayed connection's place.
#[test]
fn a_relayed_peer_becomes_a_punched_one() {
    let mut story = super::circuits::quiet();
    super::circuits::relay_comes(&mut story, 9);
    let through = super::circuits::through(9);
    let mut record = record_of(&keypair(1), &[far(1), through], crate::record::tests::NOW);
    record.capabilities = record.capabilities.with(Capabilities::BEHIND_NAT);
    let record = record.sign(&keypair(1), &NET).unwrap();
    let record = record.verify(&NET, crate::record::tests::NOW).unwrap();
    let relayed = story.comes_as(Established {
        record: Some(record),
        ..Story::established(1, through, Direction::Inbound)
    });
    let orders = story.pass(2_000);
    assert_eq!(punched(&orders), [node(1)]);
    story.opens(1, 5_000);
    let [(attempt, at)] = story.dials()[..] else { panic!("{:?}", story.out) };
    assert_eq!(at, hole(5_000));
    let session = story.session();
    let direct = Story::established(1, at, Direction::Outbound(attempt));
    story.does(|m, now, out| m.on_established(now, session, direct, out));
    assert!(story.out.contains(&Action::Retire { session: relayed }), "{:?}", story.out);
    let view = story.manager.peer(&node(1)).unwrap();
    assert!(view.punched && view.address == at && !view.chosen);
}

/// A relayed peer that tells no address but its relays' may tell more to whoever punches.
#[test]
fn a_relayed_peer_without_an_address_is_punched() {
    let mut story = super::circuits::quiet();
    super::circuits::relay_comes(&mut story, 9);
    let through = super::circuits::through(9);
    let mut record = record_of(&keypair(1), &[through], crate::record::tests::NOW);
    record.capabilities = record.capabilities.with(Capabilities::BEHIND_NAT);
    let record = record.sign(&keypair(1), &NET).unwrap();
    let record = record.verify(&NET, crate::record::tests::NOW).unwrap();
    story.comes_as(Established {
        record: Some(record),
        ..Story::established(1, through, Direction::Inbound)
    });
    let orders = story.pass(2_000);
    assert_eq!((punched(&orders), dials(&orders)), (vec![node(1)], vec![]));
    story.opens(1, 5_000);
    assert_eq!(story.dials().iter().map(|(_, at)| *at).collect::<Vec<_>>(), [hole(5_000)]);
}
