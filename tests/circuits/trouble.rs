//! Circuits that are refused, and relays that go.

use std::time::Duration;

use peerstage::{
    What,
    core::identity::Keypair,
    testkit::{cluster::Cluster, run_virtual},
};

use crate::scene::{ANNA, BERT, LIMIT, RELAY, Scene, Whisper, one_peer, path};

/// Why a node's dial failed, when it has.
async fn failure(scene: &Scene, index: usize) -> String {
    let reason = || {
        let events = scene.cluster.member(index).events();
        events.into_iter().find_map(|event| match event.what {
            What::DialFailed { address, reason } if address.is_circuit() => Some(reason),
            _ => None,
        })
    };
    let failed = async |_: &Cluster| reason().is_some();
    scene.cluster.until(LIMIT, failed).await.expect("the dial fails");
    reason().unwrap()
}

#[test]
fn a_node_that_serves_nobody_is_not_asked() {
    run_virtual(71, |seed| async move {
        let scene = Scene::new(seed, 3, |index, config| config.relay.serve = index != RELAY).await;
        scene.dial_through_relay(ANNA, BERT).await;
        assert_eq!(failure(&scene, ANNA).await, "no_service");
        assert_eq!(path(&scene.cluster, ANNA, BERT).await, None);
    });
}

#[test]
fn a_node_that_takes_no_circuits_is_left_alone() {
    run_virtual(72, |seed| async move {
        let scene = Scene::new(seed, 3, |index, config| config.nat.circuits = index != BERT).await;
        scene.dial_through_relay(ANNA, BERT).await;
        assert_eq!(failure(&scene, ANNA).await, "not_accepted");
    });
}

/// Each quota refuses by its own name, and the first circuit lives on.
#[test]
fn quotas_refuse_by_name() {
    for (name, which) in [("total_quota", 0), ("peer_quota", 1)] {
        run_virtual(73, |seed| async move {
            let scene = Scene::new(seed, 4, move |index, config| {
                if index == RELAY {
                    let quota = [&mut config.relay.circuits, &mut config.relay.circuits_per_peer];
                    *quota.into_iter().nth(which).unwrap() = 1;
                }
                one_peer(config);
            })
            .await;
            scene.meet().await;
            let asks = if which == 0 { BERT } else { ANNA };
            scene.dial_through_relay(asks, 3).await;
            assert_eq!(failure(&scene, asks).await, name);
            assert_eq!(path(&scene.cluster, ANNA, BERT).await.as_deref(), Some("relayed"));
        });
    }
}

/// What a circuit may carry is used up: it ends, and its two nodes may begin another.
#[test]
fn a_circuit_ends_with_its_bytes_and_its_time() {
    for of_time in [false, true] {
        run_virtual(74, |seed| async move {
            let scene = Scene::new(seed, 3, move |_, config| {
                one_peer(config);
                match of_time {
                    true => config.relay.circuit_time = peerstage::core::config::Span::seconds(30),
                    false => config.relay.circuit_bytes = peerstage::core::config::Size::kib(64),
                }
            })
            .await;
            scene.meet().await;
            let bert = scene.node(BERT);
            if !of_time {
                let much = vec![7; 200_000];
                let _ = scene.cluster.network(ANNA).send(bert, Whisper(much.into())).await;
            }
            let ended = async |cluster: &Cluster| {
                cluster.member(ANNA).saw(
                    |what| matches!(what, What::PeerDisconnected { peer, .. } if *peer == bert),
                )
            };
            scene.cluster.until(LIMIT, ended).await.expect("it ends");
            let again = async |cluster: &Cluster| path(cluster, ANNA, BERT).await.is_some();
            scene.cluster.until(LIMIT, again).await.expect("they meet again");
        });
    }
}

/// A relay connects to nobody for anybody: whoever asks it for a node that is no peer of its own
/// learns just that, and no packet leaves. So it can't be sent to forbidden places.
#[test]
fn a_relay_dials_nobody() {
    run_virtual(75, |seed| async move {
        let scene = Scene::new(seed, 2, |_, config| config.network.feeler_interval = hours()).await;
        let cluster = &scene.cluster;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = cluster.simulation().stats().connections;
        let stranger = Keypair::from_seed(&[77; 32]).node_id();
        let way = scene.through_relay(ANNA);
        let way = way.split("/p2p/").next().unwrap();
        let way = format!("{way}/p2p/{stranger}").parse().unwrap();
        cluster.network(ANNA).connect(way).await.unwrap();
        assert_eq!(failure(&scene, ANNA).await, "not_connected");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(cluster.simulation().stats().connections, before);
    });
}

fn hours() -> peerstage::core::config::Span {
    peerstage::core::config::Span::hours(24)
}

/// With the relay gone its circuits are gone, at both ends; everybody's other peers stay.
#[test]
fn a_relay_that_dies_takes_its_circuits_and_nothing_else() {
    run_virtual(76, |seed| async move {
        let mut scene = Scene::new(seed, 4, |_, _| ()).await;
        scene.meet().await;
        for own in [ANNA, BERT] {
            let met = async |cluster: &Cluster| path(cluster, own, 3).await.is_some();
            scene.cluster.until(LIMIT * 4, met).await.expect("they meet the fourth too");
        }
        scene.cluster.crash(RELAY).await;
        for (own, other) in [(ANNA, BERT), (BERT, ANNA)] {
            let other = scene.node(other);
            let gone = async |cluster: &Cluster| {
                cluster.member(own).saw(
                    |what| matches!(what, What::PeerDisconnected { peer, .. } if *peer == other),
                )
            };
            scene.cluster.until(LIMIT, gone).await.expect("the circuit is gone");
            assert_eq!(path(&scene.cluster, own, 3).await.as_deref(), Some("direct"));
        }
    });
}
