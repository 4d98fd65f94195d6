//! Every number of the relay, with its unit and its origin.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    kinds::{KINDS, Kind, RelayMode},
    time::Millis,
};

/// The relay's settings. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayConfig {
    /// How each gossiped kind spreads; the table of kinds unless said otherwise.
    pub modes: BTreeMap<Kind, RelayMode>,
    /// The longest bodies this node takes and sends, bytes; the table of kinds unless said
    /// otherwise, and never more.
    pub bodies_max: BTreeMap<Kind, usize>,
    /// Hops a message may take by push. 16 is twice the diameter of a random graph of 10,000
    /// nodes and degree 8 with room for bad luck; a guess.
    pub max_hops: u8,
    /// Points from which a peer is in relay standing; applied by scoring, with hysteresis.
    pub relay_threshold: i32,
    /// Peers a selective message goes to when fewer are in standing.
    pub fallback_best: usize,
    /// How long an accepted id is remembered. At least `stamp_past_ms + stamp_future_ms`, so
    /// that what is forgotten is too old to be accepted again (attack row 29).
    pub expiration_ms: Millis,
    /// How often forgotten things are swept out.
    pub cleanup_interval_ms: Millis,
    /// Accepted ids remembered.
    pub seen_max: usize,
    /// Ignored and rejected ids remembered, in a cache of their own: garbage never makes us
    /// forget what is good. As many ids dropped without a verdict, in a third; and as many that
    /// were announced and did not come, for `gossip.ttl_ms`.
    pub refused_max: usize,
    /// Signed messages remembered for each origin; past it the oldest stamps are refused by age.
    pub origin_max: usize,
    /// Oldest stamp of a signed message, before our wall clock.
    pub stamp_past_ms: Millis,
    /// Youngest stamp of a signed message, after our wall clock.
    pub stamp_future_ms: Millis,
    /// A copy that comes this much after the first is late, not just a duplicate.
    pub late_ms: Millis,
    /// How many peers are pushed a message; the others are told of it.
    pub eager: EagerConfig,
    /// How long an announcement waits for others to go with it; those of blocks don't. A guess:
    /// a fifth of a round trip around the world, for a tenth of the messages.
    pub announce_delay_ms: Millis,
    /// Announcements.
    pub gossip: GossipConfig,
    /// Verdicts and signature checks that are waited for.
    pub pending: PendingConfig,
    /// Sealed messages carried for others.
    pub routed: RoutedConfig,
}

/// Peers that a message is pushed to, of those that it should go to and that are not known to
/// have it; if one more would be all, it is pushed to all. `usize::MAX`: always all. Proposals
/// and votes are pushed to all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EagerConfig {
    /// Of transactions.
    pub transactions: usize,
    /// Of blocks of 32 KiB or more.
    pub blocks: usize,
    /// Of shorter blocks.
    pub small_blocks: usize,
    /// Of the chain's own messages.
    pub custom: usize,
}

/// A shorter block is a small one, bytes: three copies of it take 40 ms of an uplink of 20 Mbit/s.
const SMALL_BLOCK_BYTES: usize = 32 * 1024;

/// Announcing, asking and serving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GossipConfig {
    /// Peers that get an announcement each interval.
    pub fanout: usize,
    /// Time between announcements.
    pub interval_ms: Millis,
    /// How long an accepted message is kept to be announced and served.
    pub ttl_ms: Millis,
    /// Messages kept to be served.
    pub cache_size: usize,
    /// Bytes kept to be served.
    pub cache_bytes: usize,
    /// An announcement is repeated to a peer after this time.
    pub reannounce_ms: Millis,
    /// An asked peer has this long before the next announcer is asked.
    pub want_timeout_ms: Millis,
    /// Ids asked of one peer at a time.
    pub wants_per_peer: usize,
    /// Ids asked of all peers at a time.
    pub wants_max: usize,
    /// Times one id is served to one peer (attack row 30).
    pub serves_per_id: u8,
    /// Bytes a second served to one peer; four seconds' worth at once.
    pub serve_bytes_per_second: u64,
    /// How long a peer that broke many promises is not asked.
    pub broken_backoff_ms: Millis,
}

/// Bounds of what waits for a worker or the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PendingConfig {
    /// Messages waiting in all.
    pub count_max: usize,
    /// Bytes waiting in all.
    pub bytes_max: usize,
    /// Messages of one peer waiting.
    pub count_per_peer: usize,
    /// Bytes of one peer waiting.
    pub bytes_per_peer: usize,
    /// Time for the verdict on a block.
    pub block_timeout_ms: Millis,
    /// Time for the verdict on a transaction.
    pub transaction_timeout_ms: Millis,
    /// Time for the verdict on any other kind, and for a signature check.
    pub other_timeout_ms: Millis,
    /// Whether messages of the chain's own topics wait for a verdict; else they are accepted.
    pub judge_custom: bool,
}

/// Bounds of sealed messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutedConfig {
    /// Whether sealed messages of others are carried at all.
    pub carry: bool,
    /// Hops a sealed message may take: origin, two carriers, receiver.
    pub max_hops: u8,
    /// Peers a sealed message is handed to when its receiver is not connected.
    pub fanout: usize,
    /// Bytes a second carried for one peer; four seconds' worth at once.
    pub bytes_per_second: u64,
    /// Messages a second opened for one peer: two X25519 and one Ed25519 each, about 0.4 ms.
    pub opens_per_second: u64,
    /// Messages a second about holes to be punched, taken from one carrier; four seconds' worth at
    /// once. Eight punches at once have two messages every two seconds or more, if one carries all.
    pub punches_per_second: u64,
    /// Nodes whose sealing key is remembered.
    pub keys_max: usize,
}

impl Default for RelayConfig {
    fn default() -> Self {
        RelayConfig {
            modes: KINDS.iter().filter_map(|row| Some((row.kind, row.relay?))).collect(),
            bodies_max: BTreeMap::new(),
            max_hops: 16,
            relay_threshold: 50,
            fallback_best: 4,
            expiration_ms: 300_000,
            cleanup_interval_ms: 10_000,
            seen_max: 131_072,
            refused_max: 16_384,
            origin_max: 8_192,
            stamp_past_ms: 180_000,
            stamp_future_ms: 30_000,
            late_ms: 3_000,
            eager: EagerConfig::default(),
            announce_delay_ms: 20,
            gossip: GossipConfig::default(),
            pending: PendingConfig::default(),
            routed: RoutedConfig::default(),
        }
    }
}

impl Default for EagerConfig {
    fn default() -> Self {
        EagerConfig { transactions: 2, blocks: 2, small_blocks: 3, custom: 3 }
    }
}

impl EagerConfig {
    /// How many peers a message of `kind` is pushed to.
    #[must_use]
    pub fn count(&self, kind: Kind, body_bytes: usize) -> usize {
        match kind {
            Kind::Transaction => self.transactions,
            Kind::Custom => self.custom,
            Kind::Block if body_bytes < SMALL_BLOCK_BYTES => self.small_blocks,
            Kind::Block => self.blocks,
            _ => usize::MAX,
        }
    }
}

impl Default for GossipConfig {
    fn default() -> Self {
        GossipConfig {
            fanout: 6,
            interval_ms: 1_000,
            ttl_ms: 120_000,
            cache_size: 32_768,
            cache_bytes: 64 * 1024 * 1024,
            reannounce_ms: 15_000,
            want_timeout_ms: 3_000,
            wants_per_peer: 1_024,
            wants_max: 16_384,
            serves_per_id: 3,
            serve_bytes_per_second: 4 * 1024 * 1024,
            broken_backoff_ms: 30_000,
        }
    }
}

impl Default for PendingConfig {
    fn default() -> Self {
        PendingConfig {
            count_max: 32_768,
            bytes_max: 64 * 1024 * 1024,
            count_per_peer: 8_192,
            bytes_per_peer: 16 * 1024 * 1024,
            block_timeout_ms: 30_000,
            transaction_timeout_ms: 10_000,
            other_timeout_ms: 5_000,
            judge_custom: false,
        }
    }
}

impl Default for RoutedConfig {
    fn default() -> Self {
        RoutedConfig {
            carry: true,
            max_hops: 2,
            fanout: 3,
            bytes_per_second: 1024 * 1024,
            opens_per_second: 100,
            punches_per_second: 8,
            keys_max: 16_384,
        }
    }
}

impl RelayConfig {
    /// How `kind` spreads; `None` if it is not gossiped.
    #[must_use]
    pub fn mode(&self, kind: Kind) -> Option<RelayMode> {
        let table = kind.row().relay?;
        Some(self.modes.get(&kind).copied().unwrap_or(table))
    }

    /// The longest body of `kind` that is taken or sent, bytes.
    #[must_use]
    pub fn body_max(&self, kind: Kind) -> usize {
        let table = kind.row().body_max;
        self.bodies_max.get(&kind).map_or(table, |max| table.min(*max))
    }

    /// How long an accepted id is remembered, never less than stamps stay acceptable.
    #[must_use]
    pub fn remember_ms(&self) -> Millis {
        let window = self.stamp_past_ms.saturating_add(self.stamp_future_ms);
        self.expiration_ms.max(window.saturating_add(1_000))
    }

    /// How long the chain may take for its verdict on `kind`.
    #[must_use]
    pub fn verdict_ms(&self, kind: Kind) -> Millis {
        match kind {
            Kind::Block => self.pending.block_timeout_ms,
            Kind::Transaction => self.pending.transaction_timeout_ms,
            _ => self.pending.other_timeout_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_follow_the_table_of_kinds() {
        let config = RelayConfig::default();
        assert_eq!(config.mode(Kind::Vote), Some(RelayMode::ValidatorOnly));
        assert_eq!(config.mode(Kind::Block), Some(RelayMode::Flood));
        assert_eq!(config.mode(Kind::Ping), None);
    }

    #[test]
    fn what_is_forgotten_is_too_old_to_be_accepted_again() {
        let config = RelayConfig { expiration_ms: 0, ..RelayConfig::default() };
        assert!(config.remember_ms() > config.stamp_past_ms + config.stamp_future_ms);
        assert!(RelayConfig::default().expiration_ms == RelayConfig::default().remember_ms());
    }

    #[test]
    fn the_settings_survive_a_round_trip_through_toml() {
        let bodies_max = BTreeMap::from([(Kind::Block, 1_000)]);
        let config = RelayConfig { bodies_max, ..RelayConfig::default() };
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<RelayConfig>(&text).unwrap(), config);
        assert!(toml::from_str::<RelayConfig>("max_hop = 3").is_err());
    }
}
