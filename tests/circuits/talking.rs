//! What goes through a relay: everything.

use std::time::Duration;

use bytes::Bytes;
use peerstage::{
    Target, Transaction, What,
    testkit::{
        cluster::{Cluster, ECHO},
        run_virtual,
    },
};

use crate::scene::{ANNA, BERT, LIMIT, RELAY, Scene, Whisper, path, peer};

/// Gossip, requests and messages to one node alone, both ways.
#[test]
fn two_nodes_that_nobody_can_dial_talk_through_a_third() {
    run_virtual(61, |seed| async move {
        let scene = Scene::new(seed, 3, |_, _| ()).await;
        scene.meet().await;
        let cluster = &scene.cluster;
        for (from, to) in [(ANNA, BERT), (BERT, ANNA)] {
            let (node, other) = (cluster.network(from), scene.node(to));
            let shown = peer(cluster, from, to).await.unwrap();
            assert_eq!((shown.transport.as_str(), shown.outbound), ("tcp", from == ANNA));
            assert_eq!(shown.address.ip(), cluster.ip(RELAY), "it is where its relay is");
            let words = Bytes::from(format!("to {to} alone").into_bytes());
            node.send(other, Whisper(words.clone())).await.unwrap();
            let heard = async |_: &Cluster| scene.heard(to, &words) == 1;
            cluster.until(LIMIT, heard).await.expect("it is heard");
            assert_eq!(scene.heard(RELAY, &words), 0, "and by nobody else");
            let question = vec![7; 200_000];
            let answer = node.request(Target::Peer(other), ECHO, question.clone(), LIMIT).await;
            assert_eq!(answer.unwrap(), question, "of many windows' length");
            for number in 0..20 {
                let text = format!("transaction {number} of {from}");
                node.broadcast(Transaction::from(text.into_bytes())).await.unwrap();
            }
            let inbox = cluster.member(to).inbox();
            let all = async |_: &Cluster| inbox.counts().values().sum::<usize>() >= 20;
            cluster.until(LIMIT, all).await.expect("they spread");
            assert!(inbox.counts().values().all(|count| *count == 1));
            let sender = scene.node(from);
            let direct = inbox.receipts().iter().all(|receipt| receipt.from == sender);
            assert!(direct, "the relay's own chain passes none on");
        }
    });
}

/// A node that nobody reaches finds relays by itself, tells of them, and is found through them by
/// one that nobody reaches either.
#[test]
fn whoever_can_not_be_dialled_is_found_through_its_relays() {
    run_virtual(62, |seed| async move {
        let scene = Scene::new(seed, 3, |_, _| ()).await;
        let cluster = &scene.cluster;
        // Until it is clear that no stranger comes.
        tokio::time::sleep(Duration::from_secs(31 * 60)).await;
        let met = async |cluster: &Cluster| path(cluster, ANNA, BERT).await.is_some();
        cluster.until(Duration::from_secs(20 * 60), met).await.expect("they find each other");
        assert_eq!(path(cluster, BERT, ANNA).await.as_deref(), Some("relayed"));
        let reach = cluster.network(ANNA).status().await.unwrap().reach;
        let told = reach.addresses.iter().find(|told| told.origin == "relayed").expect("one way");
        assert_eq!(told.address.ip(), cluster.ip(RELAY));
        let relay = cluster.network(RELAY).status().await.unwrap().reach;
        assert!(relay.addresses.iter().all(|told| told.origin != "relayed"), "strangers come here");
    });
}

/// Discovery asks a relayed peer as any other, and counts it as reached once it is met directly.
#[test]
fn a_relayed_peer_is_asked_and_not_reached() {
    run_virtual(65, |seed| async move {
        let mut scene = Scene::new(seed, 3, |_, _| ()).await;
        scene.meet().await;
        let reached = async |cluster: &Cluster, own: usize| {
            cluster.network(own).status().await.unwrap().discovery.reached
        };
        // More than one walk through the table.
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(path(&scene.cluster, ANNA, BERT).await.as_deref(), Some("relayed"));
        for own in [ANNA, BERT] {
            assert_eq!(reached(&scene.cluster, own).await, 1, "the relay, which was dialled");
        }
        let copies = scene.cluster.network(ANNA).put_value("height", b"702861").await;
        assert_eq!(copies, Ok(3), "Anna's own, the relay's and Bert's");
        drop(scene.firewall.take());
        let direct = async |cluster: &Cluster| {
            let by_either = reached(cluster, ANNA).await + reached(cluster, BERT).await;
            path(cluster, ANNA, BERT).await.as_deref() == Some("direct") && by_either == 3
        };
        let long = Duration::from_secs(30 * 60);
        scene.cluster.until(long, direct).await.expect("whoever dials has reached the other");
    });
}

/// A slow line behind the relay is waited for by whoever writes to it, and by nobody else; the
/// relay holds no more than a window of it.
#[test]
fn a_slow_end_holds_up_neither_the_relay_nor_its_other_peers() {
    run_virtual(63, |seed| async move {
        let scene = Scene::new(seed, 4, |_, _| ()).await;
        scene.meet().await;
        let cluster = &scene.cluster;
        let _slow = peerstage::testkit::faults::slow_reader(
            cluster.simulation(),
            cluster.ip(BERT),
            400_000,
        );
        let node = cluster.network(ANNA).clone();
        let bert = scene.node(BERT);
        actix_rt::spawn(async move {
            for fill in 0..4u8 {
                let _ = node.send(bert, Whisper(vec![fill; 1_000_000].into())).await;
            }
        });
        for number in 0..30u8 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let queued = peer(cluster, RELAY, BERT).await.expect("it stays").queued_bytes;
            assert!(queued < 150_000, "{queued} bytes wait at the relay");
            let text = Bytes::from(vec![number; 32]);
            cluster.network(RELAY).send(scene.node(3), Whisper(text.clone())).await.unwrap();
            let heard = async |_: &Cluster| scene.heard(3, &text) == 1;
            let took = cluster.until(Duration::from_secs(1), heard).await.expect("at once");
            assert!(took < Duration::from_millis(200), "{took:?}");
        }
        let first = Bytes::from(vec![0; 1_000_000]);
        let heard = async |_: &Cluster| scene.heard(BERT, &first) == 1;
        cluster.until(LIMIT, heard).await.expect("it comes in the end");
    });
}

/// A peer that is relayed says so, and is counted as what it is.
#[test]
fn the_events_name_the_relays_address() {
    run_virtual(64, |seed| async move {
        let scene = Scene::new(seed, 3, |_, _| ()).await;
        scene.meet().await;
        let way = scene.through_relay(BERT);
        let bare = way.split("/p2p/").next().unwrap().to_owned();
        let bert = scene.node(BERT);
        let told = scene.cluster.member(ANNA).saw(|what| match what {
            What::PeerConnected { peer, address, .. } => {
                *peer == bert && address.to_string() == bare
            }
            _ => false,
        });
        assert!(told, "{bare}");
    });
}
