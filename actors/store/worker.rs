//! The worker behind a [`StoreWriter`](super::writer::StoreWriter): it waits for the disk so
//! that nobody else has to.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::{
    Durability, StoreBackend, StoreError,
    queue::Work,
    writer::{HealthChanged, Shared, State, StoreHealth},
};

/// The pause before the first new attempt, milliseconds; doubled each time.
pub const RETRY_MS_MIN: u64 = 100;
/// The longest pause between attempts, milliseconds: the store is back well within the 60 s
/// that operators are promised once there is space again.
pub const RETRY_MS_MAX: u64 = 5_000;
/// How many buffered bytes are written before the writer flushes by itself: what a killed
/// process loses at most beside its queue.
pub const FLUSH_AFTER_BYTES: usize = 4 * 1024 * 1024;

/// The side that waits for the disk.
pub(super) struct Worker {
    backend: Option<Box<dyn StoreBackend>>,
    shared: Arc<Shared>,
    health_changed: HealthChanged,
    /// What failed and is tried again before anything else.
    in_hand: Option<Work>,
    attempts: u32,
    unflushed_bytes: usize,
}

impl Worker {
    pub(super) fn new(
        backend: Box<dyn StoreBackend>,
        shared: Arc<Shared>,
        health_changed: HealthChanged,
    ) -> Self {
        let backend = Some(backend);
        Worker { backend, shared, health_changed, in_hand: None, attempts: 0, unflushed_bytes: 0 }
    }

    /// Works until the writer ends, then closes the database.
    pub(super) fn run_to_the_end(&mut self) {
        // A backend that panics must not leave the node believing that its bans are kept: from
        // then on every request is refused, and the backend is not asked again.
        while catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
            let backend = self.backend.take();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(backend)));
            self.fail(StoreError::Damaged("the store's worker panicked".into()));
        }
        self.close();
    }

    /// Works until the writer ends and the queue is empty.
    fn run(&mut self) {
        loop {
            if self.step() {
                continue;
            }
            let state = self.shared.lock();
            if state.ending && (state.queue.is_empty() || self.in_hand.is_some()) {
                return;
            }
            if self.in_hand.is_some() {
                let pause = RETRY_MS_MIN << self.attempts.saturating_sub(1).min(10);
                let pause = Duration::from_millis(pause.min(RETRY_MS_MAX));
                // New writes don't cut the pause short: they don't make a full disk empty.
                let paused = |state: &mut State| !state.ending && !state.retry_now;
                drop(self.shared.changed.wait_timeout_while(state, pause, paused));
                self.shared.lock().retry_now = false;
            } else if state.queue.is_empty() {
                let idle = |state: &mut State| state.queue.is_empty() && !state.ending;
                drop(self.shared.changed.wait_while(state, idle));
            }
        }
    }

    /// Does one piece of work. `false`: there is none, or it failed and waits in hand.
    pub(super) fn step(&mut self) -> bool {
        let work = self.in_hand.take().or_else(|| self.shared.lock().queue.pop());
        let Some(work) = work else { return false };
        let health = self.shared.lock().health.clone();
        if let StoreHealth::Failed(error) = health {
            refuse(work, &error);
            return true;
        }
        let Some(backend) = self.backend.as_mut() else {
            refuse(work, &StoreError::Closed);
            return true;
        };
        let result = match &work {
            Work::Synced(batch, _) => backend.write(batch, Durability::Synced),
            Work::Buffered(batch) => backend.write(batch, Durability::Buffered),
            Work::Flush(_) => backend.flush(),
            Work::Scan { .. } => Ok(()),
        };
        match result {
            Ok(()) => self.succeeded(work),
            Err(error) if error.is_transient() => self.again(work, error),
            Err(error) => {
                refuse(work, &error);
                self.fail(error);
                true
            }
        }
    }

    fn succeeded(&mut self, work: Work) -> bool {
        let Some(backend) = self.backend.as_mut() else { return false };
        let written = match &work {
            Work::Synced(batch, _) | Work::Buffered(batch) => batch.len() as u64,
            _ => 0,
        };
        match &work {
            Work::Buffered(batch) => self.unflushed_bytes += batch.bytes(),
            Work::Synced(..) | Work::Flush(_) => self.unflushed_bytes = 0,
            Work::Scan { .. } => {}
        }
        let recovered = !matches!(work, Work::Scan { .. }) && self.attempts > 0;
        let mut state = self.shared.lock();
        state.queue.counters.written += written;
        if written > 0 {
            state.stats = backend.stats();
        }
        drop(state);
        match work {
            Work::Synced(_, waiters) => waiters.into_iter().for_each(|done| done(Ok(()))),
            Work::Flush(done) => done(Ok(())),
            Work::Scan { table, after, limit, done } => {
                done(backend.scan(table, after.as_deref(), limit));
            }
            Work::Buffered(_) => {}
        }
        if recovered {
            self.attempts = 0;
            self.set_health(StoreHealth::Healthy);
        }
        if self.unflushed_bytes >= FLUSH_AFTER_BYTES {
            self.unflushed_bytes = 0;
            self.in_hand = Some(Work::Flush(Box::new(|_| {})));
        }
        true
    }

    fn again(&mut self, work: Work, error: StoreError) -> bool {
        self.attempts = self.attempts.saturating_add(1);
        self.shared.lock().queue.counters.retried += 1;
        self.set_health(StoreHealth::Degraded { error, attempts: self.attempts });
        self.in_hand = Some(work);
        false
    }

    fn fail(&mut self, error: StoreError) {
        self.set_health(StoreHealth::Failed(error));
        self.refuse_all();
    }

    /// Answers everything that waits, now that it never will be done.
    fn refuse_all(&mut self) {
        let error = match self.shared.lock().health.clone() {
            StoreHealth::Healthy => StoreError::Closed,
            StoreHealth::Degraded { error, .. } | StoreHealth::Failed(error) => error,
        };
        while let Some(work) = self.in_hand.take().or_else(|| self.shared.lock().queue.pop()) {
            refuse(work, &error);
        }
    }

    fn close(&mut self) {
        self.refuse_all();
        let health = self.shared.lock().health.clone();
        let closed = self.backend.take().map_or(Ok(()), StoreBackend::close);
        let closed = match health {
            StoreHealth::Healthy => closed,
            StoreHealth::Degraded { error, .. } | StoreHealth::Failed(error) => Err(error),
        };
        self.shared.lock().closed.get_or_insert(closed);
    }

    fn set_health(&self, health: StoreHealth) {
        let mut state = self.shared.lock();
        let kind = std::mem::discriminant(&health);
        let changed = std::mem::discriminant(&state.health) != kind;
        state.health = health.clone();
        drop(state);
        if changed {
            (self.health_changed)(&health);
        }
    }
}

fn refuse(work: Work, error: &StoreError) {
    match work {
        Work::Synced(_, waiters) => waiters.into_iter().for_each(|done| done(Err(error.clone()))),
        Work::Flush(done) => done(Err(error.clone())),
        Work::Scan { done, .. } => done(Err(error.clone())),
        Work::Buffered(_) => {}
    }
}
