//! Rows 4 to 7, 27, 31, 41, 43 and 45: a hostile peer that was let in, over TCP.

use std::sync::atomic::{AtomicUsize, Ordering};

use peerstage::{
    Block, Inbound, Network, Transaction, Verdict, What,
    core::{config::Span, identity::NodeId, kinds::Kind, reason::CloseReason},
};

use crate::{
    hostile::{Hostile, key, soon},
    node::{self, arrival, counted, departure},
};

/// A node with an honest neighbour and attacker number `seed`, all connected.
struct Scene {
    node: Network,
    neighbour: Network,
    events: peerstage::Subscription,
    hostile: Hostile,
    attacker: NodeId,
}

impl Scene {
    async fn new(seed: u8) -> Scene {
        Scene::with(seed, node::builder()).await
    }

    async fn with(seed: u8, builder: peerstage::Builder) -> Scene {
        let node = builder.start().await.unwrap();
        let neighbour = node::neighbour(&node).await;
        let mut events = node.subscribe();
        let mut hostile = Hostile::join(node.listening()[0], seed).await;
        let attacker = key(seed).node_id();
        arrival(&mut events, attacker).await;
        hostile.wait_for(Kind::Hello).await;
        Scene { node, neighbour, events, hostile, attacker }
    }

    /// The attacker is gone for this reason, told to it or not, and the neighbour is still here
    /// and at no fault.
    async fn ends(mut self, reason: CloseReason) -> Network {
        assert_eq!(departure(&mut self.events, self.attacker).await, reason.name());
        let left = self.node.peers().await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].peer, self.neighbour.id());
        assert!(left[0].score >= 0.0, "{}", left[0].score);
        self.neighbour.shutdown().await;
        self.node
    }
}

async fn is_banned(node: &Network, peer: NodeId) -> bool {
    node.bans().await.unwrap().iter().any(|ban| ban.peer == peer)
}

/// The fault that an explanation names, as text.
async fn explained(node: &Network, peer: NodeId) -> String {
    format!("{:?}", node.explain(peer).await.unwrap())
}

/// Frames as they must not be, each as the plaintext of a record.
fn bad_frames() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("cut short", vec![2, 3, 255, 255, 0]),
        ("an unknown lane", vec![9, 3, 0, 0]),
        ("reserved flags", vec![2, 0xf0, 0, 0]),
        ("a continuation of nothing", vec![1, 0, 1, 0, 7]),
        ("an unknown kind", vec![2, 3, 6, 0, 250, 0, 0, 0, 0, 0]),
        ("another lane's kind", vec![3, 3, 6, 0, 2, 0, 0, 0, 0, 0]),
        ("longer than it said", vec![2, 3, 8, 0, 2, 0, 1, 0, 0, 0, 1, 2]),
    ]
}

/// Attack row 4: a body longer than its kind allows is refused from its head; the peer is told
/// goodbye, and its score is gone.
#[tokio::test]
async fn an_oversized_body_ends_the_session_and_the_score() {
    let mut scene = Scene::new(20).await;
    let head = [&[1, 1, 6, 0, Kind::Block.byte(), 0][..], &u32::MAX.to_le_bytes()].concat();
    let wire = scene.hostile.sealed(&head);
    scene.hostile.raw.send(&wire).await;
    assert_eq!(scene.hostile.goodbye().await, Some(CloseReason::ProtocolError));
    let attacker = scene.attacker;
    let node = scene.ends(CloseReason::ProtocolError).await;
    let why = explained(&node, attacker).await;
    assert!(why.contains("Oversized") || why.contains("oversized"), "{why}");
    node.shutdown().await;
}

/// Attack row 41 on the wire: frames that are none and bodies that don't decode end the session
/// with a goodbye, each with a fault, and nothing else happens.
#[tokio::test]
async fn malformed_frames_end_the_session() {
    let node = node::start().await;
    let mut events = node.subscribe();
    for (number, (what, frame)) in bad_frames().into_iter().enumerate() {
        let seed = 30 + number as u8;
        let mut hostile = Hostile::join(node.listening()[0], seed).await;
        arrival(&mut events, key(seed).node_id()).await;
        let wire = hostile.sealed(&frame);
        hostile.raw.send(&wire).await;
        assert_eq!(hostile.goodbye().await, Some(CloseReason::ProtocolError), "{what}");
        assert_eq!(departure(&mut events, key(seed).node_id()).await, "protocol_error", "{what}");
        assert!(!explained(&node, key(seed).node_id()).await.is_empty());
    }
    node.shutdown().await;
}

/// Attack row 41 on the wire: the bombs of every kind of body that a node decodes itself.
#[tokio::test]
async fn codec_bombs_cost_their_sender_its_connection() {
    let node = node::start().await;
    let mut events = node.subscribe();
    let bomb = [&u64::MAX.to_le_bytes()[..], &[0xff; 64]].concat();
    let kinds =
        [Kind::Hello, Kind::Ping, Kind::Pong, Kind::Takes, Kind::Disconnect, Kind::PeersRequest];
    for (number, kind) in kinds.into_iter().enumerate() {
        let seed = 40 + number as u8;
        let mut hostile = Hostile::join(node.listening()[0], seed).await;
        arrival(&mut events, key(seed).node_id()).await;
        let limit = kind.row().body_max.min(bomb.len());
        hostile.send(kind, &bomb[..limit]).await;
        if kind == Kind::PeersRequest {
            // Judged by the manager, which costs score and not the connection.
            soon(async {
                while !explained(&node, key(seed).node_id()).await.contains("alformed") {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            continue;
        }
        assert_eq!(hostile.goodbye().await, Some(CloseReason::ProtocolError), "{kind}");
        assert_eq!(departure(&mut events, key(seed).node_id()).await, "protocol_error", "{kind}");
    }
    node.shutdown().await;
}

/// Attack row 6: as many empty records as the line carries; the peer is gone within two seconds
/// and its neighbour never noticed.
#[tokio::test]
async fn a_flood_of_empty_records_ends_the_session() {
    let mut scene = Scene::new(21).await;
    let mut wire = Vec::new();
    for _ in 0..20_000 {
        wire.extend_from_slice(&scene.hostile.sealed(&[]));
    }
    soon(async {
        while scene.hostile.raw.send(&wire).await {
            wire.clear();
            for _ in 0..20_000 {
                wire.extend_from_slice(&scene.hostile.sealed(&[]));
            }
        }
    })
    .await;
    let node = scene.ends(CloseReason::ProtocolError).await;
    node.shutdown().await;
}

/// Attack row 6: a flood of the smallest messages, beyond the rate of their kind.
#[tokio::test]
async fn a_flood_of_pings_ends_the_session() {
    let mut scene = Scene::new(22).await;
    for nonce in 0..64u64 {
        if !scene.hostile.send(Kind::Ping, &nonce.to_le_bytes()).await {
            break;
        }
    }
    assert_eq!(scene.hostile.goodbye().await, Some(CloseReason::ProtocolError));
    let attacker = scene.attacker;
    let node = scene.ends(CloseReason::ProtocolError).await;
    assert!(explained(&node, attacker).await.to_lowercase().contains("spam"));
    node.shutdown().await;
}

/// Attack row 7: a flipped bit, swapped records, a repeated record: the session closes at once,
/// nothing of it is delivered, and nobody is to blame.
#[tokio::test]
async fn records_that_fail_authentication_close_the_session_without_blame() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let builder = node::builder().on(|_: Inbound<Transaction>| async {
        SEEN.fetch_add(1, Ordering::Relaxed);
        Verdict::Ignore
    });
    let node = builder.start().await.unwrap();
    let mut events = node.subscribe();
    for (number, damage) in ["flip", "swap", "repeat"].into_iter().enumerate() {
        let seed = 50 + number as u8;
        let mut hostile = Hostile::join(node.listening()[0], seed).await;
        arrival(&mut events, key(seed).node_id()).await;
        let header = [0u8, 0, 0, 0, 0];
        let whole = [&[3, 3, 15, 0, Kind::Transaction.byte(), 5][..], &4u32.to_le_bytes(), &header];
        let whole = [&whole.concat()[..], b"evil"].concat();
        let (mut one, two) = (hostile.sealed(&whole), hostile.sealed(&[]));
        let wire = match damage {
            "flip" => {
                one[9] ^= 1;
                one
            }
            "swap" => [&two[..], &one].concat()[..].into(),
            _ => {
                // The first copy is honest.
                [&two[..0], &one, &one].concat()[..].into()
            }
        };
        hostile.raw.send(&wire).await;
        assert_eq!(departure(&mut events, key(seed).node_id()).await, "protocol_error", "{damage}");
    }
    assert!(SEEN.load(Ordering::Relaxed) <= 1, "only the honest copy may be seen");
    assert!(node.bans().await.unwrap().is_empty());
    node.shutdown().await;
}

/// Attack row 31: blocks the chain rejects; the sender is banned after at most 20 of them, and
/// who only listens is not.
#[tokio::test]
async fn invalid_messages_lead_to_a_ban() {
    let judge = |_: Inbound<Transaction>| async { Verdict::Reject("never valid".to_owned()) };
    let few = |config: &mut peerstage::core::config::Config| config.scoring.ban_floor = 0;
    let mut scene = Scene::with(23, node::builder().on(judge).configure(few)).await;
    let mut sent = 0u32;
    while sent < 21 && scene.hostile.gossip(Kind::Transaction, &sent.to_le_bytes()).await {
        sent += 1;
    }
    assert_eq!(departure(&mut scene.events, scene.attacker).await, "banned");
    assert!(is_banned(&scene.node, scene.attacker).await);
    assert!(!is_banned(&scene.node, scene.neighbour.id()).await);
    // Whoever was banned is not let in again.
    let mut again = Hostile::join(scene.node.listening()[0], 23).await;
    assert_eq!(again.goodbye().await, Some(CloseReason::Banned));
    scene.neighbour.shutdown().await;
    scene.node.shutdown().await;
}

/// Attack row 27: the same transaction thousands of times; the chain sees it once, and the score
/// of the sender falls.
#[tokio::test]
async fn duplicates_reach_the_chain_once_and_cost_score() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let builder = node::builder().on(|_: Inbound<Transaction>| async {
        SEEN.fetch_add(1, Ordering::Relaxed);
        Verdict::Accept
    });
    let mut scene = Scene::with(24, builder).await;
    for _ in 0..5_000 {
        if !scene.hostile.gossip(Kind::Transaction, b"again and again").await {
            break;
        }
    }
    let attacker = scene.attacker;
    let falls = scene.events.find(|what| match what {
        What::ScoreChanged { peer, score, .. } if *peer == attacker && *score < 0.0 => Some(()),
        What::PeerDisconnected { peer, .. } if *peer == attacker => Some(()),
        _ => None,
    });
    soon(falls).await.unwrap();
    assert_eq!(SEEN.load(Ordering::Relaxed), 1);
    assert!(explained(&scene.node, attacker).await.contains("uplicate"));
    assert!(!is_banned(&scene.node, scene.neighbour.id()).await);
    scene.neighbour.shutdown().await;
    scene.node.shutdown().await;
}

/// Attack row 43: a peer that never reads. What waits for it is bounded, it is cut off by the
/// write timeout though it goes on answering nothing, and its neighbour gets everything.
#[tokio::test]
async fn a_peer_that_never_reads_is_cut_off() {
    let impatient = |config: &mut peerstage::core::config::Config| {
        config.network.write_timeout = Span::millis(600);
    };
    let mut scene = Scene::with(25, node::builder().configure(impatient)).await;
    let block = vec![7u8; 3 << 20];
    let mut got = scene.neighbour.subscribe();
    let mut sent = 0u8;
    let limit = 8u64 << 20;
    let gone = loop {
        let mut body = block.clone();
        body[0] = sent;
        scene.node.broadcast(Block::from(body)).await.unwrap();
        sent += 1;
        // The neighbour takes the block before the next is sent: it is not slow.
        let taken = got.find(|what| matches!(what, What::Received { .. }).then_some(()));
        soon(taken).await.unwrap();
        match scene.node.peer(scene.attacker).await.unwrap() {
            Some(row) => assert!(row.queued_bytes <= limit, "{} bytes wait", row.queued_bytes),
            None => break departure(&mut scene.events, scene.attacker).await,
        }
    };
    assert_eq!(gone, CloseReason::SlowReader.name());
    assert!(scene.node.peer(scene.neighbour.id()).await.unwrap().is_some());
    assert!(scene.node.bans().await.unwrap().is_empty(), "slow is no fault");
    scene.neighbour.shutdown().await;
    scene.node.shutdown().await;
}

/// A greeting and a broken rule in one piece: the place that the node makes for the peer in
/// between doesn't keep the session alive.
#[tokio::test]
async fn a_rule_broken_while_the_slot_is_given_still_ends_the_session() {
    let node = node::start().await;
    for seed in 80..86 {
        let raw = crate::hostile::Raw::dial(node.listening()[0]).await;
        let mut hostile = Hostile::shake_hands(raw, seed).await;
        let now = crate::hostile::wall();
        hostile.say_hello_and(seed, now, &[9, 3, 0, 0]).await;
        assert_eq!(hostile.goodbye().await, Some(CloseReason::ProtocolError));
        soon(async { while node.peer(key(seed).node_id()).await.unwrap().is_some() {} }).await;
    }
    node.shutdown().await;
}

/// Nothing is delivered before the greeting.
#[tokio::test]
async fn messages_before_the_greeting_end_the_session() {
    let node = node::start().await;
    let raw = crate::hostile::Raw::dial(node.listening()[0]).await;
    let mut hostile = Hostile::shake_hands(raw, 26).await;
    hostile.gossip(Kind::Transaction, b"too early").await;
    assert_eq!(hostile.goodbye().await, Some(CloseReason::ProtocolError));
    assert!(node.peers().await.unwrap().is_empty());
    node.shutdown().await;
}

/// Attack row 45: however many identities came and went, series are few and name nobody.
#[tokio::test]
async fn metrics_name_no_peer_and_stay_few() {
    let node = node::start().await;
    let mut events = node.subscribe();
    for seed in 60..70 {
        let mut hostile = Hostile::join(node.listening()[0], seed).await;
        arrival(&mut events, key(seed).node_id()).await;
        hostile.gossip(Kind::Transaction, &[seed]).await;
        drop(hostile);
        departure(&mut events, key(seed).node_id()).await;
    }
    let text = node::metrics().render();
    let series = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    assert!(series.count() <= 500, "{text}");
    for seed in 60..70 {
        assert!(!text.contains(&key(seed).node_id().short()), "{text}");
        assert!(!text.contains("127.0.0.1"), "{text}");
    }
    assert!(counted("peerstage_events_total{event=\"peer_connected\"}") >= 10);
    node.shutdown().await;
}
