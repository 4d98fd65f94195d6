//! Writing behind: actors hand writes over and go on, one worker thread waits for the disk.
//!
//! In simulation the same writer works inline, without a thread: every call writes at once, and
//! what failed is tried again by [`StoreWriter::retry`].
//!
//! An outage (a full disk, a read-only file system) never ends the worker: it keeps its batch,
//! raises the alarm and tries again, at most [`RETRY_MS_MAX`] apart, while the queue stays
//! bounded. Damage ends it: every request is answered with the error.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use bytes::Bytes;

use super::{
    StoreBackend, StoreError, StoreStats, Table, WriteBatch,
    queue::{Queue, Request},
    worker::Worker,
};
pub use super::{
    queue::{QueueCounters, QueueLimits, ScanDone, WriteDone},
    worker::{FLUSH_AFTER_BYTES, RETRY_MS_MAX, RETRY_MS_MIN},
};

/// How the store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreHealth {
    /// The last write succeeded.
    #[default]
    Healthy,
    /// Writes fail and are tried again, scans wait behind them; the network goes on.
    Degraded {
        /// Why the last attempt failed.
        error: StoreError,
        /// How many attempts have failed in a row.
        attempts: u32,
    },
    /// The store has ended: every request gets this error.
    Failed(StoreError),
}

/// Called when the health changes, from the worker thread: it must not block.
pub type HealthChanged = Box<dyn Fn(&StoreHealth) + Send>;

/// The queue is full; try again later. Gives back what it was not able to take.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store's queue is full")]
pub struct Busy<T>(pub T);

/// A handle to write behind. Dropping it without [`StoreWriter::shutdown`] ends the worker
/// after what is queued.
pub struct StoreWriter {
    shared: Arc<Shared>,
    mode: Mode,
}

enum Mode {
    Inline(Mutex<Worker>),
    Threaded(Option<JoinHandle<()>>),
}

pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) changed: Condvar,
}

pub(super) struct State {
    pub(super) queue: Queue,
    pub(super) health: StoreHealth,
    pub(super) stats: StoreStats,
    /// Nothing new is coming: finish, one attempt each.
    pub(super) ending: bool,
    /// Somebody knows that the outage is over: don't wait for the end of the pause.
    pub(super) retry_now: bool,
    /// What closing the database said.
    pub(super) closed: Option<Result<(), StoreError>>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreWriter {
    /// A writer with a thread of its own.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn spawn(
        backend: Box<dyn StoreBackend>,
        limits: QueueLimits,
        health_changed: HealthChanged,
    ) -> Result<Self, io::Error> {
        let shared = Shared::new(limits);
        let mut worker = Worker::new(backend, Arc::clone(&shared), health_changed);
        let thread = thread::Builder::new().name("peerstage-store".into()).spawn(move || {
            worker.run_to_the_end();
        })?;
        Ok(StoreWriter { shared, mode: Mode::Threaded(Some(thread)) })
    }

    /// A writer without a thread: every call works the queue off before it returns.
    #[must_use]
    pub fn inline(
        backend: Box<dyn StoreBackend>,
        limits: QueueLimits,
        health_changed: HealthChanged,
    ) -> Self {
        let shared = Shared::new(limits);
        let worker = Worker::new(backend, Arc::clone(&shared), health_changed);
        StoreWriter { shared, mode: Mode::Inline(Mutex::new(worker)) }
    }

    /// Queues buffered writes and tells how many older ones were dropped to make room. A batch
    /// may be written in parts, and parts of it may be replaced by later writes. A thread is not
    /// woken for them alone: they are written with what is flushed, synced or read next, or when
    /// the queue is half full.
    pub fn write(&self, batch: &WriteBatch) -> u64 {
        let mut state = self.shared.lock();
        let dropped = state.queue.push_buffered(batch);
        let waits = matches!(self.mode, Mode::Threaded(_)) && !state.queue.is_half_full();
        drop(state);
        if !waits {
            self.wake();
        }
        dropped
    }

    /// Queues a batch to be synced; `done` is called when it is safe on disk, or with the
    /// reason why it never will be.
    ///
    /// # Errors
    /// [`Busy`] with the batch and `done`, not called.
    pub fn write_synced(
        &self,
        batch: WriteBatch,
        done: WriteDone,
    ) -> Result<(), Busy<(WriteBatch, WriteDone)>> {
        match self.push(Request::Write(batch, done)) {
            Err(Request::Write(batch, done)) => Err(Busy((batch, done))),
            _ => Ok(()),
        }
    }

    /// Makes everything queued before durable, then calls `done`.
    ///
    /// # Errors
    /// [`Busy`] with `done`, not called.
    pub fn flush(&self, done: WriteDone) -> Result<(), Busy<WriteDone>> {
        match self.push(Request::Flush(done)) {
            Err(Request::Flush(done)) => Err(Busy(done)),
            _ => Ok(()),
        }
    }

    /// Reads a page of `table` (see [`StoreBackend::scan`]) after everything queued before is
    /// written.
    ///
    /// # Errors
    /// [`Busy`] with `done`, not called.
    pub fn scan(
        &self,
        table: Table,
        after: Option<Bytes>,
        limit: usize,
        done: ScanDone,
    ) -> Result<(), Busy<ScanDone>> {
        match self.push(Request::Scan { table, after, limit, done }) {
            Err(Request::Scan { done, .. }) => Err(Busy(done)),
            _ => Ok(()),
        }
    }

    /// Tries again now what failed, for a caller that knows the outage to be over.
    pub fn retry(&self) {
        self.shared.lock().retry_now = true;
        self.wake();
    }

    /// How the store is.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.shared.lock().health.clone()
    }

    /// What happened to writes so far.
    #[must_use]
    pub fn counters(&self) -> QueueCounters {
        self.shared.lock().queue.counters
    }

    /// What the backend said of itself after its last write.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.shared.lock().stats.clone()
    }

    /// Writes what is queued, flushes, closes the database and waits for all of it.
    ///
    /// # Errors
    /// What could not be written: the answers of the requests say the same.
    pub fn shutdown(mut self) -> Result<(), StoreError> {
        self.end();
        let closed = self.shared.lock().closed.take();
        closed.unwrap_or(Err(StoreError::Closed))
    }

    fn push(&self, request: Request) -> Result<(), Request> {
        let pushed = self.shared.lock().queue.push(request);
        self.wake();
        pushed
    }

    fn wake(&self) {
        match &self.mode {
            Mode::Inline(worker) => {
                // A callback that writes again finds the lock held; its work is done by the
                // loop that called it.
                if let Ok(mut worker) = worker.try_lock() {
                    while worker.step() {}
                }
            }
            Mode::Threaded(_) => self.shared.changed.notify_all(),
        }
    }

    fn end(&mut self) {
        self.shared.lock().ending = true;
        match &mut self.mode {
            Mode::Inline(worker) => {
                let worker = worker.get_mut().unwrap_or_else(PoisonError::into_inner);
                worker.run_to_the_end();
            }
            Mode::Threaded(thread) => {
                self.shared.changed.notify_all();
                if let Some(thread) = thread.take() {
                    // A panic of the worker is caught inside and reported as its health.
                    let _ = thread.join();
                }
            }
        }
    }
}

impl Drop for StoreWriter {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn new(limits: QueueLimits) -> Arc<Self> {
        let state = State {
            queue: Queue::new(limits),
            health: StoreHealth::Healthy,
            stats: StoreStats::default(),
            ending: false,
            retry_now: false,
            closed: None,
        };
        Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() })
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
