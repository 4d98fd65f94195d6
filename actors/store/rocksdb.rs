//! The store on RocksDB: a database of its own with a column family a table, or one column
//! family of a database that the chain has opened anyway.
//!
//! Buffered writes go to the write-ahead log without a sync: they survive a killed process,
//! not a power cut. After a cut the log is replayed up to its first damaged record.

use std::{
    io::ErrorKind as IoKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use ::rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DBRecoveryMode, DBWithThreadMode, Direction, Error,
    ErrorKind, IteratorMode, Options, ReadOptions, SingleThreaded, WriteOptions, properties,
};
use bytes::Bytes;

use super::{
    Durability, Entries, SCAN_ENTRIES_MAX, StoreBackend, StoreError, StoreStats, Table, WriteBatch,
    open::OpenError,
};

/// Memory for blocks read from disk, bytes, shared by all tables. The tables are read once, at
/// start, so a larger cache would hold what nobody asks for again.
pub const CACHE_BYTES: usize = 4 * 1024 * 1024;
/// Memory for writes not yet in a sorted file, bytes, for each table.
pub const WRITE_BUFFER_BYTES: usize = 1024 * 1024;
/// The longest write-ahead log, bytes: what is replayed after a crash.
pub const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// RocksDB's own text logs: how many files of how many bytes.
pub const TEXT_LOGS: (usize, usize) = (2, 1024 * 1024);

/// The type of database a chain can lend.
pub type RocksDatabase = DBWithThreadMode<SingleThreaded>;

/// Six tables in RocksDB.
pub struct RocksStore {
    place: Place,
    batches: u64,
    reopened: u64,
}

enum Place {
    /// A database of our own. `None` after an input or output error, until the next write
    /// opens it again: RocksDB stays read-only after one.
    Owned { path: PathBuf, database: Option<RocksDatabase> },
    /// A column family of somebody else's database; keys start with the prefix and the tag of
    /// their table.
    Lent { database: Arc<RocksDatabase>, column_family: String, prefix: Vec<u8> },
}

impl RocksStore {
    /// Opens the database in the directory `path`, or creates it.
    ///
    /// # Errors
    /// [`OpenError::Held`] by another process, [`OpenError::Damaged`], or the files can't be
    /// read or written.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let database = Some(open_database(path)?);
        let place = Place::Owned { path: path.to_owned(), database };
        Ok(RocksStore { place, batches: 0, reopened: 0 })
    }

    /// Keeps the tables in `column_family` of a database that is open already, every key behind
    /// `prefix`. Closing the store leaves the database open.
    ///
    /// # Errors
    /// [`OpenError::Store`] where the column family does not exist.
    pub fn with_database(
        database: Arc<RocksDatabase>,
        column_family: &str,
        prefix: &[u8],
    ) -> Result<Self, OpenError> {
        if database.cf_handle(column_family).is_none() {
            return Err(OpenError::Store(no_family(column_family)));
        }
        let column_family = column_family.to_owned();
        let place = Place::Lent { database, column_family, prefix: prefix.to_vec() };
        Ok(RocksStore { place, batches: 0, reopened: 0 })
    }

    fn database(&self) -> Result<&RocksDatabase, StoreError> {
        match &self.place {
            Place::Owned { database, .. } => database.as_ref().ok_or_else(waits_for_reopening),
            Place::Lent { database, .. } => Ok(database),
        }
    }

    /// The column family of `table` and what its keys start with.
    fn locate(&self, table: Table) -> Result<(&ColumnFamily, Vec<u8>), StoreError> {
        let (name, prefix) = match &self.place {
            Place::Owned { .. } => (table.name(), Vec::new()),
            Place::Lent { column_family, prefix, .. } => {
                (column_family.as_str(), [prefix, &[table.tag()][..]].concat())
            }
        };
        Ok((self.database()?.cf_handle(name).ok_or_else(|| no_family(name))?, prefix))
    }

    fn page(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        let (family, prefix) = self.locate(table)?;
        let mut options = ReadOptions::default();
        if let Some((last, head)) = prefix.split_last() {
            // A tag is never 255, so the next one is the end of this table.
            options.set_iterate_upper_bound([head, &[last.saturating_add(1)]].concat());
        }
        let start = [&prefix, after.unwrap_or_default()].concat();
        let mode = IteratorMode::From(&start, Direction::Forward);
        let mut entries = Entries::new();
        for row in self.database()?.iterator_cf_opt(family, options, mode) {
            let (key, value) = row.map_err(store_error)?;
            if after.is_some() && *key == *start {
                continue;
            }
            if entries.len() >= limit {
                break;
            }
            entries.push((Bytes::from(key).slice(prefix.len()..), Bytes::from(value)));
        }
        Ok(entries)
    }

    fn commit(&mut self, batch: &WriteBatch, durability: Durability) -> Result<(), StoreError> {
        self.reopen_if_failed()?;
        let mut rows = ::rocksdb::WriteBatch::default();
        for (table, key, value) in batch.iter() {
            let (family, prefix) = self.locate(table)?;
            let key = [&prefix, key.as_ref()].concat();
            match value {
                Some(value) => rows.put_cf(family, key, value),
                None => rows.delete_cf(family, key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        let result = self.database()?.write_opt(rows, &options).map_err(store_error);
        self.note(result)
    }

    fn reopen_if_failed(&mut self) -> Result<(), StoreError> {
        if let Place::Owned { path, database: database @ None } = &mut self.place {
            *database = Some(open_database(path).map_err(StoreError::from)?);
            self.reopened += 1;
        }
        Ok(())
    }

    fn note(&mut self, result: Result<(), StoreError>) -> Result<(), StoreError> {
        if let (Err(_), Place::Owned { database, .. }) = (&result, &mut self.place) {
            *database = None;
        }
        result
    }
}

impl StoreBackend for RocksStore {
    fn name(&self) -> &'static str {
        "rocksdb"
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let (family, prefix) = self.locate(table)?;
        let value = self.database()?.get_cf(family, [&prefix, key].concat());
        Ok(value.map_err(store_error)?.map(Bytes::from))
    }

    fn scan(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        self.page(table, after, limit.min(SCAN_ENTRIES_MAX))
    }

    fn len(&self, table: Table) -> Result<u64, StoreError> {
        let (mut entries, mut after) = (0, None);
        loop {
            let page = self.page(table, after.as_deref(), SCAN_ENTRIES_MAX)?;
            entries += page.len() as u64;
            if page.len() < SCAN_ENTRIES_MAX {
                return Ok(entries);
            }
            after = page.into_iter().next_back().map(|entry| entry.0);
        }
    }

    fn write(&mut self, batch: &WriteBatch, durability: Durability) -> Result<(), StoreError> {
        self.commit(batch, durability)?;
        self.batches += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.reopen_if_failed()?;
        let result = self.database()?.flush_wal(true).map_err(store_error);
        self.note(result)
    }

    fn close(mut self: Box<Self>) -> Result<(), StoreError> {
        self.flush()
    }

    fn stats(&self) -> StoreStats {
        let families = Table::ALL.iter().filter_map(|table| self.locate(*table).ok());
        let lent = matches!(self.place, Place::Lent { .. });
        let bytes = families.take(if lent { 1 } else { Table::ALL.len() }).map(|(family, _)| {
            let size = |name| {
                let database = self.database().ok()?;
                database.property_int_value_cf(family, name).ok().flatten()
            };
            let files = size(properties::TOTAL_SST_FILES_SIZE).unwrap_or(0);
            files.saturating_add(size(properties::SIZE_ALL_MEM_TABLES).unwrap_or(0))
        });
        let bytes = bytes.fold(0, u64::saturating_add);
        StoreStats { bytes, batches: self.batches, reopened: self.reopened }
    }
}

fn open_database(path: &Path) -> Result<RocksDatabase, OpenError> {
    let options = options();
    // A newer version may have added families; RocksDB insists on opening all there are. There
    // is no list in a new directory, and opening a damaged one tells better what is wrong.
    let mut families = RocksDatabase::list_cf(&options, path).unwrap_or_default();
    for table in Table::ALL {
        if !families.iter().any(|name| name == table.name()) {
            families.push(table.name().to_owned());
        }
    }
    let families = families.into_iter().map(|name| (name, options.clone()));
    RocksDatabase::open_cf_with_opts(&options, path, families)
        .map_err(|error| open_error(path, error))
}

fn options() -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_total_wal_size(LOG_BYTES_MAX);
    options.set_keep_log_file_num(TEXT_LOGS.0);
    options.set_max_log_file_size(TEXT_LOGS.1);
    options.set_max_open_files(64);
    options.set_compression_type(::rocksdb::DBCompressionType::None);
    options
}

fn waits_for_reopening() -> StoreError {
    StoreError::Io("RocksDB waits to be opened again after an error".into())
}

fn no_family(name: &str) -> StoreError {
    StoreError::Damaged(format!("RocksDB has no column family {name}"))
}

/// RocksDB reports in text; the kinds are in front, the reason of the system at the end.
fn io_kind(message: &str) -> Option<IoKind> {
    let known = [
        ("No space left on device", IoKind::StorageFull),
        ("File too large", IoKind::FileTooLarge),
        ("Disk quota exceeded", IoKind::QuotaExceeded),
        ("Read-only file system", IoKind::ReadOnlyFilesystem),
        ("Permission denied", IoKind::PermissionDenied),
    ];
    known.iter().find(|(text, _)| message.contains(text)).map(|(_, kind)| *kind)
}

fn store_error(error: Error) -> StoreError {
    let (kind, message) = (error.kind(), error.into_string());
    match (io_kind(&message), kind) {
        (Some(kind), _) => std::io::Error::new(kind, message).into(),
        (None, ErrorKind::Corruption) => StoreError::Damaged(message),
        (None, ErrorKind::ShutdownInProgress) => StoreError::Closed,
        (None, _) => StoreError::Io(message),
    }
}

fn open_error(path: &Path, error: Error) -> OpenError {
    let (kind, message) = (error.kind(), error.into_string());
    let path = path.to_owned();
    let is_lock = message.contains("lock hold by") || message.contains("While lock file");
    match (io_kind(&message), kind) {
        (Some(kind), _) => OpenError::Io { path, error: std::io::Error::new(kind, message).into() },
        (None, ErrorKind::IOError) if is_lock => OpenError::Held { path },
        // A file that the manifest names and nobody finds is damage, not an outage.
        (None, ErrorKind::IOError) if !message.contains("No such file") => {
            OpenError::Io { path, error: StoreError::Io(message) }
        }
        (None, ErrorKind::Busy | ErrorKind::TryAgain | ErrorKind::TimedOut) => {
            OpenError::Io { path, error: StoreError::Io(message) }
        }
        _ => OpenError::Damaged { path, reason: message },
    }
}
