//! The Peer actor: one a connection, around the [`Connection`] machine and the Noise transport.
//!
//! It reads records, hands whole messages up through bounded queues, and writes what the relay
//! put into its [`Outbox`]. Its death, in order or by panic, closes this connection, frees its
//! slot and is told to the NetworkManager exactly once; nobody else notices.

mod actor;
mod link;
mod outbox;
mod streams;

use std::{cell::RefCell, rc::Rc};

use actix::{Actor, ActorContext, Context, Message, Recipient, StreamHandler};
use bytes::BytesMut;
use peerstage_core::{
    codec,
    connection::{self, Action, Connection, End, Violation},
    frame::{self, FrameError, RECORD_MAX},
    identity::NodeId,
    kinds::Kind,
    lanes::{Lanes, plain},
    manager::SessionId,
    messages::{Disconnect, GossipHeader, HEADER_MAX, Hello, MessageId, Topic},
    noise::{Opener, Sealer},
    reason::{CloseReason, Closure},
    record::{SignedRecord, VerifiedRecord},
    scoring::Fault,
    time::{Millis, Time},
};

pub use link::{
    Arrival, FromPeer, Greeting, PeerLinks, PeerTiming, PeerUp, SessionEnd, SessionEvent,
    SessionGuard,
};
pub use outbox::{Outbox, PeerCounters};
use streams::{Arrived, Reader, WriteBuffer, Writer, WriterReady};

use crate::{
    clock::Clock,
    shell::{ByteBudget, Timer},
    transport::Io,
};

/// Sealed bytes that may wait for the socket: two full records, so that a vote that is queued
/// now waits behind no more (measured in records, see `docs/protocol.md`).
const WRITE_AHEAD: usize = RECORD_MAX;
/// How long a goodbye may take to leave, ms.
const GOODBYE_MS: Millis = 1_000;

/// Orders from the NetworkManager; at most a handful in a peer's life.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub enum PeerOrder {
    /// The peer has its slot: deliver its messages from now on.
    Accept,
    /// Say goodbye and end.
    Close(CloseReason, Millis),
    /// A test wants to see what a panic does.
    Panic,
}

/// What the peer actor is made of.
pub struct PeerParts {
    /// The connection's number.
    pub session: SessionId,
    /// Who the other side proved to be.
    pub remote: NodeId,
    /// Bytes that arrived with the end of the handshake.
    pub leftover: BytesMut,
    /// Our direction's keys.
    pub sealer: Sealer,
    /// The remote's direction's keys.
    pub opener: Opener,
    /// The Noise suite's name.
    pub suite: &'static str,
    /// What is fixed for the connection.
    pub terms: connection::Terms,
    /// Our greeting.
    pub hello: Hello,
    /// How long the socket may take nothing while bytes wait, ms.
    pub write_timeout: Millis,
    /// First ping nonce.
    pub nonce: u64,
    /// Bytes that may wait to be sent.
    pub queue_bytes: usize,
    /// Bytes that may wait inside the node.
    pub budget_bytes: usize,
    /// Where its messages go.
    pub links: PeerLinks,
    /// Tells the NetworkManager of the end, whatever happens.
    pub guard: SessionGuard,
    /// The clock.
    pub clock: Clock,
}

enum Phase {
    /// Greeting; messages that arrive early wait here, bounded by the peer's budget.
    Greeting(Vec<Arrival>),
    Open,
    /// The goodbye is on its way.
    Closing(Time),
}

/// The actor of one connection.
pub struct Peer {
    session: SessionId,
    remote: NodeId,
    suite: &'static str,
    channel: [u8; 32],
    connection: Connection,
    sealer: Sealer,
    opener: Opener,
    phase: Phase,
    unread: BytesMut,
    outbox: Outbox,
    buffer: Rc<RefCell<WriteBuffer>>,
    /// Bytes written when the buffer was last seen moving, and when.
    progress: (u64, Time),
    write_timeout: Millis,
    budget: ByteBudget,
    links: PeerLinks,
    guard: SessionGuard,
    first_actions: Vec<Action>,
    timer: Timer,
    clock: Clock,
}

impl Peer {
    /// Starts the actor on the current thread.
    pub fn launch(io: Box<dyn Io>, parts: PeerParts) {
        let PeerParts { links, guard, clock, .. } = parts;
        let now = clock.now();
        let channel = parts.terms.handshake_hash;
        let mut first_actions = Vec::new();
        let connection =
            Connection::new(now, parts.terms, &parts.hello, parts.nonce, &mut first_actions);
        let outbox = Outbox::new(now, parts.queue_bytes);
        let buffer = Rc::new(RefCell::new(WriteBuffer::default()));
        let budget = ByteBudget::new(parts.budget_bytes);
        let (read, write) = tokio::io::split(io);
        let reader = Reader::new(read, budget.clone(), parts.leftover);
        let writer = Writer::new(write, Rc::clone(&buffer), outbox.clone(), clock.clone());
        Peer::create(|ctx| {
            <Self as StreamHandler<Arrived>>::add_stream(reader, ctx);
            <Self as StreamHandler<WriterReady>>::add_stream(writer, ctx);
            Peer {
                session: parts.session,
                remote: parts.remote,
                suite: parts.suite,
                channel,
                connection,
                sealer: parts.sealer,
                opener: parts.opener,
                phase: Phase::Greeting(Vec::new()),
                unread: BytesMut::new(),
                outbox,
                buffer,
                progress: (0, now),
                write_timeout: parts.write_timeout,
                budget,
                links,
                guard,
                first_actions,
                timer: Timer::default(),
                clock,
            }
        });
    }

    fn on_bytes(&mut self, now: Time, bytes: BytesMut, out: &mut Vec<Action>) {
        let counters = self.outbox.counters();
        counters.bytes_in.fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
        metrics::counter!("peerstage_bytes_total", "direction" => "in")
            .increment(bytes.len() as u64);
        let mut partial = bytes.len();
        if self.unread.is_empty() {
            self.unread = bytes;
        } else {
            self.unread.extend_from_slice(&bytes);
        }
        loop {
            match self.opener.open(&mut self.unread) {
                Ok(Some(record)) => {
                    partial = 0;
                    self.connection.on_record(now, record.freeze(), out);
                }
                Ok(None) => {
                    let pending = !self.unread.is_empty();
                    return self.connection.on_partial_record(now, partial, pending);
                }
                Err(error) => {
                    // On an ordered stream a bad record is the peer's doing or an attacker's on
                    // the path; it can't be told apart, so nobody is penalised.
                    tracing::debug!(peer = %self.remote.short(), %error, "record refused");
                    self.unread.clear();
                    return self.guard.set_closure(Closure::local(CloseReason::ProtocolError));
                }
            }
        }
    }

    /// Seals what is ready, as long as the socket keeps up.
    fn seal(&mut self, now: Time) {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.bytes.is_empty() {
            // The socket's time to take something begins now, not when it last took something.
            self.progress.1 = now;
        }
        while buffer.bytes.len() < WRITE_AHEAD {
            let mut record = BytesMut::new();
            self.outbox.fill(now, &mut record, RECORD_MAX);
            if record.is_empty() {
                return;
            }
            if self.sealer.seal(&[&record], &mut buffer.bytes).is_err() {
                // The keys are used up; a new connection makes new ones.
                return self.guard.set_closure(Closure::local(CloseReason::ProtocolError));
            }
        }
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
        let mut last = Lanes::new(now, frame::FRAME_PAYLOAD_MAX);
        if let Ok(body) = codec::encode(&goodbye) {
            last.push(plain(Kind::Disconnect, body));
        }
        let mut record = BytesMut::new();
        last.fill(now, &mut record, RECORD_MAX);
        let mut buffer = self.buffer.borrow_mut();
        if self.sealer.seal(&[&record], &mut buffer.bytes).is_err() {
            buffer.bytes.clear();
        }
        buffer.closing = true;
        drop(buffer);
        self.outbox.wake();
    }

    fn greeted(&mut self, hello: Hello, ctx: &mut Context<Self>) {
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
        let greeting = Greeting {
            session: self.session,
            peer: self.remote,
            validator: self.connection.validator(),
            channel: self.channel,
            suite: self.suite,
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

    fn deliver(&mut self, message: frame::Message) {
        let permit = self.budget.book(message.body.len() + message.header.len());
        let id = id_of(&message);
        let arrival = Arrival { session: self.session, peer: self.remote, message, id, permit };
        match &mut self.phase {
            Phase::Greeting(early) => early.push(arrival),
            Phase::Open => self.links.route(arrival),
            Phase::Closing(_) => {}
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

    /// Looks at the socket's progress.
    fn look_at_socket(&mut self, now: Time, ctx: &mut Context<Self>) {
        let (written, waiting) = {
            let buffer = self.buffer.borrow();
            (buffer.written, buffer.bytes.len())
        };
        if written != self.progress.0 || waiting == 0 {
            let counters = self.outbox.counters();
            metrics::counter!("peerstage_bytes_total", "direction" => "out")
                .increment(written.saturating_sub(self.progress.0));
            counters.bytes_out.store(written, std::sync::atomic::Ordering::Relaxed);
            self.progress = (written, now);
        }
        if self.outbox.is_overflowed() || now.since(self.progress.1) >= self.write_timeout {
            self.guard.set_closure(Closure::local(CloseReason::SlowReader));
            ctx.stop();
        }
        // The writer ends our direction behind the goodbye and the peer answers with the end of
        // its own. Closing earlier, with bytes unread, would reset the connection and could take
        // the goodbye with it (RFC 1122 section 4.2.2.13).
        if matches!(self.phase, Phase::Closing(until) if now >= until) {
            ctx.stop();
        }
        if self.guard.is_broken() {
            ctx.stop();
        }
    }
}

/// The id of a gossiped or routed message, hashed here and not where all messages pass.
fn id_of(message: &frame::Message) -> Option<MessageId> {
    let topic = match message.kind {
        Kind::Routed => Topic(0),
        kind if kind.row().relay.is_some() => {
            codec::decode::<GossipHeader>(&message.header, HEADER_MAX).ok()?.topic
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
        Violation::OutOfTurn(_) => Fault::ProtocolViolation,
        Violation::TooMany(_) | Violation::TooManyRecords => Fault::Spam,
        Violation::WrongRole(_) => Fault::WrongRole,
        Violation::FalseProof => Fault::Handshake,
    }
}
