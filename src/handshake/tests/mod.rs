//! The handshake machine: stories, attacks, `snow` at the other end, and committed vectors.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    identity::{Keypair, NetworkId},
    noise::{Role, Suite},
    time::Time,
};

mod attacks;
mod interop;
mod negotiation;
mod properties;
mod stories;
mod vectors;

const NET: NetworkId = NetworkId([7; 32]);
const NOW: Time = Time(1_000);

/// The settings of node number `seed`.
fn node(seed: u8) -> HandshakeConfig {
    HandshakeConfig::new(Keypair::from_seed(&[seed; 32]), NET)
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A machine with everything it has ordered so far.
struct Side {
    machine: Handshake,
    /// Bytes it sent that nobody has taken yet.
    sent: Vec<u8>,
    end: Option<Result<Box<Established>, HandshakeError>>,
}

impl Side {
    fn initiator(config: HandshakeConfig, seed: u64) -> Self {
        let mut out = Vec::new();
        let machine = Handshake::initiator(config, NOW, &mut rng(seed), &mut out);
        let mut side = Side { machine, sent: Vec::new(), end: None };
        side.perform(out);
        side
    }

    fn responder(config: HandshakeConfig, seed: u64) -> Self {
        let machine = Handshake::responder(config, NOW, &mut rng(seed));
        Side { machine, sent: Vec::new(), end: None }
    }

    fn perform(&mut self, orders: Vec<Action>) {
        for order in orders {
            assert!(self.end.is_none(), "nothing is ordered after the end");
            match order {
                Action::Send(bytes) => self.sent.extend_from_slice(&bytes),
                Action::Done(established) => self.end = Some(Ok(established)),
                Action::Fail(error) => self.end = Some(Err(error)),
            }
        }
    }

    fn hears(&mut self, bytes: &[u8]) {
        let mut out = Vec::new();
        self.machine.on_bytes(NOW, bytes, &mut out);
        self.perform(out);
    }

    fn take_sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// Why it failed; `None` while it hasn't.
    fn reason(&self) -> Option<&'static str> {
        match &self.end {
            Some(Err(error)) => Some(error.reason()),
            _ => None,
        }
    }

    fn established(self) -> Established {
        *self.end.expect("the end").expect("success")
    }
}

/// Carries bytes both ways until nobody has anything to say, through `wire`, which may change
/// what the given side sends.
fn converse(initiator: &mut Side, responder: &mut Side, mut wire: impl FnMut(Role, &mut Vec<u8>)) {
    loop {
        let (mut forth, mut back) = (initiator.take_sent(), responder.take_sent());
        if forth.is_empty() && back.is_empty() {
            return;
        }
        wire(Role::Initiator, &mut forth);
        wire(Role::Responder, &mut back);
        responder.hears(&forth);
        initiator.hears(&back);
    }
}

/// A whole handshake on a faithful wire.
fn meet(dialler: HandshakeConfig, listener: HandshakeConfig) -> (Side, Side) {
    let (mut initiator, mut responder) =
        (Side::initiator(dialler, 1), Side::responder(listener, 2));
    converse(&mut initiator, &mut responder, |_, _| ());
    (initiator, responder)
}
