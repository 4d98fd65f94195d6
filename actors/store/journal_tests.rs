use super::*;
use crate::store::memory::MemoryDisk;

fn ban(key: &str, value: &str) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Table::Bans, key.to_owned(), value.to_owned()).unwrap();
    batch
}

fn lift(key: &str) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.delete(Table::Bans, key.to_owned()).unwrap();
    batch
}

fn journal() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    (directory, path)
}

#[test]
fn the_journal_tells_the_last_word_on_every_key() {
    let (_directory, path) = journal();
    let mut journal = BanJournal::create(&path, BTreeMap::new());
    journal.append(&ban("a", "1")).unwrap();
    journal.append(&ban("b", "1")).unwrap();
    journal.append(&ban("a", "2")).unwrap();
    journal.append(&lift("b")).unwrap();
    let said = BanJournal::read(&path).unwrap();
    assert_eq!(said, [("a".into(), Some("2".into())), ("b".into(), None)].into());
}

#[test]
fn a_torn_tail_costs_only_the_record_that_was_torn() {
    let (_directory, path) = journal();
    let mut journal = BanJournal::create(&path, BTreeMap::new());
    journal.append(&ban("whole", "1")).unwrap();
    let whole = fs::metadata(&path).unwrap().len();
    journal.append(&ban("torn", "1")).unwrap();
    let all = fs::read(&path).unwrap();
    for length in whole..all.len() as u64 {
        fs::write(&path, &all[..usize::try_from(length).unwrap()]).unwrap();
        let said: Vec<_> = BanJournal::read(&path).unwrap().into_keys().collect();
        assert_eq!(said, ["whole"], "cut to {length} bytes");
    }
}

#[test]
fn a_flipped_bit_anywhere_never_invents_a_ban() {
    let (_directory, path) = journal();
    let mut journal = BanJournal::create(&path, BTreeMap::new());
    journal.append(&ban("a", "first")).unwrap();
    journal.append(&ban("b", "second")).unwrap();
    let good = fs::read(&path).unwrap();
    let truth = BanJournal::read(&path).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bad).unwrap();
        for (key, value) in BanJournal::read(&path).unwrap() {
            assert_eq!(truth.get(&key), Some(&value), "bit {bit}");
        }
    }
}

#[test]
fn an_outgrown_journal_is_written_anew() {
    let (_directory, path) = journal();
    let mut journal = BanJournal::create(&path, BTreeMap::new());
    let value = "v".repeat(VALUE_BYTES_MAX);
    for _ in 0..12 {
        journal.append(&ban("a", &value)).unwrap();
    }
    assert!(journal.bytes() < SLACK_BYTES + 4 * value.len() as u64, "{} bytes", journal.bytes());
    assert_eq!(BanJournal::read(&path).unwrap().len(), 1);
}

#[test]
fn a_failed_append_is_repaired_before_the_next_one() {
    let (_directory, path) = journal();
    let mut journal = BanJournal::create(&path, BTreeMap::new());
    journal.append(&ban("a", "1")).unwrap();
    // What a full disk leaves behind: half a record, and an append that reported an error.
    OpenOptions::new().append(true).open(&path).unwrap().write_all(&[9; 11]).unwrap();
    journal.file = None;
    journal.append(&ban("b", "1")).unwrap();
    assert_eq!(BanJournal::read(&path).unwrap().len(), 2);
}

#[test]
fn an_append_that_fails_is_reported_and_not_counted() {
    let (_directory, path) = journal();
    let mut journal = BanJournal::create(&path, BTreeMap::new());
    journal.file = File::open(&path).ok(); // a file that can't be written to
    assert!(journal.append(&ban("a", "1")).is_err());
    journal.append(&ban("b", "1")).unwrap();
    let said: Vec<_> = BanJournal::read(&path).unwrap().into_keys().collect();
    assert_eq!(said, ["b"], "the failed one was never acknowledged");
}

/// Attack row 48: bans come back from their own file when the database is lost.
#[test]
fn bans_return_to_an_empty_database() {
    let (_directory, path) = journal();
    let (mut store, _) =
        Journaled::open(Box::new(MemoryDisk::new().open().unwrap()), &path).unwrap();
    store.write(&ban("a", "1"), Durability::Buffered).unwrap();
    store.write(&ban("b", "1"), Durability::Synced).unwrap();
    store.write(&lift("b"), Durability::Synced).unwrap();
    drop(store);
    let (store, restored) =
        Journaled::open(Box::new(MemoryDisk::new().open().unwrap()), &path).unwrap();
    assert_eq!(restored, 1);
    assert_eq!(store.get(Table::Bans, b"a").unwrap(), Some("1".into()));
    assert_eq!(store.get(Table::Bans, b"b").unwrap(), None, "a lifted ban stays lifted");
}

#[test]
fn a_lost_journal_is_made_from_the_database() {
    let (_directory, path) = journal();
    let disk = MemoryDisk::new();
    let (mut store, _) = Journaled::open(Box::new(disk.open().unwrap()), &path).unwrap();
    store.write(&ban("a", "1"), Durability::Synced).unwrap();
    drop(store);
    fs::write(&path, b"not a journal at all").unwrap();
    let (store, restored) = Journaled::open(Box::new(disk.open().unwrap()), &path).unwrap();
    assert_eq!((restored, store.get(Table::Bans, b"a").unwrap()), (0, Some("1".into())));
    assert_eq!(BanJournal::read(&path).unwrap().len(), 1);
}

#[test]
fn a_journal_that_could_not_be_created_is_created_by_the_next_append() {
    let (directory, path) = journal();
    let place = directory.path().join("later");
    let path = place.join(path.file_name().unwrap());
    let mut journal = BanJournal::create(&path, BTreeMap::from([("a".into(), "1".into())]));
    assert!(journal.append(&ban("b", "1")).is_err(), "there is no directory yet");
    fs::create_dir(&place).unwrap();
    journal.append(&ban("b", "1")).unwrap();
    assert_eq!(BanJournal::read(&path).unwrap().len(), 2);
}
