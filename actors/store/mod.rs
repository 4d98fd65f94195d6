//! Where a node keeps what it knows of its peers: one trait over bytes, several databases.
//!
//! [`open()`] picks a database, survives a damaged one and hands out a [`StoreBackend`]; the
//! [`writer::StoreWriter`] puts a bounded queue and a thread in front of it, so that no actor
//! ever waits for a disk. Everything here is synchronous and knows nothing of what the bytes
//! mean.
//!
//! # Security
//! Provided: keys, values, batches and scans are bounded, so a peer that fills the address book
//! can't grow the memory or the disk without limit; an acknowledged ban survives a killed
//! process, a power cut and a damaged database (see [`journal`]).
//! Not provided: secrecy and authenticity of the files; who can write to the data directory
//! decides what the node believes of its peers.

use std::{collections::BTreeMap, io};

use bytes::Bytes;

pub mod conformance;
pub mod journal;
pub mod memory;
pub mod open;
mod queue;
#[cfg(feature = "redb")]
pub mod redb;
#[cfg(feature = "rocksdb")]
pub mod rocksdb;
mod worker;
pub mod writer;

pub use open::{BackendChoice, OpenError, Opened, open};

/// The longest key, bytes. Ours are node ids (32), addresses and small counters.
pub const KEY_BYTES_MAX: usize = 256;
/// The longest value, bytes. The largest we keep is a signed node record of a few KiB.
pub const VALUE_BYTES_MAX: usize = 256 * 1024;
/// The most bytes of keys and values in one batch: what one commit holds in memory.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most operations in one batch.
pub const BATCH_OPERATIONS_MAX: usize = 16 * 1024;
/// The most entries one scan returns; a longer table is paged.
pub const SCAN_ENTRIES_MAX: usize = 4096;
/// What an operation costs beside its key and value, bytes: a map node and two pointers.
pub const OPERATION_OVERHEAD_BYTES: usize = 64;

const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX + OPERATION_OVERHEAD_BYTES < BATCH_BYTES_MAX);

/// A database that holds the fixed set of [`Table`]s. One thread uses it at a time.
pub trait StoreBackend: Send + 'static {
    /// The name of the backend, for logs and status: `redb`, `rocksdb`, `memory`.
    fn name(&self) -> &'static str;

    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// The database could not be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// At most `limit` (and [`SCAN_ENTRIES_MAX`]) entries in ascending byte order of their
    /// keys, the first one after `after`. Fewer than asked for means that the table ended.
    ///
    /// # Errors
    /// The database could not be read.
    fn scan(&self, table: Table, after: Option<&[u8]>, limit: usize)
    -> Result<Entries, StoreError>;

    /// How many entries `table` has. May walk the whole table: meant for start-up.
    ///
    /// # Errors
    /// The database could not be read.
    fn len(&self, table: Table) -> Result<u64, StoreError>;

    /// Writes all of `batch` or nothing of it. When this returns, later reads see it; with
    /// [`Durability::Synced`] it also survives a power cut.
    ///
    /// # Errors
    /// Nothing of the batch may be relied upon, and earlier buffered writes may be lost; after
    /// a transient error the same batch may be written again.
    fn write(&mut self, batch: &WriteBatch, durability: Durability) -> Result<(), StoreError>;

    /// Makes every earlier write as durable as a synced one.
    ///
    /// # Errors
    /// Buffered writes may be lost.
    fn flush(&mut self) -> Result<(), StoreError>;

    /// Flushes and gives the database free for others.
    ///
    /// # Errors
    /// The last buffered writes may be lost; the database is free all the same.
    fn close(self: Box<Self>) -> Result<(), StoreError>;

    /// What the operator may want to know.
    fn stats(&self) -> StoreStats;
}

/// Keys with their values, in the order of the keys.
pub type Entries = Vec<(Bytes, Bytes)>;

/// The tables a node keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The address book: what is known of each peer.
    Peers,
    /// Bans of identities and of network groups. Every write to it is synced.
    Bans,
    /// Score events, from which a score is explained.
    Scores,
    /// The peers to return to first after a restart.
    Anchors,
    /// Signed records of other nodes.
    Records,
    /// What does not fit elsewhere: format version, salts, counters.
    Meta,
}

impl Table {
    /// Every table, in the order of their tags.
    pub const ALL: [Table; 6] =
        [Table::Peers, Table::Bans, Table::Scores, Table::Anchors, Table::Records, Table::Meta];

    /// The name of the table in a database file. Part of the format: never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Table::Peers => "peers",
            Table::Bans => "bans",
            Table::Scores => "scores",
            Table::Anchors => "anchors",
            Table::Records => "records",
            Table::Meta => "meta",
        }
    }

    /// The byte that names the table where tables share one key space. Never changes.
    #[must_use]
    pub const fn tag(self) -> u8 {
        match self {
            Table::Peers => 1,
            Table::Bans => 2,
            Table::Scores => 3,
            Table::Anchors => 4,
            Table::Records => 5,
            Table::Meta => 6,
        }
    }
}

/// How much an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// May be lost until the next flush or synced write.
    Buffered,
    /// Survives a killed process and a power cut.
    Synced,
}

/// Writes that happen together or not at all. The last word on a key wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    operations: BTreeMap<(Table, Bytes), Option<Bytes>>,
    bytes: usize,
}

impl WriteBatch {
    /// A batch without operations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`]; the batch is unchanged.
    pub fn put(
        &mut self,
        table: Table,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<(), StoreError> {
        self.set(table, key.into(), Some(value.into()))
    }

    /// Removes `key`, whether it is there or not.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`]; the batch is unchanged.
    pub fn delete(&mut self, table: Table, key: impl Into<Bytes>) -> Result<(), StoreError> {
        self.set(table, key.into(), None)
    }

    /// Sets `key` to `value`, or removes it where `value` is `None`.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`]; the batch is unchanged.
    pub fn set(
        &mut self,
        table: Table,
        key: Bytes,
        value: Option<Bytes>,
    ) -> Result<(), StoreError> {
        check("key", key.len(), KEY_BYTES_MAX)?;
        check("value", value.as_ref().map_or(0, Bytes::len), VALUE_BYTES_MAX)?;
        let added = operation_bytes(&key, value.as_ref());
        let old = self.operations.get(&(table, key.clone()));
        let removed = old.map_or(0, |old| operation_bytes(&key, old.as_ref()));
        let bytes = self.bytes.saturating_sub(removed).saturating_add(added);
        check("batch", bytes, BATCH_BYTES_MAX)?;
        if old.is_none() && self.operations.len() >= BATCH_OPERATIONS_MAX {
            return Err(StoreError::TooManyOperations { limit: BATCH_OPERATIONS_MAX });
        }
        self.operations.insert((table, key), value);
        self.bytes = bytes;
        Ok(())
    }

    /// What to do, in the order of tables and keys: `None` removes the key.
    pub fn iter(&self) -> impl Iterator<Item = (Table, &Bytes, Option<&Bytes>)> {
        self.operations.iter().map(|((table, key), value)| (*table, key, value.as_ref()))
    }

    /// Whether the batch writes to `table`.
    #[must_use]
    pub fn touches(&self, table: Table) -> bool {
        self.operations.range((table, Bytes::new())..).next().is_some_and(|(key, _)| key.0 == table)
    }

    /// How many keys the batch writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether the batch does nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// What the batch costs in memory, bytes, overhead included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What one operation counts against the byte limits.
pub(crate) fn operation_bytes(key: &Bytes, value: Option<&Bytes>) -> usize {
    key.len().saturating_add(value.map_or(0, Bytes::len)).saturating_add(OPERATION_OVERHEAD_BYTES)
}

fn check(what: &'static str, bytes: usize, limit: usize) -> Result<(), StoreError> {
    if bytes > limit { Err(StoreError::TooLarge { what, bytes, limit }) } else { Ok(()) }
}

/// What a backend tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes the database takes on disk, or in memory for the memory backend.
    pub bytes: u64,
    /// Batches written since opening.
    pub batches: u64,
    /// Times the database was opened again after an input or output error.
    pub reopened: u64,
}

/// Why a store could not read or write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A key, value or batch is over its limit.
    #[error("{what} of {bytes} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A batch has more operations than one commit may carry.
    #[error("batch of more than {limit} operations")]
    TooManyOperations {
        /// The limit in operations.
        limit: usize,
    },
    /// The disk, the quota or the file size limit is exhausted.
    #[error("no space left for the store: {0}")]
    Full(String),
    /// The file system is mounted read-only or the files may not be written.
    #[error("the store can't be written to: {0}")]
    ReadOnly(String),
    /// Any other input or output error.
    #[error("input or output error of the store: {0}")]
    Io(String),
    /// The database contradicts itself.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The store was closed, or its process crashed in a simulation.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may succeed later, when the world has changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Full(_) | StoreError::ReadOnly(_) | StoreError::Io(_))
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
                StoreError::Full(error.to_string())
            }
            Kind::ReadOnlyFilesystem | Kind::PermissionDenied => {
                StoreError::ReadOnly(error.to_string())
            }
            Kind::InvalidData | Kind::UnexpectedEof => StoreError::Damaged(error.to_string()),
            _ => StoreError::Io(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_key_wins_and_bytes_follow() {
        let mut batch = WriteBatch::new();
        batch.put(Table::Bans, "a", vec![0; 100]).unwrap();
        batch.put(Table::Bans, "a", vec![0; 10]).unwrap();
        assert_eq!((batch.len(), batch.bytes()), (1, 1 + 10 + OPERATION_OVERHEAD_BYTES));
        batch.delete(Table::Bans, "a").unwrap();
        assert_eq!(batch.bytes(), 1 + OPERATION_OVERHEAD_BYTES);
        assert_eq!(batch.iter().next(), Some((Table::Bans, &Bytes::from("a"), None)));
    }

    #[test]
    fn a_batch_knows_which_tables_it_touches() {
        let mut batch = WriteBatch::new();
        batch.put(Table::Scores, "a", "").unwrap();
        assert!(batch.touches(Table::Scores));
        assert!(!batch.touches(Table::Bans), "the table before");
        assert!(!batch.touches(Table::Meta), "the table after");
    }

    #[test]
    fn what_is_over_a_limit_leaves_the_batch_unchanged() {
        let mut batch = WriteBatch::new();
        assert!(batch.put(Table::Peers, vec![0; KEY_BYTES_MAX + 1], "").is_err());
        assert!(batch.put(Table::Peers, "k", vec![0; VALUE_BYTES_MAX + 1]).is_err());
        assert!(batch.is_empty());
        let value = Bytes::from(vec![0; VALUE_BYTES_MAX]);
        let full = (0u32..100)
            .position(|n| batch.put(Table::Peers, n.to_be_bytes().to_vec(), value.clone()).is_err())
            .expect("a batch has an end");
        assert_eq!(batch.len(), full);
        assert!(batch.bytes() <= BATCH_BYTES_MAX);
    }

    #[test]
    fn table_names_and_tags_are_unique() {
        let names: std::collections::BTreeSet<_> = Table::ALL.iter().map(|t| t.name()).collect();
        let tags: std::collections::BTreeSet<_> = Table::ALL.iter().map(|t| t.tag()).collect();
        assert_eq!((names.len(), tags.len()), (Table::ALL.len(), Table::ALL.len()));
    }

    #[test]
    fn outages_can_be_waited_for_and_damage_can_not() {
        use io::ErrorKind as Kind;
        let from = |kind: Kind| StoreError::from(io::Error::from(kind));
        for kind in [Kind::StorageFull, Kind::QuotaExceeded, Kind::FileTooLarge] {
            assert!(matches!(from(kind), StoreError::Full(_)) && from(kind).is_transient());
        }
        for kind in [Kind::ReadOnlyFilesystem, Kind::PermissionDenied] {
            assert!(matches!(from(kind), StoreError::ReadOnly(_)) && from(kind).is_transient());
        }
        assert!(!from(Kind::InvalidData).is_transient() && !StoreError::Closed.is_transient());
    }
}
