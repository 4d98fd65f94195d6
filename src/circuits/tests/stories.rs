//! How bytes go through a relay, and how that ends.

use proptest::prelude::*;

use super::*;

#[test]
fn bytes_go_through_a_relay_in_both_directions_and_in_order() {
    let mut world = World::new(3, &CircuitsConfig::default());
    let (near, far) = world.circuit(ANNA, BERT);
    world.sends(ANNA, near, &mut BytesMut::from(&b"to Bert"[..]));
    world.sends(BERT, far, &mut BytesMut::from(&b"to Anna"[..]));
    assert_eq!(received(&world.heard(BERT)), b"to Bert");
    assert_eq!(received(&world.heard(ANNA)), b"to Anna");
    world.tell(ANNA, |machine, now, out| machine.close(now, near, CircuitReason::Done, out));
    world.settle();
    assert_eq!(world.end_of(BERT, far), Some(CircuitReason::Done));
    assert!(world.nodes.iter().all(|machine| machine.counts() == (0, 0)));
}

#[test]
fn no_more_is_under_way_than_the_window_and_reading_makes_room() {
    let mut world = World::new(3, &CircuitsConfig::default());
    let (near, far) = world.circuit(ANNA, BERT);
    let mut bytes = BytesMut::zeroed(WINDOW as usize + 10_000);
    world.sends(ANNA, near, &mut bytes);
    assert_eq!(bytes.len(), 10_000, "the rest waits at Anna's");
    assert_eq!(received(&world.heard(BERT)).len(), WINDOW as usize);
    world.tell(BERT, |machine, _, out| machine.on_read(far, 1_000, out));
    world.settle();
    assert!(!world.heard(ANNA).contains(&Action::Credited(near)), "not worth a message");
    world.tell(BERT, |machine, _, out| machine.on_read(far, 20_000, out));
    world.settle();
    assert!(world.heard(ANNA).contains(&Action::Credited(near)));
    world.sends(ANNA, near, &mut bytes);
    assert!(bytes.is_empty());
}

#[test]
fn a_relay_that_is_gone_takes_its_circuits_with_it_and_no_others() {
    let mut world = World::new(4, &CircuitsConfig::default());
    let (near, far) = world.circuit(ANNA, BERT);
    let (third, with_bert) = world.circuit(3, BERT);
    world.disconnect(ANNA, RUTH);
    world.settle();
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::PeerGone));
    assert_eq!(world.end_of(BERT, far), Some(CircuitReason::PeerGone));
    world.sends(3, third, &mut BytesMut::from(&b"hello"[..]));
    assert_eq!(received(&world.heard(BERT)), b"hello");
    assert_eq!(world.end_of(BERT, with_bert), None);
    assert_eq!(world.nodes[RUTH].counts(), (0, 1));
}

#[test]
fn an_offer_that_nobody_answers_runs_out() {
    let mut world = World::new(3, &CircuitsConfig::default());
    let near = world.dial(ANNA, BERT).unwrap();
    world.passes(OPEN_TIMEOUT);
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::Timeout));
    assert!(world.nodes.iter().all(|machine| machine.counts() == (0, 0)));
    assert!(world.nodes.iter().all(|machine| machine.deadline().is_none()));
}

/// A queue that takes no more ends the circuit that it was for; the relay keeps nothing.
#[test]
fn a_full_queue_ends_one_circuit() {
    let mut world = World::new(4, &CircuitsConfig::default());
    let (near, _) = world.circuit(ANNA, BERT);
    world.circuit(3, BERT);
    world.tell(RUTH, |machine, now, out| {
        machine.on_rejected(now, session(BERT), CircuitId(2), out);
    });
    world.settle();
    assert_eq!(world.end_of(ANNA, near), Some(CircuitReason::Congested));
    assert_eq!(world.nodes[RUTH].counts(), (0, 1));
}

proptest! {
    /// Whatever is read and written in whatever order and pieces: every byte comes once and in
    /// order, nobody breaks a rule, and all is over when it is closed.
    #[test]
    fn every_byte_comes_once(
        steps in proptest::collection::vec((any::<bool>(), 0usize..40_000, 0usize..40_000), 1..40),
    ) {
        let mut world = World::new(3, &CircuitsConfig::default());
        let (near, far) = world.circuit(ANNA, BERT);
        let sides = [(ANNA, near), (BERT, far)];
        let (mut unsent, mut unread) = ([BytesMut::new(), BytesMut::new()], [0usize; 2]);
        let (mut written, mut came) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for (second, write, read) in steps {
            let side = usize::from(second);
            let from = written[side].len();
            let bytes: Vec<u8> = (from..from + write).map(|at| (at % 251) as u8).collect();
            written[side].extend(&bytes);
            unsent[side].extend_from_slice(&bytes);
            let read = read.min(unread[side]);
            unread[side] -= read;
            world.tell(sides[side].0, |machine, _, out| machine.on_read(sides[side].1, read, out));
            world.settle();
            for (side, (who, key)) in sides.iter().enumerate() {
                let mut bytes = std::mem::take(&mut unsent[side]);
                world.sends(*who, *key, &mut bytes);
                unsent[side] = bytes;
            }
            for (side, (who, _)) in sides.iter().enumerate() {
                let heard = world.heard(*who);
                prop_assert!(!heard.iter().any(|action| matches!(action, Action::Closed(..))));
                let bytes = received(&heard);
                unread[side] += bytes.len();
                prop_assert!(unread[side] <= WINDOW as usize);
                came[side].extend(bytes);
            }
        }
        for side in [0, 1] {
            let whole: &[u8] = &written[side][..written[side].len() - unsent[side].len()];
            prop_assert_eq!(came[1 - side].as_slice(), whole);
        }
        let heard = world.heard(RUTH);
        let faults = heard.iter().filter(|action| matches!(action, Action::Penalise { .. }));
        prop_assert_eq!(faults.count(), 0);
    }

    /// The reasons are told apart on the wire.
    #[test]
    fn a_reason_is_its_code(code in any::<u8>()) {
        let reason = CircuitReason::from_code(code);
        prop_assert!(reason.code() == code || reason == CircuitReason::Unspecified);
    }
}
