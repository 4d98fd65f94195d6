//! The MessageRelay actor: every gossiped message passes here, in and out.

mod handlers;
mod messages;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix::{AsyncContext, Context, Recipient};
use peerstage_core::{
    identity::{NetworkId, NodeId},
    kinds::Kind,
    lanes::Pushed,
    manager::SessionId,
    messages::{MessageId, Outgoing, Signed},
    relay::{self, Action, DropReason, Inbound, Relay, VerdictTicket},
    time::Time,
};

pub(crate) use messages::Verified;
use messages::fault_of;
pub use messages::{Broadcast, Counts, CountsQuery, Order, RecordSeen, SetMode};

use crate::{
    bridge::{About, Judge, Judged, Subscribe, verdict_label},
    clock::Clock,
    events::{Event, What},
    network::SendError,
    payload::{Delivery, Verdict},
    peer::{Arrival, Arrivals, Directory, FromPeer, Outbox, PeerUp},
    scoring::Observation,
    shell::{
        BytePermit, Lifeline, Ordered, Queue, QueueStream, Shell, Timer, Workers, core_actor, step,
        tell,
    },
};

/// Marks a message that the chain is handed without the network waiting for its verdict.
const DELIVERED: VerdictTicket = VerdictTicket(u64::MAX);

/// Whom the relay talks to.
pub struct RelayLinks {
    /// Verdicts on blocks, transactions and custom messages.
    pub blockchain: Queue<Judge>,
    /// Verdicts on proposals and votes.
    pub consensus: Queue<Judge>,
    /// What peers did.
    pub observations: Queue<Observation>,
    /// What happened.
    pub events: Recipient<Event>,
    /// Whether anybody subscribed to events.
    pub subscribers: Subscribe,
    /// Who can be sent to.
    pub directory: Directory,
}

/// The queues into the relay.
pub(crate) struct RelayInputs {
    /// From the peers.
    pub arrivals: QueueStream<FromPeer>,
    /// From the chain.
    pub orders: QueueStream<Ordered<Order>>,
    /// From the bridges.
    pub verdicts: QueueStream<Judged>,
    /// From the workers.
    pub(crate) verified: (Queue<Verified>, QueueStream<Verified>),
}

/// The actor.
pub struct MessageRelay {
    machine: Relay,
    network: NetworkId,
    peers: BTreeMap<NodeId, (SessionId, Outbox)>,
    links: RelayLinks,
    inputs: Option<RelayInputs>,
    verified: Queue<Verified>,
    workers: Workers,
    counts: Counts,
    /// The permit of the message that is being looked at.
    permit: Option<Arc<BytePermit>>,
    /// Peers whose writers are to be woken when the step is done.
    touched: BTreeSet<NodeId>,
    /// Sends of the current step that found a full queue.
    refused: usize,
    timer: Timer,
    clock: Clock,
    lifeline: Lifeline,
}

impl MessageRelay {
    fn begin(&mut self, ctx: &mut Context<Self>) {
        if let Some(inputs) = self.inputs.take() {
            ctx.add_stream(inputs.arrivals);
            ctx.add_stream(inputs.orders);
            ctx.add_stream(inputs.verdicts);
            ctx.add_stream(inputs.verified.1);
        }
    }

    /// The actor around its machine.
    #[must_use]
    pub(crate) fn new(
        machine: Relay,
        network: NetworkId,
        links: RelayLinks,
        inputs: RelayInputs,
        workers: Workers,
        clock: Clock,
        lifeline: Lifeline,
    ) -> Self {
        MessageRelay {
            machine,
            network,
            peers: BTreeMap::new(),
            links,
            verified: inputs.verified.0.clone(),
            inputs: Some(inputs),
            workers,
            counts: Counts::default(),
            permit: None,
            touched: BTreeSet::new(),
            refused: 0,
            timer: Timer::default(),
            clock,
            lifeline,
        }
    }

    fn send(&mut self, to: Vec<NodeId>, id: Option<MessageId>, message: &Outgoing) {
        let kind = message.kind;
        for peer in to {
            let outbox = self.peers.get(&peer).map(|(_, outbox)| outbox);
            let pushed = outbox.map(|outbox| outbox.push_quietly(message.clone()));
            self.touched.insert(peer);
            if matches!(pushed, Some(Pushed::Queued | Pushed::QueuedDropping(_))) {
                self.counts.of(kind).sent += 1;
                continue;
            }
            self.refused += 1;
            if let Some(id) = id {
                // Only bookkeeping: the machine orders nothing for a refused message.
                let mut orders = Vec::new();
                self.machine.on_queue_result(peer, kind, id, false, &mut orders);
                for order in orders {
                    self.count_order(&order);
                }
            }
        }
    }

    fn count_order(&mut self, order: &Action) {
        if let Action::Count { kind, reason } = order {
            self.count(*kind, *reason);
        }
    }

    fn count(&mut self, kind: Kind, reason: DropReason) {
        if reason == DropReason::Duplicate {
            self.counts.of(kind).duplicates += 1;
        }
        *self.counts.drops.entry(reason.name()).or_default() += 1;
        metrics::counter!(
            "peerstage_relay_not_done_total", "kind" => kind.name(), "reason" => reason.name()
        )
        .increment(1);
    }

    fn judge(&mut self, ticket: VerdictTicket, message: relay::Delivered) {
        self.counts.of(message.kind).received += 1;
        let bridge =
            if message.kind.row().signed { &self.links.consensus } else { &self.links.blockchain };
        let _ = bridge.push(Judge { ticket, message, permit: self.permit.clone() });
    }

    fn verify(&mut self, ticket: VerdictTicket, kind: Kind, body: bytes::Bytes) {
        let (network, permit) = (self.network, self.permit.clone());
        let (workers, verified) = (self.workers.clone(), self.verified.clone());
        actix_rt::spawn(async move {
            let check =
                move || Signed::parse(&body).is_some_and(|signed| signed.verify(kind, &network));
            if let Ok(valid) = workers.run(check).await {
                let _ = verified.push(Verified { ticket, valid, permit });
            }
        });
    }

    /// Runs an order of the chain and tells what became of it.
    fn order(
        &mut self,
        ctx: &mut Context<Self>,
        order: impl FnOnce(
            &mut Relay,
            Time,
            &mut Vec<Action>,
        ) -> Result<relay::Broadcast, relay::RelayError>,
    ) -> Result<Delivery, SendError> {
        self.refused = 0;
        let wall = self.clock.wall();
        let sent = step(self, ctx, |actor, now, out| {
            actor.machine.on_wall(now, wall);
            order(&mut actor.machine, now, out)
        })?;
        let lazy = self.refused;
        let queued = (sent.sent.len() + sent.routed.len()).saturating_sub(lazy);
        Ok(Delivery { queued, lazy, dropped: 0 })
    }

    fn peer_up(&mut self, up: PeerUp, ctx: &mut Context<Self>) {
        let PeerUp { session, info, noise_key, outbox } = up;
        self.links.directory.insert(info.peer, session, outbox.clone());
        self.peers.insert(info.peer, (session, outbox));
        step(self, ctx, |actor, now, out| {
            actor.machine.on_record(info.peer, noise_key);
            actor.machine.on_peer_up(now, info, out);
        });
    }

    fn peer_down(&mut self, peer: NodeId, session: SessionId, ctx: &mut Context<Self>) {
        self.links.directory.remove(&peer, session);
        if self.peers.get(&peer).is_some_and(|(current, _)| *current == session) {
            self.peers.remove(&peer);
            step(self, ctx, |actor, now, out| actor.machine.on_peer_down(now, peer, out));
        }
    }

    /// All that one read of a peer brought is one step.
    fn arrived(&mut self, arrivals: Arrivals, ctx: &mut Context<Self>) {
        let Arrivals { session, peer, messages, permit } = arrivals;
        let current = self.peers.get(&peer).is_some_and(|(current, _)| *current == session);
        self.permit = Some(permit);
        let wall = self.clock.wall();
        step(self, ctx, |actor, now, out| {
            for Arrival { message, id } in messages {
                if !current {
                    actor.count(message.kind, DropReason::UnknownPeer);
                    continue;
                }
                let inbound = Inbound {
                    peer,
                    kind: message.kind,
                    header: message.header,
                    body: message.body,
                    id: id.unwrap_or(MessageId([0; 32])),
                    first_byte: message.first_byte,
                };
                actor.machine.on_message(now, wall, inbound, out);
            }
        });
        self.permit = None;
    }

    fn judged(&mut self, judged: Judged, ctx: &mut Context<Self>) {
        let Judged { ticket, verdict, about } = judged;
        if let Some(about) = about {
            let counts = self.counts.of(about.kind);
            match &verdict {
                Verdict::Accept => counts.accepted += 1,
                Verdict::Reject(_) => counts.rejected += 1,
                Verdict::Ignore => {}
            }
            if self.links.subscribers.is_watched() {
                self.tell_received(&about, &verdict);
            }
        }
        if ticket != DELIVERED {
            step(self, ctx, |actor, now, out| {
                actor.machine.on_verdict(now, ticket, verdict.into(), out)
            });
        }
    }

    fn tell_received(&self, about: &About, verdict: &Verdict) {
        let what = What::Received {
            kind: about.kind,
            id: about.id,
            from: about.from,
            verdict: verdict_label(verdict),
            first_byte: about.first_byte,
        };
        tell("event", &self.links.events, Event { at: self.clock.now(), what });
    }
}

core_actor!(MessageRelay, mailbox = 16_384);

impl Shell for MessageRelay {
    type Action = Action;

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn deadline(&self) -> Option<Time> {
        self.machine.deadline()
    }

    fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        self.machine.on_deadline(now, out);
    }

    /// Writers are woken once for all that the step put into their queues.
    fn settle(&mut self, _: Time, _: &mut Context<Self>) {
        for peer in std::mem::take(&mut self.touched) {
            if let Some((_, outbox)) = self.peers.get(&peer) {
                outbox.wake();
            }
        }
    }

    fn perform(&mut self, action: Action, _: &mut Context<Self>) {
        match action {
            Action::Send { to, id, message } => self.send(to, id, &message),
            Action::Verify { ticket, kind, body } => self.verify(ticket, kind, body),
            Action::Judge { ticket, message } => self.judge(ticket, message),
            Action::Deliver(message) => {
                self.judge(DELIVERED, message);
            }
            Action::Penalise { peer, fault, detail } => {
                tracing::debug!(peer = %peer.short(), fault = fault.name(), detail, "fault");
                let fault = fault_of(fault);
                let _ = self.links.observations.push(Observation::Fault { peer, fault });
            }
            Action::Credit { peer, kind, delivery } => {
                let seen = Observation::Delivered { peer, kind, delivery };
                let _ = self.links.observations.push(seen);
            }
            Action::Count { kind, reason } => self.count(kind, reason),
        }
    }
}
