//! Connections from their greeting to their end, and attempts that become none.

use super::*;
use crate::circuits::ToCircuits;

/// A peer's words about itself.
fn words(hello: &Hello) -> BTreeMap<String, String> {
    hello.metadata.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
}

impl NetworkManager {
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
        // Of all that were dialled, the one that answered.
        session.address = greeting.address;
        session.greeting = Some(Greeted {
            peer: greeting.peer,
            agent: greeting.hello.agent.to_string(),
            metadata: words(&greeting.hello),
            suite: greeting.suite,
            noise_key: greeting.record.record().noise_key,
            record: greeting.record.clone(),
            visit: false,
            observed: greeting.hello.observed,
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
            visit: greeting.hello.purpose == ConnectionPurpose::Visit,
        };
        // Only whoever dialled us can take another's place.
        if established.direction == Direction::Inbound {
            self.tell_merits();
        }
        self.machine.on_established(now, id, established, out);
    }

    pub(super) fn on_session(&mut self, event: SessionEvent, now: Time, out: &mut Vec<Action>) {
        match event {
            SessionEvent::DialFailed { session, attempt, at, failure, reason } => {
                self.dials.remove(&attempt);
                if let Some(session) = self.sessions.remove(&session) {
                    self.dial_failed(&session, reason);
                }
                match at {
                    Some(at) => self.machine.on_dial_failed_at(now, (attempt, at), failure, out),
                    None => self.machine.on_dial_failed(now, attempt, failure, out),
                }
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
            if session.retiring {
                // Behind what it still brought.
                self.opening.links.down(greeted.peer, id);
            }
            // Whatever became of it: also one whose place another has taken is over here.
            let _ = self.opening.links.circuits.push_control(ToCircuits::Down(id));
            let (bytes_in, bytes_out) = session.bytes(greeted);
            self.past_bytes.0 += bytes_in;
            self.past_bytes.1 += bytes_out;
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
    pub(super) fn has_greeted(&self) -> bool {
        self.sessions.values().any(|session| session.greeting.is_some())
    }

    /// The attempt that a session comes from is over: what it was for.
    fn take_dial(&mut self, id: SessionId) -> Option<LinkKind> {
        let Direction::Outbound(attempt) = self.sessions.get(&id)?.direction else { return None };
        self.dials.remove(&attempt).map(|(_, link)| link)
    }

    /// Shows once that a dial became no peer: one that was given up was shown at that moment.
    pub(super) fn dial_failed(&self, session: &Session, reason: &str) {
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
}
