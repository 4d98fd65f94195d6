//! Votes reach exactly the validators, also where two of them can't connect.

use std::time::Duration;

use peerstage::{
    core::kinds::Kind,
    testkit::{
        cluster::{Cluster, World},
        faults, run_virtual,
    },
    transport::sim::{Packet, SimConfig, Verdict},
};

use crate::traffic::Traffic;

/// Two validators never reach each other: their votes take two sealed hops, or a validator's
/// push.
#[test]
fn votes_find_a_way_around_a_pair_that_cannot_connect() {
    run_virtual(21, |seed| async move {
        let world = World::simulated(seed, SimConfig::default());
        let mut cluster = Cluster::new(world, seed).with_validators(4);
        let dead = |_: &Packet, _: &mut _| Verdict::Drop;
        let _wall =
            cluster.simulation().install(faults::between(cluster.ip(1), cluster.ip(2), dead));
        let all: Vec<usize> = cluster.start(8).await.unwrap().collect();
        cluster.until_met(6, Duration::from_secs(30)).await.expect("everybody meets");
        let mut traffic = Traffic::default();
        for _ in 0..5 {
            traffic.vote_from(&cluster, &[0, 1, 2, 3]).await;
            traffic.until_everywhere(&cluster, &all, 4, Duration::from_secs(5)).await;
        }
        traffic.assert_exactly_once(&cluster, &all, 4);
    });
}

/// The only two validators can't connect: nobody else may read what they say, so it travels
/// sealed over two hops.
#[test]
fn two_validators_that_cannot_connect_talk_through_sealed_hops() {
    run_virtual(22, |seed| async move {
        let world = World::simulated(seed, SimConfig::default());
        let mut cluster = Cluster::new(world, seed).with_validators(2);
        let dead = |_: &Packet, _: &mut _| Verdict::Drop;
        let _wall =
            cluster.simulation().install(faults::between(cluster.ip(0), cluster.ip(1), dead));
        // Node 0 is the bootstrap node; node 1 meets the others through node 2.
        cluster = cluster.prepared(|index, builder| match index {
            1 => builder.bootstrap(["24.2.0.1:30400"]),
            _ => builder,
        });
        let all: Vec<usize> = cluster.start(6).await.unwrap().collect();
        cluster.until_met(4, Duration::from_secs(60)).await.expect("everybody meets");
        // Peer exchange brings each the other's record, with the key to seal to.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut traffic = Traffic::default();
        traffic.vote_from(&cluster, &[0, 1]).await;
        let took = traffic.until_everywhere(&cluster, &all, 2, Duration::from_secs(10)).await;
        println!("votes took {} ms over two sealed hops", took.as_millis());
        traffic.assert_exactly_once(&cluster, &all, 2);
        for outsider in 2..6 {
            assert!(
                cluster.member(outsider).inbox().counts().keys().all(|(k, _)| *k != Kind::Vote)
            );
        }
    });
}
