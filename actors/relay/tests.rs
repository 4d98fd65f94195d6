//! The relay as an actor: whose queue a message finds, and what its sender is told.

use actix::{Actor, Addr};
use bytes::Bytes;
use peerstage_core::{
    header::Header,
    identity::Keypair,
    kinds::Kind,
    messages::{GossipHeader, RoutedHeader, Topic},
    noise::StaticKey,
    relay::{PeerInfo, RelayConfig},
};
use tokio::sync::oneshot;

use super::*;
use crate::{
    bridge::MonitoringBridge,
    peer::{Directory, FromPeer, PeerUp},
    shell::{Fatal, Intake},
};

/// Bytes that may wait for one peer.
const QUEUE: usize = 8 << 20;

/// A relay; the test is the peers and the chain.
struct Scene {
    relay: Addr<MessageRelay>,
    arrivals: Queue<FromPeer>,
    orders: Intake<Order>,
    clock: Clock,
}

fn node(n: u8) -> NodeId {
    Keypair::from_seed(&[n; 32]).node_id()
}

impl Scene {
    fn new() -> Scene {
        let clock = Clock::simulated(1_800_000_000_000);
        let fatal = Fatal::new(|_| ());
        let (monitoring, subscribers) = MonitoringBridge::new(fatal.lifeline("monitoring"));
        let (arrivals, arrivals_in) = Queue::new("gossip", 1_000);
        let (orders, orders_in) = Intake::new("orders");
        let links = RelayLinks {
            blockchain: Queue::new("blockchain", 1_000).0,
            consensus: Queue::new("consensus", 1_000).0,
            observations: Queue::new("observations", 1_000).0,
            events: monitoring.start().recipient(),
            subscribers,
            directory: Directory::default(),
            punches: Queue::new("punches", 8).0,
        };
        let inputs = RelayInputs {
            arrivals: arrivals_in,
            orders: orders_in,
            verdicts: Queue::new("verdicts", 1_000).1,
            verified: Queue::new("verified", 1_000),
        };
        let network = NetworkId([9; 32]);
        let keypair = Keypair::from_seed(&[0; 32]);
        let machine = Relay::new(RelayConfig::default(), network, keypair, None, [3; 32]);
        let lifeline = fatal.lifeline("relay");
        let relay = MessageRelay::new(
            machine,
            network,
            links,
            inputs,
            Workers::Inline,
            clock.clone(),
            lifeline,
        );
        Scene { relay: relay.start(), arrivals, orders, clock }
    }

    /// A connection of node `n`.
    fn up(&self, n: u8, session: u64) -> Outbox {
        let outbox = Outbox::new(self.clock.now(), QUEUE);
        let up = PeerUp {
            upgrades: None,
            session: SessionId(session),
            info: PeerInfo { peer: node(n), validator: None, outbound: false, blocks_only: false },
            noise_key: noise_key(n),
            outbox: outbox.clone(),
        };
        self.arrivals.push_control(FromPeer::Up(up)).unwrap();
        outbox
    }

    fn down(&self, n: u8, session: u64) {
        self.arrivals.push_control(FromPeer::Down(node(n), SessionId(session))).unwrap();
    }

    /// All that was said of peers is heard.
    async fn heard(&self) {
        let (mark, reached) = oneshot::channel();
        self.arrivals.push_control(FromPeer::Mark(mark)).unwrap();
        reached.await.unwrap();
    }

    async fn order(&self, to: Option<u8>, kind: Kind, body: &'static [u8]) -> Delivery {
        self.sealed_order(to, None, kind, body).await.unwrap()
    }

    async fn sealed_order(
        &self,
        to: Option<u8>,
        sealed_to: Option<[u8; 32]>,
        kind: Kind,
        body: &'static [u8],
    ) -> Result<Delivery, SendError> {
        self.heard().await;
        let (answer, answered) = oneshot::channel();
        let (to, body) = (to.map(node), Bytes::from_static(body));
        let order = Order { to, sealed_to, kind, topic: Topic(0), body, answer };
        self.orders.send(1, order).await.unwrap();
        answered.await.unwrap()
    }
}

fn noise_key(n: u8) -> [u8; 32] {
    *StaticKey::from_secret(*Keypair::from_seed(&[n; 32]).noise_secret()).public()
}

/// Leaves no room for another message of the kind.
fn fill(outbox: &Outbox, kind: Kind) {
    let header = match kind {
        Kind::Routed => Header::of(&RoutedHeader { to: node(99), hops: 0 }),
        _ => GossipHeader { hops: 0, topic: Topic(0) }.into(),
    };
    for length in [100_000, 1_000, 0] {
        let message = Outgoing { kind, header, body: Bytes::from(vec![0; length]) };
        while outbox.push(message.clone()) == Pushed::Queued {}
    }
}

fn told(queued: usize, lazy: usize, dropped: usize) -> Delivery {
    Delivery { queued, lazy, dropped }
}

fn run(story: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(story);
}

/// A connection that replaces another of the same node, at the moment when left slots are given
/// out again, so that it gets the slot of the one before: it is sent to all the same.
#[test]
fn a_replaced_connection_keeps_its_queue() {
    run(async {
        let scene = Scene::new();
        let before = scene.up(1, 1);
        for n in 2..65 {
            scene.up(n, n.into());
            scene.down(n, n.into());
        }
        let now = scene.up(1, 100);
        scene.down(1, 1);
        assert_eq!(scene.order(Some(1), Kind::Custom, b"hello").await, told(1, 0, 0));
        assert_eq!((before.bytes(), now.bytes() > 0), (0, true));
    });
}

#[test]
fn of_many_peers_a_few_are_queued_to_and_the_rest_is_told() {
    run(async {
        let scene = Scene::new();
        (1..9).for_each(|n| drop(scene.up(n, n.into())));
        assert_eq!(scene.order(None, Kind::Transaction, b"tx").await, told(2, 6, 0));
        assert_eq!(scene.order(None, Kind::Transaction, b"tx").await, told(0, 0, 0), "again");
    });
}

#[test]
fn a_peer_with_a_full_queue_is_told_later_of_what_spreads() {
    run(async {
        let scene = Scene::new();
        let full = scene.up(1, 1);
        scene.up(2, 2);
        fill(&full, Kind::Transaction);
        assert_eq!(scene.order(None, Kind::Transaction, b"tx").await, told(1, 1, 0));
        assert_eq!(scene.order(Some(1), Kind::Transaction, b"2").await, told(0, 1, 0));
    });
}

#[test]
fn what_is_for_one_peer_alone_is_queued_or_dropped() {
    run(async {
        let scene = Scene::new();
        let full = scene.up(1, 1);
        assert_eq!(scene.order(Some(1), Kind::Custom, b"a").await, told(1, 0, 0));
        fill(&full, Kind::Custom);
        assert_eq!(scene.order(Some(1), Kind::Custom, b"b").await, told(0, 0, 1));
    });
}

/// A sealed message is on its way if one of its carriers takes it, however many there are.
#[test]
fn a_sealed_message_counts_once_for_its_receiver() {
    run(async {
        let scene = Scene::new();
        let seen = RecordSeen { node: node(50), noise_key: noise_key(50), validator: None };
        scene.relay.send(seen).await.unwrap();
        let carriers = [scene.up(1, 1), scene.up(2, 2), scene.up(3, 3)];
        assert_eq!(scene.order(Some(50), Kind::Custom, b"a").await, told(1, 0, 0));
        fill(&carriers[0], Kind::Routed);
        assert_eq!(scene.order(Some(50), Kind::Custom, b"b").await, told(1, 0, 0));
        carriers.iter().for_each(|carrier| fill(carrier, Kind::Routed));
        assert_eq!(scene.order(Some(50), Kind::Custom, b"c").await, told(0, 0, 1));
    });
}

/// A key that came in a message serves the answer to it, and nothing else.
#[test]
fn a_given_key_is_not_kept() {
    run(async {
        let scene = Scene::new();
        let _carrier = scene.up(1, 1);
        let to = async |key| scene.sealed_order(Some(50), key, Kind::Custom, b"a").await;
        assert_eq!(to(Some(noise_key(50))).await.unwrap(), told(1, 0, 0));
        assert!(matches!(to(None).await, Err(SendError::NoRoute)));
    });
}
