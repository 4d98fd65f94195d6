//! What of the scores outlives a restart.

use serde::{Deserialize, Serialize};

use super::{
    Action, Scoring,
    bans::BanRecord,
    history::History,
    peer::TrackedPeer,
    score::{Axis, Score, Standing},
};
use crate::{address::Address, identity::NodeId, time::Time};

/// One peer's score, as it is stored: the history is the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreRecord {
    /// Whose.
    pub peer: NodeId,
    /// Where it was last connected.
    pub address: Option<Address>,
    /// When it last did anything.
    pub last_seen: Time,
    /// When this was written; what was due since decays on reading.
    pub written: Time,
    /// The standing, for its hysteresis.
    pub standing: Standing,
    /// Requests that went well.
    pub served: u32,
    /// Requests that did not.
    pub failed: u32,
    /// The base and the events that the score follows from.
    pub history: History,
}

impl Scoring {
    /// What the store still knew after a restart. Damaged numbers are held to their limits, too
    /// many records are left out, periods that went by decay.
    pub fn on_restored(
        &mut self,
        now: Time,
        bans: Vec<BanRecord>,
        scores: Vec<ScoreRecord>,
        out: &mut Vec<Action>,
    ) {
        for record in scores {
            self.restore_score(now, record);
        }
        for ban in bans {
            let stored = ban.until;
            let ban = ban.restored(now);
            let (peer, moved) = (ban.peer, ban.until != stored);
            if moved {
                out.push(Action::PersistBan(ban.clone()));
            }
            if let Some(other) = self.bans.insert(ban) {
                out.push(Action::ForgetBan(other));
            }
            self.tell(peer, out);
        }
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for peer in peers {
            let faults = self.peers.get(&peer).map_or(0, |t| t.axes.get(Axis::Faults));
            if faults >= self.policy.fault_line && self.bans.get(&peer).is_none() {
                // Its ban was lifted, or served, just before we stopped: not banned again for
                // the same faults.
                self.serve_out(now, peer, out);
            }
            self.settle(now, peer, out);
        }
    }

    fn restore_score(&mut self, now: Time, record: ScoreRecord) {
        let full = self.peers.len() >= super::TRACKED_MAX;
        if full || self.peers.contains_key(&record.peer) {
            return;
        }
        let mut tracked = TrackedPeer::new(now, &self.policy);
        tracked.history = record.history.restored(self.policy.config.history_limit);
        tracked.axes = tracked.history.outcome();
        tracked.address = record.address;
        tracked.last_seen = record.last_seen.min(now);
        tracked.standing = record.standing.max(Standing::Distrusted);
        tracked.served = record.served;
        tracked.failed = record.failed;
        let away = now.since(record.written);
        let whole = |period: u64| u32::try_from(away / period.max(1)).unwrap_or(u32::MAX);
        let (periods, intervals) = (
            whole(self.policy.config.decay_period_ms),
            whole(self.policy.config.trust.interval_ms),
        );
        if periods > 0 {
            tracked.decay(now, periods, &self.policy);
        }
        if intervals > 0 {
            tracked.decay_trust(now, intervals, &self.policy);
        }
        tracked.score_before = self.policy.score(&tracked.axes);
        self.peers.insert(record.peer, tracked);
    }

    /// One peer as it would be stored.
    #[must_use]
    pub fn record(&self, now: Time, peer: NodeId) -> Option<ScoreRecord> {
        self.peers.get(&peer).map(|tracked| ScoreRecord {
            peer,
            address: tracked.address,
            last_seen: tracked.last_seen,
            written: now,
            standing: tracked.standing,
            served: tracked.served,
            failed: tracked.failed,
            history: tracked.history.clone(),
        })
    }

    pub(super) fn persist(&self, now: Time, peer: NodeId, out: &mut Vec<Action>) {
        if let Some(record) = self.record(now, peer) {
            out.push(Action::PersistScore(Box::new(record)));
        }
    }
}

impl ScoreRecord {
    /// The score this record stands for under a policy.
    #[must_use]
    pub fn score(&self, policy: &super::Policy) -> Score {
        policy.score(&self.history.outcome().clamped())
    }
}
