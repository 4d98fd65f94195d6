//! Opening a store: which backend, who holds it, and what to do with a damaged one.
//!
//! A store is a directory: `store.lock`, the database (`peers.redb` or `peers.rocksdb/`) and
//! the ban journal. A peer database is a cache: a damaged one is moved aside, bans come back
//! from the journal, and the node starts. Outages (a full disk, missing rights) are not damage:
//! nothing is moved for them.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    str::FromStr,
};

use bytes::Bytes;

use super::{
    SCAN_ENTRIES_MAX, StoreBackend, StoreError, Table,
    journal::{self, Journaled, sync_directory},
    memory::MemoryStore,
};

/// How many damaged databases are kept for inspection; the oldest goes first.
pub const DAMAGED_KEPT_MAX: usize = 3;
/// The file whose lock says that a process uses the directory, whatever the backend.
pub const LOCK_FILE_NAME: &str = "store.lock";

/// Which backend to open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// RocksDB where it is compiled in, else redb, else memory.
    #[default]
    Auto,
    /// RocksDB (feature `rocksdb`).
    Rocksdb,
    /// redb (feature `redb`).
    Redb,
    /// Memory: everything is forgotten at the end, bans too.
    Memory,
}

/// An open store.
pub struct Opened {
    /// The store.
    pub backend: Box<dyn StoreBackend>,
    /// Where a damaged database was moved to.
    pub moved_aside: Option<PathBuf>,
    /// How many bans the database had lost and the journal brought back.
    pub restored_bans: usize,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process; stop it, or choose another data directory", path.display())]
    Held {
        /// What is held.
        path: PathBuf,
    },
    /// The binary was built without this backend.
    #[error("this build has no store backend \"{0}\"; build with --features {0}")]
    NotCompiledIn(BackendChoice),
    /// The database contradicts itself. [`open`] moves it aside.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What the backend found.
        reason: String,
    },
    /// The files can't be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// What was opened.
        path: PathBuf,
        /// Why it failed.
        error: StoreError,
    },
    /// The database is open but does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Damaged { reason, .. } => StoreError::Damaged(reason),
            OpenError::Io { error, .. } | OpenError::Store(error) => error,
            other => StoreError::Io(other.to_string()),
        }
    }
}

/// Opens the store in the directory `path`, creates it where there is none, and moves a damaged
/// database aside. The caller logs `moved_aside` and `restored_bans`.
///
/// # Errors
/// See [`OpenError`]; never [`OpenError::Damaged`].
pub fn open(path: &Path, choice: BackendChoice) -> Result<Opened, OpenError> {
    let kind = choice.resolve();
    let Some(file_name) = kind.file_name() else {
        let backend = Box::new(MemoryStore::new());
        return Ok(Opened { backend, moved_aside: None, restored_bans: 0 });
    };
    if !kind.is_compiled_in() {
        return Err(OpenError::NotCompiledIn(kind));
    }
    let io_error = |error: io::Error| OpenError::Io { path: path.into(), error: error.into() };
    if !path.exists() {
        fs::create_dir_all(path).map_err(io_error)?;
        // A directory is safe when its parent knows of it.
        sync_directory(path.parent().unwrap_or(path)).map_err(io_error)?;
    }
    let lock = DirectoryLock::take(path)?;
    let database = path.join(file_name);
    let (inner, moved_aside) = match open_verified(&database, kind) {
        Err(OpenError::Damaged { .. }) => {
            let aside = move_aside(&database).map_err(io_error)?;
            (open_verified(&database, kind)?, Some(aside))
        }
        other => (other?, None),
    };
    let journal = path.join(journal::FILE_NAME);
    let (journaled, restored_bans) = Journaled::open(inner, &journal)?;
    let backend = Box::new(journaled.holding(lock));
    Ok(Opened { backend, moved_aside, restored_bans })
}

/// Whether the store in the directory `path` is in order, and its backend's name; `None` if there
/// is no database yet. Nothing is moved, restored or made, but for the lock file.
///
/// # Errors
/// See [`OpenError`].
pub fn inspect(path: &Path, choice: BackendChoice) -> Result<Option<&'static str>, OpenError> {
    let kind = choice.resolve();
    let Some(file_name) = kind.file_name() else { return Ok(None) };
    if !kind.is_compiled_in() {
        return Err(OpenError::NotCompiledIn(kind));
    }
    let database = path.join(file_name);
    if !database.exists() {
        return Ok(None);
    }
    let _lock = DirectoryLock::take(path)?;
    Ok(Some(open_verified(&database, kind)?.name()))
}

impl BackendChoice {
    fn resolve(self) -> Self {
        match self {
            BackendChoice::Auto if cfg!(feature = "rocksdb") => BackendChoice::Rocksdb,
            BackendChoice::Auto if cfg!(feature = "redb") => BackendChoice::Redb,
            BackendChoice::Auto => BackendChoice::Memory,
            chosen => chosen,
        }
    }

    /// Whether this build has it.
    #[must_use]
    pub fn is_compiled_in(self) -> bool {
        match self.resolve() {
            BackendChoice::Rocksdb => cfg!(feature = "rocksdb"),
            BackendChoice::Redb => cfg!(feature = "redb"),
            BackendChoice::Memory | BackendChoice::Auto => true,
        }
    }

    /// The database inside the store's directory; memory has none.
    fn file_name(self) -> Option<&'static str> {
        match self {
            BackendChoice::Rocksdb => Some("peers.rocksdb"),
            BackendChoice::Redb => Some("peers.redb"),
            BackendChoice::Memory | BackendChoice::Auto => None,
        }
    }
}

impl fmt::Display for BackendChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BackendChoice::Auto => "auto",
            BackendChoice::Rocksdb => "rocksdb",
            BackendChoice::Redb => "redb",
            BackendChoice::Memory => "memory",
        })
    }
}

/// A word that is no backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown store backend \"{0}\"; use auto, rocksdb, redb or memory")]
pub struct UnknownBackend(String);

impl FromStr for BackendChoice {
    type Err = UnknownBackend;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        use BackendChoice::{Auto, Memory, Redb, Rocksdb};
        let all = [Auto, Rocksdb, Redb, Memory];
        all.into_iter()
            .find(|choice| choice.to_string() == word)
            .ok_or_else(|| UnknownBackend(word.to_owned()))
    }
}

/// A directory that no other process uses, for as long as this lives.
pub(super) struct DirectoryLock(File);

impl DirectoryLock {
    fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(LOCK_FILE_NAME);
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        match opened.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file)) {
            Ok(file) => Ok(DirectoryLock(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::Held { path: directory.to_owned() }),
            Err(TryLockError::Error(error)) => Err(OpenError::Io { path, error: error.into() }),
        }
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing is not enough: a child just forked holds the same lock until it runs its own
        // program. If unlocking fails, closing does it a moment later.
        let _ = self.0.unlock();
    }
}

/// Opens the database and reads all of it: a damaged block shows itself only when it is read.
fn open_verified(path: &Path, kind: BackendChoice) -> Result<Box<dyn StoreBackend>, OpenError> {
    let store = open_database(path, kind)?;
    match Table::ALL.into_iter().try_for_each(|table| read_through(store.as_ref(), table)) {
        Ok(()) => Ok(store),
        Err(StoreError::Damaged(reason)) => {
            Err(OpenError::Damaged { path: path.to_owned(), reason })
        }
        Err(error) => Err(OpenError::Io { path: path.to_owned(), error }),
    }
}

fn open_database(path: &Path, kind: BackendChoice) -> Result<Box<dyn StoreBackend>, OpenError> {
    match kind {
        #[cfg(feature = "rocksdb")]
        BackendChoice::Rocksdb => Ok(Box::new(super::rocksdb::RocksStore::open(path)?)),
        #[cfg(feature = "redb")]
        BackendChoice::Redb => Ok(Box::new(super::redb::RedbStore::open(path)?)),
        _ => {
            debug_assert!(!kind.is_compiled_in(), "{} is not opened", path.display());
            Err(OpenError::NotCompiledIn(kind))
        }
    }
}

fn read_through(store: &dyn StoreBackend, table: Table) -> Result<(), StoreError> {
    let mut after: Option<Bytes> = None;
    loop {
        let page = store.scan(table, after.as_deref(), SCAN_ENTRIES_MAX)?;
        if page.len() < SCAN_ENTRIES_MAX {
            return Ok(());
        }
        after = page.last().map(|entry| entry.0.clone());
    }
}

/// Renames `database` to the next free `<name>.damaged-<n>` and removes the oldest beyond
/// [`DAMAGED_KEPT_MAX`].
fn move_aside(database: &Path) -> Result<PathBuf, io::Error> {
    let directory = database.parent().unwrap_or(Path::new("."));
    let name = database.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{name}.damaged-");
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?.file_name();
        let number = entry.to_str().and_then(|name| name.strip_prefix(&prefix));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    let numbered = |number: u64| directory.join(format!("{prefix}{number}"));
    let aside = numbered(numbers.last().map_or(1, |last| last.saturating_add(1)));
    fs::rename(database, &aside)?;
    let surplus = (numbers.len() + 1).saturating_sub(DAMAGED_KEPT_MAX);
    for number in numbers.into_iter().take(surplus) {
        let old = numbered(number);
        if old.is_dir() { fs::remove_dir_all(old)? } else { fs::remove_file(old)? }
    }
    sync_directory(directory)?;
    Ok(aside)
}
