//! Finding nodes and what they publish, in networks where few know few.

use std::{collections::BTreeSet, time::Duration};

use peerstage::{
    FindError, What,
    core::{identity::NodeId, kademlia::DiscoveryError},
    testkit::{
        cluster::{Cluster, World},
        run_virtual_for,
    },
    transport::sim::SimConfig,
};

const NODES: usize = 24;
const PATIENCE: Duration = Duration::from_secs(120);
/// Of virtual time, for a whole story.
const LIMIT: Duration = Duration::from_hours(6);

/// So many nodes, each with a few peers only. The last two are rendezvous points.
async fn sparse(seed: u64, nodes: usize) -> Cluster {
    let mut cluster = Cluster::new(World::simulated(seed, SimConfig::default()), seed).configured(
        move |index, config| {
            let network = &mut config.network;
            (network.max_peers, network.max_inbound, network.max_outbound) = (6, 5, 3);
            (network.min_peers, network.wished_outbound) = (2, 2);
            // Peers for blocks alone are asked nothing: in so small a network that would be most.
            network.blocks_only_peers = 0;
            config.discovery.rendezvous_point = index + 2 >= nodes;
        },
    );
    cluster.start(nodes).await.expect("they start");
    cluster.until_met(2, PATIENCE).await.expect("they meet");
    cluster
}

/// Waits until every node's table knows so many others.
async fn tables(cluster: &Cluster, known: usize) {
    let full = async |cluster: &Cluster| {
        for index in 0..cluster.members().len() {
            let status = cluster.network(index).status().await;
            if status.map_or(0, |status| status.discovery.nodes) < known {
                return false;
            }
        }
        true
    };
    cluster.until(Duration::from_secs(1_200), full).await.expect("the tables fill");
}

/// A node that is no peer of the first.
async fn stranger(cluster: &Cluster) -> (usize, NodeId) {
    let peers = cluster.network(0).peers().await.unwrap();
    let peers: BTreeSet<NodeId> = peers.iter().map(|peer| peer.peer).collect();
    let mut others = (1..cluster.members().len()).map(|at| (at, cluster.member(at).node()));
    others.find(|(_, node)| !peers.contains(node)).expect("it can't be everybody's peer")
}

#[test]
fn nodes_that_are_no_peers_are_found_and_what_they_publish() {
    run_virtual_for(3, LIMIT, |seed| async move {
        let mut cluster = sparse(seed, NODES).await;
        tables(&cluster, 12).await;
        let (far, node) = stranger(&cluster).await;
        let (here, there) = (cluster.network(0), cluster.network(far));
        let before = here.peers().await.unwrap().len();
        let found = here.find_node(node).await.unwrap();
        assert_eq!(found[0].node(), node);
        assert_eq!(found[0].record().addresses[0], there.listening()[0]);

        let copies = there.put_value("latest", b"block 7".to_vec()).await.unwrap();
        assert!(copies >= 10, "{copies} copies");
        let key = found[0].record().public_key;
        assert_eq!(here.get_value(key, "latest").await.unwrap().unwrap(), "block 7");
        assert_eq!(here.get_value(key, "never said").await.unwrap(), None);

        assert!(there.provide("snapshot 100").await.unwrap() >= 10);
        let providers = here.providers("snapshot 100").await.unwrap();
        assert_eq!(providers.iter().map(|p| p.node()).collect::<Vec<_>>(), [node]);
        assert!(there.stop_providing("snapshot 100").await.unwrap());
        assert!(!there.stop_providing("snapshot 100").await.unwrap());

        // Visits took nobody's slot, and ended.
        assert!(here.peers().await.unwrap().len().abs_diff(before) <= 3);
        let over = async |cluster: &Cluster| {
            let status = cluster.network(0).status().await.unwrap();
            status.discovery.visits == 0
        };
        cluster.until(Duration::from_secs(900), over).await.expect("visits end");
        for index in 0..NODES {
            let peers = cluster.network(index).peers().await.unwrap();
            assert!(peers.len() <= 6, "node {index} has {} peers", peers.len());
            assert!(cluster.network(index).bans().await.unwrap().is_empty());
        }
        cluster.shutdown_all().await;
    });
}

#[test]
fn a_namespace_is_found_at_the_points_that_keep_it() {
    run_virtual_for(4, LIMIT, |seed| async move {
        let mut cluster = sparse(seed, 12).await;
        tables(&cluster, 8).await;
        for index in [1, 2, 3] {
            let points = cluster.network(index).register("archive nodes").await.unwrap();
            assert!(points >= 1, "{points} points");
        }
        let found = cluster.network(5).discover("archive nodes").await.unwrap();
        let found: BTreeSet<NodeId> = found.iter().map(|record| record.node()).collect();
        let wanted = [1, 2, 3].map(|index| cluster.member(index).node());
        assert_eq!(found, wanted.into());
        assert!(cluster.network(5).discover("another").await.unwrap().is_empty());
        assert!(cluster.network(1).unregister("archive nodes").await.unwrap());
        cluster.shutdown_all().await;
    });
}

/// The table outlives the node: after a restart it knows whom it knew, before it has a peer.
#[test]
fn the_table_and_what_is_kept_outlive_a_restart() {
    run_virtual_for(5, LIMIT, |seed| async move {
        let mut cluster = sparse(seed, 10).await;
        tables(&cluster, 6).await;
        assert!(cluster.network(3).provide("a thing").await.unwrap() > 3);
        let before = cluster.network(7).status().await.unwrap().discovery;
        assert!(before.claims > 0 && before.reached > 0, "{before:?}");
        cluster.shutdown(7).await;
        cluster.restart(7).await.unwrap();
        let after = cluster.network(7).status().await.unwrap().discovery;
        assert!(after.reached * 2 >= before.reached, "{before:?}, then {after:?}");
        assert_eq!(after.claims, before.claims);
        cluster.shutdown_all().await;
    });
}

#[test]
fn a_node_alone_says_that_nobody_answers_within_ten_seconds() {
    run_virtual_for(6, LIMIT, |seed| async move {
        let mut cluster = Cluster::new(World::simulated(seed, SimConfig::default()), seed);
        cluster.start(2).await.unwrap();
        cluster.until_met(1, PATIENCE).await.unwrap();
        cluster.crash(0).await;
        cluster.crash(1).await;
        cluster.restart(1).await.unwrap();
        let alarm = |what: &What| matches!(what, What::Alarm { name: "bootstrap", text } if text.contains("no peer for"));
        let loud = async |cluster: &Cluster| cluster.member(1).saw(alarm);
        cluster.until(Duration::from_secs(10), loud).await.expect("it is loud");
        let asked = cluster.network(1).find_node(NodeId([1; 32])).await;
        let nobody = [DiscoveryError::NoNodes, DiscoveryError::Timeout];
        assert!(nobody.map(|error| Err(FindError::Discovery(error))).contains(&asked.map(|_| ())));
        // It goes on trying: when the other is back, they meet.
        cluster.restart(0).await.unwrap();
        cluster.until_met(1, Duration::from_secs(700)).await.expect("they meet again");
    });
}
