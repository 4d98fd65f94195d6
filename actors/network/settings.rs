//! From the configuration to the machines' settings.

use peerstage_core::{
    address::{Address, TransportKind},
    book::BookLimits,
    circuits::CircuitsConfig,
    config::{Config, PostQuantum, UplinkKind},
    handshake::PqPolicy,
    kademlia::{KademliaConfig, StorageLimits},
    kinds::{KINDS, Kind},
    manager::ManagerConfig,
    messages::Pace,
    nat::Told,
    record::{Uplink, UplinkClass},
    relay::{EagerConfig, GossipConfig, PendingConfig, RelayConfig, RoutedConfig},
    requests::RequestConfig,
    scoring::{ScoringConfig, Thresholds, TrustConfig, Weights},
    shares::Shares,
};

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Whether this node can punch holes: they are made for QUIC.
pub(super) fn punches(config: &Config) -> bool {
    config.nat.hole_punching && config.network.transports.contains(&TransportKind::Quic)
}

/// What the first record says.
pub(super) fn told_at_start(config: &Config, addresses: Vec<Address>) -> Told {
    let mut told = Told::at_start(addresses);
    told.behind_nat &= punches(config);
    told
}

pub(super) fn manager(config: &Config, is_validator: bool) -> ManagerConfig {
    let network = &config.network;
    let defaults = ManagerConfig::default();
    let interval = network.discovery_interval.as_millis();
    ManagerConfig {
        max_peers: count(network.max_peers),
        min_peers: count(network.min_peers),
        max_inbound: count(network.inbound_limit()),
        max_outbound: count(network.outbound_limit()),
        wished_outbound: count(network.outbound_wish()),
        // Whoever wishes for no peers of its own choice gets none.
        blocks_only_outbound: count(if network.outbound_wish() == 0 {
            0
        } else {
            network.blocks_only_peers
        }),
        anchors: count(network.anchors),
        feeler_interval: network.feeler_interval.as_millis(),
        hole_punching: punches(config),
        // The overlay is among validators; to all others a validator is a peer like any.
        validator_slots: if is_validator { count(network.validator_slots) } else { 0 },
        max_outbound_per_group: count(network.max_outbound_per_group),
        max_inbound_per_group: count(network.max_inbound_per_group),
        max_inbound_per_ip: count(network.max_inbound_per_ip),
        half_open_max: count(network.max_half_open),
        handshakes_per_second: u64::from(config.limits.handshakes_per_second),
        connection_timeout: network.connection_timeout.as_millis(),
        handshake_timeout: network.handshake_timeout.as_millis(),
        dial_backoff: network.dial_backoff_base.as_millis(),
        dial_backoff_max: network.dial_backoff_max.as_millis(),
        discovery_interval: interval,
        // Below min_peers the node asks six times as often.
        discovery_interval_urgent: (interval / 6).max(1),
        book: BookLimits { allow_private: network.allow_private_addresses, ..defaults.book },
        ..defaults
    }
}

pub(super) fn kademlia(config: &Config) -> KademliaConfig {
    let (discovery, defaults) = (&config.discovery, KademliaConfig::default());
    KademliaConfig {
        enabled: discovery.kademlia,
        walk_interval: discovery.walk_interval.as_millis(),
        allow_private: config.network.allow_private_addresses,
        visit_timeout: config
            .network
            .connection_timeout
            .as_millis()
            .saturating_add(defaults.query_timeout),
        storage: StorageLimits {
            claims_max: count(discovery.max_records),
            rendezvous: discovery.rendezvous_point,
            ..defaults.storage
        },
        ..defaults
    }
}

/// What a node says of the line that it sends over.
pub(super) fn uplink(config: &Config) -> Uplink {
    let class = match config.node.uplink {
        UplinkKind::Unsaid => UplinkClass::Unsaid,
        UplinkKind::Mobile => UplinkClass::Mobile,
        UplinkKind::Home => UplinkClass::Home,
        UplinkKind::Office => UplinkClass::Office,
        UplinkKind::Server => UplinkClass::Server,
    };
    let rate_kib = u32::try_from(config.node.uplink_rate.0 / 1024).unwrap_or(u32::MAX);
    Uplink { class, rate_kib }
}

pub(super) fn scoring(config: &Config) -> ScoringConfig {
    let (scoring, trust) = (&config.scoring, &config.trust);
    ScoringConfig {
        decay_period_ms: scoring.decay_period.as_millis(),
        decay_factor: scoring.decay_factor,
        history_limit: count(scoring.history_limit),
        weights: Weights {
            latency: scoring.weight_latency,
            uptime: scoring.weight_uptime,
            block_propagation: scoring.weight_block_propagation,
            transaction_relay: scoring.weight_transaction_relay,
            validator_status: scoring.weight_validator_status,
            behaviour: scoring.weight_behaviour,
        },
        thresholds: Thresholds {
            trusted: scoring.trusted_threshold,
            relay: scoring.relay_threshold,
            distrusted: scoring.distrusted_threshold,
            ban: scoring.ban_threshold,
            hysteresis: scoring.hysteresis,
        },
        trust: TrustConfig {
            initial: trust.initial,
            minimum: trust.minimum,
            decay: trust.decay,
            interval_ms: trust.decay_interval.as_millis(),
            valid: trust.valid,
            invalid: trust.invalid,
            timeout: trust.timeout,
        },
        ban_duration_ms: scoring.ban_duration.as_millis(),
        ban_floor: count(scoring.ban_floor),
        banned_per_host: count(scoring.banned_per_host),
        banned_per_group: count(scoring.banned_per_group),
        count_private: !config.network.allow_private_addresses,
        ..ScoringConfig::default()
    }
}

pub(super) fn relay(config: &Config) -> RelayConfig {
    let (relay, gossip, timeouts) = (&config.relay, &config.gossip, &config.timeouts);
    let defaults = RelayConfig::default();
    let mode = |kind: Kind| Some((kind, config.relay_mode(kind)?));
    RelayConfig {
        modes: KINDS.iter().filter_map(|row| mode(row.kind)).collect(),
        bodies_max: KINDS.iter().map(|row| (row.kind, config.body_max(row.kind))).collect(),
        max_hops: relay.max_hops,
        fallback_best: count(relay.fallback_peers),
        expiration_ms: relay.expiration.as_millis(),
        cleanup_interval_ms: relay.cleanup_interval.as_millis(),
        seen_max: count(relay.cache_size),
        eager: EagerConfig {
            transactions: count(relay.eager_transactions),
            blocks: count(relay.eager_blocks),
            small_blocks: count(relay.eager_small_blocks),
            custom: count(relay.eager_custom),
        },
        announce_delay_ms: relay.announce_delay.as_millis(),
        gossip: GossipConfig {
            fanout: count(gossip.fanout),
            interval_ms: gossip.interval.as_millis(),
            ttl_ms: gossip.ttl.as_millis(),
            cache_size: count(gossip.cache_size),
            cache_bytes: gossip.cache_bytes.as_usize(),
            want_timeout_ms: timeouts.want.as_millis(),
            ..defaults.gossip
        },
        pending: PendingConfig {
            block_timeout_ms: timeouts.block.as_millis(),
            transaction_timeout_ms: timeouts.transaction.as_millis(),
            other_timeout_ms: timeouts.verdict.as_millis(),
            judge_custom: relay.judge_custom,
            ..defaults.pending
        },
        routed: RoutedConfig { carry: relay.carry_routed, ..defaults.routed },
        ..defaults
    }
}

pub(super) fn requests(config: &Config) -> RequestConfig {
    let defaults = RequestConfig::default();
    let sync = u32::try_from(config.timeouts.sync.as_millis()).unwrap_or(u32::MAX);
    RequestConfig {
        cost_per_second: defaults.cost_per_second.saturating_mul(config.limits.rate_factor.into()),
        serving_per_peer: count(config.limits.requests_per_peer),
        deadline_ms_max: sync,
        ..defaults
    }
}

pub(super) fn circuits(config: &Config) -> CircuitsConfig {
    let relay = &config.relay;
    CircuitsConfig {
        accept: config.nat.circuits,
        serve: relay.serve,
        carried_max: count(relay.circuits),
        carried_per_peer_max: count(relay.circuits_per_peer),
        carried_per_group_max: count(relay.circuits_per_group),
        bytes_max: relay.circuit_bytes.0,
        time_max: relay.circuit_time.as_millis(),
        bytes_per_hour: relay.circuit_bytes_per_hour.0,
    }
}

/// What we tell each peer at first that we take from it.
pub(super) fn pace(config: &Config) -> Pace {
    let limits = &config.limits;
    Pace {
        rate_factor: u16::try_from(limits.rate_factor).unwrap_or(u16::MAX),
        bytes_per_second: Shares::first(
            limits.max_download_rate.0,
            limits.max_download_rate_per_peer.0,
        ),
        blocks_only: false,
    }
}

pub(super) fn post_quantum(config: &Config) -> PqPolicy {
    match config.network.post_quantum {
        PostQuantum::Prefer => PqPolicy::Prefer,
        PostQuantum::Require => PqPolicy::Require,
        PostQuantum::Classical => PqPolicy::Classical,
    }
}

#[cfg(test)]
mod tests {
    use peerstage_core::config::Span;

    use super::*;

    /// Nobody waits longer for an answer than the operator says, be that short or long.
    #[test]
    fn the_longest_wait_for_an_answer_is_the_configured_one() {
        let mut config = Config::default();
        assert_eq!(requests(&config), RequestConfig { serving_per_peer: 16, ..Default::default() });
        for seconds in [30, 600] {
            config.timeouts.sync = Span::seconds(seconds);
            assert_eq!(u64::from(requests(&config).deadline_ms_max), seconds * 1_000);
        }
    }
}
