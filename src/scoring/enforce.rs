//! What follows from a changed score: standings, bans, and room for newcomers.

use super::{
    Action, ScoreEvent, Scoring, Standing, TRACKED_MAX,
    bans::{BanOrigin, BanRecord, Refusal},
    history::{Cause, tidy_reason},
    peer::TrackedPeer,
    score::{Axes, Axis, POINT, Score},
};
use crate::{
    address::Address,
    identity::NodeId,
    time::{Millis, Time},
};

impl Scoring {
    /// Bans a peer by order of the operator or the chain, for this long or as configured. The
    /// floor does not apply: whoever orders it knows why.
    pub fn ban(
        &mut self,
        now: Time,
        peer: NodeId,
        reason: &str,
        duration_ms: Option<Millis>,
        out: &mut Vec<Action>,
    ) {
        let until = now.plus(duration_ms.unwrap_or(self.policy.config.ban_duration_ms));
        self.track(now, peer, out);
        self.execute_ban(now, peer, reason, until, BanOrigin::Operator, out);
    }

    /// Lifts a ban by order, and forgives the faults that led to it.
    pub fn unban(&mut self, now: Time, peer: NodeId, out: &mut Vec<Action>) {
        let was_banned = self.bans.remove(peer).is_some();
        self.withheld.remove(&peer);
        if was_banned {
            out.extend([Action::Unban { peer }, Action::ForgetBan(peer)]);
        }
        let Some(tracked) = self.peers.get(&peer) else { return };
        let faults = i64::from(tracked.axes.get(Axis::Faults));
        if was_banned || faults > 0 {
            self.update(now, peer, Cause::Unbanned, &[(Axis::Faults, -faults)], out);
            self.persist(now, peer, out);
        }
    }

    /// Why this peer at this address must be refused, if it must. Peers in good standing of
    /// their own are not refused for their neighbours.
    #[must_use]
    pub fn refusal(&self, now: Time, peer: NodeId, address: Option<&Address>) -> Option<Refusal> {
        if let Some(ban) = self.bans.get(&peer).filter(|ban| ban.until > now) {
            return Some(Refusal::Identity { until: ban.until });
        }
        if self.standing(peer) >= Standing::Relay {
            return None;
        }
        let (host, group) = self.bans.counts(address?);
        if host >= self.policy.config.banned_per_host {
            Some(Refusal::Host { banned: host })
        } else if group >= self.policy.config.banned_per_group {
            Some(Refusal::Group { banned: group })
        } else {
            None
        }
    }

    /// Whether this peer at this address must be refused.
    #[must_use]
    pub fn is_banned(&self, now: Time, peer: NodeId, address: Option<&Address>) -> bool {
        self.refusal(now, peer, address).is_some()
    }

    /// One change of one peer's score, and everything that follows from it.
    pub(super) fn update(
        &mut self,
        now: Time,
        peer: NodeId,
        cause: Cause,
        changes: &[(Axis, i64)],
        out: &mut Vec<Action>,
    ) {
        self.update_times(now, peer, cause, changes, 1, out);
    }

    /// The same change so many times: as one after the other, told once.
    pub(super) fn update_times(
        &mut self,
        now: Time,
        peer: NodeId,
        cause: Cause,
        changes: &[(Axis, i64)],
        times: u32,
        out: &mut Vec<Action>,
    ) {
        let limit = self.policy.config.history_limit;
        let Some(tracked) = self.track(now, peer, out) else { return };
        tracked.last_seen = tracked.last_seen.max(now);
        let change = tracked.change(now, cause.clone(), changes, times, limit);
        if !cause.is_routine() {
            let after = self.score(peer);
            out.push(Action::Event(ScoreEvent {
                peer,
                at: now,
                cause: cause.clone(),
                change,
                after,
            }));
        }
        self.settle(now, peer, out);
    }

    /// Bans if the faults are over the line, then tells standing and score if they changed.
    pub(super) fn settle(&mut self, now: Time, peer: NodeId, out: &mut Vec<Action>) {
        let Some(tracked) = self.peers.get(&peer) else { return };
        if tracked.axes.get(Axis::Faults) < self.policy.fault_line {
            self.withheld.remove(&peer);
        } else if self.bans.get(&peer).is_none() {
            if self.others_left(peer) >= self.policy.config.ban_floor {
                return self.ban_for_faults(now, peer, out);
            }
            if self.withheld.insert(peer) {
                return self.update(now, peer, Cause::BanWithheld, &[], out);
            }
        }
        self.tell(peer, out);
    }

    /// Says so if the standing changed, or the score moved by a point since it was last told.
    pub(super) fn tell(&mut self, peer: NodeId, out: &mut Vec<Action>) {
        let banned = self.bans.get(&peer).is_some();
        let Some(tracked) = self.peers.get_mut(&peer) else { return };
        let score = self.policy.score(&tracked.axes);
        let standing = match banned {
            true => Standing::Banned,
            false => self.policy.standing(score, tracked.standing),
        };
        let moved = score.0.abs_diff(tracked.told.0) >= POINT.unsigned_abs();
        if moved || standing != tracked.standing {
            tracked.told = score;
            tracked.standing = standing;
            out.push(Action::ScoreChanged { peer, score, standing });
        }
    }

    /// How many connected peers that behave would be left without this one.
    fn others_left(&self, peer: NodeId) -> usize {
        let behaves = |other: &TrackedPeer| {
            other.connected.is_some()
                && other.standing > Standing::Banned
                && other.axes.get(Axis::Faults) < self.policy.fault_line
        };
        self.peers.iter().filter(|(id, other)| **id != peer && behaves(other)).count()
    }

    /// Somebody came: bans that had to wait for that may now be carried out.
    pub(super) fn reconsider_withheld(&mut self, now: Time, out: &mut Vec<Action>) {
        for peer in self.withheld.clone() {
            if self.others_left(peer) >= self.policy.config.ban_floor {
                self.ban_for_faults(now, peer, out);
            }
        }
    }

    /// An automatic ban; the reason is the fault that came last.
    fn ban_for_faults(&mut self, now: Time, peer: NodeId, out: &mut Vec<Action>) {
        let last = self.peers.get(&peer).and_then(|tracked| {
            let causes = tracked.history.events().map(|event| &event.cause);
            causes.filter(|cause| matches!(cause, Cause::Fault(_) | Cause::ReportFault(_))).last()
        });
        let reason = last.map_or_else(|| String::from("faults"), ToString::to_string);
        let until = now.plus(self.policy.config.ban_duration_ms);
        self.execute_ban(now, peer, &reason, until, BanOrigin::Score, out);
    }

    fn execute_ban(
        &mut self,
        now: Time,
        peer: NodeId,
        reason: &str,
        until: Time,
        origin: BanOrigin,
        out: &mut Vec<Action>,
    ) {
        self.withheld.remove(&peer);
        let reason = tidy_reason(reason);
        let address = self.peers.get(&peer).and_then(|tracked| tracked.address);
        let ban = BanRecord { peer, address, since: now, until, reason: reason.clone(), origin };
        if let Some(other) = self.bans.insert(ban.clone()) {
            out.extend([Action::Unban { peer: other }, Action::ForgetBan(other)]);
            self.serve_out(now, other, out);
        }
        out.push(Action::PersistBan(ban));
        out.push(Action::Ban { peer, address, until, reason: reason.clone() });
        if self.peers.contains_key(&peer) {
            self.update(now, peer, Cause::Banned(reason), &[], out);
            self.persist(now, peer, out);
        }
    }

    /// A ban is over: the peer is on probation, two hysteresis from the line.
    pub(super) fn serve_out(&mut self, now: Time, peer: NodeId, out: &mut Vec<Action>) {
        let Some(tracked) = self.peers.get(&peer) else { return };
        let faults = tracked.axes.get(Axis::Faults);
        let change = i64::from(self.policy.probation().min(faults)) - i64::from(faults);
        self.update(now, peer, Cause::BanServed, &[(Axis::Faults, change)], out);
        self.persist(now, peer, out);
    }

    /// The tracked peer, a new one if there is room or somebody to forget.
    pub(super) fn track(
        &mut self,
        now: Time,
        peer: NodeId,
        out: &mut Vec<Action>,
    ) -> Option<&mut TrackedPeer> {
        if !self.peers.contains_key(&peer) && self.peers.len() >= TRACKED_MAX {
            let forgotten = self.least_missed()?;
            self.peers.remove(&forgotten);
            self.withheld.remove(&forgotten);
            out.push(Action::ForgetScore(forgotten));
        }
        Some(self.peers.entry(peer).or_insert_with(|| TrackedPeer::new(now, &self.policy)))
    }

    /// Whom to forget: never a connected peer; the neutral before the rest, the longest unseen
    /// first. The ban of a forgotten peer stays.
    fn least_missed(&self) -> Option<NodeId> {
        self.peers
            .iter()
            .filter(|(_, tracked)| tracked.connected.is_none())
            .min_by_key(|(_, tracked)| (tracked.standing != Standing::Neutral, tracked.last_seen))
            .map(|(peer, _)| *peer)
    }

    /// A peer's score; 0 for a stranger.
    #[must_use]
    pub fn score(&self, peer: NodeId) -> Score {
        let axes: Option<&Axes> = self.peers.get(&peer).map(|tracked| &tracked.axes);
        axes.map_or(Score(0), |axes| self.policy.score(axes))
    }

    /// A peer's standing; neutral for a stranger that is not banned.
    #[must_use]
    pub fn standing(&self, peer: NodeId) -> Standing {
        if self.bans.get(&peer).is_some() {
            return Standing::Banned;
        }
        self.peers.get(&peer).map_or(Standing::Neutral, |tracked| tracked.standing)
    }

    /// A peer's trust, 0 to 1.
    #[must_use]
    pub fn trust(&self, peer: NodeId) -> f64 {
        let initial = self.policy.trust_initial;
        let trust = self.peers.get(&peer).map_or(initial, |tracked| tracked.axes.get(Axis::Trust));
        f64::from(trust) / 1e6
    }

    /// A peer's reputation, 0 to 1: 0.6 trust + 0.2 trend + 0.2 share of requests that went
    /// well; a stranger's follows from the initial trust.
    #[must_use]
    pub fn reputation(&self, peer: NodeId) -> f64 {
        let millionths = match self.peers.get(&peer) {
            Some(tracked) => tracked.reputation(&self.policy),
            None => TrackedPeer::new(Time::ZERO, &self.policy).reputation(&self.policy),
        };
        millionths as f64 / 1e6
    }

    /// The `n` best peers that are not banned, best first; equals by identity.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<(NodeId, Score)> {
        let mut ranked: Vec<(NodeId, Score)> = self
            .peers
            .iter()
            .filter(|(peer, _)| self.bans.get(peer).is_none())
            .map(|(peer, tracked)| (*peer, self.policy.score(&tracked.axes)))
            .collect();
        ranked.sort_by_key(|(peer, score)| (std::cmp::Reverse(*score), *peer));
        ranked.truncate(n);
        ranked
    }

    /// Every tracked peer's score and standing, by identity.
    pub fn scores(&self) -> impl Iterator<Item = (NodeId, Score, Standing)> {
        self.peers.keys().map(|peer| (*peer, self.score(*peer), self.standing(*peer)))
    }

    /// All bans, by identity.
    pub fn bans(&self) -> impl Iterator<Item = &BanRecord> {
        self.bans.iter()
    }

    /// How many peers are tracked, at most [`TRACKED_MAX`].
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.peers.len()
    }
}
