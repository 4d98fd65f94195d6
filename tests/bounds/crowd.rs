//! Many peers, a silent one and a flood: what waits is bounded, and the honest notice little.

use std::time::Duration;

use peerstage::{
    Block, Transaction, What,
    core::{config::Config, reason::CloseReason},
    testkit::{
        cluster::{Cluster, World},
        run_virtual,
    },
    transport::sim::{Bandwidth, SimConfig},
};

use crate::{
    hostile::{Hostile, key},
    scene::{Series, assert_calm, delays, p99, votes},
};

/// `network.write_timeout`, and what may pass until somebody looks, ms.
const CUT_WITHIN_MS: u64 = 20_000 + 1_000;
/// `limits.outbound_queue`.
const QUEUE_BYTES: u64 = 8 * 1024 * 1024;

/// How long blocks of the first node take to the others, ms, sorted; one every 250 ms.
async fn blocks(cluster: &Cluster, to: &[usize], tag: &str, count: usize) -> Vec<u64> {
    let (pause, patience) = (Duration::from_millis(250), Duration::from_secs(5));
    let series = Series { count, length: 50_000, pause, patience };
    delays(cluster, (0, to), tag, series, Block).await
}

/// The same of transactions, 50 ms apart.
async fn transactions(cluster: &Cluster, to: &[usize], tag: &str) -> Vec<u64> {
    let (pause, patience) = (Duration::from_millis(50), Duration::from_secs(2));
    let series = Series { count: 60, length: 0, pause, patience };
    delays(cluster, (0, to), tag, series, Transaction).await
}

/// Attack row 43: a peer that never reads is cut off within the write timeout, what waits for it
/// meanwhile is within its queue, and the others get everything as fast as before.
#[test]
fn a_peer_that_never_reads_is_cut_off_in_time() {
    run_virtual(71, |seed| async move {
        let config = SimConfig::default();
        let mut cluster = Cluster::new(World::simulated(seed, config), seed).named("attacks");
        cluster.start(6).await.unwrap();
        cluster.until_met(5, Duration::from_secs(60)).await.expect("everybody meets");
        let others = [1, 2, 3, 4, 5];
        let before = blocks(&cluster, &others, "before", 40).await;
        let host = cluster.simulation().host("66.1.1.1".parse().unwrap());
        let node = cluster.network(0).listening()[0];
        let silent = Hostile::join_over(&host, node, 21, cluster.member(0).clock().wall()).await;
        let attacker = key(21).node_id();
        let network = cluster.network(0).clone();
        let watch = tokio::task::spawn_local(async move {
            let (mut most, began) = (0, tokio::time::Instant::now());
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                match network.peer(attacker).await.unwrap() {
                    Some(peer) => most = most.max(peer.queued_bytes),
                    None if began.elapsed() < Duration::from_millis(200) => {}
                    None => return (most, began.elapsed()),
                }
            }
        });
        let during = blocks(&cluster, &others, "during", 120).await;
        let (most, took) = watch.await.unwrap();
        println!("cut after {took:?}, {most} bytes waited at most");
        assert!(took.as_millis() <= u128::from(CUT_WITHIN_MS), "{took:?}");
        assert!(most <= QUEUE_BYTES, "{most} bytes waited");
        let reason = cluster.member(0).events().into_iter().find_map(|event| match event.what {
            What::PeerDisconnected { peer, closure, .. } if peer == attacker => {
                Some(closure.reason)
            }
            _ => None,
        });
        println!("{reason:?}");
        assert_ne!(reason, Some(CloseReason::ProtocolError));
        println!("blocks: p99 {} ms before, {} ms during", p99(&before), p99(&during));
        assert!(p99(&during) <= 2 * p99(&before));
        drop(silent);
        for node in others {
            let gone = |what: &What| matches!(what, What::PeerDisconnected { .. });
            assert!(!cluster.member(node).saw(gone), "node {node} lost a peer");
        }
    });
}

/// Nodes of the flood story; the last third floods the first one.
const NODES: usize = 12;
const FLOODERS: std::ops::Range<usize> = 8..NODES;
/// Transactions a second of each flooder, and their length, bytes: 13 Mbit a second together, and
/// half as much again as the line of 100 Mbit carries for a node that passes each to every other.
const FLOOD_PER_SECOND: u64 = 200;
const FLOOD_BYTES: usize = 2_000;

/// Each transaction is a new one that the chain accepts.
fn flood(cluster: &Cluster, from: usize) -> tokio::task::JoinHandle<u64> {
    let network = cluster.network(from).clone();
    tokio::task::spawn_local(async move {
        let mut sent = 0u64;
        while sent < FLOOD_PER_SECOND * 40 {
            for _ in 0..FLOOD_PER_SECOND / 100 {
                let mut body = format!("flood {from} {sent} ").into_bytes();
                body.resize(FLOOD_BYTES, b'x');
                if network.broadcast(Transaction::from(body)).await.is_err() {
                    return sent;
                }
                sent += 1;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sent
    })
}

/// Attack row 26: unique valid transactions from a third of the slots. Blocks, votes and
/// transactions of honest nodes take at most twice as long as before, and nobody is dropped or
/// penalised.
#[test]
fn a_flood_of_valid_transactions_slows_no_vote_and_hardly_anything_else() {
    run_virtual(72, |seed| async move {
        let lines = vec![(1, Bandwidth::symmetric_mbit(100))];
        let config = SimConfig { lines, ..SimConfig::default() };
        // Each passes everything to every other: nobody is content with fewer peers.
        let everybody = |_, config: &mut Config| {
            config.network.min_peers = (NODES - 1) as u32;
            config.network.blocks_only_peers = 0;
        };
        let mut cluster = Cluster::new(World::simulated(seed, config), seed)
            .with_validators(FLOODERS.start)
            .configured(everybody);
        cluster.start(NODES).await.unwrap();
        cluster.until_met(NODES - 1, Duration::from_secs(60)).await.expect("everybody meets");
        let honest: Vec<usize> = (1..FLOODERS.start).collect();
        let blocks_before = blocks(&cluster, &honest, "before", 30).await;
        let votes_before = votes(&cluster, 0, 1, "before").await;
        let transactions_before = transactions(&cluster, &honest, "before").await;
        let floods: Vec<_> = FLOODERS.map(|from| flood(&cluster, from)).collect();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let blocks_during = blocks(&cluster, &honest, "during", 30).await;
        let transactions_during = transactions(&cluster, &honest, "during").await;
        for node in 0..FLOODERS.start {
            for peer in cluster.network(node).peers().await.unwrap() {
                assert!(peer.queued_bytes <= QUEUE_BYTES, "{} bytes wait", peer.queued_bytes);
            }
        }
        let votes_during = votes(&cluster, 0, 1, "during").await;
        for flood in &floods {
            assert!(!flood.is_finished(), "the flood lasts as long as it is looked at");
        }
        println!("blocks p99 {} ms, {} ms", p99(&blocks_before), p99(&blocks_during));
        let (before, during) = (p99(&transactions_before), p99(&transactions_during));
        println!("transactions p99 {before} ms, {during} ms");
        assert!(during <= 2 * before);
        println!("votes p99 {} ms, {} ms", p99(&votes_before), p99(&votes_during));
        assert!(p99(&blocks_during) <= 2 * p99(&blocks_before));
        assert!(p99(&votes_during) <= 2 * p99(&votes_before));
        assert_calm(&cluster).await;
    });
}
