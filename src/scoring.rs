//! What every peer is worth to us, why, and who is refused.
//!
//! Two axes. **Service quality** is six categories of -100 to 100 each, weighted and summed.
//! **Faults** are breaches of the protocol, 0 to 100. One number follows from both
//! ([`Policy::score`]), built such that it is at or below the ban line exactly when the faults
//! alone are: a peer is never banned for being slow, far away or busy, and no good service buys
//! off faults. Everything is counted in thousandths of a point, so that [`Scoring::explain`]
//! reproduces every score exactly from its events.
//!
//! # Numbers that hold (defaults; the tests prove each)
//! A newcomer is banned after this many faults of one kind, decay left aside:
//!
//! | events | faults |
//! |---|---|
//! | 1 | `invalid_block`, `malformed_message`, `oversized_message` |
//! | 2 | `protocol_violation`, `reported` |
//! | 5 | `invalid_transaction`, `unknown_kind`, `wrong_role`, `handshake` |
//! | 10 | `invalid_vote`, `invalid_record`, `spam`, `replay` |
//! | 20 | `duplicate_flood` |
//!
//! A newcomer reaches the relay threshold with 8 round trips of at most 50 ms, 10 blocks and 50
//! transactions brought first; it is trusted within 6 hours of 6 first blocks, 60 first
//! transactions and 60 such round trips each, validator or not. One that is
//! always second and 150 ms away reaches the relay threshold within 6 hours. Without any contact
//! the best score is below 1 after 90 hours.
//!
//! # Security
//! Provided: bounded memory ([`TRACKED_MAX`] peers, [`BANS_MAX`] bans, `history_limit` events);
//! a third party's word never lowers a score nor bans (attack row 25); facts gathered while we
//! are overloaded never cost a peer anything; no number in a fact can overflow.
//! Not provided: blame. The caller must pass a fault only for what the peer itself did wrong,
//! never for an error of ours.

mod bans;
mod config;
mod deliveries;
mod enforce;
mod explain;
mod facts;
mod history;
mod peer;
mod periods;
mod policy;
mod records;
mod score;
#[cfg(test)]
mod tests;
mod trust;

use std::collections::{BTreeMap, BTreeSet};

use self::{
    bans::BanBook,
    facts::{ROUND_TRIP_SMOOTHING, SHORT_SESSION_COST, SHORT_SESSION_MS},
    history::tidy_reason,
    peer::{Session, TrackedPeer},
};
pub use self::{
    bans::{BANS_MAX, BanOrigin, BanRecord, Refusal, host_of},
    config::{HISTORY_LIMIT_MAX, PolicyError, ScoringConfig, Thresholds, TrustConfig, Weights},
    explain::{BanCause, CategoryLine, ChangeLine, EventLine, Explanation},
    facts::{Delivery, Departure, Fault, Report, Service, latency_of},
    history::{Cause, Event, History, REASON_MAX},
    policy::Policy,
    records::ScoreRecord,
    score::{Axes, Axis, POINT, SCORE_MAX, Score, Standing, TRUST_MAX},
    trust::{BOOST_PER_EPOCH, RECOMMENDATIONS_PER_EPOCH},
};
use crate::{
    address::Address,
    identity::NodeId,
    time::{Millis, Time},
};

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Tell whoever ranks peers: the score moved by a point or more, or the standing changed.
    ScoreChanged {
        /// Whose.
        peer: NodeId,
        /// Its score now.
        score: Score,
        /// Its standing now.
        standing: Standing,
    },
    /// Close the connection, and refuse the peer until the ban ends.
    Ban {
        /// Who.
        peer: NodeId,
        /// Where it was last connected from.
        address: Option<Address>,
        /// Until when.
        until: Time,
        /// Why.
        reason: String,
    },
    /// The peer may come back.
    Unban {
        /// Who.
        peer: NodeId,
    },
    /// Write the ban down, at once.
    PersistBan(BanRecord),
    /// Strike the ban out of the store.
    ForgetBan(NodeId),
    /// Write the score down, when convenient.
    PersistScore(Box<ScoreRecord>),
    /// Strike the score out of the store: the peer is not tracked any more.
    ForgetScore(NodeId),
    /// Something notable happened to a score; for logs, metrics and subscribers.
    Event(ScoreEvent),
}

/// A notable change of a score and its reason.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ScoreEvent {
    /// Whose.
    pub peer: NodeId,
    /// When.
    pub at: Time,
    /// Why.
    pub cause: Cause,
    /// What moved.
    pub change: Axes,
    /// The score right after it.
    pub after: Score,
}

/// Peers tracked at most. The longest unseen neutral one makes room.
pub const TRACKED_MAX: usize = 4_096;

/// The scores and bans of all peers.
#[derive(Clone, Debug)]
pub struct Scoring {
    policy: Policy,
    peers: BTreeMap<NodeId, TrackedPeer>,
    bans: BanBook,
    /// Peers over the line that are not banned because too few would be left.
    withheld: BTreeSet<NodeId>,
    overloaded: bool,
    shadow: BTreeMap<Fault, u64>,
    next_decay: Time,
    next_trust: Time,
    next_minute: Time,
}

impl Scoring {
    /// A machine that knows nobody.
    ///
    /// # Errors
    /// [`PolicyError`] if the configuration can't work.
    pub fn new(config: ScoringConfig, now: Time) -> Result<Self, PolicyError> {
        let policy = Policy::new(config)?;
        Ok(Scoring {
            bans: BanBook::new(policy.config.count_private),
            next_decay: now.plus(policy.config.decay_period_ms),
            next_trust: now.plus(policy.config.trust.interval_ms),
            next_minute: now.plus(periods::MINUTE_MS),
            policy,
            peers: BTreeMap::new(),
            withheld: BTreeSet::new(),
            overloaded: false,
            shadow: BTreeMap::new(),
        })
    }

    /// A handshake was completed. `validator` if it included the proof of a validator.
    pub fn on_connected(
        &mut self,
        now: Time,
        peer: NodeId,
        address: Address,
        outbound: bool,
        validator: bool,
        out: &mut Vec<Action>,
    ) {
        let Some(tracked) = self.track(now, peer, out) else { return };
        tracked.address = Some(address);
        tracked.outbound = outbound;
        tracked.last_seen = tracked.last_seen.max(now);
        tracked.connected.get_or_insert(Session { since: now, counted: now });
        if validator {
            self.on_validator(now, peer, true, out);
        }
        self.reconsider_withheld(now, out);
    }

    /// The connection is gone. A validator has to prove itself again on the next one.
    pub fn on_disconnected(
        &mut self,
        now: Time,
        peer: NodeId,
        departure: Departure,
        out: &mut Vec<Action>,
    ) {
        self.count_uptime(now, peer, out);
        let Some(tracked) = self.peers.get_mut(&peer) else { return };
        let Some(session) = tracked.connected.take() else { return };
        tracked.validator = false;
        tracked.last_seen = tracked.last_seen.max(now);
        let flapped = departure == Departure::Theirs && now.since(session.since) < SHORT_SESSION_MS;
        if flapped && !self.overloaded {
            let cost = [(Axis::Uptime, -SHORT_SESSION_COST)];
            self.update(now, peer, Cause::ShortSession, &cost, out);
        }
        self.persist(now, peer, out);
    }

    /// A ping of ours was answered: nonce and clock are ours, so the number can't be made up.
    pub fn on_round_trip(
        &mut self,
        now: Time,
        peer: NodeId,
        round_trip_ms: Millis,
        out: &mut Vec<Action>,
    ) {
        let Some(tracked) = self.peers.get(&peer) else { return };
        let distance = latency_of(round_trip_ms) - i64::from(tracked.axes.get(Axis::Latency));
        // Our own queues are part of what we measure while we are overloaded.
        if distance < 0 && self.overloaded {
            return;
        }
        let step = distance / ROUND_TRIP_SMOOTHING;
        self.update(now, peer, Cause::RoundTrip, &[(Axis::Latency, step)], out);
    }

    /// The peer itself broke the protocol.
    pub fn on_fault(&mut self, now: Time, peer: NodeId, fault: Fault, out: &mut Vec<Action>) {
        if self.policy.config.shadow.contains(&fault) {
            let count = self.shadow.entry(fault).or_default();
            *count = count.saturating_add(1);
            return self.update(now, peer, Cause::Shadow(fault), &[], out);
        }
        self.faulted(now, peer, Cause::Fault(fault), i64::from(fault.cost()), out);
    }

    /// A peer's connection from this address ended for a fault. It may never have been let in: a
    /// ban counts against its host all the same, so that a new key there does not help.
    pub fn on_fault_at(
        &mut self,
        now: Time,
        peer: NodeId,
        address: Address,
        fault: Fault,
        out: &mut Vec<Action>,
    ) {
        if let Some(tracked) = self.track(now, peer, out) {
            tracked.address.get_or_insert(address);
        }
        self.on_fault(now, peer, fault, out);
    }

    fn faulted(&mut self, now: Time, peer: NodeId, cause: Cause, cost: i64, out: &mut Vec<Action>) {
        let changes = [
            (Axis::Faults, cost),
            (Axis::Behaviour, -cost),
            (Axis::Trust, self.policy.trust_invalid),
        ];
        self.update(now, peer, cause, &changes, out);
    }

    /// A request to this peer ended, or its queue did. While we are overloaded only what went
    /// well counts.
    pub fn on_service(&mut self, now: Time, peer: NodeId, service: Service, out: &mut Vec<Action>) {
        let well = service.change() > 0;
        if self.overloaded && !well {
            return;
        }
        let Some(tracked) = self.peers.get_mut(&peer) else { return };
        let counter = if well { &mut tracked.served } else { &mut tracked.failed };
        *counter = counter.saturating_add(1);
        let trust = match service {
            Service::Answered => self.policy.trust_valid,
            Service::Timeout => self.policy.trust_timeout,
            _ => 0,
        };
        let changes = [(service.axis(), i64::from(service.change())), (Axis::Trust, trust)];
        self.update(now, peer, Cause::Service(service), &changes, out);
    }

    /// The peer proved to speak for a validator, or the validator set dropped it.
    pub fn on_validator(&mut self, now: Time, peer: NodeId, proven: bool, out: &mut Vec<Action>) {
        let Some(tracked) = self.peers.get_mut(&peer) else { return };
        if tracked.validator == proven {
            return;
        }
        tracked.validator = proven;
        let value = i64::from(tracked.axes.get(Axis::ValidatorStatus));
        let (cause, target) = match proven {
            true => (Cause::ValidatorProven, i64::from(SCORE_MAX)),
            false => (Cause::ValidatorLost, 0),
        };
        self.update(now, peer, cause, &[(Axis::ValidatorStatus, target - value)], out);
    }

    /// `from` signed that it trusts `about` this much (millionths; more than a million counts as
    /// one). Raises trust a little (see [`RECOMMENDATIONS_PER_EPOCH`]), lowers nothing.
    pub fn on_recommendation(
        &mut self,
        now: Time,
        from: NodeId,
        about: NodeId,
        trust_millionths: u64,
        out: &mut Vec<Action>,
    ) {
        let (Some(by), Some(subject)) = (self.peers.get(&from), self.peers.get(&about)) else {
            return;
        };
        if from == about || by.recommended.contains(&about) {
            return;
        }
        let boost = trust::boost(by, subject, trust_millionths, &self.policy);
        if boost == 0 {
            return;
        }
        if let Some(by) = self.peers.get_mut(&from) {
            by.recommended.insert(about);
        }
        if let Some(subject) = self.peers.get_mut(&about) {
            subject.boosted = subject.boosted.saturating_add(boost);
        }
        self.update(now, about, Cause::Recommended(from), &[(Axis::Trust, boost)], out);
    }

    /// The chain software's own judgement, with its reason.
    pub fn on_report(
        &mut self,
        now: Time,
        peer: NodeId,
        report: Report,
        reason: &str,
        out: &mut Vec<Action>,
    ) {
        let thousandths = |points: u64| i64::try_from(points.min(100)).unwrap_or(100) * 1_000;
        let reason = tidy_reason(reason);
        match report {
            Report::Good(points) => {
                let change = [(Axis::Behaviour, thousandths(points))];
                self.update(now, peer, Cause::ReportGood(reason), &change, out);
            }
            Report::Bad(points) => {
                let change = [(Axis::Behaviour, -thousandths(points))];
                self.update(now, peer, Cause::ReportBad(reason), &change, out);
            }
            Report::Fault(points) => {
                let cause = Cause::ReportFault(reason);
                self.faulted(now, peer, cause, thousandths(points), out);
            }
        }
    }

    /// We can't keep up ourselves, or can again. Until then nothing slow is held against anyone.
    pub fn on_own_overload(&mut self, overloaded: bool) {
        self.overloaded = overloaded;
    }

    /// How often each rule on trial was broken.
    #[must_use]
    pub fn shadow_counts(&self) -> &BTreeMap<Fault, u64> {
        &self.shadow
    }
}
