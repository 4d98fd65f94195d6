//! The sections about how peers are judged: scores and trust.

use super::{Span, schema::section};

section! {
    /// How peers are scored, from -100 to 100. A total is the weighted sum of six categories,
    /// each from -100 to 100.
    pub struct Scoring in scoring {
        /// How often scores move towards neutral, so that good standing is earned again.
        pub decay_period: Span = Span::hours(1), in Span::seconds(1) => Span::hours(24 * 365);
        /// What remains of a score after a period. 0.95: half is left after 13.5 periods.
        pub decay_factor: f64 = 0.95, in 0.0 => 1.0;
        /// Events remembered for each peer, for `explain`; older ones are summed up. An
        /// estimate of 96 bytes each: the upper bound is 400 MB for 4,096 peers.
        pub history_limit: u32 = 100, in 1 => 1_000;
        /// The weight of latency, as measured by this node's own pings. The six weights sum
        /// to 1.
        pub weight_latency: f64 = 0.20, in 0.0 => 1.0;
        /// The weight of uptime, counted while connected.
        pub weight_uptime: f64 = 0.20, in 0.0 => 1.0;
        /// The weight of bringing blocks early.
        pub weight_block_propagation: f64 = 0.25, in 0.0 => 1.0;
        /// The weight of bringing transactions early.
        pub weight_transaction_relay: f64 = 0.15, in 0.0 => 1.0;
        /// The weight of being a proven validator.
        pub weight_validator_status: f64 = 0.10, in 0.0 => 1.0;
        /// The weight of keeping to the rules.
        pub weight_behaviour: f64 = 0.10, in 0.0 => 1.0;
        /// From this score on a peer is trusted.
        pub trusted_threshold: f64 = 75.0, in -100.0 => 100.0;
        /// From this score on a peer is relayed to in selective mode.
        pub relay_threshold: f64 = 50.0, in -100.0 => 100.0;
        /// At this score a peer is distrusted, as long as it isn't banned. A guess: half of a ban.
        pub distrusted_threshold: f64 = -25.0, in -100.0 => -1.0;
        /// At this score a peer is banned, if it broke rules; slowness alone never bans.
        pub ban_threshold: f64 = -50.0, in -100.0 => -1.0;
        /// How far a score must move back across a threshold to lose what it gave, so that a
        /// peer at the edge doesn't flap. A guess, about one serious event.
        pub hysteresis: f64 = 5.0, in 1.0 => 50.0;
        /// How long a ban lasts. Bitcoin's number.
        pub ban_duration: Span = Span::hours(24), in Span::seconds(1) => Span::hours(24 * 365);
        /// Peers that are kept whatever their score: nobody is banned automatically while only
        /// this many are connected, so that no trick can leave a node alone. A guess: a
        /// majority of two against one liar.
        pub ban_floor: u32 = 3, in 0 => 10_000;
        /// Banned identities of one host (an IPv4 address, an IPv6 /64) before all of it is
        /// refused. Lighthouse's number.
        pub banned_per_host: u32 = 5, in 1 => 10_000;
        /// Banned identities of one network group before all of it is refused. A guess.
        pub banned_per_group: u32 = 32, in 1 => 10_000;
    }
}

section! {
    /// How far peers are believed when they recommend others, from 0 to 1.
    pub struct Trust in trust {
        /// What a stranger starts with.
        pub initial: f64 = 0.5, in 0.0 => 1.0;
        /// A peer below this isn't listened to when it recommends others. A guess: two
        /// invalid messages below the start.
        pub minimum: f64 = 0.3, in 0.0 => 1.0;
        /// The part of the distance to the initial value that trust moves back in an interval.
        pub decay: f64 = 0.01, in 0.0 => 1.0;
        /// How often trust moves back. As often as scores decay.
        pub decay_interval: Span = Span::hours(1), in Span::seconds(1) => Span::hours(24 * 365);
        /// Added for a valid message.
        pub valid: f64 = 0.001, in 0.0 => 1.0;
        /// Added for an invalid message, so negative: a hundred valid ones make up for it.
        pub invalid: f64 = -0.1, in -1.0 => 0.0;
        /// Added for a request without an answer, so negative: half as bad as a lie.
        pub timeout: f64 = -0.05, in -1.0 => 0.0;
    }
}
