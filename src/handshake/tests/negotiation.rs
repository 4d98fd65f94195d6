//! Networks, versions and suites: who meets whom, and what both sides learn when they don't.

use super::*;

/// Both sides' reasons; `None` for success.
fn outcome(
    dialler: HandshakeConfig,
    listener: HandshakeConfig,
) -> (Option<&'static str>, Option<&'static str>) {
    let (initiator, responder) = meet(dialler, listener);
    assert_eq!(initiator.end.is_some(), responder.end.is_some());
    (initiator.reason(), responder.reason())
}

/// Every pair of policies: the best suite both allow, or the same reason on both sides.
#[test]
fn policies_meet_at_the_best_suite_both_allow() {
    use PqPolicy::{Classical, Prefer, Require};
    let table = [
        (Prefer, Prefer, Some(Suite::Hybrid)),
        (Prefer, Require, Some(Suite::Hybrid)),
        (Prefer, Classical, Some(Suite::Classical)),
        (Require, Prefer, Some(Suite::Hybrid)),
        (Require, Require, Some(Suite::Hybrid)),
        (Require, Classical, None),
        (Classical, Prefer, Some(Suite::Classical)),
        (Classical, Require, None),
        (Classical, Classical, Some(Suite::Classical)),
    ];
    for (ours, theirs, expected) in table {
        let (initiator, responder) = meet(node(1).with_policy(ours), node(2).with_policy(theirs));
        match expected {
            Some(suite) => {
                let (a, b) = (initiator.established(), responder.established());
                assert_eq!((a.suite, b.suite), (suite, suite), "{ours:?} meets {theirs:?}");
                assert_eq!(a.handshake_hash, b.handshake_hash);
            }
            None => {
                let reason = Some("no_common_suite");
                assert_eq!((initiator.reason(), responder.reason()), (reason, reason));
            }
        }
    }
}

/// Attack row 10: both sides log the wrong network, and neither sent a byte that depends on its
/// identity.
#[test]
fn a_wrong_network_is_known_to_both_and_reveals_nobody() {
    let mut other = node(2);
    other.network = NetworkId([8; 32]);
    let answer_of = |seed| {
        let mut listener = node(seed);
        listener.network = other.network;
        let mut responder = Side::responder(listener, 5);
        responder.hears(&Side::initiator(node(1), 1).take_sent());
        assert_eq!(responder.reason(), Some("wrong_network"));
        responder.take_sent()
    };
    assert_eq!(answer_of(2).len(), PREFACE_LEN);
    assert_eq!(answer_of(2), answer_of(3), "the same answer whoever listens");

    let first_of = |seed| Side::initiator(node(seed), 1).take_sent();
    assert_eq!(first_of(1), first_of(4), "the same first bytes whoever dials");

    let (mut initiator, mut responder) = (Side::initiator(node(1), 1), Side::responder(other, 2));
    converse(&mut initiator, &mut responder, |_, _| ());
    let theirs = NetworkId([8; 32]);
    assert_eq!(initiator.end.unwrap().unwrap_err(), HandshakeError::WrongNetwork { theirs });
    assert_eq!(responder.end.unwrap().unwrap_err(), HandshakeError::WrongNetwork { theirs: NET });
}

/// Attack row 10: a lie about the network in both prefaces fails at the first tag.
#[test]
fn a_forged_network_id_does_not_complete() {
    let mut other = node(2);
    other.network = NetworkId([8; 32]);
    let (mut initiator, mut responder) = (Side::initiator(node(1), 1), Side::responder(other, 2));
    converse(&mut initiator, &mut responder, |from, bytes| {
        if let Some(network) = bytes.get_mut(16..PREFACE_LEN) {
            network.fill(if from == Role::Initiator { 8 } else { 7 });
        }
    });
    assert_eq!(initiator.reason(), Some("bad_mac"));
    assert!(responder.end.is_none());
}

/// Attack row 11: the neighbouring version is accepted, one below the minimum is refused with a
/// reason on both sides.
#[test]
fn old_and_future_versions_are_accepted_or_refused_with_a_reason() {
    let speaks = |seed, min, max| {
        let mut config = node(seed);
        config.versions = Versions { min, max };
        config
    };
    let (initiator, responder) = meet(speaks(1, 2, 3), speaks(2, 1, 2));
    assert_eq!((initiator.established().version, responder.established().version), (2, 2));
    let (initiator, _) = meet(speaks(1, 1, 1), speaks(2, 1, 200));
    assert_eq!(initiator.established().version, 1);

    let refused = Some("unsupported_version");
    assert_eq!(outcome(speaks(1, 1, 1), speaks(2, 2, 3)), (refused, refused));
    assert_eq!(outcome(speaks(1, 5, 9), speaks(2, 1, 4)), (refused, refused));
    assert_eq!(outcome(speaks(1, 0, 255), speaks(2, 1, 4)), (refused, refused));
    assert_eq!(outcome(speaks(1, 3, 2), speaks(2, 1, 4)), (refused, refused));
}

#[test]
fn another_protocol_is_refused_at_its_first_wrong_byte() {
    let mut responder = Side::responder(node(1), 1);
    responder.hears(b"PEER");
    assert_eq!(responder.reason(), None);
    responder.hears(b"-TO-PEER");
    assert_eq!(responder.reason(), Some("wrong_magic"));
    assert!(responder.take_sent().is_empty());

    let mut initiator = Side::initiator(node(1), 1);
    initiator.hears(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(initiator.reason(), Some("wrong_magic"));
}

#[test]
fn suites_from_the_future_are_ignored() {
    let mut first = Side::initiator(node(1).with_policy(PqPolicy::Classical), 1).take_sent();
    let mut responder = Side::responder(node(2), 2);
    first[12] |= 0b1000_0000;
    responder.hears(&first);
    assert_eq!(responder.reason(), None);
    assert_eq!(responder.take_sent()[13], Suite::Classical as u8);
}

/// Attack row 12: an initiator always announces its best; anything else was changed on the way
/// and gets no answer at all.
#[test]
fn an_announcement_below_the_offer_is_refused_in_silence() {
    for (at, value) in [(11, 0), (11, 7), (13, Suite::Classical as u8), (13, 0), (13, 0x80)] {
        let mut first = Side::initiator(node(1), 1).take_sent();
        first[at] = value;
        let mut responder = Side::responder(node(2), 2);
        responder.hears(&first);
        assert_eq!(responder.reason(), Some("downgrade"), "byte {at} = {value}");
        assert!(responder.take_sent().is_empty());
    }
}
