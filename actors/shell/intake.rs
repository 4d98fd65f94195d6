//! Orders of the chain's own code into an actor, many in one crossing.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Queue, QueueStream};

/// Bytes of orders that may wait. Whoever sends more waits, in order.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// What an order costs at least, bytes: bounds their count.
const ORDER_MIN: usize = 512;

/// An order and its share of the bytes that may wait; gives it back when dropped.
pub struct Ordered<T> {
    /// The order.
    pub order: T,
    _room: OwnedSemaphorePermit,
}

/// The sending side. Unlike a mailbox it is bounded in bytes, and read in batches.
pub struct Intake<T> {
    queue: Queue<Ordered<T>>,
    room: Arc<Semaphore>,
}

impl<T> Clone for Intake<T> {
    fn clone(&self) -> Self {
        Intake { queue: self.queue.clone(), room: Arc::clone(&self.room) }
    }
}

impl<T> Intake<T> {
    /// An intake; `name` labels its counters.
    #[must_use]
    pub fn new(name: &'static str) -> (Self, QueueStream<Ordered<T>>) {
        let (queue, stream) = Queue::new(name, BYTES_MAX / ORDER_MIN);
        (Intake { queue, room: Arc::new(Semaphore::new(BYTES_MAX)) }, stream)
    }

    /// Hands over an order of so many bytes when there is room; `None` if the actor is gone.
    pub async fn send(&self, bytes: usize, order: T) -> Option<()> {
        let bytes = u32::try_from(bytes.clamp(ORDER_MIN, BYTES_MAX)).ok()?;
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()?;
        self.queue.push(Ordered { order, _room: room }).ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn whoever_sends_too_much_waits_until_something_is_taken() {
        let (intake, mut stream) = Intake::new("test");
        assert_eq!(intake.send(BYTES_MAX, 1).await, Some(()));
        let mut second = Box::pin(intake.send(1, 2));
        assert!(second.as_mut().now_or_never().is_none());
        let taken = stream.next().await.unwrap();
        assert_eq!(taken.iter().map(|ordered| ordered.order).collect::<Vec<_>>(), [1]);
        drop(taken);
        assert_eq!(second.await, Some(()));
    }

    #[tokio::test]
    async fn an_actor_that_is_gone_takes_nothing() {
        let (intake, stream) = Intake::new("test");
        drop(stream);
        assert_eq!(intake.send(1, ()).await, None);
    }
}
