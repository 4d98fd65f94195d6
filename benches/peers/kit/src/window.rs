//! The window of the pipelined cases: the same for every stack, whatever its own flow control.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::Result;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::child::Control;

/// The sender's side: how many messages may be on their way.
#[derive(Clone, Debug)]
pub struct Window {
    free: Arc<Semaphore>,
    acknowledged: Arc<AtomicU64>,
}

impl Window {
    /// An empty window of `size` messages.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Window { free: Arc::new(Semaphore::new(size as usize)), acknowledged: Arc::default() }
    }

    /// Waits until one more message may be sent.
    ///
    /// # Errors
    /// Never, as the window is not closed.
    pub async fn enter(&self) -> Result<()> {
        self.free.acquire().await?.forget();
        Ok(())
    }

    /// An acknowledgement arrived: so many messages have been handled since the beginning.
    pub fn acknowledged(&self, acknowledgement: &[u8]) {
        let handled = crate::number_of(acknowledgement);
        let before = self.acknowledged.fetch_max(handled, Ordering::Relaxed);
        self.free.add_permits(handled.saturating_sub(before) as usize);
    }

    /// One message came back.
    pub fn leave(&self) {
        self.free.add_permits(1);
    }
}

/// The receiver's side: counts what arrives, and says when an acknowledgement is due.
#[derive(Clone)]
pub struct Arrivals {
    handled: Arc<AtomicU64>,
    expected: u64,
    every: u64,
    size: usize,
    control: Control,
}

impl Arrivals {
    /// Expects `expected` messages of `size` bytes that are sent through a window of `window`.
    #[must_use]
    pub fn new(expected: u64, size: usize, window: u64, control: Control) -> Self {
        Arrivals { handled: Arc::default(), expected, every: (window / 2).max(1), size, control }
    }

    /// A message is in the handler's hands. Returns the acknowledgement that is due, if one is.
    pub fn arrived(&self, message: &[u8]) -> Option<Bytes> {
        assert_eq!(message.len(), self.size, "a message of the wrong length");
        let handled = self.handled.fetch_add(1, Ordering::Relaxed) + 1;
        if handled == self.expected {
            self.control.complete();
        }
        handled.is_multiple_of(self.every).then(|| Bytes::copy_from_slice(&handled.to_be_bytes()))
    }
}
