//! Whether the DNS seeds name anybody of this network.

use peerstage_core::{bootstrap, config::LanMode};

use super::{Finding, Patient};
use crate::discovery::{SeedAnswers, Seeds};

/// Whether the configuration has another way to the first peers than the one that is looked at.
pub(super) fn has_others(patient: &Patient<'_>) -> bool {
    let (network, discovery) = (&patient.config.network, &patient.config.discovery);
    !network.persistent_peers.is_empty()
        || !discovery.dns_seeds.is_empty()
        || discovery.lan != LanMode::Off
}

/// What every seed answers.
pub(super) async fn dns_seeds(patient: &Patient<'_>) -> Vec<Finding> {
    let discovery = &patient.config.discovery;
    if discovery.dns_seeds.is_empty() {
        return vec![Finding::skipped("dns seeds", "discovery.dns_seeds is empty")];
    }
    let allow_private = patient.config.network.allow_private_addresses;
    let mut findings = Vec::new();
    for name in &discovery.dns_seeds {
        let name = name.0.to_string();
        let (port, servers) = (discovery.dns_seed_port, discovery.dns_servers.clone());
        let answers = Seeds { names: vec![name.clone()], port, servers, allow_private }.ask().await;
        findings.push(of_answers(patient, &name, &answers));
    }
    findings
}

fn of_answers(patient: &Patient<'_>, name: &str, answers: &SeedAnswers) -> Finding {
    let check = "dns seeds";
    let network = patient.config.network_id();
    let is_ours = |text: &&String| bootstrap::record_of(text, &network).is_some();
    let records = answers.texts.iter().filter(is_ours).count();
    let addresses = answers.addresses.len();
    if records > 0 || addresses > 0 {
        let found = format!("{name}: signed records {records}, addresses {addresses}");
        return Finding::good(check, found);
    }
    if !answers.failures.is_empty() {
        let advice = "check the name, and that this machine may ask DNS servers";
        return Finding::warning(check, answers.failures.join("; "), advice);
    }
    let found = format!("{name} names no node of this network");
    Finding::warning(check, found, "ask its operator for a new `peerstage id --dns` line")
}

#[cfg(test)]
mod tests {
    use peerstage_core::{config::Config, identity::Keypair};

    use super::*;
    use crate::node::{doctor::Outcome, seed};

    /// The text that a node with this configuration publishes.
    fn text(config: &Config) -> String {
        seed::zone_line(config, Keypair::from_seed(&[1; 32]), "seed.test").unwrap().1
    }

    #[test]
    fn only_records_of_this_network_and_addresses_count() {
        let mut config = Config::default();
        config.network.external_addresses = vec!["203.0.113.7:30400".parse().unwrap()];
        let mut other = config.clone();
        other.network.name.push_str(" of others");
        assert_ne!(config.network_id(), other.network_id());
        let (ours, theirs) = (text(&config), text(&other));
        let patient = Patient { config: &config, running: None, unasked: None };
        let of = |texts: &[&str], addresses: &[&str], failure: Option<&str>| {
            let answers = SeedAnswers {
                texts: texts.iter().map(ToString::to_string).collect(),
                addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
                failures: failure.map(str::to_owned).into_iter().collect(),
            };
            of_answers(&patient, "seed.test", &answers)
        };
        let good = of(&["v=spf1 -all", &ours, &theirs], &["203.0.113.8:1"], None);
        assert_eq!(good.outcome, Outcome::Good);
        assert_eq!(good.found, "seed.test: signed records 1, addresses 1");
        assert_eq!(of(&[], &["203.0.113.8:1"], None).outcome, Outcome::Good);
        assert_eq!(of(&[&theirs], &[], None).outcome, Outcome::Warning);
        let silent = of(&[], &[], Some("seed.test: no answer"));
        assert_eq!(
            (silent.outcome, silent.found.as_str()),
            (Outcome::Warning, "seed.test: no answer")
        );
    }
}
