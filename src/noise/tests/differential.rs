//! Random handshakes and transcripts against `snow`, in both roles.

use bytes::BytesMut;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// One side that is `snow`.
pub(super) enum SnowSide {
    Handshake(Box<snow::HandshakeState>),
    Transport(Box<snow::TransportState>),
}

impl SnowSide {
    pub(super) fn new(
        role: Role,
        prologue: &[u8],
        secret: &[u8; 32],
        ephemeral: &[u8; 32],
    ) -> Self {
        let builder = snow::Builder::new(Suite::Classical.protocol_name().parse().unwrap())
            .prologue(prologue)
            .unwrap()
            .local_private_key(secret)
            .unwrap()
            .fixed_ephemeral_key_for_testing_only(ephemeral);
        let state = match role {
            Role::Initiator => builder.build_initiator(),
            Role::Responder => builder.build_responder(),
        };
        SnowSide::Handshake(Box::new(state.unwrap()))
    }

    pub(super) fn write(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut message = vec![0; payload.len() + 200];
        let len = match self {
            SnowSide::Handshake(state) => state.write_message(payload, &mut message).unwrap(),
            SnowSide::Transport(state) => state.write_message(payload, &mut message).unwrap(),
        };
        message.truncate(len);
        message
    }

    pub(super) fn read(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let mut payload = vec![0; message.len()];
        let len = match self {
            SnowSide::Handshake(state) => state.read_message(message, &mut payload).ok()?,
            SnowSide::Transport(state) => state.read_message(message, &mut payload).ok()?,
        };
        payload.truncate(len);
        Some(payload)
    }

    pub(super) fn handshake_hash(&self) -> Vec<u8> {
        match self {
            SnowSide::Handshake(state) => state.get_handshake_hash().to_vec(),
            SnowSide::Transport(_) => Vec::new(),
        }
    }

    pub(super) fn into_transport(self) -> Self {
        match self {
            SnowSide::Handshake(state) => {
                SnowSide::Transport(Box::new(state.into_transport_mode().unwrap()))
            }
            done => done,
        }
    }
}

/// A finished handshake between us and `snow`, with random keys, prologue and payloads.
fn handshake(ours: Role, rng: &mut ChaCha8Rng) -> (Transport, SnowSide) {
    let keys: [[u8; 32]; 4] = std::array::from_fn(|_| rng.random());
    let prologue = random_bytes(rng, 120);
    let theirs = match ours {
        Role::Initiator => Role::Responder,
        Role::Responder => Role::Initiator,
    };
    let mut us = classical(ours, &prologue, keys[0], keys[1]);
    let mut snow = SnowSide::new(theirs, &prologue, &keys[2], &keys[3]);
    for index in 0..3 {
        let payload = random_bytes(rng, 150);
        if (index % 2 == 0) == (ours == Role::Initiator) {
            let mut message = Vec::new();
            us.write_message(&payload, &mut message).unwrap();
            assert_eq!(snow.read(&message), Some(payload), "message {index}");
        } else {
            let message = snow.write(&payload);
            assert_eq!(us.read_message(&message), Ok(payload), "message {index}");
        }
    }
    assert_eq!(us.handshake_hash(), &*snow.handshake_hash());
    let expected = StaticKey::from_secret(keys[2]);
    assert_eq!(us.remote_static(), Some(expected.public()));
    (us.into_transport().unwrap(), snow.into_transport())
}

fn random_bytes(rng: &mut ChaCha8Rng, len_max: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(0..=len_max)];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// One record each way.
fn exchange(us: &mut Transport, snow: &mut SnowSide, rng: &mut ChaCha8Rng, len_max: usize) {
    let text = random_bytes(rng, len_max);
    let mut record = BytesMut::new();
    us.sealer.seal(&[&text], &mut record).unwrap();
    assert_eq!(snow.read(&record[RECORD_HEADER_LEN..]), Some(text));

    let text = random_bytes(rng, len_max);
    let sealed = snow.write(&text);
    let mut record = BytesMut::from(&u16::try_from(sealed.len()).unwrap().to_be_bytes()[..]);
    record.extend_from_slice(&sealed);
    assert_eq!(us.opener.open(&mut record), Ok(Some(BytesMut::from(&text[..]))));
}

#[test]
fn two_thousand_random_handshakes_agree_with_snow() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for round in 0..2_000 {
        let ours = if round % 2 == 0 { Role::Initiator } else { Role::Responder };
        let (mut us, mut snow) = handshake(ours, &mut rng);
        for _ in 0..3 {
            exchange(&mut us, &mut snow, &mut rng, 300);
        }
    }
}

#[test]
fn long_transcripts_agree_with_snow_across_rekeys_and_sizes() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for ours in [Role::Initiator, Role::Responder] {
        let (mut us, mut snow) = handshake(ours, &mut rng);
        for record in 1..=2 * REKEY_RECORDS + 10 {
            let len_max = if record % 64 == 0 { PLAINTEXT_LEN_MAX } else { 40 };
            exchange(&mut us, &mut snow, &mut rng, len_max);
            if let (0, SnowSide::Transport(snow)) = (record % REKEY_RECORDS, &mut snow) {
                snow.rekey_outgoing();
                snow.rekey_incoming();
            }
        }
        assert_eq!(us.sealer.records(), 2 * REKEY_RECORDS + 10);
    }
}
