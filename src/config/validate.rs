//! Rules that a single key can't break alone, and limits that it can.

use std::collections::BTreeMap;

use super::{Config, Fault, Optional, Origin, Problem, Role, Size, keys};
use crate::{
    address::{Address, TransportKind},
    rate::{LEAST_TAKEN_BYTES_PER_SECOND, SLOWEST_BYTES_PER_SECOND},
};

/// The longest name of a node or a network, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Entries of `node.metadata`, at most.
const METADATA_ENTRIES_MAX: usize = 16;
/// The longest text in `node.metadata`, bytes.
const METADATA_TEXT_BYTES_MAX: usize = 256;
/// Bootstrap and persistent peers together, at most.
const TARGETS_MAX: usize = 256;
/// External addresses, at most.
const EXTERNAL_MAX: usize = 16;
/// Validators, at most.
const VALIDATORS_MAX: usize = 10_000;
/// How far the sum of the weights may be from 1: far above rounding, far below a typo.
const WEIGHTS_TOLERANCE: f64 = 1e-6;

/// Everything wrong with the values; contradictions are looked for once every limit is kept.
pub(super) fn problems(config: &Config, origins: &BTreeMap<String, Origin>) -> Vec<Problem> {
    let mut rules = Rules { origins, problems: Vec::new() };
    for key in keys().filter(|key| !(key.is_inside)(config)) {
        let value = match key.value(config) {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        let origin = rules.origin(&[&key.path()]);
        let fault = Fault::Range { key: key.path(), value, expected: key.expectation() };
        rules.problems.push(Problem { origin, fault });
    }
    if rules.problems.is_empty() {
        names(config, &mut rules);
        lists(config, &mut rules);
        connections(config, &mut rules);
        times(config, &mut rules);
        standing(config, &mut rules);
        services(config, &mut rules);
        rates(config, &mut rules);
    }
    rules.problems.sort_by(|a, b| a.origin.cmp(&b.origin));
    rules.problems
}

/// Collects what is broken.
struct Rules<'a> {
    origins: &'a BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    /// The keys' uppermost, last origin: who changed something last has to change it again.
    fn origin(&self, keys: &[&str]) -> Origin {
        keys.iter().filter_map(|key| self.origins.get(*key)).max().cloned().unwrap_or_default()
    }

    fn require(&mut self, holds: bool, keys: &[&str], message: impl FnOnce() -> String) {
        if !holds {
            let origin = self.origin(keys);
            let keys = keys.iter().map(ToString::to_string).collect();
            self.problems.push(Problem { origin, fault: Fault::Rule { keys, message: message() } });
        }
    }
}

fn names(config: &Config, rules: &mut Rules<'_>) {
    let is_name = |name: &str, bytes_max: usize| {
        name.len() <= bytes_max && !name.chars().any(char::is_control)
    };
    rules.require(is_name(&config.node.name, NAME_BYTES_MAX), &["node.name"], || {
        format!("node.name must be at most {NAME_BYTES_MAX} bytes without control characters")
    });
    let network = &config.network.name;
    let fits = !network.is_empty() && is_name(network, NAME_BYTES_MAX);
    rules.require(fits, &["network.name"], || {
        format!("network.name must be 1 to {NAME_BYTES_MAX} bytes without control characters")
    });
    let metadata = &config.node.metadata;
    let fits = metadata.len() <= METADATA_ENTRIES_MAX
        && metadata.iter().all(|(name, text)| {
            is_name(name, NAME_BYTES_MAX) && is_name(text, METADATA_TEXT_BYTES_MAX)
        });
    rules.require(fits, &["node.metadata"], || {
        format!(
            "node.metadata takes {METADATA_ENTRIES_MAX} entries, {NAME_BYTES_MAX} bytes a name, \
             {METADATA_TEXT_BYTES_MAX} bytes a text, without control characters"
        )
    });
    for (key, path) in [
        ("node.data_dir", &config.node.data_dir),
        ("node.key_file", &config.node.key_file),
        ("store.path", &config.store.path),
        ("admin.token_file", &config.admin.token_file),
    ] {
        let is_there = !path.as_os_str().is_empty();
        rules.require(is_there, &[key], || format!("{key} can't be empty"));
    }
    let idle_key = config.node.role == Role::Full
        && matches!(config.node.validator_key_file, Optional::Some(_));
    rules.require(!idle_key, &["node.role", "node.validator_key_file"], || {
        "node.validator_key_file is set, but node.role is \"full\": set it to \"validator\", \
         or the key file to \"none\""
            .to_string()
    });
}

fn lists(config: &Config, rules: &mut Rules<'_>) {
    let network = &config.network;
    let targets = network.bootstrap.len().saturating_add(network.persistent_peers.len());
    let together: &[&str] = &["network.bootstrap", "network.persistent_peers"];
    for (keys, count, max) in [
        (together, targets, TARGETS_MAX),
        (&["network.external_addresses"], network.external_addresses.len(), EXTERNAL_MAX),
        (&["network.validators"], network.validators.len(), VALIDATORS_MAX),
    ] {
        rules.require(count <= max, keys, || {
            format!("{} has {count} entries; at most {max} are allowed", keys.join(" with "))
        });
    }
    let listens =
        network.listen.iter().all(|place| place.addresses(&network.transports).count() > 0);
    rules.require(
        listens && !network.listen.is_empty(),
        &["network.listen", "network.transports"],
        || {
            "network.listen names no address, or one of a transport that network.transports doesn't"
                .to_string()
        },
    );
    for place in &network.external_addresses {
        let address = Address::new(place.ip, place.port);
        let private = network.allow_private_addresses && address.is_dialable();
        rules.require(
            address.is_routable() || private,
            &["network.external_addresses", "network.allow_private_addresses"],
            || {
                format!(
                    "network.external_addresses holds {place}, which no stranger can reach; \
                     a test network sets network.allow_private_addresses = true"
                )
            },
        );
    }
}

fn connections(config: &Config, rules: &mut Rules<'_>) {
    let network = &config.network;
    let max = network.max_peers;
    rules.require(network.min_peers <= max, &["network.min_peers", "network.max_peers"], || {
        format!("network.min_peers = {} is more than network.max_peers = {max}", network.min_peers)
    });
    let (min, inbound, outbound) = (network.min_peers, network.max_inbound, network.max_outbound);
    rules.require(
        min <= inbound.saturating_add(outbound),
        &["network.min_peers", "network.max_inbound", "network.max_outbound"],
        || {
            format!(
                "network.min_peers = {min} can't be reached with network.max_inbound = {inbound} \
                 and network.max_outbound = {outbound}"
            )
        },
    );
}

fn times(config: &Config, rules: &mut Rules<'_>) {
    let network = &config.network;
    let not_longer = [
        (
            "network.handshake_timeout",
            network.handshake_timeout,
            "network.connection_timeout",
            network.connection_timeout,
        ),
        (
            "network.ping_timeout",
            network.ping_timeout,
            "network.ping_interval",
            network.ping_interval,
        ),
        (
            "network.dial_backoff_base",
            network.dial_backoff_base,
            "network.dial_backoff_max",
            network.dial_backoff_max,
        ),
        (
            "relay.cleanup_interval",
            config.relay.cleanup_interval,
            "relay.expiration",
            config.relay.expiration,
        ),
        ("timeouts.request", config.timeouts.request, "timeouts.sync", config.timeouts.sync),
        ("gossip.ttl", config.gossip.ttl, "relay.expiration", config.relay.expiration),
        ("gossip.interval", config.gossip.interval, "gossip.ttl", config.gossip.ttl),
    ];
    for (short_key, short, long_key, long) in not_longer {
        rules.require(short <= long, &[short_key, long_key], || {
            format!("{short_key} = {short} is longer than {long_key} = {long}")
        });
    }
    let (interval, timeout, idle) =
        (network.ping_interval, network.ping_timeout, network.idle_timeout);
    rules.require(
        idle.0 > interval.0.saturating_add(timeout.0),
        &["network.idle_timeout", "network.ping_interval", "network.ping_timeout"],
        || {
            format!(
                "network.idle_timeout = {idle} must be longer than network.ping_interval = \
                 {interval} and network.ping_timeout = {timeout} together, or quiet peers are lost"
            )
        },
    );
}

fn standing(config: &Config, rules: &mut Rules<'_>) {
    let scoring = &config.scoring;
    let sum = scoring.weight_latency
        + scoring.weight_uptime
        + scoring.weight_block_propagation
        + scoring.weight_transaction_relay
        + scoring.weight_validator_status
        + scoring.weight_behaviour;
    let weights = [
        "scoring.weight_latency",
        "scoring.weight_uptime",
        "scoring.weight_block_propagation",
        "scoring.weight_transaction_relay",
        "scoring.weight_validator_status",
        "scoring.weight_behaviour",
    ];
    rules.require((sum - 1.0).abs() <= WEIGHTS_TOLERANCE, &weights, || {
        format!("the six scoring.weight_* must sum to 1, but sum to {sum:.6}")
    });
    let (ban, distrusted) = (scoring.ban_threshold, scoring.distrusted_threshold);
    let (relay, trusted) = (scoring.relay_threshold, scoring.trusted_threshold);
    let hysteresis = scoring.hysteresis;
    let thresholds = [
        "scoring.ban_threshold",
        "scoring.distrusted_threshold",
        "scoring.relay_threshold",
        "scoring.trusted_threshold",
        "scoring.hysteresis",
    ];
    let ordered = ban < distrusted && distrusted < 0.0 && 0.0 < relay && relay < trusted;
    rules.require(ordered, &thresholds, || {
        format!(
            "scoring thresholds must be ordered: ban_threshold ({ban}) < distrusted_threshold \
             ({distrusted}) < 0 < relay_threshold ({relay}) < trusted_threshold ({trusted})"
        )
    });
    let gap = (trusted - relay).min(relay).min(-distrusted).min(distrusted - ban);
    rules.require(!ordered || hysteresis < gap / 2.0, &thresholds, || {
        format!(
            "scoring.hysteresis = {hysteresis} must be less than half of the least distance \
             between thresholds, which is {gap}"
        )
    });
    let (minimum, initial) = (config.trust.minimum, config.trust.initial);
    rules.require(minimum <= initial, &["trust.minimum", "trust.initial"], || {
        format!(
            "trust.minimum = {minimum} is above trust.initial = {initial}: nobody would be heard"
        )
    });
}

/// A peer takes a node for a trickler that sends less (`Connection`: 16 KiB a second of an
/// unfinished message); twice that, because frames of other messages come between.
const UPLOAD_MIN: Size = Size::kib(32);
/// Less is not sent to anybody, see [`SLOWEST_BYTES_PER_SECOND`].
const DOWNLOAD_MIN: Size = Size(SLOWEST_BYTES_PER_SECOND);

fn rates(config: &Config, rules: &mut Rules<'_>) {
    let limits = &config.limits;
    for (key, rate) in [
        ("limits.max_upload_rate", limits.max_upload_rate),
        ("limits.max_upload_rate_per_peer", limits.max_upload_rate_per_peer),
    ] {
        rules.require(rate.0 == 0 || rate >= UPLOAD_MIN, &[key], || {
            format!(
                "{key} = {rate} is too little: peers cut off who sends so slowly; {UPLOAD_MIN} a \
                 second for each peer is needed, or 0 for no limit"
            )
        });
    }
    let (all, one) = (limits.max_download_rate, limits.max_download_rate_per_peer);
    rules.require(one.0 == 0 || one >= DOWNLOAD_MIN, &["limits.max_download_rate_per_peer"], || {
        format!(
            "limits.max_download_rate_per_peer = {one} is too little: peers send {DOWNLOAD_MIN} a \
             second however little is asked for; that much is needed, or 0 for no limit"
        )
    });
    let peers = config.network.max_peers;
    let least = Size(LEAST_TAKEN_BYTES_PER_SECOND.saturating_mul(u64::from(peers)));
    let keys = ["limits.max_download_rate", "network.max_peers"];
    rules.require(all.0 == 0 || all >= least.max(DOWNLOAD_MIN), &keys, || {
        let each = Size(LEAST_TAKEN_BYTES_PER_SECOND);
        format!(
            "limits.max_download_rate = {all} is too little for network.max_peers = {peers}: peers \
             cut off who takes less than {each} a second; {least} is needed, or fewer peers, or 0 \
             for no limit"
        )
    });
}

fn services(config: &Config, rules: &mut Rules<'_>) {
    let (cache, block) = (config.gossip.cache_bytes, config.limits.block_size);
    rules.require(cache >= block, &["gossip.cache_bytes", "limits.block_size"], || {
        format!("gossip.cache_bytes = {cache} can't hold one block of limits.block_size = {block}")
    });
    if let Optional::Some(admin) = config.admin.listen {
        rules.require(admin.ip().is_loopback(), &["admin.listen"], || {
            format!("admin.listen = {admin} is not a loopback address, such as 127.0.0.1:30402")
        });
        let clash = config.metrics.enabled && admin == config.metrics.listen && admin.port() != 0;
        rules.require(!clash, &["admin.listen", "metrics.listen"], || {
            format!("admin.listen and metrics.listen are both {admin}")
        });
    }
    let (metrics, network) = (config.metrics.listen, &config.network);
    let clash = network.listen.iter().any(|place| place.clashes_with(metrics));
    rules.require(
        !(config.metrics.enabled && clash),
        &["metrics.listen", "network.listen"],
        || format!("metrics.listen and network.listen both use port {}", metrics.port()),
    );
    let admin = config.admin.listen.as_option().map(|admin| ("admin.listen", *admin));
    for (key, address) in [("metrics.listen", metrics)].into_iter().chain(admin) {
        rules.require(address.transport() == TransportKind::Tcp, &[key], || {
            format!("{key} = {address} is not over TCP, as HTTP is")
        });
    }
}
