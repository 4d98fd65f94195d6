//! What Peerstage must reach: ratios of figures in one run.

use crate::{
    cases::CASES,
    results::Results,
    stacks::{OURS, OURS_ACCELERATED},
};

/// What a figure is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Against {
    /// A stack's figure in the same case.
    Stack(&'static str),
    /// Nothing: the figure itself.
    Absolute,
}

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The case.
    pub case: &'static str,
    /// Which of our stacks.
    pub ours: &'static str,
    /// With what it is compared.
    pub against: Against,
    /// The most it may be.
    pub at_most: f64,
}

const CLASSICAL: &str = "peerstage-classical";
const ACCELERATED_CLASSICAL: &str = "peerstage-accelerated-classical";

const fn ratio(case: &'static str, ours: &'static str, peer: &'static str, at_most: f64) -> Target {
    Target { case, ours, against: Against::Stack(peer), at_most }
}

/// The table.
pub const TARGETS: &[Target] = &[
    ratio("bulk", OURS, "libp2p-tcp", 0.70),
    ratio("bulk", OURS, "commonware", 1.0),
    ratio("bulk", OURS_ACCELERATED, "commonware", 0.75),
    ratio("bulk", OURS_ACCELERATED, "snow-tcp", 0.75),
    ratio("bulk", OURS_ACCELERATED, "libp2p-tcp", 0.75),
    ratio("bulk", OURS_ACCELERATED, "libp2p-quic", 0.75),
    ratio("bulk", OURS_ACCELERATED, "litep2p", 0.75),
    ratio("bulk", OURS_ACCELERATED, "tentacle", 0.75),
    ratio("bulk", OURS_ACCELERATED, "quinn", 0.75),
    ratio("small", OURS, "commonware", 0.25),
    ratio("small", OURS, "litep2p", 0.15),
    ratio("small", OURS, "libp2p-tcp", 0.65),
    ratio("small", OURS_ACCELERATED, "commonware", 0.20),
    ratio("request-1", OURS, "libp2p-request-response", 0.40),
    ratio("request-1", OURS, "commonware", 0.90),
    ratio("request-1", OURS_ACCELERATED, "libp2p-request-response", 0.40),
    ratio("request-1", OURS_ACCELERATED, "commonware", 0.90),
    ratio("handshake-1", CLASSICAL, "libp2p-tcp", 0.55),
    ratio("handshake-1", OURS, "libp2p-tcp", 0.75),
    ratio("handshake-1", OURS_ACCELERATED, "libp2p-tcp", 0.45),
    ratio("handshake-32", CLASSICAL, "libp2p-tcp", 0.55),
    ratio("handshake-32", OURS, "libp2p-tcp", 0.75),
    ratio("handshake-32", OURS_ACCELERATED, "libp2p-tcp", 0.45),
    ratio("handshake-1", ACCELERATED_CLASSICAL, "libp2p-tcp", 0.55),
    Target { case: "idle", ours: OURS, against: Against::Absolute, at_most: 20.0 },
    Target { case: "idle", ours: OURS_ACCELERATED, against: Against::Absolute, at_most: 20.0 },
    ratio("blocks-16", OURS, "gossipsub-unsigned", 0.35),
    ratio("blocks-32", OURS, "gossipsub-unsigned", 0.35),
    ratio("blocks-16", OURS_ACCELERATED, "gossipsub-unsigned", 0.25),
    ratio("blocks-32", OURS_ACCELERATED, "gossipsub-unsigned", 0.25),
    ratio("transactions-16", OURS, "gossipsub-unsigned", 0.05),
    ratio("transactions-32", OURS, "gossipsub-unsigned", 0.05),
    ratio("transactions-16", OURS_ACCELERATED, "gossipsub-unsigned", 0.05),
    ratio("transactions-32", OURS_ACCELERATED, "gossipsub-unsigned", 0.05),
];

/// What became of a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It was reached, with this value.
    Reached(f64),
    /// It was missed, with this value.
    Missed(f64),
    /// One of the two figures is missing.
    Unknown,
}

impl Target {
    /// What became of it in these results.
    pub fn judge(&self, results: &Results) -> Outcome {
        let Some(case) = CASES.iter().find(|case| case.name == self.case) else {
            return Outcome::Unknown;
        };
        let median = |stack| results.figure(case, stack).map(|spread| spread.median);
        let value = match self.against {
            Against::Absolute => median(self.ours),
            Against::Stack(peer) => median(self.ours).zip(median(peer)).map(|(a, b)| a / b),
        };
        match value {
            None => Outcome::Unknown,
            Some(value) if value <= self.at_most => Outcome::Reached(value),
            Some(value) => Outcome::Missed(value),
        }
    }
}
