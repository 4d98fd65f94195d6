//! Rows 3, 4 and 8 to 15: a hostile stranger at the door, over TCP.

use peerstage::{
    What,
    core::{
        handshake::{PREFACE_LEN, Preface, Versions},
        identity::{NetworkId, from_hex},
    },
};
use tokio::net::TcpListener;

use crate::{
    hostile::{self, Hostile, Raw, Script, key, settings, soon},
    node::{self, arrival, departure, refused},
};

/// Where message A starts with the sender's ephemeral key.
const EPHEMERAL: std::ops::Range<usize> = PREFACE_LEN + 2..PREFACE_LEN + 2 + 32;

/// What a node says to these first bytes, until it closes.
async fn answer_to(first: &[u8]) -> (Vec<u8>, peerstage::Network) {
    let node = node::start().await;
    let mut raw = Raw::dial(node.listening()[0]).await;
    assert!(raw.send(first).await);
    (raw.read_to_end().await, node)
}

/// An honest node still gets in.
async fn still_open(node: &peerstage::Network) {
    let neighbour = node::neighbour(node).await;
    assert!(node.bans().await.unwrap().is_empty());
    neighbour.shutdown().await;
    node.shutdown().await;
}

/// Attack row 3: a thousand first messages at once; the node computes for as many as its rate
/// allows, and drops the others before any cryptography. Who is connected stays.
#[tokio::test]
async fn message_a_is_limited_before_any_cryptography() {
    let slow = |config: &mut peerstage::core::config::Config| {
        config.limits.handshakes_per_second = 10;
    };
    let node = node::builder().configure(slow).start().await.unwrap();
    let neighbour = node::neighbour(&node).await;
    let first = Script::new(settings(1), 1).first();
    let began = tokio::time::Instant::now();
    let mut answered = 0;
    let mut flood = Vec::new();
    for _ in 0..1_000 {
        let mut raw = Raw::dial(node.listening()[0]).await;
        raw.send(&first).await;
        flood.push(raw);
    }
    for raw in &mut flood {
        answered += usize::from(!raw.read_some().await.is_empty());
    }
    // A burst of two seconds' worth, and the rate while it lasted.
    let allowed = 20 + 10 * (began.elapsed().as_secs() as usize + 1);
    assert!((1..=allowed).contains(&answered), "{answered} answers, {allowed} allowed");
    assert_eq!(node.peers().await.unwrap().len(), 1, "who is connected stays");
    neighbour.shutdown().await;
    node.shutdown().await;
}

/// Attack row 4: a length that no message has is refused from its two bytes, unanswered.
#[tokio::test]
async fn an_oversized_length_is_refused_from_its_header() {
    let before = refused("oversized");
    let mut first = Script::new(settings(1), 1).first();
    first.truncate(PREFACE_LEN);
    first.extend_from_slice(&[0xff, 0xff]);
    let (answer, node) = answer_to(&first).await;
    assert!(answer.is_empty());
    still_open(&node).await;
    assert!(refused("oversized") > before);
}

/// Attack row 8: message A again gets a new answer; the old message C behind it opens nothing.
#[tokio::test]
async fn a_replayed_handshake_opens_no_session() {
    let node = node::start().await;
    let mut script = Script::new(settings(2), 2);
    let mut raw = Raw::dial(node.listening()[0]).await;
    raw.send(&script.first()).await;
    script.listen(&mut raw).await;
    let last = script.last().unwrap();
    raw.send(&last).await;

    let before = refused("bad_mac");
    let mut replay = Raw::dial(node.listening()[0]).await;
    replay.send(&script.first()).await;
    assert!(!replay.read_some().await.is_empty());
    replay.send(&last).await;
    replay.read_to_end().await;
    let known = node.peers().await.unwrap();
    assert!(known.is_empty(), "neither said hello");
    still_open(&node).await;
    assert!(refused("bad_mac") > before);
}

/// Attack row 9: a node that is told to dial itself recognises itself and says so.
#[tokio::test]
async fn a_node_does_not_connect_to_itself() {
    // The port is free when the listener is dropped.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let own = format!("127.0.0.1:{}", free.port());
    let everywhere = format!("0.0.0.0:{}", free.port());
    let node = node::builder().listen(&everywhere).start().await.unwrap();
    let mut events = node.subscribe();
    node.connect(own.parse().unwrap()).await.unwrap();
    let failed = events.find(|what| match what {
        What::DialFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(soon(failed).await.unwrap(), "self_connection");
    assert!(node.peers().await.unwrap().is_empty());
    still_open(&node).await;
}

/// Attack row 9: our own bytes come back from a mirror.
#[tokio::test]
async fn a_mirror_is_recognised() {
    let mirror = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = mirror.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = mirror.accept().await {
            let (mut read, mut write) = socket.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    let node = node::start().await;
    let mut events = node.subscribe();
    node.connect(address.to_string().parse().unwrap()).await.unwrap();
    let failed = events.find(|what| match what {
        What::DialFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(soon(failed).await.unwrap(), "reflection");
    still_open(&node).await;
}

/// Attack row 10: a stranger of another network is answered with the clear preface and nothing
/// else, so that both sides know why, and nothing names us.
#[tokio::test]
async fn another_network_learns_our_network_and_nothing_else() {
    let before = refused("wrong_network");
    let elsewhere = NetworkId::from_name("elsewhere");
    let mut script =
        Script::new(peerstage::core::handshake::HandshakeConfig::new(key(3), elsewhere), 3);
    let (answer, node) = answer_to(&script.first()).await;
    assert_eq!(answer.len(), PREFACE_LEN);
    let preface = Preface::decode(answer.first_chunk().unwrap()).unwrap();
    assert_eq!(preface.network, hostile::network());
    script.hears(&answer);
    assert!(matches!(script.end, Some(Err("wrong_network"))));
    still_open(&node).await;
    assert!(refused("wrong_network") > before);
}

/// Attack row 10: two nodes of different networks both say why they part.
#[tokio::test]
async fn two_networks_part_with_a_reason_on_both_sides() {
    let before = refused("wrong_network");
    let node = node::start().await;
    let stranger =
        peerstage::Network::builder("elsewhere").listen("127.0.0.1:0").start().await.unwrap();
    let mut events = stranger.subscribe();
    stranger.connect(node.listening()[0].to_string().parse().unwrap()).await.unwrap();
    let failed = events.find(|what| match what {
        What::DialFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(soon(failed).await.unwrap(), "wrong_network");
    stranger.shutdown().await;
    still_open(&node).await;
    assert!(refused("wrong_network") > before);
}

/// Attack row 11: a range that holds our version is met there, a later one is refused with the
/// reason on both sides.
#[tokio::test]
async fn versions_meet_or_part_with_a_reason() {
    let node = node::start().await;
    let mut config = settings(4);
    config.versions = Versions { min: 1, max: 9 };
    let mut script = Script::new(config.clone(), 4);
    let mut raw = Raw::dial(node.listening()[0]).await;
    raw.send(&script.first()).await;
    script.listen(&mut raw).await;
    assert!(matches!(&script.end, Some(Ok(established)) if established.version == 1));

    let before = refused("unsupported_version");
    config.versions = Versions { min: 8, max: 9 };
    let mut script = Script::new(config, 4);
    let mut raw = Raw::dial(node.listening()[0]).await;
    raw.send(&script.first()).await;
    let answer = raw.read_to_end().await;
    assert_eq!(answer.len(), PREFACE_LEN);
    script.hears(&answer);
    assert!(matches!(script.end, Some(Err("unsupported_version"))));
    still_open(&node).await;
    assert!(refused("unsupported_version") > before);
}

/// Attack row 12: somebody on the path strips the hybrid from what a node offers. The session
/// does not open, and left alone it is hybrid.
#[tokio::test]
async fn a_stripped_offer_opens_no_session() {
    let node = node::start().await;
    let mut script = Script::new(settings(5), 5);
    let mut stripped = script.first();
    (stripped[12], stripped[13]) = (1, 1);
    stripped.truncate(PREFACE_LEN + 2 + 32);
    stripped[PREFACE_LEN..PREFACE_LEN + 2].copy_from_slice(&32u16.to_be_bytes());
    let mut raw = Raw::dial(node.listening()[0]).await;
    raw.send(&stripped).await;
    script.listen(&mut raw).await;
    assert!(matches!(script.end, Some(Err("downgrade"))));
    let neighbour = node::neighbour(&node).await;
    let suites: Vec<_> = node.peers().await.unwrap().into_iter().map(|peer| peer.suite).collect();
    assert!(matches!(&suites[..], [suite] if suite.contains("MLKEM768")), "{suites:?}");
    neighbour.shutdown().await;
    node.shutdown().await;
}

/// Attack row 13: points of low order, by order 1, 2, 4 and 8 and not canonical, are refused and
/// unanswered on the wire.
#[tokio::test]
async fn points_of_low_order_get_no_answer() {
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let before = refused("low_order_point");
    let node = node::start().await;
    for point in points {
        let mut first = Script::new(settings(6), 6).first();
        first[EPHEMERAL].copy_from_slice(&from_hex(point).unwrap());
        let mut raw = Raw::dial(node.listening()[0]).await;
        raw.send(&first).await;
        assert!(raw.read_to_end().await.is_empty(), "{point}");
    }
    still_open(&node).await;
    assert!(refused("low_order_point") >= before + 5);
}

/// Attack row 14: an ML-KEM key with a coefficient of q or more gets no answer.
#[tokio::test]
async fn an_invalid_kem_key_gets_no_answer() {
    let before = refused("invalid_kem_key");
    let mut first = Script::new(settings(7), 7).first();
    first[EPHEMERAL.end..EPHEMERAL.end + 3].fill(0xff);
    let (answer, node) = answer_to(&first).await;
    assert!(answer.is_empty());
    still_open(&node).await;
    assert!(refused("invalid_kem_key") > before);
}

/// Attack row 15: the same identity twice; one session stays, and both ends know which.
#[tokio::test]
async fn one_of_two_sessions_of_an_identity_survives() {
    let node = node::start().await;
    let mut events = node.subscribe();
    let mut first = Hostile::join(node.listening()[0], 8).await;
    arrival(&mut events, key(8).node_id()).await;
    let mut second = Hostile::join(node.listening()[0], 8).await;
    let gone = tokio::select! {
        gone = first.goodbye() => gone,
        gone = second.goodbye() => gone,
    };
    assert_eq!(gone.map(|reason| reason.name()), Some("duplicate"));
    assert_eq!(node.peers().await.unwrap().len(), 1);
    drop((first, second));
    departure(&mut events, key(8).node_id()).await;
    still_open(&node).await;
}

/// Attack row 15: two nodes dial each other at the same moment, again and again; each time one
/// session is left, the same on both sides.
#[tokio::test]
async fn two_nodes_that_dial_each_other_keep_the_same_session() {
    for _ in 0..8 {
        let (a, b) = tokio::join!(node::start(), node::start());
        let to = |node: &peerstage::Network| node.listening()[0].to_string().parse().unwrap();
        let (_, _) = tokio::join!(a.connect(to(&b)), b.connect(to(&a)));
        soon(async {
            loop {
                let (of_a, of_b) = (a.peers().await.unwrap(), b.peers().await.unwrap());
                if let ([one], [other]) = (&of_a[..], &of_b[..])
                    && one.outbound != other.outbound
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        a.shutdown().await;
        b.shutdown().await;
    }
}

/// Garbage in any quantity, before and instead of a preface, costs a connection and nothing else.
#[tokio::test]
async fn garbage_at_the_door_is_not_answered() {
    let node = node::start().await;
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 70_000], &[0xff; 3], b"PEERSTGE\x01\x02\x00"]
    {
        let mut raw = Raw::dial(node.listening()[0]).await;
        let _ = raw.send(garbage).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut raw.io).await;
        assert!(raw.read_to_end().await.is_empty());
    }
    still_open(&node).await;
}
