//! A node and a hostile peer on QUIC: one that breaks the rules of lanes, streams and frames.

use std::{collections::BTreeMap, future::poll_fn, task::Poll, time::Duration};

use peerstage_core::{
    address::{Address, TransportKind},
    codec,
    config::Span,
    frame::{Assembler, FLAG_FIRST, FLAG_LAST},
    handshake::PqPolicy,
    identity::{Keypair, NetworkId},
    kinds::{Kind, Lane},
    lanes::{Lanes, plain},
    manager::LinkKind,
    messages::{Disconnect, GossipHeader, Outgoing, Pace, Topic},
    nat::Told,
    reason::CloseReason,
    record::{Capabilities, Roles},
    time::Time,
};

use crate::{
    Block, Inbound, Network, Verdict, What,
    clock::Clock,
    own::OwnNode,
    transport::quic::{LanesIn, LanesOut, QuicTransport},
};

const CHAIN: &str = "lanes";
const LIMIT: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("it happens")
}

async fn node() -> Network {
    let configure = |config: &mut peerstage_core::config::Config| {
        config.network.transports = vec![TransportKind::Quic];
        config.network.write_timeout = Span::seconds(1);
        config.limits.outbound_queue = peerstage_core::config::Size::mib(64);
    };
    let node = Network::builder(CHAIN).listen("127.0.0.1:0").configure(configure);
    node.start().await.unwrap()
}

/// A peer that has introduced itself and obeys nobody.
struct Hostile {
    lanes: LanesIn,
    out: LanesOut,
    /// Closes everything when it is dropped.
    _transport: QuicTransport,
}

impl Hostile {
    async fn join(node: &Network) -> Hostile {
        let network = NetworkId::from_name(CHAIN);
        let keypair = Keypair::from_seed(&[9; 32]);
        let transport = QuicTransport::new(keypair.clone(), network, PqPolicy::Prefer);
        let address = node.listening()[0];
        let channel = transport.dial(address, Some(node.id()), 5_000).await.unwrap();
        let hello = hello(keypair, network, &channel.hash, address);
        let mut events = node.subscribe();
        let (lanes, out) = channel.into_lanes();
        let mut hostile = Hostile { lanes, out, _transport: transport };
        hostile.send(Lane::Control, &hello).await;
        let up = events.find(|what| matches!(what, What::PeerConnected { .. }).then_some(()));
        soon(up).await.unwrap();
        hostile
    }

    async fn send(&mut self, lane: Lane, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.out.poll_write(lane as usize, cx, bytes)).await;
            bytes = &bytes[written.unwrap()..];
        }
    }

    /// Ends a lane's stream.
    fn finish(&mut self, lane: Lane) {
        self.out.finish(lane);
    }

    /// The reason in the node's goodbye.
    async fn goodbye(&mut self) -> CloseReason {
        let (mut assembler, mut heard) = (Assembler::default(), Vec::new());
        loop {
            let mut space = vec![0; 64 * 1024];
            let count = poll_fn(|cx| {
                while let Poll::Ready(new) = self.lanes.poll_new(cx) {
                    new?;
                }
                self.lanes.poll_read(Lane::Control, cx, &mut space)
            });
            let count = soon(count).await.unwrap();
            assert_ne!(count, 0, "the node says why");
            heard.extend_from_slice(&space[..count]);
            let mut messages = Vec::new();
            // Cut frames wait for their rest; a fresh assembler reads from the start again.
            let _ = assembler.on_stream(Time(0), Lane::Control, &heard, &mut messages);
            assembler = Assembler::default();
            if let Some(last) = messages.iter().find(|message| message.kind == Kind::Disconnect) {
                let goodbye: Disconnect = codec::decode_canonical(&last.body, 16).unwrap();
                return CloseReason::from_code(goodbye.reason);
            }
        }
    }
}

fn hello(keypair: Keypair, network: NetworkId, hash: &[u8; 32], node: Address) -> Vec<u8> {
    let pace = Pace { rate_factor: 1, bytes_per_second: 0, blocks_only: false };
    let about = ("hostile".to_owned(), BTreeMap::new());
    let able = (Capabilities::HYBRID, Default::default());
    let own = OwnNode::new(keypair, None, network, about, Roles::FULL, able, pace);
    own.sign_record(Clock::system().wall(), &Told::default()).unwrap();
    framed(Kind::Hello, codec::encode(&own.hello(hash, node, LinkKind::Full)).unwrap())
}

fn framed(kind: Kind, body: Vec<u8>) -> Vec<u8> {
    frames(plain(kind, body))
}

fn frames(message: Outgoing) -> Vec<u8> {
    let mut lanes = Lanes::new(Time(0), 8 << 20);
    lanes.push(message);
    let mut frames = bytes::BytesMut::new();
    lanes.fill(Time(0), &mut frames, 8 << 20);
    frames.to_vec()
}

/// A frame whose message claims to be so long.
fn claims(lane: Lane, kind: Kind, length: u32) -> Vec<u8> {
    let head = [&[kind.byte(), 0][..], &length.to_le_bytes()].concat();
    let [low, high] = u16::try_from(head.len()).unwrap().to_le_bytes();
    [&[lane as u8, FLAG_FIRST, low, high], &head[..]].concat()
}

/// Attack rows 4 and 6 on QUIC: what no honest peer writes ends the connection with a reason.
#[actix_rt::test]
async fn broken_rules_of_frames_end_the_connection() {
    let longer = u32::try_from(Kind::Block.row().body_max + 1).unwrap();
    let empty = [Lane::Bulk as u8, FLAG_FIRST | FLAG_LAST, 0, 0].to_vec();
    for (story, lane, frames) in [
        ("longer than its kind", Lane::Blocks, claims(Lane::Blocks, Kind::Block, longer)),
        ("another lane's frame", Lane::Bulk, claims(Lane::Blocks, Kind::Block, 5)),
        ("another lane's kind", Lane::Bulk, claims(Lane::Bulk, Kind::Block, 5)),
        ("no head", Lane::Bulk, empty),
        ("no such lane", Lane::Blocks, vec![9, 0, 0, 0]),
        ("a second greeting", Lane::Control, framed(Kind::Hello, vec![0; 8])),
    ] {
        let node = node().await;
        let mut hostile = Hostile::join(&node).await;
        hostile.send(lane, &frames).await;
        assert_eq!(hostile.goodbye().await, CloseReason::ProtocolError, "{story}");
        node.shutdown().await;
    }
}

/// The stream of the last word may arrive whole, and end, before what was sent in front of it on
/// another: that is waited for.
#[actix_rt::test]
async fn what_was_sent_before_a_last_word_is_heard_behind_it() {
    let (heard, mut hears) = tokio::sync::mpsc::channel(4);
    let configure = |config: &mut peerstage_core::config::Config| {
        config.network.transports = vec![TransportKind::Quic];
    };
    let node = Network::builder(CHAIN).listen("127.0.0.1:0").configure(configure);
    let node = node.on(move |block: Inbound<Block>| {
        let told = heard.try_send(block.payload.0.len());
        async move { if told.is_ok() { Verdict::Accept } else { Verdict::Ignore } }
    });
    let node = node.start().await.unwrap();
    let mut leaving = Hostile::join(&node).await;
    let last = Disconnect { reason: CloseReason::Upgraded.code(), retry_after_ms: 0 };
    let last = framed(Kind::Disconnect, codec::encode(&last).unwrap());
    leaving.send(Lane::Control, &last).await;
    leaving.finish(Lane::Control);
    // More than fits the windows, so that the node has read the end of the other lane by then.
    for number in 0..3u8 {
        let (header, body) =
            (GossipHeader { hops: 0, topic: Topic(0) }.into(), vec![number; 4 << 20]);
        let block = frames(Outgoing { kind: Kind::Block, header, body: body.into() });
        leaving.send(Lane::Blocks, &block).await;
        assert_eq!(soon(hears.recv()).await, Some(4 << 20), "block {number}");
    }
    let mut events = node.subscribe();
    for lane in [Lane::Consensus, Lane::Blocks, Lane::Transactions, Lane::Bulk] {
        leaving.finish(lane);
    }
    let left = events.find(|what| match what {
        What::PeerDisconnected { closure, .. } => Some(closure.reason),
        _ => None,
    });
    assert_eq!(soon(left).await.unwrap(), CloseReason::Upgraded);
    node.shutdown().await;
}

/// Attack row 43 on QUIC: a peer that reads no lane costs a bounded amount, and is cut off.
#[actix_rt::test]
async fn a_peer_that_never_reads_is_cut_off() {
    let node = node().await;
    let hostile = Hostile::join(&node).await;
    let mut events = node.subscribe();
    let left = events.find(|what| match what {
        What::PeerDisconnected { closure, .. } => Some(closure.reason),
        _ => None,
    });
    for number in 0..8u8 {
        let block = Block(vec![number; 1 << 20].into());
        node.broadcast(block).await.unwrap();
    }
    assert_eq!(soon(left).await.unwrap(), CloseReason::SlowReader);
    drop(hostile);
    node.shutdown().await;
}
