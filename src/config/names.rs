//! What an operator probably meant: the nearest key, and names of earlier systems.

use super::{Key, SECTIONS, keys};

/// Longer names than this get no suggestion, so that a search takes bounded time; the longest
/// key has 25 characters.
const NAME_MAX: usize = 64;

/// A name that operators know from the systems before this one.
#[derive(Clone, Copy, Debug)]
pub struct AncestorName {
    /// The old name in snake_case; `camelCase` spellings are found as well.
    pub old: &'static str,
    /// `section.key` of today.
    pub new: &'static str,
}

const fn old(old: &'static str, new: &'static str) -> AncestorName {
    AncestorName { old, new }
}

/// Names of earlier systems whose key of today is called otherwise. Old names that differ only
/// in case need no entry.
pub const ANCESTOR_NAMES: &[AncestorName] = &[
    old("node_id_file", "node.key_file"),
    old("node_metadata", "node.metadata"),
    old("node_name", "node.name"),
    old("node_role", "node.role"),
    old("node_type", "node.role"),
    old("moniker", "node.name"),
    old("private_key_file", "node.key_file"),
    old("addr", "network.listen"),
    old("bind_address", "network.listen"),
    old("boot_nodes", "network.bootstrap"),
    old("bootnodes", "network.bootstrap"),
    old("bootstrap_nodes", "network.bootstrap"),
    old("bootstrap_peers", "network.bootstrap"),
    old("chain_id", "network.name"),
    old("connect_timeout", "network.connection_timeout"),
    old("dial_timeout", "network.connection_timeout"),
    old("external_address", "network.external_addresses"),
    old("genesis_hash", "network.genesis"),
    old("host", "network.listen"),
    old("listen_addr", "network.listen"),
    old("max_connections", "network.max_peers"),
    old("max_inbound_connections", "network.max_inbound"),
    old("max_inbound_peers", "network.max_inbound"),
    old("max_outbound_connections", "network.max_outbound"),
    old("max_outbound_peers", "network.max_outbound"),
    old("max_per_group", "network.max_outbound_per_group"),
    old("max_per_ip", "network.max_inbound_per_ip"),
    old("min_connections", "network.min_peers"),
    old("network_id", "network.name"),
    old("peer_discovery_interval", "network.discovery_interval"),
    old("port", "network.listen"),
    old("seed_nodes", "network.bootstrap"),
    old("seeds", "network.bootstrap"),
    old("static_nodes", "network.persistent_peers"),
    old("ban_score", "scoring.ban_threshold"),
    old("behavior_weight", "scoring.weight_behaviour"),
    old("behaviour_weight", "scoring.weight_behaviour"),
    old("block_propagation_weight", "scoring.weight_block_propagation"),
    old("latency_weight", "scoring.weight_latency"),
    old("max_history_size", "scoring.history_limit"),
    old("score_decay_factor", "scoring.decay_factor"),
    old("score_decay_period", "scoring.decay_period"),
    old("score_history_limit", "scoring.history_limit"),
    old("transaction_relay_weight", "scoring.weight_transaction_relay"),
    old("trust_threshold", "scoring.trusted_threshold"),
    old("uptime_weight", "scoring.weight_uptime"),
    old("validator_status_weight", "scoring.weight_validator_status"),
    old("initial_trust", "trust.initial"),
    old("min_trust", "trust.minimum"),
    old("minimum_trust", "trust.minimum"),
    old("trust_decay", "trust.decay"),
    old("trust_decay_interval", "trust.decay_interval"),
    old("block_relay_mode", "relay.block"),
    old("max_hop_count", "relay.max_hops"),
    old("message_expiration", "relay.expiration"),
    old("message_cache_size", "relay.cache_size"),
    old("proposal_relay_mode", "relay.proposal"),
    old("transaction_relay_mode", "relay.transaction"),
    old("vote_relay_mode", "relay.vote"),
    old("gossip_cache_size", "gossip.cache_size"),
    old("gossip_fanout", "gossip.fanout"),
    old("gossip_interval", "gossip.interval"),
    old("gossip_ttl", "gossip.ttl"),
    old("message_ttl", "gossip.ttl"),
    old("block_timeout", "timeouts.block"),
    old("request_timeout", "timeouts.request"),
    old("sync_timeout", "timeouts.sync"),
    old("transaction_timeout", "timeouts.transaction"),
    old("tx_timeout", "timeouts.transaction"),
    old("max_block_size", "limits.block_size"),
    old("max_message_size", "limits.custom_size"),
    old("max_transaction_size", "limits.transaction_size"),
    old("db_path", "store.path"),
    old("log_level", "log.level"),
];

/// The key of `section` that `written` was probably meant to be, as a key of that section or as
/// `section.key` of another one. `None` for the section: the name stood outside.
pub(super) fn nearest_key(section: Option<&str>, written: &str) -> Option<String> {
    let name = snake_case(written)?;
    let here = |key: &&Key| Some(key.section) == section;
    let candidates = keys().filter(here).map(|key| key.name);
    if let Some(found) = nearest(&name, candidates) {
        return Some(found.to_string());
    }
    let relative = |path: &str| match (section, path.split_once('.')) {
        (Some(section), Some((owner, key))) if owner == section => key.to_string(),
        _ => path.to_string(),
    };
    if let Some(key) = keys().find(|key| key.name == name) {
        return Some(relative(&key.path()));
    }
    let joined = section.map(|section| format!("{section}_{name}"));
    let ancestor = ANCESTOR_NAMES
        .iter()
        .find(|ancestor| ancestor.old == name || joined.as_deref() == Some(ancestor.old));
    if let Some(ancestor) = ancestor {
        return Some(relative(ancestor.new));
    }
    let elsewhere = nearest(&name, keys().map(|key| key.name))?;
    keys().find(|key| key.name == elsewhere).map(|key| relative(&key.path()))
}

/// The section that `written` was probably meant to be.
pub(super) fn nearest_section(written: &str) -> Option<String> {
    let name = snake_case(written)?;
    nearest(&name, SECTIONS.iter().map(|section| section.name)).map(str::to_string)
}

/// The candidate with the least edit distance, if it is near enough to be a typo: a third of
/// the letters.
pub(super) fn nearest<'a>(
    written: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    if written.len() > NAME_MAX {
        return None;
    }
    let limit = |candidate: &str| (candidate.len().max(written.len()) / 3).max(1);
    candidates
        // Most need no table: each letter more or less is an edit.
        .filter(|candidate| candidate.len().abs_diff(written.len()) <= limit(candidate))
        .map(|candidate| (edit_distance(written.as_bytes(), candidate.as_bytes()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= limit(candidate))
        .map(|(_, candidate)| candidate)
}

/// `maxPeers`, `max-peers` and `MAX_PEERS` as `max_peers`; `None` if it is too long for a key.
fn snake_case(name: &str) -> Option<String> {
    if name.len() > NAME_MAX {
        return None;
    }
    let mut snake = String::new();
    let mut after_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_lower {
            snake.push('_');
        }
        after_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        snake.push(if c == '-' || c == ' ' { '_' } else { c.to_ascii_lowercase() });
    }
    Some(snake)
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of
/// neighbours (Damerau 1964), in bytes, as every key is ASCII.
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, to) in b.iter().enumerate() {
            let substituted = last[j] + usize::from(from != to);
            let mut least = substituted.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *to && a[i] == b[j - 1] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_typos() {
        for (a, b, distance) in [
            ("", "", 0),
            ("abc", "", 3),
            ("max_pears", "max_peers", 1),
            ("vetos", "vote", 3),
            ("ab", "ba", 1),
        ] {
            assert_eq!(edit_distance(a.as_bytes(), b.as_bytes()), distance, "{a} {b}");
            assert_eq!(edit_distance(b.as_bytes(), a.as_bytes()), distance, "{b} {a}");
        }
    }

    #[test]
    fn a_typo_a_wrong_section_and_an_old_name_are_understood() {
        for (section, written, meant) in [
            (Some("network"), "max_pears", Some("max_peers")),
            (Some("network"), "maxPeers", Some("max_peers")),
            (Some("network"), "bootstrapNodes", Some("bootstrap")),
            (Some("scoring"), "max_peers", Some("network.max_peers")),
            (Some("relay"), "relay_threshold", Some("scoring.relay_threshold")),
            (Some("gossip"), "gossipFanout", Some("fanout")),
            (None, "port", Some("network.listen")),
            (None, "qwertyuiop", None),
        ] {
            assert_eq!(nearest_key(section, written).as_deref(), meant, "{section:?} {written}");
        }
        assert_eq!(nearest_section("netwrok").as_deref(), Some("network"));
        assert_eq!(nearest_section(&"n".repeat(65)), None);
    }

    #[test]
    fn every_old_name_leads_to_a_key_of_today() {
        for ancestor in ANCESTOR_NAMES {
            assert!(keys().any(|key| key.path() == ancestor.new), "{}", ancestor.new);
            assert_eq!(snake_case(ancestor.old).as_deref(), Some(ancestor.old));
        }
    }
}
