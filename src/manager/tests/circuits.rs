//! Peers that a relay carries, and those behind relays that are no peers yet.

use super::{
    super::*,
    stories::{Story, dials, far, node, verified},
};
use crate::record::{
    Capabilities, VerifiedRecord,
    tests::{NET, NOW, keypair, record_of},
};

/// The way to a node through the one at `far(relay)`.
pub(super) fn through(relay: u64) -> Address {
    far(relay).through().unwrap()
}

/// Without a peer to begin with, and with wishes of its own only where a story has them.
pub(super) fn quiet() -> Story {
    Story::new(ManagerConfig { wished_outbound: 0, min_peers: 0, ..ManagerConfig::default() })
}

/// A node comes through a relay; its record says where it is.
pub(super) fn comes_through(story: &mut Story, peer: u64, relay: u64) -> SessionId {
    let record = Some(verified(peer, &[far(peer), through(relay)]));
    let established = Story::established(peer, through(relay), Direction::Inbound);
    story.comes_as(Established { record, ..established })
}

/// The record of a node that says it carries circuits.
pub(super) fn offering(relay: u64, addresses: &[Address]) -> VerifiedRecord {
    let key = keypair(relay);
    let mut record = record_of(&key, addresses, NOW);
    record.capabilities = record.capabilities.with(Capabilities::RELAY);
    record.sign(&key, &NET).unwrap().verify(&NET, NOW).unwrap()
}

/// A relay comes from its own machine.
pub(super) fn relay_comes(story: &mut Story, relay: u64) {
    let record = Some(offering(relay, &[far(relay)]));
    let established = Story::established(relay, far(relay), Direction::Inbound);
    story.comes_as(Established { record, ..established });
    assert!(story.has(relay));
}

#[test]
fn a_direct_connection_takes_a_relayed_ones_place_whatever_its_age() {
    for age in [0, 1_000, 3_600_000] {
        let mut story = quiet();
        let relayed = comes_through(&mut story, 1, 9);
        story.pass(age);
        let direct = story.comes(1, far(1));
        assert!(story.out.contains(&Action::Retire { session: relayed }), "{:?}", story.out);
        assert_eq!(story.closed(relayed), None, "it is not just ended");
        let up = story.out.iter().find_map(|action| match action {
            Action::PeerUp { session, replaces, .. } => Some((*session, *replaces)),
            _ => None,
        });
        assert_eq!(up, Some((direct, Some(relayed))));
        assert_eq!(story.manager.peer(&node(1)).unwrap().address, far(1));
        // Its end is nobody's end.
        story.does(|m, now, out| {
            m.on_closed(now, relayed, Closure::local(CloseReason::Upgraded), out);
        });
        assert!(story.has(1) && story.out.is_empty());
    }
}

/// Both sides dial at once: whichever of the two direct connections has to go is heard out, and
/// only a few of them are.
#[test]
fn twins_that_come_in_a_relayed_ones_place_are_heard_out() {
    let mut story = quiet();
    comes_through(&mut story, 1, 9);
    let first = story.comes_as(Established {
        channel: [5; 32],
        ..Story::established(1, far(1), Direction::Inbound)
    });
    let mut heard_out = 0;
    for channel in [[1; 32], [9; 32], [2; 32], [3; 32]] {
        let established = Story::established(1, far(1), Direction::Inbound);
        let twin = story.comes_as(Established { channel, ..established });
        let (survives, loser) = (channel == [9; 32], if channel == [9; 32] { first } else { twin });
        let lossless = story.out.iter().any(|action| match action {
            Action::Retire { session } => survives && *session == loser,
            Action::HearOut { session, peer } => !survives && *session == loser && *peer == node(1),
            _ => false,
        });
        heard_out += usize::from(lossless);
        assert!(lossless || story.closed(loser) == Some(CloseReason::Duplicate), "{:?}", story.out);
    }
    assert_eq!(heard_out, 2);
    assert!(story.has(1));
}

#[test]
fn a_relayed_connection_never_takes_a_direct_ones_place() {
    for age in [0, 31_000, 3_600_000] {
        let mut story = quiet();
        let direct = story.comes(1, far(1));
        story.pass(age);
        let relayed = comes_through(&mut story, 1, 9);
        assert_eq!(story.closed(relayed), Some(CloseReason::Duplicate), "after {age} ms");
        assert_eq!(story.manager.peer(&node(1)).unwrap().session, direct);
    }
}

/// The one who is dialled through a relay tries the direct way, less and less often.
#[test]
fn a_relayed_peer_is_dialled_directly_ever_more_seldom() {
    let mut story = quiet();
    comes_through(&mut story, 1, 9);
    let mut at = Vec::new();
    while at.len() < 8 {
        story.now = story.manager.deadline().unwrap();
        story.does(|m, now, out| m.on_deadline(now, out));
        for (attempt, address) in story.dials() {
            assert_eq!(address, far(1), "never through a relay");
            at.push(story.now);
            story.does(|m, now, out| m.on_dial_failed(now, attempt, DialFailure::Timeout, out));
        }
    }
    let waits: Vec<Millis> = at.windows(2).map(|two| two[1].since(two[0])).collect();
    assert!(waits[6] > 240_000 && waits.iter().sum::<Millis>() < 3_600_000, "{waits:?}");
    // It is gone: nobody tries any more.
    let session = story.manager.peer(&node(1)).unwrap().session;
    let closure = Closure::local(CloseReason::ConnectionLost);
    story.does(|m, now, out| m.on_closed(now, session, closure, out));
    assert!(dials(&story.pass(3_600_000)).is_empty());
}

/// Whom the operator names behind a relay: the relay first, then the node.
#[test]
fn a_relay_that_is_no_peer_is_dialled_first() {
    let mut story = quiet();
    let wish = Target { address: through(9), expected: Some(node(1)) };
    story.does(|m, now, out| m.connect(now, wish, out));
    let [(attempt, first)] = story.dials()[..] else { panic!("one dial: {:?}", story.out) };
    assert_eq!(first, far(9));
    assert_eq!(story.manager.relay_of(&through(9)), None);
    // A relay that is down is not called every second for ever.
    story.does(|m, now, out| m.on_dial_failed(now, attempt, DialFailure::Refused, out));
    let mut dialled = Vec::new();
    while dialled.len() < 6 {
        story.now = story.manager.deadline().unwrap();
        story.does(|m, now, out| m.on_deadline(now, out));
        for (attempt, address) in story.dials() {
            dialled.push((story.now, attempt, address));
            if dialled.len() < 6 {
                story.does(|m, now, out| m.on_dial_failed(now, attempt, DialFailure::Refused, out));
            }
        }
    }
    assert!(dialled[5].0.since(dialled[4].0) > 10_000, "{dialled:?}");
    let attempt = dialled[5].1;
    let session = story.session();
    let record = Some(offering(9, &[far(9)]));
    let established = Story::established(9, far(9), Direction::Outbound(attempt));
    let established = Established { record, ..established };
    story.does(|m, now, out| m.on_established(now, session, established, out));
    assert!(story.has(9), "{:?}", story.out);
    assert_eq!(story.manager.relay_of(&through(9)), Some(node(9)));
    let later = [dials(&story.out), dials(&story.pass(5_000))].concat();
    assert_eq!(later.first().map(|(_, address)| *address), Some(through(9)));
}

/// Behind one relay there are many: each is dialled for itself.
#[test]
fn two_wishes_behind_one_relay_are_two() {
    let mut story = quiet();
    relay_comes(&mut story, 9);
    for peer in [1, 2] {
        let wish = Target { address: through(9), expected: Some(node(peer)) };
        assert!(story.does(|m, now, out| m.connect(now, wish, out)));
        let [(_, address)] = story.dials()[..] else { panic!("one dial: {:?}", story.out) };
        assert_eq!(address, through(9));
    }
}

/// A record can't make this node dial a stranger to reach another.
#[test]
fn a_record_behind_a_stranger_is_dialled_by_nobody() {
    let mut story =
        Story::new(ManagerConfig { feeler_interval: 1_000, ..ManagerConfig::default() });
    story.comes(5, far(5));
    let record = verified(1, &[through(9)]).signed().clone();
    story.does(|m, now, out| m.on_records(now, &node(5), vec![record], out));
    assert!(story.manager.book().get(&through(9)).is_some());
    let all = dials(&story.pass(600_000));
    let wrong = |address: &Address| *address == through(9) || *address == far(9);
    assert!(!all.iter().any(|(_, address)| wrong(address)), "{all:?}");
    relay_comes(&mut story, 9);
    let all = [dials(&story.out), dials(&story.pass(600_000))].concat();
    assert!(all.iter().any(|(_, address)| *address == through(9)), "now it is behind a peer");
}

/// Misbehaving through a relay does not get the relay's IP refused.
#[test]
fn bans_of_relayed_peers_are_not_their_relays() {
    let mut story = quiet();
    for peer in 1..=u64::from(BANNED_PER_IP_MAX) {
        comes_through(&mut story, peer, 9);
        assert!(story.has(peer));
        let until = story.now.plus(3_600_000);
        story.does(|m, now, out| m.on_banned(now, node(peer), until, out));
    }
    story.comes(9, far(9));
    assert!(story.has(9));
}

/// A direct address may swallow everything that is sent to it: the way through a relay that was named
/// with it is not kept waiting until that dial is given up. A second one through a relay is.
#[test]
fn a_named_way_through_a_relay_does_not_wait_for_a_direct_one() {
    let mut story = quiet();
    relay_comes(&mut story, 9);
    for address in [far(1), through(9)] {
        let target = Target { address, expected: Some(node(1)) };
        assert!(story.does(|m, now, out| m.connect(now, target, out)));
    }
    let orders = [std::mem::take(&mut story.out), story.pass(2_500)].concat();
    let dialled: Vec<Address> = dials(&orders).into_iter().map(|(_, at)| at).collect();
    assert_eq!(dialled, [through(9)], "the direct one was dialled when it was named");
    assert_eq!(story.manager.status().dialling, 2);
    assert!(dials(&story.pass(2_500)).is_empty(), "each once");
    let through_it = story.manager.dialler.in_flight();
    let attempt = through_it.into_iter().find(|(_, a)| a.address == through(9)).map(|(id, _)| *id);
    let relayed = Story::established(1, through(9), Direction::Outbound(attempt.unwrap()));
    let session = story.session();
    story.does(|m, now, out| m.on_established(now, session, relayed, out));
    assert!(story.has(1));
    let direct = story.comes(1, far(1));
    assert!(story.out.contains(&Action::Retire { session }), "{direct:?}: {:?}", story.out);
}

/// A relay that the operator has named with a node behind it, and that is full, is left alone for a
/// while like anybody.
#[test]
fn a_full_relay_is_not_dialled_every_second() {
    let mut story = quiet();
    let target = Target { address: through(9), expected: Some(node(1)) };
    assert!(story.does(|m, now, out| m.connect(now, target, out)));
    let mut orders = std::mem::take(&mut story.out);
    let mut dialled = 0;
    for _ in 0..60 {
        for (attempt, at) in dials(&orders) {
            assert_eq!(at, far(9), "the relay first");
            dialled += 1;
            let session = story.session();
            let relay = Story::established(9, at, Direction::Outbound(attempt));
            story.does(|m, now, out| m.on_established(now, session, relay, out));
            let full = Closure::remote(CloseReason::TooManyPeers, 60_000);
            story.does(|m, now, out| m.on_closed(now, session, full, out));
        }
        orders = [std::mem::take(&mut story.out), story.pass(1_000)].concat();
    }
    assert!((1..=3).contains(&dialled), "{dialled} times in a minute");
}

/// Whoever comes through relays and says that it is where nobody answers holds few places for dials.
#[test]
fn two_upgrades_are_tried_at_once() {
    let mut story = quiet();
    for (n, relay) in [(1, 20), (2, 20), (3, 21), (4, 21)] {
        comes_through(&mut story, n, relay);
        assert!(story.has(n));
    }
    let mut most = 0;
    let mut tried = std::collections::BTreeSet::new();
    for _ in 0..120 {
        tried.extend(dials(&story.pass(1_000)).into_iter().map(|(_, at)| at));
        most = most.max(story.manager.status().dialling);
    }
    assert_eq!((most, tried.len()), (2, 4), "and everybody has its turn: {tried:?}");
}
