//! Bans, kept a second time: an append-only file that outlives a damaged database.
//!
//! The file is 16 bytes of [`HEADER`], then records: body length (`u32`, little-endian), the
//! first 16 bytes of BLAKE3 over that length and the body, body. A body is one operation: `1`
//! (put) or `2` (delete), key length (`u16`), key, value. A record that is cut off or fails its
//! checksum ends the file: it was never acknowledged.
//!
//! Every write to [`Table::Bans`] goes to the journal first, is synced there, and only then
//! reaches the database. So the journal's last word on a key wins over the database's; a key
//! that the journal never mentions keeps what the database says. At opening the two are made
//! equal and the journal is written anew, short.
//!
//! # Security
//! Provided: no acknowledged ban is lost while either of the two files is readable.
//! Not provided: protection from someone who edits the files.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    Durability, Entries, KEY_BYTES_MAX, SCAN_ENTRIES_MAX, StoreBackend, StoreError, StoreStats,
    Table, VALUE_BYTES_MAX, WriteBatch, open::DirectoryLock,
};

/// What a journal file starts with: name and format version.
pub const HEADER: [u8; 16] = *b"peerstage-bans/1";
/// The journal's file name inside the store's directory.
pub const FILE_NAME: &str = "bans.journal";
/// How far a journal may outgrow its live content before it is written anew, bytes. A guess:
/// some thousand bans, read back in a millisecond.
pub const SLACK_BYTES: u64 = 1024 * 1024;

const CHECKSUM_BYTES: usize = 16;
const PREFIX_BYTES: usize = 4 + CHECKSUM_BYTES;
const BODY_BYTES_MAX: usize = 3 + KEY_BYTES_MAX + VALUE_BYTES_MAX;
const PUT: u8 = 1;
const DELETE: u8 = 2;

/// What the journal says of each key it mentions: `None` is a lifted ban.
pub type Mentioned = BTreeMap<Bytes, Option<Bytes>>;

/// An open journal.
#[derive(Debug)]
pub struct BanJournal {
    path: PathBuf,
    /// `None` after a failed write: the end of the file is unknown, so the next append writes
    /// the whole file anew.
    file: Option<File>,
    /// Live bans, from which the file can be written anew.
    live: BTreeMap<Bytes, Bytes>,
    live_bytes: u64,
    /// Length of the file that is known to be good.
    good_bytes: u64,
}

impl BanJournal {
    /// Reads what the journal at `path` says, up to the first record that is not whole. A
    /// missing file says nothing.
    ///
    /// # Errors
    /// The file exists and can't be read.
    pub fn read(path: &Path) -> Result<Mentioned, io::Error> {
        let mut mentioned = Mentioned::new();
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(mentioned),
            other => other?,
        };
        let mut reader = BufReader::new(file);
        let mut header = [0; HEADER.len()];
        if !read_whole(&mut reader, &mut header)? || header != HEADER {
            return Ok(mentioned);
        }
        while let Some((key, value)) = read_record(&mut reader)? {
            mentioned.insert(key, value);
        }
        Ok(mentioned)
    }

    /// Writes a new journal that says exactly `live`, in place of any old one, synced.
    ///
    /// An old journal is left as it is where this fails, and the next append tries again: a
    /// node also starts on a full disk.
    #[must_use]
    pub fn create(path: &Path, live: BTreeMap<Bytes, Bytes>) -> Self {
        let path = path.to_owned();
        let mut journal = BanJournal { path, file: None, live, live_bytes: 0, good_bytes: 0 };
        // What failed here fails the next append, which reports it.
        let _ = journal.write_anew();
        journal
    }

    /// Appends what `batch` does to [`Table::Bans`] and syncs it.
    ///
    /// # Errors
    /// Nothing of the batch may be relied upon; the next append repairs the file first.
    pub fn append(&mut self, batch: &WriteBatch) -> Result<(), io::Error> {
        let outgrown = self.good_bytes > self.live_bytes.saturating_add(SLACK_BYTES);
        if outgrown || self.file.is_none() {
            self.file = None;
            self.write_anew()?;
        }
        let bans = || batch.iter().filter(|operation| operation.0 == Table::Bans);
        let records: Vec<u8> = bans().flat_map(|(_, key, value)| record(key, value)).collect();
        // Taken, and only given back when all went well.
        let Some(mut file) = self.file.take() else { return Err(io::ErrorKind::NotFound.into()) };
        file.write_all(&records)?;
        file.sync_data()?;
        self.file = Some(file);
        self.good_bytes = self.good_bytes.saturating_add(records.len() as u64);
        for (_, key, value) in bans() {
            match value {
                Some(value) => self.live.insert(key.clone(), value.clone()),
                None => self.live.remove(key),
            };
        }
        Ok(())
    }

    /// Writes the live bans to a new file, puts it in the place of the old one, synced.
    fn write_anew(&mut self) -> Result<(), io::Error> {
        let new = self.path.with_extension("journal.new");
        let mut content = HEADER.to_vec();
        for (key, value) in &self.live {
            content.extend(record(key, Some(value)));
        }
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&new)?;
        file.write_all(&content)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
        self.file = Some(file);
        self.good_bytes = content.len() as u64;
        self.live_bytes = self.good_bytes;
        Ok(())
    }

    /// How long the file is, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.good_bytes
    }
}

/// A database with its journal: what [`super::open()`] hands out.
pub struct Journaled {
    inner: Box<dyn StoreBackend>,
    journal: BanJournal,
    /// The lock of the directory: free when the store is gone, and after the database.
    _lock: Option<DirectoryLock>,
}

impl Journaled {
    /// Makes the bans of `inner` and of the journal at `path` equal, and keeps them so. Tells
    /// how many bans the database had lost.
    ///
    /// # Errors
    /// Either of the two can't be read or written.
    pub fn open(
        mut inner: Box<dyn StoreBackend>,
        path: &Path,
    ) -> Result<(Self, usize), StoreError> {
        let mut live = read_all(inner.as_ref(), Table::Bans)?;
        let mut restored = 0;
        let mut batch = WriteBatch::new();
        for (key, value) in BanJournal::read(path)? {
            if live.get(&key) == value.as_ref() {
                continue;
            }
            restored += usize::from(value.is_some());
            match &value {
                Some(value) => live.insert(key.clone(), value.clone()),
                None => live.remove(&key),
            };
            if batch.set(Table::Bans, key.clone(), value.clone()).is_err() {
                inner.write(&batch, Durability::Synced)?;
                batch = WriteBatch::new();
                batch.set(Table::Bans, key, value)?;
            }
        }
        if !batch.is_empty() {
            inner.write(&batch, Durability::Synced)?;
        }
        // What the journal forgets here must be safe in the database before.
        inner.flush()?;
        let journal = BanJournal::create(path, live);
        Ok((Journaled { inner, journal, _lock: None }, restored))
    }

    /// Keeps `lock` for as long as the store is open.
    #[must_use]
    pub(super) fn holding(self, lock: DirectoryLock) -> Self {
        Journaled { _lock: Some(lock), ..self }
    }
}

impl StoreBackend for Journaled {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        self.inner.scan(table, after, limit)
    }

    fn len(&self, table: Table) -> Result<u64, StoreError> {
        self.inner.len(table)
    }

    fn write(&mut self, batch: &WriteBatch, durability: Durability) -> Result<(), StoreError> {
        if !batch.touches(Table::Bans) {
            return self.inner.write(batch, durability);
        }
        self.journal.append(batch)?;
        self.inner.write(batch, Durability::Synced)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.inner.flush()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.inner.close()
    }

    fn stats(&self) -> StoreStats {
        let stats = self.inner.stats();
        StoreStats { bytes: stats.bytes.saturating_add(self.journal.bytes()), ..stats }
    }
}

/// All of a table, paged.
pub(super) fn read_all(
    store: &dyn StoreBackend,
    table: Table,
) -> Result<BTreeMap<Bytes, Bytes>, StoreError> {
    let mut all = BTreeMap::new();
    let mut after: Option<Bytes> = None;
    loop {
        let page = store.scan(table, after.as_deref(), SCAN_ENTRIES_MAX)?;
        let last = page.len() < SCAN_ENTRIES_MAX;
        after = page.last().map(|entry| entry.0.clone());
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

/// Forces the entries of `directory` to disk: a new or renamed file is not safe before.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), io::Error> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)?.sync_all()
}

fn record(key: &Bytes, value: Option<&Bytes>) -> Vec<u8> {
    let value_bytes = value.map_or(&[][..], |value| value.as_ref());
    let mut body = Vec::with_capacity(3 + key.len() + value_bytes.len());
    body.push(if value.is_some() { PUT } else { DELETE });
    // A batch has checked the key: it is far below 65,535 bytes.
    body.extend(u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
    body.extend_from_slice(key);
    body.extend_from_slice(value_bytes);
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut record = Vec::with_capacity(PREFIX_BYTES + body.len());
    record.extend(length);
    record.extend(checksum(length, &body));
    record.extend(body);
    record
}

fn checksum(length: [u8; 4], body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = blake3::Hasher::new();
    hash.update(&length).update(body);
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hash.finalize().as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

/// The next whole record, or `None` at the end of what can be trusted.
fn read_record(reader: &mut impl Read) -> Result<Option<(Bytes, Option<Bytes>)>, io::Error> {
    let (mut length, mut expected) = ([0; 4], [0; CHECKSUM_BYTES]);
    if !read_whole(reader, &mut length)? || !read_whole(reader, &mut expected)? {
        return Ok(None);
    }
    let body_bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if body_bytes > BODY_BYTES_MAX {
        return Ok(None);
    }
    let mut body = vec![0; body_bytes];
    if !read_whole(reader, &mut body)? || checksum(length, &body) != expected {
        return Ok(None);
    }
    Ok(parse(&Bytes::from(body)))
}

fn parse(body: &Bytes) -> Option<(Bytes, Option<Bytes>)> {
    let [kind, low, high, rest @ ..] = body.as_ref() else { return None };
    let key_bytes = usize::from(u16::from_le_bytes([*low, *high]));
    let (key, value) = rest.split_at_checked(key_bytes)?;
    match *kind {
        PUT => Some((body.slice_ref(key), Some(body.slice_ref(value)))),
        DELETE if value.is_empty() => Some((body.slice_ref(key), None)),
        _ => None,
    }
}

/// Fills `buffer`; `false` if the file ends before.
fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> Result<bool, io::Error> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
