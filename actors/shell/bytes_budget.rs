//! Bytes that one peer may have in flight inside the node.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// What a message in flight costs beside its bytes: queue cells, the arrival, its id.
const MESSAGE_OVERHEAD: usize = 256;

#[derive(Debug)]
struct Shared {
    used: AtomicUsize,
    max: usize,
    waiting: Mutex<Option<Waker>>,
}

/// The budget of one peer. When it is spent the peer's socket isn't read until half of it has
/// come back: the pressure goes to the sender, nothing is dropped and nobody else waits.
#[derive(Clone, Debug)]
pub struct ByteBudget(Arc<Shared>);

/// A read's share of its peer's budget; gives itself back when dropped.
#[derive(Debug)]
pub struct BytePermit {
    shared: Arc<Shared>,
    bytes: usize,
}

impl ByteBudget {
    /// A budget of `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        ByteBudget(Arc::new(Shared { used: AtomicUsize::new(0), max, waiting: Mutex::default() }))
    }

    /// Books messages that have arrived in so many bytes. May overdraw by what one read brings, never more: then
    /// [`ByteBudget::poll_room`] holds the next read back.
    #[must_use]
    pub fn book(&self, bytes: usize, messages: usize) -> BytePermit {
        let bytes = bytes.saturating_add(messages.saturating_mul(MESSAGE_OVERHEAD));
        self.0.used.fetch_add(bytes, Ordering::AcqRel);
        BytePermit { shared: Arc::clone(&self.0), bytes }
    }

    /// Ready when there is room; otherwise wakes the caller when half the budget is free.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.used() < self.0.max {
            return Poll::Ready(());
        }
        *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        // A permit may have come back between the check and the registration.
        if self.used() < self.0.max { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Bytes in flight.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Acquire)
    }
}

impl Drop for BytePermit {
    fn drop(&mut self) {
        let before = self.shared.used.fetch_sub(self.bytes, Ordering::AcqRel);
        if before.saturating_sub(self.bytes) <= self.shared.max / 2 {
            let waker = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_spent_budget_holds_reading_back_until_half_has_come_back() {
        let budget = ByteBudget::new(4 * MESSAGE_OVERHEAD);
        let mut cx = Context::from_waker(Waker::noop());
        let mut permits: Vec<_> = (0..4).map(|_| budget.book(0, 1)).collect();
        assert_eq!(budget.poll_room(&mut cx), Poll::Pending);
        permits.clear();
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.poll_room(&mut cx), Poll::Ready(()));
    }
}
