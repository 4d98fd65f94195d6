//! Entry points for fuzz targets. They panic only when a promise is broken.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::{
    identity::{Keypair, NetworkId},
    noise::Role,
    time::Time,
};

use super::{Action, Handshake, HandshakeConfig, PqPolicy};

/// Feeds hostile bytes to an initiator.
pub fn fuzz_handshake_initiator(data: &[u8]) {
    fuzz(Role::Initiator, data);
}

/// Feeds hostile bytes to a responder.
pub fn fuzz_handshake_responder(data: &[u8]) {
    fuzz(Role::Responder, data);
}

/// Two bytes steer, the rest is hostile: byte 0 chooses the policy, and whether the rest stands
/// alone or is XORed over what an honest counterpart says (so that zeros get anywhere in the
/// handshake); byte 1 is the size of the pieces it arrives in.
fn fuzz(role: Role, data: &[u8]) {
    let [steer, piece_len, hostile @ ..] = data else {
        return;
    };
    let policy = [PqPolicy::Prefer, PqPolicy::Require, PqPolicy::Classical][usize::from(steer % 3)];
    let piece_len = usize::from(*piece_len).max(1);
    let (mut machine, mut ordered) = start(role, 1, policy);
    let mut hostile = hostile.iter();
    if steer & 0x80 != 0 {
        let (mut honest, mut said) = start(other(role), 2, PqPolicy::Prefer);
        // Two messages at most from each side.
        for _ in 0..2 {
            honest.on_bytes(Time::ZERO, &take_sent(&mut ordered), &mut said);
            let mut bytes = take_sent(&mut said);
            bytes.iter_mut().zip(&mut hostile).for_each(|(byte, change)| *byte ^= change);
            feed(&mut machine, &bytes, piece_len, &mut ordered);
        }
    }
    feed(&mut machine, hostile.as_slice(), piece_len, &mut ordered);
    let ends = ordered.iter().filter(|action| !matches!(action, Action::Send(_))).count();
    assert_eq!(ends, usize::from(machine.is_finished()), "a machine ends exactly once");
    assert_eq!(machine.deadline().is_none(), machine.is_finished());
}

fn feed(machine: &mut Handshake, bytes: &[u8], piece_len: usize, ordered: &mut Vec<Action>) {
    for piece in bytes.chunks(piece_len) {
        machine.on_bytes(Time::ZERO, piece, ordered);
    }
}

fn other(role: Role) -> Role {
    match role {
        Role::Initiator => Role::Responder,
        Role::Responder => Role::Initiator,
    }
}

fn start(role: Role, seed: u8, policy: PqPolicy) -> (Handshake, Vec<Action>) {
    let mut rng = ChaCha8Rng::from_seed([seed; 32]);
    let config = HandshakeConfig::new(Keypair::from_seed(&[seed; 32]), NetworkId([9; 32]))
        .with_policy(policy);
    let mut out = Vec::new();
    let machine = match role {
        Role::Initiator => Handshake::initiator(config, Time::ZERO, &mut rng, &mut out),
        Role::Responder => Handshake::responder(config, Time::ZERO, &mut rng),
    };
    (machine, out)
}

/// Takes the bytes to send out of `actions`.
fn take_sent(actions: &mut Vec<Action>) -> Vec<u8> {
    let mut sent = Vec::new();
    actions.retain(|action| match action {
        Action::Send(bytes) => {
            sent.extend_from_slice(bytes);
            false
        }
        _ => true,
    });
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_zeros_over_an_honest_counterpart_complete_the_handshake() {
        for role in [Role::Initiator, Role::Responder] {
            let (mut machine, mut ordered) = start(role, 1, PqPolicy::Prefer);
            let (mut honest, mut said) = start(other(role), 2, PqPolicy::Prefer);
            for _ in 0..2 {
                honest.on_bytes(Time::ZERO, &take_sent(&mut ordered), &mut said);
                feed(&mut machine, &take_sent(&mut said), 7, &mut ordered);
            }
            assert!(ordered.iter().any(|action| matches!(action, Action::Done(_))));
            fuzz(role, &[0x81, 7, 0, 0]);
        }
    }

    #[test]
    fn too_short_an_input_is_no_case() {
        fuzz_handshake_initiator(&[]);
        fuzz_handshake_responder(&[0x80]);
    }
}
