//! The Circuits actor: connections that a peer carries, as streams, and those carried for others.
//!
//! It routes the messages of circuits between peers' queues, and has for each circuit that ends
//! here a stream on which the usual handshake and the usual Peer actor work. What it can't queue
//! ends the circuit that it was for and nothing else; no peer waits for another here, and what is
//! carried waits behind nothing of the node's own ([`peerstage_core::lanes`]).

mod messages;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use actix::{AsyncContext, Context, StreamHandler};
use peerstage_core::{
    address::Address,
    circuits::{
        Action, CircuitClose, CircuitId, CircuitKey, CircuitPeer, CircuitReason,
        Circuits as Machine,
    },
    identity::NodeId,
    kinds::Kind,
    lanes::Pushed,
    manager::SessionId,
    messages::Outgoing,
    scoring::Fault,
    time::Time,
};
use tokio::sync::oneshot;

use crate::{
    clock::Clock,
    manager::Accepted,
    peer::{Arrival, Arrivals, Outbox},
    scoring::Observation,
    shell::{
        Lifeline, Queue, QueueStream, Shell, Timer, core_actor, fault_point,
        machine_clock_and_timer, step,
    },
    transport::Link,
};

pub use messages::{CircuitDial, ToCircuits};
use stream::CircuitEnd;

/// Where the answer to a circuit that was dialled goes.
type Answer = oneshot::Sender<Result<Link, CircuitReason>>;

/// Whom the actor talks to.
pub(crate) struct CircuitLinks {
    /// Connections that others opened, to the NetworkManager.
    pub(crate) accepted: Queue<Accepted>,
    /// What peers did, to PeerScoring.
    pub(crate) observations: Queue<Observation>,
}

/// The actor.
pub struct Circuits {
    machine: Machine,
    links: CircuitLinks,
    /// Into this actor, for the streams.
    bell: Queue<ToCircuits>,
    inputs: Option<QueueStream<ToCircuits>>,
    /// The connections that circuits may use: one of each peer, whatever became of those before.
    below: BTreeMap<SessionId, Outbox>,
    current: BTreeMap<NodeId, SessionId>,
    waiting: BTreeMap<CircuitKey, Answer>,
    ends: BTreeMap<CircuitKey, CircuitEnd>,
    /// Connections whose writers are to be woken when the step is done.
    touched: BTreeSet<SessionId>,
    /// The counts that were shown last.
    shown: (usize, usize),
    timer: Timer,
    clock: Clock,
    lifeline: Lifeline,
}

impl Circuits {
    pub(crate) fn new(
        machine: Machine,
        links: CircuitLinks,
        (bell, inputs): (Queue<ToCircuits>, QueueStream<ToCircuits>),
        clock: Clock,
        lifeline: Lifeline,
    ) -> Self {
        Circuits {
            machine,
            links,
            bell,
            inputs: Some(inputs),
            below: BTreeMap::new(),
            current: BTreeMap::new(),
            waiting: BTreeMap::new(),
            ends: BTreeMap::new(),
            touched: BTreeSet::new(),
            shown: (0, 0),
            timer: Timer::default(),
            clock,
            lifeline,
        }
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        if let Some(inputs) = self.inputs.take() {
            ctx.add_stream(inputs);
        }
    }

    fn hear(&mut self, input: ToCircuits, now: Time, out: &mut Vec<Action>) {
        match input {
            ToCircuits::Up(peer, outbox) => self.up(peer, outbox, now, out),
            ToCircuits::Down(session) => {
                self.below.remove(&session);
                self.current.retain(|_, current| *current != session);
                self.machine.on_session_down(now, session, out);
            }
            ToCircuits::Lost(session) => self.machine.on_lost(now, session, out),
            ToCircuits::Arrivals(Arrivals { session, messages, .. }) => {
                for Arrival { message, .. } in messages {
                    let head = (message.kind, &message.header);
                    self.machine.on_message(now, session, head, &message.body, out);
                }
            }
            ToCircuits::Dial(dial) => self.dial(dial, now, out),
            ToCircuits::Pump(key) => self.pump(key, now, out),
        }
    }

    fn up(&mut self, peer: CircuitPeer, outbox: Outbox, now: Time, out: &mut Vec<Action>) {
        if let Some(before) = self.current.insert(peer.peer, peer.session) {
            // With it goes whatever still waits there to be sent.
            self.below.remove(&before);
        }
        self.below.insert(peer.session, outbox);
        self.machine.on_session_up(now, peer, out);
    }

    fn dial(&mut self, dial: CircuitDial, now: Time, out: &mut Vec<Action>) {
        let CircuitDial { relay, to, answer } = dial;
        match self.machine.dial(now, &relay, to, out) {
            Ok(key) => drop(self.waiting.insert(key, answer)),
            Err(reason) => {
                count_refused(reason);
                let _ = answer.send(Err(reason));
            }
        }
    }

    /// Sends what was written and may go, and grants what was read.
    fn pump(&mut self, key: CircuitKey, now: Time, out: &mut Vec<Action>) {
        let Circuits { machine, ends, .. } = self;
        let Some(end) = ends.get(&key) else { return };
        let found = end.pump(|bytes| machine.send(key, bytes, out));
        machine.on_read(key, found.read, out);
        if found.done {
            machine.close(now, key, CircuitReason::Done, out);
        } else if found.ending {
            machine.finish(now, key);
        }
    }

    /// A stream for a circuit, as a connection with the relay's address.
    fn link(&mut self, key: CircuitKey, relay: Address) -> Link {
        let (stream, end) = stream::stream(key, self.bell.clone());
        self.ends.insert(key, end);
        let at = relay.through().unwrap_or(relay);
        Link { io: Box::new(stream), local: at, remote: at }
    }

    fn send(&mut self, session: SessionId, message: Outgoing, more: &mut Vec<Action>) {
        let (kind, header) = (message.kind, message.header);
        let pushed = self.below.get(&session).map(|outbox| outbox.push_quietly(message));
        self.touched.insert(session);
        if matches!(pushed, Some(Pushed::Queued | Pushed::QueuedDropping(_))) || pushed.is_none() {
            return;
        }
        let now = self.clock.now();
        if kind == Kind::CircuitClose {
            let close = header.read::<CircuitClose>();
            close.into_iter().for_each(|close| self.machine.on_close_rejected(now, session, close));
            return;
        }
        // Whatever else it says of a circuit begins with its number.
        let number = header.first_chunk::<4>().map(|bytes| CircuitId(u32::from_le_bytes(*bytes)));
        if let Some(number) = number {
            self.machine.on_rejected(now, session, number, more);
        }
    }

    fn offered(&mut self, key: CircuitKey, relay: Address, from: NodeId, more: &mut Vec<Action>) {
        let link = self.link(key, relay);
        if self.links.accepted.push(Accepted::Circuit(link, from)).is_ok() {
            self.machine.accept(key, more);
        } else {
            self.machine.close(self.clock.now(), key, CircuitReason::Busy, more);
        }
    }

    fn opened(&mut self, key: CircuitKey, more: &mut Vec<Action>) {
        let (answer, relay) = (self.waiting.remove(&key), self.machine.relay_address(key));
        let (Some(answer), Some(relay)) = (answer, relay) else {
            return self.machine.close(self.clock.now(), key, CircuitReason::NotConnected, more);
        };
        // Nobody waits any more: the stream is dropped, and its circuit ends.
        let _ = answer.send(Ok(self.link(key, relay)));
    }

    fn closed(&mut self, key: CircuitKey, reason: CircuitReason) {
        if let Some(answer) = self.waiting.remove(&key) {
            let _ = answer.send(Err(reason));
        }
        // Its stream hears of it when this is dropped.
        self.ends.remove(&key);
    }

    /// Carries out an order, and those that come of it.
    fn carry_out(&mut self, action: Action) {
        let mut more = Vec::new();
        match action {
            Action::Send { session, message } => self.send(session, message, &mut more),
            Action::Offered { key, relay: (_, relay), from } => {
                tracing::debug!(%relay, from = %from.short(), "a circuit is offered");
                self.offered(key, relay, from, &mut more);
            }
            Action::Opened(key) => self.opened(key, &mut more),
            Action::Received(key, bytes) => {
                if let Some(end) = self.ends.get(&key) {
                    end.receive(&bytes);
                }
            }
            Action::Credited(key) => self.pump(key, self.clock.now(), &mut more),
            Action::Closed(key, reason) => self.closed(key, reason),
            Action::Penalise { peer, what } => {
                tracing::debug!(peer = %peer.short(), what, "fault");
                let fault = Fault::ProtocolViolation;
                let _ = self.links.observations.push(Observation::Fault { peer, fault });
            }
            Action::Began(role) => {
                metrics::counter!("peerstage_circuits_total", "role" => role.name()).increment(1);
            }
            Action::Ended(role, reason) => {
                let labels = [("role", role.name()), ("reason", reason.name())];
                metrics::counter!("peerstage_circuits_ended_total", &labels).increment(1);
            }
            Action::Refused(reason) => count_refused(reason),
            Action::Passed(bytes) => {
                metrics::counter!("peerstage_circuit_bytes_total").increment(bytes as u64);
            }
            Action::Ignored(why) => {
                metrics::counter!("peerstage_circuit_messages_ignored_total", "reason" => why)
                    .increment(1);
            }
        }
        for action in more {
            self.carry_out(action);
        }
    }
}

fn count_refused(reason: CircuitReason) {
    metrics::counter!("peerstage_circuits_refused_total", "reason" => reason.name()).increment(1);
}

core_actor!(Circuits, mailbox = 1_024);

impl Shell for Circuits {
    type Action = Action;

    machine_clock_and_timer!();

    /// Writers are woken once for all that the step put into their queues.
    fn settle(&mut self, _: Time, _: &mut Context<Self>) {
        for session in std::mem::take(&mut self.touched) {
            if let Some(outbox) = self.below.get(&session) {
                outbox.wake();
            }
        }
        let counts = self.machine.counts();
        if std::mem::replace(&mut self.shown, counts) == counts {
            return;
        }
        // Counts of circuits are far below 2^53.
        let (ends, carried) = counts;
        metrics::gauge!("peerstage_circuits", "role" => "end").set(ends as f64);
        metrics::gauge!("peerstage_circuits", "role" => "carried").set(carried as f64);
    }

    fn perform(&mut self, action: Action, _: &mut Context<Self>) {
        self.carry_out(action);
    }
}

impl StreamHandler<Vec<ToCircuits>> for Circuits {
    fn handle(&mut self, inputs: Vec<ToCircuits>, ctx: &mut Context<Self>) {
        fault_point("Circuits::Vec<ToCircuits>");
        for input in inputs {
            step(self, ctx, |actor, now, out| actor.hear(input, now, out));
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}
