//! Circuits that are not carried, or no longer.

use super::*;

/// Every refusal has its name, at whoever asked and at whoever refused.
#[test]
fn a_circuit_that_must_not_be_is_refused_by_name() {
    let mut world = World::new(4, &CircuitsConfig::default());
    let unknown = world.dial(ANNA, 9).unwrap();
    assert_eq!(world.end_of(ANNA, unknown), Some(CircuitReason::NotConnected));
    assert!(world.heard(RUTH).contains(&Action::Refused(CircuitReason::NotConnected)));
    // One's own software asks for neither of these.
    assert_eq!(world.dial(ANNA, ANNA), Err(CircuitReason::SelfCircuit));
    assert_eq!(world.dial(ANNA, RUTH), Err(CircuitReason::ToRelay));
    for (number, to, reason) in [
        (101, ANNA, CircuitReason::SelfCircuit),
        (103, RUTH, CircuitReason::ToRelay),
        (105, 9, CircuitReason::NotConnected),
    ] {
        let open = CircuitOpen { circuit: CircuitId(number), other: OtherEnd::To(node(to)) };
        world.says(ANNA, RUTH, Kind::CircuitOpen, &open);
        assert_eq!(world.heard(RUTH), [Action::Refused(reason)]);
        let (_, _, last) = world.seen.last().unwrap();
        let close: CircuitClose = last.header.read().unwrap();
        assert_eq!(close, CircuitClose { circuit: CircuitId(number), reason: reason.code() });
    }
}

/// A node that takes no circuits, and one that carries none.
#[test]
fn who_does_not_offer_it_is_not_asked() {
    let mut world = World::new(3, &CircuitsConfig::default());
    world.connect_at(BERT, RUTH, place(RUTH), place(BERT), Capabilities::RELAY);
    let dialled = world.dial(ANNA, BERT).unwrap();
    assert_eq!(world.end_of(ANNA, dialled), Some(CircuitReason::NotAccepted));
    world.connect_at(ANNA, RUTH, place(RUTH), place(ANNA), Capabilities::CIRCUITS);
    assert_eq!(world.dial(ANNA, BERT), Err(CircuitReason::NoService));
    // Whoever asks all the same hears the same.
    let mut world = World::new(3, &CircuitsConfig { serve: false, ..Default::default() });
    let dialled = world.dial(ANNA, BERT).unwrap();
    assert_eq!(world.end_of(ANNA, dialled), Some(CircuitReason::NoService));
    let mut world = World::new(3, &CircuitsConfig { accept: false, ..Default::default() });
    let dialled = world.dial(ANNA, BERT).unwrap();
    assert_eq!(world.end_of(ANNA, dialled), Some(CircuitReason::NotAccepted));
}

/// However relays are connected among each other, a circuit has one relay: none is carried over a
/// connection that is carried itself, so no ring can be closed.
#[test]
fn there_is_no_circuit_through_a_circuit() {
    let circuit = place(RUTH).through().unwrap();
    for nested in [ANNA, BERT] {
        let mut world = World::new(3, &CircuitsConfig::default());
        let seen_at = |who| if who == nested { circuit } else { place(who) };
        for who in [ANNA, BERT] {
            world.connect_at(who, RUTH, place(RUTH), seen_at(who), every());
        }
        let dialled = world.dial(ANNA, BERT).unwrap();
        assert_eq!(world.end_of(ANNA, dialled), Some(CircuitReason::Nested));
    }
    let mut world = World::new(3, &CircuitsConfig::default());
    world.connect_at(ANNA, RUTH, circuit, place(ANNA), every());
    assert_eq!(world.dial(ANNA, BERT), Err(CircuitReason::Nested));
}

/// Three relays in a ring, each a peer of the next: an asking goes one step and no further.
#[test]
fn a_ring_of_relays_can_not_be_closed() {
    let mut world = World::new(5, &CircuitsConfig::default());
    world.connect(3, 4);
    world.connect(4, RUTH);
    world.seen.clear();
    // Bert is known to Ruth alone; the third relay is asked.
    let asked = world.tell(RUTH, |m, now, out| m.dial(now, &node(4), node(BERT), out));
    world.settle();
    assert_eq!(world.end_of(RUTH, asked.unwrap()), Some(CircuitReason::NotConnected));
    assert_eq!(world.seen.len(), 2, "a question and an answer: {:?}", world.seen);
}

#[test]
fn quotas_hold_and_whoever_opens_pays() {
    let total = CircuitsConfig { carried_max: 2, ..Default::default() };
    let mut world = World::new(5, &total);
    world.circuit(ANNA, BERT);
    world.circuit(3, BERT);
    let third = world.dial(4, BERT).unwrap();
    assert_eq!(world.end_of(4, third), Some(CircuitReason::TotalQuota));

    let peer = CircuitsConfig { carried_per_peer_max: 1, ..Default::default() };
    let mut world = World::new(4, &peer);
    let (near, _) = world.circuit(ANNA, BERT);
    let second = world.dial(ANNA, 3).unwrap();
    assert_eq!(world.end_of(ANNA, second), Some(CircuitReason::PeerQuota));
    // Bert, who was called, has not paid; and what is over is free again.
    world.circuit(BERT, ANNA);
    world.tell(ANNA, |machine, now, out| machine.close(now, near, CircuitReason::Done, out));
    world.settle();
    world.circuit(ANNA, 3);

    let group = CircuitsConfig { carried_per_group_max: 1, ..Default::default() };
    let mut world = World::new(4, &group);
    world.connect_at(3, RUTH, place(RUTH), Address::new([8, 0, 9, 9].into(), 7), every());
    world.circuit(ANNA, BERT);
    let second = world.dial(3, BERT).unwrap();
    assert_eq!(world.end_of(3, second), Some(CircuitReason::GroupQuota));
}

#[test]
fn bytes_and_time_run_out() {
    let few = CircuitsConfig { bytes_max: 200, ..Default::default() };
    let mut world = World::new(3, &few);
    let (near, far) = world.circuit(ANNA, BERT);
    world.sends(BERT, far, &mut BytesMut::zeroed(60));
    world.sends(ANNA, near, &mut BytesMut::zeroed(60));
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::BytesUsed));
    assert_eq!(world.end_of(BERT, far), Some(CircuitReason::BytesUsed));
    assert!(world.heard(RUTH).contains(&Action::Ended(Role::Carried, CircuitReason::BytesUsed)));

    let short = CircuitsConfig { time_max: 60_000, ..Default::default() };
    let mut world = World::new(3, &short);
    let (near, _) = world.circuit(ANNA, BERT);
    world.passes(59_999);
    assert_eq!(world.end_of(ANNA, near), None);
    world.passes(1);
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::TimeUsed));
}

#[test]
fn the_bytes_of_an_hour_come_back_within_the_hour() {
    let hourly = CircuitsConfig { bytes_per_hour: 36_000, ..Default::default() };
    let mut world = World::new(3, &hourly);
    let (near, _) = world.circuit(ANNA, BERT);
    world.sends(ANNA, near, &mut BytesMut::zeroed(40_000));
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::HourUsed));
    let next = world.dial(ANNA, BERT).unwrap();
    assert_eq!(world.end_of(ANNA, next), Some(CircuitReason::HourUsed));
    world.passes(60_000);
    let (near, far) = world.circuit(ANNA, BERT);
    world.sends(ANNA, near, &mut BytesMut::zeroed(60));
    assert_eq!(world.end_of(ANNA, near), None);
    world.sends(BERT, far, &mut BytesMut::zeroed(500));
    assert_eq!(world.end_of(BERT, far), Some(CircuitReason::HourUsed), "Anna pays for both ways");
}
