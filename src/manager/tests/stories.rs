//! One manager, step by step.

use std::net::IpAddr;

use super::super::*;
use crate::record::{
    ValidatorBinding, VerifiedRecord,
    tests::{NET, NOW, keypair, record_of, signed},
};

/// A manager under test, the time, and what it ordered last.
pub(super) struct Story {
    pub(super) manager: Manager,
    pub(super) now: Time,
    pub(super) out: Vec<Action>,
    sessions: u64,
}

pub(super) fn address(text: &str) -> Address {
    text.parse().unwrap()
}

pub(super) fn node(number: u64) -> NodeId {
    keypair(number).node_id()
}

/// An address in a neighbourhood of its own.
pub(super) fn far(number: u64) -> Address {
    let [a, b] = (number as u16).to_be_bytes();
    Address::new(IpAddr::from([50 + a, b, 1, 1]), 30400)
}

pub(super) fn verified(number: u64, addresses: &[Address]) -> VerifiedRecord {
    signed(&keypair(number), addresses, NOW).verify(&NET, NOW).unwrap()
}

impl Story {
    pub(super) fn new(config: ManagerConfig) -> Self {
        let config = ManagerConfig { start_spread: 0, ..config };
        let identity = ManagerIdentity {
            node: node(0),
            network: NET,
            validator: Some(keypair(1_000).public()),
        };
        let manager = Manager::new(identity, config, [3; 32]);
        let mut story = Story { manager, now: NOW, out: Vec::new(), sessions: 0 };
        story.does(|m, now, out| m.on_start(now, &[], &[], out));
        story
    }

    pub(super) fn does<T>(
        &mut self,
        input: impl FnOnce(&mut Manager, Time, &mut Vec<Action>) -> T,
    ) -> T {
        self.out.clear();
        input(&mut self.manager, self.now, &mut self.out)
    }

    /// Lets time pass, with every deadline on the way; all orders of that time.
    pub(super) fn pass(&mut self, span: Millis) -> Vec<Action> {
        let (end, mut all) = (self.now.plus(span), Vec::new());
        while let Some(at) = self.manager.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.does(|m, now, out| m.on_deadline(now, out));
            all.append(&mut self.out);
        }
        self.now = end;
        all
    }

    pub(super) fn established(peer: u64, address: Address, direction: Direction) -> Established {
        let record = Some(verified(peer, &[address]));
        Established {
            peer: node(peer),
            address,
            direction,
            channel: [0; 32],
            record,
            validator: None,
            blocks_only: false,
            visit: false,
        }
    }

    pub(super) fn session(&mut self) -> SessionId {
        self.sessions += 1;
        SessionId(self.sessions)
    }

    /// Somebody connects and shakes hands.
    pub(super) fn comes(&mut self, peer: u64, address: Address) -> SessionId {
        self.comes_as(Self::established(peer, address, Direction::Inbound))
    }

    pub(super) fn comes_as(&mut self, established: Established) -> SessionId {
        let session = self.session();
        let address = established.address;
        self.does(|m, now, out| m.on_inbound_attempt(now, session, address, out));
        if self.out == [Action::Accept { session }] {
            self.does(|m, now, out| m.on_established(now, session, established, out));
        }
        session
    }

    /// The attempts among the last orders.
    pub(super) fn dials(&self) -> Vec<(DialId, Address)> {
        dials(&self.out)
    }

    pub(super) fn closed(&self, session: SessionId) -> Option<CloseReason> {
        self.out.iter().find_map(|action| match action {
            Action::Close { session: closed, reason, .. } if *closed == session => Some(*reason),
            _ => None,
        })
    }

    pub(super) fn has(&self, peer: u64) -> bool {
        self.manager.peer(&node(peer)).is_some()
    }
}

pub(super) fn dials(actions: &[Action]) -> Vec<(DialId, Address)> {
    let dial = |action: &Action| match action {
        Action::Dial { attempt, address, .. } => Some((*attempt, *address)),
        _ => None,
    };
    actions.iter().filter_map(dial).collect()
}

fn target(address: Address) -> Target {
    Target { address, expected: None }
}

#[test]
fn a_named_node_is_dialled_until_it_answers() {
    let mut story = Story::new(ManagerConfig::default());
    assert!(story.does(|m, now, out| m.connect(now, target(far(1)), out)));
    let mut waits = Vec::new();
    for _ in 0..12 {
        let [(attempt, _)] = story.dials()[..] else { panic!("one dial: {:?}", story.out) };
        story.does(|m, now, out| m.on_dial_failed(now, attempt, DialFailure::Refused, out));
        let began = story.now;
        while story.dials().is_empty() {
            story.now = story.manager.deadline().unwrap();
            story.does(|m, now, out| m.on_deadline(now, out));
        }
        waits.push(story.now.since(began));
    }
    assert!((800..3_000).contains(&waits[0]), "{waits:?}");
    assert!((3_200..7_000).contains(&waits[2]), "{waits:?}");
    assert!((240_000..365_000).contains(&waits[11]), "{waits:?}");

    let [(attempt, there)] = story.dials()[..] else { panic!("one dial") };
    let session = story.session();
    let established = Story::established(1, there, Direction::Outbound(attempt));
    story.does(|m, now, out| m.on_established(now, session, established, out));
    assert!(story.has(1));
    assert!(story.manager.peer(&node(1)).unwrap().place.is_reserved());
    assert!(story.out.iter().any(|a| matches!(a, Action::PersistAddress(_))));
    assert!(story.out.iter().any(|a| matches!(a, Action::PersistRecord(_))));
    assert!(story.out.iter().any(|a| matches!(a, Action::RequestPeers { .. })));
    assert!(dials(&story.pass(3_600_000)).is_empty(), "it is there");
}

#[test]
fn a_dial_that_hangs_is_given_up() {
    let mut story = Story::new(ManagerConfig::default());
    story.does(|m, now, out| m.connect(now, target(far(1)), out));
    let [(attempt, _)] = story.dials()[..] else { panic!("one dial") };
    let orders = story.pass(10_000);
    let reason = CloseReason::HandshakeTimeout;
    assert!(orders.contains(&Action::CancelDial { attempt, reason }));
    let session = story.session();
    let late = Story::established(1, far(1), Direction::Outbound(attempt));
    story.does(|m, now, out| m.on_established(now, session, late, out));
    assert_eq!(story.closed(session), Some(CloseReason::HandshakeTimeout));
    assert!(!story.has(1));
}

#[test]
fn a_disconnected_peer_is_left_alone_for_a_while() {
    let mut story = Story::new(ManagerConfig::default());
    story.does(|m, now, out| m.connect(now, target(far(1)), out));
    let [(attempt, _)] = story.dials()[..] else { panic!("one dial") };
    let session = story.session();
    let established = Story::established(1, far(1), Direction::Outbound(attempt));
    story.does(|m, now, out| m.on_established(now, session, established, out));
    assert!(story.does(|m, now, out| m.disconnect(now, &node(1), out)));
    assert_eq!(story.closed(session), Some(CloseReason::Requested));
    assert!(dials(&story.pass(299_000)).is_empty());
    assert!(!dials(&story.pass(10_000)).is_empty(), "then it is a node like any other");
}

/// A peer of the configuration is left alone for as long as any other, and then redialled for
/// ever; `connect` of its address changes nothing about that.
#[test]
fn a_disconnected_peer_of_the_configuration_comes_back_after_the_pause() {
    let mut story = Story::new(ManagerConfig::default());
    let named = target(far(1));
    assert!(story.does(|m, now, out| m.on_name_resolved(now, named, (NameId(0), true), out)));
    let [(mut attempt, _)] = story.dials()[..] else { panic!("one dial") };
    for _ in 0..2 {
        let session = story.session();
        let established = Story::established(1, far(1), Direction::Outbound(attempt));
        story.does(|m, now, out| m.on_established(now, session, established, out));
        story.does(|m, now, out| m.connect(now, named, out));
        assert!(story.does(|m, now, out| m.disconnect(now, &node(1), out)));
        assert!(dials(&story.pass(299_000)).is_empty());
        let again = dials(&story.pass(10_000));
        let [(next, to)] = again[..] else { panic!("{again:?}") };
        assert_eq!(to, far(1));
        attempt = next;
    }
}

#[test]
fn a_banned_node_is_closed_refused_and_not_dialled() {
    let mut story = Story::new(ManagerConfig::default());
    let session = story.comes(1, far(1));
    assert!(story.has(1));
    let until = story.now.plus(60_000);
    story.does(|m, now, out| m.on_banned(now, node(1), until, out));
    assert_eq!(story.closed(session), Some(CloseReason::Banned));
    let down = story.out.iter().find(|a| matches!(a, Action::PeerDown { .. }));
    assert!(down.is_some());
    let again = story.comes(1, far(2));
    assert_eq!(story.closed(again), Some(CloseReason::Banned));
    assert!(dials(&story.pass(59_000)).is_empty());
    story.pass(2_000);
    story.comes(1, far(2));
    assert!(story.has(1), "a ban ends");
    story.does(|m, now, out| m.on_banned(now, node(1), Time::NEVER, out));
    story.does(|m, now, out| m.on_unbanned(now, &node(1), out));
    story.comes(1, far(2));
    assert!(story.has(1), "or is lifted");
}

#[test]
fn a_full_node_says_where_else_to_go() {
    let config = ManagerConfig { max_peers: 4, wished_outbound: 1, ..ManagerConfig::default() };
    let mut story = Story::new(config);
    for peer in 1..=3 {
        story.comes(peer, far(peer));
        assert!(story.has(peer));
    }
    let session = story.comes(9, far(9));
    let Some(Action::Close { reason, retry_after, records, .. }) = story.out.first() else {
        panic!("{:?}", story.out)
    };
    assert_eq!((*reason, *retry_after), (CloseReason::TooManyPeers, 60_000));
    assert_eq!(records.len(), 3);
    assert_eq!(story.closed(session), Some(CloseReason::TooManyPeers));
}

#[test]
fn persistent_peers_and_validators_have_slots_of_their_own() {
    let config = ManagerConfig { max_peers: 2, wished_outbound: 1, ..ManagerConfig::default() };
    let mut story = Story::new(config);
    let validators: BTreeSet<_> = (1_000..1_004).map(|n| keypair(n).public()).collect();
    story.does(|m, now, out| m.set_validators(now, validators, out));
    story.comes(1, far(1));
    for number in 1..=3 {
        let mut proven = Story::established(10 + number, far(10 + number), Direction::Inbound);
        proven.validator = Some(keypair(1_000 + number).public());
        story.comes_as(proven);
        assert!(story.has(10 + number));
    }
    let mut claimed = Story::established(20, far(20), Direction::Inbound);
    claimed.validator = Some(keypair(2_000).public());
    let session = story.comes_as(claimed);
    assert_eq!(story.closed(session), Some(CloseReason::TooManyPeers), "not in the set");
    story.does(|m, now, out| {
        m.connect(now, Target { address: far(21), expected: Some(node(21)) }, out)
    });
    story.comes(21, far(30));
    assert!(story.has(21));
    story.does(|m, now, out| m.set_validators(now, BTreeSet::new(), out));
    assert!(
        !story.manager.peer(&node(11)).unwrap().place.is_reserved(),
        "no longer, but not thrown out"
    );
}

#[test]
fn a_validator_dials_every_validator_it_knows() {
    let mut story = Story::new(ManagerConfig {
        wished_outbound: 0,
        min_peers: 0,
        blocks_only_outbound: 0,
        ..Default::default()
    });
    let validators: BTreeSet<_> = (1_000..1_005).map(|n| keypair(n).public()).collect();
    let records = (1..=4u64).map(|number| {
        let key = keypair(number);
        let mut record = record_of(&key, &[far(number)], NOW);
        let validator = keypair(1_000 + number);
        record.validator = Some(ValidatorBinding::sign(&validator, &NET, &key.node_id()));
        record.sign(&key, &NET).unwrap()
    });
    let records: Vec<_> = records.collect();
    story.comes(50, far(50));
    story.does(|m, now, out| m.on_records(now, &node(50), records, out));
    assert!(story.dials().is_empty(), "nothing is wished for");
    story.does(|m, now, out| m.set_validators(now, validators, out));
    let mut places: Vec<_> = story.dials().into_iter().map(|(_, address)| address).collect();
    places.sort();
    assert_eq!(places, [far(1), far(2), far(3), far(4)]);
}

#[test]
fn questions_are_answered_with_others_and_not_too_often() {
    let mut story = Story::new(ManagerConfig::default());
    for peer in 1..=5 {
        story.comes(peer, far(peer));
    }
    let mut answers = 0;
    for _ in 0..100 {
        story.does(|m, now, out| m.on_peers_requested(now, &node(1), 255, out));
        for action in &story.out {
            let Action::SendPeers { records, .. } = action else { panic!("{action:?}") };
            assert_eq!(records.len(), 4);
            assert!(records.iter().all(|r| r.record.public_key != keypair(1).public()));
            answers += 1;
        }
    }
    assert_eq!(answers, 4);
}

/// Links for blocks alone stay unknown: neither side's record is passed on, met or not, from the
/// moment of the greeting to the end, when a full link is told of again.
#[test]
fn peers_for_blocks_alone_are_told_to_nobody() {
    let mut story = Story::new(ManagerConfig::default());
    story.comes(1, far(1));
    let theirs =
        Established { blocks_only: true, ..Story::established(2, far(2), Direction::Inbound) };
    let session = story.comes_as(theirs);
    let answer = |story: &mut Story| {
        story.now = story.now.plus(60_000);
        story.does(|m, now, out| m.on_peers_requested(now, &node(1), 255, out));
        let told = story.out.iter().find_map(|action| match action {
            Action::SendPeers { records, .. } => Some(records.clone()),
            _ => None,
        });
        told.unwrap().iter().map(|r| r.record.public_key.node_id()).collect::<Vec<_>>()
    };
    assert_eq!(answer(&mut story), []);
    let closure = Closure::remote(CloseReason::Requested, 0);
    story.does(|m, now, out| m.on_closed(now, session, closure, out));
    story.comes(2, far(2));
    assert_eq!(answer(&mut story), [node(2)]);
}

#[test]
fn a_stopped_manager_closes_everything_and_begins_nothing() {
    let mut story = Story::new(ManagerConfig::default());
    let session = story.comes(1, far(1));
    story.does(|m, now, out| m.connect(now, target(far(2)), out));
    story.does(|m, now, out| m.on_shutdown(now, out));
    assert_eq!(story.closed(session), Some(CloseReason::Shutdown));
    assert!(story.out.iter().any(|a| matches!(a, Action::CancelDial { .. })));
    assert_eq!(story.manager.deadline(), None);
    let late = story.comes(3, far(3));
    assert_eq!(story.closed(late), Some(CloseReason::Shutdown));
    story.does(|m, now, out| m.connect(now, target(far(4)), out));
    assert!(story.out.is_empty());
}

/// Attack row 15: crossed connections go by the lower id while they can be crossed at all; later
/// whoever dials has lost the old connection, and the new one takes its place.
#[test]
fn a_peer_that_lost_its_connection_may_come_back_at_once() {
    for (wait, survives) in [(0, None), (29_000, None), (31_000, Some(()))] {
        let mut story = Story::new(ManagerConfig::default());
        // Both ids are hashes; the test needs a peer above and one below our own.
        let lower = (1..).find(|n| node(*n) < node(0)).unwrap();
        let higher = (1..).find(|n| node(*n) > node(0)).unwrap();
        let first = story.comes(lower, far(1));
        story.does(|m, now, out| m.connect(now, target(far(2)), out));
        let [(attempt, _)] = story.dials()[..] else { panic!("one dial") };
        let session = story.session();
        let ours = Story::established(higher, far(2), Direction::Outbound(attempt));
        story.does(|m, now, out| m.on_established(now, session, ours, out));
        story.pass(wait);
        let second = story.comes(higher, far(3));
        if survives.is_some() {
            assert_eq!(story.closed(session), Some(CloseReason::Duplicate), "after {wait} ms");
            assert!(story.out.iter().any(
                |a| matches!(a, Action::PeerUp { replaces: Some(old), .. } if *old == session)
            ));
            assert!(!story.out.iter().any(|a| matches!(a, Action::PeerDown { .. })));
        } else {
            assert_eq!(story.closed(second), Some(CloseReason::Duplicate), "after {wait} ms");
        }
        assert!(story.closed(first).is_none());
        assert_eq!(story.manager.status().peers, 2);
    }
}
