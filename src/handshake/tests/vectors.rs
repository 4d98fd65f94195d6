//! Whole sessions as committed bytes. `tests/noise/second` is a second implementation, written
//! from `docs/protocol.md` alone, that reproduces the same file.

use bytes::BytesMut;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::{identity::hex, noise::EphemeralSeeds};

const SESSIONS: &str = include_str!("../../../tests/noise/hybrid.json");

/// Records each way: enough for one change of keys.
const RECORDS: u32 = 1_030;

/// The committed file is what this code does. With `PEERSTAGE_BLESS` set it is written anew.
#[test]
fn committed_sessions_are_reproduced_byte_for_byte() {
    use PqPolicy::{Classical, Prefer, Require};
    let table = [
        ("hybrid", Prefer, Prefer),
        ("hybrid, required by the responder", Prefer, Require),
        ("hybrid offer, classical responder", Prefer, Classical),
        ("classical", Classical, Prefer),
    ];
    let sessions: Vec<Value> = table
        .into_iter()
        .zip(10..)
        .map(|((name, ours, theirs), seed)| session(name, seed, ours, theirs))
        .collect();
    let made = json!({ "sessions": sessions });
    if std::env::var_os("PEERSTAGE_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/noise/hybrid.json");
        std::fs::write(path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    assert!(serde_json::from_str::<Value>(SESSIONS).unwrap() == made, "the wire format changed");
}

fn session(name: &str, seed: u8, ours: PqPolicy, theirs: PqPolicy) -> Value {
    let configs = [node(seed).with_policy(ours), node(seed + 100).with_policy(theirs)];
    let rngs = [u64::from(seed), u64::from(seed) + 100];
    let mut initiator = Side::initiator(configs[0].clone(), rngs[0]);
    let mut responder = Side::responder(configs[1].clone(), rngs[1]);
    let first = initiator.take_sent();
    responder.hears(&first);
    let answer = responder.take_sent();
    initiator.hears(&answer);
    let last = initiator.take_sent();
    responder.hears(&last);

    let party = |side: usize| {
        let seeds = EphemeralSeeds::generate(&mut rng(rngs[side]));
        json!({
            "suites": configs[side].policy.suites().0,
            "identity_secret": hex(&*configs[side].keypair.seed()),
            "noise_secret": hex(&*configs[side].keypair.noise_secret()),
            "ephemeral_secret": hex(&*seeds.dh),
            "kem_randomness": hex(&seeds.kem[..if side == 0 { 64 } else { 32 }]),
        })
    };
    let mut ends = [initiator.established(), responder.established()];
    let (suite, hash) = (ends[0].suite, ends[0].handshake_hash);
    json!({
        "name": name,
        "network": hex(&NET.0),
        "versions": [Versions::CURRENT.min, Versions::CURRENT.max],
        "initiator": party(0),
        "responder": party(1),
        "protocol_name": suite.protocol_name(),
        "first_bytes": hex(&first),
        "answer": hex(&answer),
        "last_bytes": hex(&last),
        "handshake_hash": hex(&hash),
        "from_initiator": records(&mut ends, 0),
        "from_responder": records(&mut ends, 1),
    })
}

/// Record number `n` carries `n` as four big-endian bytes, `n mod 7` times. The first records
/// are spelt out; the whole stream, across the change of keys, is hashed.
fn records(ends: &mut [Established; 2], from: usize) -> Value {
    let mut stream = BytesMut::new();
    for number in 0..RECORDS {
        let text = number.to_be_bytes().repeat(number as usize % 7);
        let start = stream.len();
        ends[from].transport.sealer.seal(&[&text], &mut stream).unwrap();
        let mut record = BytesMut::from(&stream[start..]);
        let opened = ends[1 - from].transport.opener.open(&mut record).unwrap().unwrap();
        assert_eq!(opened, &text[..]);
    }
    // Record 0 is empty (2 + 16 bytes), record 1 has four bytes (2 + 20).
    json!({
        "records": RECORDS,
        "first_two": hex(&stream[..40]),
        "sha256": hex(&Sha256::digest(&stream)),
    })
}
