//! The PeerScoring actor: what peers do becomes scores, bans and their explanations.

mod messages;

use actix::{AsyncContext, Context, Handler, Recipient, ResponseFuture, StreamHandler};
use peerstage_core::{
    identity::NodeId,
    kinds::Kind,
    reason::CloseReason,
    relay,
    scoring::{
        Action, BanRecord, Delivery, Departure, Explanation, Fault, Report, ScoreRecord, Scoring,
        Service, Standing,
    },
    time::Time,
};

use crate::{
    clock::Clock,
    events::{Event, What},
    peer_store::{Entry, Keep},
    shell::{
        Lifeline, QueueStream, Shell, Timer, core_actor, fault_point, machine_clock_and_timer,
        step, tell,
    },
};

pub use messages::{
    Ban, BanChanged, Bans, Explain, Observation, ScoreOf, Scored, ScoresOf, TellReport, Tracked,
    Unban,
};

/// Observations that may wait; more are dropped and counted, which costs nobody a ban: faults
/// that end a connection come once a connection.
pub(crate) const OBSERVATIONS: usize = 65_536;

/// Whom the actor talks to.
pub struct ScoringLinks {
    /// The MessageRelay.
    pub relay: Recipient<Scored>,
    /// The Requests actor.
    pub requests: Recipient<Scored>,
    /// The NetworkManager.
    pub manager: Recipient<BanChanged>,
    /// The PeerStore.
    pub store: Recipient<Keep>,
    /// The MonitoringBridge.
    pub events: Recipient<Event>,
}

/// The actor.
pub struct PeerScoring {
    machine: Scoring,
    links: ScoringLinks,
    observations: Option<QueueStream<Observation>>,
    /// Entries to be kept, gathered during one step and sent together.
    kept: Vec<Entry>,
    /// Whether somebody waits for this step's entries to be on disk.
    answering: bool,
    restored: Option<(Vec<BanRecord>, Vec<ScoreRecord>)>,
    timer: Timer,
    clock: Clock,
    lifeline: Lifeline,
}

impl PeerScoring {
    /// The actor around its machine.
    #[must_use]
    pub fn new(
        machine: Scoring,
        links: ScoringLinks,
        observations: QueueStream<Observation>,
        restored: (Vec<BanRecord>, Vec<ScoreRecord>),
        clock: Clock,
        lifeline: Lifeline,
    ) -> Self {
        PeerScoring {
            machine,
            links,
            observations: Some(observations),
            kept: Vec::new(),
            answering: false,
            restored: Some(restored),
            timer: Timer::default(),
            clock,
            lifeline,
        }
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        if let Some(stream) = self.observations.take() {
            ctx.add_stream(stream);
        }
        if let Some((bans, scores)) = self.restored.take() {
            step(self, ctx, |actor, now, out| actor.machine.on_restored(now, bans, scores, out));
        }
    }

    fn observe(&mut self, now: Time, observation: Observation, out: &mut Vec<Action>) {
        let machine = &mut self.machine;
        match observation {
            Observation::Connected { peer, address, outbound, validator, agent } => {
                machine.on_connected(now, peer, address, outbound, validator.is_some(), out);
                self.event(What::PeerConnected { peer, address, outbound, validator, agent });
            }
            Observation::Disconnected { peer, address, closure, connected_ms } => {
                let score = machine.score(peer).points();
                let lost = closure.reason == CloseReason::ConnectionLost;
                let theirs = closure.by_remote || lost;
                let ours = if theirs { Departure::Theirs } else { Departure::Ours };
                machine.on_disconnected(now, peer, ours, out);
                self.event(What::PeerDisconnected { peer, address, closure, score, connected_ms });
            }
            Observation::Replaced { peer, address, connected_ms } => {
                let score = machine.score(peer).points();
                self.event(What::ConnectionReplaced { peer, address, score, connected_ms });
            }
            Observation::RoundTrip { peer, ms } => machine.on_round_trip(now, peer, ms, out),
            Observation::Delivered { peer, kind, delivery, count } => {
                let delivery = match delivery {
                    relay::Delivery::First => Delivery::First,
                    relay::Delivery::Duplicate => Delivery::Timely,
                    relay::Delivery::Late => Delivery::Late,
                    relay::Delivery::Broken => {
                        return (0..count).for_each(|_| {
                            machine.on_service(now, peer, Service::BrokenPromise, out);
                        });
                    }
                };
                match kind {
                    Kind::Block => machine.on_blocks(now, peer, delivery, count, out),
                    Kind::Transaction => machine.on_transactions(now, peer, delivery, count, out),
                    // The categories are about blocks and transactions.
                    _ => {}
                }
            }
            Observation::Fault { peer, fault } => {
                count(fault);
                machine.on_fault(now, peer, fault, out);
            }
            Observation::FaultAt { peer, address, fault } => {
                count(fault);
                machine.on_fault_at(now, peer, address, fault, out);
            }
            Observation::Service { peer, service } => machine.on_service(now, peer, service, out),
        }
    }

    fn event(&self, what: What) {
        tell("event", &self.links.events, Event { at: self.clock.now(), what });
    }

    fn ban_changed(&self, peer: NodeId, until: Option<Time>) {
        tell("ban_changed", &self.links.manager, BanChanged { peer, until });
    }

    /// Hands what was gathered to the store; the answer comes when bans are on disk.
    fn flush(&mut self) -> ResponseFuture<()> {
        self.answering = false;
        let entries = std::mem::take(&mut self.kept);
        if entries.is_empty() {
            return Box::pin(async {});
        }
        let kept = self.links.store.send(Keep(entries));
        Box::pin(async move {
            let _ = kept.await;
        })
    }

    /// As [`PeerScoring::flush`], for what nobody waits for.
    fn flush_behind(&mut self) {
        let entries = std::mem::take(&mut self.kept);
        if !entries.is_empty() {
            tell("keep", &self.links.store, Keep(entries));
        }
    }
}

/// Every breach of the protocol is counted by its name, whoever it was.
fn count(fault: Fault) {
    metrics::counter!("peerstage_faults_total", "fault" => fault.name()).increment(1);
}

core_actor!(PeerScoring, mailbox = 1_024);

impl Shell for PeerScoring {
    type Action = Action;

    machine_clock_and_timer!();

    fn settle(&mut self, _: Time, _: &mut Context<Self>) {
        if !self.answering {
            self.flush_behind();
        }
    }

    fn perform(&mut self, action: Action, _: &mut Context<Self>) {
        match action {
            Action::ScoreChanged { peer, score, standing } => {
                let relayed_to = standing >= Standing::Relay;
                let scored = Scored { peer, thousandths: i64::from(score.0), relayed_to };
                tell("scored", &self.links.relay, scored);
                tell("scored", &self.links.requests, scored);
                let standing = standing.name().to_owned();
                self.event(What::ScoreChanged { peer, score: score.points(), standing });
            }
            Action::Ban { peer, address: _, until, reason } => {
                self.ban_changed(peer, Some(until));
                self.event(What::PeerBanned { peer, until, reason });
            }
            Action::Unban { peer } => {
                self.ban_changed(peer, None);
                self.event(What::PeerUnbanned { peer });
            }
            Action::PersistBan(record) => self.kept.push(Entry::Ban(Box::new(record))),
            Action::ForgetBan(peer) => self.kept.push(Entry::ForgetBan(peer)),
            Action::PersistScore(record) => self.kept.push(Entry::Score(record)),
            Action::ForgetScore(peer) => self.kept.push(Entry::ForgetScore(peer)),
            Action::Event(_) => {}
        }
    }
}

impl StreamHandler<Vec<Observation>> for PeerScoring {
    fn handle(&mut self, observations: Vec<Observation>, ctx: &mut Context<Self>) {
        fault_point("PeerScoring::Vec<Observation>");
        for observation in observations {
            step(self, ctx, |actor, now, out| actor.observe(now, observation, out));
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<Explain> for PeerScoring {
    type Result = Option<Explanation>;

    fn handle(&mut self, Explain { peer }: Explain, _: &mut Context<Self>) -> Self::Result {
        fault_point("PeerScoring::Explain");
        self.machine.explain(self.clock.now(), peer)
    }
}

impl Handler<ScoresOf> for PeerScoring {
    type Result = Vec<ScoreOf>;

    fn handle(&mut self, ScoresOf(peers): ScoresOf, _: &mut Context<Self>) -> Self::Result {
        fault_point("PeerScoring::ScoresOf");
        let score = |peer: NodeId| ScoreOf {
            score: self.machine.score(peer).points(),
            standing: self.machine.standing(peer),
            trust: self.machine.trust(peer),
        };
        peers.into_iter().map(score).collect()
    }
}

impl Handler<Tracked> for PeerScoring {
    type Result = Vec<NodeId>;

    fn handle(&mut self, Tracked: Tracked, _: &mut Context<Self>) -> Self::Result {
        fault_point("PeerScoring::Tracked");
        self.machine.scores().map(|(peer, ..)| peer).collect()
    }
}

impl Handler<Bans> for PeerScoring {
    type Result = Vec<BanRecord>;

    fn handle(&mut self, Bans: Bans, _: &mut Context<Self>) -> Self::Result {
        fault_point("PeerScoring::Bans");
        self.machine.bans().cloned().collect()
    }
}

impl Handler<Ban> for PeerScoring {
    type Result = ResponseFuture<()>;

    fn handle(
        &mut self,
        Ban { peer, why, duration }: Ban,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        fault_point("PeerScoring::Ban");
        let ms = duration.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        self.answering = true;
        step(self, ctx, |actor, now, out| actor.machine.ban(now, peer, &why, ms, out));
        self.flush()
    }
}

impl Handler<Unban> for PeerScoring {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, Unban { peer }: Unban, ctx: &mut Context<Self>) -> Self::Result {
        fault_point("PeerScoring::Unban");
        let was_banned = self.machine.standing(peer) == Standing::Banned;
        self.answering = true;
        step(self, ctx, |actor, now, out| actor.machine.unban(now, peer, out));
        let kept = self.flush();
        Box::pin(async move {
            kept.await;
            was_banned
        })
    }
}

impl Handler<TellReport> for PeerScoring {
    type Result = ();

    fn handle(&mut self, order: TellReport, ctx: &mut Context<Self>) {
        fault_point("PeerScoring::TellReport");
        let TellReport { peer, report, why } = order;
        if matches!(report, Report::Fault(_)) {
            count(Fault::Reported);
        }
        step(self, ctx, |actor, now, out| actor.machine.on_report(now, peer, report, &why, out));
    }
}
