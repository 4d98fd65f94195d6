//! Connections that must end, each with a reason that both sides show.

use std::time::Duration;

use peerstage::{
    Network, What,
    clock::Clock,
    core::{address::Address, identity::Keypair, kinds::Kind, reason::CloseReason},
    testkit::{
        cluster::{Cluster, EPOCH_MS, PORT, World},
        run_virtual,
    },
    transport::{
        Transport,
        sim::{SimConfig, SimNetwork},
    },
};

use crate::hostile::{self, Hostile};

/// By then whatever has happened was shown, virtual time.
const SOON: Duration = Duration::from_secs(1);

/// A node of any network on a simulated host.
async fn node(network: &SimNetwork, chain: &str, key: u8, ip: &str, bootstrap: &str) -> Network {
    Network::builder(chain)
        .keypair(Keypair::from_seed(&[key; 32]))
        .simulated(Clock::simulated(EPOCH_MS), [key; 32])
        .transport(std::sync::Arc::new(network.host(ip.parse().unwrap())))
        .listen(&format!("{ip}:{PORT}"))
        .bootstrap([format!("{bootstrap}:{PORT}")])
        .start_here()
        .await
        .unwrap()
}

async fn dial_failure(network: &Network) -> String {
    let failed = |what: &What| match what {
        What::DialFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    let mut events = network.subscribe();
    let found = tokio::time::timeout(Duration::from_secs(30), events.find(failed));
    found.await.expect("the dial fails").expect("the node runs")
}

async fn accept_failure(network: &Network) -> String {
    let failed = |what: &What| match what {
        What::AcceptFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    let mut events = network.subscribe();
    let found = tokio::time::timeout(Duration::from_secs(30), events.find(failed));
    found.await.expect("the handshake fails").expect("the node runs")
}

/// Attack row 10: both sides say that they are on different networks.
#[test]
fn a_node_of_another_network_is_refused_and_both_sides_say_why() {
    run_virtual(41, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        let alice = node(&network, "one", 1, "24.0.0.1", "24.9.0.1").await;
        let bob = node(&network, "two", 2, "24.1.0.1", "24.0.0.1").await;
        let (accepting, dialling) = tokio::join!(accept_failure(&alice), dial_failure(&bob));
        assert_eq!((accepting.as_str(), dialling.as_str()), ("wrong_network", "wrong_network"));
    });
}

/// Attack row 9: a node that is told its own address, or meets its own key, leaves it alone.
#[test]
fn a_node_that_meets_its_own_key_says_so() {
    run_virtual(42, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        let alice = node(&network, "one", 1, "24.0.0.1", "24.9.0.1").await;
        let clone = node(&network, "one", 1, "24.1.0.1", "24.0.0.1").await;
        let (accepting, dialling) = tokio::join!(accept_failure(&alice), dial_failure(&clone));
        assert_eq!((accepting.as_str(), dialling.as_str()), ("self_connection", "self_connection"));
    });
}

/// Attack row 15: the second connection of a peer ends with that reason, the first stays.
#[test]
fn the_second_connection_of_a_peer_ends_as_a_duplicate() {
    run_virtual(43, |seed| async move {
        let world = World::simulated(seed, SimConfig::default());
        let mut cluster = Cluster::new(world, seed).named(hostile::NETWORK);
        cluster.start(1).await.unwrap();
        let transport = cluster.simulation().host(cluster.ip(100));
        let address = cluster.network(0).listening()[0];
        let clock = cluster.member(0).clock();
        let mut first = Hostile::join_over(&transport, address, 9, clock.wall()).await;
        let one = async |cluster: &Cluster| cluster.network(0).peers().await.unwrap().len() == 1;
        cluster.until(Duration::from_secs(5), one).await.expect("the first is in");
        let mut second = Hostile::join_over(&transport, address, 9, clock.wall()).await;
        let ended = tokio::time::timeout(Duration::from_secs(10), async {
            tokio::select! {
                biased;
                reason = first.goodbye() => reason,
                reason = second.goodbye() => reason,
            }
        });
        assert_eq!(ended.await.expect("one of them ends"), Some(CloseReason::Duplicate));
        assert_eq!(cluster.network(0).peers().await.unwrap().len(), 1);
    });
}

/// Attack row 15: two nodes dial each other at once; one connection is left, the same one.
#[test]
fn two_nodes_that_dial_each_other_keep_one_connection() {
    for seed in 0..50 {
        run_virtual(seed, |seed| async move {
            let network = SimNetwork::new(seed, SimConfig::default());
            let key = u8::try_from(seed).unwrap();
            let alice = node(&network, "one", key, "24.0.0.1", "24.1.0.1").await;
            let bob = node(&network, "one", key + 100, "24.1.0.1", "24.0.0.1").await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            let (at_alice, at_bob) = (alice.peers().await.unwrap(), bob.peers().await.unwrap());
            assert_eq!((at_alice.len(), at_bob.len()), (1, 1));
            assert_ne!(at_alice[0].outbound, at_bob[0].outbound, "both mean the same connection");
        });
    }
}

/// A ban through the API disconnects at once and holds at the door.
#[test]
fn a_banned_peer_is_disconnected_and_stays_out() {
    run_virtual(44, |seed| async move {
        let world = World::simulated(seed, SimConfig::default());
        let mut cluster = Cluster::new(world, seed);
        cluster.start(5).await.unwrap();
        cluster.until_met(4, Duration::from_secs(20)).await.expect("everybody meets");
        let (banning, banned) = (cluster.member(1).node(), cluster.member(2).node());
        cluster.network(1).ban(banned, "a test", None).await.unwrap();
        let told = |what: &What| {
            matches!(what, What::PeerDisconnected { peer, closure, .. }
                if *peer == banning && closure.by_remote && closure.reason == CloseReason::Banned)
        };
        let saw = async |cluster: &Cluster| cluster.member(2).saw(told);
        cluster.until(Duration::from_secs(5), saw).await.expect("the banned one is told why");
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(cluster.network(1).peer(banned).await.unwrap().is_none());
        assert!(cluster.network(1).unban(banned).await.unwrap());
        cluster.until_met(4, Duration::from_secs(600)).await.expect("they are peers again");
    });
}

/// A dial that is given up is shown once, with the reason, however it ends later.
#[test]
fn a_dial_that_is_given_up_is_shown_once() {
    run_virtual(45, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        let alice = node(&network, "one", 1, "24.0.0.1", "24.9.0.1").await;
        let place = format!("24.1.0.1:{PORT}");
        let hole = network.host("24.1.0.1".parse().unwrap());
        let mut hole = hole.listen(place.parse().unwrap()).await.unwrap();
        let silent = Keypair::from_seed(&[8; 32]).node_id();
        let mut events = alice.subscribe();
        alice.connect(format!("{silent}@{place}").parse().unwrap()).await.unwrap();
        let held = hole.accept().await.unwrap();
        alice.ban(silent, "a test", None).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut shown = Vec::new();
        let there: Address = place.parse().unwrap();
        let next = |what: &What| match what {
            What::DialFailed { address, reason } if *address == there => Some(reason.clone()),
            _ => None,
        };
        while let Ok(Some(reason)) = tokio::time::timeout(SOON, events.find(next)).await {
            shown.push(reason);
        }
        assert_eq!(shown, ["banned"]);
        drop(held);
        alice.shutdown().await;
    });
}

/// However quickly a peer comes back, its end is shown before its new beginning.
#[test]
fn a_quick_return_is_shown_in_order() {
    run_virtual(46, |seed| async move {
        let world = World::simulated(seed, SimConfig::default());
        let mut cluster = Cluster::new(world, seed).named(hostile::NETWORK);
        cluster.start(1).await.unwrap();
        let transport = cluster.simulation().host(cluster.ip(100));
        let address = cluster.network(0).listening()[0];
        let clock = cluster.member(0).clock();
        let rounds = 20;
        for _ in 0..rounds {
            let mut guest = Hostile::join_over(&transport, address, 9, clock.wall()).await;
            guest.wait_for(Kind::Hello).await;
        }
        let gone = |what: &What| matches!(what, What::PeerDisconnected { .. });
        let shown = |cluster: &Cluster| {
            let events = cluster.member(0).events().into_iter().map(|event| event.what);
            let of_guest = |what: &What| gone(what) || matches!(what, What::PeerConnected { .. });
            events.filter(of_guest).collect::<Vec<_>>()
        };
        let last = async |cluster: &Cluster| shown(cluster).last().is_some_and(gone);
        cluster.until(Duration::from_secs(60), last).await.expect("the last is gone");
        let shown = shown(&cluster);
        assert!(shown.len() >= rounds, "{shown:?}");
        let in_order = shown.iter().enumerate().all(|(index, what)| gone(what) == (index % 2 == 1));
        assert!(in_order, "{shown:?}");
    });
}
