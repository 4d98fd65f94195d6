//! The node under attack, what it counts, and an honest neighbour.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use peerstage::{Builder, Network, What, core::identity::NodeId};

use crate::hostile::{self, soon};

/// Every metric of this process.
pub(crate) fn metrics() -> &'static PrometheusHandle {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    METRICS.get_or_init(|| PrometheusBuilder::new().install_recorder().expect("one recorder"))
}

/// How often a handshake was refused for this reason.
pub(crate) fn refused(reason: &str) -> u64 {
    counted(&format!("peerstage_handshakes_failed_total{{reason=\"{reason}\"}}"))
}

/// The value of a series, 0 if there is none.
pub(crate) fn counted(series: &str) -> u64 {
    let text = metrics().render();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(series));
    lines.next().and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// A node on loopback.
pub(crate) fn builder() -> Builder {
    metrics();
    Network::builder(hostile::NETWORK).listen("127.0.0.1:0")
}

/// A node on loopback, running.
pub(crate) async fn start() -> Network {
    builder().start().await.expect("it starts")
}

/// A node that dials this one, connected.
pub(crate) async fn neighbour(of: &Network) -> Network {
    let neighbour = builder().bootstrap([of.listening()[0].to_string()]);
    let neighbour = neighbour.start().await.expect("it starts");
    soon(neighbour.ready(1)).await.unwrap();
    let id = neighbour.id();
    while of.peer(id).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    neighbour
}

/// Waits for the end of a peer's session; why it ended.
pub(crate) async fn departure(events: &mut peerstage::Subscription, of: NodeId) -> &'static str {
    let gone = events.find(|what| match what {
        What::PeerDisconnected { peer, closure, .. } if *peer == of => Some(closure.reason.name()),
        _ => None,
    });
    soon(gone).await.expect("the node runs")
}

/// Waits until a peer is let in.
pub(crate) async fn arrival(events: &mut peerstage::Subscription, of: NodeId) {
    let came = events
        .find(|what| matches!(what, What::PeerConnected { peer, .. } if *peer == of).then_some(()));
    soon(came).await.expect("the node runs");
}
