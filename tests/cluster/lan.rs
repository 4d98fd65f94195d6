//! Multicast DNS: nodes on one machine that find each other over its loopback interface.

use std::time::Duration;

use peerstage::{Network, core::config::LanMode};

const PATIENCE: Duration = Duration::from_secs(60);

async fn node(network: &str, lan: LanMode) -> Network {
    let node = Network::builder(network).listen("127.0.0.1:0");
    node.configure(move |config| config.discovery.lan = lan).start().await.unwrap()
}

/// Two that switched it on meet; one that did not, and one of another network, are nobody's peers.
#[test]
fn nodes_of_one_network_meet_on_the_local_network() {
    actix_rt::System::new().block_on(async {
        let silent = node("a LAN", LanMode::Off).await;
        let foreign = node("another LAN", LanMode::All).await;
        let first = node("a LAN", LanMode::Private).await;
        let second = node("a LAN", LanMode::Private).await;
        for (here, there) in [(&first, &second), (&second, &first)] {
            let met = tokio::time::timeout(PATIENCE, here.ready(1)).await;
            met.expect("they hear of each other").unwrap();
            let peers = here.peers().await.unwrap();
            assert_eq!(peers.iter().map(|peer| peer.peer).collect::<Vec<_>>(), [there.id()]);
        }
        for alone in [silent, foreign] {
            assert!(alone.peers().await.unwrap().is_empty());
            alone.shutdown().await;
        }
        first.shutdown().await;
        second.shutdown().await;
    });
}
