//! A direct connection takes a relayed one's place, and nothing is lost.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use peerstage::{
    Target, What,
    core::reason::CloseReason,
    testkit::{
        cluster::{Cluster, ECHO},
        faults, run_virtual,
    },
};

use crate::scene::{ANNA, BERT, LIMIT, Scene, Whisper, path};

/// Messages of each side: enough to be under way before, while and after.
const MESSAGES: u32 = 1_500;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(10);

fn words(from: usize, number: u32) -> Bytes {
    // Of many lengths, so that some wait while others leave.
    let length = 20 + (number as usize * 7_919) % 3_000;
    let mut text = format!("{number} of {from} ").into_bytes();
    text.resize(length.max(text.len()), b'.');
    text.into()
}

/// The messages that did not come exactly once, and how often they did.
fn not_once(scene: &Scene) -> BTreeMap<(usize, u32), usize> {
    let mut wrong = BTreeMap::new();
    for (from, to) in [(ANNA, BERT), (BERT, ANNA)] {
        for number in 0..MESSAGES {
            let count = scene.heard(to, &words(from, number));
            if count != 1 {
                wrong.insert((from, number), count);
            }
        }
    }
    wrong
}

/// Both sides talk without a pause while their firewalls open. Every message comes exactly once,
/// every question is answered, and the relayed connection is gone.
#[test]
fn a_relayed_peer_becomes_a_direct_one_without_losing_a_message() {
    // PEERSTAGE_SEEDS=500 for more of them.
    let seeds = std::env::var("PEERSTAGE_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(5) {
        run_virtual(seed, |seed| async move {
            let mut scene = Scene::new(seed, 3, |_, _| ()).await;
            scene.meet().await;
            let mut talks = Vec::new();
            for (from, to) in [(ANNA, BERT), (BERT, ANNA)] {
                let (node, other) = (scene.cluster.network(from).clone(), scene.node(to));
                let asking = node.clone();
                talks.push(actix_rt::spawn(async move {
                    for number in 0..MESSAGES {
                        node.send(other, Whisper(words(from, number))).await.expect("it is sent");
                        tokio::time::sleep(PAUSE).await;
                    }
                }));
                talks.push(actix_rt::spawn(async move {
                    for number in 0..MESSAGES / 10 {
                        let body = words(from, number);
                        let answer =
                            asking.request(Target::Peer(other), ECHO, body.clone(), LIMIT).await;
                        assert_eq!(answer.expect("an answer"), body);
                        tokio::time::sleep(PAUSE * 5).await;
                    }
                }));
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(path(&scene.cluster, ANNA, BERT).await.as_deref(), Some("relayed"));
            // They were tried before, in vain; the next tries get through.
            scene.firewall = None;
            for (own, other) in [(ANNA, BERT), (BERT, ANNA)] {
                let direct = async |cluster: &Cluster| {
                    path(cluster, own, other).await.as_deref() == Some("direct")
                };
                scene.cluster.until(LIMIT, direct).await.expect("they become direct");
            }
            for talk in talks {
                talk.await.expect("nobody panicked");
            }
            tokio::time::sleep(Duration::from_secs(15)).await;
            assert_eq!(not_once(&scene), BTreeMap::new());
            for own in [ANNA, BERT] {
                let other = scene.node(if own == ANNA { BERT } else { ANNA });
                let member = scene.cluster.member(own);
                let replaced = |what: &What| {
                    matches!(what, What::ConnectionReplaced { peer, address, .. }
                        if *peer == other && address.is_circuit())
                };
                assert!(member.saw(replaced));
                let lost = |what: &What| {
                    matches!(what, What::PeerDisconnected { peer, closure, .. }
                        if *peer == other && closure.reason != CloseReason::Duplicate)
                };
                assert!(!member.saw(lost), "it never was gone");
                assert_eq!(scene.cluster.network(own).peers().await.unwrap().len(), 2);
            }
        });
    }
}

/// Megabytes wait for a slow line when a direct connection takes over: all of it still arrives, over
/// the old one.
#[test]
fn what_waits_for_a_slow_line_crosses_the_upgrade() {
    run_virtual(88, |seed| async move {
        let mut scene = Scene::new(seed, 3, |_, _| ()).await;
        scene.meet().await;
        let cluster = &scene.cluster;
        let _slow = faults::slow_reader(cluster.simulation(), cluster.ip(BERT), 400_000);
        let texts = [1u8, 2].map(|fill| Bytes::from(vec![fill; 900_000]));
        for text in &texts {
            let sent = cluster.network(ANNA).send(scene.node(BERT), Whisper(text.clone())).await;
            sent.expect("it is queued");
        }
        scene.firewall = None;
        let direct =
            async |cluster: &Cluster| path(cluster, ANNA, BERT).await.as_deref() == Some("direct");
        scene.cluster.until(LIMIT, direct).await.expect("they become direct");
        assert_eq!(scene.heard(BERT, &texts[1]), 0, "it is on its way");
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert_eq!(scene.heard(BERT, &texts[1]), 0, "for longer than a connection may do nothing");
        let heard = async |_: &Cluster| texts.iter().all(|text| scene.heard(BERT, text) == 1);
        scene.cluster.until(LIMIT, heard).await.expect("all of it arrives");
    });
}
