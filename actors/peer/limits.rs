//! The bytes a second of all peers together, and of one.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use peerstage_core::{
    frame::RECORD_MAX,
    manager::SessionId,
    rate::ByteRate,
    shares::Shares,
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
        let ([upload, upload_per_peer], [download, download_per_peer]) = (upload, download);
        let shares = (download > 0).then(|| Shares::new(now, download, download_per_peer));
        let shared = |rate, shares| Arc::new(Mutex::new(Shared::new(now, rate, shares)));
        let (upload, download) = (shared(upload, None), shared(download, shares));
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

    /// The share of one connection in what is received from all; `None` without such a limit.
    pub(super) fn share(&self, session: SessionId) -> Option<Share> {
        lock(&self.download).shares.as_mut()?.on_begun(session);
        Some(Share { all: Arc::clone(&self.download), session })
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
    /// Who may send how much of it, where others send.
    shares: Option<Shares>,
}

#[derive(Debug)]
struct Turn {
    session: SessionId,
    due: Time,
    /// Whom to wake when it is its turn sooner.
    waker: Option<Waker>,
}

impl Shared {
    fn new(now: Time, per_second: u64, shares: Option<Shares>) -> Self {
        Shared { rate: ByteRate::new(now, per_second), turns: VecDeque::new(), shares }
    }

    /// How long a connection has to wait, ms; 0 if it is its turn. Asking puts it in the queue.
    fn wait(&mut self, now: Time, session: SessionId, waker: Option<&Waker>) -> Millis {
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
        let turn = Turn { session, due: now.plus(wait), waker: waker.cloned() };
        match self.turns.get_mut(ahead) {
            Some(known) => *known = turn,
            None => self.turns.push_back(turn),
        }
        wait
    }

    /// Somebody had its turn, and may have needed less than was expected of it.
    fn pass_on(&self) {
        let next = self.turns.front().and_then(|turn| turn.waker.as_ref());
        next.into_iter().for_each(Waker::wake_by_ref);
    }

    /// A connection is gone.
    fn forget(&mut self, session: SessionId) {
        self.turns.retain(|turn| turn.session != session);
        self.pass_on();
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
        now.plus(lock(&self.shared).wait(now, self.session, None))
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
            let now = self.clock.now();
            let wait = match self.own.wait(now) {
                0 => lock(&self.all).wait(now, self.session, Some(cx.waker())),
                wait => wait,
            };
            if wait == 0 {
                return Poll::Ready(());
            }
            let until = self.clock.instant(now.plus(wait));
            let sleep = || Box::pin(tokio::time::sleep_until(until));
            let pause = self.pause.get_or_insert_with(sleep);
            pause.as_mut().reset(until);
            ready!(pause.as_mut().poll(cx));
        }
    }

    /// The most that may be read at once, bytes.
    pub(super) fn at_once(&self) -> usize {
        self.own.at_once().min(lock(&self.all).rate.at_once())
    }

    /// So many bytes were read, of at most so many.
    pub(super) fn read(&mut self, bytes: usize, at_most: usize) {
        let now = self.clock.now();
        self.own.spend(now, bytes);
        let mut all = lock(&self.all);
        all.rate.spend(now, bytes);
        if let Some(shares) = &mut all.shares {
            shares.on_read(now, self.session, bytes);
            if bytes < at_most {
                shares.on_dry(self.session);
            }
        }
        all.pass_on();
    }

    /// It was its turn, and there was nothing to read.
    pub(super) fn found_nothing(&self) {
        let mut all = lock(&self.all);
        if let Some(shares) = &mut all.shares {
            shares.on_dry(self.session);
        }
        all.pass_on();
    }
}

impl Drop for ReadLimit {
    fn drop(&mut self) {
        lock(&self.all).forget(self.session);
    }
}

/// What one peer is told to send of what is received from all.
pub(super) struct Share {
    all: Arc<Mutex<Shared>>,
    session: SessionId,
}

impl Share {
    /// When [`Share::told`] may have news.
    pub(super) fn deadline(&self) -> Option<Time> {
        lock(&self.all).shares.as_ref()?.deadline(self.session)
    }

    /// What the peer is to be told now, bytes a second, if that is news.
    pub(super) fn told(&self, now: Time) -> Option<u64> {
        lock(&self.all).shares.as_mut()?.told(now, self.session)
    }

    /// It could not be told that.
    pub(super) fn note_unheard(&self) {
        if let Some(shares) = &mut lock(&self.all).shares {
            shares.on_unheard(self.session);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(shares) = &mut lock(&self.all).shares {
            shares.on_ended(self.session);
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
