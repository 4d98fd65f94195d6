//! The NetworkManager actor: who is connected, who should be, and who may not.

mod handlers;
mod messages;
mod opening;
mod orders;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use actix::{AsyncContext, Context, Recipient};
use peerstage_core::{
    address::Address,
    codec,
    frame::Message,
    identity::NodeId,
    kinds::Kind,
    manager::{Action, DialId, Direction, Established, LinkKind, Manager, SessionId, Target},
    messages::{Hello, Peers, PeersRequest},
    reason::{CloseReason, Closure},
    record::{SignedRecord, VerifiedRecord},
    scoring::Fault,
    time::Time,
};
use tokio::sync::oneshot;

pub use messages::{
    Connect, Disconnect, ManagerQuery, ManagerReport, Named, PeerQuery, PeerRow, SetValidators,
    Shutdown,
};
pub(crate) use opening::Opening;
use opening::Wanted;

use crate::{
    clock::Clock,
    events::{Event, What},
    own::{OwnNode, RECORD_REFRESH},
    peer::{Arrivals, Greeting, Outbox, PeerOrder, SessionEvent},
    peer_store::Keep,
    relay::RecordSeen,
    scoring::Observation,
    shell::{Lifeline, Queue, QueueStream, Shell, Timer, clock_and_timer, core_actor, step, tell},
    transport::Link,
};

/// Whom the manager talks to.
pub(crate) struct ManagerLinks {
    pub(crate) relay_records: Recipient<RecordSeen>,
    pub(crate) observations: Queue<Observation>,
    pub(crate) store: Recipient<Keep>,
    pub(crate) events: Recipient<Event>,
}

/// The queues into the manager.
pub(crate) struct ManagerInputs {
    pub(crate) sessions: QueueStream<SessionEvent>,
    pub(crate) exchange: QueueStream<Arrivals>,
    pub(crate) accepted: QueueStream<Link>,
}

/// A connection, from its first moment to its last.
struct Session {
    address: Address,
    direction: Direction,
    /// Set by the greeting.
    greeting: Option<Greeted>,
    /// Since when it has its slot, or had.
    admitted: Option<Time>,
    /// The machine wants it gone, for this reason.
    refused: Option<CloseReason>,
    /// Dropped when it need not be opened any more.
    wanted: Option<oneshot::Sender<()>>,
}

struct Greeted {
    peer: NodeId,
    agent: String,
    metadata: BTreeMap<String, String>,
    suite: &'static str,
    noise_key: [u8; 32],
    orders: Recipient<PeerOrder>,
    outbox: Outbox,
}

/// A peer's words about itself.
fn words(hello: &Hello) -> BTreeMap<String, String> {
    hello.metadata.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
}

/// The actor.
pub struct NetworkManager {
    machine: Manager,
    opening: Arc<Opening>,
    links: ManagerLinks,
    inputs: Option<ManagerInputs>,
    start: Option<(Vec<Target>, Vec<Target>)>,
    sessions: BTreeMap<SessionId, Session>,
    /// Attempts under way: their sessions and what they are for.
    dials: BTreeMap<DialId, (SessionId, LinkKind)>,
    next_session: u64,
    own: Arc<OwnNode>,
    own_addresses: Vec<Address>,
    next_record: Time,
    /// Bytes of connections that are gone.
    past_bytes: (u64, u64),
    /// Where the session was that ended last.
    last_address: Option<Address>,
    /// Told when the last session is gone.
    stopping: Option<oneshot::Sender<()>>,
    timer: Timer,
    clock: Clock,
    lifeline: Lifeline,
}

/// What the actor is made of.
pub(crate) struct ManagerParts {
    pub(crate) machine: Manager,
    pub(crate) opening: Arc<Opening>,
    pub(crate) links: ManagerLinks,
    pub(crate) inputs: ManagerInputs,
    pub(crate) bootstrap: Vec<Target>,
    pub(crate) persistent: Vec<Target>,
    pub(crate) own: Arc<OwnNode>,
    pub(crate) own_addresses: Vec<Address>,
    pub(crate) clock: Clock,
    pub(crate) lifeline: Lifeline,
}

impl NetworkManager {
    fn begin(&mut self, ctx: &mut Context<Self>) {
        if let Some(inputs) = self.inputs.take() {
            ctx.add_stream(inputs.sessions);
            ctx.add_stream(inputs.exchange);
            ctx.add_stream(inputs.accepted);
        }
        // What the store still knew.
        let restored = self.machine.book().entries().filter_map(|entry| entry.peer);
        let restored: Vec<NodeId> = restored.collect();
        self.tell_records(&restored);
        let (bootstrap, persistent) = self.start.take().unwrap_or_default();
        step(self, ctx, |actor, now, out| {
            actor.machine.on_start(now, &bootstrap, &persistent, out);
        });
    }

    pub(crate) fn new(parts: ManagerParts) -> Self {
        let next_record = parts.clock.now().plus(RECORD_REFRESH);
        NetworkManager {
            machine: parts.machine,
            opening: parts.opening,
            links: parts.links,
            inputs: Some(parts.inputs),
            start: Some((parts.bootstrap, parts.persistent)),
            sessions: BTreeMap::new(),
            dials: BTreeMap::new(),
            next_session: 0,
            own: parts.own,
            own_addresses: parts.own_addresses,
            next_record,
            past_bytes: (0, 0),
            last_address: None,
            stopping: None,
            timer: Timer::default(),
            clock: parts.clock,
            lifeline: parts.lifeline,
        }
    }

    fn new_session(&mut self, address: Address, direction: Direction) -> (SessionId, Wanted) {
        self.next_session += 1;
        let id = SessionId(self.next_session);
        let (wanted, is_wanted) = oneshot::channel();
        let session = Session {
            address,
            direction,
            greeting: None,
            admitted: None,
            refused: None,
            wanted: Some(wanted),
        };
        self.sessions.insert(id, session);
        (id, is_wanted)
    }

    fn event(&self, what: What) {
        tell("event", &self.links.events, Event { at: self.clock.now(), what });
    }

    /// Lets the machine know how near and how useful its peers are when it may have to choose whom
    /// to evict: the best are not.
    fn tell_merits(&mut self) {
        if !self.machine.is_full() {
            return;
        }
        for greeted in self.sessions.values().filter_map(|session| session.greeting.as_ref()) {
            let counters = greeted.outbox.counters();
            if let Some(ms) = counters.round_trip() {
                self.machine.on_latency(&greeted.peer, ms);
            }
            let [block, transaction] = counters.novel();
            self.machine.on_novel(&greeted.peer, block, transaction);
        }
    }

    fn greeted(&mut self, greeting: Greeting, now: Time, out: &mut Vec<Action>) {
        let id = greeting.session;
        let link = self.take_dial(id);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(reason) = session.refused {
            let _ = greeting.orders.try_send(PeerOrder::Close(reason, 0));
            return;
        }
        session.greeting = Some(Greeted {
            peer: greeting.peer,
            agent: greeting.hello.agent.to_string(),
            metadata: words(&greeting.hello),
            suite: greeting.suite,
            noise_key: greeting.record.record().noise_key,
            orders: greeting.orders,
            outbox: greeting.outbox,
        });
        let asked = greeting.hello.pace.blocks_only;
        let established = Established {
            peer: greeting.peer,
            address: session.address,
            direction: session.direction,
            channel: greeting.channel,
            record: Some(*greeting.record),
            validator: greeting.validator,
            blocks_only: asked || link == Some(LinkKind::BlocksOnly),
        };
        // Only whoever dialled us can take another's place.
        if established.direction == Direction::Inbound {
            self.tell_merits();
        }
        self.machine.on_established(now, id, established, out);
    }

    fn on_session(&mut self, event: SessionEvent, now: Time, out: &mut Vec<Action>) {
        match event {
            SessionEvent::DialFailed { session, attempt, failure, reason } => {
                self.dials.remove(&attempt);
                if let Some(session) = self.sessions.remove(&session) {
                    self.dial_failed(&session, reason);
                }
                self.machine.on_dial_failed(now, attempt, failure, out);
            }
            SessionEvent::AcceptFailed { session, reason } => {
                self.accept_failed(session, reason, reason.to_owned());
                self.ended(session, Closure::local(CloseReason::HandshakeFailed), now, out);
            }
            SessionEvent::Felt { attempt, peer } => {
                if let Some((id, _)) = self.dials.remove(&attempt) {
                    self.sessions.remove(&id);
                }
                self.machine.on_felt(now, attempt, peer, out);
            }
            SessionEvent::Greeted(greeting) => self.greeted(*greeting, now, out),
            SessionEvent::Ended(session, end) => {
                // Also of a peer that never greeted: the handshake has proven who it is.
                if let Some(fault) = end.fault {
                    let peer = end.peer;
                    let address = self.sessions.get(&session).map(|session| session.address);
                    let faulty = match address {
                        Some(address) => Observation::FaultAt { peer, address, fault },
                        None => Observation::Fault { peer, fault },
                    };
                    let _ = self.links.observations.push(faulty);
                }
                let inbound = |s: &Session| s.direction == Direction::Inbound;
                if self.sessions.get(&session).is_some_and(|s| inbound(s) && s.greeting.is_none()) {
                    let (label, reason) = (end.closure.reason.name(), end.closure.to_string());
                    self.accept_failed(session, label, reason);
                }
                self.ended(session, end.closure, now, out);
            }
        }
    }

    fn ended(&mut self, id: SessionId, closure: Closure, now: Time, out: &mut Vec<Action>) {
        self.take_dial(id);
        let Some(session) = self.sessions.remove(&id) else { return };
        self.last_address = Some(session.address);
        if let Some(greeted) = &session.greeting {
            let counters = greeted.outbox.counters();
            self.past_bytes.0 += counters.bytes_in.load(Ordering::Relaxed);
            self.past_bytes.1 += counters.bytes_out.load(Ordering::Relaxed);
        }
        match session.direction {
            Direction::Outbound(attempt) if session.greeting.is_none() => {
                let failure = peerstage_core::manager::DialFailure::Handshake(closure.reason);
                self.dial_failed(&session, &closure.to_string());
                self.machine.on_dial_failed(now, attempt, failure, out);
            }
            _ => self.machine.on_closed(now, id, closure, out),
        }
        // Looked at only while stopping: it goes through all sessions.
        if self.stopping.is_some()
            && !self.has_greeted()
            && let Some(done) = self.stopping.take()
        {
            let _ = done.send(());
        }
    }

    /// Whether there is a peer to say goodbye to. A stranger that is silent in its handshake is
    /// not waited for.
    fn has_greeted(&self) -> bool {
        self.sessions.values().any(|session| session.greeting.is_some())
    }

    /// The attempt that a session comes from is over: what it was for.
    fn take_dial(&mut self, id: SessionId) -> Option<LinkKind> {
        let Direction::Outbound(attempt) = self.sessions.get(&id)?.direction else { return None };
        self.dials.remove(&attempt).map(|(_, link)| link)
    }

    /// Shows once that a dial became no peer: one that was given up was shown at that moment.
    fn dial_failed(&self, session: &Session, reason: &str) {
        if session.refused.is_none() {
            let (address, reason) = (session.address, reason.to_owned());
            self.event(What::DialFailed { address, reason });
        }
    }

    /// Counts and shows that a stranger became no peer.
    fn accept_failed(&self, session: SessionId, label: &'static str, reason: String) {
        metrics::counter!("peerstage_handshakes_failed_total", "reason" => label).increment(1);
        if let Some(address) = self.sessions.get(&session).map(|session| session.address) {
            self.event(What::AcceptFailed { address, reason });
        }
    }

    fn outbox_of(&self, peer: &NodeId) -> Option<&Outbox> {
        let session = self.machine.peer(peer)?.session;
        Some(&self.sessions.get(&session)?.greeting.as_ref()?.outbox)
    }

    fn on_exchange(&mut self, peer: NodeId, message: &Message, now: Time, out: &mut Vec<Action>) {
        let (peer, body) = (&peer, &message.body);
        let limit = message.kind.row().body_max;
        let malformed = Observation::Fault { peer: *peer, fault: Fault::MalformedMessage };
        if message.kind == Kind::PeersRequest {
            match codec::decode_canonical::<PeersRequest>(body, limit) {
                Ok(request) => self.machine.on_peers_requested(now, peer, request.count, out),
                Err(_) => drop(self.links.observations.push(malformed)),
            }
            return;
        }
        let Ok(peers) = codec::decode_canonical::<Peers>(body, limit) else {
            return drop(self.links.observations.push(malformed));
        };
        let records: Result<Vec<_>, _> =
            peers.records.iter().map(|bytes| SignedRecord::decode(bytes)).collect();
        match records {
            Ok(records) => {
                let nodes = records.iter().map(|r| r.record.public_key.node_id());
                let nodes: Vec<NodeId> = nodes.collect();
                self.machine.on_records(now, peer, records, out);
                self.tell_records(&nodes);
            }
            Err(_) => drop(self.links.observations.push(malformed)),
        }
    }

    /// The relay needs the keys of nodes that were never met most of all: messages to them are
    /// sealed and routed.
    fn tell_records(&self, nodes: &[NodeId]) {
        for record in nodes.iter().filter_map(|node| self.machine.book().record(node)) {
            self.tell_record(record);
        }
    }

    fn tell_record(&self, record: &VerifiedRecord) {
        let seen = RecordSeen {
            node: record.node(),
            noise_key: record.record().noise_key,
            validator: record.validator(),
        };
        tell("record_seen", &self.links.relay_records, seen);
    }

    fn row(&self, view: &peerstage_core::manager::PeerView) -> Option<PeerRow> {
        let greeted = self.sessions.get(&view.session)?.greeting.as_ref()?;
        let counters = greeted.outbox.counters();
        Some(PeerRow {
            peer: view.peer,
            address: view.address,
            group: view.group,
            place: view.place,
            blocks_only: view.blocks_only,
            outbound: view.outbound,
            validator: view.validator,
            agent: greeted.agent.clone(),
            metadata: greeted.metadata.clone(),
            suite: greeted.suite,
            since: view.since,
            round_trip_ms: counters.round_trip(),
            bytes_in: counters.bytes_in.load(Ordering::Relaxed),
            bytes_out: counters.bytes_out.load(Ordering::Relaxed),
            queued_bytes: greeted.outbox.bytes() as u64,
        })
    }

    fn connect_to(&mut self, order: &Connect, now: Time, out: &mut Vec<Action>) {
        let Some(address) = order.target.address() else { return };
        let target = Target { address, expected: order.target.id };
        match order.named {
            Named::Bootstrap => self.machine.on_bootstrap_resolved(now, target, out),
            Named::Persistent => self.machine.on_persistent_resolved(now, target, out),
            Named::Now if !self.machine.connect(now, target, out) => {
                tracing::warn!(%address, "too many addresses to keep connected to");
            }
            Named::Now => {}
        }
    }
}

core_actor!(NetworkManager, mailbox = 4_096);
