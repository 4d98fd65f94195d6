//! Relays that lie, and those who come through relays to take what others need.

use super::{
    super::*,
    circuits::{comes_through, offering, quiet, relay_comes, through},
    stories::{Story, dials, far, node, verified},
};
use crate::record::{
    ValidatorBinding,
    tests::{NET, NOW, keypair, record_of},
};

/// One machine, by the port.
fn one_host(port: u16) -> Address {
    Address::new([60, 1, 1, 1].into(), port)
}

/// The node answers a dial of ours there.
fn answers(story: &mut Story, peer: u64, there: Address, attempt: DialId) -> SessionId {
    let session = story.session();
    let established = Story::established(peer, there, Direction::Outbound(attempt));
    story.does(|m, now, out| m.on_established(now, session, established, out));
    session
}

/// Time passes until something is dialled.
fn next_dial(story: &mut Story) -> (DialId, Address) {
    loop {
        if let [first, ..] = story.dials()[..] {
            return first;
        }
        story.now = story.now.max(story.manager.deadline().unwrap());
        story.does(|m, now, out| m.on_deadline(now, out));
    }
}

/// This node reaches another through a relay, of its own will.
fn is_reached_through(story: &mut Story, peer: u64, relay: u64) -> SessionId {
    relay_comes(story, relay);
    let record = verified(peer, &[through(relay)]).signed().clone();
    story.does(|m, now, out| m.on_records(now, &node(relay), vec![record], out));
    let (attempt, there) = next_dial(story);
    assert_eq!(there, through(relay));
    let session = answers(story, peer, there, attempt);
    assert_eq!(story.manager.peer(&node(peer)).unwrap().place, Place::Outbound);
    session
}

/// Attack rows 20 and 21: whoever comes through a relay and is then dialled, at an address of its
/// own choice, has chosen us and not we it. It takes no place of those that this node fills.
#[test]
fn whoever_a_relay_brings_is_never_a_chosen_peer() {
    let mut story = Story::new(ManagerConfig { min_peers: 0, ..ManagerConfig::default() });
    for peer in 1..=6 {
        comes_through(&mut story, peer, 20 + peer);
        assert!(story.has(peer));
    }
    for _ in 1..=6 {
        let (attempt, there) = next_dial(&mut story);
        let peer = (1..=6).find(|peer| far(*peer) == there).unwrap();
        answers(&mut story, peer, there, attempt);
        let view = story.manager.peer(&node(peer)).unwrap();
        assert_eq!((view.address, view.place, view.chosen), (there, Place::Inbound, false));
        assert!(!story.out.iter().any(|a| matches!(a, Action::RequestPeers { .. })));
    }
    let status = story.manager.status();
    assert_eq!((status.outbound, status.inbound), (0, 6));
    // Nor when it leaves before it answers.
    let session = comes_through(&mut story, 7, 27);
    let (attempt, there) = next_dial(&mut story);
    let lost = Closure::local(CloseReason::ConnectionLost);
    story.does(|m, now, out| m.on_closed(now, session, lost, out));
    answers(&mut story, 7, there, attempt);
    assert_eq!(story.manager.peer(&node(7)).unwrap().place, Place::Inbound);
    assert_eq!(story.manager.status().outbound, 0);
}

/// Attack row 24: one host that enters through many relays has no more places than one host has.
#[test]
fn an_upgrade_keeps_to_the_limits_of_where_it_goes() {
    let mut story = quiet();
    for peer in 1..=6u16 {
        let number = u64::from(peer);
        let relayed = comes_through(&mut story, number, 20 + number);
        let direct = story.comes(number, one_host(peer));
        let full = peer == 6;
        assert_eq!(story.closed(direct), full.then_some(CloseReason::GroupLimit), "{peer}");
        let view = story.manager.peer(&node(number)).unwrap();
        assert_eq!(view.session, if full { relayed } else { direct });
    }
    // Nor does this node dial there what would have no room.
    let record = Some(verified(7, &[one_host(7)]));
    let established = Story::established(7, through(27), Direction::Inbound);
    story.comes_as(Established { record, ..established });
    assert!(story.has(7));
    let all = dials(&story.pass(600_000));
    assert!(!all.iter().any(|(_, to)| *to == one_host(7)), "{all:?}");
}

/// The same for peers that this node has chosen: in a neighbourhood there are two of them, and not
/// more because they were found behind relays elsewhere.
#[test]
fn chosen_peers_keep_to_their_neighbourhoods_when_they_turn_out_to_be_in_one() {
    let wished = ManagerConfig { wished_outbound: 3, min_peers: 0, ..ManagerConfig::default() };
    let mut story = Story::new(ManagerConfig { blocks_only_outbound: 0, ..wished });
    for (peer, relay) in [(1, 21), (2, 22), (3, 23)] {
        is_reached_through(&mut story, peer, relay);
    }
    for peer in [1, 2, 3u16] {
        let direct = story.comes(peer.into(), one_host(peer));
        assert_eq!(story.closed(direct), (peer == 3).then_some(CloseReason::GroupLimit));
    }
}

/// One host can come through a hundred relays: all of them together have few places, one relay has
/// fewer, and nobody at a relay's neighbourhood has less for it.
#[test]
fn relays_bring_few() {
    let mut story = quiet();
    for peer in 1..=6 {
        comes_through(&mut story, peer, 20 + peer);
        assert!(story.has(peer));
    }
    let seventh = comes_through(&mut story, 7, 27);
    assert_eq!(story.closed(seventh), Some(CloseReason::TooManyPeers));
    for (port, peer) in (100..105).zip(100..) {
        let neighbour = Address::new(far(21).ip(), port);
        story.comes(peer, neighbour);
        assert!(story.has(peer), "{peer}");
    }

    let mut story = quiet();
    for peer in 1..=4 {
        let session = comes_through(&mut story, peer, 9);
        assert_eq!(story.closed(session), (peer == 4).then_some(CloseReason::GroupLimit));
    }
}

/// When there is no room, whoever is relayed makes it, and makes nobody make it.
#[test]
fn relayed_peers_go_first_and_displace_nobody() {
    let config =
        ManagerConfig { max_peers: 16, wished_outbound: 0, min_peers: 0, ..Default::default() };
    let mut story = Story::new(config);
    comes_through(&mut story, 1, 21);
    for peer in 100..115 {
        story.comes(peer, far(peer));
        assert!(story.has(peer));
    }
    story.pass(10_000);
    let relayed = comes_through(&mut story, 2, 22);
    assert_eq!(story.closed(relayed), Some(CloseReason::TooManyPeers));
    story.comes(200, far(200));
    assert!(story.has(200) && !story.has(1), "the oldest of all and alone in its group");
}

/// However full a node is: a peer that becomes a direct one keeps its place, whoever has dialled,
/// since the other side has given the old connection up.
#[test]
fn an_upgrade_has_room_where_there_is_none() {
    let config =
        ManagerConfig { max_peers: 6, wished_outbound: 1, min_peers: 0, ..Default::default() };
    let mut story = Story::new(ManagerConfig { blocks_only_outbound: 0, ..config });
    let relayed = is_reached_through(&mut story, 1, 9);
    for peer in 100..104 {
        story.comes(peer, far(peer));
    }
    assert!(story.manager.is_full());
    let direct = story.comes(1, far(1));
    assert_eq!(story.closed(direct), None, "{:?}", story.out);
    assert!(story.out.contains(&Action::Retire { session: relayed }));
    let view = story.manager.peer(&node(1)).unwrap();
    assert_eq!((view.place, view.chosen, view.outbound), (Place::Outbound, true, false));
}

/// Whoever had no room for a direct connection is not asked for one again at once: each time the
/// peer would be lost.
#[test]
fn a_refused_upgrade_is_remembered() {
    for (reason, remembered) in [
        (CloseReason::GroupLimit, true),
        (CloseReason::TooManyPeers, true),
        (CloseReason::Shutdown, false),
    ] {
        let mut story = quiet();
        comes_through(&mut story, 1, 9);
        let (attempt, there) = next_dial(&mut story);
        let direct = answers(&mut story, 1, there, attempt);
        story.does(|m, now, out| m.on_closed(now, direct, Closure::remote(reason, 0), out));
        assert!(!story.has(1));
        story.pass(120_000);
        comes_through(&mut story, 1, 9);
        let all = dials(&story.pass(50 * 60_000));
        assert_eq!(all.is_empty(), remembered, "{reason}: {all:?}");
    }
}

/// Attack row 20: who is the relay at an address is not for records to say.
#[test]
fn a_record_makes_nobody_a_relay() {
    // A liar's id may be the lower or the higher one.
    for liar in 60..64 {
        let mut story = quiet();
        let record = Some(offering(liar, &[far(liar), far(9)]));
        let established = Story::established(liar, far(liar), Direction::Inbound);
        story.comes_as(Established { record, ..established });
        assert_eq!(story.manager.relay_of(&through(9)), None);
        assert_eq!(story.manager.relay_of(&through(liar)), Some(node(liar)), "it is there");
        relay_comes(&mut story, 9);
        assert_eq!(story.manager.relay_of(&through(9)), Some(node(9)));
    }
    let mut story = quiet();
    story.comes(9, far(9));
    assert_eq!(story.manager.relay_of(&through(9)), None, "it does not say so");
}

/// Of two at one machine, the one that was dialled at the address is the relay there.
#[test]
fn whoever_was_dialled_there_is_the_relay() {
    let mut story = quiet();
    let there = far(9);
    story.does(|m, now, out| m.connect(now, Target { address: there, expected: None }, out));
    let (attempt, _) = next_dial(&mut story);
    let session = story.session();
    let record = Some(offering(9, &[there]));
    let relay = Story::established(9, there, Direction::Outbound(attempt));
    let relay = Established { record, ..relay };
    story.does(|m, now, out| m.on_established(now, session, relay, out));
    for liar in 60..64 {
        let record = Some(offering(liar, &[there]));
        let near = Address::new(there.ip(), 1_000);
        let established = Story::established(liar, near, Direction::Inbound);
        story.comes_as(Established { record, ..established });
        assert!(story.has(liar));
        assert_eq!(story.manager.relay_of(&through(9)), Some(node(9)));
    }
}

/// Attack row 9: a relay that reflects what it is sent, or answers itself, does not make this node
/// forget whoever it was that is behind it.
#[test]
fn what_a_relay_does_is_nobody_elses_fault() {
    for failure in [DialFailure::SelfConnection, DialFailure::UnexpectedIdentity(node(66))] {
        for relayed in [true, false] {
            let mut story = quiet();
            let record = verified(1, &[far(1), through(9)]).signed().clone();
            story.comes(5, far(5));
            story.does(|m, now, out| m.on_records(now, &node(5), vec![record], out));
            let wish = Target { address: far(1), expected: Some(node(1)) };
            story.does(|m, now, out| m.connect(now, wish, out));
            let (attempt, _) = next_dial(&mut story);
            let at = if relayed { through(9) } else { far(1) };
            story.does(|m, now, out| m.on_dial_failed_at(now, (attempt, at), failure, out));
            let book = story.manager.book();
            let harmed = book.get(&far(1)).is_none_or(|entry| entry.peer != Some(node(1)));
            assert_eq!(harmed, !relayed, "{failure:?} at {at}");
            assert!(!relayed || !(book.is_own(&far(1)) || book.is_own(&through(9))));
        }
    }
}

/// A relayed peer that writes somebody else's address into its record has nobody dialled.
#[test]
fn nobody_is_dialled_at_an_address_that_is_known_as_anothers() {
    let mut story = quiet();
    story.does(|m, now, out| m.connect(now, Target { address: far(5), expected: None }, out));
    let (attempt, there) = next_dial(&mut story);
    answers(&mut story, 5, there, attempt);
    let record = Some(verified(1, &[far(5), far(6)]));
    let established = Story::established(1, through(9), Direction::Inbound);
    story.comes_as(Established { record, ..established });
    let all = dials(&story.pass(600_000));
    assert!(!all.is_empty() && all.iter().all(|(_, to)| *to == far(6)), "{all:?}");
}

/// A peer with several addresses is tried at each in turn.
#[test]
fn each_direct_address_has_its_turn() {
    let mut story = quiet();
    let record = Some(verified(1, &[far(1), far(2)]));
    let established = Story::established(1, through(9), Direction::Inbound);
    story.comes_as(Established { record, ..established });
    let mut tried = BTreeSet::new();
    for _ in 0..2 {
        let (attempt, there) = next_dial(&mut story);
        tried.insert(there);
        story.does(|m, now, out| m.on_dial_failed(now, attempt, DialFailure::Timeout, out));
    }
    assert_eq!(tried, [far(1), far(2)].into());
}

/// Half-open connections through a relay take nothing of its neighbours', and one node has one.
#[test]
fn the_gate_counts_relayed_ones_apart() {
    let mut story = quiet();
    let mut asks = |from: u64| {
        let session = story.session();
        let from = (through(9), node(from));
        story.does(|m, now, out| m.on_circuit_attempt(now, session, from, out));
        story.closed(session)
    };
    assert_eq!(asks(1), None);
    assert_eq!(asks(1), Some(CloseReason::RateLimited), "it has one under way");
    for from in 2..=8 {
        assert_eq!(asks(from), None);
    }
    assert_eq!(asks(9), Some(CloseReason::RateLimited), "the relay has as many as an IP may");
    for peer in 100..105u16 {
        story.comes(peer.into(), Address::new(far(9).ip(), peer));
        assert!(story.has(peer.into()), "its neighbours are let in");
    }
}

/// Attack row 24: whoever is banned does not get as far as a handshake by saying so through a
/// relay, and a relay that brings ever new ones is no relay any more. It is still a peer.
#[test]
fn bans_hold_through_relays() {
    let mut story = quiet();
    for peer in 101..=100 + u64::from(BANNED_PER_RELAY_MAX) {
        comes_through(&mut story, peer, 9);
        assert!(story.has(peer), "{peer}");
        let until = story.now.plus(3_600_000);
        story.does(|m, now, out| m.on_banned(now, node(peer), until, out));
        story.pass(1_000);
    }
    for (from, relay) in [(101, 8), (99, 9)] {
        let session = story.session();
        let from = (through(relay), node(from));
        story.does(|m, now, out| m.on_circuit_attempt(now, session, from, out));
        assert_eq!(story.closed(session), Some(CloseReason::Banned));
    }
    story.comes(9, far(9));
    assert!(story.has(9));
}

/// A validator's record names a relay: that is dialled as anybody is, not because of the record.
#[test]
fn a_relay_that_a_record_names_gets_no_place_of_its_own() {
    for (wished, banned) in [(0, false), (1, false), (1, true)] {
        let config = ManagerConfig { wished_outbound: wished, min_peers: 0, ..Default::default() };
        let mut story = Story::new(ManagerConfig { blocks_only_outbound: 0, ..config });
        let key = keypair(1);
        let mut record = record_of(&key, &[through(9)], NOW);
        record.validator = Some(ValidatorBinding::sign(&keypair(1_001), &NET, &key.node_id()));
        let behind = record.sign(&key, &NET).unwrap();
        story.comes(5, far(5));
        if banned {
            for number in 0..u64::from(BANNED_PER_IP_MAX) {
                let until = story.now.plus(3_600_000);
                story.manager.ban(node(300 + number), until, Some(far(9)));
            }
        }
        let relay = offering(9, &[far(9)]).signed().clone();
        story.does(|m, now, out| m.on_records(now, &node(5), vec![relay, behind], out));
        let mut all = dials(&story.out);
        let validators = [keypair(1_000).public(), keypair(1_001).public()];
        story.does(|m, now, out| m.set_validators(now, validators.into(), out));
        all.extend(dials(&story.out));
        all.extend(dials(&story.pass(5_000)));
        let there = all.iter().any(|(_, to)| *to == far(9));
        assert_eq!(there, wished > 0 && !banned, "{wished} wished, banned: {banned}: {all:?}");
    }
}
