//! The PeerStore actor: what outlives a restart, written behind the network's back.
//!
//! Bans are synced before they are acknowledged; everything else is written when the disk has
//! time. A store in trouble never stops the network: it raises an alarm and tries again.

mod rows;

use actix::{AsyncContext, Context, Handler, Message, Recipient, ResponseFuture};
use std::time::Duration;

use bytes::Bytes;
use peerstage_core::{
    address::Address,
    book::BookEntry,
    codec,
    identity::NodeId,
    kademlia::{ClaimKey, SignedClaim},
    manager::Anchor,
    record::SignedRecord,
    scoring::{BanRecord, ScoreRecord},
};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use rows::{ANCHORS_KEY, BOOK_SALT_KEY, CLAIM, KADEMLIA_NODE, batch};

use crate::{
    clock::Clock,
    events::{Event, What},
    shell::{Lifeline, core_actor, fault_point, tell},
    store::{
        StoreBackend, StoreError, Table,
        writer::{StoreHealth, StoreWriter},
    },
};

/// Entries read at once when a node starts.
const PAGE: usize = 1_024;
/// The longest stored value that is read back, bytes.
const VALUE_MAX: usize = 1024 * 1024;

/// One thing to keep or to forget.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A ban; synced before it is acknowledged.
    Ban(Box<BanRecord>),
    /// A ban that ended; synced too, so that it doesn't come back.
    ForgetBan(NodeId),
    /// A score with its history.
    Score(Box<ScoreRecord>),
    /// A score that is not tracked any more.
    ForgetScore(NodeId),
    /// An address and what is known of it.
    Address(Box<BookEntry>),
    /// An address that was forgotten.
    ForgetAddress(Address),
    /// The peers to return to first after a restart.
    Anchors(Vec<Anchor>),
    /// What decides the places in the address book.
    BookSalt([u8; 32]),
    /// A node's record.
    Record(Box<SignedRecord>),
    /// A record that expired.
    ForgetRecord(NodeId),
    /// A node of the routing table.
    KademliaNode(Box<SignedRecord>),
    /// A node that lost its place in it.
    ForgetKademliaNode(NodeId),
    /// A claim that is kept for others.
    Claim(Box<SignedClaim>),
    /// A claim that died or was displaced.
    ForgetClaim(ClaimKey),
}

/// Keeps entries; answered when the bans among them are on disk.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Keep(pub Vec<Entry>);

/// How is the store?
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "String")]
pub struct StoreQuery;

/// Write what is queued and close the database; answered when that is done.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CloseStore;

/// What the store still knew.
#[derive(Debug, Default)]
pub struct Restored {
    /// Bans.
    pub bans: Vec<BanRecord>,
    /// Scores.
    pub scores: Vec<ScoreRecord>,
    /// Addresses.
    pub addresses: Vec<BookEntry>,
    /// The peers to return to first.
    pub anchors: Vec<Anchor>,
    /// What decides the places in the address book.
    pub book_salt: Option<[u8; 32]>,
    /// Records, not verified.
    pub records: Vec<SignedRecord>,
    /// Nodes of the routing table, not verified.
    pub nodes: Vec<SignedRecord>,
    /// Claims kept for others, not verified.
    pub claims: Vec<SignedClaim>,
    /// Values that could not be read, and were left out.
    pub unreadable: usize,
}

/// The actor.
pub struct PeerStore {
    writer: Option<StoreWriter>,
    flush_interval: Duration,
    backend: &'static str,
    events: Recipient<Event>,
    clock: Clock,
    alarmed: bool,
    /// Whether the next flush is due.
    flushes: bool,
    /// Whether anything was written since the last one.
    wrote: bool,
    lifeline: Lifeline,
}

/// Reads everything a node needs at its start.
///
/// # Errors
/// [`StoreError`] if the store can't be read at all; single values that don't decode are left
/// out and counted.
pub fn restore(backend: &dyn StoreBackend) -> Result<Restored, StoreError> {
    let mut restored = Restored::default();
    let anchors: Vec<u8> = one(backend, Table::Anchors, ANCHORS_KEY)?;
    restored.anchors = codec::decode::<Vec<Anchor>>(&anchors, VALUE_MAX).unwrap_or_default();
    restored.book_salt = one(backend, Table::Meta, BOOK_SALT_KEY)?.try_into().ok();
    let Restored { bans, scores, addresses, records, nodes, claims, unreadable, .. } =
        &mut restored;
    read(backend, Table::Bans, bans, unreadable)?;
    read(backend, Table::Scores, scores, unreadable)?;
    read(backend, Table::Peers, addresses, unreadable)?;
    read(backend, Table::Records, records, unreadable)?;
    read_part(backend, (Table::Meta, KADEMLIA_NODE), nodes, unreadable)?;
    read_part(backend, (Table::Meta, CLAIM), claims, unreadable)?;
    if restored.unreadable > 0 {
        let count = restored.unreadable;
        tracing::warn!(count, "stored entries that can't be read were left out");
    }
    Ok(restored)
}

/// The bytes of a single value; none if there is no such key.
fn one(backend: &dyn StoreBackend, table: Table, key: &[u8]) -> Result<Vec<u8>, StoreError> {
    Ok(backend.get(table, key)?.map(|value| value.to_vec()).unwrap_or_default())
}

fn read<T: DeserializeOwned>(
    backend: &dyn StoreBackend,
    table: Table,
    values: &mut Vec<T>,
    unreadable: &mut usize,
) -> Result<(), StoreError> {
    read_part(backend, (table, b""), values, unreadable)
}

/// The values whose keys begin with these bytes.
fn read_part<T: DeserializeOwned>(
    backend: &dyn StoreBackend,
    (table, prefix): (Table, &'static [u8]),
    values: &mut Vec<T>,
    unreadable: &mut usize,
) -> Result<(), StoreError> {
    let mut after: Option<Bytes> = (!prefix.is_empty()).then(|| Bytes::from_static(prefix));
    loop {
        let page = backend.scan(table, after.as_deref(), PAGE)?;
        let full = page.len() == PAGE;
        after = page.last().map(|(key, _)| key.clone());
        for (key, value) in page {
            if !key.starts_with(prefix) {
                return Ok(());
            }
            match codec::decode(&value, VALUE_MAX) {
                Ok(value) => values.push(value),
                Err(_) => *unreadable += 1,
            }
        }
        if !full {
            return Ok(());
        }
    }
}

impl PeerStore {
    #[expect(clippy::unused_self, reason = "every core actor has one")]
    fn begin(&mut self, _: &mut Context<Self>) {}

    /// Something waits to become durable: a store that nobody writes to is left alone.
    fn flush_later(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.flushes, true) {
            return;
        }
        ctx.run_later(self.flush_interval, |store, ctx| {
            store.flushes = false;
            store.flush();
            // Once more after the last write, to see what became of it; while there is trouble, on.
            if std::mem::take(&mut store.wrote) || store.alarmed {
                store.flush_later(ctx);
            }
        });
    }

    /// What was written behind becomes durable, and what failed is tried again.
    fn flush(&mut self) {
        if let Some(writer) = &self.writer {
            writer.retry();
            // A full queue flushes at the next turn.
            let _ = writer.flush(Box::new(|_| ()));
        }
        self.watch();
    }

    /// The actor around a writer.
    #[must_use]
    pub fn new(
        writer: StoreWriter,
        backend: &'static str,
        flush_interval: Duration,
        events: Recipient<Event>,
        clock: Clock,
        lifeline: Lifeline,
    ) -> Self {
        PeerStore {
            writer: Some(writer),
            flush_interval,
            backend,
            events,
            clock,
            alarmed: false,
            flushes: false,
            wrote: false,
            lifeline,
        }
    }

    /// Tells the operator once when the store gets into trouble, and once when it is out.
    fn watch(&mut self) {
        let Some(writer) = &self.writer else { return };
        let health = writer.health();
        let trouble = health != StoreHealth::Healthy;
        metrics::gauge!("peerstage_store_healthy").set(if trouble { 0.0 } else { 1.0 });
        if trouble && !self.alarmed {
            let text = format!("the peer store fails: {health:?}");
            let what = What::Alarm { name: "store", text };
            tell("event", &self.events, Event { at: self.clock.now(), what });
        }
        self.alarmed = trouble;
    }
}

core_actor!(PeerStore, mailbox = 4_096);

impl Handler<Keep> for PeerStore {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Keep(entries): Keep, ctx: &mut Context<Self>) -> Self::Result {
        fault_point("PeerStore::Keep");
        self.watch();
        self.wrote = true;
        self.flush_later(ctx);
        let Some(writer) = &self.writer else { return Box::pin(async {}) };
        let batch = match batch(entries) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, "an entry can't be stored");
                return Box::pin(async {});
            }
        };
        if !batch.touches(Table::Bans) {
            let dropped = writer.write(&batch);
            metrics::counter!("peerstage_store_dropped_total").increment(dropped);
            return Box::pin(async {});
        }
        let (done, written) = oneshot::channel();
        let queued = writer.write_synced(
            batch,
            Box::new(move |result| {
                let _ = done.send(result);
            }),
        );
        if queued.is_err() {
            tracing::error!("the store's queue is full: a ban is only kept in memory");
        }
        Box::pin(async move {
            if let Ok(Err(error)) = written.await {
                tracing::error!(%error, "a ban is only kept in memory");
            }
        })
    }
}

impl Handler<StoreQuery> for PeerStore {
    type Result = String;

    fn handle(&mut self, StoreQuery: StoreQuery, _: &mut Context<Self>) -> String {
        fault_point("PeerStore::StoreQuery");
        self.watch();
        let health = match self.writer.as_ref().map(StoreWriter::health) {
            Some(StoreHealth::Healthy) => "healthy".to_owned(),
            Some(StoreHealth::Degraded { error, .. }) => format!("degraded: {error}"),
            Some(StoreHealth::Failed(error)) => format!("failed: {error}"),
            None => "closed".to_owned(),
        };
        format!("{} ({health})", self.backend)
    }
}

impl Handler<CloseStore> for PeerStore {
    type Result = ();

    fn handle(&mut self, CloseStore: CloseStore, _: &mut Context<Self>) {
        fault_point("PeerStore::CloseStore");
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.shutdown()
        {
            tracing::error!(%error, "the peer store did not close in order");
        }
    }
}

#[cfg(test)]
mod tests {
    use peerstage_core::{
        book::{Book, BookLimits, Source},
        time::Time,
    };

    use super::*;
    use crate::store::{Durability, memory::MemoryStore};

    /// Attack row 22: the address book with its salt, and the anchors, come back as they were.
    #[test]
    fn the_book_and_the_anchors_come_back() {
        let mut book = Book::new(BookLimits::default(), [7; 32]);
        for number in 0..50u8 {
            let address = Address::new([20, number, 1, 1].into(), 30_400);
            book.add_address(Time(1), address, None, Source::Operator);
            if number.is_multiple_of(2) {
                book.on_success(Time(2), &address, NodeId([number; 32]));
            }
        }
        let anchors =
            vec![Anchor { address: Address::new([20, 0, 1, 1].into(), 1), peer: NodeId([0; 32]) }];
        let mut entries = vec![Entry::Anchors(anchors.clone()), Entry::BookSalt(book.salt())];
        entries.extend(book.entries().cloned().map(|entry| Entry::Address(Box::new(entry))));
        let mut backend = MemoryStore::new();
        assert!(restore(&backend).unwrap().book_salt.is_none());
        backend.write(&batch(entries).unwrap(), Durability::Buffered).unwrap();

        let restored = restore(&backend).unwrap();
        assert_eq!((restored.anchors, restored.unreadable), (anchors, 0));
        let mut again = Book::new(BookLimits::default(), restored.book_salt.unwrap());
        restored.addresses.into_iter().for_each(|entry| again.restore(entry));
        assert!(again.entries().eq(book.entries()));
        assert!(book.tried() > 20 && book.len() > 40);
        assert_eq!((again.tried(), again.len()), (book.tried(), book.len()));
    }
}
