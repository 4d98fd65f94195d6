//! The bytes a second of all peers together, and of one.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use peerstage_core::{
    frame::RECORD_MAX,
    manager::SessionId,
    rate::ByteRate,
    time::{Millis, Time},
};
use tokio::time::Sleep;

use crate::clock::Clock;

/// What all connections share and each keeps to. Clones share the rates of all peers.
#[derive(Clone, Debug)]
pub struct ByteLimits {
    upload: Arc<Mutex<Shared>>,
    download: Arc<Mutex<Shared>>,
    /// Bytes a second to one peer, and from one; 0 is no limit.
    upload_per_peer: u64,
    download_per_peer: u64,
}

impl ByteLimits {
    /// Limits in bytes a second, 0 for none: sent to all and to one, received from all and from
    /// one.
    #[must_use]
    pub fn new(now: Time, upload: [u64; 2], download: [u64; 2]) -> Self {
        let shared = |rate: u64| Arc::new(Mutex::new(Shared::new(now, rate)));
        let ([upload, upload_per_peer], [download, download_per_peer]) = (upload, download);
        let (upload, download) = (shared(upload), shared(download));
        ByteLimits { upload, download, upload_per_peer, download_per_peer }
    }

    /// None at all: what a relay carries is limited by the connection with the relay.
    #[must_use]
    pub fn none(now: Time) -> Self {
        ByteLimits::new(now, [0; 2], [0; 2])
    }

    /// What may be sent to one peer, bytes a second; 0 is no limit.
    pub(super) fn upload_per_peer(&self) -> u64 {
        self.upload_per_peer
    }

    /// The share of one writer.
    pub(super) fn writing(&self, session: SessionId) -> WriteLimit {
        WriteLimit { shared: Arc::clone(&self.upload), session }
    }

    /// Whether receiving is limited at all.
    pub(crate) fn reads_slowly(&self) -> bool {
        self.download_per_peer > 0 || lock(&self.download).rate.per_second() > 0
    }

    /// The limit of one reader; `None` if there is none.
    pub(super) fn reading(&self, session: SessionId, clock: Clock) -> Option<ReadLimit> {
        let own = ByteRate::new(clock.now(), self.download_per_peer);
        let all = Arc::clone(&self.download);
        self.reads_slowly().then(|| ReadLimit { own, all, session, clock, pause: None })
    }
}

/// Whoever is late by this much has lost its turn, ms: it has nothing to send any more.
const LATE_MS: Millis = 20;

/// A rate of all connections together, and whose turn it is: first come, first served. Without
/// an order, whoever is woken first would take all there is.
#[derive(Debug)]
struct Shared {
    rate: ByteRate,
    turns: VecDeque<Turn>,
}

#[derive(Debug)]
struct Turn {
    session: SessionId,
    due: Time,
}

impl Shared {
    fn new(now: Time, per_second: u64) -> Self {
        Shared { rate: ByteRate::new(now, per_second), turns: VecDeque::new() }
    }

    /// How long a connection has to wait, ms; 0 if it is its turn. Asking puts it in the queue.
    fn wait(&mut self, now: Time, session: SessionId) -> Millis {
        if self.rate.per_second() == 0 {
            return 0;
        }
        while self.turns.front().is_some_and(|turn| now.since(turn.due) > LATE_MS) {
            self.turns.pop_front();
        }
        let place = self.turns.iter().position(|turn| turn.session == session);
        let ahead = place.unwrap_or(self.turns.len());
        let wait = self.rate.wait(now);
        if wait == 0 && ahead == 0 {
            self.turns.pop_front();
            return 0;
        }
        let others = ahead.saturating_mul(self.rate.at_once().min(RECORD_MAX));
        let wait = wait.saturating_add(self.rate.takes(others)).max(1);
        let due = now.plus(wait);
        match self.turns.get_mut(ahead) {
            Some(turn) => turn.due = due,
            None => self.turns.push_back(Turn { session, due }),
        }
        wait
    }

    /// A connection is gone.
    fn forget(&mut self, session: SessionId) {
        self.turns.retain(|turn| turn.session != session);
    }
}

/// How fast one connection is written.
pub(super) struct WriteLimit {
    shared: Arc<Mutex<Shared>>,
    session: SessionId,
}

impl WriteLimit {
    /// Until when this connection holds back what may be held back.
    pub(super) fn held_until(&self, now: Time) -> Time {
        now.plus(lock(&self.shared).wait(now, self.session))
    }

    /// The most that goes into one record, bytes.
    pub(super) fn at_once(&self) -> usize {
        lock(&self.shared).rate.at_once().min(RECORD_MAX)
    }

    /// So many bytes go out.
    pub(super) fn sent(&self, now: Time, bytes: usize) {
        lock(&self.shared).rate.spend(now, bytes);
    }
}

impl Drop for WriteLimit {
    fn drop(&mut self) {
        lock(&self.shared).forget(self.session);
    }
}

/// How fast one connection is read.
pub(super) struct ReadLimit {
    own: ByteRate,
    all: Arc<Mutex<Shared>>,
    session: SessionId,
    clock: Clock,
    pause: Option<Pin<Box<Sleep>>>,
}

impl ReadLimit {
    /// Ready when more may be read.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let now = self.clock.now();
            let wait = match self.own.wait(now) {
                0 => lock(&self.all).wait(now, self.session),
                wait => wait,
            };
            if wait == 0 {
                return Poll::Ready(());
            }
            let until = self.clock.instant(now.plus(wait));
            self.pause = Some(Box::pin(tokio::time::sleep_until(until)));
        }
    }

    /// The most that may be read at once, bytes.
    pub(super) fn at_once(&self) -> usize {
        self.own.at_once().min(lock(&self.all).rate.at_once())
    }

    /// So many bytes were read.
    pub(super) fn read(&mut self, bytes: usize) {
        let now = self.clock.now();
        self.own.spend(now, bytes);
        lock(&self.all).rate.spend(now, bytes);
    }
}

impl Drop for ReadLimit {
    fn drop(&mut self) {
        lock(&self.all).forget(self.session);
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
