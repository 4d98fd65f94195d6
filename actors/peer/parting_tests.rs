//! Two Peers of this machine over QUIC, whose connection has to go while both have much to say.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::StreamExt;
use peerstage_core::{
    connection::Terms,
    handshake::PqPolicy,
    identity::{Keypair, NetworkId},
    kinds::KINDS,
    manager::LinkKind,
    messages::{GossipHeader, Outgoing, Pace},
    nat::Told,
    record::{Capabilities, Roles, Uplink},
};

use super::*;
use crate::{
    own::OwnNode,
    shell::{Queue, QueueStream},
    transport::quic::{QuicChannel, QuicTransport},
};

const NET: NetworkId = NetworkId([9; 32]);

/// One side, and what it hears.
struct Side {
    events: QueueStream<SessionEvent>,
    gossip: QueueStream<FromPeer>,
    _others: Vec<Box<dyn std::any::Any>>,
}

fn keypair(number: u8) -> Keypair {
    Keypair::from_seed(&[number; 32])
}

fn links(gossip: Queue<FromPeer>, others: &mut Vec<Box<dyn std::any::Any>>) -> PeerLinks {
    let (requests, from_requests) = Queue::new("requests", 64);
    let (exchange, from_exchange) = Queue::new("exchange", 64);
    let (discovery, from_discovery) = Queue::new("discovery", 64);
    let (direct, from_direct) = Queue::new("direct", 64);
    let (circuits, from_circuits) = Queue::new("circuits", 64);
    let (observations, from_observations) = Queue::new("observations", 64);
    others.push(Box::new((from_requests, from_exchange, from_direct)));
    others.push(Box::new((from_discovery, from_circuits, from_observations)));
    let body_limits = KINDS.map(|row| row.body_max);
    PeerLinks {
        network: NET,
        gossip,
        requests,
        exchange,
        discovery,
        direct,
        circuits,
        body_limits,
        observations,
    }
}

fn launch(number: u8, channel: QuicChannel) -> Side {
    let clock = Clock::system();
    let pace = Pace { rate_factor: 1, bytes_per_second: 0, blocks_only: false };
    let (words, roles) = (("peer".to_owned(), BTreeMap::new()), Roles::FULL);
    let able = (Capabilities::HYBRID, Uplink::default());
    let own = OwnNode::new(keypair(number), None, NET, words, roles, able, pace);
    own.sign_record(clock.wall(), &Told::default()).unwrap();
    let QuicChannel { remote, address, hash, suite, .. } = channel;
    let (incoming, mut outgoing) = channel.into_lanes();
    outgoing.move_here();
    let (sessions, events) = Queue::new("sessions", 64);
    let (gossip, from_peer) = Queue::new("gossip", 4_096);
    let mut others = Vec::new();
    let (session, remote) = (SessionId(number.into()), remote.node_id());
    let parts = PeerParts {
        session,
        remote,
        address,
        suite,
        terms: Terms {
            network: NET,
            remote,
            handshake_hash: hash,
            ping_interval: 15_000,
            ping_timeout: 10_000,
            idle_timeout: 60_000,
            hello_timeout: 5_000,
            reads_slowly: false,
        },
        hello: own.hello(&hash, address, LinkKind::Full),
        write_timeout: 20_000,
        nonce: 0,
        queue_bytes: 64 << 20,
        budget_bytes: 1 << 20,
        limits: ByteLimits::none(clock.now()),
        links: links(gossip, &mut others),
        guard: SessionGuard::new(session, remote, sessions),
        clock,
    };
    Peer::launch(SecureChannel::Quic(Box::new(incoming), outgoing), parts);
    Side { events, gossip: from_peer, _others: others }
}

impl Side {
    async fn event(&mut self) -> SessionEvent {
        self.events.next().await.unwrap().remove(0)
    }

    /// Takes the place that waits for the peer, and says these messages.
    async fn says(&mut self, messages: &[Outgoing]) -> Recipient<PeerOrder> {
        let SessionEvent::Greeted(greeting) = self.event().await else { panic!("it greets") };
        greeting.orders.send(PeerOrder::Accept).await.unwrap();
        for message in messages {
            assert_eq!(
                greeting.outbox.push(message.clone()),
                peerstage_core::lanes::Pushed::Queued
            );
        }
        greeting.orders
    }

    /// How the connection ended, and the lengths of all that came, by kind.
    async fn hears(&mut self) -> (Closure, BTreeMap<Kind, Vec<usize>>) {
        let mut heard: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
        let ended = loop {
            tokio::select! {
                biased;
                // The queue ends with the Peer, which tells of its end at the same moment.
                Some(inputs) = self.gossip.next() => for input in inputs {
                    let FromPeer::Arrivals(arrivals) = input else { continue };
                    for Arrival { message, .. } in &arrivals.messages {
                        heard.entry(message.kind).or_default().push(message.body.len());
                    }
                },
                event = self.events.next() => match event.unwrap().remove(0) {
                    SessionEvent::Ended(_, end) => break end.closure,
                    other => panic!("{other:?}"),
                },
            }
        };
        (ended, heard)
    }
}

/// Some of every lane, those that wait longest first.
fn messages() -> Vec<Outgoing> {
    let header = || GossipHeader { hops: 0, topic: Topic(0) }.into();
    let of = |kind: Kind, length: usize| Outgoing {
        kind,
        header: header(),
        body: Bytes::from(vec![7; length]),
    };
    let bulk = (0..2).map(|n| of(Kind::Custom, 900_000 + n));
    let blocks = (0..4).map(|n| of(Kind::Block, 1_500_000 + n));
    let transactions = (0..50).map(|n| of(Kind::Transaction, 20_000 + n));
    bulk.chain(blocks).chain(transactions).collect()
}

/// Both are told to go while megabytes wait on three lanes: the last word, which has a lane of its
/// own, overtakes none of it, and neither side closes before the other has it all.
#[actix_rt::test]
async fn the_last_word_over_quic_is_the_last() {
    let transport = |number| QuicTransport::new(keypair(number), NET, PqPolicy::Prefer);
    let (ours, theirs) = (transport(1), transport(2));
    let mut listener = theirs.listen("/ip4/127.0.0.1/udp/0/quic".parse().unwrap()).unwrap();
    let there = listener.local();
    let accept = async { listener.accept().await.unwrap().secure(5_000).await };
    let (dialled, accepted) = tokio::join!(ours.dial(there, None, 5_000), accept);
    let (mut near, mut far) = (launch(1, dialled.unwrap()), launch(2, accepted.unwrap()));
    let all = messages();
    let (first, second) = tokio::join!(near.says(&all), far.says(&all));
    let _ = tokio::join!(first.send(PeerOrder::Retire), second.send(PeerOrder::Retire));
    let both = async { tokio::join!(near.hears(), far.hears()) };
    let both = tokio::time::timeout(std::time::Duration::from_secs(60), both).await.unwrap();
    for (closure, heard) in [both.0, both.1] {
        assert_eq!(closure.reason, CloseReason::Upgraded);
        let expected = all.iter().fold(BTreeMap::<Kind, Vec<usize>>::new(), |mut sum, message| {
            sum.entry(message.kind).or_default().push(message.body.len());
            sum
        });
        assert_eq!(heard, expected);
    }
}
