//! The MessageRelay actor: every gossiped message passes here, in and out.

mod checks;
mod handlers;
mod links;
mod messages;
mod outcome;
mod peers;

use std::{collections::BTreeMap, sync::Arc};

use actix::{AsyncContext, Context};
use peerstage_core::{
    identity::{NetworkId, NodeId},
    lanes::Pushed,
    manager::SessionId,
    messages::{MessageId, Outgoing},
    relay::{self, Action, DropReason, Inbound, PeerSet, Relay, VerdictTicket},
    time::Time,
};

use checks::{Check, Checks};
pub(crate) use links::RelayInputs;
pub use links::RelayLinks;
use messages::fault_of;
pub use messages::{Broadcast, Counts, CountsQuery, Order, RecordSeen, SetMode};
pub(crate) use messages::{Verified, VerifiedRun};
use outcome::Outcome;
use peers::Connected;

use crate::{
    bridge::{About, Judge, Judged, verdict_label},
    clock::Clock,
    events::{Event, What},
    nat::Seen,
    network::SendError,
    payload::{Delivery, Verdict},
    peer::{Arrival, Arrivals, Outbox},
    scoring::Observation,
    shell::{
        BytePermit, Lifeline, Queue, Shell, Timer, Workers, core_actor, machine_clock_and_timer,
        step, tell,
    },
};

/// Marks a message that the chain is handed without the network waiting for its verdict.
const DELIVERED: VerdictTicket = VerdictTicket(u64::MAX);

/// What the machine says of an order of the chain.
type Ordering = Result<relay::Broadcast, relay::RelayError>;

/// The actor.
pub struct MessageRelay {
    machine: Relay,
    network: NetworkId,
    peers: BTreeMap<NodeId, Connected>,
    /// Connections whose place another has taken and that still bring something.
    retiring: BTreeMap<SessionId, NodeId>,
    /// By slot.
    outboxes: Vec<Option<Outbox>>,
    links: RelayLinks,
    inputs: Option<RelayInputs>,
    verified_runs: Queue<VerifiedRun>,
    checks: Checks,
    workers: Workers,
    counts: Counts,
    /// The permit of the read that is being looked at.
    permit: Option<Arc<BytePermit>>,
    /// Peers whose writers are to be woken when the step is done.
    touched: PeerSet,
    /// What the step hands to the bridges.
    to_blockchain: Vec<Judge>,
    to_consensus: Vec<Judge>,
    /// What became of the sends of the current step, where the chain ordered it.
    outcomes: Option<Vec<Outcome>>,
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
            retiring: BTreeMap::new(),
            outboxes: Vec::new(),
            links,
            verified_runs: inputs.verified.0.clone(),
            checks: Checks::default(),
            inputs: Some(inputs),
            workers,
            counts: Counts::default(),
            permit: None,
            touched: PeerSet::default(),
            to_blockchain: Vec::new(),
            to_consensus: Vec::new(),
            outcomes: None,
            timer: Timer::default(),
            clock,
            lifeline,
        }
    }

    fn send(&mut self, to: &PeerSet, id: Option<MessageId>, message: &Outgoing) {
        let (kind, mut queued, mut refused) = (message.kind, 0, 0);
        for slot in to.iter() {
            let outbox = self.outboxes.get(slot.index()).and_then(Option::as_ref);
            let pushed = outbox.map(|outbox| outbox.push_quietly(message.clone()));
            self.touched.insert(slot);
            if matches!(pushed, Some(Pushed::Queued | Pushed::QueuedDropping(_))) {
                self.counts.of(kind).sent += 1;
                queued += 1;
                continue;
            }
            refused += 1;
            if let Some(id) = id {
                self.machine.on_queue_result(slot, kind, id, false);
            }
        }
        if let Some(outcomes) = &mut self.outcomes {
            outcomes.extend(Outcome::of(message, id, queued, refused));
        }
    }

    /// Takes what the machine counted since the last batch.
    fn take_tallies(&mut self) {
        let now = self.clock.now();
        let MessageRelay { machine, counts, links, peers, outboxes, .. } = self;
        machine.take_counts(&mut |kind, reason, count| counts.dropped(kind, reason, count));
        machine.take_credits(&mut |peer, kind, delivery, count| {
            if delivery == relay::Delivery::First
                && let Some(Connected { slot, .. }) = peers.get(&peer)
                && let Some(outbox) = outboxes.get(slot.index()).and_then(Option::as_ref)
            {
                outbox.counters().note_novel(now, kind);
            }
            let seen = Observation::Delivered { peer, kind, delivery, count };
            let _ = links.observations.push(seen);
        });
    }

    fn judge(&mut self, ticket: VerdictTicket, message: relay::Delivered) {
        self.counts.of(message.kind).received += 1;
        if message.is_punch() {
            let punch = Seen::Punch { peer: message.peer, body: message.body };
            // A full queue drops it: the sender tries again.
            let _ = self.links.punches.push(punch);
            return;
        }
        let signed = message.kind.row().signed;
        let bridge = if signed { &mut self.to_consensus } else { &mut self.to_blockchain };
        bridge.push(Judge { ticket, message, permit: self.permit.clone() });
    }

    /// Sends a worker all the checks that wait, unless one is at work.
    fn check(&mut self) {
        let Some(run) = self.checks.next_run() else { return };
        let (workers, network) = (self.workers.clone(), self.network);
        let runs = self.verified_runs.clone();
        actix_rt::spawn(async move {
            let run = workers.run(move || checks::run(run, &network)).await;
            // If the worker is gone, what it had runs out of time; what waits goes to the next.
            let _ = runs.push(run.unwrap_or(VerifiedRun(Vec::new())));
        });
    }

    /// What one run checked. All that one read of a peer brought is one step.
    fn verified(&mut self, verified: Vec<Verified>, ctx: &mut Context<Self>) {
        self.checks.ended();
        let permit_of = |one: &Verified| one.permit.as_ref().map(Arc::as_ptr);
        for part in verified.chunk_by(|a, b| permit_of(a) == permit_of(b)) {
            self.permit = part.first().and_then(|first| first.permit.clone());
            step(self, ctx, |actor, now, out| {
                for Verified { ticket, valid, .. } in part {
                    actor.machine.on_verified(now, *ticket, *valid, out);
                }
            });
            self.permit = None;
        }
        self.check();
    }

    /// Runs an order of the chain and tells what became of it.
    fn order(
        &mut self,
        ctx: &mut Context<Self>,
        order: impl FnOnce(&mut Relay, Time, &mut Vec<Action>) -> Ordering,
    ) -> Result<Delivery, SendError> {
        self.outcomes = Some(Vec::new());
        let wall = self.clock.wall();
        let sent = step(self, ctx, |actor, now, out| {
            actor.machine.on_wall(now, wall);
            order(&mut actor.machine, now, out)
        });
        let outcomes = self.outcomes.take().unwrap_or_default();
        Ok(outcome::delivery(&sent?, &outcomes))
    }

    /// All that one read of a peer brought is one step.
    fn arrived(&mut self, arrivals: Arrivals, ctx: &mut Context<Self>) {
        let Arrivals { session, peer, messages, permit } = arrivals;
        let retiring = self.retiring.get(&session) == Some(&peer);
        let current = self.peers.get(&peer).filter(|c| c.session == session || retiring);
        let Some(slot) = current.map(|current| current.slot) else {
            for Arrival { message, .. } in messages {
                self.counts.dropped(message.kind, DropReason::UnknownPeer, 1);
            }
            return;
        };
        self.permit = Some(permit);
        let wall = self.clock.wall();
        step(self, ctx, |actor, now, out| {
            for Arrival { message, id } in messages {
                let inbound = Inbound {
                    kind: message.kind,
                    header: message.header,
                    body: message.body,
                    id: id.unwrap_or(MessageId([0; 32])),
                    first_byte: message.first_byte,
                };
                actor.machine.on_message(now, wall, slot, inbound, out);
            }
        });
        self.permit = None;
    }

    /// All the verdicts that came together are one step.
    fn judged(&mut self, verdicts: Vec<Judged>, ctx: &mut Context<Self>) {
        let watched = self.links.subscribers.is_watched();
        step(self, ctx, |actor, now, out| {
            for Judged { ticket, verdict, about } in verdicts {
                if let Some(about) = about {
                    actor.count_verdict(&about, &verdict);
                    if watched {
                        actor.tell_received(&about, &verdict);
                    }
                }
                if ticket != DELIVERED {
                    actor.machine.on_verdict(now, ticket, verdict.into(), out);
                }
            }
        });
    }

    fn count_verdict(&mut self, about: &About, verdict: &Verdict) {
        let counts = self.counts.of(about.kind);
        match verdict {
            Verdict::Accept => counts.accepted += 1,
            Verdict::Reject(_) => counts.rejected += 1,
            Verdict::Ignore => {}
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

    machine_clock_and_timer!();

    /// Everybody whom the step has work for is woken once.
    fn settle(&mut self, _: Time, _: &mut Context<Self>) {
        self.take_tallies();
        self.check();
        for slot in std::mem::take(&mut self.touched).iter() {
            if let Some(outbox) = self.outboxes.get(slot.index()).and_then(Option::as_ref) {
                outbox.wake();
            }
        }
        if !self.to_blockchain.is_empty() {
            self.links.blockchain.push_all(std::mem::take(&mut self.to_blockchain));
        }
        if !self.to_consensus.is_empty() {
            self.links.consensus.push_all(std::mem::take(&mut self.to_consensus));
        }
    }

    fn perform(&mut self, action: Action, _: &mut Context<Self>) {
        match action {
            Action::Send { to, id, message } => self.send(&to, id, &message),
            Action::Verify { ticket, kind, body } => {
                self.checks.add(Check { ticket, kind, body, permit: self.permit.clone() });
            }
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

#[cfg(test)]
mod tests;
