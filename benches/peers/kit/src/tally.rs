//! Counts the deliveries of a broadcast: every message exactly once at every other node.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::sync::{Notify, Semaphore};

use crate::child::Control;

/// How long nothing may arrive before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// The deliveries of all nodes. Cheap to clone.
#[derive(Clone)]
pub struct Tally(Arc<Inner>);

struct Inner {
    seen: Vec<Mutex<HashSet<u64>>>,
    reached: Vec<AtomicU64>,
    delivered: AtomicU64,
    duplicates: AtomicU64,
    others: u64,
    size: usize,
    window: Semaphore,
    finished: Notify,
}

impl Tally {
    /// For `count` messages of `size` bytes to each of `others` nodes beside the sender, out of
    /// `nodes`; at most `window` that have not reached everybody.
    #[must_use]
    pub fn new(nodes: usize, others: usize, count: u64, size: usize, window: u64) -> Self {
        Tally(Arc::new(Inner {
            seen: (0..nodes).map(|_| Mutex::default()).collect(),
            reached: (0..count).map(|_| AtomicU64::new(0)).collect(),
            delivered: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            others: others as u64,
            size,
            window: Semaphore::new(window as usize),
            finished: Notify::new(),
        }))
    }

    /// Waits until one more message may be sent.
    ///
    /// # Errors
    /// Nothing arrived for a long time: the reason says what is missing.
    pub async fn enter(&self) -> Result<()> {
        loop {
            let before = self.delivered();
            match tokio::time::timeout(PATIENCE, self.0.window.acquire()).await {
                Ok(permit) => {
                    permit?.forget();
                    return Ok(());
                }
                Err(_) if self.delivered() == before => bail!("{}", self.missing()),
                Err(_) => {}
            }
        }
    }

    /// A handler of `node` has this message. Whether it is new there.
    pub fn deliver(&self, node: usize, message: &[u8]) -> bool {
        assert_eq!(message.len(), self.0.size, "a message of the wrong length");
        let number = crate::number_of(message);
        let mut seen = self.0.seen[node].lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.insert(number) {
            self.0.duplicates.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        drop(seen);
        let reached = self.0.reached[number as usize].fetch_add(1, Ordering::Relaxed) + 1;
        if reached == self.0.others {
            self.0.window.add_permits(1);
        }
        if self.0.delivered.fetch_add(1, Ordering::Relaxed) + 1 == self.expected() {
            self.0.finished.notify_one();
        }
        true
    }

    /// The receivers' side of a fan-out: lets the sender send the next message when the last one
    /// has reached everybody. The window must be 1.
    ///
    /// # Errors
    /// As [`Tally::finish`].
    pub async fn pace(&self, control: &Control) -> Result<()> {
        for _ in &self.0.reached {
            self.enter().await?;
            control.pass();
        }
        self.finish(control).await
    }

    /// Waits for the last delivery and tells the runner.
    ///
    /// # Errors
    /// Something was lost, or arrived twice.
    pub async fn finish(&self, control: &Control) -> Result<()> {
        loop {
            let before = self.delivered();
            let done = tokio::time::timeout(PATIENCE, self.0.finished.notified()).await.is_ok();
            if done || self.delivered() == self.expected() {
                break;
            }
            if self.delivered() == before {
                bail!("{}", self.missing());
            }
        }
        let duplicates = self.0.duplicates.load(Ordering::Relaxed);
        if duplicates > 0 {
            bail!("{duplicates} messages reached a handler twice");
        }
        control.complete();
        Ok(())
    }

    fn delivered(&self) -> u64 {
        self.0.delivered.load(Ordering::Relaxed)
    }

    fn expected(&self) -> u64 {
        self.0.reached.len() as u64 * self.0.others
    }

    fn missing(&self) -> String {
        format!(
            "{} of {} deliveries were missing when nothing had arrived for {} s",
            self.expected() - self.delivered(),
            self.expected(),
            PATIENCE.as_secs()
        )
    }
}
