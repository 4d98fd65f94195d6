//! Rows 1 and 2: strangers that take their time, in virtual time on the simulated network.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use peerstage::{
    Inbound, Network, Transaction, Verdict,
    clock::Clock,
    core::{address::Address, manager::ManagerConfig},
    testkit::run_virtual,
    transport::sim::{SimConfig, SimNetwork},
};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, time::Instant};

use crate::hostile::{self, Raw, Script, settings};

/// Where the node under attack is.
pub(crate) const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(33, 1, 1, 1));

/// A node at this IP that dials these peers.
pub(crate) async fn node_at(
    network: &SimNetwork,
    clock: &Clock,
    ip: IpAddr,
    peers: &[Address],
) -> Network {
    let listen = Address::new(ip, 30_400).to_string();
    let number = match ip {
        IpAddr::V4(ip) => ip.octets()[1],
        IpAddr::V6(_) => 0,
    };
    Network::builder(hostile::NETWORK)
        .listen(&listen)
        .bootstrap(peers.iter().map(ToString::to_string))
        .on(|_: Inbound<Transaction>| async { Verdict::Accept })
        .transport(Arc::new(network.host(ip)))
        // Not the seed of those who dial it: equal ephemeral keys are a reflection.
        .simulated(clock.clone(), [if ip == NODE { 8 } else { 7 }; 32])
        .keypair(hostile::key(number))
        .start_here()
        .await
        .expect("it starts")
}

/// Attack rows 1 and 2: a thousand connections from four neighbourhoods, half of them silent and
/// half sending a byte a second. Each is closed within 5.5 s of its start, and honest nodes get
/// in within a second meanwhile.
#[test]
fn a_thousand_slow_strangers_keep_nobody_out() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        let clock = Clock::simulated(1_800_000_000_000);
        let node = node_at(&network, &clock, NODE, &[]).await;
        let there = node.listening()[0];
        let first = Script::new(settings(1), 1).first();
        let mut honest = Vec::new();
        for number in 2..12u8 {
            let ip = IpAddr::V4(Ipv4Addr::new(44, number, 1, 1));
            honest.push(node_at(&network, &clock, ip, &[]).await);
        }
        // A node waits for a random while before its first dial: that is nobody's attack.
        tokio::time::sleep(Duration::from_millis(ManagerConfig::default().start_spread)).await;
        let mut strangers = Vec::new();
        for number in 0..1_000u32 {
            let [_, _, high, low] = number.to_be_bytes();
            let from = network.host(IpAddr::V4(Ipv4Addr::new(66, low % 4, high, low)));
            let first = first.clone();
            strangers.push(tokio::task::spawn_local(async move {
                let Raw { io } = Raw::dial_over(&from, there).await;
                let began = Instant::now();
                let (mut read, mut write) = tokio::io::split(io);
                let trickle = async {
                    for byte in &first {
                        if low % 2 == 0 && write.write_all(&[*byte]).await.is_err() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                };
                tokio::select! {
                    _ = read.read_u8() => {}
                    () = trickle => {}
                }
                began.elapsed()
            }));
        }
        for honest in honest {
            let began = Instant::now();
            honest.connect(there.to_string().parse().unwrap()).await.unwrap();
            honest.ready(1).await.unwrap();
            assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
            honest.shutdown().await;
        }
        let mut patient = 0;
        for stranger in strangers {
            let open = stranger.await.unwrap();
            patient += u32::from(open >= Duration::from_millis(4_900));
            assert!(open <= Duration::from_millis(5_500), "{open:?}");
        }
        assert!((64..=256).contains(&patient), "{patient} were half open, at most 256 may");
        assert!(node.bans().await.unwrap().is_empty(), "who has not spoken has no name");
        node.shutdown().await;
    });
}
