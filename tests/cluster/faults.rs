//! What breaks a network, and how soon it is whole again. Times are virtual.

use std::time::Duration;

use peerstage::{
    What,
    core::kinds::Kind,
    testkit::{
        cluster::{Cluster, World},
        faults, run_virtual,
    },
    transport::sim::SimConfig,
};

use crate::traffic::Traffic;

/// ATTACKS, promise 4: serving and meshed again within 20 s (CometBFT's bar).
const RECOVERY: Duration = Duration::from_secs(20);
const MEET: Duration = Duration::from_secs(20);

async fn eight(seed: u64) -> (Cluster, Vec<usize>) {
    let mut cluster = Cluster::new(World::simulated(seed, SimConfig::default()), seed);
    let all: Vec<usize> = cluster.start(8).await.unwrap().collect();
    cluster.until_met(7, MEET).await.expect("everybody meets");
    (cluster, all)
}

#[test]
fn both_sides_of_a_partition_catch_up_when_it_heals() {
    run_virtual(11, |seed| async move {
        let (cluster, all) = eight(seed).await;
        let mut traffic = Traffic::default();
        let split = cluster.partition(&[&all[..4], &all[4..]]);
        // Longer than pings and the transport take to give every connection up.
        tokio::time::sleep(Duration::from_secs(60)).await;
        for index in &all[..4] {
            let peers = cluster.network(*index).peers().await.unwrap();
            assert!(peers.len() <= 3, "node {index} still has peers beyond the partition");
        }
        traffic.send_from(&cluster, &all).await;
        drop(split);
        let took = traffic.until_everywhere(&cluster, &all, 0, RECOVERY).await;
        println!("both sides had everything {} ms after the heal", took.as_millis());
        traffic.assert_exactly_once(&cluster, &all, 0);
    });
}

/// Attack row 49, in virtual time: a crash loses no ban that was acknowledged.
#[test]
fn a_crashed_node_comes_back_with_its_bans() {
    run_virtual(12, |seed| async move {
        let (mut cluster, _) = eight(seed).await;
        let banned = cluster.member(5).node();
        cluster.network(3).ban(banned, "a test", None).await.unwrap();
        cluster.crash(3).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let seen = cluster.member(3).events().len();
        cluster.restart(3).await.unwrap();
        let back = async |cluster: &Cluster| cluster.network(3).peers().await.unwrap().len() >= 6;
        let took = cluster.until(RECOVERY, back).await.expect("the node is back in time");
        println!("a crashed node had its 6 peers back after {} ms", took.as_millis());
        let bans = cluster.network(3).bans().await.unwrap();
        assert_eq!(bans.iter().map(|ban| ban.peer).collect::<Vec<_>>(), [banned]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(cluster.network(3).peer(banned).await.unwrap().is_none(), "a banned peer is in");
        // The banned node may dial and greet, and learns then that it is not wanted.
        let let_in =
            |what: &What| matches!(what, What::PeerConnected { peer, .. } if *peer == banned);
        let events = cluster.member(3).events().into_iter().skip(seen);
        let let_in: Vec<_> = events.filter(|event| let_in(&event.what)).collect();
        assert!(let_in.is_empty(), "a banned peer was in: {let_in:?}");
    });
}

/// Attack row 32: clocks jump an hour; nobody is disconnected and nobody is banned.
#[test]
fn a_clock_that_jumps_costs_no_connection() {
    run_virtual(13, |seed| async move {
        let (cluster, all) = eight(seed).await;
        // Two that dial each other at the same time keep one of two connections.
        let met: Vec<usize> = all.iter().map(|at| cluster.member(*at).events().len()).collect();
        let mut traffic = Traffic::default();
        for ms in [-3_600_000, 3_600_000] {
            let jump = faults::clock_jump(cluster.member(2).clock(), ms);
            traffic.send_from(&cluster, &all).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(jump);
        }
        traffic.assert_exactly_once(&cluster, &all, 0);
        for (index, met) in all.iter().zip(met) {
            let gone = |what: &What| matches!(what, What::PeerDisconnected { .. });
            let events = cluster.member(*index).events().into_iter().skip(met);
            let lost: Vec<_> = events.filter(|event| gone(&event.what)).collect();
            assert!(lost.is_empty(), "node {index} lost a peer: {lost:?}");
            assert_eq!(cluster.network(*index).bans().await.unwrap(), []);
        }
    });
}

/// Sends blocks of 100 kB and says when each was at each of these nodes, ms, sorted.
async fn delays(cluster: &Cluster, readers: &[usize], tag: &str) -> Vec<u64> {
    let mut delays = Vec::new();
    for number in 0..30 {
        let mut body = format!("{tag} {number}").into_bytes();
        body.resize(100_000, b'.');
        let sent = cluster.member(0).clock().now();
        cluster.network(0).broadcast(peerstage::Block(body.clone().into())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        for reader in readers {
            let first = cluster.member(*reader).inbox().first(Kind::Block, &body);
            delays.push(first.expect("it arrived").since(sent));
        }
    }
    delays.sort_unstable();
    delays
}

/// Attack row 43 and ATTACKS, promise 3: a slow reader costs others nothing and us little.
#[test]
fn a_slow_reader_slows_nobody_else() {
    run_virtual(14, |seed| async move {
        let (cluster, _) = eight(seed).await;
        let readers = [1, 2, 3, 4, 5, 6];
        let before = delays(&cluster, &readers, "before").await;
        let slow = faults::slow_reader(cluster.simulation(), cluster.ip(7), 100_000);
        let after = delays(&cluster, &readers, "after").await;
        let p99 = |sorted: &[u64]| sorted[sorted.len() * 99 / 100];
        println!("p99 {} ms, with a slow reader {} ms", p99(&before), p99(&after));
        assert!(p99(&after) <= 2 * p99(&before));
        let queued = cluster.network(0).peer(cluster.member(7).node()).await.unwrap();
        let queued = queued.map_or(0, |peer| peer.queued_bytes);
        println!("{queued} bytes wait for the slow reader");
        assert!(queued <= 8 * 1024 * 1024, "the outbound queue's limit");
        drop(slow);
    });
}
