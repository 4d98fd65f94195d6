//! What no honest peer does.

use super::*;

/// The one who breaks a rule is named, and the circuit is over; others go on.
#[test]
fn data_that_nobody_granted_costs_a_fault_and_the_circuit() {
    let mut world = World::new(4, &CircuitsConfig::default());
    let (near, far) = world.circuit(ANNA, BERT);
    let (_, other) = world.circuit(3, BERT);
    let id = CircuitId(1);
    let sixteen = vec![0; 16 * 1024];
    for _ in 0..4 {
        world.says_with(ANNA, RUTH, Kind::CircuitData, &id, &sixteen);
    }
    assert_eq!(world.end_of(BERT, far), None, "that was the window");
    world.heard(RUTH);
    world.says_with(ANNA, RUTH, Kind::CircuitData, &id, b"!");
    let fault =
        |action: &Action| matches!(action, Action::Penalise { peer, .. } if *peer == node(ANNA));
    assert!(world.heard(RUTH).iter().any(fault));
    assert_eq!(world.end_of(BERT, far), Some(CircuitReason::Protocol));
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::Protocol));
    world.sends(BERT, other, &mut BytesMut::from(&b"still here"[..]));
    assert_eq!(received(&world.heard(3)), b"still here");
}

#[test]
fn what_no_honest_node_says_is_a_fault() {
    let faults = |world: &mut World| {
        let heard = world.heard(RUTH);
        heard.iter().filter(|action| matches!(action, Action::Penalise { .. })).count()
    };
    let mut world = World::new(3, &CircuitsConfig::default());
    let (near, _) = world.circuit(ANNA, BERT);
    // Circuits that never were, of either side's numbers.
    for unknown in [0, 2, 3, 1_000] {
        world.says_with(ANNA, RUTH, Kind::CircuitData, &CircuitId(unknown), b"x");
        assert_eq!(faults(&mut world), 1, "{unknown}");
    }
    // Numbers that are taken, past, or not Anna's to give.
    let open = |circuit| CircuitOpen { circuit, other: OtherEnd::To(node(BERT)) };
    for taken in [1, 2] {
        world.says(ANNA, RUTH, Kind::CircuitOpen, &open(CircuitId(taken)));
        assert_eq!(faults(&mut world), 1, "{taken}");
    }
    // Whoever asked can't answer.
    world.says(ANNA, RUTH, Kind::CircuitOpened, &CircuitId(1));
    assert_eq!(faults(&mut world), 1);
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::Protocol));
    // What was under way when it ended means nothing.
    world.says_with(ANNA, RUTH, Kind::CircuitData, &CircuitId(1), b"x");
    assert_eq!(world.heard(RUTH), [Action::Ignored("over")]);
    // Credit that was never used, data before the answer, and data of no bytes.
    for say in [
        |world: &mut World| {
            let credit = CircuitCredit { circuit: CircuitId(3), bytes: 1 };
            world.says(ANNA, RUTH, Kind::CircuitCredit, &credit);
        },
        |world: &mut World| world.says_with(ANNA, RUTH, Kind::CircuitData, &CircuitId(5), b""),
    ] {
        world.circuit(ANNA, BERT);
        world.heard(RUTH);
        say(&mut world);
        assert_eq!(faults(&mut world), 1);
    }
    world.dial(ANNA, BERT).unwrap();
    world.says_with(ANNA, RUTH, Kind::CircuitData, &CircuitId(7), b"early");
    assert_eq!(faults(&mut world), 1);
}

#[test]
fn a_relay_that_sends_too_much_is_at_fault_itself() {
    let mut world = World::new(3, &CircuitsConfig::default());
    let (_, far) = world.circuit(ANNA, BERT);
    let sixteen = vec![0; 16 * 1024];
    for _ in 0..5 {
        world.says_with(RUTH, BERT, Kind::CircuitData, &CircuitId(2), &sixteen);
    }
    let heard = world.heard(BERT);
    let fault =
        |action: &Action| matches!(action, Action::Penalise { peer, .. } if *peer == node(RUTH));
    assert!(heard.iter().any(fault));
    assert!(heard.contains(&Action::Closed(far, CircuitReason::Protocol)));
}
