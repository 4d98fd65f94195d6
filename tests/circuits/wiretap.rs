//! A relay that writes everything down, and what it has in the end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use peerstage::{
    Inbound, NodeId, Verdict, What,
    core::{
        address::Address,
        circuits::{CircuitClose, CircuitCredit, CircuitId, CircuitOpen, OtherEnd},
        codec::{self, Capped},
        frame::Message,
        header::Header,
        identity::Keypair,
        kinds::Kind,
        lanes::plain,
        messages::{Hello, Outgoing},
        record::{Capabilities, SignedRecord},
        time::Time,
    },
    testkit::{
        cluster::{Cluster, PORT, World},
        run_virtual,
    },
    transport::sim::{FaultGuard, SimConfig},
};

use crate::{
    hostile::{self, Hostile, Raw},
    scene::{LIMIT, Whisper, path},
};

const SEED: u8 = 9;
const ANNA: usize = 0;
const BERT: usize = 1;

/// The greeting of one that offers to carry circuits and is at this address.
fn offers(address: Address, now: Time) -> Hello {
    let hello = hostile::hello(SEED, now);
    let mut record = SignedRecord::decode(&hello.record).unwrap().record;
    record.addresses = Capped::first([address]);
    record.capabilities = Capabilities::RELAY.with(Capabilities::CIRCUITS);
    let signed = record.sign(&hostile::key(SEED), &hostile::network()).unwrap();
    Hello { record: Capped::first(signed.encode().unwrap()), ..hello }
}

/// What goes to the other side of the one circuit, which has number 2 at Anna's and 1 at Bert's.
fn across(message: &Message, to: CircuitId, asker: NodeId) -> Option<Outgoing> {
    let header = match message.kind {
        Kind::CircuitOpen => {
            let open = CircuitOpen { circuit: to, other: OtherEnd::From(asker) };
            Header::of(&open)
        }
        Kind::CircuitOpened | Kind::CircuitData => Header::of(&to),
        Kind::CircuitCredit => {
            let credit: CircuitCredit = message.header.read().unwrap();
            Header::of(&CircuitCredit { circuit: to, ..credit })
        }
        Kind::CircuitClose => {
            let close: CircuitClose = message.header.read().unwrap();
            Header::of(&CircuitClose { circuit: to, ..close })
        }
        _ => return None,
    };
    Some(Outgoing { kind: message.kind, header, body: message.body.clone() })
}

/// Carries what one side says to the other and writes it down, for as long as both are there.
async fn listen_in(mut near: Hostile, mut far: Hostile, tape: Arc<Mutex<Vec<u8>>>, anna: NodeId) {
    loop {
        let (message, from_anna) = tokio::select! {
            biased;
            message = near.next() => (message, true),
            message = far.next() => (message, false),
        };
        let Some(message) = message else { return };
        if message.kind == Kind::Ping {
            let side = if from_anna { &mut near } else { &mut far };
            side.send(Kind::Pong, &message.body).await;
        }
        if message.kind == Kind::CircuitData {
            tape.lock().unwrap().extend_from_slice(&message.body);
        }
        let number = CircuitId(if from_anna { 1 } else { 2 });
        if let Some(message) = across(&message, number, anna) {
            let other = if from_anna { &mut far } else { &mut near };
            other.send_message(message).await;
        }
    }
}

/// Two nodes that can't reach each other, and a relay between them that writes everything down.
struct Tapped {
    cluster: Cluster,
    /// What each node was told.
    heard: Arc<Mutex<Vec<(usize, Bytes)>>>,
    tape: Arc<Mutex<Vec<u8>>>,
    _cut: FaultGuard,
}

/// Anna dials Bert through a relay that names `asker`, or her, to Bert.
async fn dials_through(seed: u64, asker: Option<NodeId>) -> Tapped {
    let world = World::simulated(seed, SimConfig::default());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    let mut cluster = Cluster::new(world, seed)
        .named(hostile::NETWORK)
        .configured(|_, config| {
            config.network.wished_outbound = 0;
            config.network.min_peers = 0;
        })
        .prepared(move |index, builder| {
            let told = Arc::clone(&told);
            builder.on(move |inbound: Inbound<Whisper>| {
                told.lock().unwrap().push((index, inbound.payload.0));
                async { Verdict::Accept }
            })
        });
    cluster.start(2).await.unwrap();
    let cut = cluster.partition(&[&[ANNA], &[BERT]]);
    let (relay, now) = (cluster.ip(50), cluster.member(0).clock().wall());
    let transport = cluster.simulation().host(relay);
    let greeting = codec::encode(&offers(Address::new(relay, PORT), now)).unwrap();
    let mut sides = Vec::new();
    for index in [ANNA, BERT] {
        let address = cluster.network(index).listening()[0];
        let raw = Raw::dial_over(&transport, address).await;
        let mut side = Hostile::shake_hands(raw, SEED).await;
        assert!(side.send_message(plain(Kind::Hello, greeting.clone())).await);
        sides.push(side);
    }
    let [near, far] = <[Hostile; 2]>::try_from(sides).ok().unwrap();
    let tape = Arc::new(Mutex::new(Vec::<u8>::new()));
    let asker = asker.unwrap_or(cluster.member(ANNA).node());
    actix_rt::spawn(listen_in(near, far, Arc::clone(&tape), asker));
    let bert = cluster.member(BERT).node();
    let way = format!("/ip4/{relay}/tcp/{PORT}/p2p-circuit/p2p/{bert}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.network(ANNA).connect(way.parse().unwrap()).await.unwrap();
    Tapped { cluster, heard, tape, _cut: cut }
}

/// The relay has every byte of the handshake and of what follows, and none of the words.
#[test]
fn the_relay_sees_ciphertext_and_nothing_else() {
    run_virtual(91, |seed| async move {
        let Tapped { cluster, heard, tape, _cut } = dials_through(seed, None).await;
        let met = async |cluster: &Cluster| path(cluster, ANNA, BERT).await.is_some();
        cluster.until(LIMIT, met).await.expect("they meet");
        let bert = cluster.member(BERT).node();
        let secret = Bytes::from_static(b"nobody but Bert may ever read this");
        cluster.network(ANNA).send(bert, Whisper(secret.clone())).await.unwrap();
        let arrived = async |_: &Cluster| heard.lock().unwrap().contains(&(BERT, secret.clone()));
        cluster.until(LIMIT, arrived).await.expect("Bert reads it");
        let captured = tape.lock().unwrap();
        assert!(captured.len() > 1_000, "the relay has all of it: {} bytes", captured.len());
        let read = |words: &[u8]| captured.windows(words.len()).any(|part| part == words);
        assert!(!read(&secret[..8]) && !read(b"nobody") && !read(b"peerstage/0"));
        // The first of it is the handshake's clear part, so it is the right tape.
        assert!(read(b"PEERSTGE"));
    });
}

/// Attack row 24: whoever comes through a relay is the one whom the relay has named, or nobody: one
/// identity there is not any number of them here.
#[test]
fn whoever_comes_through_a_relay_under_another_name_is_refused() {
    run_virtual(92, |seed| async move {
        let other = Keypair::from_seed(&[77; 32]).node_id();
        let Tapped { cluster, tape, _cut, .. } = dials_through(seed, Some(other)).await;
        let refused = async |cluster: &Cluster| {
            cluster.member(BERT).saw(|what| match what {
                What::AcceptFailed { address, reason } => {
                    address.is_circuit() && reason == "unexpected_peer"
                }
                _ => false,
            })
        };
        cluster.until(LIMIT, refused).await.expect("Bert refuses");
        assert!(!tape.lock().unwrap().is_empty(), "after a handshake");
        assert_eq!(path(&cluster, BERT, ANNA).await, None);
    });
}
