//! The Peer actor: one a connection, around the [`Connection`] machine and a secure channel.
//!
//! It reads records, hands whole messages up through bounded queues, and writes what the relay
//! put into its [`Outbox`]. Its death, in order or by panic, closes this connection, frees its
//! slot and is told to the NetworkManager exactly once; nobody else notices.

mod actor;
mod directory;
mod lane_reader;
#[cfg(test)]
mod lane_tests;
mod lane_writer;
mod limits;
mod link;
mod outbox;
#[cfg(test)]
mod parting_tests;
mod parts;
mod reader;
mod retire;
mod sending;
mod writer;
mod writing;

use std::{cell::RefCell, rc::Rc, sync::Arc};

use actix::{Actor, ActorContext, Context, Message, Recipient, StreamHandler};
use peerstage_core::{
    address::Address,
    codec,
    connection::{Action, Connection, End, Violation},
    frame::{self, FrameError},
    identity::NodeId,
    kinds::Kind,
    lanes::{Pushed, plain},
    manager::SessionId,
    messages::{Disconnect, Hello, MessageId, Takes, Topic},
    reason::{CloseReason, Closure},
    record::{SignedRecord, VerifiedRecord},
    relay::DIRECT_HOPS,
    scoring::Fault,
    time::{Millis, Time},
};

pub use directory::Directory;
use lane_reader::{Heard, LaneReader};
use lane_writer::LaneWriter;
pub use limits::ByteLimits;
use limits::Share;
pub use link::{
    Arrival, Arrivals, FromPeer, Greeting, PeerLinks, PeerTiming, PeerUp, SessionEnd, SessionEvent,
    SessionGuard,
};
pub use outbox::{Outbox, PeerCounters};
pub(crate) use parts::{PeerParts, SecureChannel};
use reader::{Arrived, Plaintext, Reader};
use retire::Retire;
pub use sending::{Sending, Unsent};
use writer::{WriteState, Writer, WriterNews};

use crate::{
    circuits::ToCircuits,
    clock::Clock,
    shell::{ByteBudget, Timer},
};

/// How long a goodbye may take to leave, ms.
const GOODBYE_MS: Millis = 1_000;

/// Orders from the NetworkManager; at most a handful in a peer's life.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub enum PeerOrder {
    /// The peer has its slot: deliver its messages from now on.
    Accept,
    /// It is a visit: deliver what discovery asks and answers, and nothing else.
    AcceptVisit,
    /// Say goodbye and end.
    Close(CloseReason, Millis),
    /// A direct connection has taken this one's place, and nothing more is queued here: send what
    /// waits, hear the other side out, and end.
    Retire,
    /// A test wants to see what a panic does.
    Panic,
}

enum Phase {
    /// Greeting; messages that arrive early wait here, bounded by the peer's budget.
    Greeting(Vec<Arrivals>),
    Open,
    /// The goodbye is on its way.
    Closing(Time),
}

/// Bytes that passed a socket.
fn bytes_total(direction: &'static str, transport: &'static str) -> metrics::Counter {
    metrics::counter!("peerstage_bytes_total", "direction" => direction, "transport" => transport)
}

/// Bytes of a stream: what a relay carries passes the socket of the connection with the relay, and
/// counts as bytes there.
fn stream_bytes_total(direction: &'static str, address: &Address) -> metrics::Counter {
    if address.is_circuit() {
        metrics::counter!("peerstage_relayed_bytes_total", "direction" => direction)
    } else {
        bytes_total(direction, address.transport().name())
    }
}

/// The actor of one connection.
pub struct Peer {
    session: SessionId,
    remote: NodeId,
    address: Address,
    suite: &'static str,
    channel: [u8; 32],
    connection: Connection,
    /// The reader of lanes looks at it.
    heard: Rc<Heard>,
    phase: Phase,
    /// Whether only questions of discovery are heard.
    visit: bool,
    retire: Option<Retire>,
    /// Whether each lane has a stream of its own, and those of the other side have ended; where
    /// there are none they end with the last word.
    has_lanes: bool,
    lanes_ended: bool,
    /// Messages of circuits were lost, and the Circuits were told.
    told_lost: bool,
    /// Messages of the current step, and the bytes they came in.
    arrived: Vec<Arrival>,
    arrived_bytes: usize,
    outbox: Outbox,
    writing: Rc<RefCell<WriteState>>,
    bytes_in: metrics::Counter,
    write_timeout: Millis,
    budget: ByteBudget,
    links: PeerLinks,
    guard: SessionGuard,
    first_actions: Vec<Action>,
    timer: Timer,
    /// When the writer is to look again at what is paced.
    paced: Option<Time>,
    share: Option<Share>,
    clock: Clock,
}

impl Peer {
    /// Starts the actor on the current thread.
    pub(crate) fn launch(channel: SecureChannel, parts: PeerParts) {
        let PeerParts { links, guard, clock, .. } = parts;
        let now = clock.now();
        let hash = parts.terms.handshake_hash;
        let mut first_actions = Vec::new();
        let connection =
            Connection::new(now, parts.terms, &parts.hello, parts.nonce, &mut first_actions);
        let outbox = Outbox::new(now, parts.queue_bytes);
        outbox.set_upload_rate(now, parts.limits.upload_per_peer());
        let writing = WriteState::new(now);
        let budget = ByteBudget::new(parts.budget_bytes);
        let slow = parts.limits.reading(parts.session, clock.clone());
        let limit = parts.limits.writing(parts.session);
        let heard = Rc::new(Heard::default());
        let address = parts.address;
        let has_lanes = matches!(channel, SecureChannel::Quic(..));
        Peer::create(|ctx| {
            let (shared, time, queues) = (Rc::clone(&writing), clock.clone(), outbox.clone());
            match channel {
                SecureChannel::Noise { io, sealer, opener, leftover } => {
                    let (read, write) = tokio::io::split(io);
                    let reader = Reader::new(read, opener, budget.clone(), slow, leftover);
                    <Self as StreamHandler<Arrived>>::add_stream(reader, ctx);
                    let bytes_out = stream_bytes_total("out", &address);
                    let writer =
                        Writer::new(write, sealer, shared, queues, limit, (time, bytes_out));
                    <Self as StreamHandler<WriterNews>>::add_stream(writer, ctx);
                }
                SecureChannel::Quic(incoming, outgoing) => {
                    let gate = Rc::clone(&heard);
                    let reader = LaneReader::new(*incoming, gate, budget.clone(), slow);
                    <Self as StreamHandler<Arrived>>::add_stream(reader, ctx);
                    let writer = LaneWriter::new(outgoing, shared, queues, limit, time);
                    <Self as StreamHandler<WriterNews>>::add_stream(writer, ctx);
                }
            }
            Peer {
                session: parts.session,
                remote: parts.remote,
                address: parts.address,
                suite: parts.suite,
                channel: hash,
                connection,
                heard,
                phase: Phase::Greeting(Vec::new()),
                visit: false,
                retire: None,
                has_lanes,
                lanes_ended: !has_lanes,
                told_lost: false,
                arrived: Vec::new(),
                arrived_bytes: 0,
                outbox,
                writing,
                bytes_in: stream_bytes_total("in", &address),
                write_timeout: parts.write_timeout,
                budget,
                links,
                guard,
                first_actions,
                timer: Timer::default(),
                paced: None,
                share: parts.limits.share(parts.session),
                clock,
            }
        });
    }

    fn on_records(&mut self, now: Time, plain: &Plaintext, out: &mut Vec<Action>) {
        self.outbox.counters().note_read(plain.read as u64);
        self.bytes_in.increment(plain.read as u64);
        self.arrived_bytes = plain.len();
        let mut partial = plain.read;
        for record in plain.records() {
            partial = 0;
            match plain.lane {
                None => self.connection.on_record(now, record, out),
                Some(lane) => self.connection.on_frames(now, lane, record, out),
            }
        }
        self.connection.on_partial_record(now, partial, plain.pending);
    }

    /// Tells the peer its share of what is received from all, where that has changed.
    fn tell_share(&self, now: Time) {
        let Some(share) = self.share.as_ref().filter(|_| self.shares()) else { return };
        let Some(bytes_per_second) = share.told(now) else { return };
        let takes = codec::encode(&Takes { bytes_per_second }).unwrap_or_default();
        if matches!(self.outbox.push(plain(Kind::Takes, takes)), Pushed::Dropped) {
            share.note_unheard();
        }
    }

    /// Whether the peer is told anything new.
    fn shares(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.retire.is_none()
    }

    /// Ends the connection from this side, telling the other why.
    fn say_goodbye(&mut self, now: Time, reason: CloseReason, retry_after: Millis) {
        if matches!(self.phase, Phase::Closing(_)) {
            return;
        }
        self.phase = Phase::Closing(now.plus(GOODBYE_MS));
        self.guard.set_closure(Closure::local(reason));
        let goodbye = Disconnect {
            reason: reason.code(),
            retry_after_ms: u32::try_from(retry_after).unwrap_or(u32::MAX),
        };
        let goodbye = plain(Kind::Disconnect, codec::encode(&goodbye).unwrap_or_default());
        self.writing.borrow_mut().say_goodbye(goodbye);
        self.outbox.wake_always();
    }

    fn greeted(&mut self, hello: Hello, ctx: &mut Context<Self>) {
        self.heard.greeting.set(true);
        let record = SignedRecord::decode(&hello.record)
            .and_then(|record| record.verify(&self.links.network, self.clock.wall()));
        let record = match record {
            Ok(record) if record.node() == self.remote => record,
            Ok(_) => return self.fault(Fault::InvalidRecord, CloseReason::ProtocolError),
            Err(error) if error.is_fault() => {
                return self.fault(Fault::InvalidRecord, CloseReason::ProtocolError);
            }
            Err(error) => {
                tracing::info!(peer = %self.remote.short(), %error, "record refused");
                return self.say_goodbye(self.clock.now(), CloseReason::HandshakeFailed, 0);
            }
        };
        self.outbox.set_pace(self.clock.now(), hello.pace);
        let greeting = Greeting {
            session: self.session,
            peer: self.remote,
            validator: self.connection.validator(),
            channel: self.channel,
            suite: self.suite,
            address: self.address,
            hello,
            record: Box::<VerifiedRecord>::new(record),
            orders: Self::recipient(ctx),
            outbox: self.outbox.clone(),
        };
        self.guard.greeted(greeting);
    }

    fn recipient(ctx: &mut Context<Self>) -> Recipient<PeerOrder> {
        use actix::AsyncContext;
        ctx.address().recipient()
    }

    fn fault(&mut self, fault: Fault, reason: CloseReason) {
        self.guard.set_fault(fault);
        self.say_goodbye(self.clock.now(), reason, 0);
    }

    /// Hands on what the step brought, all of it at once.
    fn deliver_arrived(&mut self) {
        if self.arrived.is_empty() {
            return;
        }
        let messages = std::mem::take(&mut self.arrived);
        let permit = Arc::new(self.budget.book(self.arrived_bytes, messages.len()));
        let arrivals = Arrivals { session: self.session, peer: self.remote, messages, permit };
        match &mut self.phase {
            Phase::Greeting(early) => early.push(arrivals),
            Phase::Open => self.hand_on(arrivals),
            Phase::Closing(_) => {}
        }
    }

    /// Hands messages to their listeners. A visitor's other messages are dropped and counted: it may
    /// not know yet that it is one. What is missing of a circuit's bytes breaks it, so the Circuits
    /// are told of a loss: once, until they take messages again.
    fn hand_on(&mut self, mut arrivals: Arrivals) {
        if self.visit {
            let all = arrivals.messages.len();
            arrivals.messages.retain(|arrival| arrival.message.kind.is_discovery());
            let dropped = all.saturating_sub(arrivals.messages.len());
            metrics::counter!("peerstage_visits_unheard_total").increment(dropped as u64);
        }
        match self.links.route(arrivals) {
            Some(false) if !self.told_lost => {
                self.told_lost = true;
                let lost = ToCircuits::Lost(self.session);
                let _ = self.links.circuits.push_control(lost);
            }
            Some(true) => self.told_lost = false,
            _ => {}
        }
    }

    fn end(&mut self, end: End, ctx: &mut Context<Self>) {
        match end {
            End::Violation(violation) => {
                tracing::debug!(peer = %self.remote.short(), %violation, "violation");
                self.fault(fault_of(&violation), CloseReason::ProtocolError);
            }
            End::HelloTimeout => {
                self.say_goodbye(self.clock.now(), CloseReason::HandshakeTimeout, 0);
            }
            End::PingTimeout => self.say_goodbye(self.clock.now(), CloseReason::PingTimeout, 0),
            End::Idle => self.say_goodbye(self.clock.now(), CloseReason::Idle, 0),
            End::TooSlow => self.say_goodbye(self.clock.now(), CloseReason::SlowReader, 0),
            End::Remote { reason, retry_after_ms } => {
                let reason = CloseReason::from_code(reason);
                self.guard.set_closure(Closure::remote(reason, u64::from(retry_after_ms)));
                ctx.stop();
            }
        }
    }
}

/// The id of a gossiped or routed message, hashed here and not where all messages pass.
fn id_of(message: &frame::Message) -> Option<MessageId> {
    let topic = match message.kind {
        Kind::Routed => Topic(0),
        kind if kind.row().relay.is_some() => {
            let header = message.header.gossip()?;
            // Said to this node alone, and the same words may be said twice: nothing to look up.
            if kind == Kind::Custom && header.hops == DIRECT_HOPS {
                return None;
            }
            header.topic
        }
        _ => return None,
    };
    Some(MessageId::of(message.kind, topic, &message.body))
}

/// The fault that a violation of the wire rules is.
fn fault_of(violation: &Violation) -> Fault {
    match violation {
        Violation::Frame(FrameError::Oversized { .. }) => Fault::OversizedMessage,
        Violation::Frame(FrameError::UnknownKind(_)) => Fault::UnknownKind,
        Violation::Frame(_) | Violation::Malformed(_) => Fault::MalformedMessage,
        Violation::OutOfTurn(_) | Violation::StrayStream => Fault::ProtocolViolation,
        Violation::TooMany(_) | Violation::TooManyRecords => Fault::Spam,
        Violation::WrongRole(_) => Fault::WrongRole,
        Violation::FalseProof => Fault::Handshake,
    }
}
