//! The knobs of scoring as the operator writes them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::facts::Fault;
use crate::time::Millis;

/// The section `scoring` of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoringConfig {
    /// How often scores decay, ms.
    pub decay_period_ms: Millis,
    /// What is left of a score after a period, 0 to 1.
    pub decay_factor: f64,
    /// Events kept per peer; older ones are summed up, so nothing is lost but the detail.
    pub history_limit: usize,
    /// What each category counts; they sum to 1.
    pub weights: Weights,
    /// Where a peer's standing changes, points.
    pub thresholds: Thresholds,
    /// The trust beside the score.
    pub trust: TrustConfig,
    /// How long a ban lasts, ms.
    pub ban_duration_ms: Millis,
    /// No automatic ban that would leave fewer connected well-behaved peers than this.
    pub ban_floor: usize,
    /// Banned identities of one host (IPv4 address or IPv6 /64) before all of it is refused.
    pub banned_per_host: usize,
    /// Banned identities of one network group (/16 or /32) before all of it is refused.
    pub banned_per_group: usize,
    /// Whether private and loopback addresses count towards the two limits above.
    pub count_private: bool,
    /// Faults that are counted and explained, but cost nothing: rules on trial.
    pub shadow: BTreeSet<Fault>,
}

/// What each category counts in the score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // The categories are documented at `Axis`.
pub struct Weights {
    pub latency: f64,
    pub uptime: f64,
    pub block_propagation: f64,
    pub transaction_relay: f64,
    pub validator_status: f64,
    pub behaviour: f64,
}

/// Where a peer's standing changes, points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Trusted from here on.
    pub trusted: f64,
    /// Used for selective relay from here on.
    pub relay: f64,
    /// Distrusted from here downwards.
    pub distrusted: f64,
    /// Banned from here downwards.
    pub ban: f64,
    /// How far back a score must go before a standing is lost or a stain forgotten.
    pub hysteresis: f64,
}

/// Trust: 0 to 1, slow to earn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrustConfig {
    /// A newcomer's.
    pub initial: f64,
    /// A peer trusted less than this recommends in vain.
    pub minimum: f64,
    /// The part of the distance to `initial` that is lost in an interval.
    pub decay: f64,
    /// The interval, ms; also the epoch in which recommendations are counted.
    pub interval_ms: Millis,
    /// Added for a valid message.
    pub valid: f64,
    /// Added for a fault; negative.
    pub invalid: f64,
    /// Added for a request without an answer; negative.
    pub timeout: f64,
}

/// One hour.
const HOUR_MS: Millis = 60 * 60 * 1000;
/// The longest history a configuration may ask for: 4096 peers x 1000 events x 96 B = 400 MB.
pub const HISTORY_LIMIT_MAX: usize = 1_000;

impl Default for ScoringConfig {
    fn default() -> Self {
        ScoringConfig {
            decay_period_ms: HOUR_MS,
            decay_factor: 0.95,
            history_limit: 100,
            weights: Weights::default(),
            thresholds: Thresholds::default(),
            trust: TrustConfig::default(),
            ban_duration_ms: 24 * HOUR_MS,
            ban_floor: 3,
            banned_per_host: 5,
            banned_per_group: 32,
            count_private: false,
            shadow: BTreeSet::new(),
        }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Weights {
            latency: 0.20,
            uptime: 0.20,
            block_propagation: 0.25,
            transaction_relay: 0.15,
            validator_status: 0.10,
            behaviour: 0.10,
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { trusted: 75.0, relay: 50.0, distrusted: -25.0, ban: -50.0, hysteresis: 5.0 }
    }
}

impl Default for TrustConfig {
    fn default() -> Self {
        TrustConfig {
            initial: 0.5,
            minimum: 0.3,
            decay: 0.01,
            interval_ms: HOUR_MS,
            valid: 0.001,
            invalid: -0.1,
            timeout: -0.05,
        }
    }
}

/// Why a configuration can't work.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// A weight is negative or not a number, or they do not sum to 1.
    #[error("the six weights must each be 0 to 1 and sum to 1; they sum to {sum}")]
    Weights {
        /// What they sum to.
        sum: f64,
    },
    /// Thresholds out of order.
    #[error(
        "thresholds must be ordered -100 <= ban < distrusted < 0 < relay < trusted <= 100 points"
    )]
    Order,
    /// Standings would overlap.
    #[error(
        "hysteresis must be 1 point or more and less than half the least distance between thresholds"
    )]
    Hysteresis,
    /// A fraction outside its range.
    #[error("{name} must be {from} to {to}, not {value}")]
    Range {
        /// The key.
        name: &'static str,
        /// Least value.
        from: f64,
        /// Greatest value.
        to: f64,
        /// What was given.
        value: f64,
    },
    /// A count or duration that must not be zero.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// History too long to hold.
    #[error("history_limit must be 1 to {HISTORY_LIMIT_MAX} events, not {0}")]
    History(usize),
}

impl ScoringConfig {
    /// Whether these numbers can work together.
    ///
    /// # Errors
    /// [`PolicyError`] with the first thing that can't.
    pub fn validate(&self) -> Result<(), PolicyError> {
        self.validate_weights()?;
        self.validate_thresholds()?;
        let trust = &self.trust;
        for (name, value, from, to) in [
            ("decay_factor", self.decay_factor, 0.0, 1.0),
            ("trust.initial", trust.initial, 0.0, 1.0),
            ("trust.minimum", trust.minimum, 0.0, 1.0),
            ("trust.decay", trust.decay, 0.0, 1.0),
            ("trust.valid", trust.valid, 0.0, 1.0),
            ("trust.invalid", trust.invalid, -1.0, 0.0),
            ("trust.timeout", trust.timeout, -1.0, 0.0),
        ] {
            if !(from..=to).contains(&value) {
                return Err(PolicyError::Range { name, from, to, value });
            }
        }
        for (name, zero) in [
            ("decay_period_ms", self.decay_period_ms == 0),
            ("trust.interval_ms", trust.interval_ms == 0),
            ("ban_duration_ms", self.ban_duration_ms == 0),
            ("banned_per_host", self.banned_per_host == 0),
            ("banned_per_group", self.banned_per_group == 0),
        ] {
            if zero {
                return Err(PolicyError::Zero(name));
            }
        }
        match self.history_limit {
            1..=HISTORY_LIMIT_MAX => Ok(()),
            other => Err(PolicyError::History(other)),
        }
    }

    fn validate_weights(&self) -> Result<(), PolicyError> {
        let weights = self.weights.in_order();
        let sum: f64 = weights.iter().sum();
        let each = weights.iter().all(|weight| (0.0..=1.0).contains(weight));
        // Written with decimals, so compared to the sixth: the unit the machine counts in.
        if each && (sum - 1.0).abs() < 1e-6 { Ok(()) } else { Err(PolicyError::Weights { sum }) }
    }

    fn validate_thresholds(&self) -> Result<(), PolicyError> {
        let Thresholds { trusted, relay, distrusted, ban, hysteresis } = self.thresholds;
        let ordered = -100.0 <= ban
            && ban < distrusted
            && distrusted < 0.0
            && 0.0 < relay
            && relay < trusted
            && trusted <= 100.0;
        if !ordered {
            return Err(PolicyError::Order);
        }
        let gap = (trusted - relay).min(relay).min(-distrusted).min(distrusted - ban);
        if (1.0..gap / 2.0).contains(&hysteresis) { Ok(()) } else { Err(PolicyError::Hysteresis) }
    }
}

impl Weights {
    /// In the order of [`Axis::CATEGORIES`].
    pub(super) fn in_order(&self) -> [f64; 6] {
        [
            self.latency,
            self.uptime,
            self.block_propagation,
            self.transaction_relay,
            self.validator_status,
            self.behaviour,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_reads_itself_back() {
        let config = ScoringConfig::default();
        assert_eq!(config.validate(), Ok(()));
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<ScoringConfig>(&text).unwrap(), config);
        assert_eq!(toml::from_str::<ScoringConfig>("").unwrap(), config);
        assert!(toml::from_str::<ScoringConfig>("decay = 1").is_err());
        assert!(toml::from_str::<ScoringConfig>("shadow = [\"spamm\"]").is_err());
    }

    #[test]
    fn every_impossible_configuration_is_named() {
        let refused = |change: fn(&mut ScoringConfig)| {
            let mut config = ScoringConfig::default();
            change(&mut config);
            config.validate().unwrap_err()
        };
        assert!(matches!(refused(|c| c.weights.latency = 0.3), PolicyError::Weights { .. }));
        assert!(matches!(refused(|c| c.weights.uptime = f64::NAN), PolicyError::Weights { .. }));
        assert_eq!(refused(|c| c.thresholds.relay = 80.0), PolicyError::Order);
        assert_eq!(refused(|c| c.thresholds.ban = f64::NAN), PolicyError::Order);
        assert_eq!(refused(|c| c.thresholds.hysteresis = 13.0), PolicyError::Hysteresis);
        assert_eq!(refused(|c| c.thresholds.hysteresis = 0.0), PolicyError::Hysteresis);
        assert!(matches!(refused(|c| c.decay_factor = 1.1), PolicyError::Range { .. }));
        assert!(matches!(refused(|c| c.trust.invalid = 0.1), PolicyError::Range { .. }));
        assert_eq!(refused(|c| c.decay_period_ms = 0), PolicyError::Zero("decay_period_ms"));
        assert_eq!(refused(|c| c.history_limit = 0), PolicyError::History(0));
    }
}
