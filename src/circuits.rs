//! Circuits: connections between two nodes that a third, a peer of both, carries.
//!
//! Two nodes that can't dial each other have peers in common. One of those, the relay, passes
//! bytes between its connection with the one and its connection with the other. On these bytes
//! the two run the handshake and everything above it, as on any other stream: they prove to each
//! other who they are, and the relay sees ciphertext.
//!
//! This machine is all three of them: the node that opens a circuit, the one that takes it, and
//! the relay. A circuit has a number on each of the two connections below it, chosen by the side
//! that opens it there; in each direction no more is under way than [`WINDOW`] bytes, which the
//! receiving end grants and the relay passes on, so that the relay holds nothing itself.
//!
//! # Security
//! Provided: a relay carries only between peers that are connected to it already and say that
//! they take circuits; it dials nobody, so it can't be sent anywhere (row 34 of the attacks), and
//! what it sends it was sent, a few bytes of headers apart. No circuit is carried by a circuit, so
//! none runs in a ring. What strangers may use is bounded in number, bytes and time, by identity
//! and neighbourhood of whoever opens ([`CircuitsConfig`]), and what is idle or crowds others out
//! ends. Who sends more than was granted, or speaks of what never was, is named. Memory is bounded.
//! Not provided: secrecy of who talks to whom, which the relay sees; a way around a relay that
//! drops or delays; places among those taken for whoever comes late (one's own dials have places
//! of their own); fairness among circuits beyond that of the connections below.

mod action;
mod config;
mod endpoint;
pub(crate) mod fuzzing;
mod messages;
mod quotas;
mod reason;
mod relaying;
mod sessions;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use action::{Action, CircuitKey, CircuitPeer, Role};
pub use config::{CIRCUITS_PER_SESSION_MAX, CircuitsConfig, IDLE, LINGER, OPEN_TIMEOUT, WINDOW};
pub use messages::{CircuitClose, CircuitCredit, CircuitId, CircuitOpen, OtherEnd};
pub use reason::CircuitReason;

use crate::{
    header::Header,
    identity::NodeId,
    kinds::Kind,
    manager::SessionId,
    messages::Outgoing,
    time::{Time, earliest},
};
use config::UNSAID_RETRY;
use endpoint::End;
use quotas::Quotas;
use relaying::Carried;
use sessions::{Session, Use};

/// The machine.
#[derive(Debug)]
pub struct Circuits {
    own: NodeId,
    config: CircuitsConfig,
    sessions: BTreeMap<SessionId, Session>,
    by_peer: BTreeMap<NodeId, SessionId>,
    /// Circuits that end here.
    ends: BTreeMap<CircuitKey, End>,
    /// Circuits that pass through, by a number that is used once.
    carried: BTreeMap<u64, Carried>,
    quotas: Quotas,
    next: u64,
}

/// Messages name a circuit that a peer may speak of, or it is told why not.
enum Lookup {
    /// There it is.
    Found(Use),
    /// It was there: what is still under way means nothing.
    Over,
    /// It never was.
    Unknown,
}

impl Circuits {
    /// A node without peers.
    #[must_use]
    pub fn new(own: NodeId, config: CircuitsConfig) -> Self {
        Circuits {
            own,
            config,
            sessions: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            ends: BTreeMap::new(),
            carried: BTreeMap::new(),
            quotas: Quotas::default(),
            next: 0,
        }
    }

    /// A peer has its slot. Of two connections of one peer the later counts: what the earlier one
    /// carried ends.
    pub fn on_session_up(&mut self, now: Time, peer: CircuitPeer, out: &mut Vec<Action>) {
        if let Some(before) = self.by_peer.get(&peer.peer).copied() {
            self.on_session_down(now, before, out);
        }
        self.by_peer.insert(peer.peer, peer.session);
        self.sessions.insert(peer.session, Session::new(now, peer));
    }

    /// A connection is gone, and with it every circuit on it.
    pub fn on_session_down(&mut self, now: Time, session: SessionId, out: &mut Vec<Action>) {
        let Some(gone) = self.sessions.remove(&session) else { return };
        if self.by_peer.get(&gone.peer.peer) == Some(&session) {
            self.by_peer.remove(&gone.peer.peer);
        }
        for using in gone.circuits.into_values() {
            match using {
                Use::End(key) => self.forget_end(key, CircuitReason::PeerGone, out),
                Use::Leg(number, _) => {
                    self.end_carried(now, number, CircuitReason::PeerGone, None, out);
                }
            }
        }
    }

    /// A peer sent a message of these kinds.
    pub fn on_message(
        &mut self,
        now: Time,
        session: SessionId,
        (kind, header): (Kind, &Header),
        body: &Bytes,
        out: &mut Vec<Action>,
    ) {
        if !self.sessions.contains_key(&session) {
            return out.push(Action::Ignored("no_session"));
        }
        // The connection has refused every header that is none.
        match kind {
            Kind::CircuitOpen => {
                if let Some(open) = header.read() {
                    self.on_open(now, session, open, out);
                }
            }
            Kind::CircuitOpened => {
                if let Some(id) = header.read() {
                    self.on_opened(now, session, id, out);
                }
            }
            Kind::CircuitData => {
                if let Some(id) = header.read() {
                    self.on_data(now, session, id, body, out);
                }
            }
            Kind::CircuitCredit => {
                if let Some(credit) = header.read() {
                    self.on_credit(now, session, credit, out);
                }
            }
            Kind::CircuitClose => {
                if let Some(close) = header.read() {
                    self.on_close(now, session, close, out);
                }
            }
            _ => out.push(Action::Ignored("wrong_kind")),
        }
    }

    fn on_open(
        &mut self,
        now: Time,
        session: SessionId,
        CircuitOpen { circuit, other }: CircuitOpen,
        out: &mut Vec<Action>,
    ) {
        let Some(on) = self.sessions.get_mut(&session) else { return };
        if !on.note_theirs(circuit) {
            let peer = on.peer.peer;
            return out.push(Action::Penalise { peer, what: "a circuit number that is taken" });
        }
        let taken = match other {
            OtherEnd::To(node) => self.carry(now, session, circuit, node, out),
            OtherEnd::From(node) => self.offer(now, session, circuit, node, out),
        };
        if let Err(reason) = taken {
            out.push(Action::Refused(reason));
            out.push(closing(session, circuit, reason));
        }
    }

    fn on_opened(&mut self, now: Time, session: SessionId, id: CircuitId, out: &mut Vec<Action>) {
        let agreed = match self.look_up(session, id, out) {
            Some(Use::End(key)) => self.on_end_opened(key, out),
            Some(Use::Leg(number, side)) => self.on_leg_opened(now, number, side, out),
            None => return,
        };
        if !agreed {
            self.violated(now, session, id, "a circuit was opened twice", out);
        }
    }

    fn on_data(
        &mut self,
        now: Time,
        session: SessionId,
        id: CircuitId,
        body: &Bytes,
        out: &mut Vec<Action>,
    ) {
        let agreed = match self.look_up(session, id, out) {
            // Bytes alone count against the window, so each message must have some.
            Some(_) if body.is_empty() => false,
            Some(Use::End(key)) => self.on_end_data(key, body, out),
            Some(Use::Leg(number, side)) => self.on_leg_data(now, number, side, body, out),
            None => return,
        };
        if !agreed {
            self.violated(now, session, id, "data of a circuit beyond its window", out);
        }
    }

    fn on_credit(
        &mut self,
        now: Time,
        session: SessionId,
        CircuitCredit { circuit, bytes }: CircuitCredit,
        out: &mut Vec<Action>,
    ) {
        let agreed = match self.look_up(session, circuit, out) {
            Some(Use::End(key)) => self.on_end_credit(key, bytes, out),
            Some(Use::Leg(number, side)) => self.on_leg_credit(now, (number, side), bytes, out),
            None => return,
        };
        if !agreed {
            self.violated(now, session, circuit, "credit for what was never sent", out);
        }
    }

    fn on_close(
        &mut self,
        now: Time,
        session: SessionId,
        CircuitClose { circuit, reason }: CircuitClose,
        out: &mut Vec<Action>,
    ) {
        let reason = CircuitReason::from_code(reason);
        match self.look_up(session, circuit, out) {
            Some(Use::End(key)) => {
                self.unuse(session, circuit);
                self.forget_end(key, reason, out);
            }
            Some(Use::Leg(number, side)) => {
                self.end_carried(now, number, reason, Some(side), out);
            }
            None => {}
        }
    }

    /// A message could not be queued: its circuit ends, and nothing else.
    pub fn on_rejected(
        &mut self,
        now: Time,
        session: SessionId,
        circuit: CircuitId,
        out: &mut Vec<Action>,
    ) {
        let on = self.sessions.get(&session);
        if let Some(using) = on.and_then(|on| on.circuits.get(&circuit)).copied() {
            self.end_use(now, (session, circuit), using, CircuitReason::Congested, out);
        }
    }

    /// The end of a circuit could not be queued: it is said again soon, or the other side would
    /// keep the circuit.
    pub fn on_close_rejected(&mut self, now: Time, session: SessionId, close: CircuitClose) {
        if let Some(on) = self.sessions.get_mut(&session) {
            on.say_again(now.plus(UNSAID_RETRY), close);
        }
    }

    /// Messages of a connection were lost before they came here: nobody can say what is missing
    /// from which of its circuits, so all of them end.
    pub fn on_lost(&mut self, now: Time, session: SessionId, out: &mut Vec<Action>) {
        let Some(on) = self.sessions.get(&session) else { return };
        for (circuit, using) in on.circuits.clone() {
            self.end_use(now, (session, circuit), using, CircuitReason::Congested, out);
        }
    }

    /// When [`Circuits::on_deadline`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let ends = self.ends.values().filter_map(|end| end.until).min();
        let again = self.sessions.values().filter_map(|on| on.say_at).min();
        let carried = self.carried.values().map(|carried| carried.end().0).min();
        earliest(earliest(ends, again), carried)
    }

    /// Time has come: circuits that were not opened in time, or have lasted long enough, end.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        let late = |until: Option<Time>| until.is_some_and(|until| until <= now);
        let ends = self.ends.iter().filter(|(_, end)| late(end.until));
        let ends: Vec<CircuitKey> = ends.map(|(key, _)| *key).collect();
        for key in ends {
            self.close(now, key, CircuitReason::Timeout, out);
        }
        let carried = self.carried.iter().map(|(number, carried)| (*number, carried.end()));
        let over: Vec<_> = carried.filter(|(_, (at, _))| *at <= now).collect();
        for (number, (_, reason)) in over {
            self.end_carried(now, number, reason, None, out);
        }
        for (session, on) in self.sessions.iter_mut().filter(|(_, on)| late(on.say_at)) {
            on.say_at = None;
            let again = std::mem::take(&mut on.unsaid).into_iter();
            out.extend(again.map(|close| saying(*session, Kind::CircuitClose, &close)));
        }
    }

    /// How many circuits end here, and how many pass through.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.ends.len(), self.carried.len())
    }

    /// What a peer may speak of. What is over is ignored, what never was is a fault.
    fn look_up(&self, session: SessionId, id: CircuitId, out: &mut Vec<Action>) -> Option<Use> {
        let on = self.sessions.get(&session)?;
        match on.look_up(id) {
            Lookup::Found(using) => Some(using),
            Lookup::Over => {
                out.push(Action::Ignored("over"));
                None
            }
            Lookup::Unknown => {
                let peer = on.peer.peer;
                out.push(Action::Penalise { peer, what: "a circuit that never was" });
                None
            }
        }
    }

    /// The peer at the other end of this session broke a rule: the circuit ends for it.
    fn violated(
        &mut self,
        now: Time,
        session: SessionId,
        circuit: CircuitId,
        what: &'static str,
        out: &mut Vec<Action>,
    ) {
        let Some(on) = self.sessions.get(&session) else { return };
        let using = on.circuits.get(&circuit).copied();
        out.push(Action::Penalise { peer: on.peer.peer, what });
        if let Some(using) = using {
            self.end_use(now, (session, circuit), using, CircuitReason::Protocol, out);
        }
    }

    /// Ends a circuit for everybody.
    fn end_use(
        &mut self,
        now: Time,
        (session, circuit): (SessionId, CircuitId),
        using: Use,
        reason: CircuitReason,
        out: &mut Vec<Action>,
    ) {
        match using {
            Use::End(key) => {
                self.unuse(session, circuit);
                out.push(closing(session, circuit, reason));
                self.forget_end(key, reason, out);
            }
            Use::Leg(number, _) => self.end_carried(now, number, reason, None, out),
        }
    }

    fn unuse(&mut self, session: SessionId, circuit: CircuitId) {
        if let Some(on) = self.sessions.get_mut(&session) {
            on.circuits.remove(&circuit);
        }
    }

    fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }
}

/// A message without a body.
fn saying<T: serde::Serialize>(session: SessionId, kind: Kind, header: &T) -> Action {
    let message = Outgoing { kind, header: Header::of(header), body: Bytes::new() };
    Action::Send { session, message }
}

fn closing(session: SessionId, circuit: CircuitId, reason: CircuitReason) -> Action {
    let close = CircuitClose { circuit, reason: reason.code() };
    saying(session, Kind::CircuitClose, &close)
}
