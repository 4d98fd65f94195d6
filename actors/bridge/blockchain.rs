//! The BlockchainBridge actor: blocks, transactions and the chain's own topics.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use actix::{AsyncContext, Context, Recipient, StreamHandler};
use peerstage_core::{
    frame::Message,
    messages::{MessageId, Topic},
};

use super::{About, Judge, Judging, Subscribe, verdict_label};
use crate::{
    clock::Clock,
    events::{Event, What},
    payload::Verdict,
    peer::Arrivals,
    shell::{Lifeline, QueueStream, core_actor, fault_point, tell},
    status::KindCounts,
};

/// Counts of what was sent to this node alone, read by whoever asks.
#[derive(Debug, Default)]
pub struct DirectCounts {
    accepted: AtomicU64,
    rejected: AtomicU64,
    received: AtomicU64,
}

/// Whom the bridge tells of what it handed over.
pub struct Watching {
    /// The counts.
    pub counts: Arc<DirectCounts>,
    /// Whether anybody subscribed.
    pub subscribers: Subscribe,
    /// The MonitoringBridge.
    pub events: Recipient<Event>,
    /// The clock of the events.
    pub clock: Clock,
}

/// Hands what arrived to the chain and the verdicts to the relay.
pub struct BlockchainBridge {
    judging: Judging,
    /// From the peers: what was sent to this node alone.
    direct: Option<QueueStream<Arrivals>>,
    watching: Arc<Watching>,
    lifeline: Lifeline,
}

impl BlockchainBridge {
    fn begin(&mut self, ctx: &mut Context<Self>) {
        self.judging.begin(ctx);
        if let Some(direct) = self.direct.take() {
            ctx.add_stream(direct);
        }
    }

    /// A bridge to the chain's handlers.
    #[must_use]
    pub fn new(
        judging: Judging,
        direct: QueueStream<Arrivals>,
        watching: Watching,
        lifeline: Lifeline,
    ) -> Self {
        let watching = Arc::new(watching);
        BlockchainBridge { judging, direct: Some(direct), watching, lifeline }
    }
}

impl DirectCounts {
    fn count(&self, verdict: &Verdict) {
        self.received.fetch_add(1, Ordering::Relaxed);
        match verdict {
            Verdict::Accept => self.accepted.fetch_add(1, Ordering::Relaxed),
            Verdict::Reject(_) => self.rejected.fetch_add(1, Ordering::Relaxed),
            Verdict::Ignore => 0,
        };
    }

    /// Adds these counts to those of a kind.
    pub(crate) fn add_to(&self, counts: &mut KindCounts) {
        counts.received += self.received.load(Ordering::Relaxed);
        counts.accepted += self.accepted.load(Ordering::Relaxed);
        counts.rejected += self.rejected.load(Ordering::Relaxed);
    }
}

impl Watching {
    /// The id of a message for its event, hashed only if somebody will see it.
    pub(super) fn id_of(&self, topic: Topic, message: &Message) -> MessageId {
        if self.subscribers.is_watched() {
            MessageId::of(message.kind, topic, &message.body)
        } else {
            MessageId([0; 32])
        }
    }

    pub(super) fn tell(&self, about: &About, verdict: &Verdict) {
        self.counts.count(verdict);
        if self.subscribers.is_watched() {
            let what = What::Received {
                kind: about.kind,
                id: about.id,
                from: about.from,
                verdict: verdict_label(verdict),
                first_byte: about.first_byte,
            };
            tell("event", &self.events, Event { at: self.clock.now(), what });
        }
    }
}

core_actor!(BlockchainBridge, mailbox = 1_024);

impl StreamHandler<Vec<Judge>> for BlockchainBridge {
    fn handle(&mut self, orders: Vec<Judge>, _: &mut Context<Self>) {
        fault_point("BlockchainBridge::Vec<Judge>");
        self.judging.judge(orders);
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Vec<Arrivals>> for BlockchainBridge {
    fn handle(&mut self, batches: Vec<Arrivals>, _: &mut Context<Self>) {
        fault_point("BlockchainBridge::Vec<Arrivals>");
        for arrivals in batches {
            let watching = Arc::clone(&self.watching);
            actix_rt::spawn(self.judging.handlers().hand_over(arrivals, watching));
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}
