//! Validators that all know each other, bulk between them, and what they notice of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use peerstage::{
    Inbound, Payload, PayloadError, Verdict, Vote, What,
    core::{config::Config, kinds::Kind, messages::Topic, reason::CloseReason},
    status::PeerInfo,
    testkit::cluster::{Cluster, World},
    transport::sim::SimConfig,
};

/// How long a limit is looked at.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// Bytes of one message of bulk: about a record.
const BULK_BYTES: usize = 60_000;

/// A message of the chain's own to one node, in the lane that may wait.
pub(crate) struct Bulk(Bytes);

impl Payload for Bulk {
    const KIND: Kind = Kind::Custom;
    const TOPIC: Topic = Topic(7);

    fn encode(&self) -> Bytes {
        self.0.clone()
    }

    fn decode(bytes: Bytes) -> Result<Self, PayloadError> {
        Ok(Bulk(bytes))
    }
}

/// `count` validators, each connected to every other.
pub(crate) async fn validators(
    seed: u64,
    count: usize,
    configure: impl Fn(usize, &mut Config) + 'static,
) -> Cluster {
    let world = World::simulated(seed, SimConfig::default());
    let mut cluster = Cluster::new(world, seed)
        .with_validators(count)
        .configured(configure)
        .prepared(|_, builder| builder.on(|_: Inbound<Bulk>| async { Verdict::Accept }));
    cluster.start(count).await.unwrap();
    cluster.until_met(count - 1, Duration::from_secs(60)).await.expect("everybody meets");
    cluster
}

/// Sends as much bulk as one node takes from another, until the cluster stops.
pub(crate) fn saturate(cluster: &Cluster, from: usize, to: usize) {
    let (network, to) = (cluster.network(from).clone(), cluster.member(to).node());
    let body = Bytes::from(vec![7; BULK_BYTES]);
    tokio::task::spawn_local(
        async move { while network.send(to, Bulk(body.clone())).await.is_ok() {} },
    );
}

/// What a node says about a peer that must be connected.
pub(crate) async fn peer(cluster: &Cluster, node: usize, of: usize) -> PeerInfo {
    let peer = cluster.network(node).peer(cluster.member(of).node()).await.unwrap();
    peer.expect("it is connected")
}

/// Bytes that a node has sent to each of these peers.
pub(crate) async fn sent(cluster: &Cluster, node: usize, to: &[usize]) -> Vec<u64> {
    let mut bytes = Vec::new();
    for of in to {
        bytes.push(peer(cluster, node, *of).await.traffic.bytes_out);
    }
    bytes
}

/// Bytes that a node has received from each of these peers.
pub(crate) async fn received(cluster: &Cluster, node: usize, from: &[usize]) -> Vec<u64> {
    let mut bytes = Vec::new();
    for of in from {
        bytes.push(peer(cluster, node, *of).await.traffic.bytes_in);
    }
    bytes
}

/// A second counter minus a first, each.
pub(crate) fn gained(before: &[u64], after: &[u64]) -> Vec<u64> {
    before.iter().zip(after).map(|(before, after)| after - before).collect()
}

/// Messages sent one after the other.
pub(crate) struct Series {
    pub(crate) count: usize,
    /// Length of each, bytes; as long as its text if 0.
    pub(crate) length: usize,
    /// From one to the next.
    pub(crate) pause: Duration,
    /// Until all must have arrived, after the last.
    pub(crate) patience: Duration,
}

/// How long each message of one node took to reach each of these, ms, sorted.
pub(crate) async fn delays<P: Payload>(
    cluster: &Cluster,
    (from, to): (usize, &[usize]),
    tag: &str,
    series: Series,
    message: impl Fn(Bytes) -> P,
) -> Vec<u64> {
    let mut sent = Vec::new();
    for number in 0..series.count {
        let mut body = format!("{tag} {from} {number}").into_bytes();
        body.resize(body.len().max(series.length), b'.');
        let body = Bytes::from(body);
        sent.push((body.clone(), cluster.member(from).clock().now()));
        cluster.network(from).broadcast(message(body)).await.unwrap();
        tokio::time::sleep(series.pause).await;
    }
    tokio::time::sleep(series.patience).await;
    let mut took = Vec::new();
    for (body, at) in &sent {
        for node in to {
            let arrived = cluster.member(*node).inbox().first(P::KIND, body);
            took.push(arrived.expect("every message arrives").since(*at));
        }
    }
    took.sort_unstable();
    took
}

/// 60 votes of one node, 50 ms apart: how long each took to reach another, ms, sorted.
pub(crate) async fn votes(cluster: &Cluster, from: usize, to: usize, tag: &str) -> Vec<u64> {
    let pause = Duration::from_millis(50);
    let series = Series { count: 60, length: 0, pause, patience: WINDOW };
    delays(cluster, (from, &[to]), tag, series, Vote).await
}

/// The slowest but one of a hundred.
pub(crate) fn p99(sorted: &[u64]) -> u64 {
    sorted[sorted.len() * 99 / 100]
}

/// Nobody lost a peer, nobody holds anything against one. Two that dial each other when they meet
/// keep one connection of two.
pub(crate) async fn assert_calm(cluster: &Cluster) {
    for (index, member) in cluster.members().iter().enumerate() {
        let gone = |what: &What| {
            matches!(what, What::PeerDisconnected { closure, .. }
                if closure.reason != CloseReason::Duplicate)
        };
        if member.saw(gone) {
            let events = member.events().into_iter().filter(|event| gone(&event.what));
            let text: Vec<_> = events.map(|event| format!("{:?}", event.what)).collect();
            panic!("node {index} lost a peer: {text:?}");
        }
        let network = cluster.network(index);
        assert_eq!(network.bans().await.unwrap(), []);
        for peer in network.peers().await.unwrap() {
            assert!(peer.score >= 0.0, "node {index} holds {} against a peer", peer.score);
        }
    }
}

/// Within so many percent of what was asked for.
pub(crate) fn assert_within(percent: u64, wanted: u64, got: u64, what: &str) {
    let off = got.abs_diff(wanted) * 100;
    assert!(off <= wanted * percent, "{what}: {got} instead of {wanted}");
}

/// A configuration that is the same for every node but the first.
pub(crate) fn only_first(
    change: impl Fn(&mut Config) + 'static,
) -> impl Fn(usize, &mut Config) + 'static {
    let change = Arc::new(change);
    move |index, config| {
        if index == 0 {
            change(config);
        }
    }
}
