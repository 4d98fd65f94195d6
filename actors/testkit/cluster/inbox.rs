//! What a node's chain was handed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use peerstage_core::{
    identity::{NodeId, PublicKey},
    kinds::Kind,
    time::Time,
};
use tokio::sync::Notify;

use super::lock;
use crate::{Block, Builder, Inbound, Payload, Proposal, Transaction, Verdict, Vote, clock::Clock};

/// A payload that starts with this is rejected, as a chain rejects what breaks its rules.
pub const INVALID: &[u8] = b"invalid";

/// One call of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What.
    pub kind: Kind,
    /// What it says.
    pub payload: Bytes,
    /// The neighbour it came from.
    pub from: NodeId,
    /// The validator that signed it.
    pub origin: Option<PublicKey>,
    /// When, on the cluster's clock.
    pub at: Time,
}

/// The chain of a test node: it writes down every call of a handler, accepts everything but
/// payloads that start with `invalid`, and remembers.
#[derive(Clone)]
pub struct Inbox {
    receipts: Arc<Mutex<Vec<Receipt>>>,
    clock: Clock,
    bell: Arc<Notify>,
}

impl Inbox {
    pub(super) fn new(clock: Clock, bell: Arc<Notify>) -> Self {
        Inbox { receipts: Arc::default(), clock, bell }
    }

    /// Every call so far, in order.
    #[must_use]
    pub fn receipts(&self) -> Vec<Receipt> {
        lock(&self.receipts).clone()
    }

    /// How often the handler of this kind was called with this payload.
    #[must_use]
    pub fn count(&self, kind: Kind, payload: &[u8]) -> usize {
        let receipts = lock(&self.receipts);
        receipts.iter().filter(|r| r.kind == kind && r.payload == payload).count()
    }

    /// When the handler was first called with this payload.
    #[must_use]
    pub fn first(&self, kind: Kind, payload: &[u8]) -> Option<Time> {
        let receipts = lock(&self.receipts);
        receipts.iter().find(|r| r.kind == kind && r.payload == payload).map(|r| r.at)
    }

    /// How often each payload was handed over.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(Kind, Bytes), usize> {
        let mut counts = BTreeMap::new();
        for receipt in lock(&self.receipts).iter() {
            *counts.entry((receipt.kind, receipt.payload.clone())).or_default() += 1;
        }
        counts
    }

    /// Forgets everything.
    pub fn clear(&self) {
        lock(&self.receipts).clear();
    }

    pub(super) fn attach(&self, builder: Builder) -> Builder {
        let builder = self.of::<Block>(builder, |block| block.0);
        let builder = self.of::<Transaction>(builder, |transaction| transaction.0);
        let builder = self.of::<Proposal>(builder, |proposal| proposal.0);
        self.of::<Vote>(builder, |vote| vote.0)
    }

    fn of<P: Payload>(&self, builder: Builder, bytes: fn(P) -> Bytes) -> Builder {
        let inbox = self.clone();
        builder.on(move |inbound: Inbound<P>| {
            let verdict = inbox.write(inbound, bytes);
            async move { verdict }
        })
    }

    fn write<P: Payload>(&self, inbound: Inbound<P>, bytes: fn(P) -> Bytes) -> Verdict {
        let Inbound { payload, from, origin, .. } = inbound;
        let (kind, payload, at) = (P::KIND, bytes(payload), self.clock.now());
        let invalid = payload.starts_with(INVALID);
        lock(&self.receipts).push(Receipt { kind, payload, from, origin, at });
        self.bell.notify_waiters();
        if invalid { Verdict::Reject("it says so".to_owned()) } else { Verdict::Accept }
    }
}
