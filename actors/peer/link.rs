//! What connects a peer's actor to the rest of the node: bounded queues, one for each listener.

use std::sync::Arc;

use actix::Recipient;
use peerstage_core::{
    address::Address,
    frame::Message,
    identity::{NetworkId, NodeId, PublicKey},
    kademlia::Contact,
    kinds::{KINDS, Kind},
    manager::{DialFailure, DialId, SessionId},
    messages::{Hello, MessageId},
    reason::{CloseReason, Closure},
    record::VerifiedRecord,
    relay::{DIRECT_HOPS, PeerInfo},
    scoring::Fault,
    time::Millis,
};

use super::{Outbox, PeerOrder};
use tokio::sync::oneshot;

use crate::{
    circuits::ToCircuits,
    discovery::ToDiscovery,
    scoring::Observation,
    shell::{BytePermit, Queue},
};

/// What one read of a peer brought for one listener, in order: one crossing for all of it.
#[derive(Debug)]
pub struct Arrivals {
    /// The connection it came through.
    pub session: SessionId,
    /// The peer it came from.
    pub peer: NodeId,
    /// The messages. Small bodies share one copy of what was read: whoever keeps one for longer
    /// than its permit copies it ([`peerstage_core::frame::keep`]).
    pub messages: Vec<Arrival>,
    /// Gives the peer's budget back when the last of what was read has been dealt with.
    pub permit: Arc<BytePermit>,
}

/// One message on its way from a peer into the node.
#[derive(Debug)]
pub struct Arrival {
    /// The message.
    pub message: Message,
    /// The hash of its body, for gossiped and routed kinds.
    pub id: Option<MessageId>,
}

/// What the relay and the requests hear of a peer, through one queue and so in this order: that
/// it is there, what it sends, that it is gone.
#[derive(Debug)]
pub enum FromPeer {
    /// It has its slot.
    Up(PeerUp),
    /// It sent this.
    Arrivals(Arrivals),
    /// What comes through this connection is from it too, until that is gone.
    Also(NodeId, SessionId),
    /// This connection of it is gone.
    Down(NodeId, SessionId),
    /// From the handle, not from a peer: tell when everything before this is dealt with.
    Mark(oneshot::Sender<()>),
}

/// A peer that has its slot.
#[derive(Clone, Debug)]
pub struct PeerUp {
    /// Its connection; what other connections still bring is not from this one.
    pub session: SessionId,
    /// Who it is.
    pub info: PeerInfo,
    /// Its key for sealed messages.
    pub noise_key: [u8; 32],
    /// The way to it.
    pub outbox: Outbox,
    /// The connection that a relay carried and that this one takes the place of: what it still
    /// brings is the peer's too.
    pub upgrades: Option<SessionId>,
}

/// A peer that has introduced itself and waits for its slot.
#[derive(Debug)]
pub struct Greeting {
    /// Its connection.
    pub session: SessionId,
    /// Who it is.
    pub peer: NodeId,
    /// The validator it proved to speak for.
    pub validator: Option<PublicKey>,
    /// The handshake hash, the same on both sides.
    pub channel: [u8; 32],
    /// The name of the Noise suite, or of TLS's key agreement.
    pub suite: &'static str,
    /// Where the other end is.
    pub address: Address,
    /// What it said.
    pub hello: Hello,
    /// Its record, verified.
    pub record: Box<VerifiedRecord>,
    /// How to order it about.
    pub orders: Recipient<PeerOrder>,
    /// How to send to it.
    pub outbox: Outbox,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// Who the other side proved to be in the handshake, greeted or not.
    pub peer: NodeId,
    /// Why, and who said so.
    pub closure: Closure,
    /// What the peer did wrong, if it did.
    pub fault: Option<Fault>,
}

/// What a connection tells the NetworkManager: at most one of each in its life.
#[derive(Debug)]
pub enum SessionEvent {
    /// A dial did not become a session.
    DialFailed {
        /// The session it would have been.
        session: SessionId,
        /// The attempt.
        attempt: DialId,
        /// Where that happened, of the addresses that were tried.
        at: Option<Address>,
        /// Why, for the machine.
        failure: DialFailure,
        /// Why, for people.
        reason: &'static str,
    },
    /// An accepted connection did not become a session.
    AcceptFailed {
        /// The session it would have been.
        session: SessionId,
        /// Why, for people.
        reason: &'static str,
    },
    /// A feeler was answered.
    Felt {
        /// The attempt.
        attempt: DialId,
        /// By whom, proven by the handshake.
        peer: NodeId,
    },
    /// It introduced itself.
    Greeted(Box<Greeting>),
    /// It has ended.
    Ended(SessionId, SessionEnd),
}

/// Tells the NetworkManager how a session ends, exactly once, also when a panic ends it.
pub struct SessionGuard {
    session: SessionId,
    peer: NodeId,
    events: Queue<SessionEvent>,
    closure: Option<Closure>,
    fault: Option<Fault>,
}

/// The times a connection is held to, ms.
#[derive(Clone, Copy, Debug)]
pub struct PeerTiming {
    /// Between pings.
    pub ping_interval: Millis,
    /// For the answer to a ping.
    pub ping_timeout: Millis,
    /// For anything at all to arrive.
    pub idle_timeout: Millis,
    /// For the socket to take anything while bytes wait (attack row 43).
    pub write_timeout: Millis,
}

/// Where a peer's messages go.
#[derive(Clone)]
pub struct PeerLinks {
    /// The network whose records are valid here.
    pub network: NetworkId,
    /// Gossip and routed messages, to the MessageRelay.
    pub gossip: Queue<FromPeer>,
    /// Requests and responses.
    pub requests: Queue<FromPeer>,
    /// Peer exchange, to the NetworkManager.
    pub exchange: Queue<Arrivals>,
    /// Questions and answers of discovery, and who can be asked, to Discovery.
    pub discovery: Queue<ToDiscovery>,
    /// Messages to this node alone, to the BlockchainBridge: nothing is relayed, so there is
    /// nothing for the relay to decide.
    pub direct: Queue<Arrivals>,
    /// What is said of circuits, to the Circuits.
    pub circuits: Queue<ToCircuits>,
    /// The longest bodies this node takes, by the position of their kind in the table.
    pub body_limits: [usize; KINDS.len()],
    /// What is observed of the peer, to PeerScoring.
    pub observations: Queue<Observation>,
}

impl SessionGuard {
    /// A guard for a session with this peer that has begun.
    #[must_use]
    pub fn new(session: SessionId, peer: NodeId, events: Queue<SessionEvent>) -> Self {
        SessionGuard { session, peer, events, closure: None, fault: None }
    }

    /// Why the session ends; the first reason stands.
    pub fn set_closure(&mut self, closure: Closure) {
        self.closure.get_or_insert(closure);
    }

    /// What the peer did wrong.
    pub fn set_fault(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// Hands the peer's introduction on.
    pub fn greeted(&self, greeting: Greeting) {
        // Can't be full: see the queue's size where it is made.
        let _ = self.events.push(SessionEvent::Greeted(Box::new(greeting)));
    }
}

impl Drop for SessionGuard {
    /// Runs while a panic unwinds, so it must not panic itself.
    fn drop(&mut self) {
        let closure = if std::thread::panicking() {
            metrics::counter!("peerstage_peer_panics_total").increment(1);
            Closure::local(CloseReason::Panicked)
        } else {
            self.closure.unwrap_or(Closure::local(CloseReason::ConnectionLost))
        };
        let end = SessionEnd { peer: self.peer, closure, fault: self.fault };
        let _ = self.events.push(SessionEvent::Ended(self.session, end));
    }
}

impl PeerLinks {
    /// Sends arrivals to their listeners. The queues hold more than all the peers' budgets, so
    /// they are only full when the node is drowning: then messages are dropped and counted. For
    /// messages of circuits, if there are any, whether they were taken.
    pub fn route(&self, mut arrivals: Arrivals) -> Option<bool> {
        arrivals.messages.retain(|arrival| {
            let direct = listener_of(&arrival.message) == Listener::Direct;
            !direct || self.is_within_limit(&arrival.message)
        });
        let first = arrivals.messages.first().map(|arrival| listener_of(&arrival.message))?;
        // Nearly always, what is read together goes to one listener.
        if arrivals.messages.iter().all(|arrival| listener_of(&arrival.message) == first) {
            return self.hand_to(first, arrivals);
        }
        let Arrivals { session, peer, messages, permit } = arrivals;
        let mut parts: [Vec<Arrival>; LISTENERS] = Default::default();
        for arrival in messages {
            if let Some(part) = parts.get_mut(listener_of(&arrival.message) as usize) {
                part.push(arrival);
            }
        }
        let mut taken = None;
        for (listener, messages) in EVERY_LISTENER.into_iter().zip(parts) {
            if !messages.is_empty() {
                let permit = Arc::clone(&permit);
                let arrivals = Arrivals { session, peer, messages, permit };
                taken = self.hand_to(listener, arrivals).or(taken);
            }
        }
        taken
    }

    fn hand_to(&self, listener: Listener, arrivals: Arrivals) -> Option<bool> {
        // A full queue counts itself.
        match listener {
            Listener::Gossip => drop(self.gossip.push(FromPeer::Arrivals(arrivals))),
            Listener::Requests => drop(self.requests.push(FromPeer::Arrivals(arrivals))),
            Listener::Exchange => drop(self.exchange.push(arrivals)),
            Listener::Discovery => drop(self.discovery.push(ToDiscovery::Arrivals(arrivals))),
            Listener::Direct => drop(self.direct.push(arrivals)),
            Listener::Circuits => {
                return Some(self.circuits.push(ToCircuits::Arrivals(arrivals)).is_ok());
            }
        }
        None
    }

    /// Within the protocol's limit but over ours: not for us, and nobody's fault. What is not for
    /// us alone goes on to the relay, which may have asked for it.
    fn is_within_limit(&self, message: &Message) -> bool {
        let kind = message.kind;
        let over = self.body_limits.get(kind.index()).is_some_and(|max| message.body.len() > *max);
        if over {
            metrics::counter!("peerstage_over_own_limit_total", "kind" => kind.name()).increment(1);
        }
        !over
    }

    /// Tells the relay and the requests of a peer, before any of its messages. Never lost, as its
    /// end isn't: without the one it would be deaf, without the other its queues stayed for ever.
    pub fn up(&self, up: PeerUp) {
        let _ = self.requests.push_control(FromPeer::Up(up.clone()));
        let _ = self.gossip.push_control(FromPeer::Up(up));
    }

    /// Tells the relay and the requests that a peer is gone, after all of its messages.
    pub fn down(&self, peer: NodeId, session: SessionId) {
        let _ = self.requests.push_control(FromPeer::Down(peer, session));
        let _ = self.gossip.push_control(FromPeer::Down(peer, session));
    }

    /// Tells the relay and the requests of another connection of a peer, which is on its way out.
    pub fn also(&self, peer: NodeId, session: SessionId) {
        let _ = self.requests.push_control(FromPeer::Also(peer, session));
        let _ = self.gossip.push_control(FromPeer::Also(peer, session));
    }

    /// When the relay and the requests have dealt with everything up to now.
    pub fn marks(&self) -> [oneshot::Receiver<()>; 2] {
        [&self.requests, &self.gossip].map(|queue| {
            let (mark, reached) = oneshot::channel();
            let _ = queue.push_control(FromPeer::Mark(mark));
            reached
        })
    }

    /// Tells discovery of somebody who can be asked, before any message of theirs. Never lost, as
    /// its end isn't.
    pub(crate) fn discovery_up(&self, contact: Contact, outbox: Outbox) {
        let _ = self.discovery.push_control(ToDiscovery::Up(Box::new(contact), outbox));
    }

    /// Tells discovery that nobody can be asked through this connection any more.
    pub(crate) fn discovery_down(&self, session: SessionId) {
        let _ = self.discovery.push_control(ToDiscovery::Down(session));
    }

    /// Reports a measured round trip.
    pub fn round_trip(&self, peer: NodeId, ms: Millis) {
        let _ = self.observations.push(Observation::RoundTrip { peer, ms });
    }
}

/// Who a message is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listener {
    Gossip,
    Requests,
    Exchange,
    Discovery,
    Direct,
    Circuits,
}

const LISTENERS: usize = 6;
const EVERY_LISTENER: [Listener; LISTENERS] = [
    Listener::Gossip,
    Listener::Requests,
    Listener::Exchange,
    Listener::Discovery,
    Listener::Direct,
    Listener::Circuits,
];

fn listener_of(message: &Message) -> Listener {
    match message.kind {
        Kind::Request | Kind::Response => Listener::Requests,
        Kind::PeersRequest | Kind::Peers => Listener::Exchange,
        Kind::DiscoveryQuery | Kind::DiscoveryAnswer => Listener::Discovery,
        Kind::CircuitOpen
        | Kind::CircuitOpened
        | Kind::CircuitData
        | Kind::CircuitCredit
        | Kind::CircuitClose => Listener::Circuits,
        Kind::Custom if message.header.first() == Some(&DIRECT_HOPS) => Listener::Direct,
        _ => Listener::Gossip,
    }
}
