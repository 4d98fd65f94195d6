//! A store in memory, for the simulator: it crashes on demand and forgets what was not synced.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    Durability, Entries, OpenError, SCAN_ENTRIES_MAX, StoreBackend, StoreError, StoreStats, Table,
    WriteBatch, operation_bytes,
};

/// A disk in memory that outlives the stores opened on it. Clones share one disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    /// What survives a crash.
    durable: BTreeMap<(Table, Bytes), Bytes>,
    /// Buffered writes on top of it; `None` is a removed key.
    buffered: BTreeMap<(Table, Bytes), Option<Bytes>>,
    /// Which opening holds the disk. A store of an earlier opening is dead.
    holder: Option<u64>,
    openings: u64,
    batches: u64,
    fault: Option<StoreError>,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the one store of this disk.
    ///
    /// # Errors
    /// [`OpenError::Held`] while another one is open.
    pub fn open(&self) -> Result<MemoryStore, OpenError> {
        let mut contents = self.lock();
        if contents.holder.is_some() {
            return Err(OpenError::Held { path: "memory".into() });
        }
        contents.openings += 1;
        let opening = contents.openings;
        contents.holder = Some(opening);
        drop(contents);
        Ok(MemoryStore { disk: self.clone(), opening })
    }

    /// The process dies: buffered writes are lost, and a store still open is closed under its
    /// owner, who may be a leftover of the simulated process.
    pub fn crash(&self) {
        let mut contents = self.lock();
        contents.buffered.clear();
        contents.holder = None;
    }

    /// From now on every write fails with `fault`; `None` repairs the disk.
    pub fn set_fault(&self, fault: Option<StoreError>) {
        self.lock().fault = fault;
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The open store of a [`MemoryDisk`]. Dropped without [`StoreBackend::close`], it keeps what
/// was buffered, as an operating system does for a process that ends.
#[derive(Debug)]
pub struct MemoryStore {
    disk: MemoryDisk,
    opening: u64,
}

impl MemoryStore {
    /// A store on a disk of its own.
    #[must_use]
    pub fn new() -> Self {
        let disk = MemoryDisk::new();
        disk.lock().openings = 1;
        disk.lock().holder = Some(1);
        MemoryStore { disk, opening: 1 }
    }

    /// The disk below, to open it again later.
    #[must_use]
    pub fn disk(&self) -> MemoryDisk {
        self.disk.clone()
    }

    /// See [`MemoryDisk::crash`].
    pub fn crash(&self) {
        self.disk.crash();
    }

    fn contents(&self) -> Result<MutexGuard<'_, Contents>, StoreError> {
        let contents = self.disk.lock();
        if contents.holder == Some(self.opening) { Ok(contents) } else { Err(StoreError::Closed) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        if let Ok(mut contents) = self.contents() {
            contents.sync();
            contents.holder = None;
        }
    }
}

impl Contents {
    fn sync(&mut self) {
        for (key, value) in std::mem::take(&mut self.buffered) {
            match value {
                Some(value) => self.durable.insert(key, value),
                None => self.durable.remove(&key),
            };
        }
    }

    fn page(&self, table: Table, after: Option<&[u8]>, limit: usize) -> Entries {
        let start = match after {
            Some(key) => Bound::Excluded((table, Bytes::copy_from_slice(key))),
            None => Bound::Included((table, Bytes::new())),
        };
        let range = (start, Bound::Unbounded);
        let mut durable = self.durable.range(range.clone()).take_while(|e| e.0.0 == table);
        let mut buffered = self.buffered.range(range).take_while(|e| e.0.0 == table).peekable();
        let mut next_durable = durable.next();
        let mut page = Vec::new();
        while page.len() < limit {
            // The buffered entry of a key hides the durable one.
            let take_buffered = match (next_durable, buffered.peek()) {
                (None, None) => break,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some((below, _)), Some((above, _))) => *above <= below,
            };
            if take_buffered {
                let Some((key, value)) = buffered.next() else { break };
                if next_durable.is_some_and(|(below, _)| below == key) {
                    next_durable = durable.next();
                }
                if let Some(value) = value {
                    page.push((key.1.clone(), value.clone()));
                }
            } else if let Some((key, value)) = next_durable {
                page.push((key.1.clone(), value.clone()));
                next_durable = durable.next();
            }
        }
        page
    }
}

impl StoreBackend for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let contents = self.contents()?;
        let key = (table, Bytes::copy_from_slice(key));
        Ok(match contents.buffered.get(&key) {
            Some(value) => value.clone(),
            None => contents.durable.get(&key).cloned(),
        })
    }

    fn scan(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        Ok(self.contents()?.page(table, after, limit.min(SCAN_ENTRIES_MAX)))
    }

    fn len(&self, table: Table) -> Result<u64, StoreError> {
        Ok(self.contents()?.page(table, None, usize::MAX).len() as u64)
    }

    fn write(&mut self, batch: &WriteBatch, durability: Durability) -> Result<(), StoreError> {
        let mut contents = self.contents()?;
        if let Some(fault) = &contents.fault {
            return Err(fault.clone());
        }
        for (table, key, value) in batch.iter() {
            contents.buffered.insert((table, key.clone()), value.cloned());
        }
        contents.batches += 1;
        if durability == Durability::Synced {
            contents.sync();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let mut contents = self.contents()?;
        if let Some(fault) = &contents.fault {
            return Err(fault.clone());
        }
        contents.sync();
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Result<(), StoreError> {
        self.flush()
    }

    fn stats(&self) -> StoreStats {
        let contents = self.disk.lock();
        let durable = contents.durable.iter().map(|((_, k), v)| operation_bytes(k, Some(v)));
        StoreStats {
            bytes: durable.fold(0, |sum: u64, bytes| sum.saturating_add(bytes as u64)),
            batches: contents.batches,
            reopened: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put(Table::Bans, key, key).unwrap();
        batch
    }

    #[test]
    fn a_crash_loses_what_was_buffered_and_nothing_else() {
        let disk = MemoryDisk::new();
        let mut store = disk.open().unwrap();
        store.write(&put("synced"), Durability::Synced).unwrap();
        store.write(&put("lost"), Durability::Buffered).unwrap();
        store.crash();
        assert_eq!(store.get(Table::Bans, b"synced"), Err(StoreError::Closed), "a dead process");
        let again = disk.open().unwrap();
        assert!(again.get(Table::Bans, b"synced").unwrap().is_some());
        assert_eq!(again.get(Table::Bans, b"lost").unwrap(), None);
        drop(store);
        assert!(again.get(Table::Bans, b"synced").is_ok(), "the dead one took nothing with it");
    }

    #[test]
    fn a_flush_keeps_buffered_writes() {
        let disk = MemoryDisk::new();
        let mut store = disk.open().unwrap();
        store.write(&put("kept"), Durability::Buffered).unwrap();
        store.flush().unwrap();
        store.crash();
        assert!(disk.open().unwrap().get(Table::Bans, b"kept").unwrap().is_some());
    }

    #[test]
    fn a_scan_sees_buffered_writes_over_durable_ones() {
        let disk = MemoryDisk::new();
        let mut store = disk.open().unwrap();
        for key in ["a", "b", "d"] {
            store.write(&put(key), Durability::Synced).unwrap();
        }
        let mut batch = put("c");
        batch.delete(Table::Bans, "b").unwrap();
        batch.put(Table::Bans, "d", "new").unwrap();
        store.write(&batch, Durability::Buffered).unwrap();
        let seen = store.scan(Table::Bans, None, 10).unwrap();
        let expected = [("a", "a"), ("c", "c"), ("d", "new")];
        assert_eq!(seen, expected.map(|(k, v)| (Bytes::from(k), Bytes::from(v))));
        assert_eq!(store.len(Table::Bans).unwrap(), 3);
    }
}
