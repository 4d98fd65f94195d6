//! The way to a peer: queues that the relay fills and the peer's actor empties.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Waker},
};

use bytes::BytesMut;
use peerstage_core::{
    lanes::{Lanes, Pushed},
    messages::Outgoing,
    time::Time,
};

/// No round trip was measured.
const UNKNOWN: u64 = u64::MAX;

/// Counts of one connection, read by whoever asks.
#[derive(Debug)]
pub struct PeerCounters {
    /// Bytes received, encryption included.
    pub bytes_in: AtomicU64,
    /// Bytes sent, encryption included.
    pub bytes_out: AtomicU64,
    round_trip_ms: AtomicU64,
}

impl Default for PeerCounters {
    fn default() -> Self {
        PeerCounters {
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            round_trip_ms: AtomicU64::new(UNKNOWN),
        }
    }
}

impl PeerCounters {
    /// Notes a measured round trip, ms.
    pub fn set_round_trip(&self, ms: u64) {
        self.round_trip_ms.store(ms, Ordering::Relaxed);
    }

    /// The last measured round trip, ms.
    #[must_use]
    pub fn round_trip(&self) -> Option<u64> {
        Some(self.round_trip_ms.load(Ordering::Relaxed)).filter(|ms| *ms != UNKNOWN)
    }
}

#[derive(Debug)]
struct Shared {
    lanes: Mutex<Lanes>,
    waker: Mutex<Option<Waker>>,
    overflowed: AtomicBool,
    counters: PeerCounters,
}

/// A cheap handle on the queues to one peer. Pushing never blocks and tells at once what became
/// of the message; the queues are bounded in bytes ([`Lanes`]).
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Shared>);

impl Outbox {
    /// Empty queues of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(now: Time, bytes_max: usize) -> Self {
        Outbox(Arc::new(Shared {
            lanes: Mutex::new(Lanes::new(now, bytes_max)),
            waker: Mutex::default(),
            overflowed: AtomicBool::new(false),
            counters: PeerCounters::default(),
        }))
    }

    /// Queues a message and wakes the peer's writer.
    pub fn push(&self, message: Outgoing) -> Pushed {
        let kind = message.kind.name();
        let pushed = self.with_lanes(|lanes| lanes.push(message));
        match pushed {
            Pushed::Queued | Pushed::QueuedDropping(_) => {}
            Pushed::Dropped => {
                metrics::counter!("peerstage_outbox_dropped_total", "kind" => kind).increment(1);
            }
            Pushed::Overflowed => self.0.overflowed.store(true, Ordering::Release),
        }
        self.wake();
        pushed
    }

    /// Moves frames into `record`, up to `limit` bytes.
    pub fn fill(&self, now: Time, record: &mut BytesMut, limit: usize) {
        self.with_lanes(|lanes| lanes.fill(now, record, limit));
    }

    /// When something may be sent, as [`Lanes::ready_at`].
    #[must_use]
    pub fn ready_at(&self, now: Time) -> Option<Time> {
        self.with_lanes(|lanes| lanes.ready_at(now))
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.with_lanes(|lanes| lanes.bytes())
    }

    /// Whether a message that must not be lost found the queue full: the peer doesn't read.
    #[must_use]
    pub fn is_overflowed(&self) -> bool {
        self.0.overflowed.load(Ordering::Acquire)
    }

    /// The connection's counters.
    #[must_use]
    pub fn counters(&self) -> &PeerCounters {
        &self.0.counters
    }

    /// Wakes this task at the next push.
    pub fn register(&self, cx: &Context<'_>) {
        *self.0.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
    }

    /// Makes the writer look again.
    pub fn wake(&self) {
        let waker = self.0.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn with_lanes<R>(&self, work: impl FnOnce(&mut Lanes) -> R) -> R {
        work(&mut self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
