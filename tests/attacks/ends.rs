//! Every end has a reason: in the logs of both sides, in the counters, and in the score of whoever
//! broke a rule, whether it was let in or not.

use std::fs;

use peerstage::core::{
    codec,
    handshake::Versions,
    identity::Purpose,
    kinds::Kind,
    messages::{Hello, ValidatorProof},
    reason::CloseReason,
};
use rustix::process::Signal;

use crate::{
    hostile::{Hostile, NETWORK, Raw, Script, hello, key, settings, wall},
    process::{Events, Node, get, raw_tcp},
};

/// A process with a node of the attackers' network.
fn node(flags: &[&str]) -> Node {
    let name = format!("network.name={NETWORK}");
    Node::start(&[&[name.as_str(), "scoring.ban_floor=0"], flags].concat())
}

/// Its whole log, after it has ended in order.
fn log_of(node: Node) -> Vec<serde_json::Value> {
    node.signal(Signal::TERM);
    let (code, _, log) = node.end();
    assert_eq!(code, Some(0), "{log}");
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a line tells, and the reason it gives.
fn end(line: &serde_json::Value) -> Option<(&str, &str)> {
    Some((line["message"].as_str()?, line["reason"].as_str()?))
}

/// The lines that tell of an end, without the goodbyes of a node that stops.
fn ends(log: &[serde_json::Value]) -> Vec<(&str, &str)> {
    log.iter().filter_map(end).filter(|(_, reason)| *reason != "shutdown").collect()
}

/// Waits for an event with this reason; a dial is repeated, so others may come before.
fn tells(events: &mut Events, reason: &str) {
    while events.next()["reason"] != reason {}
}

fn numbers(node: &Node) -> String {
    raw_tcp(&node.text("metrics"), &get("/metrics")).body
}

/// Attacker number `seed` shakes hands, does something, and is told goodbye for it.
async fn misbehave(node: &Node, seed: u8, what: impl AsyncFn(&mut Hostile)) {
    let raw = Raw::dial(node.address().parse().unwrap()).await;
    let mut hostile = Hostile::shake_hands(raw, seed).await;
    what(&mut hostile).await;
    assert_eq!(hostile.goodbye().await, Some(CloseReason::ProtocolError));
}

async fn greet(hostile: &mut Hostile, hello: &Hello) {
    assert!(hostile.send(Kind::Hello, &codec::encode(hello).unwrap()).await);
}

/// What the score of attacker number `seed` is made of.
fn explained(node: &Node, seed: u8) -> String {
    node.cli(&["explain", &key(seed).node_id().to_string()[..12]])
}

/// Whoever proves an identity and then lies about it pays for that, though it never had a slot.
#[tokio::test]
async fn a_fault_before_the_greeting_costs_and_is_counted() {
    let node = node(&[]);
    let mut banned = node.follow(&["peer_banned"]);
    for _ in 0..5 {
        misbehave(&node, 90, async |hostile| {
            let proof =
                key(90).sign(Purpose::Record, &crate::hostile::network(), b"something else");
            let validator = Some(ValidatorProof { key: key(90).public(), signature: proof });
            greet(hostile, &Hello { validator, ..hello(90, wall()) }).await;
        })
        .await;
    }
    assert_eq!(banned.next()["reason"], "handshake");
    for _ in 0..10 {
        misbehave(&node, 91, async |hostile| greet(hostile, &hello(92, wall())).await).await;
    }
    assert_eq!(banned.next()["peer"], key(91).node_id().to_string().as_str());
    misbehave(&node, 93, async |hostile| {
        assert!(hostile.send(Kind::Hello, &[0xff; 40]).await);
    })
    .await;
    assert_eq!(banned.next()["peer"], key(93).node_id().to_string().as_str());
    for _ in 0..2 {
        misbehave(&node, 94, async |hostile| {
            assert!(hostile.gossip(Kind::Transaction, b"too early").await);
        })
        .await;
    }
    assert_eq!(banned.next()["peer"], key(94).node_id().to_string().as_str());
    for (seed, fault, times) in [
        (90, "handshake", 5),
        (91, "invalid_record", 10),
        (93, "malformed_message", 1),
        (94, "protocol_violation", 2),
    ] {
        let why = explained(&node, seed);
        assert!(why.contains(fault), "{why}");
        let series = format!("peerstage_faults_total{{fault=\"{fault}\"}} {times}\n");
        assert!(numbers(&node).contains(&series), "{series}{}", numbers(&node));
    }
}

/// The end of a peer is one line, however many machines had a hand in it.
#[tokio::test]
async fn one_line_tells_of_one_end() {
    let node = node(&[]);
    let mut events = node.follow(&["peer_connected", "peer_disconnected", "connection_replaced"]);
    let address = node.address().parse().unwrap();
    let mut first = Hostile::join(address, 95).await;
    assert_eq!(events.next()["event"], "peer_connected");
    let mut second = Hostile::join(address, 95).await;
    let gone = tokio::select! {
        gone = first.goodbye() => gone,
        gone = second.goodbye() => gone,
    };
    assert_eq!(gone, Some(CloseReason::Duplicate));
    node.cli(&["ban", &key(95).node_id().to_string(), "--for", "1h"]);
    let mut last = events.next();
    let replaced = last["event"] == "connection_replaced";
    while last["event"] != "peer_disconnected" {
        last = events.next();
    }
    let count = |name: &str| numbers(&node).contains(name);
    assert!(count("peerstage_disconnects_total{reason=\"banned\",by=\"us\"} 1\n"));
    assert_ne!(replaced, count("peerstage_connections_refused_total{reason=\"duplicate\"} 1\n"));
    assert_eq!(replaced, count("peerstage_disconnects_total{reason=\"duplicate\",by=\"us\"} 1\n"));
    let log = log_of(node);
    let twin = match replaced {
        true => ("connection replaced by a newer one", "duplicate"),
        false => ("connection refused", "duplicate"),
    };
    let told = ends(&log);
    let disconnected = ("peer disconnected", "banned");
    assert_eq!(told.iter().filter(|end| **end == twin).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|end| **end == disconnected).count(), 1, "{told:?}");
    assert!(!told.contains(&("connection refused", "banned")), "{told:?}");
    for line in log.iter().filter(|line| line["message"] == "peer disconnected") {
        assert!(line["score"].is_number() && line["connected_ms"].is_number(), "{line}");
    }
    let ban = log.iter().find(|line| line["message"] == "peer banned").unwrap();
    let until = ban["until"].as_str().unwrap();
    assert!(until.len() == "2026-01-01T00:00:00.000Z".len() && until.ends_with('Z'), "{until}");
}

/// Two nodes that can't be peers both tell their operators why.
#[tokio::test]
async fn both_logs_say_why_there_is_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (node, elsewhere) = (node(&[]), Node::start(&["network.name=elsewhere"]));
    fs::copy(node.path().join("node.key"), folder.path().join("node.key")).unwrap();
    let name = format!("network.name={NETWORK}");
    let clone = Node::start_in(folder.path(), &[&name]);
    assert_eq!(clone.id(), node.id());
    for (other, reason) in [(elsewhere, "wrong_network"), (clone, "self_connection")] {
        let mut accepting = node.follow(&["accept_failed"]);
        let mut dialling = other.follow(&["dial_failed"]);
        other.cli(&["connect", &node.address()]);
        tells(&mut accepting, reason);
        tells(&mut dialling, reason);
        assert!(ends(&log_of(other)).contains(&("dial failed", reason)));
    }
    let mut accepting = node.follow(&["accept_failed"]);
    let mut config = settings(96);
    config.versions = Versions { min: 8, max: 9 };
    let mut script = Script::new(config, 96);
    let mut raw = Raw::dial(node.address().parse().unwrap()).await;
    raw.send(&script.first()).await;
    script.listen(&mut raw).await;
    assert!(matches!(script.end, Some(Err("unsupported_version"))));
    tells(&mut accepting, "unsupported_version");
    let log = log_of(node);
    let told = ends(&log);
    for reason in ["wrong_network", "self_connection", "unsupported_version"] {
        assert!(told.contains(&("inbound connection failed", reason)), "{reason}: {told:?}");
    }
}

/// Both logs tell of the second connection of a peer, whichever of the two has to go.
#[test]
fn both_logs_tell_of_a_second_connection() {
    let (a, b) = (node(&[]), node(&[]));
    let mut met = [a.follow(&["peer_connected"]), b.follow(&["peer_connected"])];
    a.cli(&["connect", &b.address()]);
    met.iter_mut().for_each(|events| drop(events.next()));
    let names = [
        "peer_disconnected",
        "connection_replaced",
        "connection_refused",
        "dial_failed",
        "accept_failed",
    ];
    let mut ended = [a.follow(&names), b.follow(&names)];
    b.cli(&["connect", &a.address()]);
    ended.iter_mut().for_each(|events| drop(events.next()));
    let logs = [log_of(b), log_of(a)];
    for log in &logs {
        let told = ends(log);
        assert!(told.iter().any(|(_, reason)| reason.ends_with("duplicate")), "{told:?}");
    }
}
