//! How the nodes are set up: the defaults, but for what a benchmark on one machine must lift.

use anyhow::{Result, bail};
use peerstage::{
    Builder, Config, Network,
    core::{
        address::TransportKind,
        config::{PeerAddress, PostQuantum},
    },
};

/// The chain's name.
const CHAIN: &str = "bench";

/// A node that listens on the loopback interface. `variant` is the cipher suite, `hybrid` or
/// `classical`.
pub fn builder(variant: &str) -> Result<Builder> {
    let post_quantum = match variant {
        "hybrid" => PostQuantum::Prefer,
        "classical" => PostQuantum::Classical,
        other => bail!("unknown variant {other}"),
    };
    let builder = Network::builder(CHAIN).listen("127.0.0.1:0").configure(move |config| {
        config.network.post_quantum = post_quantum;
        // As the stacks that it is compared with.
        config.network.transports = vec![TransportKind::Tcp];
        limits(config);
    });
    Ok(builder)
}

/// Room for a thousand peers from one address, no search for more peers, and no pace.
fn limits(config: &mut Config) {
    config.network.max_peers = 2_000;
    config.network.max_inbound = 2_000;
    config.network.max_outbound = 1_000;
    config.network.wished_outbound = 0;
    config.network.min_peers = 0;
    config.network.max_inbound_per_ip = 2_000;
    config.network.max_inbound_per_group = 2_000;
    config.network.max_outbound_per_group = 1_000;
    config.network.max_half_open = 4_096;
    // The table's rates are for public chains; here the machine is the limit.
    config.limits.rate_factor = 10_000;
    config.limits.handshakes_per_second = 100_000;
    config.limits.requests_per_peer = 256;
}

/// Connects to an address and keeps at it.
pub async fn dial(network: &Network, address: &str) -> Result<()> {
    let target: PeerAddress = address.parse()?;
    Ok(network.connect(target).await?)
}
