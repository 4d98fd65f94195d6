//! The rules in the integers that the machine counts with: how a score, a standing and a ban
//! follow from what was written down about a peer.

use super::{
    config::{PolicyError, ScoringConfig},
    facts::Fault,
    score::{Axes, Axis, POINT, SCORE_MAX, Score, Standing, TRUST_MAX},
};

/// A validated configuration in the integers the machine counts with, so that every sum replays
/// exactly on every machine.
#[derive(Clone, Debug)]
pub struct Policy {
    /// As it was written.
    pub(super) config: ScoringConfig,
    /// Millionths, in the order of [`Axis::CATEGORIES`].
    weights: [i64; 6],
    /// Millionths.
    pub(super) decay_factor: i64,
    trusted: i32,
    relay: i32,
    distrusted: i32,
    hysteresis: i32,
    /// Fault points that ban, thousandths; positive.
    pub(super) fault_line: i32,
    /// Millionths, as the six that follow.
    pub(super) trust_initial: i32,
    pub(super) trust_minimum: i32,
    pub(super) trust_decay: i64,
    pub(super) trust_valid: i64,
    pub(super) trust_invalid: i64,
    pub(super) trust_timeout: i64,
}

/// One million: the unit of weights, factors and trust.
pub(super) const MILLION: i64 = 1_000_000;

fn millionths(fraction: f64) -> i64 {
    (fraction * MILLION as f64).round() as i64
}

impl Policy {
    /// Checks a configuration and counts it out.
    ///
    /// # Errors
    /// [`PolicyError`] as [`ScoringConfig::validate`].
    pub fn new(config: ScoringConfig) -> Result<Self, PolicyError> {
        config.validate()?;
        let trust = &config.trust;
        let unit = |fraction: f64| i32::try_from(millionths(fraction)).unwrap_or(TRUST_MAX);
        Ok(Policy {
            weights: config.weights.in_order().map(millionths),
            decay_factor: millionths(config.decay_factor),
            trusted: Score::from_points(config.thresholds.trusted).0,
            relay: Score::from_points(config.thresholds.relay).0,
            distrusted: Score::from_points(config.thresholds.distrusted).0,
            hysteresis: Score::from_points(config.thresholds.hysteresis).0,
            fault_line: -Score::from_points(config.thresholds.ban).0,
            trust_initial: unit(trust.initial),
            trust_minimum: unit(trust.minimum),
            trust_decay: millionths(trust.decay),
            trust_valid: millionths(trust.valid),
            trust_invalid: millionths(trust.invalid),
            trust_timeout: millionths(trust.timeout),
            config,
        })
    }

    /// The weight of a category, millionths; 0 for the other axes.
    pub(super) fn weight(&self, axis: Axis) -> i64 {
        self.weights.get(axis as usize).copied().unwrap_or(0)
    }

    /// What a category contributes to the score, thousandths of a point.
    pub(super) fn contribution(&self, axes: &Axes, axis: Axis) -> i64 {
        self.weight(axis) * i64::from(axes.get(axis)) / MILLION
    }

    /// The weighted service quality. It ends one hysteresis above the ban line: however badly a
    /// peer serves, that alone never bans.
    pub(super) fn service(&self, axes: &Axes) -> i64 {
        let sum: i64 = Axis::CATEGORIES.iter().map(|axis| self.contribution(axes, *axis)).sum();
        let floor = i64::from(self.hysteresis.max(POINT)) - i64::from(self.fault_line);
        sum.clamp(floor, i64::from(SCORE_MAX))
    }

    /// The score. Faults count in full, and service counts less the more faults there are:
    /// `service x (line - faults) / line - faults`. So the score is at or below the ban line
    /// exactly when the faults alone are, however good or bad the service was.
    #[must_use]
    pub fn score(&self, axes: &Axes) -> Score {
        let (line, faults) = (i64::from(self.fault_line), i64::from(axes.get(Axis::Faults)));
        let left = (line - faults).max(0);
        let score = self.service(axes) * left / line - faults;
        let max = i64::from(SCORE_MAX);
        Score(i32::try_from(score.clamp(-max, max)).unwrap_or(0))
    }

    /// The standing of a score that had this standing before (hysteresis); never banned: that is
    /// the ban book's to say.
    pub(super) fn standing(&self, score: Score, before: Standing) -> Standing {
        let lower = |line: i32, standing: Standing| {
            if before >= standing { line - self.hysteresis } else { line }
        };
        let stained = if before <= Standing::Distrusted { self.hysteresis } else { 0 };
        if score.0 >= lower(self.trusted, Standing::Trusted) {
            Standing::Trusted
        } else if score.0 >= lower(self.relay, Standing::Relay) {
            Standing::Relay
        } else if score.0 > self.distrusted + stained {
            Standing::Neutral
        } else {
            Standing::Distrusted
        }
    }

    /// The fault points a served ban leaves: two hysteresis below the line, on probation.
    pub(super) fn probation(&self) -> i32 {
        (self.fault_line - 2 * self.hysteresis).max(0)
    }

    /// How many such faults, one after the other, ban from these fault points; at least 1, as a
    /// ban waits for a fault. `None` for a rule on trial.
    #[must_use]
    pub fn events_to_ban(&self, fault: Fault, faults: i32) -> Option<u32> {
        let missing = self.fault_line.saturating_sub(faults).max(1);
        let events = missing.unsigned_abs().div_ceil(fault.cost().unsigned_abs().max(1));
        (!self.config.shadow.contains(&fault)).then_some(events)
    }
}
