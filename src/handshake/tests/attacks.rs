//! Rows of the attack table that the machine answers.

use super::*;
use crate::identity::from_hex;

/// The twelve points of <https://cr.yp.to/ecdh.html#validate>: 0, 1, two points of order 8, p - 1,
/// p, p + 1, and the same with p or 2p added.
const BAD_POINTS: [&str; 12] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "cdeb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880",
    "4c9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7",
    "d9ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "daffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "dbffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

/// Where message A or B starts with the sender's ephemeral key.
const EPHEMERAL: std::ops::Range<usize> = PREFACE_LEN + 2..PREFACE_LEN + 2 + 32;

/// Attack row 1: one byte a second never moves the one total deadline.
#[test]
fn a_slow_handshake_ends_at_its_total_deadline() {
    let first = Side::initiator(node(1), 1).take_sent();
    let mut responder = Handshake::responder(node(2), NOW, &mut rng(2));
    let mut out = Vec::new();
    for (second, byte) in first.iter().enumerate() {
        let now = NOW.plus(second as u64 * 1_000);
        if responder.deadline().is_some_and(|deadline| deadline <= now) {
            responder.on_deadline(now, &mut out);
            assert_eq!(now.since(NOW), HANDSHAKE_TIMEOUT_MS);
            break;
        }
        responder.on_bytes(now, &[*byte], &mut out);
        assert!(out.is_empty());
    }
    assert!(matches!(out[..], [Action::Fail(HandshakeError::Timeout)]));
    assert_eq!(responder.deadline(), None);
}

#[test]
fn bytes_after_the_deadline_are_too_late_even_if_the_timer_is() {
    let mut responder = Handshake::responder(node(2), NOW, &mut rng(2));
    let mut out = Vec::new();
    responder.on_deadline(NOW.plus(HANDSHAKE_TIMEOUT_MS - 1), &mut out);
    assert!(out.is_empty(), "not yet");
    responder.on_bytes(NOW.plus(HANDSHAKE_TIMEOUT_MS), b"PEERSTGE", &mut out);
    assert!(matches!(out[..], [Action::Fail(HandshakeError::Timeout)]));
    responder.on_deadline(Time::NEVER, &mut out);
    assert_eq!(out.len(), 1, "a machine ends once");
}

/// Attack row 4: a length no message has is refused from its two bytes.
#[test]
fn a_wrong_length_is_refused_from_the_header() {
    for (len, reason) in [(1217u16, "oversized"), (u16::MAX, "oversized"), (1215, "malformed")] {
        let mut responder = Side::responder(node(2), 2);
        responder.hears(&Side::initiator(node(1), 1).take_sent()[..PREFACE_LEN]);
        responder.hears(&len.to_be_bytes());
        assert_eq!(responder.reason(), Some(reason), "{len}");
        assert_eq!(responder.machine.buffer.capacity(), 0, "nothing is kept for it");
    }
}

/// Attack row 5: whatever arrives in one piece, the machine keeps one message at most.
#[test]
fn memory_follows_what_arrived_and_is_one_message_at_most() {
    let mut responder = Side::responder(node(2), 2);
    let first = Side::initiator(node(1), 1).take_sent();
    for byte in &first[..first.len() - 1] {
        responder.hears(&[*byte]);
        let (len, capacity) = {
            let buffer = &responder.machine.buffer;
            (buffer.len(), buffer.capacity())
        };
        assert!(capacity <= (2 * len).max(64), "{capacity} bytes for {len}");
        assert!(len <= 2 + 1216);
    }
    let mut flood = first[first.len() - 1..].to_vec();
    flood.extend_from_slice(&[0xff; 100_000]);
    responder.hears(&flood);
    assert_eq!(responder.reason(), Some("oversized"));
}

/// Attack row 8: a replayed message A gets a fresh answer, and the old message C that belonged
/// to it fails.
#[test]
fn a_replayed_handshake_does_not_open_a_session() {
    for policy in [PqPolicy::Prefer, PqPolicy::Classical] {
        let (mut initiator, mut responder) =
            (Side::initiator(node(1).with_policy(policy), 1), Side::responder(node(2), 2));
        let a = initiator.take_sent();
        responder.hears(&a);
        let b = responder.take_sent();
        initiator.hears(&b);
        let c = initiator.take_sent();

        let mut again = Side::responder(node(2), 3);
        again.hears(&a);
        assert_ne!(again.take_sent(), b);
        again.hears(&c);
        assert_eq!(again.reason(), Some("bad_mac"));
        assert_eq!((again.machine.buffer.capacity(), again.machine.deadline()), (0, None));
    }
}

/// Attack row 9: dialling ourselves is recognised by identity.
#[test]
fn a_connection_to_ourselves_is_recognised() {
    let (initiator, responder) = meet(node(1), node(1));
    assert_eq!(initiator.reason(), Some("self_connection"));
    assert_eq!(responder.reason(), Some("self_connection"), "message C tells it");
}

/// Attack row 9: an echo is recognised by the role in its preface and, if that is forged, by our
/// own ephemeral key.
#[test]
fn reflected_bytes_are_recognised() {
    let mut initiator = Side::initiator(node(1), 1);
    let first = initiator.take_sent();
    initiator.hears(&first);
    assert_eq!(initiator.reason(), Some("reflection"));

    let mut initiator = Side::initiator(node(1), 1);
    let mut responder = Side::responder(node(2), 2);
    responder.hears(&initiator.take_sent());
    let mut answer = responder.take_sent();
    answer[EPHEMERAL].copy_from_slice(&first[EPHEMERAL]);
    initiator.hears(&answer);
    assert_eq!(initiator.reason(), Some("reflection"));

    let mut responder = Side::responder(node(2), 2);
    responder.hears(&answer);
    assert_eq!(responder.reason(), Some("reflection"));
    assert!(responder.take_sent().is_empty());
}

/// Attack row 12: the offer is stripped on the way, in every manner that leads the responder to
/// the classical suite. No session opens.
#[test]
fn a_stripped_offer_never_opens_a_session() {
    let strip = |bytes: &mut Vec<u8>| {
        bytes[12] = Suite::Classical as u8;
        bytes[13] = Suite::Classical as u8;
    };
    let cut = |bytes: &mut Vec<u8>| {
        bytes.truncate(PREFACE_LEN + 2 + 32);
        bytes[PREFACE_LEN..PREFACE_LEN + 2].copy_from_slice(&32u16.to_be_bytes());
    };
    let run = |wire: &dyn Fn(Role, &mut Vec<u8>)| {
        let (mut initiator, mut responder) =
            (Side::initiator(node(1), 1), Side::responder(node(2), 2));
        converse(&mut initiator, &mut responder, |from, bytes| {
            if bytes.len() >= PREFACE_LEN && bytes.starts_with(&MAGIC) {
                wire(from, bytes);
            }
        });
        assert!(!matches!(responder.end, Some(Ok(_))));
        initiator.reason()
    };
    // Only the way there: the answer shows that the responder had more to offer.
    let forth = |from, bytes: &mut Vec<u8>| {
        if from == Role::Initiator {
            strip(bytes);
            cut(bytes);
        }
    };
    assert_eq!(run(&forth), Some("downgrade"));
    // Both ways: the prefaces agree, the prologues don't.
    let both = |from, bytes: &mut Vec<u8>| match from {
        Role::Initiator => {
            strip(bytes);
            cut(bytes);
        }
        Role::Responder => bytes[12] = Suite::Classical as u8,
    };
    assert_eq!(run(&both), Some("bad_mac"));
    // The refusal of an offer that was made unusable.
    let none = |from, bytes: &mut Vec<u8>| {
        if from == Role::Initiator {
            bytes[12] = 0;
        }
    };
    assert_eq!(run(&none), Some("downgrade"));
}

/// Attack row 12: any change of any byte of either preface, and of the part of message A that a
/// classical responder doesn't use, prevents the session.
#[test]
fn every_clear_byte_is_authenticated() {
    let classical = || node(2).with_policy(PqPolicy::Classical);
    let position = |at: usize, from: Role| (at, from);
    let prefaces = (0..PREFACE_LEN)
        .flat_map(|at| [position(at, Role::Initiator), position(at, Role::Responder)]);
    let unused = [EPHEMERAL.end, 700, PREFACE_LEN + 2 + 1215].map(|at| (at, Role::Initiator));
    for (at, changed) in prefaces.chain(unused) {
        for listener in [node(2), classical()] {
            let (mut initiator, mut responder) =
                (Side::initiator(node(1), 1), Side::responder(listener, 2));
            converse(&mut initiator, &mut responder, |from, bytes| {
                if from == changed && bytes.starts_with(&MAGIC) {
                    bytes[at] ^= 0x04;
                }
            });
            assert!(!matches!(initiator.end, Some(Ok(_))), "byte {at} of the {changed:?}");
            assert!(!matches!(responder.end, Some(Ok(_))), "byte {at} of the {changed:?}");
        }
    }
}

/// Attack row 13: all twelve bad points and their twins with the masked bit set, as ephemeral
/// key in message A: refused before a byte is written.
#[test]
fn a_point_of_low_order_is_refused_before_anything_is_written() {
    for point in BAD_POINTS {
        for mask in [0, 0x80] {
            for policy in [PqPolicy::Prefer, PqPolicy::Classical] {
                let mut bytes = from_hex(point).unwrap();
                bytes[31] |= mask;
                let mut first = Side::initiator(node(1).with_policy(policy), 1).take_sent();
                first[EPHEMERAL].copy_from_slice(&bytes);
                let mut responder = Side::responder(node(2), 2);
                responder.hears(&first);
                assert_eq!(responder.reason(), Some("low_order_point"), "{point}");
                assert!(responder.take_sent().is_empty());
            }
        }
    }
}

/// Attack row 13, the other way: in message B, before message C is written.
#[test]
fn a_responder_with_a_point_of_low_order_learns_nothing() {
    for point in BAD_POINTS {
        let (mut initiator, mut responder) =
            (Side::initiator(node(1), 1), Side::responder(node(2), 2));
        responder.hears(&initiator.take_sent());
        let mut answer = responder.take_sent();
        answer[EPHEMERAL].copy_from_slice(&from_hex(point).unwrap());
        initiator.hears(&answer);
        assert_eq!(initiator.reason(), Some("low_order_point"), "{point}");
        assert!(initiator.take_sent().is_empty());
    }
}

/// Attack row 14: a KEM key that fails the input check is refused before a byte is written; a
/// damaged ciphertext fails at its tag.
#[test]
fn bad_kem_material_is_refused() {
    let (mut initiator, mut responder) = (Side::initiator(node(1), 1), Side::responder(node(2), 2));
    let first = initiator.take_sent();
    let mut bad = first.clone();
    bad[EPHEMERAL.end..EPHEMERAL.end + 3].fill(0xff);
    responder.hears(&bad);
    assert_eq!(responder.reason(), Some("invalid_kem_key"));
    assert!(responder.take_sent().is_empty());

    let mut responder = Side::responder(node(2), 2);
    responder.hears(&first);
    let mut answer = responder.take_sent();
    answer[EPHEMERAL.end + 500] ^= 1;
    initiator.hears(&answer);
    assert_eq!(initiator.reason(), Some("bad_mac"));
    assert!(initiator.take_sent().is_empty());
}

/// Attack row 7, in the handshake: any damage to message B or C ends it.
#[test]
fn a_damaged_handshake_message_ends_the_handshake() {
    for at in (PREFACE_LEN..PREFACE_LEN + 2 + 1296).step_by(13) {
        let (mut initiator, mut responder) =
            (Side::initiator(node(1), 1), Side::responder(node(2), 2));
        responder.hears(&initiator.take_sent());
        let mut answer = responder.take_sent();
        answer[at] ^= 0x10;
        initiator.hears(&answer);
        assert!(initiator.take_sent().is_empty(), "byte {at}");
        assert!(!matches!(initiator.end, Some(Ok(_))), "byte {at}");
    }
    for at in 2..162 {
        let (mut initiator, mut responder) = (
            Side::initiator(node(1).with_policy(PqPolicy::Classical), 1),
            Side::responder(node(2), 2),
        );
        responder.hears(&initiator.take_sent());
        initiator.hears(&responder.take_sent());
        let mut last = initiator.take_sent();
        last[at] ^= 0x10;
        responder.hears(&last);
        assert_eq!(responder.reason(), Some("bad_mac"), "byte {at}");
    }
}
