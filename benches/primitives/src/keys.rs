//! Key agreement: the primitives, and whole handshakes of the project's own machines.

use std::hint::black_box;

use ml_kem::{
    B32, Ciphertext, Decapsulate, DecapsulationKey768, EncapsulationKey768, MlKem768, Seed,
};
use peerstage_core::{
    handshake::{Action, Handshake, HandshakeConfig, PqPolicy},
    identity::{Keypair, NetworkId},
    time::Time,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::{figure, microseconds};

fn pair(seed: u8) -> (DecapsulationKey768, EncapsulationKey768) {
    let secret = DecapsulationKey768::from_seed(Seed::from([seed; 64]));
    let public = secret.encapsulation_key().clone();
    (secret, public)
}

/// Prints every figure.
pub(crate) fn print() {
    let (ours, theirs) = (StaticSecret::from([1; 32]), StaticSecret::from([2; 32]));
    let public = PublicKey::from(&theirs);
    figure("X25519 agreement", microseconds(|| ours.diffie_hellman(&public)));
    figure("ML-KEM-768 key pair", microseconds(|| pair(3)));
    let (secret, public) = pair(3);
    let encapsulate = || public.encapsulate_deterministic(&B32::from([4; 32]));
    figure("ML-KEM-768 encapsulation", microseconds(encapsulate));
    let (ciphertext, _) = encapsulate();
    figure("ML-KEM-768 decapsulation", microseconds(|| secret.decapsulate(&ciphertext)));
    for (name, policy) in [("classical", PqPolicy::Classical), ("hybrid", PqPolicy::Prefer)] {
        let both = microseconds(|| shake_hands(policy));
        figure(&format!("handshake, {name}, both sides"), both);
        let first = first_message(policy);
        let answer = microseconds(|| answer_to(policy, &first));
        figure(&format!("answer to message A, {name}"), answer);
    }
}

/// Decapsulates a ciphertext that was made for the key, or one that was not.
pub(crate) fn decapsulate(forged: bool, rounds: u32) {
    let (secret, public) = pair(3);
    let (mut ciphertext, _): (Ciphertext<MlKem768>, _) =
        public.encapsulate_deterministic(&B32::from([4; 32]));
    // The same work before the count either way: one bit is flipped, and flipped back or not.
    let flips: [u8; 2] = if forged { [1, 0] } else { [1, 1] };
    for flip in flips {
        if let Some(byte) = ciphertext.get_mut(100) {
            *byte ^= flip;
        }
    }
    for _ in 0..rounds {
        black_box(secret.decapsulate(black_box(&ciphertext)));
    }
}

fn config(seed: u8, policy: PqPolicy) -> HandshakeConfig {
    let network = NetworkId::from_name("bench");
    HandshakeConfig::new(Keypair::from_seed(&[seed; 32]), network).with_policy(policy)
}

/// What a machine said.
fn said(orders: &mut Vec<Action>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for order in orders.drain(..) {
        if let Action::Send(sent) = order {
            bytes.extend_from_slice(&sent);
        }
    }
    bytes
}

fn first_message(policy: PqPolicy) -> Vec<u8> {
    let (mut rng, mut out) = (ChaCha20Rng::from_seed([5; 32]), Vec::new());
    Handshake::initiator(config(5, policy), Time::ZERO, &mut rng, &mut out);
    said(&mut out)
}

/// What a stranger's first message costs the node that it is sent to.
fn answer_to(policy: PqPolicy, first: &[u8]) -> Vec<u8> {
    let (mut rng, mut out) = (ChaCha20Rng::from_seed([6; 32]), Vec::new());
    let mut responder = Handshake::responder(config(6, policy), Time::ZERO, &mut rng);
    responder.on_bytes(Time::ZERO, first, &mut out);
    let answer = said(&mut out);
    assert!(!answer.is_empty(), "an honest first message is answered");
    answer
}

fn shake_hands(policy: PqPolicy) {
    let (mut rng, mut out) = (ChaCha20Rng::from_seed([5; 32]), Vec::new());
    let mut initiator = Handshake::initiator(config(5, policy), Time::ZERO, &mut rng, &mut out);
    let first = said(&mut out);
    let mut responder = Handshake::responder(config(6, policy), Time::ZERO, &mut rng);
    responder.on_bytes(Time::ZERO, &first, &mut out);
    let second = said(&mut out);
    initiator.on_bytes(Time::ZERO, &second, &mut out);
    let third = said(&mut out);
    responder.on_bytes(Time::ZERO, &third, &mut out);
    assert!(out.iter().any(|order| matches!(order, Action::Done(_))), "both are there");
}
