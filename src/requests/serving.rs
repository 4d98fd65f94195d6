//! The serving side: what a peer may ask of us, and how much it may cost.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{RequestAction, RequestConfig, RequestFault, Requests};
use crate::{
    header::Header,
    identity::NodeId,
    kinds::Kind,
    messages::{Outgoing, RequestHeader, ResponseHeader, ResponseStatus},
    time::Time,
};

/// Seconds' worth of cost a peer may cause at once.
const BURST_SECONDS: u64 = 4;

/// A question is worked on for this long at least, ms, whatever its deadline. A guess: longer than
/// a round trip, so that nobody makes us begin work only to break it off.
const DEADLINE_MS_MIN: u32 = 1_000;

/// Names a question that is being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServeTicket(pub u64);

/// How the application answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer.
    Ok(Bytes),
    /// Too much to do.
    Busy,
    /// Nobody serves this topic here.
    Unsupported,
    /// It tried and failed.
    Failed,
}

/// What one peer asks of us. Stays while work for it goes on, whatever its connections do.
struct Asker {
    connected: bool,
    /// Questions it waits for an answer to, by its id on this connection.
    open: BTreeSet<u64>,
    /// Questions that are worked on, also in vain: of earlier connections, or out of time.
    places: usize,
    /// What it may still cost; answers may overdraw it, and it must be paid back first.
    credit: i64,
    filled_at: Time,
}

struct Question {
    peer: NodeId,
    id: u64,
    bytes: usize,
    deadline: Time,
    /// Nobody waits for the answer any more.
    abandoned: bool,
}

/// All questions that are worked on.
#[derive(Default)]
pub(super) struct Serving {
    askers: BTreeMap<NodeId, Asker>,
    questions: BTreeMap<ServeTicket, Question>,
    deadlines: BTreeSet<(Time, ServeTicket)>,
    bytes: usize,
    next: u64,
}

fn burst(config: &RequestConfig) -> i64 {
    i64::try_from(config.cost_per_second.saturating_mul(BURST_SECONDS)).unwrap_or(i64::MAX)
}

fn cost(bytes: usize, extra: u64) -> i64 {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    i64::try_from(bytes.saturating_add(extra)).unwrap_or(i64::MAX)
}

impl Asker {
    fn fill(&mut self, now: Time, config: &RequestConfig) {
        let gained = now.since(self.filled_at).saturating_mul(config.cost_per_second) / 1_000;
        if gained > 0 {
            let gained = i64::try_from(gained).unwrap_or(i64::MAX);
            self.credit = self.credit.saturating_add(gained).min(burst(config));
            self.filled_at = now;
        }
    }
}

impl Serving {
    pub(super) fn on_peer_up(&mut self, now: Time, peer: NodeId, config: &RequestConfig) {
        let asker = self.askers.entry(peer).or_insert_with(|| Asker {
            connected: true,
            open: BTreeSet::new(),
            places: 0,
            credit: burst(config),
            filled_at: now,
        });
        asker.connected = true;
    }

    pub(super) fn on_peer_down(&mut self, peer: &NodeId, out: &mut Vec<RequestAction>) {
        let Some(asker) = self.askers.get_mut(peer) else { return };
        asker.connected = false;
        let gone = self.questions.iter().filter(|(_, question)| question.peer == *peer);
        for ticket in gone.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            self.abandon(ticket, out);
        }
        self.forget_idle(peer);
    }

    fn forget_idle(&mut self, peer: &NodeId) {
        if self.askers.get(peer).is_some_and(|asker| !asker.connected && asker.places == 0) {
            self.askers.remove(peer);
        }
    }

    /// Nobody waits for the answer any more; the place is taken until the work has ended.
    fn abandon(&mut self, ticket: ServeTicket, out: &mut Vec<RequestAction>) {
        let question = self.questions.get_mut(&ticket).filter(|question| !question.abandoned);
        let Some(question) = question else { return };
        question.abandoned = true;
        self.deadlines.remove(&(question.deadline, ticket));
        if let Some(asker) = self.askers.get_mut(&question.peer) {
            asker.open.remove(&question.id);
        }
        out.push(RequestAction::Abandon(ticket));
    }

    /// The work has ended: the place is free again.
    fn take(&mut self, ticket: ServeTicket) -> Option<Question> {
        let question = self.questions.remove(&ticket)?;
        self.deadlines.remove(&(question.deadline, ticket));
        self.bytes = self.bytes.saturating_sub(question.bytes);
        if let Some(asker) = self.askers.get_mut(&question.peer) {
            asker.places = asker.places.saturating_sub(1);
            if !question.abandoned {
                asker.open.remove(&question.id);
            }
        }
        self.forget_idle(&question.peer);
        Some(question)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Whoever asked has given up.
    pub(super) fn expire(&mut self, now: Time, out: &mut Vec<RequestAction>) {
        while let Some((at, ticket)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            self.deadlines.remove(&(at, ticket));
            self.abandon(ticket, out);
            out.push(RequestAction::Count("answer_timeout"));
        }
    }
}

fn respond(peer: NodeId, id: u64, status: ResponseStatus, body: Bytes) -> RequestAction {
    let header = Header::of(&ResponseHeader { id, status });
    let message = Outgoing { kind: Kind::Response, header, body };
    RequestAction::Send { to: peer, id: None, message }
}

impl Requests {
    /// A question arrived. Over the quota it is answered at once with a typed refusal.
    pub fn on_request(
        &mut self,
        now: Time,
        peer: NodeId,
        header: &Header,
        body: Bytes,
        out: &mut Vec<RequestAction>,
    ) {
        let config = &self.config;
        let serving = &mut self.serving;
        let Some(asker) = serving.askers.get_mut(&peer).filter(|asker| asker.connected) else {
            return out.push(RequestAction::Count("unknown_peer"));
        };
        let short = body.len() <= Kind::Request.row().body_max;
        let Some(header) = header.read::<RequestHeader>().filter(|_| short) else {
            let fault = RequestFault::MalformedMessage;
            return out.push(RequestAction::Penalise { peer, fault });
        };
        if asker.open.contains(&header.id) {
            let fault = RequestFault::ProtocolViolation;
            return out.push(RequestAction::Penalise { peer, fault });
        }
        asker.fill(now, config);
        let over = asker.credit <= 0
            || asker.places >= config.serving_per_peer
            || serving.questions.len() >= config.serving_max
            || serving.bytes.saturating_add(body.len()) > config.serving_bytes_max;
        if over {
            out.push(RequestAction::Count("busy"));
            return out.push(respond(peer, header.id, ResponseStatus::Busy, Bytes::new()));
        }
        let price = cost(body.len(), config.cost_per_request);
        asker.credit = asker.credit.saturating_sub(price);
        asker.open.insert(header.id);
        asker.places = asker.places.saturating_add(1);
        let wait = header.deadline_ms.min(config.deadline_ms_max).max(DEADLINE_MS_MIN);
        let deadline = now.plus(u64::from(wait));
        serving.next = serving.next.wrapping_add(1);
        let ticket = ServeTicket(serving.next);
        serving.bytes = serving.bytes.saturating_add(body.len());
        serving.deadlines.insert((deadline, ticket));
        let question =
            Question { peer, id: header.id, bytes: body.len(), deadline, abandoned: false };
        serving.questions.insert(ticket, question);
        out.push(RequestAction::Serve { ticket, peer, topic: header.topic, body, deadline });
    }

    /// The application answered a question.
    pub fn on_answer(
        &mut self,
        now: Time,
        ticket: ServeTicket,
        answer: Answer,
        out: &mut Vec<RequestAction>,
    ) {
        let question = self.serving.take(ticket).filter(|question| !question.abandoned);
        let Some(question) = question else {
            return out.push(RequestAction::Count("late_answer"));
        };
        let too_long = |body: &Bytes| {
            body.len() > self.config.answer_max || body.len() > Kind::Response.row().body_max
        };
        let (status, body) = match answer {
            Answer::Ok(body) if too_long(&body) => {
                out.push(RequestAction::Count("answer_too_long"));
                (ResponseStatus::Failed, Bytes::new())
            }
            Answer::Ok(body) => (ResponseStatus::Ok, body),
            Answer::Busy => (ResponseStatus::Busy, Bytes::new()),
            Answer::Unsupported => (ResponseStatus::Unsupported, Bytes::new()),
            Answer::Failed => (ResponseStatus::Failed, Bytes::new()),
        };
        if let Some(asker) = self.serving.askers.get_mut(&question.peer) {
            asker.fill(now, &self.config);
            asker.credit = asker.credit.saturating_sub(cost(body.len(), 0));
        }
        out.push(respond(question.peer, question.id, status, body));
    }
}
