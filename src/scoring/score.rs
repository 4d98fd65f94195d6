//! Fixed-point numbers of a score: what it is made of and how it is written.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A score in thousandths of a point, so that sums replay exactly: -100.000 to 100.000.
///
/// Points with three decimals in readable formats, an `i32` of thousandths in binary ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(pub i32);

/// How a peer is treated, worst first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Disconnected and refused until the ban ends.
    Banned,
    /// Served and heard, but the first to lose its slot.
    Distrusted,
    /// What everybody starts as.
    #[default]
    Neutral,
    /// Good enough to carry selective relay.
    Relay,
    /// Earned over hours.
    Trusted,
}

/// The quantities that events move. The first six are the weighted categories of service
/// quality, `Faults` is the axis that bans, `Trust` is kept beside the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Round trips, measured by our own pings.
    Latency,
    /// Time connected.
    Uptime,
    /// Blocks brought, and how early.
    BlockPropagation,
    /// Transactions brought, and how early.
    TransactionRelay,
    /// Whether the peer proved to speak for a validator.
    ValidatorStatus,
    /// Requests answered, valid deliveries, the chain's own reports.
    Behaviour,
    /// Protocol faults, 0 to 100; only these ban.
    Faults,
    /// 0 to 1, in millionths.
    Trust,
}

/// Thousandths of a point in a point.
pub const POINT: i32 = 1_000;
/// The best score and the best value of a category, thousandths of a point.
pub const SCORE_MAX: i32 = 100 * POINT;
/// Trust 1.0, in millionths.
pub const TRUST_MAX: i32 = 1_000_000;

const AXES: usize = 8;
/// The largest sum that one line of a history may reach: a twentieth of an `i32`.
const MODERATE_MAX: u32 = 100_000_000;

/// One value per [`Axis`]: a peer's state, or the change an event made to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axes([i32; AXES]);

impl Axis {
    /// All of them.
    pub const ALL: [Axis; AXES] = [
        Axis::Latency,
        Axis::Uptime,
        Axis::BlockPropagation,
        Axis::TransactionRelay,
        Axis::ValidatorStatus,
        Axis::Behaviour,
        Axis::Faults,
        Axis::Trust,
    ];

    /// The six that are weighted into the score.
    pub const CATEGORIES: [Axis; 6] = [
        Axis::Latency,
        Axis::Uptime,
        Axis::BlockPropagation,
        Axis::TransactionRelay,
        Axis::ValidatorStatus,
        Axis::Behaviour,
    ];

    /// The name in configuration, logs and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Axis::Latency => "latency",
            Axis::Uptime => "uptime",
            Axis::BlockPropagation => "block_propagation",
            Axis::TransactionRelay => "transaction_relay",
            Axis::ValidatorStatus => "validator_status",
            Axis::Behaviour => "behaviour",
            Axis::Faults => "faults",
            Axis::Trust => "trust",
        }
    }

    /// Least and greatest value, in the axis' own unit.
    #[must_use]
    pub const fn limits(self) -> (i32, i32) {
        match self {
            Axis::Faults => (0, SCORE_MAX),
            Axis::Trust => (0, TRUST_MAX),
            _ => (-SCORE_MAX, SCORE_MAX),
        }
    }
}

impl Axes {
    /// Everything neutral, with this trust (millionths).
    #[must_use]
    pub fn neutral(trust: i32) -> Self {
        let mut axes = Axes::default();
        axes.add(Axis::Trust, i64::from(trust));
        axes
    }

    /// The value of one axis.
    #[must_use]
    pub const fn get(&self, axis: Axis) -> i32 {
        self.0[axis as usize]
    }

    /// Moves one axis within its limits and tells by how much it really moved.
    pub fn add(&mut self, axis: Axis, delta: i64) -> i32 {
        let (min, max) = axis.limits();
        let before = self.get(axis);
        let wanted = i64::from(before).saturating_add(delta);
        let after = i32::try_from(wanted.clamp(i64::from(min), i64::from(max))).unwrap_or(before);
        self.0[axis as usize] = after;
        after.saturating_sub(before)
    }

    /// The sum, axis by axis: how changes accumulate. Not held to the limits.
    #[must_use]
    pub fn plus(&self, change: &Axes) -> Axes {
        let mut sum = *self;
        for axis in Axis::ALL {
            sum.0[axis as usize] = sum.get(axis).saturating_add(change.get(axis));
        }
        sum
    }

    /// This state with one axis' change noted, for building up a change.
    pub(super) fn note(&mut self, axis: Axis, moved: i32) {
        self.0[axis as usize] = self.get(axis).saturating_add(moved);
    }

    /// Whether nothing differs from zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|value| *value == 0)
    }

    /// Whether every value is so small that dozens of them sum up without saturating.
    pub(super) fn is_moderate(&self) -> bool {
        self.0.iter().all(|value| value.unsigned_abs() <= MODERATE_MAX)
    }

    /// Whether every axis is within its limits.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        Axis::ALL.iter().all(|axis| {
            let (min, max) = axis.limits();
            (min..=max).contains(&self.get(*axis))
        })
    }

    /// The nearest state within the limits.
    #[must_use]
    pub fn clamped(&self) -> Axes {
        let mut axes = *self;
        for axis in Axis::ALL {
            axes.add(axis, 0);
        }
        axes
    }
}

impl Score {
    /// The score of this many points, rounded to thousandths and held to -100..100; not a number
    /// counts as 0.
    #[must_use]
    pub fn from_points(points: f64) -> Self {
        let thousandths = (points * f64::from(POINT)).round();
        let max = f64::from(SCORE_MAX);
        // A float cast saturates and maps NaN to 0; after the clamp it is exact.
        Score(thousandths.clamp(-max, max) as i32)
    }

    /// In points.
    #[must_use]
    pub fn points(self) -> f64 {
        f64::from(self.0) / f64::from(POINT)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        f.pad(&format!("{sign}{}.{:03}", size / POINT.unsigned_abs(), size % POINT.unsigned_abs()))
    }
}

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(self.points())
        } else {
            serializer.serialize_i32(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            f64::deserialize(deserializer).map(Score::from_points)
        } else {
            i32::deserialize(deserializer).map(|raw| Score(raw.clamp(-SCORE_MAX, SCORE_MAX)))
        }
    }
}

impl Standing {
    /// The name in logs and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Standing::Banned => "banned",
            Standing::Distrusted => "distrusted",
            Standing::Neutral => "neutral",
            Standing::Relay => "relay",
            Standing::Trusted => "trusted",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_stays_within_its_limits_and_tells_what_moved() {
        let mut axes = Axes::neutral(TRUST_MAX / 2);
        assert_eq!(axes.add(Axis::Latency, i64::MAX), SCORE_MAX);
        assert_eq!(axes.add(Axis::Latency, i64::MIN), -2 * SCORE_MAX);
        assert_eq!(axes.add(Axis::Faults, -5), 0);
        assert_eq!(axes.add(Axis::Trust, i64::from(TRUST_MAX)), TRUST_MAX / 2);
        assert!(axes.is_within_limits());
    }

    #[test]
    fn scores_are_written_in_points() {
        assert_eq!(Score(-250).to_string(), "-0.250");
        assert_eq!(Score(12_345).to_string(), "12.345");
        assert_eq!(serde_json::to_string(&Score(12_345)).unwrap(), "12.345");
        assert_eq!(serde_json::from_str::<Score>("-50").unwrap(), Score(-50_000));
        assert_eq!(Score::from_points(f64::NAN), Score(0));
        assert_eq!(Score::from_points(f64::INFINITY), Score(SCORE_MAX));
    }

    #[test]
    fn every_axis_has_its_own_cell() {
        for (index, axis) in Axis::ALL.iter().enumerate() {
            assert_eq!(*axis as usize, index);
        }
    }
}
