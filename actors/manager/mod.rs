//! The NetworkManager actor: who is connected, who should be, and who may not.

mod messages;
mod opening;
mod orders;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use actix::{
    AsyncContext, Context, Handler, MessageResult, Recipient, ResponseActFuture, StreamHandler,
    WrapFuture,
};
use peerstage_core::{
    address::Address,
    codec,
    config::PeerAddress,
    identity::NodeId,
    kinds::Kind,
    manager::{Action, DialId, Direction, Established, Manager, SessionId, Target},
    messages::{Peers, PeersRequest},
    reason::{CloseReason, Closure},
    record::{SignedRecord, VerifiedRecord},
    scoring::Fault,
    time::Time,
};
use tokio::sync::oneshot;

pub use messages::{
    Connect, Disconnect, ManagerQuery, ManagerReport, PeerQuery, PeerRow, SetValidators, Shutdown,
};
pub(crate) use opening::Opening;

use crate::{
    clock::Clock,
    events::{Event, What},
    own::{OwnNode, RECORD_REFRESH},
    peer::{Arrival, Greeting, Outbox, PeerOrder, SessionEvent},
    peer_store::Keep,
    relay::{PeerDown, PeerUp, RecordSeen},
    requests,
    scoring::{BanChanged, Observation},
    shell::{Lifeline, Queue, QueueStream, Shell, Timer, core_actor, step, tell},
    transport::Link,
};

/// Whom the manager talks to.
pub(crate) struct ManagerLinks {
    pub(crate) relay_up: Recipient<PeerUp>,
    pub(crate) relay_down: Recipient<PeerDown>,
    pub(crate) relay_records: Recipient<RecordSeen>,
    pub(crate) requests_up: Recipient<requests::PeerUp>,
    pub(crate) requests_down: Recipient<requests::PeerDown>,
    pub(crate) observations: Queue<Observation>,
    pub(crate) store: Recipient<Keep>,
    pub(crate) events: Recipient<Event>,
}

/// The queues into the manager.
pub(crate) struct ManagerInputs {
    pub(crate) sessions: QueueStream<SessionEvent>,
    pub(crate) exchange: QueueStream<Arrival>,
    pub(crate) accepted: QueueStream<Link>,
}

/// A connection, from its first moment to its last.
struct Session {
    address: Address,
    direction: Direction,
    /// Set by the greeting.
    greeting: Option<Greeted>,
    /// The machine wants it gone, for this reason.
    refused: Option<CloseReason>,
}

struct Greeted {
    peer: NodeId,
    agent: String,
    suite: &'static str,
    noise_key: [u8; 32],
    orders: Recipient<PeerOrder>,
    outbox: Outbox,
}

/// The actor.
pub struct NetworkManager {
    machine: Manager,
    opening: Arc<Opening>,
    links: ManagerLinks,
    inputs: Option<ManagerInputs>,
    start: Option<(Vec<Target>, Vec<Target>)>,
    sessions: BTreeMap<SessionId, Session>,
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

    fn new_session(&mut self, address: Address, direction: Direction) -> SessionId {
        self.next_session += 1;
        let id = SessionId(self.next_session);
        self.sessions.insert(id, Session { address, direction, greeting: None, refused: None });
        id
    }

    fn event(&self, what: What) {
        tell("event", &self.links.events, Event { at: self.clock.now(), what });
    }

    fn greeted(&mut self, greeting: Greeting, now: Time, out: &mut Vec<Action>) {
        let id = greeting.session;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(reason) = session.refused {
            let _ = greeting.orders.try_send(PeerOrder::Close(reason, 0));
            return;
        }
        session.greeting = Some(Greeted {
            peer: greeting.peer,
            agent: greeting.hello.agent.to_string(),
            suite: greeting.suite,
            noise_key: greeting.record.record().noise_key,
            orders: greeting.orders,
            outbox: greeting.outbox,
        });
        let established = Established {
            peer: greeting.peer,
            address: session.address,
            direction: session.direction,
            channel: greeting.channel,
            record: Some(*greeting.record),
            validator: greeting.validator,
        };
        self.machine.on_established(now, id, established, out);
    }

    fn on_session(&mut self, event: SessionEvent, now: Time, out: &mut Vec<Action>) {
        match event {
            SessionEvent::DialFailed { attempt, failure, reason } => {
                if let Some((id, address)) = self.session_of(attempt) {
                    self.sessions.remove(&id);
                    self.event(What::DialFailed { address, reason: reason.to_owned() });
                }
                self.machine.on_dial_failed(now, attempt, failure, out);
            }
            SessionEvent::AcceptFailed { session, reason } => {
                metrics::counter!("peerstage_handshakes_failed_total", "reason" => reason)
                    .increment(1);
                self.ended(session, Closure::local(CloseReason::HandshakeFailed), now, out);
            }
            SessionEvent::Greeted(greeting) => self.greeted(*greeting, now, out),
            SessionEvent::Ended(session, end) => {
                if let (Some(fault), Some(peer)) = (end.fault, self.peer_of(session)) {
                    let _ = self.links.observations.push(Observation::Fault { peer, fault });
                }
                self.ended(session, end.closure, now, out);
            }
        }
    }

    fn ended(&mut self, id: SessionId, closure: Closure, now: Time, out: &mut Vec<Action>) {
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
                let reason = closure.to_string();
                self.event(What::DialFailed { address: session.address, reason });
                self.machine.on_dial_failed(now, attempt, failure, out);
            }
            _ => self.machine.on_closed(now, id, closure, out),
        }
        if self.sessions.is_empty()
            && let Some(done) = self.stopping.take()
        {
            let _ = done.send(());
        }
    }

    fn session_of(&self, attempt: DialId) -> Option<(SessionId, Address)> {
        let dialled = Direction::Outbound(attempt);
        let mut sessions = self.sessions.iter();
        sessions.find(|(_, s)| s.direction == dialled).map(|(id, s)| (*id, s.address))
    }

    fn peer_of(&self, session: SessionId) -> Option<NodeId> {
        Some(self.sessions.get(&session)?.greeting.as_ref()?.peer)
    }

    fn outbox_of(&self, peer: &NodeId) -> Option<&Outbox> {
        let session = self.machine.peer(peer)?.session;
        Some(&self.sessions.get(&session)?.greeting.as_ref()?.outbox)
    }

    fn on_exchange(&mut self, arrival: &Arrival, now: Time, out: &mut Vec<Action>) {
        let (peer, body) = (&arrival.peer, &arrival.message.body);
        let limit = arrival.message.kind.row().body_max;
        let malformed = Observation::Fault { peer: *peer, fault: Fault::MalformedMessage };
        if arrival.message.kind == Kind::PeersRequest {
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
            Ok(records) => self.machine.on_records(now, peer, records, out),
            Err(_) => drop(self.links.observations.push(malformed)),
        }
    }

    /// Lets the relay know a node's key for sealed messages.
    fn see_record(&self, record: &SignedRecord) {
        if let Ok(record) = record.clone().verify(&self.own.network, self.clock.wall()) {
            self.tell_record(&record);
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
            outbound: view.outbound,
            validator: view.validator,
            agent: greeted.agent.clone(),
            suite: greeted.suite,
            since: view.since,
            round_trip_ms: counters.round_trip(),
            bytes_in: counters.bytes_in.load(Ordering::Relaxed),
            bytes_out: counters.bytes_out.load(Ordering::Relaxed),
            queued_bytes: greeted.outbox.bytes() as u64,
        })
    }

    fn connect_to(&mut self, target: &PeerAddress, now: Time, out: &mut Vec<Action>) {
        if let Some(address) = target.address() {
            let target = Target { address, expected: target.id };
            if !self.machine.connect(now, target, out) {
                tracing::warn!(%address, "too many addresses to keep connected to");
            }
        }
    }
}

core_actor!(NetworkManager, mailbox = 4_096);

impl StreamHandler<Vec<SessionEvent>> for NetworkManager {
    fn handle(&mut self, events: Vec<SessionEvent>, ctx: &mut Context<Self>) {
        for event in events {
            step(self, ctx, |actor, now, out| actor.on_session(event, now, out));
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Vec<Arrival>> for NetworkManager {
    fn handle(&mut self, arrivals: Vec<Arrival>, ctx: &mut Context<Self>) {
        for arrival in arrivals {
            step(self, ctx, |actor, now, out| actor.on_exchange(&arrival, now, out));
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Vec<Link>> for NetworkManager {
    fn handle(&mut self, links: Vec<Link>, ctx: &mut Context<Self>) {
        for link in links {
            let (address, mut link) = (link.remote, Some(link));
            let id = self.new_session(address, Direction::Inbound);
            step(self, ctx, |actor, now, out| {
                let first = out.len();
                actor.machine.on_inbound_attempt(now, id, address, out);
                // The handshake begins only if the machine lets it, before any cryptography.
                let accepted = out
                    .iter()
                    .skip(first)
                    .any(|action| matches!(action, Action::Accept { session } if *session == id));
                match link.take() {
                    Some(link) if accepted => actor.opening.accept(id, link),
                    _ => {
                        metrics::counter!("peerstage_inbound_refused_total").increment(1);
                        actor.sessions.remove(&id);
                    }
                }
            });
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<Connect> for NetworkManager {
    type Result = ();

    fn handle(&mut self, Connect { target }: Connect, ctx: &mut Context<Self>) {
        step(self, ctx, |actor, now, out| actor.connect_to(&target, now, out));
    }
}

impl Handler<Disconnect> for NetworkManager {
    type Result = bool;

    fn handle(&mut self, Disconnect { peer }: Disconnect, ctx: &mut Context<Self>) -> bool {
        step(self, ctx, |actor, now, out| actor.machine.disconnect(now, &peer, out))
    }
}

impl Handler<SetValidators> for NetworkManager {
    type Result = ();

    fn handle(&mut self, SetValidators(set): SetValidators, ctx: &mut Context<Self>) {
        // The relay forgot what it knew of nodes outside the old set: it is told again.
        for key in &set {
            let node = self.machine.book().node_of_validator(key);
            if let Some(record) = node.and_then(|node| self.machine.book().record(&node)) {
                self.tell_record(record);
            }
        }
        step(self, ctx, |actor, now, out| actor.machine.set_validators(now, set, out));
    }
}

impl Handler<BanChanged> for NetworkManager {
    type Result = ();

    fn handle(&mut self, BanChanged { peer, until }: BanChanged, ctx: &mut Context<Self>) {
        step(self, ctx, |actor, now, out| match until {
            Some(until) => actor.machine.on_banned(now, peer, until, out),
            None => actor.machine.on_unbanned(now, &peer, out),
        });
    }
}

impl Handler<PeerQuery> for NetworkManager {
    type Result = Vec<PeerRow>;

    fn handle(&mut self, PeerQuery(peer): PeerQuery, _: &mut Context<Self>) -> Vec<PeerRow> {
        match peer {
            Some(peer) => {
                self.machine.peer(&peer).and_then(|view| self.row(view)).into_iter().collect()
            }
            None => self.machine.peers().filter_map(|view| self.row(view)).collect(),
        }
    }
}

impl Handler<ManagerQuery> for NetworkManager {
    type Result = MessageResult<ManagerQuery>;

    fn handle(&mut self, ManagerQuery: ManagerQuery, _: &mut Context<Self>) -> Self::Result {
        let live = self.sessions.values().filter_map(|session| session.greeting.as_ref());
        let (mut bytes_in, mut bytes_out) = self.past_bytes;
        for greeted in live {
            bytes_in += greeted.outbox.counters().bytes_in.load(Ordering::Relaxed);
            bytes_out += greeted.outbox.counters().bytes_out.load(Ordering::Relaxed);
        }
        let validators = self.machine.peers().filter(|peer| peer.validator.is_some()).count();
        let status = self.machine.status();
        MessageResult(ManagerReport { status, validators, bytes_in, bytes_out })
    }
}

impl Handler<Shutdown> for NetworkManager {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, Shutdown: Shutdown, ctx: &mut Context<Self>) -> Self::Result {
        let (done, gone) = oneshot::channel();
        self.stopping = Some(done);
        step(self, ctx, |actor, now, out| actor.machine.on_shutdown(now, out));
        if self.sessions.is_empty() {
            self.stopping = None;
        }
        Box::pin(
            async move {
                let _ = gone.await;
            }
            .into_actor(self),
        )
    }
}
