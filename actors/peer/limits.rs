//! The bytes a second of all peers together, and of one.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use peerstage_core::{rate::ByteRate, time::Time};
use tokio::time::Sleep;

use crate::clock::Clock;

/// What all connections share and each keeps to. Clones share the rates of all peers.
#[derive(Clone, Debug)]
pub struct ByteLimits {
    upload: Arc<Mutex<ByteRate>>,
    download: Arc<Mutex<ByteRate>>,
    /// Bytes a second to one peer, and from one; 0 is no limit.
    upload_per_peer: u64,
    download_per_peer: u64,
}

impl ByteLimits {
    /// Limits in bytes a second, 0 for none: sent to all and to one, received from all and from
    /// one.
    #[must_use]
    pub fn new(now: Time, upload: [u64; 2], download: [u64; 2]) -> Self {
        let shared = |rate: u64| Arc::new(Mutex::new(ByteRate::new(now, rate)));
        let ([upload, upload_per_peer], [download, download_per_peer]) = (upload, download);
        let (upload, download) = (shared(upload), shared(download));
        ByteLimits { upload, download, upload_per_peer, download_per_peer }
    }

    /// What may be sent to one peer, bytes a second; 0 is no limit.
    pub(super) fn upload_per_peer(&self) -> u64 {
        self.upload_per_peer
    }

    /// Until when all peers together have had their share.
    pub(super) fn upload_held_until(&self, now: Time) -> Time {
        now.plus(lock(&self.upload).wait(now))
    }

    /// So many bytes go to some peer.
    pub(super) fn sent(&self, now: Time, bytes: usize) {
        lock(&self.upload).spend(now, bytes);
    }

    /// Whether receiving is limited at all.
    pub(crate) fn reads_slowly(&self) -> bool {
        self.download_per_peer > 0 || lock(&self.download).per_second() > 0
    }

    /// The limit of one reader; `None` if there is none.
    pub(super) fn reading(&self, clock: Clock) -> Option<ReadLimit> {
        let own = ByteRate::new(clock.now(), self.download_per_peer);
        let all = Arc::clone(&self.download);
        self.reads_slowly().then(|| ReadLimit { own, all, clock, pause: None })
    }
}

/// Reads so little at once that a pause is never long: a twentieth of a second's worth, within
/// these, bytes.
const READ_MIN: u64 = 4 * 1024;
const READS_PER_SECOND: u64 = 20;

/// How fast one connection is read.
pub(super) struct ReadLimit {
    own: ByteRate,
    all: Arc<Mutex<ByteRate>>,
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
            let wait = self.own.wait(now).max(lock(&self.all).wait(now));
            if wait == 0 {
                return Poll::Ready(());
            }
            let until = self.clock.instant(now.plus(wait));
            self.pause = Some(Box::pin(tokio::time::sleep_until(until)));
        }
    }

    /// The most that may be read at once, bytes.
    pub(super) fn at_once(&self) -> usize {
        let rates = [self.own.per_second(), lock(&self.all).per_second()];
        let slowest = rates.into_iter().filter(|rate| *rate > 0).min().unwrap_or(u64::MAX);
        usize::try_from((slowest / READS_PER_SECOND).max(READ_MIN)).unwrap_or(usize::MAX)
    }

    /// So many bytes were read.
    pub(super) fn read(&mut self, bytes: usize) {
        let now = self.clock.now();
        self.own.spend(now, bytes);
        lock(&self.all).spend(now, bytes);
    }
}

fn lock(rate: &Mutex<ByteRate>) -> MutexGuard<'_, ByteRate> {
    rate.lock().unwrap_or_else(PoisonError::into_inner)
}
