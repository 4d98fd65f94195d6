//! Those who take what there is, and those for whom something is left.

use super::*;

/// Nodes from 3 on, all in one neighbourhood and none of the others'.
fn crowd(count: usize, config: &CircuitsConfig) -> World {
    let mut world = World::new(3 + count, config);
    for number in 3..3 + count {
        let here = Address::new([8, 99, u8::try_from(number).unwrap(), 1].into(), 1);
        world.connect_at(number, RUTH, place(RUTH), here, every());
    }
    world
}

/// So many messages of a kind that Ruth has sent a node.
fn said(world: &World, to: usize, kind: Kind) -> usize {
    let said = world
        .seen
        .iter()
        .filter(|(from, other, message)| (*from, *other, message.kind) == (RUTH, to, kind));
    said.count()
}

/// A new key has new bytes, but no more than its neighbourhood has.
#[test]
fn identities_of_one_neighbourhood_share_its_bytes() {
    let mut world = crowd(5, &CircuitsConfig { bytes_per_hour: 10_000, ..Default::default() });
    for number in 3..7 {
        let (near, _) = world.circuit(number, BERT);
        world.sends(number, near, &mut BytesMut::zeroed(9_000));
        assert_eq!(world.end_of(number, near), None);
    }
    let (near, _) = world.circuit(7, BERT);
    world.sends(7, near, &mut BytesMut::zeroed(9_000));
    assert_eq!(world.end_of(7, near), Some(CircuitReason::HourUsed));
    let (near, _) = world.circuit(ANNA, BERT);
    world.sends(ANNA, near, &mut BytesMut::zeroed(9_000));
    assert_eq!(world.end_of(ANNA, near), None, "she is elsewhere");
}

/// All neighbourhoods together have sixteen times what one node has.
#[test]
fn all_together_have_a_limit_too() {
    let config = CircuitsConfig { bytes_per_hour: 10_000, ..Default::default() };
    let mut world = World::new(21, &config);
    let mut over = 0;
    for number in 3..21 {
        world.passes(1_000);
        let near = world.dial(number, BERT).unwrap();
        let offered = world.heard(BERT).into_iter().find_map(|action| match action {
            Action::Offered { key, .. } => Some(key),
            _ => None,
        });
        let Some(far) = offered else {
            assert_eq!(world.end_of(number, near), Some(CircuitReason::HourUsed));
            over += 1;
            continue;
        };
        world.tell(BERT, |machine, _, out| machine.accept(far, out));
        world.settle();
        world.sends(number, near, &mut BytesMut::zeroed(9_936));
        let ended = world.end_of(number, near);
        world.tell(number, |m, now, out| m.close(now, near, CircuitReason::Done, out));
        world.settle();
        over += usize::from(ended.is_some());
    }
    // What comes back meanwhile, 44 bytes a second, is less than one more.
    assert_eq!(over, 2);
}

/// Whoever sends single bytes pays for what they cost.
#[test]
fn a_message_costs_more_than_its_bytes() {
    let mut world = World::new(3, &CircuitsConfig { bytes_per_hour: 6_500, ..Default::default() });
    let (near, _) = world.circuit(ANNA, BERT);
    for _ in 0..100 {
        world.sends(ANNA, near, &mut BytesMut::zeroed(1));
    }
    assert_eq!(world.end_of(ANNA, near), None);
    world.sends(ANNA, near, &mut BytesMut::zeroed(1));
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::HourUsed));
}

#[test]
fn a_circuit_that_carries_nothing_ends() {
    let mut world = World::new(3, &CircuitsConfig::default());
    let (near, far) = world.circuit(ANNA, BERT);
    world.passes(IDLE - 1);
    world.sends(BERT, far, &mut BytesMut::zeroed(1));
    world.passes(IDLE - 1);
    assert_eq!(world.end_of(ANNA, near), None);
    world.passes(1);
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::Idle));
    assert_eq!(world.end_of(BERT, far), Some(CircuitReason::Idle));
}

/// Two nodes of one neighbourhood hold all there is, and keep nobody of another out. They don't
/// take back what they lost.
#[test]
fn a_crowd_makes_room_for_whoever_has_less() {
    let mut world = crowd(2, &CircuitsConfig { carried_max: 4, ..Default::default() });
    let (oldest, _) = world.circuit(3, BERT);
    world.circuit(3, BERT);
    world.circuit(4, BERT);
    world.circuit(4, BERT);
    let (near, _) = world.circuit(ANNA, BERT);
    assert_eq!(world.end_of(3, oldest), Some(CircuitReason::TotalQuota), "of equals, the first");
    let again = world.dial(3, BERT).unwrap();
    assert_eq!(world.end_of(3, again), Some(CircuitReason::TotalQuota));
    assert_eq!(world.end_of(ANNA, near), None);
    assert_eq!(world.nodes[RUTH].counts(), (0, 4));
}

/// The same within one neighbourhood, when that has all that one may have.
#[test]
fn whoever_has_most_of_a_neighbourhood_makes_room_in_it() {
    let mut world = crowd(2, &CircuitsConfig { carried_per_group_max: 2, ..Default::default() });
    let (oldest, _) = world.circuit(3, BERT);
    world.circuit(3, BERT);
    world.circuit(4, BERT);
    assert_eq!(world.end_of(3, oldest), Some(CircuitReason::GroupQuota));
    let second = world.dial(4, BERT).unwrap();
    assert_eq!(world.end_of(4, second), Some(CircuitReason::GroupQuota), "they have one each");
}

/// Asking costs, whatever becomes of it: neither the relay nor whoever is called is kept busy by
/// circuits that are refused.
#[test]
fn circuits_are_asked_for_at_a_pace() {
    let mut world = crowd(2, &CircuitsConfig::default());
    for _ in 0..8 {
        let near = world.dial(ANNA, 99).unwrap();
        assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::NotConnected));
    }
    let near = world.dial(ANNA, 99).unwrap();
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::PeerQuota));
    world.passes(1_000);
    let near = world.dial(ANNA, 99).unwrap();
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::NotConnected));

    let mut last = None;
    for number in [3, 4, 3, 4, 3, 4, 3, 4, 3, 4] {
        let near = world.dial(number, BERT).unwrap();
        last = world.end_of(number, near);
    }
    assert_eq!(last, Some(CircuitReason::Busy));
    assert_eq!(said(&world, BERT, Kind::CircuitOpen), 8, "Bert hears of no more");
}

/// Whatever strangers take of a node, its own dials have room; and no node at the other end takes
/// more than two.
#[test]
fn circuits_that_are_taken_leave_room_for_those_that_are_dialled() {
    let (carried_per_group_max, carried_per_peer_max) = (99, 99);
    let plenty =
        CircuitsConfig { carried_per_group_max, carried_per_peer_max, ..Default::default() };
    let mut world = crowd(9, &plenty);
    for number in 3..11 {
        for _ in 0..2 {
            world.passes(1_000);
            world.circuit(number, BERT);
        }
        world.passes(1_000);
        let third = world.dial(number, BERT).unwrap();
        assert_eq!(world.end_of(number, third), Some(CircuitReason::Busy));
    }
    world.passes(1_000);
    let late = world.dial(11, BERT).unwrap();
    assert_eq!(world.end_of(11, late), Some(CircuitReason::Busy));
    for number in (3..11).chain(3..11) {
        world.passes(1_000);
        world.circuit(BERT, number);
    }
    assert_eq!(world.dial(BERT, 11), Err(CircuitReason::Busy));
}

/// A close that finds the queue full is said again: the other end would keep its circuit.
#[test]
fn a_close_that_was_not_queued_is_said_again() {
    let mut world = World::new(3, &CircuitsConfig::default());
    let close = CircuitClose { circuit: CircuitId(2), reason: CircuitReason::PeerGone.code() };
    world.circuit(ANNA, BERT);
    for _ in 0..100 {
        world.tell(RUTH, |m, now, _| m.on_close_rejected(now, session(BERT), close));
    }
    world.passes(999);
    assert_eq!(said(&world, BERT, Kind::CircuitClose), 0);
    world.passes(1);
    assert_eq!(said(&world, BERT, Kind::CircuitClose), 64, "bounded");
    world.passes(10_000);
    assert_eq!(said(&world, BERT, Kind::CircuitClose), 64, "once");
}

/// What was lost on its way into the node can't be told by circuit: all of that peer's end.
#[test]
fn a_connection_that_lost_messages_loses_its_circuits() {
    let mut world = World::new(4, &CircuitsConfig::default());
    let (near, far) = world.circuit(ANNA, BERT);
    let (third, _) = world.circuit(3, BERT);
    world.tell(RUTH, |machine, now, out| machine.on_lost(now, session(ANNA), out));
    world.settle();
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::Congested));
    assert_eq!(world.end_of(BERT, far), Some(CircuitReason::Congested));
    assert_eq!(world.end_of(3, third), None);
}

/// A relay that has got another connection is dialled through that, and is where that is.
#[test]
fn a_relay_is_where_its_newest_connection_is() {
    let mut machine = Circuits::new(node(ANNA), CircuitsConfig::default());
    let mut out = Vec::new();
    for (number, there) in [(7, 50), (8, 51)] {
        let address = place(there);
        let (session, peer, capabilities) = (SessionId(number), node(RUTH), every());
        let group = address.group();
        let relay = CircuitPeer { session, peer, address, group, outbound: true, capabilities };
        machine.on_session_up(Time(1), relay, &mut out);
    }
    let key = machine.dial(Time(1), &node(RUTH), node(BERT), &mut out).unwrap();
    assert_eq!(machine.relay_address(key), Some(place(51)));
    let over = |action: &Action| matches!(action, Action::Send { session, .. } if session.0 == 8);
    assert!(out.iter().any(over));
}
