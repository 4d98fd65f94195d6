//! What `--set` may change: a key of all nodes, but none that each has for itself.

use peerstage_core::config::{ConfigError, Fault, Layers};

use super::LocalnetError;

/// What the launcher decides, each node for itself.
const DECIDED: [&str; 15] = [
    "node.name",
    "node.data_dir",
    "node.key_file",
    "node.validator_key_file",
    "node.role",
    "network.name",
    "network.validators",
    "network.listen",
    "network.transports",
    "network.bootstrap",
    "network.external_addresses",
    "admin.socket",
    "admin.listen",
    "metrics.enabled",
    "metrics.listen",
];

/// Refuses, before anything is made, what can't be set. Contradictions with what the launcher
/// writes are found when it does.
pub(super) fn check(flags: &[String]) -> Result<(), LocalnetError> {
    if let Err(ConfigError { mut problems }) = Layers::new().flags(flags.to_vec()).load() {
        problems.retain(|problem| !matches!(problem.fault, Fault::Rule { .. }));
        if !problems.is_empty() {
            return Err(LocalnetError::Config(ConfigError { problems }));
        }
    }
    let key = |flag: &String| flag.split('=').next().unwrap_or_default().to_owned();
    match flags.iter().map(key).find(|key| DECIDED.contains(&key.as_str())) {
        Some(key) => Err(LocalnetError::Usage(format!(
            "--set {key}: a localnet decides that for each of its nodes; --set changes a key that \
             all of them share"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use peerstage_core::config::keys;

    use super::*;

    fn refused(flag: &str) -> Option<String> {
        check(&[flag.to_owned()]).err().map(|error| error.to_string())
    }

    #[test]
    fn shared_keys_may_be_set_and_mistakes_are_named() {
        assert_eq!(refused("gossip.fanout=3"), None);
        // Contradicts the default of min_peers, which no node of a localnet has.
        assert_eq!(refused("network.max_peers=7"), None);
        assert!(refused("gossip.fanuot=3").unwrap().contains("did you mean \"fanout\"?"));
        assert!(refused("gossip.fanout=0").unwrap().contains("out of range"));
        assert!(refused("admin.listen=127.0.0.1:0").unwrap().contains("each of its nodes"));
    }

    #[test]
    fn what_the_launcher_decides_are_keys() {
        for decided in DECIDED {
            assert!(keys().any(|key| key.path() == decided), "{decided}");
        }
    }
}
