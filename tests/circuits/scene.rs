//! A relay, two nodes behind firewalls, and what their chains hear.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use peerstage::{
    Inbound, Kind, NodeId, Payload, PayloadError, Topic, Transaction, Verdict,
    core::config::Config,
    status::PeerInfo,
    testkit::{
        cluster::{Cluster, PORT, World},
        faults,
    },
    transport::sim::{FaultGuard, SimConfig},
};

/// Longer than anything here takes, virtual time.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// The node that carries circuits; it is also the bootstrap node.
pub(crate) const RELAY: usize = 0;
/// Nodes that nobody can dial.
pub(crate) const ANNA: usize = 1;
pub(crate) const BERT: usize = 2;

/// A message to one node alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Whisper(pub(crate) Bytes);

impl Payload for Whisper {
    const KIND: Kind = Kind::Custom;
    const TOPIC: Topic = Topic(77);

    fn encode(&self) -> Bytes {
        self.0.clone()
    }

    fn decode(bytes: Bytes) -> Result<Self, PayloadError> {
        Ok(Whisper(bytes))
    }
}

/// How often each node was told what.
pub(crate) type Whispers = Arc<Mutex<BTreeMap<(usize, Bytes), usize>>>;

/// So many nodes, Anna and Bert behind firewalls; the guard opens them when it is dropped.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) whispers: Whispers,
    pub(crate) firewall: Option<FaultGuard>,
}

impl Scene {
    pub(crate) async fn new(
        seed: u64,
        count: usize,
        configure: impl Fn(usize, &mut Config) + 'static,
    ) -> Scene {
        let world = World::simulated(seed, SimConfig::default());
        let whispers = Whispers::default();
        let heard = Arc::clone(&whispers);
        let mut cluster =
            Cluster::new(world, seed).configured(configure).prepared(move |index, builder| {
                let heard = Arc::clone(&heard);
                // The relay's chain wants no transactions: none goes around by it.
                let builder = match index {
                    RELAY => builder.on(|_: Inbound<Transaction>| async { Verdict::Ignore }),
                    _ => builder,
                };
                builder.on(move |inbound: Inbound<Whisper>| {
                    *heard.lock().unwrap().entry((index, inbound.payload.0)).or_default() += 1;
                    async { Verdict::Accept }
                })
            });
        let behind = [cluster.ip(ANNA), cluster.ip(BERT)];
        let firewall = Some(cluster.simulation().install(faults::firewall(&behind)));
        cluster.start(count).await.unwrap();
        cluster.until_met(1, LIMIT).await.expect("everybody finds the relay");
        Scene { cluster, whispers, firewall }
    }

    /// The way to a node through the relay.
    pub(crate) fn through_relay(&self, to: usize) -> String {
        let (ip, node) = (self.cluster.ip(RELAY), self.cluster.member(to).node());
        format!("/ip4/{ip}/tcp/{PORT}/p2p-circuit/p2p/{node}")
    }

    /// One node asks the relay for a connection with another.
    pub(crate) async fn dial_through_relay(&self, from: usize, to: usize) {
        let way = self.through_relay(to).parse().unwrap();
        self.cluster.network(from).connect(way).await.unwrap();
    }

    /// Anna and Bert meet through the relay.
    pub(crate) async fn meet(&self) {
        self.dial_through_relay(ANNA, BERT).await;
        for (own, other) in [(ANNA, BERT), (BERT, ANNA)] {
            let met = async |cluster: &Cluster| path(cluster, own, other).await.is_some();
            self.cluster.until(LIMIT, met).await.expect("they meet");
            assert_eq!(path(&self.cluster, own, other).await.as_deref(), Some("relayed"));
        }
    }

    pub(crate) fn node(&self, index: usize) -> NodeId {
        self.cluster.member(index).node()
    }

    /// How often a node was told this.
    pub(crate) fn heard(&self, index: usize, text: &Bytes) -> usize {
        self.whispers.lock().unwrap().get(&(index, text.clone())).copied().unwrap_or(0)
    }
}

/// Nobody looks for more peers than the first.
pub(crate) fn one_peer(config: &mut Config) {
    config.network.min_peers = 1;
    config.network.wished_outbound = 1;
    config.network.blocks_only_peers = 0;
}

/// What one node shows of another.
pub(crate) async fn peer(cluster: &Cluster, own: usize, other: usize) -> Option<PeerInfo> {
    cluster.network(own).peer(cluster.member(other).node()).await.unwrap()
}

/// How two nodes are connected, if they are.
pub(crate) async fn path(cluster: &Cluster, own: usize, other: usize) -> Option<String> {
    peer(cluster, own, other).await.map(|peer| peer.path)
}
