//! Rows of the attack table.

use std::net::IpAddr;

use super::super::*;
use super::stories::{Story, address, dials, far, node, verified};
use crate::record::{
    VerifiedRecord,
    tests::{NET, NOW, keypair, record_of, signed},
};

/// Attack rows 1 and 2: connects that say nothing are few, and gone after 5 s; one
/// neighbourhood's flood leaves the door open for others.
#[test]
fn half_open_connections_are_few_and_short() {
    let mut story = Story::new(ManagerConfig::default());
    let mut accepted = 0;
    for number in 0..20_000u64 {
        let flooder = Address::new(IpAddr::from([66, 6, 1, (number % 200) as u8]), 1);
        let session = SessionId(number);
        story.does(|m, now, out| m.on_inbound_attempt(now, session, flooder, out));
        accepted += story.out.iter().filter(|a| matches!(a, Action::Accept { .. })).count();
    }
    assert_eq!(accepted, 32);
    let honest = SessionId(1_000_000);
    story.does(|m, now, out| m.on_inbound_attempt(now, honest, far(1), out));
    assert_eq!(story.out, [Action::Accept { session: honest }]);
    let orders = story.pass(5_000);
    let late =
        |a: &&Action| matches!(a, Action::Close { reason: CloseReason::HandshakeTimeout, .. });
    assert_eq!(orders.iter().filter(late).count(), 33);
    assert_eq!(story.manager.status().half_open, 0);
}

/// Attack rows 2 and 3: however many neighbourhoods there are, 256 are half open at most, and
/// handshakes begin at the configured rate.
#[test]
fn handshakes_begin_at_a_bounded_rate() {
    let mut story = Story::new(ManagerConfig::default());
    let (mut accepted, mut number) = (0, 0u64);
    for _ in 0..100 {
        for _ in 0..100 {
            number += 1;
            let session = SessionId(number);
            story.does(|m, now, out| m.on_inbound_attempt(now, session, far(number), out));
            if story.out == [Action::Accept { session }] {
                accepted += 1;
                let lost = Closure::local(CloseReason::ConnectionLost);
                story.does(|m, now, out| m.on_closed(now, session, lost, out));
            }
        }
        story.pass(100);
    }
    assert!((2_300..=2_420).contains(&accepted), "10 s at 200/s and a burst: {accepted}");
    for more in 0..1_000 {
        story.pass(10);
        let session = SessionId(1_000_000 + more);
        story.does(|m, now, out| m.on_inbound_attempt(now, session, far(more), out));
        assert!(story.manager.status().half_open <= 256);
    }
}

/// Attack rows 2 and 3: 20,000 silent connects in 10 s from sixteen neighbourhoods would take
/// every place before the handshake and every token. A newcomer from elsewhere is let in all the
/// same, and has the time it needs; it is the most patient stranger that makes room.
#[test]
fn silent_strangers_keep_no_newcomer_out() {
    let mut story = Story::new(ManagerConfig::default());
    let (mut number, mut let_in, mut gave_way) = (0u64, 0, 0);
    let mut shaking = std::collections::VecDeque::new();
    for tick in 0..1_000u64 {
        for _ in 0..20 {
            number += 1;
            let [.., high, low] = number.to_be_bytes();
            let silent = Address::new(IpAddr::from([66, low % 16, high, low]), 1);
            story.does(|m, now, out| m.on_inbound_attempt(now, SessionId(number), silent, out));
            for order in &story.out {
                if let Action::Close { session, reason: CloseReason::HandshakeTimeout, .. } = order
                {
                    assert!(!shaking.contains(session), "a newcomer had to make room");
                    gave_way += 1;
                }
            }
        }
        if tick % 10 == 0 {
            let newcomer = SessionId(1_000_000 + tick);
            story.does(|m, now, out| m.on_inbound_attempt(now, newcomer, far(tick), out));
            if story.out.contains(&Action::Accept { session: newcomer }) {
                let_in += 1;
                shaking.push_back(newcomer);
            }
        }
        // A handshake takes 500 ms here, which is a slow one.
        if shaking.len() > 5
            && let Some(done) = shaking.pop_front()
        {
            let left = Closure::local(CloseReason::Requested);
            story.does(|m, now, out| m.on_closed(now, done, left, out));
        }
        assert!(story.manager.status().half_open <= 256);
        story.pass(10);
    }
    assert!(let_in >= 95, "{let_in} of 100 newcomers were let in");
    assert!(gave_way >= 1_000, "{gave_way} strangers made room: the door was never full");
}

/// Attack row 9: an address that turns out to be our own is not dialled again in an hour.
#[test]
fn an_own_address_is_never_dialled_again() {
    let mut story = Story::new(ManagerConfig::default());
    story.does(|m, now, out| m.connect(now, Target { address: far(1), expected: None }, out));
    let [(attempt, there)] = story.dials()[..] else { panic!("one dial") };
    let session = story.session();
    let own =
        Established { record: None, ..Story::established(0, there, Direction::Outbound(attempt)) };
    story.does(|m, now, out| m.on_established(now, session, own, out));
    assert_eq!(story.closed(session), Some(CloseReason::SelfConnection));
    assert!(story.manager.book().is_own(&there));
    let liar = story.comes(5, far(5));
    let record = verified(6, &[there]).signed().clone();
    story.does(|m, now, out| m.on_records(now, &node(5), vec![record], out));
    assert!(story.closed(liar).is_none());
    assert!(dials(&story.pass(3_600_000)).iter().all(|(_, address)| *address != there));
}

/// Attack row 17: of 10^4 forged records not one is kept, and each answer costs its sender.
#[test]
fn forged_records_are_never_kept() {
    let mut story = Story::new(ManagerConfig::default());
    story.comes(1, far(1));
    let (before, honest) = (story.manager.book().records(), keypair(2));
    let mut penalties = 0;
    for number in 0..10_000u64 {
        let mut forged = signed(&honest, &[far(2)], NOW);
        match number % 3 {
            0 => forged.record.addresses = crate::codec::Capped::first([far(number)]),
            1 => forged.record.public_key = keypair(number).public(),
            _ => forged.record.sequence = number.wrapping_add(NOW.0),
        }
        forged.record.roles.0 = number as u32 | 8;
        story.now = story.now.plus(200);
        story.does(|m, now, out| m.on_records(now, &node(1), vec![forged], out));
        penalties +=
            story.out.iter().filter(|a| matches!(a, Action::PenaliseRecord { .. })).count();
    }
    assert_eq!(story.manager.book().records(), before);
    assert!(penalties > 2_000, "at least those within the verification budget: {penalties}");
    let many = vec![verified(3, &[far(3)]).signed().clone(); 33];
    story.does(|m, now, out| m.on_records(now, &node(1), many, out));
    assert!(matches!(story.out[..], [Action::PenaliseRecord { fault: RecordFault::TooMany, .. }]));
}

/// Attack row 18: a victim whose IP is named in many records, with many ports, gets at most one
/// attempt a minute; nothing that is not routable is dialled at all.
#[test]
fn a_victim_gets_at_most_one_attempt_a_minute() {
    let mut story = Story::new(ManagerConfig::default());
    story.comes(1, far(1));
    for number in 0..40u64 {
        let port = 1 + number as u16;
        let places = [
            Address::new(IpAddr::from([77, 7, 7, 7]), port),
            Address::new(IpAddr::from([10, 0, 0, 1]), port),
            Address::new(IpAddr::from([127, 0, 0, 1]), port),
        ];
        let record = verified(100 + number, &places).signed().clone();
        story.does(|m, now, out| m.on_records(now, &node(1), vec![record], out));
    }
    let mut orders = Vec::new();
    let mut last: Option<Time> = None;
    for _ in 0..600 {
        let mut step = std::mem::take(&mut story.out);
        step.extend(story.pass(1_000));
        for (attempt, there) in dials(&step) {
            assert!(there.is_routable(), "{there}");
            if there.ip() == IpAddr::from([77, 7, 7, 7]) {
                let since = last.map_or(u64::MAX, |last| story.now.since(last));
                assert!(since >= 59_000, "{since} ms");
                last = Some(story.now);
                orders.push(there);
            }
            story.does(|m, now, out| m.on_dial_failed(now, attempt, DialFailure::Refused, out));
        }
    }
    assert!((2..=10).contains(&orders.len()), "{}", orders.len());
}

/// Attack row 19: peers offer ten thousand addresses each; the book takes a trickle.
#[test]
fn offered_addresses_trickle_into_the_book() {
    let mut story = Story::new(ManagerConfig::default());
    story.comes(1, far(1));
    let before = story.manager.book().len();
    for number in 0..2_000u64 {
        let places: Vec<_> = (0..4).map(|i| far(10_000 + number * 4 + i)).collect();
        let record = verified(10 + number, &places).signed().clone();
        story.does(|m, now, out| m.on_records(now, &node(1), vec![record], out));
        story.now = story.now.plus(10);
    }
    assert!(story.manager.book().len() - before <= 64, "{}", story.manager.book().len());
}

/// Attack row 20: of the nodes in one IPv4 /16, and of those in one IPv6 /32, two get outbound
/// slots.
#[test]
fn one_neighbourhood_gets_two_outbound_slots() {
    let v4 = |n: u64| IpAddr::from([66, 6, n as u8, 1]);
    let v6 = |n: u64| IpAddr::from([0x2a01, 0x4f8, n as u16, 0, 0, 0, 0, 1]);
    for ip in [v4 as fn(u64) -> IpAddr, v6] {
        let mut story =
            Story::new(ManagerConfig { max_inbound_per_group: 0, ..Default::default() });
        let records: Vec<_> = (1..=32u64)
            .map(|n| verified(n, &[Address::new(ip(n), 9)]))
            .map(|record: VerifiedRecord| record.signed().clone())
            .collect();
        story.manager.restore(NOW, [], records);
        let mut orders = story.pass(2_000);
        for _ in 0..100 {
            for (attempt, there) in dials(&orders) {
                let peer = (1..=32).find(|n| ip(*n) == there.ip()).unwrap();
                let session = story.session();
                let established = Story::established(peer, there, Direction::Outbound(attempt));
                story.does(|m, now, out| m.on_established(now, session, established, out));
            }
            orders = story.pass(1_000);
        }
        let status = story.manager.status();
        assert_eq!(status.outbound + status.blocks_only, 2);
    }
}

/// Attack row 21: the 8 honest peers that were here first, and 8 fast ones, outlast ten thousand
/// newcomers; and the outbound slots stay free for peers of our own choice.
#[test]
fn protected_peers_are_never_evicted() {
    let mut story = Story::new(ManagerConfig::default());
    for peer in 1..=8 {
        story.comes(peer, far(peer));
        story.pass(1_000);
    }
    for peer in 9..=16 {
        story.comes(peer, far(peer));
        story.manager.on_latency(&node(peer), 10);
        story.pass(1_000);
    }
    let mut evicted = 0;
    for number in 0..10_000u64 {
        let [a, b] = (number as u16).to_be_bytes();
        let attacker = Address::new(IpAddr::from([66, (number % 16) as u8, a, b]), 1);
        story.pass(30);
        let established = Established {
            peer: NodeId(*blake3::hash(&number.to_le_bytes()).as_bytes()),
            record: None,
            ..Story::established(0, attacker, Direction::Inbound)
        };
        story.comes_as(established);
        let out = |a: &&Action| matches!(a, Action::Close { reason: CloseReason::Evicted, .. });
        evicted += story.out.iter().filter(out).count();
        assert!((1..=16).all(|peer| story.has(peer)), "after {number}");
    }
    assert_eq!(story.manager.status().inbound, 48);
    // A newcomer from elsewhere finds room at the cost of the most crowded neighbourhood.
    story.pass(1_000);
    story.comes(500, far(500));
    assert!(story.has(500), "{:?} {evicted}", story.out);
}

/// Attack row 24: five were banned from one IP; the sixth identity from it is not let in, however
/// the address is spelt. Neighbours are.
#[test]
fn the_sixth_identity_from_a_banned_ip_is_refused() {
    let mut story = Story::new(ManagerConfig::default());
    for peer in 1..=5 {
        story.comes(peer, address("1.2.3.4:1000"));
        assert!(story.has(peer));
        let until = story.now.plus(3_600_000);
        story.does(|m, now, out| m.on_banned(now, node(peer), until, out));
    }
    for spelling in ["1.2.3.4:2000", "[::ffff:1.2.3.4]:2000"] {
        let session = story.comes(6, address(spelling));
        assert_eq!(story.closed(session), Some(CloseReason::Banned), "{spelling}");
    }
    story.comes(7, address("1.2.3.5:1000"));
    assert!(story.has(7));
    story.pass(3_700_000);
    story.comes(6, address("1.2.3.4:2000"));
    assert!(story.has(6), "bans end");
}

/// Attack row 51: after ten minutes of sleep everything due is done once.
#[test]
fn a_long_sleep_is_no_burst() {
    let mut story = Story::new(ManagerConfig::default());
    story.comes(1, far(1));
    let records: Vec<_> = (2..20).map(|n| verified(n, &[far(n)]).signed().clone()).collect();
    story.does(|m, now, out| m.on_records(now, &node(1), records, out));
    story.now = story.now.plus(600_000);
    story.does(|m, now, out| m.on_deadline(now, out));
    let asked = story.out.iter().filter(|a| matches!(a, Action::RequestPeers { .. })).count();
    assert_eq!(asked, 1);
    assert!(story.dials().len() <= 8);
    story.does(|m, now, out| m.on_deadline(now, out));
    assert!(story.out.is_empty(), "{:?}", story.out);
}

/// A record that claims another's address leads us to the other, and we learn who it is.
#[test]
fn whoever_answers_is_who_is_there() {
    let mut story = Story::new(ManagerConfig::default());
    story.comes(1, far(1));
    let key = keypair(2);
    let liar = record_of(&key, &[far(3)], NOW).sign(&key, &NET).unwrap();
    story.does(|m, now, out| m.on_records(now, &node(1), vec![liar], out));
    let dialled = story.dials().into_iter().find(|(_, there)| *there == far(3));
    let (attempt, there) = dialled.unwrap();
    let session = story.session();
    let truth = Story::established(3, there, Direction::Outbound(attempt));
    story.does(|m, now, out| m.on_established(now, session, truth, out));
    assert_eq!(story.closed(session), Some(CloseReason::UnexpectedIdentity));
    assert_eq!(story.manager.book().get(&there).unwrap().peer, Some(node(3)));
}
