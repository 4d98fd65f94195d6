//! A bounded queue into an actor, read in batches as a stream.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_util::Stream;

/// Items an actor takes in one turn.
const BATCH: usize = 64;

struct Shared<T> {
    items: VecDeque<T>,
    waker: Option<Waker>,
    senders: usize,
    /// The receiver is gone: nothing is taken any more.
    closed: bool,
}

/// The sending side: any thread, any number of clones. Holds at most `max` items; whoever sends
/// more is told at once, and says what that means; control always has room. Items that carry bytes also carry their
/// [`super::BytePermit`], so the queue is bounded in bytes too.
pub struct Queue<T> {
    shared: Arc<Mutex<Shared<T>>>,
    max: usize,
    name: &'static str,
}

/// The receiving side: batches of up to 64 items. Ends when every sender is gone.
pub struct QueueStream<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

/// The queue is full or its receiver is gone; the item comes back.
#[derive(Debug)]
pub struct QueueFull<T>(pub T);

impl<T> Queue<T> {
    /// A queue of at most `max` items; `name` labels its overflow counter.
    #[must_use]
    pub fn new(name: &'static str, max: usize) -> (Self, QueueStream<T>) {
        let shared = Arc::new(Mutex::new(Shared {
            items: VecDeque::new(),
            waker: None,
            senders: 1,
            closed: false,
        }));
        (Queue { shared: Arc::clone(&shared), max, name }, QueueStream { shared })
    }

    /// Adds an item; the receiver is woken if it waits.
    ///
    /// # Errors
    /// [`QueueFull`] with the item, counted under the queue's name.
    pub fn push(&self, item: T) -> Result<(), QueueFull<T>> {
        self.push_within(self.max, item)
    }

    /// Adds an item that must not be lost, also to a full queue. For control only, of which there
    /// is a bounded amount whatever is going on: so many for each session and each call.
    ///
    /// # Errors
    /// [`QueueFull`] with the item: the receiver is gone.
    pub fn push_control(&self, item: T) -> Result<(), QueueFull<T>> {
        self.push_within(usize::MAX, item)
    }

    fn push_within(&self, max: usize, item: T) -> Result<(), QueueFull<T>> {
        let waker = {
            let mut shared = lock(&self.shared);
            if shared.closed {
                return Err(QueueFull(item));
            }
            if shared.items.len() >= max {
                metrics::counter!("peerstage_queue_full_total", "queue" => self.name).increment(1);
                return Err(QueueFull(item));
            }
            shared.items.push_back(item);
            shared.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Adds items in order, with one wake for all; how many found no room, which are counted
    /// under the queue's name and dropped.
    pub fn push_all(&self, items: Vec<T>) -> usize {
        let (refused, waker) = {
            let mut shared = lock(&self.shared);
            let open = if shared.closed { 0 } else { self.max };
            let room = open.saturating_sub(shared.items.len());
            let refused = items.len().saturating_sub(room);
            shared.items.extend(items.into_iter().take(room));
            (refused, shared.waker.take())
        };
        if refused > 0 {
            metrics::counter!("peerstage_queue_full_total", "queue" => self.name)
                .increment(refused as u64);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        refused
    }

    /// Items that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.shared).items.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn lock<T>(shared: &Mutex<Shared<T>>) -> MutexGuard<'_, Shared<T>> {
    // Nothing panics while the lock is held, so a poisoned queue is still in order.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        lock(&self.shared).senders += 1;
        Queue { shared: Arc::clone(&self.shared), max: self.max, name: self.name }
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        let waker = {
            let mut shared = lock(&self.shared);
            shared.senders -= 1;
            if shared.senders == 0 { shared.waker.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for QueueStream<T> {
    /// What waits is dropped, so that whoever waits for an answer to it hears so.
    fn drop(&mut self) {
        let waiting = {
            let mut shared = lock(&self.shared);
            shared.closed = true;
            std::mem::take(&mut shared.items)
        };
        drop(waiting);
    }
}

impl<T> Stream for QueueStream<T> {
    type Item = Vec<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<T>>> {
        let mut shared = lock(&self.shared);
        if shared.items.is_empty() {
            if shared.senders == 0 {
                return Poll::Ready(None);
            }
            shared.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = shared.items.len().min(BATCH);
        Poll::Ready(Some(shared.items.drain(..count).collect()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[test]
    fn a_full_queue_gives_the_item_back() {
        let (queue, _stream) = Queue::new("test", 2);
        assert!(queue.push(1).is_ok() && queue.push(2).is_ok());
        assert_eq!(queue.push(3).unwrap_err().0, 3);
    }

    /// Who came and who went is heard of however much waits, in order with the rest.
    #[test]
    fn control_has_room_in_a_full_queue_and_none_where_nobody_listens() {
        let (queue, mut stream) = Queue::new("test", 2);
        assert!(queue.push(1).is_ok() && queue.push(2).is_ok());
        assert!(queue.push(3).is_err());
        assert!(queue.push_control(4).is_ok());
        assert!(queue.push(5).is_err());
        assert_eq!(stream.next().now_or_never().unwrap().unwrap(), [1, 2, 4]);
        drop(stream);
        assert_eq!(queue.push_control(6).unwrap_err().0, 6);
    }

    #[test]
    fn items_arrive_in_order_in_batches_and_the_stream_ends_with_its_senders() {
        let (queue, mut stream) = Queue::new("test", 1000);
        let second = queue.clone();
        for item in 0..100 {
            queue.push(item).unwrap();
        }
        drop(queue);
        assert_eq!(stream.next().now_or_never().unwrap().unwrap(), (0..64).collect::<Vec<_>>());
        assert_eq!(stream.next().now_or_never().unwrap().unwrap(), (64..100).collect::<Vec<_>>());
        assert!(stream.next().now_or_never().is_none());
        drop(second);
        assert_eq!(stream.next().now_or_never().unwrap(), None);
    }
}
