//! What waits for the disk: a queue bounded in bytes, in which later writes replace earlier
//! ones of the same key.
//!
//! Buffered writes wait per key: a second write to a key replaces the first, and when the queue
//! is full the oldest are dropped and counted. Synced batches wait whole and in order; they are
//! never dropped, a full queue refuses them. Synced batches are written before the buffered
//! writes that wait with them: a synced batch removes what waits for its keys, so the last
//! word on every key still wins.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{
    BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, Entries, StoreError, Table, WriteBatch, operation_bytes,
};

/// Called once, when a synced write is safe on disk or has failed for good.
pub type WriteDone = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Called once with a page of a table.
pub type ScanDone = Box<dyn FnOnce(Result<Entries, StoreError>) + Send>;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Bytes of buffered writes, overhead included.
    pub buffered_bytes: usize,
    /// Bytes of synced batches, overhead included.
    pub synced_bytes: usize,
    /// Synced batches, flushes and scans together.
    pub requests: usize,
}

impl Default for QueueLimits {
    /// A guess: half a minute of a busy address book, and more bans than a minute brings.
    fn default() -> Self {
        QueueLimits {
            buffered_bytes: 8 * 1024 * 1024,
            synced_bytes: 8 * 1024 * 1024,
            requests: 1024,
        }
    }
}

/// What happened to writes since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Operations on disk.
    pub written: u64,
    /// Buffered operations replaced by a later write to the same key.
    pub coalesced: u64,
    /// Buffered operations dropped because the queue was full.
    pub dropped: u64,
    /// Synced batches, flushes and scans refused because the queue was full.
    pub refused: u64,
    /// Attempts that failed and were made again.
    pub retried: u64,
}

/// Something to do for which somebody waits.
pub(super) enum Request {
    Write(WriteBatch, WriteDone),
    Flush(WriteDone),
    Scan { table: Table, after: Option<Bytes>, limit: usize, done: ScanDone },
}

/// What the worker does next.
pub(super) enum Work {
    /// Batches that share one commit.
    Synced(WriteBatch, Vec<WriteDone>),
    Buffered(WriteBatch),
    Flush(WriteDone),
    Scan {
        table: Table,
        after: Option<Bytes>,
        limit: usize,
        done: ScanDone,
    },
}

struct Waiting {
    value: Option<Bytes>,
    turn: u64,
}

/// The queue itself: no threads, no clock, no disk.
pub(super) struct Queue {
    limits: QueueLimits,
    buffered: BTreeMap<(Table, Bytes), Waiting>,
    /// The keys of `buffered`, oldest write first.
    turns: BTreeMap<u64, (Table, Bytes)>,
    buffered_bytes: usize,
    next_turn: u64,
    requests: VecDeque<Request>,
    synced_bytes: usize,
    pub(super) counters: QueueCounters,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Queue {
            limits,
            buffered: BTreeMap::new(),
            turns: BTreeMap::new(),
            buffered_bytes: 0,
            next_turn: 0,
            requests: VecDeque::new(),
            synced_bytes: 0,
            counters: QueueCounters::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffered.is_empty() && self.requests.is_empty()
    }

    /// Whether buffered writes take half the room there is for them.
    pub(super) fn is_half_full(&self) -> bool {
        self.buffered_bytes >= self.limits.buffered_bytes / 2
    }

    /// Takes buffered writes in; tells how many operations had to be dropped for them.
    pub(super) fn push_buffered(&mut self, batch: &WriteBatch) -> u64 {
        for (table, key, value) in batch.iter() {
            if self.forget(table, key) {
                self.counters.coalesced += 1;
            }
            self.next_turn += 1;
            self.turns.insert(self.next_turn, (table, key.clone()));
            self.buffered_bytes += operation_bytes(key, value);
            let waiting = Waiting { value: value.cloned(), turn: self.next_turn };
            self.buffered.insert((table, key.clone()), waiting);
        }
        let mut dropped = 0;
        while self.buffered_bytes > self.limits.buffered_bytes {
            let Some((_, (table, key))) = self.turns.pop_first() else { break };
            self.forget(table, &key);
            dropped += 1;
        }
        self.counters.dropped += dropped;
        dropped
    }

    /// Takes a request in, or gives it back when the queue is full.
    pub(super) fn push(&mut self, request: Request) -> Result<(), Request> {
        let bytes = if let Request::Write(batch, _) = &request { batch.bytes() } else { 0 };
        let full = self.synced_bytes > 0
            && self.synced_bytes.saturating_add(bytes) > self.limits.synced_bytes;
        if full || self.requests.len() >= self.limits.requests {
            self.counters.refused += 1;
            return Err(request);
        }
        if let Request::Write(batch, _) = &request {
            for (table, key, _) in batch.iter() {
                if self.forget(table, key) {
                    self.counters.coalesced += 1;
                }
            }
        }
        self.synced_bytes += bytes;
        self.requests.push_back(request);
        Ok(())
    }

    /// What to do next: requests in their order, then buffered writes. A flush or a scan first
    /// sees everything that was queued before it written.
    pub(super) fn pop(&mut self) -> Option<Work> {
        match self.requests.front() {
            Some(Request::Write(..)) => Some(self.pop_synced()),
            Some(Request::Flush(_) | Request::Scan { .. }) if !self.buffered.is_empty() => {
                Some(Work::Buffered(self.pop_buffered()))
            }
            Some(_) => match self.requests.pop_front()? {
                Request::Flush(done) => Some(Work::Flush(done)),
                Request::Scan { table, after, limit, done } => {
                    Some(Work::Scan { table, after, limit, done })
                }
                Request::Write(batch, done) => Some(Work::Synced(batch, vec![done])),
            },
            None if self.buffered.is_empty() => None,
            None => Some(Work::Buffered(self.pop_buffered())),
        }
    }

    /// As many synced batches as fit one commit.
    fn pop_synced(&mut self) -> Work {
        let (mut all, mut waiters) = (WriteBatch::new(), Vec::new());
        while let Some(Request::Write(batch, _)) = self.requests.front() {
            let fits = all.bytes() + batch.bytes() <= BATCH_BYTES_MAX
                && all.len() + batch.len() <= BATCH_OPERATIONS_MAX;
            if !fits && !waiters.is_empty() {
                break;
            }
            let Some(Request::Write(batch, done)) = self.requests.pop_front() else { break };
            self.synced_bytes -= batch.bytes();
            for (table, key, value) in batch.iter() {
                let set = all.set(table, key.clone(), value.cloned());
                debug_assert!(set.is_ok(), "checked above");
            }
            waiters.push(done);
        }
        Work::Synced(all, waiters)
    }

    fn pop_buffered(&mut self) -> WriteBatch {
        let mut batch = WriteBatch::new();
        while let Some((_, (table, key))) = self.turns.first_key_value() {
            let (table, key) = (*table, key.clone());
            let Some(waiting) = self.buffered.get(&(table, key.clone())) else { break };
            if batch.set(table, key.clone(), waiting.value.clone()).is_err() {
                break;
            }
            self.forget(table, &key);
        }
        batch
    }

    /// Removes what waits for `key`; whether there was something.
    fn forget(&mut self, table: Table, key: &Bytes) -> bool {
        let Some(waiting) = self.buffered.remove(&(table, key.clone())) else { return false };
        self.turns.remove(&waiting.turn);
        self.buffered_bytes -= operation_bytes(key, waiting.value.as_ref());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put(Table::Peers, key.to_owned(), value.to_owned()).unwrap();
        batch
    }

    fn write(key: &str, value: &str) -> Request {
        Request::Write(put(key, value), Box::new(|_| {}))
    }

    fn pop(queue: &mut Queue) -> Option<(&'static str, Vec<(String, String)>)> {
        let (kind, batch) = match queue.pop()? {
            Work::Synced(batch, _) => ("synced", batch),
            Work::Buffered(batch) => ("buffered", batch),
            Work::Flush(_) => ("flush", WriteBatch::new()),
            Work::Scan { .. } => ("scan", WriteBatch::new()),
        };
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        Some((kind, batch.iter().map(|(_, k, v)| (text(k), v.map_or("".into(), text))).collect()))
    }

    #[test]
    fn later_writes_to_a_key_replace_earlier_ones() {
        let mut queue = Queue::new(QueueLimits::default());
        queue.push_buffered(&put("a", "1"));
        queue.push_buffered(&put("a", "2"));
        assert_eq!(pop(&mut queue), Some(("buffered", vec![("a".into(), "2".into())])));
        assert!(queue.is_empty());
        assert_eq!((queue.counters.coalesced, queue.buffered_bytes), (1, 0));
    }

    #[test]
    fn the_oldest_buffered_write_is_dropped_when_the_queue_is_full() {
        let room_for_two = 2 * operation_bytes(&"a".into(), Some(&"1".into()));
        let limits = QueueLimits { buffered_bytes: room_for_two, ..QueueLimits::default() };
        let mut queue = Queue::new(limits);
        for key in ["a", "b", "a", "c"] {
            queue.push_buffered(&put(key, "1"));
        }
        let left = vec![("a".into(), "1".into()), ("c".into(), "1".into())];
        assert_eq!(pop(&mut queue), Some(("buffered", left)), "b was the oldest");
        assert_eq!(queue.counters.dropped, 1);
    }

    #[test]
    fn a_full_queue_refuses_synced_batches_and_keeps_those_it_has() {
        let limits = QueueLimits { requests: 2, ..QueueLimits::default() };
        let mut queue = Queue::new(limits);
        assert!(queue.push(write("a", "1")).is_ok());
        assert!(queue.push(write("b", "1")).is_ok());
        assert!(queue.push(write("c", "1")).is_err());
        let both = vec![("a".into(), "1".into()), ("b".into(), "1".into())];
        assert_eq!(pop(&mut queue), Some(("synced", both)), "one commit for both");
        assert_eq!((queue.counters.refused, queue.synced_bytes), (1, 0));
    }

    #[test]
    fn a_synced_batch_is_bounded_in_bytes_but_one_always_fits() {
        let limits = QueueLimits { synced_bytes: 1, ..QueueLimits::default() };
        let mut queue = Queue::new(limits);
        assert!(queue.push(write("a", "1")).is_ok(), "alone, even over the limit");
        assert!(queue.push(write("b", "1")).is_err());
    }

    #[test]
    fn the_last_word_on_a_key_wins_across_both_kinds() {
        let mut queue = Queue::new(QueueLimits::default());
        queue.push_buffered(&put("a", "older"));
        assert!(queue.push(write("a", "synced")).is_ok());
        assert_eq!(pop(&mut queue).unwrap().1, [("a".into(), "synced".into())]);
        assert!(queue.is_empty(), "the older buffered write must not come after");
        assert!(queue.push(write("a", "synced")).is_ok());
        queue.push_buffered(&put("a", "newer"));
        assert_eq!(pop(&mut queue).unwrap().0, "synced");
        assert_eq!(pop(&mut queue).unwrap().1, [("a".into(), "newer".into())]);
    }

    #[test]
    fn a_flush_and_a_scan_come_after_what_was_written_before_them() {
        let mut queue = Queue::new(QueueLimits::default());
        queue.push_buffered(&put("a", "1"));
        assert!(queue.push(Request::Flush(Box::new(|_| {}))).is_ok());
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue)).map(|work| work.0).collect();
        assert_eq!(order, ["buffered", "flush"]);
    }
}
