//! A generic Noise library at the other end: `snow`, given nothing but the prologue.

use super::*;
use crate::identity::PublicKey;
use preface::prologue;

/// The identity payload that node `config` sends in a handshake run by `snow`.
fn payload(config: &HandshakeConfig, role: Role, snow: &snow::HandshakeState) -> Vec<u8> {
    let hash = snow.get_handshake_hash().try_into().unwrap();
    identity::prove(&config.keypair, &NET, role, &hash, config.noise_key.public()).to_vec()
}

fn check(payload: &[u8], role: Role, hash: &[u8; 32], noise_key: &[u8]) -> PublicKey {
    identity::check(payload, &NET, role, hash, noise_key.try_into().unwrap()).unwrap()
}

fn builder<'a>(prologue: &'a [u8], secret: &'a [u8; 32]) -> snow::Builder<'a> {
    snow::Builder::new(Suite::Classical.protocol_name().parse().unwrap())
        .prologue(prologue)
        .unwrap()
        .local_private_key(secret)
        .unwrap()
}

/// The message behind its length at the start of `bytes`.
fn message(bytes: &[u8]) -> &[u8] {
    let len = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    &bytes[2..2 + len]
}

fn with_length(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).unwrap();
    [&len.to_be_bytes()[..], message].concat()
}

/// Our initiator offers both suites; the responder is classical and written with `snow`.
#[test]
fn a_hybrid_dialler_meets_a_classical_snow() {
    let (alice, bob) = (node(1), node(2));
    let mut initiator = Side::initiator(alice.clone(), 1);
    let first = initiator.take_sent();
    let offer: [u8; PREFACE_LEN] = first[..PREFACE_LEN].try_into().unwrap();
    let (used, unused) = message(&first[PREFACE_LEN..]).split_at(32);

    let suites = PqPolicy::Classical.suites();
    let choice = Some((1, Suite::Classical));
    let answer = Preface::answer(Versions::CURRENT, suites, NET, choice).encode();
    let prologue = prologue(&offer, &answer, unused);
    let secret = bob.keypair.noise_secret();
    let mut snow = builder(&prologue, &secret).build_responder().unwrap();
    let mut buffer = [0u8; 500];
    assert_eq!(snow.read_message(used, &mut buffer).unwrap(), 0);
    let proof = payload(&bob, Role::Responder, &snow);
    let len = snow.write_message(&proof, &mut buffer).unwrap();
    initiator.hears(&[&answer[..], &with_length(&buffer[..len])].concat());

    let hash = snow.get_handshake_hash().try_into().unwrap();
    let last = initiator.take_sent();
    let len = snow.read_message(message(&last), &mut buffer).unwrap();
    let noise_key = snow.get_remote_static().unwrap().to_vec();
    let remote = check(&buffer[..len], Role::Initiator, &hash, &noise_key);
    assert_eq!(remote, alice.keypair.public());
    let established = initiator.established();
    assert_eq!(established.remote, bob.keypair.public());
    assert_eq!(established.handshake_hash, snow.get_handshake_hash());
}

/// Our responder prefers hybrid; the initiator is classical and written with `snow`.
#[test]
fn a_classical_snow_dials_us() {
    let (alice, bob) = (node(1), node(2));
    let offer = Preface::offer(Versions::CURRENT, PqPolicy::Classical.suites(), NET).encode();
    let choice = Some((1, Suite::Classical));
    let answer =
        Preface::answer(Versions::CURRENT, PqPolicy::Prefer.suites(), NET, choice).encode();
    let prologue = prologue(&offer, &answer, &[]);
    let secret = alice.keypair.noise_secret();
    let mut snow = builder(&prologue, &secret).build_initiator().unwrap();
    let mut buffer = [0u8; 500];
    let len = snow.write_message(&[], &mut buffer).unwrap();
    let mut responder = Side::responder(bob.clone(), 2);
    responder.hears(&[&offer[..], &with_length(&buffer[..len])].concat());

    let sent = responder.take_sent();
    assert_eq!(sent[..PREFACE_LEN], answer);
    let hash = snow.get_handshake_hash().try_into().unwrap();
    let len = snow.read_message(message(&sent[PREFACE_LEN..]), &mut buffer).unwrap();
    let noise_key = snow.get_remote_static().unwrap().to_vec();
    let remote = check(&buffer[..len], Role::Responder, &hash, &noise_key);
    assert_eq!(remote, bob.keypair.public());
    let proof = payload(&alice, Role::Initiator, &snow);
    let len = snow.write_message(&proof, &mut buffer).unwrap();
    responder.hears(&with_length(&buffer[..len]));
    assert_eq!(responder.established().remote, alice.keypair.public());
}

/// A proof over something else than this handshake is refused by the machine itself.
#[test]
fn a_proof_of_another_handshake_is_refused() {
    let alice = node(1);
    let offer = Preface::offer(Versions::CURRENT, PqPolicy::Classical.suites(), NET).encode();
    let choice = Some((1, Suite::Classical));
    let answer =
        Preface::answer(Versions::CURRENT, PqPolicy::Prefer.suites(), NET, choice).encode();
    let prologue = prologue(&offer, &answer, &[]);
    let secret = alice.keypair.noise_secret();
    let mut snow = builder(&prologue, &secret).build_initiator().unwrap();
    let mut buffer = [0u8; 500];
    let len = snow.write_message(&[], &mut buffer).unwrap();
    let stale = payload(&alice, Role::Initiator, &snow);
    let mut responder = Side::responder(node(2), 2);
    responder.hears(&[&offer[..], &with_length(&buffer[..len])].concat());
    snow.read_message(message(&responder.take_sent()[PREFACE_LEN..]), &mut buffer).unwrap();
    let len = snow.write_message(&stale, &mut buffer).unwrap();
    responder.hears(&with_length(&buffer[..len]));
    assert_eq!(responder.reason(), Some("bad_identity_signature"));
}
