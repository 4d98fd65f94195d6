//! The store on redb: one file, pure Rust, the default.
//!
//! redb 4 offers two durabilities: `None` (kept in memory until the next durable commit) and
//! `Immediate` (synced when the commit returns). Buffered writes take the first, so they are
//! lost when the process is killed before a flush.

use std::{
    fs,
    io::ErrorKind,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use ::redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use bytes::Bytes;

use super::{
    Durability, Entries, SCAN_ENTRIES_MAX, StoreBackend, StoreError, StoreStats, Table, WriteBatch,
    open::OpenError,
};

/// Memory for redb's page cache, bytes. redb's own default of 1 GiB is for databases that are
/// the main thing on a machine; ours is some megabytes that are read once, at start.
pub const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// A redb database of the six tables.
pub struct RedbStore {
    path: PathBuf,
    /// `None` after an input or output error, until the next write opens the file again: redb
    /// refuses everything after such an error.
    database: Option<Database>,
    /// Buffered commits wait for a durable one.
    dirty: bool,
    batches: u64,
    reopened: u64,
}

impl RedbStore {
    /// Opens the database file at `path`, or creates it. The whole file is verified: redb
    /// itself checks its sums only when it repairs.
    ///
    /// # Errors
    /// [`OpenError::Held`] by another process, [`OpenError::Damaged`], or the file can't be
    /// read or written.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let database = open_database(path)?;
        let path = path.to_owned();
        Ok(RedbStore { path, database: Some(database), dirty: false, batches: 0, reopened: 0 })
    }

    fn read<T>(
        &self,
        operation: impl FnOnce(&Database) -> Result<T, ::redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database.as_ref().ok_or_else(waits_for_reopening)?;
        guarded(|| operation(database).map_err(store_error))
    }

    fn commit(&mut self, batch: &WriteBatch, durability: Durability) -> Result<(), StoreError> {
        if self.database.is_none() {
            self.database = Some(open_database(&self.path).map_err(StoreError::from)?);
            self.reopened += 1;
        }
        let database = self.database.as_ref().ok_or_else(waits_for_reopening)?;
        let result = guarded(|| write_batch(database, batch, durability).map_err(store_error));
        if result.is_err() {
            self.database = None;
        }
        self.dirty = result.is_ok() && durability == Durability::Buffered;
        result
    }
}

impl StoreBackend for RedbStore {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read(|database| {
            let rows = database.begin_read()?.open_table(definition(table))?;
            Ok(rows.get(key)?.map(|value| Bytes::copy_from_slice(value.value())))
        })
    }

    fn scan(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        self.read(|database| {
            let rows = database.begin_read()?.open_table(definition(table))?;
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut entries = Entries::new();
            let range = rows.range::<&[u8]>((start, Bound::Unbounded))?;
            for row in range.take(limit.min(SCAN_ENTRIES_MAX)) {
                let (key, value) = row?;
                let key = Bytes::copy_from_slice(key.value());
                entries.push((key, Bytes::copy_from_slice(value.value())));
            }
            Ok(entries)
        })
    }

    fn len(&self, table: Table) -> Result<u64, StoreError> {
        self.read(|database| Ok(database.begin_read()?.open_table(definition(table))?.len()?))
    }

    fn write(&mut self, batch: &WriteBatch, durability: Durability) -> Result<(), StoreError> {
        self.commit(batch, durability)?;
        self.batches += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.dirty { self.commit(&WriteBatch::new(), Durability::Synced) } else { Ok(()) }
    }

    fn close(mut self: Box<Self>) -> Result<(), StoreError> {
        let flushed = self.flush();
        let database = self.database.take();
        guarded(|| {
            drop(database);
            flushed
        })
    }

    fn stats(&self) -> StoreStats {
        let bytes = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        StoreStats { bytes, batches: self.batches, reopened: self.reopened }
    }
}

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

fn open_database(path: &Path) -> Result<Database, OpenError> {
    let opened = catch_unwind(|| {
        let mut database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        database.check_integrity()?;
        create_tables(&database)?;
        Ok(database)
    });
    match opened {
        Ok(result) => result.map_err(|error| open_error(path, error)),
        Err(_) => Err(damaged(path, "redb panicked while it opened the file")),
    }
}

/// Every table exists from the start, so that no read ever misses one.
fn create_tables(database: &Database) -> Result<(), ::redb::Error> {
    let reading = database.begin_read()?;
    if Table::ALL.iter().all(|table| reading.open_table(definition(*table)).is_ok()) {
        return Ok(());
    }
    let writing = database.begin_write()?;
    for table in Table::ALL {
        writing.open_table(definition(table))?;
    }
    Ok(writing.commit()?)
}

fn write_batch(
    database: &Database,
    batch: &WriteBatch,
    durability: Durability,
) -> Result<(), ::redb::Error> {
    let mut writing = database.begin_write()?;
    writing.set_durability(match durability {
        Durability::Buffered => ::redb::Durability::None,
        Durability::Synced => ::redb::Durability::Immediate,
    })?;
    for table in Table::ALL.into_iter().filter(|table| batch.touches(*table)) {
        let mut rows = writing.open_table(definition(table))?;
        for (_, key, value) in batch.iter().filter(|operation| operation.0 == table) {
            match value {
                Some(value) => rows.insert(key.as_ref(), value.as_ref())?,
                None => rows.remove(key.as_ref())?,
            };
        }
    }
    Ok(writing.commit()?)
}

/// Runs `operation` and takes a panic inside redb for what it is: a page that contradicts
/// itself in a way redb does not expect.
fn guarded<T>(operation: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(operation))
        .unwrap_or_else(|_| Err(StoreError::Damaged("redb panicked".into())))
}

fn waits_for_reopening() -> StoreError {
    StoreError::Io("redb waits to be opened again after an error".into())
}

fn store_error(error: ::redb::Error) -> StoreError {
    match error {
        ::redb::Error::Io(error) => error.into(),
        // The database is opened again before the next write.
        ::redb::Error::PreviousIo | ::redb::Error::DatabaseClosed => waits_for_reopening(),
        other => StoreError::Damaged(other.to_string()),
    }
}

fn open_error(path: &Path, error: ::redb::Error) -> OpenError {
    match error {
        ::redb::Error::DatabaseAlreadyOpen => OpenError::Held { path: path.to_owned() },
        ::redb::Error::Io(error)
            if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            damaged(path, &error.to_string())
        }
        ::redb::Error::Io(error) => OpenError::Io { path: path.to_owned(), error: error.into() },
        other => damaged(path, &other.to_string()),
    }
}

fn damaged(path: &Path, reason: &str) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}
