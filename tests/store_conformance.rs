//! Every store backend keeps the same promises, and a damaged database never stops a node.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use peerstage::store::{
    BackendChoice, Durability, OpenError, StoreBackend, Table, WriteBatch,
    conformance::conformance, memory::MemoryDisk, open, open::DAMAGED_KEPT_MAX,
};

/// Every backend of this build that keeps files, with the name of its database.
const ON_DISK: &[(BackendChoice, &str)] = &[
    #[cfg(feature = "redb")]
    (BackendChoice::Redb, "peers.redb"),
    #[cfg(feature = "rocksdb")]
    (BackendChoice::Rocksdb, "peers.rocksdb"),
];

#[test]
fn memory_conforms() {
    let disks: RefCell<BTreeMap<PathBuf, MemoryDisk>> = RefCell::default();
    let directory = tempfile::tempdir().unwrap();
    conformance(directory.path(), &|place| {
        let disk = disks.borrow_mut().entry(place.into()).or_default().clone();
        Ok(Box::new(disk.open()?))
    });
}

#[cfg(feature = "redb")]
#[test]
fn redb_conforms() {
    use peerstage::store::redb::RedbStore;
    let directory = tempfile::tempdir().unwrap();
    conformance(directory.path(), &|place| Ok(Box::new(RedbStore::open(&place.join("db"))?)));
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_conforms() {
    use peerstage::store::rocksdb::RocksStore;
    let directory = tempfile::tempdir().unwrap();
    conformance(directory.path(), &|place| Ok(Box::new(RocksStore::open(&place.join("db"))?)));
}

/// A chain lends one column family of its own database.
#[cfg(feature = "rocksdb")]
#[test]
fn a_lent_column_family_conforms() {
    use peerstage::store::rocksdb::{RocksDatabase, RocksStore};
    let directory = tempfile::tempdir().unwrap();
    conformance(directory.path(), &|place| {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let database = RocksDatabase::open_cf(&options, place.join("chain"), ["network"])
            .map_err(|_| OpenError::Held { path: place.into() })?;
        // The chain's own entries lie around ours and must stay out of sight.
        let family = database.cf_handle("network").unwrap();
        for key in [&b"chain"[..], b"peerstage", b"zzz"] {
            database.put_cf(family, key, b"the chain's own").unwrap();
        }
        let store = RocksStore::with_database(database.into(), "network", b"peerstage/")?;
        Ok(Box::new(store))
    });
}

#[test]
fn opened_stores_conform() {
    for (choice, _) in ON_DISK {
        let directory = tempfile::tempdir().unwrap();
        conformance(directory.path(), &|place| Ok(open(place, *choice)?.backend));
    }
}

/// A child that was forked a moment ago must not keep a closed store locked.
#[test]
fn a_closed_store_can_be_opened_at_once_even_by_a_process_that_starts_others() {
    for (choice, _) in ON_DISK {
        let directory = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let forks = scope.spawn(|| {
                for _ in 0..50 {
                    assert!(std::process::Command::new("true").status().unwrap().success());
                }
            });
            while !forks.is_finished() {
                open(directory.path(), *choice).unwrap().backend.close().unwrap();
            }
        });
    }
}

#[test]
fn a_choice_reads_as_it_is_written() {
    for word in ["auto", "rocksdb", "redb", "memory"] {
        assert_eq!(word.parse::<BackendChoice>().unwrap().to_string(), word);
    }
    let error = "rockdb".parse::<BackendChoice>().unwrap_err().to_string();
    assert_eq!(error, "unknown store backend \"rockdb\"; use auto, rocksdb, redb or memory");
}

/// Fills the store at `path` with bans and peers, and closes it.
fn fill(path: &Path, choice: BackendChoice, bans: u32) {
    let mut store = open(path, choice).unwrap().backend;
    let mut batch = WriteBatch::new();
    for n in 0..bans {
        batch.put(Table::Bans, n.to_be_bytes().to_vec(), "spam").unwrap();
        batch.put(Table::Peers, n.to_be_bytes().to_vec(), vec![7; 1000]).unwrap();
    }
    store.write(&batch, Durability::Synced).unwrap();
    store.close().unwrap();
}

/// Overwrites parts of every file of the database.
fn damage(database: &Path) {
    let files: Vec<PathBuf> = if database.is_dir() {
        fs::read_dir(database).unwrap().map(|entry| entry.unwrap().path()).collect()
    } else {
        vec![database.to_owned()]
    };
    for file in files.iter().filter(|file| file.is_file()) {
        let length = fs::metadata(file).unwrap().len();
        let file = OpenOptions::new().write(true).open(file).unwrap();
        for offset in [0, length / 3, length / 2] {
            let bytes = usize::try_from(length.saturating_sub(offset)).unwrap().min(256);
            file.write_all_at(&vec![0xa5; bytes], offset).unwrap();
        }
    }
}

fn bans(store: &dyn StoreBackend) -> usize {
    store.scan(Table::Bans, None, 1000).unwrap().len()
}

/// Attack row 48: a damaged peer database is moved aside, bans come back, the node starts.
#[test]
fn a_damaged_database_is_moved_aside_and_bans_return() {
    for (choice, name) in ON_DISK {
        let directory = tempfile::tempdir().unwrap();
        fill(directory.path(), *choice, 100);
        for round in 1..=DAMAGED_KEPT_MAX + 2 {
            damage(&directory.path().join(name));
            let opened = open(directory.path(), *choice).unwrap();
            let aside = directory.path().join(format!("{name}.damaged-{round}"));
            assert_eq!(opened.moved_aside, Some(aside.clone()), "{choice}");
            assert!(aside.exists());
            assert_eq!((opened.restored_bans, bans(opened.backend.as_ref())), (100, 100));
            assert_eq!(opened.backend.len(Table::Peers).unwrap(), 0, "peers are a cache");
            opened.backend.close().unwrap();
        }
        let entries = fs::read_dir(directory.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let kept = names.filter(|name| name.contains(".damaged-")).count();
        assert_eq!(kept, DAMAGED_KEPT_MAX);
    }
}

/// Attack row 48: whatever page of a redb file is wrong, the node starts with all its bans and
/// nothing panics.
#[cfg(feature = "redb")]
#[test]
fn a_wrong_page_anywhere_never_stops_the_node() {
    use peerstage::store::journal;
    const PAGE_BYTES: usize = 4096;
    let original = tempfile::tempdir().unwrap();
    fill(original.path(), BackendChoice::Redb, 100);
    let database = fs::read(original.path().join("peers.redb")).unwrap();
    let bans_file = fs::read(original.path().join(journal::FILE_NAME)).unwrap();
    let used = database.chunks(PAGE_BYTES).enumerate();
    let used = used.filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    for (page, _) in used {
        let directory = tempfile::tempdir().unwrap();
        let mut damaged = database.clone();
        for byte in damaged[page * PAGE_BYTES..].iter_mut().take(64) {
            *byte ^= 0xff;
        }
        fs::write(directory.path().join("peers.redb"), damaged).unwrap();
        fs::write(directory.path().join(journal::FILE_NAME), &bans_file).unwrap();
        let opened = open(directory.path(), BackendChoice::Redb).unwrap();
        assert_eq!(bans(opened.backend.as_ref()), 100, "page {page}");
    }
}

#[cfg(feature = "redb")]
#[test]
fn a_cut_off_database_is_moved_aside() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), BackendChoice::Redb, 10);
    let database = directory.path().join("peers.redb");
    OpenOptions::new().write(true).open(database).unwrap().set_len(5000).unwrap();
    let opened = open(directory.path(), BackendChoice::Redb).unwrap();
    assert!(opened.moved_aside.is_some());
    assert_eq!(bans(opened.backend.as_ref()), 10);
}

#[test]
fn bans_survive_a_change_of_the_backend() {
    let directory = tempfile::tempdir().unwrap();
    for (choice, _) in ON_DISK {
        fill(directory.path(), *choice, 10);
    }
    for (choice, _) in ON_DISK {
        assert_eq!(bans(open(directory.path(), *choice).unwrap().backend.as_ref()), 10);
    }
}

/// Attack row 48: an outage is no damage, nothing is moved for it.
#[test]
fn a_path_that_is_a_file_is_an_error_and_moves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "not a directory").unwrap();
    for (choice, _) in ON_DISK {
        assert!(matches!(open(&path, *choice), Err(OpenError::Io { .. })));
    }
    assert_eq!(fs::read(&path).unwrap(), b"not a directory");
}
