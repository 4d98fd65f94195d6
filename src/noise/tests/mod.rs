//! The framework against published vectors, against `snow`, and against a hostile wire.

use serde_json::Value;

use super::*;
use crate::identity::from_hex;

mod differential;
mod primitives;
mod records;
mod vectors;

/// A hexadecimal field of a vector; empty where it is absent.
fn bytes(value: &Value, field: &str) -> Vec<u8> {
    value.get(field).map_or(Vec::new(), |text| from_hex(text.as_str().unwrap()).unwrap())
}

fn array<const N: usize>(value: &Value, field: &str) -> [u8; N] {
    bytes(value, field).try_into().unwrap()
}

/// A side of a classical handshake with chosen keys.
fn classical(role: Role, prologue: &[u8], secret: [u8; 32], ephemeral: [u8; 32]) -> HandshakeState {
    let seeds = EphemeralSeeds { dh: ephemeral.into(), kem: [0; 64].into() };
    let ephemerals = match role {
        Role::Initiator => Ephemerals::initiator(Suite::Classical, &seeds),
        Role::Responder => Ephemerals::responder(&seeds),
    };
    let key = StaticKey::from_secret(secret);
    HandshakeState::new(Suite::Classical, role, prologue, key, ephemerals)
}
