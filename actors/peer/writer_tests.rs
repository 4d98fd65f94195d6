//! What the writer seals, and when.

use std::{io, pin::pin};

use futures_util::task::noop_waker;
use peerstage_core::{
    handshake::{Action, Handshake, HandshakeConfig},
    header::Header,
    identity::{Keypair, NetworkId},
    kinds::Kind,
    manager::SessionId,
    noise::Opener,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tokio::io::{AsyncReadExt, DuplexStream};

use super::*;
use crate::peer::ByteLimits;

/// A sealed record of the largest size, its header included, bytes.
const RECORD_ON_THE_WIRE: usize = 65_537;

impl Io for DuplexStream {
    fn move_here(self: Box<Self>) -> io::Result<Box<dyn Io>> {
        Ok(self)
    }
}

/// The keys of a connection: what one side seals, the other opens.
fn keys() -> (Sealer, Opener) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let config = |seed| HandshakeConfig::new(Keypair::from_seed(&[seed; 32]), NetworkId([7; 32]));
    let mut out = Vec::new();
    let initiator = Handshake::initiator(config(1), Time(0), &mut rng, &mut out);
    let mut sides = [initiator, Handshake::responder(config(2), Time(0), &mut rng)];
    let mut ends = [None, None];
    // Whose orders these are: the sides take turns.
    let mut of = 0;
    while ends.iter().any(Option::is_none) {
        let mut answers = Vec::new();
        for order in out.drain(..) {
            match order {
                Action::Send(bytes) => sides[1 - of].on_bytes(Time(0), &bytes, &mut answers),
                Action::Done(done) => ends[of] = Some(done.transport.split()),
                Action::Fail(error) => panic!("{error}"),
            }
        }
        (of, out) = (1 - of, answers);
    }
    let [Some((sealer, _)), Some((_, opener))] = ends else { unreachable!() };
    (sealer, opener)
}

fn message(kind: Kind, length: usize) -> Outgoing {
    let header: &[u8] = if kind == Kind::Vote { &[0] } else { &[0, 0, 0, 0, 0] };
    Outgoing { kind, header: Header::new(header).unwrap(), body: vec![7; length].into() }
}

/// While a socket takes nothing, one record waits for it, and a vote goes into the next.
#[tokio::test]
async fn a_vote_waits_behind_one_record_of_bulk() {
    let (sealer, mut opener) = keys();
    let clock = Clock::system();
    let now = clock.now();
    let (near, mut far) = tokio::io::duplex(RECORD_ON_THE_WIRE);
    let (_read, write) = tokio::io::split(Box::new(near) as Box<dyn Io>);
    let outbox = Outbox::new(now, 8 << 20);
    let limit = ByteLimits::new(now, [0; 2], [0; 2]).writing(SessionId(1));
    let state = WriteState::new(now);
    let counted = (clock, metrics::Counter::noop());
    let mut writer = pin!(Writer::new(write, sealer, state, outbox.clone(), limit, counted));
    let waker = noop_waker();
    let mut cx = Context::from_waker(&waker);
    for _ in 0..8 {
        outbox.push(message(Kind::Block, 100_000));
    }
    // The pipe holds the first record and the writer the second.
    assert!(matches!(writer.as_mut().poll_next(&mut cx), Poll::Ready(Some(WriterNews::Stalled))));
    assert!(writer.as_mut().poll_next(&mut cx).is_pending());
    assert!(writer.buffer.len() <= RECORD_ON_THE_WIRE, "{} bytes", writer.buffer.len());
    outbox.push(message(Kind::Vote, 100));
    let mut read = BytesMut::new();
    let mut lanes = Vec::new();
    while lanes.len() < 3 {
        far.read_buf(&mut read).await.unwrap();
        while let Some(record) = opener.open(&mut read).unwrap() {
            lanes.push(record[0]);
        }
        let _ = writer.as_mut().poll_next(&mut cx);
    }
    assert_eq!(lanes, [1, 1, 0], "the lanes that the records begin with");
}
