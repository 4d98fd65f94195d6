//! Every fuzz target on the stable toolchain, with inputs from a seed: a sample of what `fuzz/`
//! searches for hours. A failure prints the input; it replays as `target(&input)`.

use peerstage_core::fuzzing;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// Bytes of an input at most.
const INPUT_MAX: u32 = 600;

/// A value below `end`.
fn below(rng: &mut ChaCha8Rng, end: u32) -> usize {
    (rng.next_u32() % end.max(1)) as usize
}

/// Either noise, or small numbers, which reach further into structured formats.
fn fresh(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let length = below(rng, INPUT_MAX);
    let mask = [0xff, 0x07, 0x9f][below(rng, 3)];
    (0..length).map(|_| rng.next_u32() as u8 & mask).collect()
}

/// One to four changes: a flipped byte, a cut, a repeated part.
fn mutate(rng: &mut ChaCha8Rng, mut input: Vec<u8>) -> Vec<u8> {
    for _ in 0..=below(rng, 4) {
        let at = below(rng, input.len() as u32);
        match below(rng, 4) {
            0 => input.truncate(at),
            1 => input.extend_from_within(at..),
            _ => input.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.next_u32() as u8),
        }
        input.truncate(4 * INPUT_MAX as usize);
    }
    input
}

fn smoke(target: fn(&[u8]), seeds: &[Vec<u8>], runs: u32) {
    let mut rng = ChaCha8Rng::from_seed([7; 32]);
    for run in 0..runs {
        let input = match seeds.get(below(&mut rng, 2 * seeds.len() as u32)) {
            Some(seed) => mutate(&mut rng, seed.clone()),
            None => fresh(&mut rng),
        };
        let case = input.clone();
        let kept = std::panic::catch_unwind(move || target(&case)).is_ok();
        assert!(kept, "run {run} broke a promise on {input:?}");
    }
}

#[test]
fn frames() {
    let honest = vec![255, 2, 3, 14, 0, 2, 0, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let started = vec![8, 3, 1, 8, 0, 21, 5, 255, 0, 0, 0, 0, 0, 3, 0, 2, 0, 0, 0];
    smoke(fuzzing::frame, &[honest, started], 20_000);
}

#[test]
fn stun() {
    let mut answer = vec![1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42];
    answer.extend([7; 12]);
    answer.extend([0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
    smoke(fuzzing::stun, &[answer], 20_000);
}

#[test]
fn circuits() {
    // A circuit between two peers, answered and used; one that is dialled; one that is offered.
    let carried = vec![0, 1, 1, 0, 2, 0, 2, 0, 3, 1, 1, 200, 6, 0, 2, 60, 8, 1, 1, 1];
    let dialled =
        vec![9, 3, 0, 0, 2, 0, 1, 0, 11, 0, 0, 255, 4, 0, 1, 100, 12, 0, 0, 0, 13, 0, 0, 0];
    let offered = vec![1, 4, 1, 0, 10, 0, 0, 0, 5, 1, 1, 80, 14, 1, 0, 0];
    smoke(fuzzing::circuits, &[carried, dialled, offered], 20_000);
}

/// Fewer runs: each makes key pairs.
#[test]
fn handshakes() {
    let seeds =
        [vec![0x80, 255], vec![0x81, 7, 0, 0], [vec![0, 255], b"PEERSTGE".to_vec()].concat()];
    smoke(fuzzing::handshake_initiator, &seeds, 1_000);
    smoke(fuzzing::handshake_responder, &seeds, 1_000);
}

#[test]
fn messages() {
    let seeds: Vec<Vec<u8>> = (0..23)
        .flat_map(|kind| [vec![kind, 0x80], vec![kind, 0]])
        .map(|mut seed| {
            seed.extend([1, 0, 0, 0, 0, 0, 0, 0, 20]);
            seed.extend([3; 200]);
            seed
        })
        .collect();
    smoke(fuzzing::message, &seeds, 10_000);
}

#[test]
fn connections() {
    let greeted = vec![0, 1, 6, 0x80, 4, 0, 1, 2, 3, 4, 4, 2, 7, 0x80, 3, 0, 9, 9, 9];
    let validator = vec![0x80, 1, 11, 0x80, 120, 0, 1, 2, 3, 4, 0x41, 6, 0x80, 2, 0, 1, 1, 3, 0, 9];
    smoke(fuzzing::connection, &[greeted, validator], 10_000);
}

#[test]
fn discovery() {
    let honest = vec![0, 1, 2, 0, 2, 3, 4, 5, 6, 7, 0x41, 0, 9, 9, 9, 9, 0x82, 1, 2, 3];
    let answers = vec![3, 0, 1, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 4, 4, 5, 5, 2, 2];
    smoke(fuzzing::discovery, &[honest, answers], 2_000);
}

#[test]
fn configurations() {
    let text =
        b"[network]\nmax_peers = 5\nlisten = [\"127.0.0.1:30400\"]\n[scoring]\nhysteresis = 4.5\n";
    smoke(fuzzing::config, &[text.to_vec()], 2_000);
}

#[test]
fn admin_bodies() {
    let peer = "ab".repeat(32);
    let bodies = [
        format!("{{\"peer\":\"{peer}\",\"reason\":\"spam\",\"duration\":\"1h\"}}"),
        format!("{{\"address\":\"{peer}@[::1]:30400\"}}"),
        "{\"peer\":\"abcd\"}".to_owned(),
        "{\"kind\":\"custom\",\"topic\":7,\"body\":\"00ff\"}".to_owned(),
        "{\"kind\":\"block\",\"mode\":\"validator-only\"}".to_owned(),
        format!("[\"{peer}\"]"),
        "{}".to_owned(),
    ];
    let seeds = bodies.iter().enumerate();
    let seeds: Vec<Vec<u8>> =
        seeds.map(|(route, body)| [&[route as u8], body.as_bytes()].concat()).collect();
    smoke(peerstage::admin::fuzz_body, &seeds, 20_000);
}

#[test]
fn records() {
    let two = vec![2, 9, 10, 20];
    let damaged = vec![3, 200, 5, 6, 7, 0, 40, 1];
    smoke(fuzzing::record, &[two, damaged], 20_000);
}
