//! What time does: uptime, decay, trust, the end of bans.

use super::{Action, Scoring, facts::UPTIME_PER_MINUTE, history::Cause, score::Axis};
use crate::{
    identity::NodeId,
    time::{Millis, Time, earliest},
};

/// One minute: how often uptime is counted.
pub(super) const MINUTE_MS: Millis = 60 * 1000;
/// Minutes counted at most in one go. After a longer gap we were the ones who were away.
const MINUTES_MAX: u64 = 2;
/// Periods made up for at most after a gap: any factor below 0.99 is at neutral by then.
const PERIODS_MAX: u32 = 2_000;

impl Scoring {
    /// When [`Scoring::on_deadline`] wants to be called; `None` while there is nobody to score.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.peers.is_empty() {
            return self.bans.next_ending();
        }
        let connected = self.peers.values().any(|tracked| tracked.connected.is_some());
        let minute = connected.then_some(self.next_minute);
        let periods = Some(self.next_decay.min(self.next_trust));
        earliest(earliest(minute, periods), self.bans.next_ending())
    }

    /// Time went by.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        if now >= self.next_minute {
            self.next_minute = now.plus(MINUTE_MS);
            for peer in self.everybody() {
                self.count_uptime(now, peer, out);
            }
        }
        let period = self.policy.config.decay_period_ms;
        if let Some(periods) = periods_gone(now, &mut self.next_decay, period) {
            for peer in self.everybody() {
                self.decay(now, peer, periods, out);
            }
        }
        let interval = self.policy.config.trust.interval_ms;
        if let Some(intervals) = periods_gone(now, &mut self.next_trust, interval) {
            for tracked in self.peers.values_mut() {
                tracked.decay_trust(now, intervals, &self.policy);
            }
        }
        while let Some(ban) = self.bans.take_ended(now) {
            out.extend([Action::Unban { peer: ban.peer }, Action::ForgetBan(ban.peer)]);
            self.serve_out(now, ban.peer, out);
        }
    }

    fn decay(&mut self, now: Time, peer: NodeId, periods: u32, out: &mut Vec<Action>) {
        let Some(tracked) = self.peers.get_mut(&peer) else { return };
        let away = tracked.connected.is_none();
        let moved = tracked.decay(now, periods, &self.policy);
        if away && tracked.is_blank(&self.policy) && self.bans.get(&peer).is_none() {
            self.peers.remove(&peer);
            out.push(Action::ForgetScore(peer));
        } else if moved {
            self.settle(now, peer, out);
            // What is stored of a peer that is away decays when it is read.
            if !away {
                self.persist(now, peer, out);
            }
        }
    }

    fn everybody(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    /// Whole minutes connected since they were last counted.
    pub(super) fn count_uptime(&mut self, now: Time, peer: NodeId, out: &mut Vec<Action>) {
        let Some(session) = self.peers.get_mut(&peer).and_then(|t| t.connected.as_mut()) else {
            return;
        };
        let minutes = now.since(session.counted) / MINUTE_MS;
        if minutes == 0 {
            return;
        }
        session.counted = session.counted.plus(minutes.saturating_mul(MINUTE_MS));
        let counted = i64::try_from(minutes.min(MINUTES_MAX)).unwrap_or(0);
        let change = [(Axis::Uptime, counted * UPTIME_PER_MINUTE)];
        self.update(now, peer, Cause::Connected, &change, out);
    }
}

/// How many periods ended by `now`, at least one; moves `next` to the end of the running one. A
/// machine that was stopped for long makes up for all of them at once (attack row 51).
fn periods_gone(now: Time, next: &mut Time, period: Millis) -> Option<u32> {
    if now < *next {
        return None;
    }
    let gone = (now.since(*next) / period.max(1)).saturating_add(1);
    *next = next.plus(gone.saturating_mul(period));
    Some(u32::try_from(gone).unwrap_or(PERIODS_MAX).min(PERIODS_MAX))
}
