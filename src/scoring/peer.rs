//! What is known of one peer: its state, how it came about, and how it serves.

use std::collections::BTreeSet;

use super::{
    history::{Cause, History},
    policy::{MILLION, Policy},
    score::{Axes, Axis, SCORE_MAX, Score, Standing},
};
use crate::{address::Address, identity::NodeId, time::Time};

/// One tracked peer.
#[derive(Clone, Debug)]
pub(super) struct TrackedPeer {
    pub(super) axes: Axes,
    pub(super) history: History,
    pub(super) standing: Standing,
    pub(super) address: Option<Address>,
    pub(super) outbound: bool,
    /// Up to when uptime was counted, while connected.
    pub(super) connected: Option<Session>,
    pub(super) last_seen: Time,
    pub(super) validator: bool,
    /// The score that was last told.
    pub(super) told: Score,
    /// The score when the period began, for the trend.
    pub(super) score_before: Score,
    /// Requests that went well.
    pub(super) served: u32,
    /// Requests that did not.
    pub(super) failed: u32,
    /// Whom this peer recommended in this epoch.
    pub(super) recommended: BTreeSet<NodeId>,
    /// Trust gained by recommendations in this epoch, millionths.
    pub(super) boosted: i64,
}

/// A live connection, for counting uptime.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) since: Time,
    pub(super) counted: Time,
}

impl TrackedPeer {
    pub(super) fn new(now: Time, policy: &Policy) -> Self {
        let axes = Axes::neutral(policy.trust_initial);
        TrackedPeer {
            axes,
            history: History::starting_at(axes),
            standing: Standing::Neutral,
            address: None,
            outbound: false,
            connected: None,
            last_seen: now,
            validator: false,
            told: Score(0),
            score_before: Score(0),
            served: 0,
            failed: 0,
            recommended: BTreeSet::new(),
            boosted: 0,
        }
    }

    /// Moves the axes so many `times` and writes down what really moved. A routine event that
    /// moved nothing leaves no line and isn't counted: past an axis' limit the rest of the times
    /// did not happen.
    pub(super) fn change(
        &mut self,
        now: Time,
        cause: Cause,
        changes: &[(Axis, i64)],
        times: u32,
        limit: usize,
    ) -> Axes {
        let mut moved = Axes::default();
        let mut moving = 0;
        for (axis, delta) in changes {
            // The same change over and over goes one way, so its limit cuts off the sum as well.
            let by = self.axes.add(*axis, delta.saturating_mul(i64::from(times)));
            moved.note(*axis, by);
            let steps = u64::from(by.unsigned_abs()).div_ceil(delta.unsigned_abs().max(1));
            moving = moving.max(u32::try_from(steps).unwrap_or(u32::MAX));
        }
        let routine = cause.is_routine();
        let times = if routine { moving.min(times) } else { times };
        let silent =
            moved.is_zero() && (routine || matches!(cause, Cause::Decay | Cause::TrustDecay));
        if !silent {
            self.history.record(now, cause, moved, times, limit);
        }
        moved
    }

    /// Whether it is as good as a stranger.
    pub(super) fn is_blank(&self, policy: &Policy) -> bool {
        self.axes == Axes::neutral(policy.trust_initial)
    }

    /// One or more periods gone by: every category and the faults lose their part. A proven
    /// validator keeps its status while it is connected. Tells whether anything moved.
    pub(super) fn decay(&mut self, now: Time, periods: u32, policy: &Policy) -> bool {
        self.score_before = policy.score(&self.axes);
        let mut changes = Vec::with_capacity(Axis::ALL.len());
        for axis in Axis::ALL {
            let keeps = axis == Axis::ValidatorStatus && self.validator;
            if axis == Axis::Trust || keeps {
                continue;
            }
            let before = i64::from(self.axes.get(axis));
            changes.push((axis, decayed(before, periods, policy.decay_factor) - before));
        }
        !self.change(now, Cause::Decay, &changes, 1, policy.config.history_limit).is_zero()
    }

    /// One or more intervals gone by: trust returns towards its initial value, and a new epoch
    /// of recommendations begins.
    pub(super) fn decay_trust(&mut self, now: Time, intervals: u32, policy: &Policy) {
        self.recommended.clear();
        self.boosted = 0;
        let initial = i64::from(policy.trust_initial);
        let before = i64::from(self.axes.get(Axis::Trust)) - initial;
        let change = decayed(before, intervals, MILLION - policy.trust_decay) - before;
        let limit = policy.config.history_limit;
        self.change(now, Cause::TrustDecay, &[(Axis::Trust, change)], 1, limit);
    }

    /// 0 to 1, in millionths: 0.6 trust + 0.2 trend of the score over the period + 0.2 share of
    /// requests that went well (Laplace's rule, so that a stranger has one half).
    pub(super) fn reputation(&self, policy: &Policy) -> i64 {
        let trust = i64::from(self.axes.get(Axis::Trust));
        let rise = i64::from(policy.score(&self.axes).0) - i64::from(self.score_before.0);
        let span = i64::from(SCORE_MAX);
        let trend = (rise.clamp(-span, span) + span) * MILLION / (2 * span);
        let (served, failed) = (i64::from(self.served), i64::from(self.failed));
        let service = (served + 1) * MILLION / (served + failed + 2);
        (6 * trust + 2 * trend + 2 * service) / 10
    }
}

/// What is left after this many periods of a factor in millionths, rounded towards neutral so
/// that it gets there.
pub(super) fn decayed(value: i64, periods: u32, factor: i64) -> i64 {
    let mut value = value;
    for _ in 0..periods {
        if value == 0 {
            break;
        }
        let next = value * factor / MILLION;
        if next == value {
            break;
        }
        value = next;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decay_reaches_neutral_and_never_passes_it() {
        assert_eq!(decayed(100_000, 1, 950_000), 95_000);
        assert_eq!(decayed(-100_000, 2, 950_000), -90_250);
        assert_eq!(decayed(-100_000, u32::MAX, 950_000), 0);
        assert_eq!(decayed(7, u32::MAX, MILLION), 7);
        assert_eq!(decayed(7, u32::MAX, 0), 0);
    }
}
