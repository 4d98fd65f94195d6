//! The MessageRelay actor: every gossiped message passes here, in and out.

mod handlers;
mod messages;

use std::collections::BTreeMap;

use actix::{AsyncContext, Context, Recipient};
use peerstage_core::{
    identity::{NetworkId, NodeId},
    kinds::Kind,
    lanes::Pushed,
    manager::SessionId,
    messages::{MessageId, Outgoing, Signed},
    relay::{self, Action, DropReason, Inbound, PeerSet, PeerSlot, Relay, VerdictTicket},
    time::Time,
};

pub(crate) use messages::Verified;
use messages::fault_of;
pub use messages::{Broadcast, Counts, CountsQuery, RecordSeen, SendTo, SetMode};

use crate::{
    bridge::{Judge, Judged, verdict_label},
    clock::Clock,
    events::{Event, What},
    network::SendError,
    payload::{Delivery, Verdict},
    peer::{Arrival, FromPeer, Outbox, PeerUp},
    scoring::Observation,
    shell::{
        BytePermit, Lifeline, Queue, QueueStream, Shell, Timer, Workers, core_actor, step, tell,
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
}

/// The queues into the relay.
pub(crate) struct RelayInputs {
    /// From the peers.
    pub arrivals: QueueStream<FromPeer>,
    /// From the bridges.
    pub verdicts: QueueStream<Judged>,
    /// From the workers.
    pub(crate) verified: (Queue<Verified>, QueueStream<Verified>),
}

/// The actor.
pub struct MessageRelay {
    machine: Relay,
    network: NetworkId,
    peers: BTreeMap<NodeId, (SessionId, PeerSlot)>,
    /// By slot.
    outboxes: Vec<Option<Outbox>>,
    links: RelayLinks,
    inputs: Option<RelayInputs>,
    verified: Queue<Verified>,
    workers: Workers,
    counts: Counts,
    /// The permit of the message that is being looked at.
    permit: Option<BytePermit>,
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
            outboxes: Vec::new(),
            links,
            verified: inputs.verified.0.clone(),
            inputs: Some(inputs),
            workers,
            counts: Counts::default(),
            permit: None,
            refused: 0,
            timer: Timer::default(),
            clock,
            lifeline,
        }
    }

    fn send(&mut self, to: &PeerSet, id: Option<MessageId>, message: &Outgoing) {
        let kind = message.kind;
        for slot in to.iter() {
            let outbox = self.outboxes.get(slot.index()).and_then(Option::as_ref);
            let pushed = outbox.map(|outbox| outbox.push(message.clone()));
            if matches!(pushed, Some(Pushed::Queued | Pushed::QueuedDropping(_))) {
                self.counts.of(kind).sent += 1;
                continue;
            }
            self.refused += 1;
            if let Some(id) = id {
                self.machine.on_queue_result(slot, kind, id, false);
            }
        }
    }

    /// Takes what the machine counted since the last batch.
    fn take_tallies(&mut self) {
        let MessageRelay { machine, counts, links, .. } = self;
        machine.take_counts(&mut |kind, reason, count| counts.dropped(kind, reason, count));
        machine.take_credits(&mut |peer, kind, delivery, count| {
            let seen = Observation::Delivered { peer, kind, delivery, count };
            let _ = links.observations.push(seen);
        });
    }

    fn judge(&mut self, ticket: VerdictTicket, message: relay::Delivered) {
        self.counts.of(message.kind).received += 1;
        let bridge =
            if message.kind.row().signed { &self.links.consensus } else { &self.links.blockchain };
        let _ = bridge.push(Judge { ticket, message, permit: self.permit.take() });
    }

    fn verify(&mut self, ticket: VerdictTicket, kind: Kind, body: bytes::Bytes) {
        let (network, permit) = (self.network, self.permit.take());
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
        self.take_tallies();
        let refused = self.refused;
        let queued = (sent.sent.len() + sent.routed.len()).saturating_sub(refused);
        Ok(Delivery { queued, lazy: refused + sent.announced.len(), dropped: 0 })
    }

    fn peer_up(&mut self, up: PeerUp, ctx: &mut Context<Self>) {
        let PeerUp { session, info, noise_key, outbox } = up;
        let slot = step(self, ctx, |actor, now, out| {
            actor.machine.on_record(info.peer, noise_key);
            // What is ordered for the new peer finds its outbox: orders are carried out after this.
            let slot = actor.machine.on_peer_up(now, info, out)?;
            if actor.outboxes.len() <= slot.index() {
                actor.outboxes.resize_with(slot.index() + 1, || None);
            }
            if let Some(place) = actor.outboxes.get_mut(slot.index()) {
                *place = Some(outbox);
            }
            Some(slot)
        });
        if let Some(slot) = slot {
            let before = self.peers.insert(info.peer, (session, slot));
            self.forget(before.map(|(_, slot)| slot));
        }
    }

    fn forget(&mut self, slot: Option<PeerSlot>) {
        if let Some(outbox) = slot.and_then(|slot| self.outboxes.get_mut(slot.index())) {
            *outbox = None;
        }
    }

    fn peer_down(&mut self, peer: NodeId, session: SessionId, ctx: &mut Context<Self>) {
        let Some((current, slot)) = self.peers.get(&peer).copied() else { return };
        if current == session {
            self.peers.remove(&peer);
            self.forget(Some(slot));
            step(self, ctx, |actor, now, out| actor.machine.on_peer_down(now, slot, out));
        }
    }

    fn arrived(&mut self, arrival: Arrival, ctx: &mut Context<Self>) {
        let Arrival { session, peer, message, id, permit } = arrival;
        let current = self.peers.get(&peer).filter(|(current, _)| *current == session);
        let Some(slot) = current.map(|(_, slot)| *slot) else {
            return self.counts.dropped(message.kind, DropReason::UnknownPeer, 1);
        };
        let id = id.unwrap_or(MessageId([0; 32]));
        self.permit = Some(permit);
        let wall = self.clock.wall();
        let inbound = Inbound {
            kind: message.kind,
            header: message.header,
            body: message.body,
            id,
            first_byte: message.first_byte,
        };
        step(self, ctx, |actor, now, out| {
            actor.machine.on_message(now, wall, slot, inbound, out);
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
            let what = What::Received {
                kind: about.kind,
                id: about.id,
                from: about.from,
                verdict: verdict_label(&verdict),
                first_byte: about.first_byte,
            };
            tell("event", &self.links.events, Event { at: self.clock.now(), what });
        }
        if ticket != DELIVERED {
            step(self, ctx, |actor, now, out| {
                actor.machine.on_verdict(now, ticket, verdict.into(), out)
            });
        }
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
        self.take_tallies();
    }

    fn perform(&mut self, action: Action, _: &mut Context<Self>) {
        match action {
            Action::Send { to, id, message } => self.send(&to, id, &message),
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
        }
    }
}
