//! What happens between honest nodes.

use bytes::BytesMut;

use super::*;

#[test]
fn two_nodes_meet_and_know_each_other() {
    let (alice, bob) = (node(1), node(2));
    let (initiator, responder) = meet(alice.clone(), bob.clone());
    let (a, b) = (initiator.established(), responder.established());
    assert_eq!((a.remote, b.remote), (bob.keypair.public(), alice.keypair.public()));
    assert_eq!(a.remote_noise, *bob.noise_key.public());
    assert_eq!(b.remote_noise, *alice.noise_key.public());
    assert_eq!(a.handshake_hash, b.handshake_hash);
    assert_eq!((a.suite, b.suite), (Suite::Hybrid, Suite::Hybrid));
    assert_eq!((a.version, b.version), (1, 1));
    assert_eq!((a.role, b.role), (Role::Initiator, Role::Responder));
}

#[test]
fn both_directions_carry_records_afterwards() {
    let (initiator, responder) = meet(node(1), node(2));
    let mut sides = [initiator, responder].map(|side| side.established().transport);
    for (from, to) in [(0, 1), (1, 0)] {
        let mut wire = BytesMut::new();
        sides[from].sealer.seal(&[b"block"], &mut wire).unwrap();
        assert_eq!(sides[to].opener.open(&mut wire).unwrap().unwrap(), &b"block"[..]);
    }
}

#[test]
fn no_round_trip_is_added_and_nothing_is_sent_twice() {
    let (mut initiator, mut responder) = (Side::initiator(node(1), 1), Side::responder(node(2), 2));
    let first = initiator.take_sent();
    assert_eq!(first.len(), PREFACE_LEN + 2 + 1216);
    responder.hears(&first);
    let answer = responder.take_sent();
    assert_eq!(answer.len(), PREFACE_LEN + 2 + 1200 + IDENTITY_LEN);
    initiator.hears(&answer);
    assert!(matches!(initiator.end, Some(Ok(_))));
    let last = initiator.take_sent();
    assert_eq!(last.len(), 2 + 64 + IDENTITY_LEN);
    responder.hears(&last);
    assert!(matches!(responder.end, Some(Ok(_))));
    assert!(responder.take_sent().is_empty());
}

#[test]
fn records_that_follow_at_once_are_left_over() {
    let (mut initiator, mut responder) = (Side::initiator(node(1), 1), Side::responder(node(2), 2));
    responder.hears(&initiator.take_sent());
    initiator.hears(&responder.take_sent());
    let mut wire = BytesMut::from(&initiator.take_sent()[..]);
    let mut a = initiator.established();
    a.transport.sealer.seal(&[b"hello"], &mut wire).unwrap();
    responder.hears(&wire);
    let mut b = responder.established();
    assert_eq!(b.transport.opener.open(&mut b.leftover).unwrap().unwrap(), &b"hello"[..]);
}

#[test]
fn a_dialler_meets_whom_it_expected() {
    let bob = node(2);
    let (initiator, responder) = meet(node(1).expecting(bob.keypair.node_id()), bob);
    initiator.established();
    responder.established();
}

#[test]
fn a_dialler_tells_nothing_to_someone_else() {
    let bob = node(2).keypair.node_id();
    let (initiator, responder) = meet(node(1).expecting(bob), node(3));
    let found = node(3).keypair.node_id();
    assert_eq!(initiator.end.unwrap().unwrap_err(), HandshakeError::UnexpectedPeer { found });
    assert!(responder.end.is_none(), "message C was never sent");
}

#[test]
fn the_same_seeds_give_the_same_bytes() {
    let hash = |a: (Side, Side)| a.0.established().handshake_hash;
    assert_eq!(hash(meet(node(1), node(2))), hash(meet(node(1), node(2))));
    let first = |seed| Side::initiator(node(1), seed).take_sent();
    assert_ne!(first(1), first(2));
}

#[test]
fn the_machine_can_move_to_a_worker_thread() {
    let mut initiator = Side::initiator(node(1), 1);
    let first = initiator.take_sent();
    let responder = std::thread::spawn(move || {
        let mut responder = Side::responder(node(2), 2);
        responder.hears(&first);
        responder
    });
    let mut responder = responder.join().unwrap();
    converse(&mut initiator, &mut responder, |_, _| ());
    assert!(initiator.established().leftover.is_empty());
}

#[test]
fn secrets_are_not_printed() {
    let config = node(1);
    let printed = format!("{config:?} {:?}", Side::initiator(node(1), 1).machine);
    assert!(!printed.contains(&crate::identity::hex(&*config.keypair.seed())));
    assert!(!printed.contains(&crate::identity::hex(&*config.keypair.noise_secret())));
}
