//! The Requests actor: questions to peers and answers to theirs.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use actix::{AsyncContext, Context, Handler, StreamHandler};
use bytes::Bytes;
use peerstage_core::{
    frame,
    identity::NodeId,
    kinds::Kind,
    lanes::Pushed,
    manager::SessionId,
    messages::Topic,
    requests::{
        self as core, Answer, RequestAction as Action, RequestFault, RequestId, Requests,
        ServeTicket, Target,
    },
    scoring::{Fault, Service},
    time::Time,
};
use tokio::{sync::oneshot, task::AbortHandle};

use crate::{
    clock::Clock,
    peer::{Arrival, Arrivals, FromPeer, Outbox, PeerUp},
    scoring::{Observation, Scored},
    shell::{
        Lifeline, Ordered, Queue, QueueStream, Shell, Timer, core_actor, fault_point,
        machine_clock_and_timer, step,
    },
};

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The network or the peer.
    #[error(transparent)]
    Request(#[from] core::RequestError),
    /// The network has stopped.
    #[error("the network has stopped")]
    Stopped,
}

/// What a server says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The answer.
    Answer(Bytes),
    /// Too much to do; the asker may try somebody else.
    Busy,
    /// Tried and failed.
    Failed,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Answer(body) => Answer::Ok(body),
            Reply::Busy => Answer::Busy,
            Reply::Failed => Answer::Failed,
        }
    }
}

type ReplyFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// The chain's servers by topic.
pub type Servers = BTreeMap<Topic, Arc<dyn Fn(NodeId, Bytes) -> ReplyFuture + Send + Sync>>;

/// From the chain, through the intake: ask this.
#[derive(Debug)]
pub struct Ask {
    /// Whom.
    pub target: Target,
    /// What about.
    pub topic: Topic,
    /// The question.
    pub body: Bytes,
    /// How long to wait.
    pub deadline: Duration,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Bytes, RequestError>>,
}

/// From a server: its answer.
#[derive(Debug)]
pub(crate) struct Served {
    ticket: ServeTicket,
    answer: Answer,
}

/// Sends the answer; if the server panicked or was broken off, says that it failed.
struct ServedGuard {
    served: Option<Served>,
    answers: Queue<Served>,
}

impl Drop for ServedGuard {
    fn drop(&mut self) {
        if let Some(served) = self.served.take() {
            let _ = self.answers.push(served);
        }
    }
}

/// The queues into the actor.
pub(crate) struct RequestInputs {
    pub(crate) arrivals: QueueStream<FromPeer>,
    pub(crate) asks: QueueStream<Ordered<Ask>>,
    pub(crate) answers: (Queue<Served>, QueueStream<Served>),
}

/// The actor.
pub struct RequestDesk {
    machine: Requests,
    servers: Servers,
    peers: BTreeMap<NodeId, (SessionId, Outbox)>,
    /// Connections whose place another has taken and that still bring something.
    retiring: BTreeMap<SessionId, NodeId>,
    waiting: BTreeMap<RequestId, oneshot::Sender<Result<Bytes, RequestError>>>,
    /// Servers at work.
    work: BTreeMap<ServeTicket, AbortHandle>,
    inputs: Option<RequestInputs>,
    answers: Queue<Served>,
    observations: Queue<Observation>,
    /// Peers whose writers are to be woken when the step is done.
    touched: BTreeSet<NodeId>,
    /// Requests of the current step that found a full queue.
    refused: Vec<(NodeId, RequestId)>,
    timer: Timer,
    clock: Clock,
    lifeline: Lifeline,
}

impl RequestDesk {
    fn begin(&mut self, ctx: &mut Context<Self>) {
        if let Some(inputs) = self.inputs.take() {
            ctx.add_stream(inputs.arrivals);
            ctx.add_stream(inputs.asks);
            ctx.add_stream(inputs.answers.1);
        }
    }

    pub(crate) fn new(
        machine: Requests,
        servers: Servers,
        inputs: RequestInputs,
        observations: Queue<Observation>,
        clock: Clock,
        lifeline: Lifeline,
    ) -> Self {
        RequestDesk {
            machine,
            servers,
            peers: BTreeMap::new(),
            retiring: BTreeMap::new(),
            waiting: BTreeMap::new(),
            work: BTreeMap::new(),
            answers: inputs.answers.0.clone(),
            inputs: Some(inputs),
            observations,
            touched: BTreeSet::new(),
            refused: Vec::new(),
            timer: Timer::default(),
            clock,
            lifeline,
        }
    }

    fn serve(&mut self, ticket: ServeTicket, peer: NodeId, topic: Topic, body: Bytes) {
        let Some(server) = self.servers.get(&topic).cloned() else {
            let answer = Answer::Unsupported;
            let _ = self.answers.push(Served { ticket, answer });
            return;
        };
        let answers = self.answers.clone();
        // Made here: the work has an end also if it is broken off before it began.
        let failed = Served { ticket, answer: Answer::Failed };
        let guard = ServedGuard { served: Some(failed), answers };
        let work = actix_rt::spawn(async move {
            let mut guard = guard;
            let answer = server(peer, body).await.into();
            guard.served = Some(Served { ticket, answer });
        });
        self.work.insert(ticket, work.abort_handle());
    }

    fn is_current(&self, peer: &NodeId, session: SessionId) -> bool {
        self.peers.get(peer).is_some_and(|(current, _)| *current == session)
    }

    /// A peer that is there already keeps its open requests when its connection becomes a direct
    /// one: they are answered on either.
    fn peer_up(&mut self, up: PeerUp, ctx: &mut Context<Self>) {
        let PeerUp { session, info, outbox, upgrades, .. } = up;
        let before = self.peers.insert(info.peer, (session, outbox)).map(|(before, _)| before);
        if let Some(older) = upgrades {
            self.retiring.insert(older, info.peer);
            if before == Some(older) {
                return;
            }
        }
        self.act(ctx, |desk, now, out| desk.machine.on_peer_up(now, info.peer, out));
    }

    /// What an earlier connection of the peer brought is answered to nobody any more.
    fn arrived(&mut self, arrivals: Arrivals, ctx: &mut Context<Self>) {
        let Arrivals { session, peer, messages, .. } = arrivals;
        if !self.is_current(&peer, session) && self.retiring.get(&session) != Some(&peer) {
            return;
        }
        self.act(ctx, |desk, now, out| {
            for Arrival { message, .. } in messages {
                // The chain may keep it for as long as it likes.
                let (header, body) = (&message.header, frame::keep(&message.body));
                match message.kind {
                    Kind::Request => desk.machine.on_request(now, peer, header, body, out),
                    _ => desk.machine.on_response(now, peer, header, body, out),
                }
            }
        });
    }

    /// One input; a request that found a full queue is tried elsewhere.
    fn act<R>(
        &mut self,
        ctx: &mut Context<Self>,
        input: impl FnOnce(&mut Self, Time, &mut Vec<Action>) -> R,
    ) -> R {
        let result = step(self, ctx, input);
        while let Some((peer, id)) = self.refused.pop() {
            step(self, ctx, |desk, now, out| desk.machine.on_queue_refused(now, peer, id, out));
        }
        result
    }
}

core_actor!(RequestDesk, mailbox = 16_384);

impl Shell for RequestDesk {
    type Action = Action;

    machine_clock_and_timer!();

    /// Writers are woken once for all that the step put into their queues.
    fn settle(&mut self, _: Time, _: &mut Context<Self>) {
        for peer in std::mem::take(&mut self.touched) {
            if let Some((_, outbox)) = self.peers.get(&peer) {
                outbox.wake();
            }
        }
    }

    fn perform(&mut self, action: Action, _: &mut Context<Self>) {
        match action {
            Action::Send { to, id, message } => {
                let outbox = self.peers.get(&to).map(|(_, outbox)| outbox);
                let pushed = outbox.map(|outbox| outbox.push_quietly(message));
                self.touched.insert(to);
                let queued = matches!(pushed, Some(Pushed::Queued | Pushed::QueuedDropping(_)));
                if let (false, Some(id)) = (queued, id) {
                    self.refused.push((to, id));
                }
            }
            Action::Complete { id, result } => {
                if let Some(waiting) = self.waiting.remove(&id) {
                    let _ = waiting.send(result.map(|(_, body)| body).map_err(Into::into));
                }
            }
            Action::Serve { ticket, peer, topic, body, .. } => {
                self.serve(ticket, peer, topic, body);
            }
            Action::Abandon(ticket) => {
                if let Some(work) = self.work.get(&ticket) {
                    work.abort();
                }
            }
            Action::Penalise { peer, fault, .. } => {
                let fault = match fault {
                    RequestFault::MalformedMessage => Fault::MalformedMessage,
                    RequestFault::ProtocolViolation => Fault::ProtocolViolation,
                };
                let _ = self.observations.push(Observation::Fault { peer, fault });
            }
            Action::Observe { peer, service } => {
                let service = match service {
                    core::Service::Answered(_) => Service::Answered,
                    core::Service::Timeout => Service::Timeout,
                };
                let _ = self.observations.push(Observation::Service { peer, service });
            }
            Action::Count(reason) => {
                metrics::counter!("peerstage_requests_not_done_total", "reason" => reason)
                    .increment(1);
            }
        }
    }
}

impl StreamHandler<Vec<FromPeer>> for RequestDesk {
    fn handle(&mut self, inputs: Vec<FromPeer>, ctx: &mut Context<Self>) {
        fault_point("RequestDesk::Vec<FromPeer>");
        for input in inputs {
            match input {
                FromPeer::Up(up) => self.peer_up(up, ctx),
                FromPeer::Arrivals(arrivals) => self.arrived(arrivals, ctx),
                FromPeer::Also(peer, session) => drop(self.retiring.insert(session, peer)),
                FromPeer::Down(peer, session) if self.is_current(&peer, session) => {
                    self.peers.remove(&peer);
                    self.act(ctx, |desk, now, out| desk.machine.on_peer_down(now, peer, out));
                }
                FromPeer::Down(_, session) => drop(self.retiring.remove(&session)),
                FromPeer::Mark(reached) => drop(reached.send(())),
            }
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Vec<Served>> for RequestDesk {
    fn handle(&mut self, answers: Vec<Served>, ctx: &mut Context<Self>) {
        fault_point("RequestDesk::Vec<Served>");
        self.act(ctx, |desk, now, out| {
            for Served { ticket, answer } in answers {
                desk.work.remove(&ticket);
                desk.machine.on_answer(now, ticket, answer, out);
            }
        });
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Vec<Ordered<Ask>>> for RequestDesk {
    fn handle(&mut self, asks: Vec<Ordered<Ask>>, ctx: &mut Context<Self>) {
        fault_point("RequestDesk::Vec<Ordered<Ask>>");
        self.act(ctx, |desk, now, out| {
            for Ordered { order, .. } in asks {
                let Ask { target, topic, body, deadline, answer } = order;
                let deadline = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
                match desk.machine.ask(now, target, topic, body, deadline, out) {
                    Ok(id) => drop(desk.waiting.insert(id, answer)),
                    Err(error) => drop(answer.send(Err(error.into()))),
                }
            }
        });
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<Scored> for RequestDesk {
    type Result = ();

    fn handle(&mut self, scored: Scored, _: &mut Context<Self>) {
        fault_point("RequestDesk::Scored");
        self.machine.on_score(scored.peer, scored.thousandths);
    }
}
