//! What every store backend must do, as one suite. A chain that brings its own backend runs it
//! in its tests: every line is a promise that the rest of Peerstage builds on.
// The suite's way to fail is to panic.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    BATCH_OPERATIONS_MAX, Durability, KEY_BYTES_MAX, OpenError, SCAN_ENTRIES_MAX, StoreBackend,
    Table, VALUE_BYTES_MAX, WriteBatch,
};

/// Opens the backend under test in a directory that exists; twice in the same directory opens
/// the same store.
pub type OpenStore<'a> = dyn Fn(&Path) -> Result<Box<dyn StoreBackend>, OpenError> + 'a;

/// One promise: where its files go, and how to open the store.
type Story = fn(&Path, &OpenStore<'_>);

/// What to write: `None` removes the key.
type Operation<'a> = (Table, &'a [u8], Option<&'a [u8]>);

/// Runs the whole suite, every story in a directory of its own below `directory`.
///
/// # Panics
/// The backend breaks a promise; the message says which.
pub fn conformance(directory: &Path, open: &OpenStore<'_>) {
    let stories: [(&str, Story); 10] = [
        ("what_is_written_is_read", what_is_written_is_read),
        ("tables_are_apart", tables_are_apart),
        ("a_scan_goes_in_the_order_of_the_keys", a_scan_goes_in_the_order_of_the_keys),
        ("pages_of_any_size_join_without_a_gap", pages_of_any_size_join_without_a_gap),
        ("a_scan_is_bounded", a_scan_is_bounded),
        ("a_batch_is_whole", a_batch_is_whole),
        ("the_largest_entries_fit", the_largest_entries_fit),
        ("a_closed_store_comes_back_whole", a_closed_store_comes_back_whole),
        ("a_second_opening_is_refused", a_second_opening_is_refused),
        ("it_behaves_like_an_ordered_map", it_behaves_like_an_ordered_map),
    ];
    for (name, story) in stories {
        let place: PathBuf = directory.join(name);
        fs::create_dir_all(&place).expect("a directory for the story");
        story(&place, open);
    }
}

fn batch(operations: &[Operation<'_>]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (table, key, value) in operations {
        let value = value.map(Bytes::copy_from_slice);
        batch.set(*table, Bytes::copy_from_slice(key), value).expect("within the limits");
    }
    batch
}

fn opened(place: &Path, open: &OpenStore<'_>) -> Box<dyn StoreBackend> {
    open(place).unwrap_or_else(|error| panic!("opening failed: {error}"))
}

fn what_is_written_is_read(place: &Path, open: &OpenStore<'_>) {
    let mut store = opened(place, open);
    let get = |store: &dyn StoreBackend, key: &[u8]| store.get(Table::Meta, key).expect("readable");
    assert_eq!(get(store.as_ref(), b"k"), None, "an empty store has nothing");
    for (durability, value) in [(Durability::Buffered, b"1"), (Durability::Synced, b"2")] {
        store.write(&batch(&[(Table::Meta, b"k", Some(value))]), durability).expect("writable");
        assert_eq!(get(store.as_ref(), b"k").as_deref(), Some(&value[..]), "{durability:?}");
    }
    store.write(&batch(&[(Table::Meta, b"", Some(b""))]), Durability::Buffered).expect("writable");
    assert_eq!(get(store.as_ref(), b"").as_deref(), Some(&b""[..]), "an empty value is a value");
    let deleted = batch(&[(Table::Meta, b"k", None), (Table::Meta, b"never there", None)]);
    store.write(&deleted, Durability::Buffered).expect("deleting what is not there is fine");
    assert_eq!(get(store.as_ref(), b"k"), None);
    store.write(&WriteBatch::new(), Durability::Synced).expect("an empty batch is fine");
}

fn tables_are_apart(place: &Path, open: &OpenStore<'_>) {
    let mut store = opened(place, open);
    for table in Table::ALL {
        let name = table.name().as_bytes();
        store.write(&batch(&[(table, b"k", Some(name))]), Durability::Buffered).expect("writable");
    }
    for table in Table::ALL {
        let expected = Bytes::from(table.name());
        assert_eq!(store.get(table, b"k").expect("readable"), Some(expected.clone()));
        let all = store.scan(table, None, 10).expect("readable");
        assert_eq!(all, [(Bytes::from("k"), expected)], "a scan stays in {}", table.name());
        assert_eq!(store.len(table).expect("readable"), 1);
    }
}

fn a_scan_goes_in_the_order_of_the_keys(place: &Path, open: &OpenStore<'_>) {
    let mut store = opened(place, open);
    let ordered: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"a", b"a\xff", b"b", b"\xff\xff"];
    for key in ordered.iter().rev() {
        let one = batch(&[(Table::Peers, key, Some(b"v"))]);
        store.write(&one, Durability::Buffered).expect("writable");
    }
    let keys = |after: Option<&[u8]>| -> Vec<Bytes> {
        let page = store.scan(Table::Peers, after, 100).expect("readable");
        page.into_iter().map(|entry| entry.0).collect()
    };
    assert_eq!(keys(None), ordered);
    assert_eq!(keys(Some(b"")), ordered[1..], "after the empty key");
    assert_eq!(keys(Some(b"a")), ordered[4..], "after a key that is there");
    assert_eq!(keys(Some(b"aa")), ordered[4..], "after a key that is not there");
    assert_eq!(keys(Some(b"\xff\xff")), ordered[7..], "after the last");
}

fn pages_of_any_size_join_without_a_gap(place: &Path, open: &OpenStore<'_>) {
    let mut store = opened(place, open);
    let keys: Vec<Vec<u8>> = (0..50u16).map(|n| (n * 7).to_be_bytes().to_vec()).collect();
    let operations: Vec<Operation<'_>> =
        keys.iter().map(|key| (Table::Scores, &key[..], Some(&key[..]))).collect();
    store.write(&batch(&operations), Durability::Buffered).expect("writable");
    for size in [1, 7, 49, 50, 51] {
        let (mut seen, mut after) = (Vec::new(), None::<Bytes>);
        loop {
            let page = store.scan(Table::Scores, after.as_deref(), size).expect("readable");
            assert!(page.len() <= size);
            after = page.last().map(|entry| entry.0.clone());
            let ended = page.len() < size;
            seen.extend(page.into_iter().map(|entry| entry.0));
            if ended {
                break;
            }
        }
        assert_eq!(seen, keys, "pages of {size}");
    }
    assert!(store.scan(Table::Scores, None, 0).expect("readable").is_empty());
}

fn a_scan_is_bounded(place: &Path, open: &OpenStore<'_>) {
    let mut store = opened(place, open);
    let mut many = WriteBatch::new();
    let entries = SCAN_ENTRIES_MAX + 10;
    assert!(entries < BATCH_OPERATIONS_MAX);
    for n in 0..entries {
        many.put(Table::Records, n.to_be_bytes().to_vec(), "v").expect("within the limits");
    }
    store.write(&many, Durability::Buffered).expect("writable");
    let page = store.scan(Table::Records, None, usize::MAX).expect("readable");
    assert_eq!(page.len(), SCAN_ENTRIES_MAX, "however much is asked for");
    assert_eq!(store.len(Table::Records).expect("readable"), entries as u64);
}

fn a_batch_is_whole(place: &Path, open: &OpenStore<'_>) {
    let mut store = opened(place, open);
    store
        .write(&batch(&[(Table::Peers, b"old", Some(b"v"))]), Durability::Synced)
        .expect("writable");
    let mixed = batch(&[
        (Table::Peers, b"old", None),
        (Table::Peers, b"new", Some(b"v")),
        (Table::Bans, b"ban", Some(b"v")),
        (Table::Meta, b"twice", Some(b"first")),
        (Table::Meta, b"twice", Some(b"last")),
    ]);
    store.write(&mixed, Durability::Synced).expect("writable");
    drop(store);
    let store = opened(place, open);
    let get = |table, key: &[u8]| store.get(table, key).expect("readable");
    assert_eq!(get(Table::Peers, b"old"), None);
    assert!(get(Table::Peers, b"new").is_some() && get(Table::Bans, b"ban").is_some());
    assert_eq!(get(Table::Meta, b"twice"), Some("last".into()));
}

fn the_largest_entries_fit(place: &Path, open: &OpenStore<'_>) {
    let mut store = opened(place, open);
    let key = Bytes::from(vec![0xff; KEY_BYTES_MAX]);
    let value: Bytes = (0..VALUE_BYTES_MAX).map(|n| (n % 251) as u8).collect();
    let mut full = WriteBatch::new();
    full.put(Table::Records, key.clone(), value.clone()).expect("at the limits");
    for n in 0..100u8 {
        if full.put(Table::Records, vec![n], value.clone()).is_err() {
            break;
        }
    }
    store.write(&full, Durability::Synced).expect("a full batch is writable");
    drop(store);
    let store = opened(place, open);
    assert_eq!(store.get(Table::Records, &key).expect("readable"), Some(value));
    assert_eq!(store.len(Table::Records).expect("readable"), full.len() as u64);
}

fn a_closed_store_comes_back_whole(place: &Path, open: &OpenStore<'_>) {
    let put = |key: &'static [u8]| batch(&[(Table::Anchors, key, Some(b"v"))]);
    let mut store = opened(place, open);
    store.write(&put(b"synced"), Durability::Synced).expect("writable");
    store.write(&put(b"flushed"), Durability::Buffered).expect("writable");
    store.flush().expect("flushable");
    store.flush().expect("flushing twice is fine");
    store.write(&put(b"closed"), Durability::Buffered).expect("writable");
    store.close().expect("closable");
    for _ in 0..3 {
        let store = opened(place, open);
        assert_eq!(store.len(Table::Anchors).expect("readable"), 3);
        store.close().expect("closable");
    }
}

fn a_second_opening_is_refused(place: &Path, open: &OpenStore<'_>) {
    let mut first = opened(place, open);
    match open(place) {
        Err(OpenError::Held { .. }) => {}
        Err(other) => panic!("refused for the wrong reason: {other}"),
        Ok(_) => panic!("two stores on one database"),
    }
    let one = batch(&[(Table::Meta, b"k", Some(b"v"))]);
    first.write(&one, Durability::Synced).expect("the refusal does not disturb the holder");
    first.close().expect("closable");
    assert!(opened(place, open).get(Table::Meta, b"k").expect("readable").is_some());
}

/// Random operations from a fixed seed, checked against a map, with the store reopened between.
fn it_behaves_like_an_ordered_map(place: &Path, open: &OpenStore<'_>) {
    let mut random = ChaCha8Rng::seed_from_u64(702_861);
    let mut model: BTreeMap<(Table, Bytes), Bytes> = BTreeMap::new();
    for _ in 0..5 {
        let mut store = opened(place, open);
        for _ in 0..40 {
            let mut batch = WriteBatch::new();
            for _ in 0..random.random_range(1..8) {
                let table = Table::ALL[random.random_range(0..Table::ALL.len())];
                let key = Bytes::from(vec![random.random_range(0..4u8); random.random_range(0..5)]);
                let value = Bytes::from(vec![random.random(); random.random_range(0..100)]);
                let value = random.random_bool(0.7).then_some(value);
                batch.set(table, key, value).expect("within the limits");
            }
            for (table, key, value) in batch.iter() {
                match value {
                    Some(value) => model.insert((table, key.clone()), value.clone()),
                    None => model.remove(&(table, key.clone())),
                };
            }
            let synced = random.random_bool(0.2);
            let durability = if synced { Durability::Synced } else { Durability::Buffered };
            store.write(&batch, durability).expect("writable");
        }
        for table in Table::ALL {
            let expected: Vec<_> = model
                .iter()
                .filter(|entry| entry.0.0 == table)
                .map(|((_, key), value)| (key.clone(), value.clone()))
                .collect();
            assert_eq!(store.scan(table, None, 1000).expect("readable"), expected);
            assert_eq!(store.len(table).expect("readable"), expected.len() as u64);
        }
        store.close().expect("closable");
    }
}
