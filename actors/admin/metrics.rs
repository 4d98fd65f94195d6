//! Numbers for Prometheus. No label ever holds what a peer chose: no id, address or agent
//! (attack row 45).

use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use crate::status::Status;

/// Bounds of the histograms of durations, seconds: from a millisecond to a minute.
const SECONDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0, 60.0];

/// What this process counts.
#[derive(Clone)]
pub struct Numbers {
    handle: PrometheusHandle,
    process: Arc<Collector>,
}

static INSTALLED: OnceLock<Option<Numbers>> = OnceLock::new();

impl Numbers {
    /// Counts from now on, once a process. `None` where the program that embeds the network has
    /// a recorder of its own.
    #[must_use]
    pub fn install() -> Option<Self> {
        INSTALLED.get_or_init(|| Numbers::new().ok().flatten()).clone()
    }

    fn new() -> Result<Option<Self>, BuildError> {
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS)?;
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if ::metrics::set_global_recorder(recorder).is_err() {
            return Ok(None);
        }
        let process = Collector::default();
        process.describe();
        describe();
        Ok(Some(Numbers { handle, process: Arc::new(process) }))
    }

    /// Everything in Prometheus' text format, brought up to date from `status`.
    #[must_use]
    pub fn render(&self, status: Option<&Status>) -> String {
        if let Some(status) = status {
            record(status);
        }
        self.process.collect();
        self.handle.run_upkeep();
        self.handle.render()
    }
}

fn describe() {
    ::metrics::describe_gauge!("peerstage_peers", "Connected peers by direction");
    ::metrics::describe_gauge!("peerstage_connections", "Peers by direction and transport");
    ::metrics::describe_gauge!("peerstage_validators", "Connected validators");
    ::metrics::describe_gauge!("peerstage_bans", "Bans in force");
    ::metrics::describe_gauge!("peerstage_known_addresses", "Addresses and records known");
    ::metrics::describe_gauge!("peerstage_book_addresses", "Addresses by table of the book");
    ::metrics::describe_gauge!("peerstage_anchors", "Peers that a restart begins with");
    ::metrics::describe_gauge!("peerstage_blocks_only_peers", "Peers dialled for blocks only");
    ::metrics::describe_counter!("peerstage_feelers_total", "Addresses tried, by fate");
    ::metrics::describe_gauge!("peerstage_ready", "1 if the node has its peers and no trouble");
    ::metrics::describe_gauge!("peerstage_uptime_seconds", "Time since the start");
    ::metrics::describe_counter!(
        "peerstage_bytes_total",
        "Bytes on the wire by direction and transport"
    );
    ::metrics::describe_gauge!("peerstage_circuits", "Circuits, by whether they end here");
    ::metrics::describe_counter!("peerstage_circuits_total", "Circuits begun, by role");
    ::metrics::describe_counter!("peerstage_circuits_ended_total", "By role and reason");
    ::metrics::describe_counter!("peerstage_circuits_refused_total", "By reason");
    ::metrics::describe_counter!("peerstage_circuit_bytes_total", "Bytes carried for others");
    ::metrics::describe_counter!(
        "peerstage_circuit_messages_ignored_total",
        "Messages that meant nothing, mostly of circuits that had just ended; by reason"
    );
    ::metrics::describe_counter!(
        "peerstage_relayed_bytes_total",
        "Bytes of connections that relays carry, which bytes_total has at the relays' connections"
    );
    ::metrics::describe_counter!("peerstage_upgrades_total", "Relayed peers that became direct");
    ::metrics::describe_counter!(
        "peerstage_upgrade_unsent_bytes_total",
        "Bytes that a replaced connection did not send in time"
    );
    ::metrics::describe_counter!("peerstage_kind_messages_total", "Messages by kind and fate");
    ::metrics::describe_counter!("peerstage_drops_total", "Messages dropped by reason");
}

/// The numbers that the actors keep themselves.
fn record(status: &Status) {
    let count = |value: usize| value as f64;
    ::metrics::gauge!("peerstage_peers", "direction" => "in").set(count(status.inbound));
    ::metrics::gauge!("peerstage_peers", "direction" => "out").set(count(status.outbound));
    ::metrics::gauge!("peerstage_validators").set(count(status.validators));
    ::metrics::gauge!("peerstage_bans").set(count(status.banned));
    ::metrics::gauge!("peerstage_known_addresses").set(count(status.known_addresses));
    let book = &status.book;
    ::metrics::gauge!("peerstage_book_addresses", "table" => "new").set(count(book.new));
    ::metrics::gauge!("peerstage_book_addresses", "table" => "tried").set(count(book.tried));
    ::metrics::gauge!("peerstage_anchors").set(count(book.anchors));
    ::metrics::gauge!("peerstage_blocks_only_peers").set(count(book.blocks_only));
    for (fate, value) in [("dialled", book.feelers), ("answered", book.feelers_answered)] {
        ::metrics::counter!("peerstage_feelers_total", "fate" => fate).absolute(value);
    }
    ::metrics::gauge!("peerstage_ready").set(if status.ready { 1.0 } else { 0.0 });
    ::metrics::gauge!("peerstage_uptime_seconds").set(status.uptime_ms as f64 / 1_000.0);
    for (kind, counts) in &status.kinds {
        let fates = [
            ("received", counts.received),
            ("duplicate", counts.duplicates),
            ("accepted", counts.accepted),
            ("rejected", counts.rejected),
            ("sent", counts.sent),
        ];
        for (fate, value) in fates {
            let labels = [("kind", kind.clone()), ("fate", fate.to_owned())];
            ::metrics::counter!("peerstage_kind_messages_total", &labels).absolute(value);
        }
    }
    for (reason, value) in &status.drops {
        let labels = [("reason", reason.clone())];
        ::metrics::counter!("peerstage_drops_total", &labels).absolute(*value);
    }
}
