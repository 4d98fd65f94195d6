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
/// alone or is XORed over what an honest counterpart says (so that it gets past the preface);
/// byte 1 is the size of the pieces it arrives in.
fn fuzz(role: Role, data: &[u8]) {
    let [steer, piece_len, hostile @ ..] = data else {
        return;
    };
    let policy = [PqPolicy::Prefer, PqPolicy::Require, PqPolicy::Classical][usize::from(steer % 3)];
    let (mut machine, mut sent) = start(role, 1, policy);
    let mut bytes = hostile.to_vec();
    if steer & 0x80 != 0 {
        let other = match role {
            Role::Initiator => Role::Responder,
            Role::Responder => Role::Initiator,
        };
        let (mut honest, mut said) = start(other, 2, PqPolicy::Prefer);
        honest.on_bytes(Time::ZERO, &sent_bytes(&sent), &mut said);
        bytes = sent_bytes(&said);
        bytes.iter_mut().zip(hostile).for_each(|(byte, change)| *byte ^= change);
        bytes.extend_from_slice(hostile.get(bytes.len()..).unwrap_or_default());
    }
    for piece in bytes.chunks(usize::from(*piece_len).max(1)) {
        machine.on_bytes(Time::ZERO, piece, &mut sent);
    }
    let ends = sent.iter().filter(|action| !matches!(action, Action::Send(_))).count();
    assert_eq!(ends, usize::from(machine.is_finished()), "a machine ends exactly once");
    assert_eq!(machine.deadline().is_none(), machine.is_finished());
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

fn sent_bytes(actions: &[Action]) -> Vec<u8> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send(bytes) => Some(&bytes[..]),
        _ => None,
    });
    sent.collect::<Vec<_>>().concat()
}
