//! The MonitoringBridge actor: events to subscribers, counters to metrics, lines to the log.

use actix::{Context, Handler, Message};
use peerstage_core::reason::{CloseReason, Closure};
use tokio::sync::broadcast;

use crate::{
    events::{Event, What},
    shell::{Lifeline, core_actor, fault_point},
};

/// Events a slow subscriber may fall behind before it misses some; it is told how many.
const SUBSCRIBER_BACKLOG: usize = 4_096;
/// Events that may wait for this actor; more are counted and dropped, so that a flood of events
/// never holds up the network.
const MAILBOX: usize = 4_096;

/// Events as they happen. Falls behind rather than holding the node up: [`Subscription::next`]
/// then reports how many were missed.
pub struct Subscription(broadcast::Receiver<Event>);

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// An event.
    Event(Event),
    /// So many events were missed, because the subscriber was too slow.
    Missed(u64),
}

impl Subscription {
    /// The next event; `None` when the network has stopped.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.0.recv().await {
            Ok(event) => Some(Notice::Event(event)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Notice::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// Waits for the first event that `wanted` finds something in; `None` when the network has
    /// stopped.
    pub async fn find<R>(&mut self, mut wanted: impl FnMut(&What) -> Option<R>) -> Option<R> {
        loop {
            match self.next().await? {
                Notice::Event(event) => {
                    if let Some(found) = wanted(&event.what) {
                        return Some(found);
                    }
                }
                Notice::Missed(_) => {}
            }
        }
    }
}

/// The hub of events.
pub struct MonitoringBridge {
    subscribers: broadcast::Sender<Event>,
    lifeline: Lifeline,
}

/// Opens subscriptions.
#[derive(Clone, Debug)]
pub struct Subscribe(broadcast::Sender<Event>);

impl MonitoringBridge {
    fn begin(&mut self, _: &mut Context<Self>) {}

    /// A hub, and the way to subscribe to it.
    #[must_use]
    pub fn new(lifeline: Lifeline) -> (Self, Subscribe) {
        let (subscribers, _) = broadcast::channel(SUBSCRIBER_BACKLOG);
        (MonitoringBridge { subscribers: subscribers.clone(), lifeline }, Subscribe(subscribers))
    }
}

impl Subscribe {
    /// Whether anybody is subscribed: what happens with every message is told only then.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// A subscription to everything that happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription(self.0.subscribe())
    }
}

impl Message for Event {
    type Result = ();
}

core_actor!(MonitoringBridge, mailbox = MAILBOX);

impl Handler<Event> for MonitoringBridge {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Context<Self>) {
        fault_point("MonitoringBridge::Event");
        metrics::counter!("peerstage_events_total", "event" => event.what.name()).increment(1);
        count_end(&event.what);
        log(&event.what);
        // Nobody subscribed is no error.
        let _ = self.subscribers.send(event);
    }
}

/// Counts how connections of peers end.
fn count_end(what: &What) {
    let (reason, by) = match what {
        What::PeerDisconnected { closure, .. } => (closure.reason, ended_by(closure)),
        What::ConnectionReplaced { .. } => (CloseReason::Duplicate, "us"),
        What::ConnectionRefused { reason, .. } => {
            let refused = "peerstage_connections_refused_total";
            return metrics::counter!(refused, "reason" => reason.name()).increment(1);
        }
        _ => return,
    };
    metrics::counter!("peerstage_disconnects_total", "reason" => reason.name(), "by" => by)
        .increment(1);
}

/// Who ended a connection, for people and metrics.
fn ended_by(closure: &Closure) -> &'static str {
    match closure.reason {
        _ if closure.by_remote => "remote",
        CloseReason::ConnectionLost => "network",
        _ => "us",
    }
}

/// One line for what an operator wants to see; what happens thousands of times is for metrics.
fn log(what: &What) {
    match what {
        What::PeerConnected { peer, address, outbound, validator, agent } => {
            let validator = validator.is_some();
            let direction = if *outbound { "out" } else { "in" };
            tracing::info!(peer = %peer.short(), %address, direction, validator, agent, "peer connected");
        }
        What::PeerDisconnected { peer, address, closure, score, connected_ms } => {
            let reason = closure.reason.name();
            let by = ended_by(closure);
            tracing::info!(peer = %peer.short(), %address, reason, by, score, connected_ms, "peer disconnected");
        }
        What::ConnectionReplaced { peer, address, score, connected_ms } => {
            let (reason, by) = (CloseReason::Duplicate.name(), "us");
            tracing::info!(peer = %peer.short(), %address, reason, by, score, connected_ms, "connection replaced by a newer one");
        }
        What::ConnectionRefused { peer, address, reason } => {
            let reason = reason.name();
            tracing::info!(peer = %peer.short(), %address, reason, "connection refused");
        }
        What::DialFailed { address, reason } if is_telling(reason) => {
            tracing::info!(%address, reason, "dial failed");
        }
        What::DialFailed { address, reason } => {
            tracing::debug!(%address, reason, "dial failed");
        }
        What::AcceptFailed { address, reason } if is_telling(reason) => {
            tracing::info!(%address, reason, "inbound connection failed");
        }
        What::AcceptFailed { address, reason } => {
            tracing::debug!(%address, reason, "inbound connection failed");
        }
        What::PeerBanned { peer, until, reason } => {
            let until = until.utc();
            tracing::warn!(peer = %peer.short(), until, reason, "peer banned");
        }
        What::AddressesTold { addresses } => {
            tracing::info!(?addresses, "strangers are told to try these addresses");
        }
        What::PeerUnbanned { peer } => tracing::info!(peer = %peer.short(), "ban ended"),
        What::Alarm { name, text } => tracing::error!(name, text, "alarm"),
        What::ScoreChanged { .. } | What::Received { .. } => {}
    }
}

/// Whether a connection became no peer for what an operator should see, on either side: a mistake,
/// or that the peer has another connection already.
fn is_telling(reason: &str) -> bool {
    matches!(
        reason.trim_start_matches("remote: "),
        "wrong_network" | "unsupported_version" | "self_connection" | "duplicate"
    )
}
