//! Rows 2, 3 and 6 by the numbers: how much a flood makes a node do, and what its peers notice.
//! In virtual time work costs nothing, so these stories count what was done and what had to wait;
//! what one handshake costs is measured by `make bench-primitives`.

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    time::Duration,
};

use peerstage::{
    Network, Transaction, What,
    clock::Clock,
    testkit::run_virtual,
    transport::sim::{SimConfig, SimNetwork},
};
use tokio::{io::AsyncReadExt, time::Instant};

use crate::{
    hostile::{Hostile, Raw, Script, key, settings},
    patience::{NODE, node_at},
};

/// Strangers in each ms of a flood, and how long it lasts.
const PER_MS: u32 = 2;
const FLOOD: Duration = Duration::from_secs(5);
/// The same, where many nodes come one after the other.
const LONG_FLOOD: Duration = Duration::from_secs(12);
/// Of `limits.handshakes_per_second`.
const HANDSHAKES_PER_SECOND: usize = 200;

/// A stranger of one of sixteen neighbourhoods.
fn stranger(number: u32) -> IpAddr {
    let [_, _, high, low] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(66, low % 16, high, low))
}

fn honest(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(44, number, 1, 1))
}

/// What a flood got.
#[derive(Default)]
struct Flood {
    tried: Cell<usize>,
    answered: Cell<usize>,
}

/// 2,000 strangers a second that send `first`, and wait.
fn flood(network: &SimNetwork, node: &Network, first: Vec<u8>, span: Duration) -> Rc<Flood> {
    let (counts, network, there) = (Rc::<Flood>::default(), network.clone(), node.listening()[0]);
    let flood = Rc::clone(&counts);
    tokio::task::spawn_local(async move {
        let end = Instant::now() + span;
        let mut number = 0;
        while Instant::now() < end {
            for _ in 0..PER_MS {
                let (from, first) = (network.host(stranger(number)), first.clone());
                let flood = Rc::clone(&flood);
                flood.tried.set(flood.tried.get() + 1);
                tokio::task::spawn_local(async move {
                    let mut raw = Raw::dial_over(&from, there).await;
                    raw.send(&first).await;
                    let answered = matches!(raw.io.read(&mut [0; 2048]).await, Ok(1..));
                    flood.answered.set(flood.answered.get() + usize::from(answered));
                    // Held for as long as the node lets it.
                    while matches!(raw.io.read(&mut [0; 2048]).await, Ok(1..)) {}
                });
                number += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    counts
}

/// How long transactions take from a node to its peer, ms, sorted; one every 50 ms.
async fn deliveries(from: &Network, to: &Network, tag: &str, count: usize) -> Vec<u128> {
    let mut arrived = to.subscribe();
    let mut took = Vec::new();
    for number in 0..count {
        let began = Instant::now();
        from.broadcast(Transaction::from(format!("{tag} {number}").into_bytes())).await.unwrap();
        let received = |what: &What| matches!(what, What::Received { .. }).then_some(());
        arrived.find(received).await.unwrap();
        took.push(began.elapsed().as_millis());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    took.sort_unstable();
    took
}

fn p99(sorted: &[u128]) -> u128 {
    sorted[sorted.len() * 99 / 100]
}

/// Attack row 2: 2,000 silent connects a second from sixteen neighbourhoods. Of the honest nodes
/// that come meanwhile 95 % get in with their first dial.
#[test]
fn a_flood_of_silent_strangers_keeps_honest_nodes_in() {
    run_virtual(2, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        let clock = Clock::simulated(1_800_000_000_000);
        let node = node_at(&network, &clock, NODE, &[]).await;
        let there = node.listening()[0];
        let flood = flood(&network, &node, Vec::new(), LONG_FLOOD);
        // The burst that a node at rest allows is used up by now.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (mut came, mut in_time) = (0, 0);
        for number in 2..22u8 {
            let newcomer = node_at(&network, &clock, honest(number), &[there]).await;
            let mut events = newcomer.subscribe();
            let failed = |what: &What| matches!(what, What::DialFailed { .. }).then_some(());
            let at_once = tokio::select! {
                ready = newcomer.ready(1) => ready.is_ok(),
                _ = events.find(failed) => false,
            };
            (came, in_time) = (came + 1, in_time + u32::from(at_once));
            newcomer.shutdown().await;
        }
        assert!(in_time * 100 >= came * 95, "{in_time} of {came} honest nodes got in");
        tokio::time::sleep(LONG_FLOOD).await;
        assert!(flood.tried.get() >= 9_000, "{} strangers are no flood", flood.tried.get());
        assert_eq!(flood.answered.get(), 0, "who said nothing is told nothing");
        node.shutdown().await;
    });
}

/// Attack row 3: 2,000 first messages a second. The node computes for 200 of them, which is less
/// than a quarter of a core (ADR 0007); the others are dropped unread, and messages between
/// peers take no longer than before.
#[test]
fn a_flood_of_first_messages_costs_a_bounded_number_of_handshakes() {
    run_virtual(3, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        let clock = Clock::simulated(1_800_000_000_000);
        let node = node_at(&network, &clock, NODE, &[]).await;
        let there = node.listening()[0];
        let peer = node_at(&network, &clock, honest(2), &[there]).await;
        let _ = tokio::join!(peer.ready(1), node.ready(1));
        let before = deliveries(&node, &peer, "before", 60).await;

        let first = Script::new(settings(1), 1).first();
        let flood = flood(&network, &node, first, FLOOD);
        let during = deliveries(&node, &peer, "during", 60).await;
        tokio::time::sleep(FLOOD).await;
        let (tried, answered) = (flood.tried.get(), flood.answered.get());
        // The burst of two seconds that a node at rest allows, and the rate.
        let allowed = HANDSHAKES_PER_SECOND * (2 + FLOOD.as_secs() as usize);
        assert!(tried > 5 * answered, "{answered} of {tried} were answered");
        assert!((1..=allowed).contains(&answered), "{answered} answers, {allowed} allowed");
        assert!(p99(&during) <= 2 * p99(&before), "{} ms, {} ms", p99(&during), p99(&before));
        assert_eq!(node.peers().await.unwrap().len(), 1, "who is connected stays");
        peer.shutdown().await;
        node.shutdown().await;
    });
}

/// Attack row 6: 100,000 empty records a second. The peer is gone within two seconds; a timer
/// beside it is at most 50 ms late, and its neighbour's messages take no longer than before.
#[test]
fn a_flood_of_empty_records_ends_within_two_seconds() {
    run_virtual(6, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        let clock = Clock::simulated(1_800_000_000_000);
        let node = node_at(&network, &clock, NODE, &[]).await;
        let there = node.listening()[0];
        let peer = node_at(&network, &clock, honest(2), &[there]).await;
        let _ = tokio::join!(peer.ready(1), node.ready(1));
        let before = deliveries(&node, &peer, "before", 30).await;

        let mut events = node.subscribe();
        let from = network.host(stranger(0));
        let mut hostile = Hostile::join_over(&from, there, 21, clock.wall()).await;
        let attacker = key(21).node_id();
        let came = |what: &What| {
            matches!(what, What::PeerConnected { peer, .. } if *peer == attacker).then_some(())
        };
        events.find(came).await.unwrap();
        let began = Instant::now();
        let offered = Rc::new(Cell::new(0u32));
        let counted = Rc::clone(&offered);
        let flooder = tokio::task::spawn_local(async move {
            loop {
                let mut wire = Vec::new();
                for _ in 0..1_000 {
                    wire.extend_from_slice(&hostile.sealed(&[]));
                }
                if !hostile.raw.send(&wire).await {
                    return;
                }
                counted.set(counted.get() + 1_000);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let late = Rc::new(Cell::new(Duration::ZERO));
        let latest = Rc::clone(&late);
        let timer = tokio::task::spawn_local(async move {
            loop {
                let due = Instant::now() + Duration::from_millis(10);
                tokio::time::sleep_until(due).await;
                latest.set(latest.get().max(due.elapsed()));
            }
        });
        let gone = async {
            let gone = events.find(|what| match what {
                What::PeerDisconnected { peer, closure, .. } if *peer == attacker => {
                    Some(closure.reason.name())
                }
                _ => None,
            });
            (gone.await, began.elapsed())
        };
        let ((reason, took), during) = tokio::join!(gone, deliveries(&node, &peer, "during", 30));
        assert_eq!(reason, Some("protocol_error"));
        assert!(took <= Duration::from_secs(2), "{took:?}");
        assert!(offered.get() >= 1_000, "{} records are no flood", offered.get());
        assert!(late.get() <= Duration::from_millis(50), "{:?}", late.get());
        assert!(p99(&during) <= 2 * p99(&before), "{} ms, {} ms", p99(&during), p99(&before));
        timer.abort();
        flooder.await.unwrap();
        peer.shutdown().await;
        node.shutdown().await;
    });
}
