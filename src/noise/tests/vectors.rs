//! Committed vectors of `Noise_XX_25519_ChaChaPoly_SHA256`: one from cacophony, the rest from
//! `snow`, in the same format.

use bytes::BytesMut;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::{differential::SnowSide, *};
use crate::identity::hex;

const CACOPHONY: &str = include_str!("../../../tests/noise/cacophony-xx-sha256.json");
const SNOW: &str = include_str!("../../../tests/noise/snow-xx-sha256.json");

/// Plays a vector: our two sides must produce and accept every byte of it. Messages alternate,
/// the initiator's first, through the handshake and on into the transport.
fn play(vector: &Value) {
    assert_eq!(vector["protocol_name"], Suite::Classical.protocol_name());
    let side = |role, name: &str| {
        let field = |what| format!("{name}_{what}");
        let prologue = bytes(vector, &field("prologue"));
        let ephemeral = array(vector, &field("ephemeral"));
        classical(role, &prologue, array(vector, &field("static")), ephemeral)
    };
    let mut sides = [side(Role::Initiator, "init"), side(Role::Responder, "resp")];
    let messages = vector["messages"].as_array().unwrap();
    for (index, message) in messages.iter().enumerate().take(3) {
        let (payload, expected) = (bytes(message, "payload"), bytes(message, "ciphertext"));
        let mut written = Vec::new();
        sides[index % 2].write_message(&payload, &mut written).unwrap();
        assert_eq!(hex(&written), hex(&expected), "message {index}");
        assert_eq!(sides[1 - index % 2].read_message(&written).unwrap(), payload);
    }
    for side in &sides {
        assert_eq!(hex(side.handshake_hash()), vector["handshake_hash"]);
    }
    let mut sides = sides.map(|side| side.into_transport().unwrap());
    for (index, message) in messages.iter().enumerate().skip(3) {
        let (payload, expected) = (bytes(message, "payload"), bytes(message, "ciphertext"));
        let mut record = BytesMut::new();
        sides[index % 2].sealer.seal(&[&payload], &mut record).unwrap();
        assert_eq!(hex(&record[RECORD_HEADER_LEN..]), hex(&expected), "message {index}");
        let opened = sides[1 - index % 2].opener.open(&mut record).unwrap().unwrap();
        assert_eq!(opened, payload);
    }
}

fn vectors(file: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

#[test]
fn cacophony_is_reproduced_byte_for_byte() {
    let vectors = vectors(CACOPHONY);
    assert_eq!(vectors.len(), 1);
    vectors.iter().for_each(play);
}

#[test]
fn snows_vectors_are_reproduced_byte_for_byte() {
    let vectors = vectors(SNOW);
    assert_eq!(vectors.len(), 8);
    vectors.iter().for_each(play);
}

/// The committed file is what `snow` says. With `PEERSTAGE_BLESS` set it is written anew.
#[test]
fn the_committed_snow_vectors_are_snows() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let vectors: Vec<Value> = (0..8).map(|_| snow_vector(&mut rng)).collect();
    let made = json!({ "source": "made with the crate snow 0.10", "vectors": vectors });
    let text = serde_json::to_string_pretty(&made).unwrap() + "\n";
    if std::env::var_os("PEERSTAGE_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/noise/snow-xx-sha256.json");
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(serde_json::from_str::<Value>(SNOW).unwrap(), made);
}

fn snow_vector(rng: &mut ChaCha8Rng) -> Value {
    let mut random = |len: u32| {
        let mut bytes = vec![0; len as usize];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    let prologue = random(40);
    let keys: Vec<[u8; 32]> = (0..4).map(|_| random(32).try_into().unwrap()).collect();
    let mut sides = [
        SnowSide::new(Role::Initiator, &prologue, &keys[0], &keys[1]),
        SnowSide::new(Role::Responder, &prologue, &keys[2], &keys[3]),
    ];
    let mut messages = Vec::new();
    let mut handshake_hash = String::new();
    for index in 0..9 {
        let payload = random(index * 17);
        let ciphertext = sides[index as usize % 2].write(&payload);
        assert_eq!(sides[1 - index as usize % 2].read(&ciphertext), Some(payload.clone()));
        messages.push(json!({ "payload": hex(&payload), "ciphertext": hex(&ciphertext) }));
        if index == 2 {
            handshake_hash = hex(&sides[0].handshake_hash());
            sides = sides.map(SnowSide::into_transport);
        }
    }
    json!({
        "protocol_name": Suite::Classical.protocol_name(),
        "init_prologue": hex(&prologue), "resp_prologue": hex(&prologue),
        "init_static": hex(&keys[0]), "init_ephemeral": hex(&keys[1]),
        "resp_static": hex(&keys[2]), "resp_ephemeral": hex(&keys[3]),
        "handshake_hash": handshake_hash, "messages": messages,
    })
}
