//! The Discovery actor: finds nodes and what they keep, around the [`Kademlia`] machine; and the
//! tasks beside it that find the first nodes.

mod dns;
mod first;
mod handlers;
mod lan;
mod messages;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use actix::{AsyncContext, Context, Recipient};
use peerstage_core::{
    bootstrap::Bootstrap,
    codec,
    coordinate::{Coordinate, Position},
    frame::Message,
    kademlia::{
        Action, Answer, Contact, DiscoveryError, Kademlia, KademliaFault, Outcome, Query, QueryId,
        TaskId,
    },
    kinds::Kind,
    lanes::Pushed,
    manager::SessionId,
    messages::{DiscoveryHeader, Outgoing},
    scoring::Fault,
    time::{Millis, Time, earliest},
};
use tokio::{sync::oneshot, task::AbortHandle};

pub use dns::SeedAnswers;
pub(crate) use dns::Seeds;
use lan::Lan;
pub(crate) use lan::LanSettings;
pub use messages::{DiscoveryQuery, DiscoveryReport, Publication, ToDiscovery};
pub(crate) use messages::{Seek, Withdraw};

use crate::{
    clock::Clock,
    events::Event,
    manager::{Connect, EndVisit, Learnt, RefreshRecord, Visit},
    own::OwnNode,
    peer::{Arrival, Arrivals, Outbox},
    peer_store::{Entry, Keep},
    scoring::Observation,
    shell::{Lifeline, Queue, QueueStream, Shell, Timer, clock_and_timer, core_actor, step, tell},
};

/// How often round trips are looked at, ms.
const SAMPLE_INTERVAL: Millis = 10_000;
/// How often the own record may be signed anew because the node's place on the map has moved, ms.
const RECORD_INTERVAL: Millis = 10 * 60 * 1000;
/// How far it must have moved for that, ms of round trip.
const MOVED_MIN: Millis = 5;

/// Whom discovery talks to.
pub(crate) struct DiscoveryLinks {
    pub(crate) visits: Recipient<Visit>,
    pub(crate) ends: Recipient<EndVisit>,
    pub(crate) learnt: Recipient<Learnt>,
    pub(crate) connect: Recipient<Connect>,
    pub(crate) events: Recipient<Event>,
    pub(crate) refresh: Recipient<RefreshRecord>,
    pub(crate) store: Recipient<Keep>,
    pub(crate) observations: Queue<Observation>,
}

/// How the first peers are found.
pub(crate) struct FirstPeers {
    pub(crate) machine: Bootstrap,
    pub(crate) seeds: Seeds,
    pub(crate) lan: LanSettings,
    /// What the operator named, for people.
    pub(crate) named: String,
}

/// Somebody who can be asked.
struct Way {
    contact: Contact,
    outbox: Outbox,
}

/// The end of a task, for whoever waits for it.
pub(crate) type Answered = oneshot::Sender<Result<Outcome, DiscoveryError>>;

/// The actor.
pub struct Discovery {
    machine: Kademlia,
    links: DiscoveryLinks,
    inputs: Option<QueueStream<ToDiscovery>>,
    /// The sending side of the inputs, for tasks that report back.
    queue: Queue<ToDiscovery>,
    first: Bootstrap,
    seeds: Seeds,
    on_lan: LanSettings,
    /// Kept while it is to be heard and told.
    lan: Option<Lan>,
    /// What the operator named, for people.
    named: String,
    /// What went wrong the last time that the seeds were asked.
    seed_failures: Vec<String>,
    asking: Option<AbortHandle>,
    ways: BTreeMap<SessionId, Way>,
    waiting: BTreeMap<TaskId, Answered>,
    /// Connections whose writers are to be woken when the step is done.
    touched: BTreeSet<SessionId>,
    /// Questions of the current step that found a full queue.
    refused: Vec<QueryId>,
    own: Arc<OwnNode>,
    position: Position,
    next_sample: Time,
    next_record: Time,
    /// The place that the record tells.
    told: Option<Coordinate>,
    /// Whether the first peer has been met and the table filled from it.
    joined: bool,
    timer: Timer,
    clock: Clock,
    lifeline: Lifeline,
}

impl Discovery {
    fn begin(&mut self, ctx: &mut Context<Self>) {
        if let Some(inputs) = self.inputs.take() {
            ctx.add_stream(inputs);
        }
        match Lan::start(&self.on_lan, self.queue.clone()) {
            Ok(lan) => self.lan = lan,
            Err(error) => tracing::warn!(%error, "the local network can't be searched"),
        }
        step(self, ctx, |_, _, _| ());
    }

    pub(crate) fn new(
        machine: Kademlia,
        first: FirstPeers,
        links: DiscoveryLinks,
        (queue, inputs): (Queue<ToDiscovery>, QueueStream<ToDiscovery>),
        own: Arc<OwnNode>,
        clock: Clock,
        lifeline: Lifeline,
    ) -> Self {
        let now = clock.now();
        let FirstPeers { machine: first, seeds, lan: on_lan, named } = first;
        Discovery {
            machine,
            links,
            inputs: Some(inputs),
            queue,
            first,
            seeds,
            on_lan,
            lan: None,
            named,
            seed_failures: Vec::new(),
            asking: None,
            ways: BTreeMap::new(),
            waiting: BTreeMap::new(),
            touched: BTreeSet::new(),
            refused: Vec::new(),
            own,
            position: Position::default(),
            next_sample: now.plus(SAMPLE_INTERVAL),
            next_record: now,
            told: None,
            joined: false,
            timer: Timer::default(),
            clock,
            lifeline,
        }
    }

    /// One input; a question that found a full queue has failed.
    fn act<R>(
        &mut self,
        ctx: &mut Context<Self>,
        input: impl FnOnce(&mut Self, Time, &mut Vec<Action>) -> R,
    ) -> R {
        let result = step(self, ctx, input);
        while let Some(query) = self.refused.pop() {
            step(self, ctx, |actor, now, out| {
                actor.machine.on_query_failed(now, query, false, out);
            });
        }
        result
    }

    fn hear(&mut self, input: ToDiscovery, ctx: &mut Context<Self>) {
        match input {
            ToDiscovery::Up(contact, outbox) => {
                let contact = *contact;
                self.ways.insert(contact.session, Way { contact: contact.clone(), outbox });
                self.act(ctx, |actor, now, out| {
                    let peer = !contact.visit;
                    actor.count_peers(now);
                    actor.machine.on_contact_up(now, contact, out);
                    if peer && !std::mem::replace(&mut actor.joined, true) {
                        actor.machine.join(now, out);
                    }
                });
            }
            ToDiscovery::Down(session) => {
                self.ways.remove(&session);
                self.act(ctx, |actor, now, out| {
                    actor.count_peers(now);
                    actor.machine.on_contact_down(now, session, out);
                });
            }
            ToDiscovery::Arrivals(arrivals) => self.arrived(arrivals, ctx),
            ToDiscovery::VisitFailed { peer, blame } => self.act(ctx, |actor, now, out| {
                actor.machine.on_visit_failed(now, peer, blame, out);
            }),
            ToDiscovery::Record(record) => {
                for way in self.ways.values_mut() {
                    if way.contact.record.node() == record.node() {
                        way.contact.record = (*record).clone();
                    }
                }
                self.act(ctx, |actor, _, out| actor.machine.on_record(&record, out));
            }
            ToDiscovery::Missing(node) => {
                self.act(ctx, |actor, now, out| actor.machine.seek(now, node, out));
            }
            ToDiscovery::OwnRecord(record) => self.machine.on_own_record(*record),
            ToDiscovery::Seeds(answers) => self.on_seeds(*answers),
            ToDiscovery::Lan { node, address } => {
                self.dial_first(Some(node), address, Some(address.transport()));
            }
        }
    }

    fn arrived(&mut self, arrivals: Arrivals, ctx: &mut Context<Self>) {
        let Arrivals { session, messages, .. } = arrivals;
        self.act(ctx, |actor, now, out| {
            for Arrival { message, .. } in messages {
                actor.on_message(now, session, &message, out);
            }
        });
    }

    fn on_message(
        &mut self,
        now: Time,
        session: SessionId,
        message: &Message,
        out: &mut Vec<Action>,
    ) {
        let Some(header) = message.header.read::<DiscoveryHeader>() else { return };
        let (body, limit) = (&message.body, message.kind.row().body_max);
        let malformed = if message.kind == Kind::DiscoveryQuery {
            match codec::decode_canonical::<Query>(body, limit) {
                Ok(query) => {
                    self.machine.on_query(now, session, header.id, query, out);
                    false
                }
                Err(_) => true,
            }
        } else {
            match codec::decode_canonical::<Answer>(body, limit) {
                Ok(answer) => {
                    self.machine.on_answer(now, session, header.id, answer, out);
                    false
                }
                Err(_) => true,
            }
        };
        let peer = self.ways.get(&session).map(|way| way.contact.record.node());
        if let Some(peer) = peer.filter(|_| malformed) {
            out.push(Action::Penalise { peer, fault: KademliaFault::Malformed });
        }
    }

    /// Learns the node's place from the round trips to its peers, and has it told when it is new.
    fn sample(&mut self, now: Time) {
        self.next_sample = now.plus(SAMPLE_INTERVAL);
        for way in self.ways.values().filter(|way| !way.contact.visit) {
            if let Some(ms) = way.outbox.counters().round_trip() {
                let there = way.contact.record.record().coordinate.unwrap_or_default();
                self.position.on_sample(ms, &there);
            }
        }
        let place = self.position.coordinate();
        let moved = match (self.told, place) {
            (Some(told), Some(place)) => {
                let (flat, here) =
                    (Coordinate { height: 0, ..told }, Coordinate { height: 0, ..place });
                flat.round_trip_ms(&here) >= MOVED_MIN
            }
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if moved && now >= self.next_record {
            self.next_record = now.plus(RECORD_INTERVAL);
            self.told = place;
            *self.own.coordinate.lock().unwrap_or_else(PoisonError::into_inner) = place;
            tell("refresh_record", &self.links.refresh, RefreshRecord);
        }
    }

    fn send(&mut self, session: SessionId, query: Option<QueryId>, message: Outgoing) {
        let pushed = self.ways.get(&session).map(|way| way.outbox.push_quietly(message));
        self.touched.insert(session);
        let queued = matches!(pushed, Some(Pushed::Queued | Pushed::QueuedDropping(_)));
        if let (false, Some(query)) = (queued, query) {
            self.refused.push(query);
        }
    }

    fn keep(&self, entry: Entry) {
        tell("keep", &self.links.store, Keep(vec![entry]));
    }
}

core_actor!(Discovery, mailbox = 4_096);

impl Shell for Discovery {
    type Action = Action;

    clock_and_timer!();

    fn deadline(&self) -> Option<Time> {
        let own = earliest(self.first.deadline(), Some(self.next_sample));
        earliest(self.machine.deadline(), own)
    }

    fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        if now >= self.next_sample {
            self.sample(now);
            let status = self.machine.status();
            // Counts of nodes and claims are far below 2^53.
            metrics::gauge!("peerstage_kademlia_nodes").set(status.nodes as f64);
            metrics::gauge!("peerstage_kademlia_claims").set(status.claims as f64);
        }
        self.find_first(now);
        self.machine.on_deadline(now, out);
    }

    /// Writers are woken once for all that the step put into their queues.
    fn settle(&mut self, _: Time, _: &mut Context<Self>) {
        for session in std::mem::take(&mut self.touched) {
            if let Some(way) = self.ways.get(&session) {
                way.outbox.wake();
            }
        }
    }

    fn perform(&mut self, action: Action, _: &mut Context<Self>) {
        match action {
            Action::Send { session, query, message } => self.send(session, query, message),
            Action::Visit { peer, addresses } => {
                tell("visit", &self.links.visits, Visit { peer, addresses });
            }
            Action::EndVisit(session) => {
                tell("end_visit", &self.links.ends, EndVisit(session));
            }
            Action::Learnt { record, source } => {
                tell("learnt", &self.links.learnt, Learnt { record, source });
            }
            Action::Penalise { peer, fault } => {
                let fault = match fault {
                    KademliaFault::Malformed => Fault::MalformedMessage,
                    KademliaFault::Forged => Fault::InvalidRecord,
                    KademliaFault::Unasked => Fault::ProtocolViolation,
                };
                // A visitor may be gone again: it counts against where it was.
                let mut ways = self.ways.values().map(|way| &way.contact);
                let contact = ways.find(|contact| contact.record.node() == peer);
                let observed = match contact {
                    Some(Contact { address, visit: true, .. }) => {
                        Observation::FaultAt { peer, address: *address, fault }
                    }
                    _ => Observation::Fault { peer, fault },
                };
                let _ = self.links.observations.push(observed);
            }
            Action::Complete { task, result } => {
                let name = if result.is_ok() { "done" } else { "failed" };
                metrics::counter!("peerstage_discovery_tasks_total", "result" => name).increment(1);
                if let Some(answer) = self.waiting.remove(&task) {
                    let _ = answer.send(result);
                }
            }
            Action::PersistNode(record) => {
                self.keep(Entry::KademliaNode(Box::new(record.signed().clone())));
            }
            Action::ForgetNode(node) => self.keep(Entry::ForgetKademliaNode(node)),
            Action::PersistClaim(claim) => {
                self.keep(Entry::Claim(Box::new(claim.signed().clone())));
            }
            Action::ForgetClaim(key) => self.keep(Entry::ForgetClaim(key)),
            Action::Count(what) => {
                metrics::counter!("peerstage_discovery_total", "what" => what).increment(1);
            }
        }
    }
}
