//! The way to a peer: queues that the relay fills and the peer's writer empties.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Waker},
};

use bytes::BytesMut;
use peerstage_core::{
    kinds::Kind,
    lanes::{Lanes, Pushed},
    messages::{Outgoing, Pace},
    time::{Millis, Time, earliest},
};

use super::sending::{Senders, Sending};

/// Nothing was measured or noted.
const UNKNOWN: u64 = u64::MAX;

/// Counts of one connection, read by whoever asks.
#[derive(Debug)]
pub struct PeerCounters {
    /// Bytes received, encryption included.
    pub bytes_in: AtomicU64,
    /// Bytes sent, encryption included.
    pub bytes_out: AtomicU64,
    round_trip_ms: AtomicU64,
    /// When a block, and a transaction, came that nobody had brought before.
    novel_ms: [AtomicU64; 2],
}

impl Default for PeerCounters {
    fn default() -> Self {
        PeerCounters {
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            round_trip_ms: AtomicU64::new(UNKNOWN),
            novel_ms: [AtomicU64::new(UNKNOWN), AtomicU64::new(UNKNOWN)],
        }
    }
}

impl PeerCounters {
    /// Notes bytes that the socket took.
    pub fn note_written(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes bytes that came.
    pub fn note_read(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes a measured round trip, ms.
    pub fn set_round_trip(&self, ms: u64) {
        self.round_trip_ms.store(ms, Ordering::Relaxed);
    }

    /// Notes that a block or a transaction came that nobody had brought before.
    pub fn note_novel(&self, now: Time, kind: Kind) {
        let [block, transaction] = &self.novel_ms;
        match kind {
            Kind::Block => block.store(now.0, Ordering::Relaxed),
            Kind::Transaction => transaction.store(now.0, Ordering::Relaxed),
            _ => {}
        }
    }

    /// When the last such block, and transaction, came.
    #[must_use]
    pub fn novel(&self) -> [Option<Time>; 2] {
        let known = |at: &AtomicU64| Some(at.load(Ordering::Relaxed)).filter(|ms| *ms != UNKNOWN);
        self.novel_ms.each_ref().map(|at| known(at).map(Time))
    }

    /// The last measured round trip, ms.
    #[must_use]
    pub fn round_trip(&self) -> Option<u64> {
        Some(self.round_trip_ms.load(Ordering::Relaxed)).filter(|ms| *ms != UNKNOWN)
    }
}

#[derive(Debug)]
struct Shared {
    queues: Mutex<Queues>,
    overflowed: AtomicBool,
    /// Somebody waits for room whom the peer's actor has not seen yet.
    crowded: AtomicBool,
    counters: PeerCounters,
}

#[derive(Debug)]
pub(super) struct Queues {
    pub(super) lanes: Lanes,
    /// The writer, while it waits.
    writer: Option<Waker>,
    /// Whether the writer waits for its socket, so that a push is no news to it.
    stalled: bool,
    /// The actor was told that a queue is full.
    told_full: bool,
    /// Callers of the chain's own that wait for room.
    pub(super) senders: Senders,
    pub(super) closed: bool,
}

/// A cheap handle on the queues to one peer. Pushing never blocks and tells at once what became
/// of the message; the queues are bounded in bytes ([`Lanes`]).
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Shared>);

impl Outbox {
    /// Empty queues of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(now: Time, bytes_max: usize) -> Self {
        let lanes = Lanes::new(now, bytes_max);
        Outbox(Arc::new(Shared {
            queues: Mutex::new(Queues {
                lanes,
                writer: None,
                stalled: false,
                told_full: false,
                senders: Senders::default(),
                closed: false,
            }),
            overflowed: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            counters: PeerCounters::default(),
        }))
    }

    /// Queues a message and wakes the peer's writer.
    pub fn push(&self, message: Outgoing) -> Pushed {
        let (pushed, writer) = self.push_locked(message, true);
        wake(writer);
        pushed
    }

    /// Queues a message without waking the writer: for batches, which end with [`Outbox::wake`].
    /// An idle writer would be awake for each message of the batch otherwise. What the batch must
    /// not wait for, that the peer doesn't read, is told at once.
    pub fn push_quietly(&self, message: Outgoing) -> Pushed {
        let (pushed, writer) = self.push_locked(message, false);
        wake(writer);
        pushed
    }

    /// Queues a message of the chain's own; waits while its kind's queue has no room, but not for
    /// a peer that makes none: see [`super::Unsent`].
    #[must_use]
    pub fn send(&self, message: Outgoing) -> Sending {
        Sending::new(self.clone(), message)
    }

    fn push_locked(&self, message: Outgoing, rouse: bool) -> (Pushed, Option<Waker>) {
        let kind = message.kind.name();
        let mut queues = self.lock();
        // Nobody would send it.
        let pushed = if queues.closed { Pushed::Dropped } else { queues.lanes.push(message) };
        match pushed {
            Pushed::Overflowed => {
                self.0.overflowed.store(true, Ordering::Release);
                return (pushed, queues.writer.take());
            }
            Pushed::Dropped => {
                metrics::counter!("peerstage_outbox_dropped_total", "kind" => kind).increment(1);
            }
            Pushed::Queued | Pushed::QueuedDropping(_) => {}
        }
        let writer = match self.note_crowd(&mut queues) {
            None if rouse && pushed != Pushed::Dropped => queues.rouse(),
            writer => writer,
        };
        (pushed, writer)
    }

    /// The writer, to tell the actor of a queue that is full: its clock starts to run.
    pub(super) fn note_crowd(&self, queues: &mut Queues) -> Option<Waker> {
        queues.told_full &= queues.lanes.is_full();
        let news = queues.senders.is_news() || (queues.lanes.is_full() && !queues.told_full);
        if !news {
            return None;
        }
        queues.told_full = queues.lanes.is_full();
        self.0.crowded.store(true, Ordering::Release);
        queues.writer.take()
    }

    /// Whether somebody waits for room whom the actor has not looked at yet; true once.
    pub(super) fn is_crowded(&self) -> bool {
        let crowded = &self.0.crowded;
        crowded.load(Ordering::Acquire) && crowded.swap(false, Ordering::AcqRel)
    }

    /// Ends the wait of those for whose kind nothing has left within `timeout`. True if the peer
    /// has kept a queue full for so long ([`Lanes::is_slow`]).
    pub fn is_slow(&self, now: Time, timeout: Millis) -> bool {
        let mut queues = self.lock();
        let Queues { lanes, senders, .. } = &mut *queues;
        let slow = lanes.is_slow(now, timeout);
        let refused = senders.give_up(now, timeout, lanes);
        drop(queues);
        refused.into_iter().for_each(Waker::wake);
        slow
    }

    /// When [`Outbox::is_slow`] should be asked again.
    #[must_use]
    pub fn slow_at(&self, timeout: Millis) -> Option<Time> {
        let queues = self.lock();
        earliest(queues.lanes.slow_at(timeout), queues.senders.deadline(timeout))
    }

    /// The receiver said how fast it takes messages.
    pub fn set_pace(&self, now: Time, pace: Pace) {
        self.lock().lanes.set_pace(now, pace);
    }

    /// The receiver takes so many bytes a second from now on; 0 is no limit.
    pub fn set_taken(&self, now: Time, bytes_per_second: u64) {
        let mut queues = self.lock();
        queues.lanes.set_taken(now, bytes_per_second);
        // It may go sooner now.
        let writer = queues.rouse();
        drop(queues);
        wake(writer);
    }

    /// Sends at most so many bytes a second, lane 0 apart; 0 is no limit.
    pub fn set_upload_rate(&self, now: Time, bytes_per_second: u64) {
        self.lock().lanes.set_upload_rate(now, bytes_per_second);
    }

    /// Holds all but lane 0 back until the time that `until` tells, if it could go now.
    pub fn hold(&self, now: Time, until: impl FnOnce() -> Time) {
        let mut queues = self.lock();
        let until = if queues.lanes.wants_share(now) { until() } else { now };
        let longer = queues.lanes.hold(now, until);
        queues.senders.excuse(longer);
    }

    /// Leaves these lanes out, as [`Lanes::block`].
    pub fn block(&self, lanes: u8) {
        self.lock().lanes.block(lanes);
    }

    /// Moves frames to the end of `text`, at most `limit` bytes.
    pub fn fill(&self, now: Time, text: &mut BytesMut, limit: usize) {
        let mut queues = self.lock();
        queues.lanes.fill(now, text, limit);
        queues.told_full &= queues.lanes.is_full();
        if queues.senders.is_empty() {
            return;
        }
        let Queues { lanes, senders, .. } = &mut *queues;
        let woken = senders.with_room(lanes);
        drop(queues);
        woken.into_iter().for_each(Waker::wake);
    }

    /// When something may be sent, as [`Lanes::ready_at`].
    #[must_use]
    pub fn ready_at(&self, now: Time) -> Option<Time> {
        self.lock().lanes.ready_at(now)
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().lanes.bytes()
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

    /// The writer waits: wake this task at the next push.
    pub fn register(&self, cx: &Context<'_>) {
        let mut queues = self.lock();
        queues.stalled = false;
        match &mut queues.writer {
            Some(waker) => waker.clone_from(cx.waker()),
            None => queues.writer = Some(cx.waker().clone()),
        }
    }

    /// The writer waits for its socket: only an overflow is news to it.
    pub fn register_stalled(&self) {
        self.lock().stalled = true;
    }

    /// Makes the writer look again, unless it waits for its socket.
    pub fn wake(&self) {
        let writer = self.lock().rouse();
        wake(writer);
    }

    /// Makes the writer look again, whatever it waits for.
    pub fn wake_always(&self) {
        let writer = self.lock().writer.take();
        wake(writer);
    }

    /// The connection is gone: whoever waits for room need not.
    pub fn close(&self) {
        let mut queues = self.lock();
        queues.closed = true;
        let senders = queues.senders.take_all();
        drop(queues);
        senders.into_iter().for_each(Waker::wake);
    }

    /// As [`Outbox::close`], with a last word, if nothing else waits to be sent; whether it is
    /// closed now. Whoever waits for room then finds another way.
    pub(super) fn close_with(&self, last: Outgoing) -> bool {
        let mut queues = self.lock();
        if !queues.lanes.is_empty() {
            return false;
        }
        queues.lanes.push(last);
        queues.closed = true;
        let senders = queues.senders.take_all();
        drop(queues);
        senders.into_iter().for_each(Waker::wake);
        true
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing panics while the lock is held, so poisoned queues are still in order.
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    /// The waker of the writer, if it waits for messages.
    pub(super) fn rouse(&mut self) -> Option<Waker> {
        if self.stalled { None } else { self.writer.take() }
    }
}

pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
