//! Row 43: peers that take next to nothing, and what is too long to be sent at all.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use bytes::Bytes;
use peerstage::{
    Payload, PayloadError, SendError, What,
    clock::Clock,
    core::{
        codec,
        config::Size,
        kinds::Kind,
        messages::{Pace, Topic},
        reason::CloseReason,
    },
    testkit::run_virtual,
    transport::sim::{SimConfig, SimNetwork},
};
use tokio::io::AsyncReadExt;

use crate::{
    hostile::{self, Hostile, Raw, key},
    node,
    patience::{NODE, node_at},
};

/// The attacker's number.
const ATTACKER: u8 = 90;

/// A message of the chain's own, of so many bytes.
struct Parcel(usize);

impl Payload for Parcel {
    const KIND: Kind = Kind::Custom;
    const TOPIC: Topic = Topic(7);

    fn encode(&self) -> Bytes {
        Bytes::from(vec![7; self.0])
    }

    fn decode(bytes: Bytes) -> Result<Self, PayloadError> {
        Ok(Parcel(bytes.len()))
    }
}

/// Lives on, says a word now and then, and takes a thousand bytes each 15 s: its socket never
/// stalls for as long as the write timeout.
async fn sip(mut hostile: Hostile) {
    for number in 0u32.. {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if !hostile.gossip(Kind::Transaction, &number.to_le_bytes()).await {
            return;
        }
        if number % 3 == 0 && matches!(hostile.raw.io.read(&mut [0; 1_000]).await, Ok(0) | Err(_)) {
            return;
        }
    }
}

/// Attack row 43: a peer that asks to be sent a byte a second, and reads as slowly. Whoever sends
/// to it is told soon, and it is cut off.
#[test]
fn a_peer_that_sips_holds_no_sender_up() {
    run_virtual(43, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        let clock = Clock::simulated(1_800_000_000_000);
        let node = node_at(&network, &clock, NODE, &[]).await;
        let mut events = node.subscribe();
        let from = network.host(IpAddr::V4(Ipv4Addr::new(44, 1, 1, 1)));
        let raw = Raw::dial_over(&from, node.listening()[0]).await;
        let mut hostile = Hostile::shake_hands(raw, ATTACKER).await;
        let mut hello = hostile::hello(ATTACKER, clock.now());
        hello.pace = Pace { rate_factor: 1, bytes_per_second: 1, blocks_only: false };
        assert!(hostile.send(Kind::Hello, &codec::encode(&hello).unwrap()).await);
        let attacker = key(ATTACKER).node_id();
        node::arrival(&mut events, attacker).await;
        tokio::task::spawn_local(sip(hostile));
        let began = clock.now();
        let error = loop {
            if let Err(error) = node.send(attacker, Parcel(100_000)).await {
                break error;
            }
        };
        // Where it is gone already, there is no way to it.
        assert!(matches!(error, SendError::TooSlow | SendError::NoRoute), "{error}");
        let gone = events.find(|what| match what {
            What::PeerDisconnected { peer, closure, .. } if *peer == attacker => {
                Some(closure.reason)
            }
            _ => None,
        });
        assert_eq!(gone.await, Some(CloseReason::SlowReader));
        // Twice the write timeout, and what the window of the line takes at first.
        assert!(clock.now().since(began) < 150_000, "{} ms", clock.now().since(began));
        node.shutdown().await;
    });
}

/// `limits.custom_size` holds for what is sent, on every way out.
#[tokio::test]
async fn what_is_over_our_own_limit_is_not_sent() {
    let small = |config: &mut peerstage::core::config::Config| {
        config.limits.custom_size = Size::kib(1);
    };
    let node = node::builder().configure(small).start().await.unwrap();
    let too_long = SendError::TooLong { length: 1_025, limit: 1_024 };
    let sent = node.send(key(1).node_id(), Parcel(1_025)).await;
    assert_eq!(sent, Err(too_long.clone()));
    assert_eq!(node.broadcast(Parcel(1_025)).await, Err(too_long));
    assert!(node.broadcast(Parcel(1_024)).await.is_ok());
    node.shutdown().await;
}
