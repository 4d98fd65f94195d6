//! A client that speaks the protocol with the project's own machines and may misbehave at every
//! step: on real sockets and on simulated ones.
#![allow(dead_code, reason = "two test programs share it, each uses a part")]

use std::{future::Future, time::Duration};

use bytes::{Bytes, BytesMut};
use peerstage::{
    core::{
        address::Address,
        codec::{self, Capped, Text},
        frame::{Assembler, Message, RECORD_MAX},
        handshake::{Action, Established, Handshake, HandshakeConfig},
        identity::{Keypair, NetworkId, NodeId},
        kinds::Kind,
        lanes::{Lanes, plain},
        messages::{Disconnect, GossipHeader, Hello, Outgoing, Pace, Topic},
        noise::{Opener, Sealer, StaticKey},
        reason::CloseReason,
        record::{Capabilities, NodeRecord, Roles},
        time::Time,
    },
    transport::{Io, TcpTransport, Transport},
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The network of every test.
pub(crate) const NETWORK: &str = "attacks";
/// Longer than anything here takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// The id of [`NETWORK`].
pub(crate) fn network() -> NetworkId {
    NetworkId::from_name(NETWORK)
}

/// The key of attacker number `seed`.
pub(crate) fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

/// The settings of attacker number `seed`.
pub(crate) fn settings(seed: u8) -> HandshakeConfig {
    HandshakeConfig::new(key(seed), network())
}

/// Waits for something that must happen.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it did not happen")
}

/// A bare connection.
pub(crate) struct Raw {
    pub(crate) io: Box<dyn Io>,
}

impl Raw {
    /// Connects over TCP.
    pub(crate) async fn dial(address: Address) -> Raw {
        Raw::dial_over(&TcpTransport, address).await
    }

    /// Connects over any transport.
    pub(crate) async fn dial_over(transport: &dyn Transport, address: Address) -> Raw {
        Raw { io: transport.dial(address).await.expect("the node listens").io }
    }

    /// Sends bytes; whether the connection took them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.io.write_all(bytes).await.is_ok() && self.io.flush().await.is_ok()
    }

    /// Everything the node sends until it closes.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        // A reset is an end too.
        let _ = soon(self.io.read_to_end(&mut all)).await;
        all
    }

    /// At least one byte, or nothing at the end.
    pub(crate) async fn read_some(&mut self) -> Vec<u8> {
        let mut some = vec![0; 64 * 1024];
        let length = soon(self.io.read(&mut some)).await.unwrap_or(0);
        some.truncate(length);
        some
    }
}

/// The initiator's machine, with what it said and how it ended.
pub(crate) struct Script {
    machine: Handshake,
    pub(crate) sent: Vec<Bytes>,
    pub(crate) end: Option<Result<Box<Established>, &'static str>>,
}

impl Script {
    /// A dialler with these settings.
    pub(crate) fn new(config: HandshakeConfig, seed: u64) -> Script {
        let mut out = Vec::new();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let machine = Handshake::initiator(config, Time::ZERO, &mut rng, &mut out);
        let mut script = Script { machine, sent: Vec::new(), end: None };
        script.take(out);
        script
    }

    /// Preface and message A.
    pub(crate) fn first(&self) -> Vec<u8> {
        self.sent[0].to_vec()
    }

    /// Message C, once message B was heard.
    pub(crate) fn last(&self) -> Option<Vec<u8>> {
        self.sent.get(1).map(|bytes| bytes.to_vec())
    }

    /// Hears the node.
    pub(crate) fn hears(&mut self, bytes: &[u8]) {
        let mut out = Vec::new();
        self.machine.on_bytes(Time::ZERO, bytes, &mut out);
        self.take(out);
    }

    /// Reads from the connection until the machine has ended or the node has closed.
    pub(crate) async fn listen(&mut self, raw: &mut Raw) {
        while self.end.is_none() {
            match raw.read_some().await {
                bytes if bytes.is_empty() => return,
                bytes => self.hears(&bytes),
            }
        }
    }

    fn take(&mut self, orders: Vec<Action>) {
        for order in orders {
            match order {
                Action::Send(bytes) => self.sent.push(bytes),
                Action::Done(established) => self.end = Some(Ok(established)),
                Action::Fail(error) => self.end = Some(Err(error.reason())),
            }
        }
    }
}

/// An established session that obeys nobody.
pub(crate) struct Hostile {
    pub(crate) raw: Raw,
    pub(crate) node: NodeId,
    sealer: Sealer,
    opener: Opener,
    unread: BytesMut,
    assembler: Assembler,
    arrived: Vec<Message>,
}

impl Hostile {
    /// Shakes hands over TCP and introduces itself as attacker number `seed`.
    pub(crate) async fn join(address: Address, seed: u8) -> Hostile {
        let mut hostile = Hostile::shake_hands(Raw::dial(address).await, seed).await;
        hostile.say_hello(seed, wall()).await;
        hostile
    }

    /// As [`Hostile::join`], over any transport, at a time.
    pub(crate) async fn join_over(
        transport: &dyn Transport,
        address: Address,
        seed: u8,
        now: Time,
    ) -> Hostile {
        let raw = Raw::dial_over(transport, address).await;
        let mut hostile = Hostile::shake_hands(raw, seed).await;
        hostile.say_hello(seed, now).await;
        hostile
    }

    /// The handshake alone.
    pub(crate) async fn shake_hands(raw: Raw, seed: u8) -> Hostile {
        Hostile::try_shake_hands(raw, seed).await.expect("a session")
    }

    /// As [`Hostile::shake_hands`], with a node that may refuse.
    pub(crate) async fn try_shake_hands(mut raw: Raw, seed: u8) -> Option<Hostile> {
        let mut script = Script::new(settings(seed), u64::from(seed));
        raw.send(&script.first()).await.then_some(())?;
        script.listen(&mut raw).await;
        let last = script.last()?;
        let established = script.end.take()?.ok()?;
        raw.send(&last).await.then_some(())?;
        Some(Hostile::new(raw, *established))
    }

    fn new(raw: Raw, established: Established) -> Hostile {
        let node = established.remote.node_id();
        let (sealer, opener) = established.transport.split();
        let assembler = Assembler::default();
        let unread = established.leftover;
        Hostile { raw, node, sealer, opener, unread, assembler, arrived: Vec::new() }
    }

    /// As [`Hostile::say_hello`]; whether the node took it.
    pub(crate) async fn try_say_hello(&mut self, seed: u8, now: Time) -> bool {
        self.send(Kind::Hello, &codec::encode(&hello(seed, now)).unwrap()).await
    }

    /// A greeting as it should be.
    pub(crate) async fn say_hello(&mut self, seed: u8, now: Time) {
        assert!(self.try_say_hello(seed, now).await);
    }

    /// A greeting and a record with this plaintext, in one piece.
    pub(crate) async fn say_hello_and(&mut self, seed: u8, now: Time, plaintext: &[u8]) {
        let mut lanes = Lanes::new(Time::ZERO, 64 << 20);
        lanes.push(plain(Kind::Hello, codec::encode(&hello(seed, now)).unwrap()));
        let (mut record, mut wire) = (BytesMut::new(), BytesMut::new());
        lanes.fill(Time::ZERO, &mut record, RECORD_MAX);
        self.sealer.seal(&[&record], &mut wire).unwrap();
        self.sealer.seal(&[plaintext], &mut wire).unwrap();
        assert!(self.raw.send(&wire).await);
    }

    /// Sends a message without a header.
    pub(crate) async fn send(&mut self, kind: Kind, body: &[u8]) -> bool {
        self.send_message(plain(kind, body.to_vec())).await
    }

    /// Sends a gossiped message.
    pub(crate) async fn gossip(&mut self, kind: Kind, body: &[u8]) -> bool {
        let header = GossipHeader { hops: 0, topic: Topic(0) }.into();
        let body = Bytes::copy_from_slice(body);
        self.send_message(Outgoing { kind, header, body }).await
    }

    /// Sends a message with whatever header.
    pub(crate) async fn send_message(&mut self, message: Outgoing) -> bool {
        let mut lanes = Lanes::new(Time::ZERO, 64 << 20);
        lanes.push(message);
        let mut wire = BytesMut::new();
        while !lanes.is_empty() {
            let mut record = BytesMut::new();
            lanes.fill(Time::ZERO, &mut record, RECORD_MAX);
            self.sealer.seal(&[&record], &mut wire).unwrap();
        }
        self.raw.send(&wire).await
    }

    /// A record with this plaintext, sealed and not sent.
    pub(crate) fn sealed(&mut self, plaintext: &[u8]) -> BytesMut {
        let mut wire = BytesMut::new();
        self.sealer.seal(&[plaintext], &mut wire).unwrap();
        wire
    }

    /// The next message of the node; `None` when it has closed.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            if !self.arrived.is_empty() {
                return Some(self.arrived.remove(0));
            }
            while let Some(record) = self.opener.open(&mut self.unread).expect("honest records") {
                self.assembler.on_record(Time::ZERO, &record, &mut self.arrived).unwrap();
            }
            if self.arrived.is_empty() {
                match self.raw.read_some().await {
                    bytes if bytes.is_empty() => return None,
                    bytes => self.unread.extend_from_slice(&bytes),
                }
            }
        }
    }

    /// Waits for a message of this kind; the node must send one before it closes.
    pub(crate) async fn wait_for(&mut self, kind: Kind) -> Message {
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("closed before a {kind}"));
            if message.kind == kind {
                return message;
            }
        }
    }

    /// Answers pings until the node closes; its goodbye, if it says one.
    pub(crate) async fn goodbye(&mut self) -> Option<CloseReason> {
        while let Some(message) = self.next().await {
            match message.kind {
                Kind::Ping => drop(self.send(Kind::Pong, &message.body).await),
                Kind::Disconnect => {
                    let limit = Kind::Disconnect.row().body_max;
                    let goodbye: Disconnect =
                        codec::decode_canonical(&message.body, limit).expect("a goodbye");
                    return Some(CloseReason::from_code(goodbye.reason));
                }
                _ => {}
            }
        }
        None
    }
}

/// The greeting of attacker number `seed`.
pub(crate) fn hello(seed: u8, now: Time) -> Hello {
    let key = key(seed);
    let record = NodeRecord {
        public_key: key.public(),
        noise_key: *StaticKey::from_secret(*key.noise_secret()).public(),
        addresses: Capped::default(),
        roles: Roles::FULL,
        capabilities: Capabilities::HYBRID,
        coordinate: None,
        uplink: Default::default(),
        validator: None,
        sequence: now.0,
        issued: now,
        expires: now.plus(3_600_000),
    };
    let record = record.sign(&key, &network()).unwrap().encode().unwrap();
    Hello {
        agent: Text::cut("hostile"),
        record: Capped::first(record),
        height: 0,
        observed: "127.0.0.1:1".parse().unwrap(),
        metadata: Capped::default(),
        validator: None,
        pace: Pace::default(),
        purpose: Default::default(),
    }
}

/// The wall clock.
pub(crate) fn wall() -> Time {
    peerstage::clock::Clock::system().wall()
}
