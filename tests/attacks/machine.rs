//! Rows 2 and 46 against a node in a process of its own: what a flood costs in memory, and what
//! it writes into the log.

use std::{collections::BTreeSet, fs, net::TcpStream};

use futures_util::future::join_all;
use peerstage::core::{codec, codec::Text, kinds::Kind};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    hostile::{self, Hostile, Raw, wall},
    process::Node,
};

/// Attack row 2: what 20,000 connects may cost.
const CONNECTS: usize = 20_000;
const GROWTH_MAX_BYTES: u64 = 8 << 20;
/// Connections that the flooder holds at a time: more than the node keeps half open.
const HELD: usize = 512;

/// The resident memory of a process, bytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

/// Attack row 2: 20,000 connects that say nothing, 512 of them held at a time. The node's memory
/// grows by at most 8 MiB, and honest nodes get in afterwards.
#[test]
fn twenty_thousand_connects_cost_little_memory() {
    let (node, honest) = (Node::start(&[]), Node::start(&[]));
    let flood = |count: usize| {
        let mut held = std::collections::VecDeque::new();
        for _ in 0..count {
            // Refused at once, or by the system's queue: both are the node's right.
            if let Ok(stream) = TcpStream::connect(node.address()) {
                held.push_back(stream);
            }
            if held.len() > HELD {
                held.pop_front();
            }
        }
    };
    // What the first connections make the allocator keep is not the flood's.
    flood(2 * HELD);
    let before = resident(node.pid());
    flood(CONNECTS);
    let after = resident(node.pid());
    assert!(after <= before + GROWTH_MAX_BYTES, "{before} bytes before, {after} after");
    node.meet(&honest);
}

/// What a liar calls its software: a line of its own, and the order to clear the screen.
const AGENT: &str = "x\n{\"level\":\"ERROR\",\"message\":\"forged\"}\u{1b}[2J";

/// Comes as attacker number `seed`, with that name, and breaks a rule.
async fn come_and_misbehave(node: &Node, seed: u8) {
    let raw = Raw::dial(node.address().parse().unwrap()).await;
    let Some(mut hostile) = Hostile::try_shake_hands(raw, seed).await else { return };
    let mut hello = hostile::hello(seed, wall());
    hello.agent = Text::cut(AGENT);
    // Whoever finds no room is refused, which is a line too.
    let _ = hostile.send(Kind::Hello, &codec::encode(&hello).unwrap()).await;
    let frames: [&[u8]; 4] =
        [&[9, 3, 0, 0], &[2, 0xf0, 0, 0], &[2, 3, 255, 255, 0], &[1, 0, 1, 0, 7]];
    let wire = hostile.sealed(frames[usize::from(seed) % frames.len()]);
    let _ = hostile.raw.send(&wire).await;
    let _ = hostile.goodbye().await;
}

/// Attack row 46: a hundred liars that come with names that forge lines, break rules and are
/// thrown out, and as many that send garbage. Of all kinds together at most five times as many
/// lines a second are written as of one kind may be, and every line is the node's own.
async fn lines_of_a_flood(per_second: u64) -> Vec<Value> {
    let limit = format!("log.lines_per_second={per_second}");
    let name = format!("network.name={}", hostile::NETWORK);
    let node = Node::start(&[&limit, &name]);
    // Twenty at a time, so that a slow machine doesn't spread them out below the limit.
    let attack = async |seed| {
        let mut garbage = Raw::dial(node.address().parse().unwrap()).await;
        let _ = garbage.send(b"GET / HTTP/1.1\r\n\r\n\x1b[2J\n").await;
        come_and_misbehave(&node, seed).await;
    };
    for first in (0..100).step_by(20) {
        join_all((first..first + 20).map(&attack)).await;
    }
    node.signal(Signal::TERM);
    let (code, _, log) = node.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains('\u{1b}'), "an escape reached the log");
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("forged: {line}"));
    log.lines().map(line).collect()
}

#[tokio::test]
async fn hostile_peers_can_neither_flood_nor_forge_the_log() {
    for per_second in [20, 2] {
        let lines = lines_of_a_flood(per_second).await;
        let message = |line: &Value| line["message"].as_str().unwrap().to_owned();
        let messages: BTreeSet<String> = lines.iter().map(message).collect();
        assert!(messages.contains("peer connected"), "{messages:?}");
        assert!(!messages.contains("forged"), "{messages:?}");
        let second = |line: &Value| line["timestamp"].as_str().unwrap()[..19].to_owned();
        let seconds = lines.iter().map(second).collect::<BTreeSet<_>>().len() as u64;
        // The log's seconds and the limiter's need not begin together.
        let allowed = 5 * per_second * (seconds + 1);
        assert!(lines.len() as u64 <= allowed, "{} lines in {seconds} s", lines.len());
        if per_second == 2 {
            assert!(messages.contains("lines left out of the log"), "{messages:?}");
        }
    }
}
