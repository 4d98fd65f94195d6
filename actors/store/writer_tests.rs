use std::{collections::BTreeMap, sync::mpsc};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::store::{
    Durability,
    memory::{MemoryDisk, MemoryStore},
};

fn put(key: &str, value: &str) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Table::Bans, key.to_owned(), value.to_owned()).unwrap();
    batch
}

fn full() -> StoreError {
    StoreError::Full("test".into())
}

/// A writer whose answers and alarms arrive on channels.
fn threaded(disk: &MemoryDisk) -> (StoreWriter, mpsc::Receiver<StoreHealth>) {
    let (alarm, alarms) = mpsc::channel();
    let changed: HealthChanged = Box::new(move |health| alarm.send(health.clone()).unwrap());
    let store = Box::new(disk.open().unwrap());
    (StoreWriter::spawn(store, QueueLimits::default(), changed).unwrap(), alarms)
}

fn inline(disk: &MemoryDisk) -> StoreWriter {
    StoreWriter::inline(Box::new(disk.open().unwrap()), QueueLimits::default(), Box::new(|_| {}))
}

fn answer() -> (WriteDone, mpsc::Receiver<Result<(), StoreError>>) {
    let (sender, receiver) = mpsc::channel();
    (Box::new(move |result| sender.send(result).unwrap()), receiver)
}

fn kept(disk: &MemoryDisk, key: &[u8]) -> bool {
    disk.open().unwrap().get(Table::Bans, key).unwrap().is_some()
}

#[test]
fn a_synced_write_is_answered_when_it_is_safe() {
    let disk = MemoryDisk::new();
    let (writer, _alarms) = threaded(&disk);
    let (done, answered) = answer();
    assert!(writer.write_synced(put("a", "1"), done).is_ok());
    assert_eq!(answered.recv().unwrap(), Ok(()));
    disk.crash();
    assert!(kept(&disk, b"a"));
}

#[test]
fn a_shutdown_writes_everything_that_is_queued() {
    let disk = MemoryDisk::new();
    let (writer, _alarms) = threaded(&disk);
    for n in 0..100 {
        writer.write(&put(&n.to_string(), "1"));
    }
    assert_eq!(writer.shutdown(), Ok(()));
    disk.crash();
    assert_eq!(disk.open().unwrap().len(Table::Bans).unwrap(), 100);
}

/// Attack row 48: a full disk raises the alarm, nothing queued is lost, and the writer is back
/// by itself when there is space.
#[test]
fn a_full_disk_raises_the_alarm_and_the_writer_recovers() {
    let disk = MemoryDisk::new();
    let (writer, alarms) = threaded(&disk);
    disk.set_fault(Some(full()));
    let (done, answered) = answer();
    assert!(writer.write_synced(put("a", "1"), done).is_ok());
    assert!(
        matches!(alarms.recv().unwrap(), StoreHealth::Degraded { error, .. } if error == full())
    );
    assert!(answered.try_recv().is_err(), "not safe, so not acknowledged");
    disk.set_fault(None);
    assert_eq!(alarms.recv().unwrap(), StoreHealth::Healthy);
    assert_eq!(answered.recv().unwrap(), Ok(()));
    assert!(writer.counters().retried > 0);
}

#[test]
fn a_shutdown_on_a_full_disk_says_what_was_not_written() {
    let disk = MemoryDisk::new();
    disk.set_fault(Some(full()));
    let (writer, _alarms) = threaded(&disk);
    let (done, answered) = answer();
    assert!(writer.write_synced(put("a", "1"), done).is_ok());
    assert_eq!(writer.shutdown(), Err(full()));
    assert_eq!(answered.recv().unwrap(), Err(full()));
}

#[test]
fn damage_ends_the_store_and_every_request_is_answered() {
    let disk = MemoryDisk::new();
    let (writer, alarms) = threaded(&disk);
    let damaged = StoreError::Damaged("test".into());
    disk.set_fault(Some(damaged.clone()));
    for _ in 0..3 {
        let (done, answered) = answer();
        assert!(writer.write_synced(put("a", "1"), done).is_ok());
        assert_eq!(answered.recv().unwrap(), Err(damaged.clone()));
    }
    assert_eq!(alarms.recv().unwrap(), StoreHealth::Failed(damaged.clone()));
    assert_eq!(writer.shutdown(), Err(damaged));
}

#[test]
fn a_scan_sees_what_was_written_before_it() {
    let disk = MemoryDisk::new();
    let (writer, _alarms) = threaded(&disk);
    writer.write(&put("a", "1"));
    let (sender, receiver) = mpsc::channel();
    let done: ScanDone = Box::new(move |page| sender.send(page).unwrap());
    assert!(writer.scan(Table::Bans, None, 10, done).is_ok());
    assert_eq!(receiver.recv().unwrap(), Ok(vec![("a".into(), "1".into())]));
}

#[test]
fn the_inline_writer_has_written_when_the_call_returns() {
    let disk = MemoryDisk::new();
    let writer = inline(&disk);
    let (done, answered) = answer();
    assert!(writer.write_synced(put("a", "1"), done).is_ok());
    assert_eq!(answered.try_recv(), Ok(Ok(())));
    writer.write(&put("b", "1"));
    disk.crash();
    assert!(kept(&disk, b"a"));
    assert!(!kept(&disk, b"b"), "buffered, so the crash took it");
}

#[test]
fn the_inline_writer_tries_again_when_it_is_told_to() {
    let disk = MemoryDisk::new();
    let writer = inline(&disk);
    disk.set_fault(Some(full()));
    let (done, answered) = answer();
    assert!(writer.write_synced(put("a", "1"), done).is_ok());
    assert!(matches!(writer.health(), StoreHealth::Degraded { attempts: 1, .. }));
    disk.set_fault(None);
    writer.retry();
    assert_eq!((answered.try_recv(), writer.health()), (Ok(Ok(())), StoreHealth::Healthy));
}

#[test]
fn a_callback_may_write_again() {
    let disk = MemoryDisk::new();
    let writer = Arc::new(inline(&disk));
    let again = Arc::clone(&writer);
    let done: WriteDone = Box::new(move |_| {
        again.write(&put("b", "1"));
    });
    assert!(writer.write_synced(put("a", "1"), done).is_ok());
    assert_eq!(writer.counters().written, 2);
}

/// Whatever is buffered, synced and retried in whatever order: when the disk works again, it
/// holds the last word on every key, and every synced write was answered.
#[test]
fn the_last_word_reaches_the_disk_through_any_outage() {
    for seed in 0..200 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let disk = MemoryDisk::new();
        let writer = inline(&disk);
        let (answers, answered) = mpsc::channel();
        let mut last = BTreeMap::new();
        let mut synced = 0;
        for n in 0..60 {
            if random.random_bool(0.2) {
                disk.set_fault(random.random_bool(0.5).then(full));
            }
            let (key, value) = (random.random_range(0..5u8).to_string(), n.to_string());
            let batch = put(&key, &value);
            last.insert(Bytes::from(key), Bytes::from(value));
            if random.random_bool(0.5) {
                writer.write(&batch);
            } else {
                let answers = answers.clone();
                let done: WriteDone = Box::new(move |result| answers.send(result).unwrap());
                assert!(writer.write_synced(batch, done).is_ok());
                synced += 1;
            }
        }
        disk.set_fault(None);
        assert_eq!(writer.shutdown(), Ok(()), "seed {seed}");
        let kept = disk.open().unwrap().scan(Table::Bans, None, 100).unwrap();
        assert_eq!(kept, last.into_iter().collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(answered.try_iter().filter(Result::is_ok).count(), synced, "seed {seed}");
    }
}

/// A backend with a bug.
struct Panics(MemoryStore);

impl StoreBackend for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.get(table, key)
    }
    fn scan(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<crate::store::Entries, StoreError> {
        self.0.scan(table, after, limit)
    }
    fn len(&self, table: Table) -> Result<u64, StoreError> {
        self.0.len(table)
    }
    fn write(&mut self, _: &WriteBatch, _: Durability) -> Result<(), StoreError> {
        panic!("a bug in the backend, injected by the test")
    }
    fn flush(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
    fn stats(&self) -> StoreStats {
        self.0.stats()
    }
}

#[test]
fn a_backend_that_panics_is_reported_and_nobody_waits_forever() {
    let (alarm, alarms) = mpsc::channel();
    let changed: HealthChanged = Box::new(move |health| alarm.send(health.clone()).unwrap());
    let backend = Box::new(Panics(MemoryStore::new()));
    let writer = StoreWriter::spawn(backend, QueueLimits::default(), changed).unwrap();
    let (done, answered) = answer();
    assert!(writer.write_synced(put("a", "1"), done).is_ok());
    assert!(matches!(alarms.recv().unwrap(), StoreHealth::Failed(StoreError::Damaged(_))));
    assert!(answered.recv().is_err(), "the answer's sender is gone");
    let (done, answered) = answer();
    assert!(writer.write_synced(put("b", "1"), done).is_ok());
    assert!(matches!(answered.recv(), Ok(Err(StoreError::Damaged(_)))));
    assert!(writer.shutdown().is_err());
}
