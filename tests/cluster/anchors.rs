//! Peers for blocks only, feelers, and what a node that was killed begins with.

use std::{collections::BTreeSet, time::Duration};

use peerstage::{
    core::{config::Span, identity::NodeId},
    testkit::{
        cluster::{Cluster, World},
        run_virtual,
    },
    transport::sim::SimConfig,
};

const NODES: usize = 16;

async fn for_blocks_only(cluster: &Cluster, index: usize) -> BTreeSet<NodeId> {
    let peers = cluster.network(index).peers().await.unwrap();
    let quiet = peers.into_iter().filter(|peer| peer.place == "blocks_only");
    quiet.inspect(|peer| assert!(peer.blocks_only && peer.outbound)).map(|peer| peer.peer).collect()
}

/// Attack row 22: a node that is killed comes back to the two peers that nobody else learnt of,
/// though its first address is dead; feelers find out who answers, and take nobody's place.
#[test]
fn a_killed_node_returns_to_its_anchors() {
    run_virtual(61, |seed| async move {
        let world = World::simulated(seed, SimConfig::default());
        let mut cluster = Cluster::new(world, seed).configured(|_, config| {
            config.network.min_peers = 3;
            config.network.wished_outbound = 3;
            config.network.feeler_interval = Span::seconds(5);
            // Its visits find out who answers, and leave feelers nothing to do in so small a network.
            config.discovery.kademlia = false;
        });
        cluster.start(NODES).await.unwrap();
        let settled = async |cluster: &Cluster| {
            let status = cluster.network(5).status().await.unwrap();
            status.book.anchors == 2 && status.book.feelers_answered > 0
        };
        cluster.until(Duration::from_secs(120), settled).await.expect("it has its anchors");
        // What was written down is on the disk a moment later.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = for_blocks_only(&cluster, 5).await;
        assert_eq!(before.len(), 2);
        let other_side = cluster.member(5).node();
        for index in (0..NODES).filter(|index| before.contains(&cluster.member(*index).node())) {
            let there = cluster.network(index).peer(other_side).await.unwrap().unwrap();
            assert!(there.blocks_only && there.place == "inbound", "{}", there.place);
        }
        cluster.crash(0).await;
        cluster.crash(5).await;
        cluster.restart(5).await.unwrap();
        let back = async |cluster: &Cluster| for_blocks_only(cluster, 5).await == before;
        cluster.until(Duration::from_secs(30), back).await.expect("they are back");
        assert_eq!(cluster.network(5).status().await.unwrap().book.anchors, 2);
        cluster.shutdown_all().await;
    });
}
