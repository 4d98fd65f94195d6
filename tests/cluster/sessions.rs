//! What a session promises, whatever carries it: one suite for the simulator, TCP and QUIC.

use std::time::Duration;

use bytes::Bytes;
use peerstage::{
    Block, Network, Transaction, What,
    core::{
        identity::{Keypair, NodeId},
        kinds::Kind,
        reason::CloseReason,
        requests::Target,
    },
    testkit::{
        cluster::{Cluster, ECHO, World},
        run_virtual,
    },
    transport::sim::SimConfig,
};

const LIMIT: Duration = Duration::from_secs(20);
/// A block of many frames, over every window there is.
const LARGE_BYTES: usize = 3 * 1024 * 1024 + 7;

/// Every promise, each on a pair of nodes of its own.
async fn every_promise(world: World) {
    Box::pin(long_and_short_messages_arrive_whole(world.clone())).await;
    Box::pin(requests_are_answered_side_by_side(world.clone())).await;
    Box::pin(a_goodbye_says_why(world.clone())).await;
    Box::pin(only_the_node_that_was_meant_is_accepted(world.clone())).await;
    // In a simulation two networks would share their hosts; `connections` has that story.
    if !matches!(world, World::Simulated(_)) {
        Box::pin(a_node_of_another_network_is_refused(world)).await;
    }
}

async fn pair(world: World) -> Cluster {
    let mut cluster = Cluster::new(world, 7);
    cluster.start(2).await.unwrap();
    cluster.until_met(1, LIMIT).await.expect("they meet");
    cluster
}

/// Lanes share a connection: small messages arrive although long ones are under way, and none is
/// changed.
async fn long_and_short_messages_arrive_whole(world: World) {
    let mut cluster = pair(world).await;
    let long: Vec<Bytes> = (1..=3u8).map(|fill| Bytes::from(vec![fill; LARGE_BYTES])).collect();
    let short: Vec<Bytes> = (0..50u8).map(|number| Bytes::from(vec![number; 100])).collect();
    for (from, to) in [(0, 1), (1, 0)] {
        for body in &long {
            let block = [&[u8::try_from(from).unwrap()], &body[..]].concat();
            cluster.network(from).broadcast(Block(block.into())).await.unwrap();
        }
        for body in &short {
            let transaction = [&[u8::try_from(from).unwrap()], &body[..]].concat();
            cluster.network(from).broadcast(Transaction(transaction.into())).await.unwrap();
        }
        let arrived = async |cluster: &Cluster| {
            let inbox = cluster.member(to).inbox();
            let sent_by = |body: &Bytes| [&[u8::try_from(from).unwrap()], &body[..]].concat();
            long.iter().all(|body| inbox.count(Kind::Block, &sent_by(body)) == 1)
                && short.iter().all(|body| inbox.count(Kind::Transaction, &sent_by(body)) == 1)
        };
        cluster.until(LIMIT, arrived).await.expect("everything arrives once");
    }
    cluster.shutdown_all().await;
}

async fn requests_are_answered_side_by_side(world: World) {
    let mut cluster = pair(world).await;
    let asking = (0..8u8).map(|number| {
        let body = Bytes::from(vec![number; 100_000]);
        let network = cluster.network(0);
        async move {
            let answer = network.request(Target::Any, ECHO, body.clone(), LIMIT).await.unwrap();
            assert_eq!(answer, body);
        }
    });
    futures_util::future::join_all(asking).await;
    cluster.shutdown_all().await;
}

/// Waits until a node was shown that a peer left for this reason.
fn left(network: &Network, reason: CloseReason) -> impl Future<Output = bool> + use<> {
    let mut events = network.subscribe();
    async move {
        let found = events.find(|what| match what {
            What::PeerDisconnected { closure, .. } => {
                (closure.by_remote && closure.reason == reason).then_some(())
            }
            _ => None,
        });
        tokio::time::timeout(LIMIT, found).await.is_ok_and(|found| found.is_some())
    }
}

async fn a_goodbye_says_why(world: World) {
    let mut cluster = pair(world.clone()).await;
    let told = left(cluster.network(1), CloseReason::Requested);
    assert!(cluster.network(0).disconnect(cluster.member(1).node()).await.unwrap());
    assert!(told.await, "a requested end is told");
    cluster.shutdown_all().await;

    let mut cluster = pair(world).await;
    let told = left(cluster.network(1), CloseReason::Shutdown);
    cluster.shutdown(0).await;
    assert!(told.await, "a shutdown is told");
    cluster.shutdown_all().await;
}

async fn dial_failure(network: &Network, target: &str) -> String {
    let mut events = network.subscribe();
    network.connect(target.parse().unwrap()).await.unwrap();
    let failed = events.find(|what| match what {
        What::DialFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    tokio::time::timeout(LIMIT, failed).await.expect("the dial fails").expect("the node runs")
}

/// Where a node can be dialled, as somebody with this id.
fn place(cluster: &Cluster, index: usize, id: NodeId) -> String {
    cluster.network(index).listening()[0].multiaddr(Some(id)).to_string()
}

async fn only_the_node_that_was_meant_is_accepted(world: World) {
    let mut cluster = Cluster::new(world, 8)
        .prepared(|_, builder| builder.configure(|config| config.network.bootstrap.clear()));
    cluster.start(2).await.unwrap();
    let other = Keypair::from_seed(&[9; 32]).node_id();
    let there = place(&cluster, 0, other);
    assert_eq!(dial_failure(cluster.network(1), &there).await, "unexpected_peer");
    let there = place(&cluster, 0, cluster.member(0).node());
    cluster.network(1).connect(there.parse().unwrap()).await.unwrap();
    let met = async |cluster: &Cluster| {
        let peers = cluster.network(1).peers().await.unwrap();
        peers.iter().any(|peer| peer.peer == cluster.member(0).node())
    };
    cluster.until(LIMIT, met).await.expect("the right one is a peer");
    cluster.shutdown_all().await;
}

async fn a_node_of_another_network_is_refused(world: World) {
    let mut one = Cluster::new(world.clone(), 9).named("one");
    let mut two = Cluster::new(world, 10)
        .named("two")
        .prepared(|_, builder| builder.configure(|config| config.network.bootstrap.clear()));
    one.start(1).await.unwrap();
    two.start(2).await.unwrap();
    let there = place(&one, 0, one.member(0).node());
    let reason = dial_failure(two.network(1), &there).await;
    assert!(["wrong_network", "no_common_protocol"].contains(&reason.as_str()), "{reason}");
    assert!(one.network(0).peers().await.unwrap().is_empty());
    one.shutdown_all().await;
    two.shutdown_all().await;
}

#[test]
fn sessions_keep_their_promises_in_virtual_time() {
    run_virtual(7, |seed| every_promise(World::simulated(seed, SimConfig::default())));
}

#[test]
fn sessions_keep_their_promises_on_tcp() {
    actix_rt::System::new().block_on(every_promise(World::Loopback));
}

#[test]
fn sessions_keep_their_promises_on_quic() {
    actix_rt::System::new().block_on(every_promise(World::LoopbackQuic));
}
