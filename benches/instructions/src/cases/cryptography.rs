//! Records, handshakes and signatures.

use bytes::BytesMut;
use peerstage_core::{
    handshake::{Action, Established, Handshake, HandshakeConfig, PqPolicy},
    identity::{Keypair, NetworkId, Purpose},
    noise::{Opener, PLAINTEXT_LEN_MAX, Sealer},
    time::Time,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::measured;

const NET: NetworkId = NetworkId([7; 32]);
const NOW: Time = Time(1_000);

fn config(seed: u8, policy: PqPolicy) -> HandshakeConfig {
    HandshakeConfig::new(Keypair::from_seed(&[seed; 32]), NET).with_policy(policy)
}

/// Takes what a machine ordered: bytes to `wire`, the end to `end`.
fn perform(out: &mut Vec<Action>, wire: &mut Vec<u8>, end: &mut Option<Box<Established>>) {
    for action in out.drain(..) {
        match action {
            Action::Send(bytes) => wire.extend_from_slice(&bytes),
            Action::Done(established) => *end = Some(established),
            Action::Fail(error) => panic!("{error}"),
        }
    }
}

/// Both sides of a whole handshake: the dialler's and the listener's result.
fn handshake(dialler: HandshakeConfig, listener: HandshakeConfig) -> [Box<Established>; 2] {
    let (mut out, mut forth, mut back) = (Vec::new(), Vec::new(), Vec::new());
    let (mut dialled, mut listened) = (None, None);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut initiator = Handshake::initiator(dialler, NOW, &mut rng, &mut out);
    perform(&mut out, &mut forth, &mut dialled);
    let mut responder = Handshake::responder(listener, NOW, &mut rng);
    while !forth.is_empty() || !back.is_empty() {
        responder.on_bytes(NOW, &std::mem::take(&mut forth), &mut out);
        perform(&mut out, &mut back, &mut listened);
        if dialled.is_none() {
            initiator.on_bytes(NOW, &std::mem::take(&mut back), &mut out);
            perform(&mut out, &mut forth, &mut dialled);
        }
    }
    [dialled.expect("the dialler is done"), listened.expect("the listener is done")]
}

fn handshake_with(policy: PqPolicy) {
    handshake(config(1, policy), config(2, policy));
    let (dialler, listener) = (config(3, policy), config(4, policy));
    let [dialled, listened] = measured(|| handshake(dialler, listener));
    assert_eq!(dialled.handshake_hash, listened.handshake_hash);
}

pub(crate) fn handshake_classical() {
    handshake_with(PqPolicy::Classical);
}

pub(crate) fn handshake_hybrid() {
    handshake_with(PqPolicy::Require);
}

/// One direction of a session.
fn session() -> (Sealer, Opener) {
    let policy = PqPolicy::Classical;
    let [dialled, listened] = handshake(config(1, policy), config(2, policy));
    (dialled.transport.split().0, listened.transport.split().1)
}

fn seal(text: &[u8], times: usize) {
    let (mut sealer, _) = session();
    let mut out = BytesMut::with_capacity(2 * times * (text.len() + 64));
    sealer.seal(&[text], &mut out).expect("a record");
    measured(|| {
        for _ in 0..times {
            sealer.seal(&[text], &mut out).expect("a record");
        }
    });
}

fn open(text: &[u8], times: usize) {
    let (mut sealer, mut opener) = session();
    let mut wire = BytesMut::with_capacity(2 * (times + 1) * (text.len() + 64));
    for _ in 0..=times {
        sealer.seal(&[text], &mut wire).expect("a record");
    }
    assert_eq!(opener.open(&mut wire).expect("a record").as_deref(), Some(text));
    measured(|| {
        for _ in 0..times {
            std::hint::black_box(opener.open(&mut wire).expect("a record").expect("whole"));
        }
    });
    assert!(wire.is_empty());
}

pub(crate) fn seal_full() {
    seal(&[7; PLAINTEXT_LEN_MAX], 1);
}

pub(crate) fn open_full() {
    open(&[7; PLAINTEXT_LEN_MAX], 1);
}

pub(crate) fn seal_small() {
    seal(&[7; 256], 100);
}

pub(crate) fn open_small() {
    open(&[7; 256], 100);
}

pub(crate) fn sign() {
    let key = Keypair::from_seed(&[1; 32]);
    let sign = || key.sign(Purpose::Consensus, &NET, &[9; 64]);
    let first = sign();
    assert_eq!(measured(sign), first);
}

pub(crate) fn verify() {
    let key = Keypair::from_seed(&[1; 32]);
    let signature = key.sign(Purpose::Consensus, &NET, &[9; 64]);
    let public = key.public();
    let verify = || public.verify(Purpose::Consensus, &NET, &[9; 64], &signature);
    assert!(verify());
    assert!(measured(verify));
}
