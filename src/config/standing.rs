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
        /// Events remembered for each peer, for `explain`. About 100 bytes each.
        pub history_limit: u32 = 256, in 16 => 65_536;
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
        /// At this score a peer is banned, if it broke rules; slowness alone never bans.
        pub ban_threshold: f64 = -50.0, in -100.0 => -1.0;
        /// How far a score must move back across a threshold to lose what it gave, so that a
        /// peer at the edge doesn't flap. A guess, about one serious event.
        pub hysteresis: f64 = 5.0, in 0.0 => 50.0;
        /// How long a ban lasts. Bitcoin's number.
        pub ban_duration: Span = Span::hours(24), in Span::seconds(1) => Span::hours(24 * 365);
        /// Peers that are kept whatever their score: nobody is banned automatically while only
        /// this many are connected, so that no trick can leave a node alone.
        pub ban_floor: u32 = 3, in 0 => 10_000;
    }
}

section! {
    /// How far peers are believed when they recommend others, from 0 to 1.
    pub struct Trust in trust {
        /// What a stranger starts with.
        pub initial: f64 = 0.5, in 0.0 => 1.0;
        /// A peer below this isn't listened to when it recommends others. A guess: three
        /// invalid messages (-0.1 each) below the start.
        pub minimum: f64 = 0.2, in 0.0 => 1.0;
        /// How far trust moves back towards the initial value in each interval.
        pub decay: f64 = 0.01, in 0.0 => 1.0;
        /// How often trust moves back. As often as scores decay.
        pub decay_interval: Span = Span::hours(1), in Span::seconds(1) => Span::hours(24 * 365);
    }
}
