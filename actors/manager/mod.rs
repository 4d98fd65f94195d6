//! The NetworkManager actor: who is connected, who should be, and who may not.

mod exchange;
mod handlers;
mod messages;
mod opened;
mod opening;
mod orders;
mod racing;
mod sessions;
mod upgrading;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use actix::{AsyncContext, Context, Recipient};
use peerstage_core::{
    address::Address,
    codec,
    identity::NodeId,
    kinds::Kind,
    manager::{Action, DialId, Direction, Established, LinkKind, Manager, SessionId, Target},
    messages::{ConnectionPurpose, Hello, PeersRequest},
    nat::Told,
    reason::{CloseReason, Closure},
    record::{Capabilities, SignedRecord, VerifiedRecord},
    scoring::Fault,
    time::{Millis, Time},
};
use tokio::sync::oneshot;

pub use messages::{
    Connect, Disconnect, ManagerQuery, ManagerReport, Named, PeerQuery, PeerRow, SetValidators,
    Shutdown,
};
pub(crate) use messages::{EndVisit, Learnt, RefreshRecord, Visit};
pub(crate) use opened::Accepted;
pub(crate) use opening::Opening;
use opening::Wanted;

use crate::{
    clock::Clock,
    events::{Event, What},
    nat::Seen,
    network::NamedNode,
    own::{OwnNode, RECORD_REFRESH},
    peer::{Arrivals, Greeting, Outbox, PeerOrder, SessionEvent},
    peer_store::Keep,
    relay::RecordSeen,
    scoring::Observation,
    shell::{Lifeline, Queue, QueueStream, Shell, Timer, clock_and_timer, core_actor, step, tell},
};

/// Names whose other addresses are remembered: as many as the machine keeps, and resolved ones.
const NAMED_MAX: usize = 4_096;

/// Between two tellings of a record that has changed, ms. A guess: peers take one such message a
/// second, and a machine that changes networks settles within seconds.
const RECORD_GAP: Millis = 10_000;
/// The same after the first record, which was signed before anything was found out, ms: STUN servers
/// have answered by then, and whoever dials us needs to know that we are behind a NAT.
const FIRST_RECORD_GAP: Millis = 1_000;

/// Whom the manager talks to.
pub(crate) struct ManagerLinks {
    pub(crate) relay_records: Recipient<RecordSeen>,
    pub(crate) observations: Queue<Observation>,
    pub(crate) store: Recipient<Keep>,
    pub(crate) events: Recipient<Event>,
    /// Where peers see this node, to the NatTraversal.
    pub(crate) seen: Queue<Seen>,
}

/// The queues into the manager.
pub(crate) struct ManagerInputs {
    pub(crate) sessions: QueueStream<SessionEvent>,
    pub(crate) exchange: QueueStream<Arrivals>,
    pub(crate) accepted: QueueStream<Accepted>,
}

/// A connection, from its first moment to its last.
struct Session {
    address: Address,
    direction: Direction,
    /// Set by the greeting.
    greeting: Option<Greeted>,
    /// Since when it has its slot, or had.
    admitted: Option<Time>,
    /// A direct connection has taken its place; what it still brings counts.
    retiring: bool,
    /// The machine wants it gone, for this reason.
    refused: Option<CloseReason>,
    /// Dropped when it need not be opened any more.
    wanted: Option<oneshot::Sender<()>>,
}

impl Session {
    /// Bytes that came and went on the wire. Those of a circuit did so on another connection.
    fn bytes(&self, greeted: &Greeted) -> (u64, u64) {
        let counters = greeted.outbox.counters();
        if self.address.is_circuit() {
            return (0, 0);
        }
        let count = |bytes: &std::sync::atomic::AtomicU64| bytes.load(Ordering::Relaxed);
        (count(&counters.bytes_in), count(&counters.bytes_out))
    }
}

struct Greeted {
    peer: NodeId,
    agent: String,
    metadata: BTreeMap<String, String>,
    suite: &'static str,
    noise_key: [u8; 32],
    record: Box<VerifiedRecord>,
    /// Let in for questions alone.
    visit: bool,
    /// Where it sees this node.
    observed: Address,
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
    /// Every address of a node that was named without its transport, by the first of them.
    named: BTreeMap<Address, Vec<Address>>,
    sessions: BTreeMap<SessionId, Session>,
    /// Attempts under way: their sessions and what they are for.
    dials: BTreeMap<DialId, (SessionId, LinkKind)>,
    next_session: u64,
    own: Arc<OwnNode>,
    /// Whether peers may carry connections of this node.
    circuits: bool,
    /// What the record says of where we are.
    told: Told,
    next_record: Time,
    /// When the record was signed last, and for how long it stays at least.
    last_record: Time,
    record_gap: Millis,
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
    pub(crate) bootstrap: Vec<NamedNode>,
    pub(crate) persistent: Vec<NamedNode>,
    pub(crate) own: Arc<OwnNode>,
    pub(crate) circuits: bool,
    pub(crate) told: Told,
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
        let bans: Vec<(NodeId, Time)> = self.machine.bans().collect();
        let _ = self.links.seen.push_control(Seen::Banned(bans));
        let (bootstrap, persistent) = self.start.take().unwrap_or_default();
        step(self, ctx, |actor, now, out| {
            actor.machine.on_start(now, &bootstrap, &persistent, out);
        });
    }

    pub(crate) fn new(parts: ManagerParts) -> Self {
        let last_record = parts.clock.now();
        let next_record = last_record.plus(RECORD_REFRESH);
        let all = parts.bootstrap.iter().chain(&parts.persistent);
        let named = all.map(|named| (named.target.address, named.addresses.clone())).collect();
        let targets = |all: &[NamedNode]| all.iter().map(|named| named.target).collect();
        NetworkManager {
            machine: parts.machine,
            opening: parts.opening,
            links: parts.links,
            inputs: Some(parts.inputs),
            start: Some((targets(&parts.bootstrap), targets(&parts.persistent))),
            named,
            sessions: BTreeMap::new(),
            dials: BTreeMap::new(),
            next_session: 0,
            own: parts.own,
            circuits: parts.circuits,
            told: parts.told,
            next_record,
            last_record,
            record_gap: FIRST_RECORD_GAP,
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
            retiring: false,
            refused: None,
            wanted: Some(wanted),
        };
        self.sessions.insert(id, session);
        (id, is_wanted)
    }

    fn event(&self, what: What) {
        tell("event", &self.links.events, Event { at: self.clock.now(), what });
    }

    fn outbox_of(&self, peer: &NodeId) -> Option<&Outbox> {
        let session = self.machine.peer(peer)?.session;
        Some(&self.sessions.get(&session)?.greeting.as_ref()?.outbox)
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
            punched: view.punched,
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

    fn connect_to(&mut self, order: &Connect, now: Time, out: &mut Vec<Action>) -> bool {
        let kinds = &self.opening.transports.kinds;
        let Some(NamedNode { target, addresses }) = NamedNode::of(&order.target, kinds) else {
            tracing::warn!(target = %order.target, "no transport of this node leads there");
            return false;
        };
        let address = target.address;
        let added = match order.named {
            Named::Bootstrap(name) => {
                self.machine.on_name_resolved(now, target, (name, false), out)
            }
            Named::Persistent(name) => {
                self.machine.on_name_resolved(now, target, (name, true), out)
            }
            Named::Moved(name) => return self.machine.on_name_moved(&address, name),
            Named::Found => {
                self.machine.on_found(now, target, out);
                true
            }
            Named::Now => self.machine.connect(now, target, out),
        };
        // What strangers name leaves room for what the operator names.
        let max = if order.named == Named::Found { NAMED_MAX / 2 } else { NAMED_MAX };
        if !added {
            tracing::warn!(%address, "too many addresses to keep connected to");
        } else if self.named.len() < max {
            self.named.insert(address, addresses);
        }
        added
    }
}

core_actor!(NetworkManager, mailbox = 4_096);
