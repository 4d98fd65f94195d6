//! Questions and answers: deadlines, another peer when one fails, quotas on both sides.
//!
//! # Security
//! Provided: bounded requests in flight in both directions, in count and bytes; an answer is
//! taken only on the connection it was asked on; a peer over its quota gets a typed refusal
//! (attack row 42), and work for it counts until it has ended, whatever it gave up meanwhile; late
//! answers cost nobody anything.
//! Not provided: any judgement of what an answer says; that is the asker's.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    header::Header,
    identity::NodeId,
    kinds::Kind,
    messages::{Outgoing, RequestHeader, ResponseHeader, ResponseStatus, Topic},
    time::Time,
};

mod action;
mod serving;

pub use action::{
    RequestAction, RequestConfig, RequestError, RequestFault, RequestId, Service, Target,
};
pub use serving::{Answer, ServeTicket};

use self::serving::Serving;

/// One connected peer.
struct PeerState {
    score: i64,
    /// Ids on this connection count from 1: an answer to a higher one is unsolicited.
    issued: u64,
    answered: u64,
    open: BTreeMap<u64, RequestId>,
}

/// One of our requests.
struct Open {
    target: Target,
    topic: Topic,
    body: Bytes,
    deadline: Time,
    /// When the next peer is asked.
    attempt_deadline: Time,
    /// Peers asked, with the id on their connection and when; all may still answer.
    attempts: Vec<(NodeId, u64, Time)>,
    /// The one whose attempt is running.
    waiting: Option<NodeId>,
    last_error: RequestError,
}

/// The request machine.
pub struct Requests {
    config: RequestConfig,
    peers: BTreeMap<NodeId, PeerState>,
    open: BTreeMap<RequestId, Open>,
    open_bytes: usize,
    deadlines: BTreeSet<(Time, RequestId)>,
    next: u64,
    serving: Serving,
    rng: ChaCha8Rng,
}

impl Requests {
    /// A machine without peers.
    #[must_use]
    pub fn new(config: RequestConfig, seed: [u8; 32]) -> Self {
        Requests {
            serving: Serving::default(),
            config,
            peers: BTreeMap::new(),
            open: BTreeMap::new(),
            open_bytes: 0,
            deadlines: BTreeSet::new(),
            next: 0,
            rng: ChaCha8Rng::from_seed(seed),
        }
    }

    /// A peer finished its handshake.
    pub fn on_peer_up(&mut self, now: Time, peer: NodeId, out: &mut Vec<RequestAction>) {
        self.on_peer_down(now, peer, out);
        let state = PeerState { score: 0, issued: 0, answered: 0, open: BTreeMap::new() };
        self.peers.insert(peer, state);
        self.serving.on_peer_up(now, peer, &self.config);
    }

    /// A connection is gone: its requests go to others, or end.
    pub fn on_peer_down(&mut self, now: Time, peer: NodeId, out: &mut Vec<RequestAction>) {
        self.serving.on_peer_down(&peer, out);
        let Some(state) = self.peers.remove(&peer) else { return };
        for id in state.open.into_values() {
            self.on_attempt_failed(now, id, peer, RequestError::Disconnected, out);
        }
    }

    /// Scoring says where a peer stands, thousandths of a point.
    pub fn on_score(&mut self, peer: NodeId, millipoints: i64) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.score = millipoints;
        }
    }

    /// Asks. The request ends with exactly one [`RequestAction::Complete`].
    ///
    /// # Errors
    /// [`RequestError::TooLong`], [`RequestError::TooMany`], [`RequestError::NoPeers`]: nothing
    /// was asked, and there is no `Complete`.
    pub fn ask(
        &mut self,
        now: Time,
        target: Target,
        topic: Topic,
        body: Bytes,
        deadline_ms: u32,
        out: &mut Vec<RequestAction>,
    ) -> Result<RequestId, RequestError> {
        let (length, limit) = (body.len(), Kind::Request.row().body_max);
        if length > limit {
            return Err(RequestError::TooLong { length, limit });
        }
        let bytes = self.open_bytes.saturating_add(length);
        if self.open.len() >= self.config.open_max || bytes > self.config.open_bytes_max {
            return Err(RequestError::TooMany);
        }
        let Some(peer) = self.choose(target, &[]) else { return Err(RequestError::NoPeers) };
        self.next = self.next.wrapping_add(1);
        let id = RequestId(self.next);
        let deadline = now.plus(u64::from(deadline_ms.min(self.config.deadline_ms_max)));
        let open = Open {
            target,
            topic,
            body,
            deadline,
            attempt_deadline: deadline,
            attempts: Vec::new(),
            waiting: None,
            last_error: RequestError::Timeout,
        };
        self.open_bytes = bytes;
        self.open.insert(id, open);
        self.deadlines.insert((deadline, id));
        self.attempt(now, id, peer, out);
        Ok(id)
    }

    /// A peer that can be asked and was not yet.
    fn choose(&mut self, target: Target, tried: &[NodeId]) -> Option<NodeId> {
        let room = self.config.open_per_peer;
        let usable =
            |peer: &NodeId, state: &PeerState| state.open.len() < room && !tried.contains(peer);
        let count = match target {
            Target::Peer(peer) => {
                return self.peers.get(&peer).filter(|state| usable(&peer, state)).map(|_| peer);
            }
            Target::Any => usize::MAX,
            Target::Best(count) => count,
        };
        let mut ranked: Vec<(i64, NodeId)> =
            self.peers.iter().map(|(peer, state)| (state.score, *peer)).collect();
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        ranked.truncate(count);
        ranked.retain(|(_, peer)| self.peers.get(peer).is_some_and(|state| usable(peer, state)));
        let choices = u64::try_from(ranked.len()).ok().filter(|choices| *choices > 0)?;
        let at = usize::try_from(self.rng.next_u64() % choices).ok()?;
        ranked.get(at).map(|(_, peer)| *peer)
    }

    fn attempt(&mut self, now: Time, id: RequestId, peer: NodeId, out: &mut Vec<RequestAction>) {
        let (Some(open), Some(state)) = (self.open.get_mut(&id), self.peers.get_mut(&peer)) else {
            return;
        };
        state.issued = state.issued.saturating_add(1);
        state.open.insert(state.issued, id);
        open.attempts.push((peer, state.issued, now));
        open.waiting = Some(peer);
        self.deadlines.remove(&(open.attempt_deadline, id));
        let last = matches!(open.target, Target::Peer(_))
            || open.attempts.len() >= self.config.attempts_max;
        let attempt = if last { open.deadline } else { now.plus(self.config.attempt_ms) };
        open.attempt_deadline = attempt.min(open.deadline);
        self.deadlines.insert((open.attempt_deadline, id));
        let left = u32::try_from(open.deadline.since(now)).unwrap_or(u32::MAX);
        let header = RequestHeader { id: state.issued, topic: open.topic, deadline_ms: left };
        let header = Header::of(&header);
        let message = Outgoing { kind: Kind::Request, header, body: open.body.clone() };
        out.push(RequestAction::Send { to: peer, id: Some(id), message });
    }

    /// The queue of a peer refused a request.
    pub fn on_queue_refused(
        &mut self,
        now: Time,
        peer: NodeId,
        id: RequestId,
        out: &mut Vec<RequestAction>,
    ) {
        self.on_attempt_failed(now, id, peer, RequestError::Busy, out);
    }

    fn on_attempt_failed(
        &mut self,
        now: Time,
        id: RequestId,
        peer: NodeId,
        error: RequestError,
        out: &mut Vec<RequestAction>,
    ) {
        let Some(open) = self.open.get_mut(&id) else { return };
        if let Some(at) = open.attempts.iter().position(|(asked, ..)| *asked == peer)
            && let Some((_, wire, _)) = open.attempts.get(at)
            && let Some(state) = self.peers.get_mut(&peer)
        {
            state.open.remove(wire);
        }
        open.last_error = error;
        if open.waiting != Some(peer) {
            return;
        }
        self.next_attempt(now, id, out);
    }

    /// Asks the next peer, or waits for those asked, or gives up.
    fn next_attempt(&mut self, now: Time, id: RequestId, out: &mut Vec<RequestAction>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.waiting = None;
        let tried: Vec<NodeId> = open.attempts.iter().map(|(peer, ..)| *peer).collect();
        let (target, more) = (open.target, tried.len() < self.config.attempts_max);
        if let Some(peer) = self.choose(target, &tried).filter(|_| more) {
            return self.attempt(now, id, peer, out);
        }
        let Some(open) = self.open.get_mut(&id) else { return };
        // Somebody asked earlier may still answer.
        let slow = open.attempts.iter().any(|(peer, wire, _)| {
            self.peers.get(peer).is_some_and(|state| state.open.contains_key(wire))
        });
        if slow && open.deadline > now {
            self.deadlines.remove(&(open.attempt_deadline, id));
            open.attempt_deadline = open.deadline;
            self.deadlines.insert((open.deadline, id));
            return;
        }
        let error = open.last_error;
        self.complete(id, Err(error), out);
    }

    fn complete(
        &mut self,
        id: RequestId,
        result: Result<(NodeId, Bytes), RequestError>,
        out: &mut Vec<RequestAction>,
    ) {
        let Some(open) = self.open.remove(&id) else { return };
        self.deadlines.remove(&(open.attempt_deadline, id));
        self.open_bytes = self.open_bytes.saturating_sub(open.body.len());
        for (peer, wire, _) in open.attempts {
            if let Some(state) = self.peers.get_mut(&peer) {
                state.open.remove(&wire);
            }
        }
        out.push(RequestAction::Complete { id, result });
    }

    /// A response arrived.
    pub fn on_response(
        &mut self,
        now: Time,
        peer: NodeId,
        header: &Header,
        body: Bytes,
        out: &mut Vec<RequestAction>,
    ) {
        let Some(state) = self.peers.get_mut(&peer) else {
            return out.push(RequestAction::Count("unknown_peer"));
        };
        let Some(header) = header.read::<ResponseHeader>() else {
            let fault = RequestFault::MalformedMessage;
            return out.push(RequestAction::Penalise { peer, fault });
        };
        // Each request is answered at most once, so more answers than requests, or an answer
        // to an id not yet given, are nobody's accident.
        state.answered = state.answered.saturating_add(1);
        if header.id == 0 || header.id > state.issued || state.answered > state.issued {
            let fault = RequestFault::ProtocolViolation;
            return out.push(RequestAction::Penalise { peer, fault });
        }
        let Some(id) = state.open.remove(&header.id) else {
            return out.push(RequestAction::Count("late_response"));
        };
        let attempts = self.open.get(&id).map(|open| open.attempts.as_slice()).unwrap_or(&[]);
        let asked = attempts.iter().find(|(asked, ..)| *asked == peer).map(|(.., at)| *at);
        let error = match header.status {
            ResponseStatus::Ok => {
                let service = Service::Answered(now.since(asked.unwrap_or(now)));
                out.push(RequestAction::Observe { peer, service });
                return self.complete(id, Ok((peer, body)), out);
            }
            ResponseStatus::Busy => RequestError::Busy,
            ResponseStatus::Unsupported => RequestError::Unsupported,
            ResponseStatus::Failed => RequestError::Failed,
        };
        self.on_attempt_failed(now, id, peer, error, out);
    }

    /// When [`Requests::on_deadline`] wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let own = self.deadlines.first().map(|(at, _)| *at);
        crate::time::earliest(own, self.serving.deadline())
    }

    /// Time passed.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<RequestAction>) {
        self.serving.expire(now, out);
        while let Some((at, id)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            let Some(open) = self.open.get_mut(&id) else {
                self.deadlines.remove(&(at, id));
                continue;
            };
            open.last_error = RequestError::Timeout;
            if let Some(peer) = open.waiting.take() {
                out.push(RequestAction::Observe { peer, service: Service::Timeout });
            }
            if open.deadline <= now {
                self.complete(id, Err(RequestError::Timeout), out);
            } else {
                self.next_attempt(now, id, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
