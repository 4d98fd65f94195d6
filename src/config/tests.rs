use std::{fs, path::PathBuf};

use proptest::prelude::*;

use super::*;

fn file(text: &str) -> Result<Resolved, ConfigError> {
    Layers::new().file("node.toml", text).load()
}

fn complaints(layers: Layers) -> Vec<String> {
    let error = layers.load().expect_err("must be refused");
    error.problems.iter().map(ToString::to_string).collect()
}

fn complaint(text: &str) -> String {
    let all = complaints(Layers::new().file("node.toml", text));
    assert_eq!(all.len(), 1, "{all:#?}");
    all.into_iter().next().unwrap()
}

/// The committed file is what the declarations generate. `PEERSTAGE_WRITE_DOCS=1` writes it.
fn assert_generated(path: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("PEERSTAGE_WRITE_DOCS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(
        committed == text,
        "{} is out of date: PEERSTAGE_WRITE_DOCS=1 cargo test -p peerstage-core config::",
        path.display()
    );
}

#[test]
fn the_default_file_and_the_reference_are_generated_from_the_declarations() {
    assert_generated("config/default.toml", &annotated_default());
    assert_generated("docs/configuration.md", &reference());
}

#[test]
fn the_default_file_holds_every_key_and_equals_the_defaults() {
    let resolved = file(include_str!("../../config/default.toml")).unwrap();
    assert_eq!(resolved.config, Config::default());
    for (key, origin) in &resolved.origins {
        assert!(matches!(origin, Origin::File { .. }), "{key} is missing");
    }
    assert_eq!(Config::default().validate(), Ok(()));
}

#[test]
fn the_example_files_load() {
    let validator = file(include_str!("../../config/validator.toml")).unwrap().config;
    assert_eq!(validator.node.role, Role::Validator);
    assert_eq!(
        validator.network_id().to_string(),
        validator.network.genesis.as_option().unwrap().0.to_string()
    );
    let private = file(include_str!("../../config/private.toml")).unwrap().config;
    assert_eq!(private.network_id(), NetworkId::from_name("office-chain"));
}

#[test]
fn later_layers_win_and_every_value_knows_its_origin() {
    let resolved = Layers::new()
        .file("base.toml", "[network]\nmax_peers = 60\nmin_peers = 5\n")
        .file("node.toml", "network.min_peers = 6\nlog.level = 'debug'\n")
        .environment([
            ("PEERSTAGE_LOG__LEVEL", "warn"),
            ("HOME", "/"),
            ("PEERSTAGE_PORT", "tcp://"),
        ])
        .flags(["log.level=trace", "network.bootstrap=a:1, b:2"])
        .load()
        .unwrap();
    let at = |line, column, name: &str| Origin::File { name: name.into(), line, column };
    assert_eq!(resolved.config.network.max_peers, 60);
    assert_eq!(resolved.config.network.min_peers, 6);
    assert_eq!(resolved.config.log.level, LogLevel::Trace);
    assert_eq!(resolved.config.network.bootstrap.len(), 2);
    assert_eq!(resolved.origins["network.max_peers"], at(2, 1, "base.toml"));
    assert_eq!(resolved.origins["network.min_peers"], at(1, 9, "node.toml"));
    assert_eq!(resolved.origins["log.level"], Origin::Flag { text: "log.level=trace".into() });
    assert_eq!(resolved.origins["log.format"], Origin::Default);
    let shown = resolved.to_toml(true);
    assert!(shown.contains("max_peers = 60                                    # base.toml:2:1\n"));
    assert!(shown.contains("# flag log.level=trace\n"));
    assert_eq!(file(&shown).unwrap().config, resolved.config);
}

#[test]
fn a_typo_names_file_line_column_and_the_nearest_key() {
    assert_eq!(
        complaint("\n\n[network]\n  max_pears = 3\n"),
        "node.toml:4:3: unknown key \"max_pears\" in [network]; did you mean \"max_peers\"?"
    );
    assert_eq!(
        complaint("[netwrok]\nmax_peers = 3\n"),
        "node.toml:1:2: unknown section [netwrok]; did you mean \"network\"?"
    );
    assert_eq!(
        complaint("max_peers = 3\n"),
        "node.toml:1:1: \"max_peers\" stands outside of every section; did you mean \"network.max_peers\"?"
    );
    assert_eq!(
        complaint("[relay]\nblock = 'floood'\n"),
        "node.toml:2:9: relay.block expects \"flood\", \"selective\", \"validator-only\": unknown \
         variant `floood`, expected one of `flood`, `selective`, `validator-only`; did you mean \"flood\"?"
    );
    assert!(complaint("[network]\nmax_peers = = 3\n").starts_with("node.toml:2:13: "));
    assert!(
        complaint("[network]\nmax_peers = 3\nmax_peers = 4\n")
            .starts_with("node.toml:3:1: duplicate key \"max_peers\"")
    );
}

#[test]
fn a_wrong_value_is_told_what_is_expected() {
    assert_eq!(
        complaint("[network]\nping_interval = 5\n"),
        "node.toml:2:17: network.ping_interval expects a duration such as \"5s\", \"250ms\" or \
         \"1h 30m\", from 100ms to 1h: 5 has no unit; write 5ms, 5s, 5m, 5h or 5d"
    );
    assert_eq!(
        complaint("[network]\nbootstrap = [\n  'a:1',\n  'ä b:2',\n]\n"),
        "node.toml:4:3: network.bootstrap expects a list of HOST:PORT, NODEID@HOST:PORT or \
         /dns/HOST/udp/PORT/quic/p2p/NODEID: \"ä b\" is neither an IP address nor a host name"
    );
    assert_eq!(
        complaint("[network]\nmax_peers = 0\n"),
        "node.toml:2:1: network.max_peers = 0 is out of range: expected a whole number, from 1 to 10000"
    );
    assert!(
        complaint("[network]\nmax_peers = -1\n")
            .starts_with("node.toml:2:13: network.max_peers expects")
    );
    assert!(complaint("[scoring]\nhysteresis = nan\n").contains("out of range"));
    assert!(complaint("[limits]\ninbound_queue = '10MB'\n").contains("\"MB\" is no unit of size"));
    assert!(complaint("[log]\nlevel = 3\n").contains("\"error\", \"warn\""));
}

#[test]
fn all_problems_of_all_layers_are_reported_at_once() {
    let layers = Layers::new()
        .file("node.toml", "[network]\nzzz = 1\nmax_pears = 3\n[log]\nlevel = 'loud'\n")
        .environment([
            ("PEERSTAGE_NETWORK__MAX_PEARS", "3"),
            ("PEERSTAGE_NETWORK_MAX_PEERS", "3"),
            ("PEERSTAGE_STORE__FLUSH_INTERVAL", "much"),
        ])
        .flags(["max_peers", "scoring.histeresis=1"]);
    let all = complaints(layers);
    let expected = [
        "node.toml:2:1: unknown key \"zzz\" in [network]",
        "node.toml:3:1: unknown key \"max_pears\" in [network]; did you mean \"max_peers\"?",
        "node.toml:5:9: log.level expects",
        "environment PEERSTAGE_NETWORK_MAX_PEERS: two underscores separate section and key; write \
         PEERSTAGE_NETWORK__MAX_PEERS",
        "environment PEERSTAGE_NETWORK__MAX_PEARS: unknown key \"max_pears\" in [network]; did you \
         mean \"max_peers\"?",
        "environment PEERSTAGE_STORE__FLUSH_INTERVAL: store.flush_interval expects",
        "flag max_peers: expected section.key=value",
        "flag scoring.histeresis=1: unknown key \"histeresis\" in [scoring]; did you mean \"hysteresis\"?",
    ];
    assert_eq!(all.len(), expected.len(), "{all:#?}");
    for (complaint, expected) in all.iter().zip(expected) {
        assert!(complaint.starts_with(expected), "{complaint}\n{expected}");
    }
}

#[test]
fn keys_that_contradict_each_other_are_refused_at_the_last_one_set() {
    for (text, place, part) in [
        ("[network]\nmax_peers = 20\nmin_peers = 30", "3:1", "min_peers = 30 is more than"),
        ("[network]\nmin_peers = 60\nmax_inbound = 9", "3:1", "can't be reached"),
        ("[network]\nconnection_timeout = '4s'", "2:1", "handshake_timeout = 5s is longer"),
        ("[network]\nping_timeout = '20s'", "2:1", "longer than network.ping_interval = 15s"),
        ("[network]\nidle_timeout = '25s'", "2:1", "or quiet peers are lost"),
        ("[network]\ndial_backoff_base = '1h'", "2:1", "longer than network.dial_backoff_max"),
        ("[network]\nexternal_addresses = ['10.0.0.1:5']", "2:1", "no stranger can reach"),
        ("[network]\nname = ''", "2:1", "network.name must be"),
        ("[network]\nlisten = ['0.0.0.0:30401']", "2:1", "both use port 30401"),
        ("[network]\nlisten = []", "2:1", "network.listen names no address"),
        ("[network]\ntransports = []", "2:1", "network.listen names no address"),
        (
            "[network]\ntransports = ['tcp']\nlisten = ['/ip4/0.0.0.0/udp/5/quic']",
            "3:1",
            "of a transport that",
        ),
        ("[metrics]\nlisten = '/ip4/0.0.0.0/udp/5/quic'", "2:1", "is not over TCP"),
        ("[scoring]\nweight_uptime = 0.3", "2:1", "sum to 1, but sum to 1.1"),
        ("[scoring]\nrelay_threshold = 80.0", "2:1", "must be ordered"),
        ("[scoring]\nban_threshold = -35\nhysteresis = 6", "3:1", "half of the least distance"),
        ("[trust]\nminimum = 0.6", "2:1", "nobody would be heard"),
        ("[relay]\nexpiration = '5s'", "2:1", "relay.cleanup_interval = 10s is longer"),
        ("[timeouts]\nrequest = '2m'", "2:1", "longer than timeouts.sync = 1m"),
        ("[limits]\nmax_upload_rate = '1B'", "2:1", "32KiB a second for each peer"),
        ("[limits]\nmax_upload_rate_per_peer = '31KiB'", "2:1", "is too little"),
        ("[limits]\nmax_download_rate_per_peer = '15KiB'", "2:1", "peers send 16KiB a second"),
        ("[limits]\nmax_download_rate = '255KiB'", "2:1", "256KiB is needed, or fewer peers"),
        ("[gossip]\ninterval = '1m'\nttl = '30s'", "3:1", "longer than gossip.ttl"),
        ("[admin]\nlisten = '0.0.0.0:5'", "2:1", "not a loopback address"),
        ("[admin]\nlisten = '127.0.0.1:30401'", "2:1", "are both"),
        ("[admin]\ntoken_file = ''", "2:1", "can't be empty"),
        ("[node]\nvalidator_key_file = 'v.key'", "2:1", "node.role is \"full\""),
        ("[node]\nname = \"a\\nb\"", "2:1", "without control characters"),
        ("[node.metadata]\na = \"\\u0007\"", "1:7", "node.metadata takes 16 entries"),
    ] {
        let all = complaints(Layers::new().file("node.toml", text));
        let first = &all[0];
        assert!(first.starts_with(&format!("node.toml:{place}: ")), "{text}: {first}");
        assert!(first.contains(part), "{text}: {first}");
    }
}

/// Attack row 21: whatever the limits, strangers can't fill every slot.
#[test]
fn a_third_of_the_slots_is_kept_for_chosen_peers() {
    let limits = |text: &str| {
        let network = file(text).unwrap().config.network;
        (network.inbound_limit(), network.outbound_limit())
    };
    assert_eq!(limits(""), (48, 16));
    assert_eq!(limits("[network]\nmax_peers = 21"), (14, 16));
    assert_eq!(limits("[network]\nmax_peers = 12\nmax_inbound = 12"), (8, 12));
    assert_eq!(limits("[network]\nmax_outbound = 2\nmax_inbound = 64"), (62, 2));
}

#[test]
fn a_configuration_built_in_code_is_checked_too() {
    let mut config = Config::default();
    config.network.min_peers = 65;
    let error = config.validate().unwrap_err().to_string();
    assert!(error.starts_with("network.min_peers = 65 is more than network.max_peers = 64"));
    config.network.max_peers = 0;
    let error = config.validate().unwrap_err().to_string();
    assert!(error.starts_with("network.max_peers = 0 is out of range"), "{error}");
}

/// A file full of mistakes is answered in full, in a time that grows with its length.
#[test]
fn two_thousand_typos_are_all_reported() {
    let typos: String = (0..2_000).map(|n| format!("max_pears_{n} = {n}\n")).collect();
    let all = complaints(Layers::new().file("node.toml", format!("[network]\n{typos}")));
    assert_eq!(all.len(), 2_000);
    assert!(all[1_999].starts_with("node.toml:2001:1: unknown key \"max_pears_1999\""));
}

#[test]
fn quiet_text_and_toml_are_both_understood_in_variables() {
    let name = |value: &str| {
        let layers = Layers::new().environment([("PEERSTAGE_NODE__NAME", value)]);
        layers.load().unwrap().config.node.name
    };
    for (value, read) in
        [("alpha", "alpha"), ("'alpha'", "alpha"), ("80", "80"), ("true", "true"), ("a b", "a b")]
    {
        assert_eq!(name(value), read);
    }
    let layers = Layers::new().flags(["node.metadata={ region = 'eu' }", "network.bootstrap="]);
    assert_eq!(layers.load().unwrap().config.node.metadata["region"], "eu");
}

#[test]
fn the_resolved_configuration_is_json_too() {
    let resolved = file("[network]\nmax_peers = 40\n").unwrap();
    let json = serde_json::to_value(&resolved).unwrap();
    assert_eq!(json["config"]["network"]["max_peers"], 40);
    assert_eq!(json["config"]["network"]["ping_interval"], "15s");
    assert_eq!(json["origins"]["network.max_peers"]["from"], "file");
    assert_eq!(json["origins"]["network.max_peers"]["line"], 2);
    let config: Config = serde_json::from_value(json["config"].clone()).unwrap();
    assert_eq!(config, resolved.config);
    assert!(serde_json::from_str::<Config>("{\"network\": {\"max_pears\": 1}}").is_err());
}

#[test]
fn kinds_take_their_mode_and_their_longest_body_from_the_configuration() {
    let config =
        file("[relay]\nblock = 'selective'\n[limits]\nblock_size = '1MiB'\n").unwrap().config;
    assert_eq!(config.relay_mode(Kind::Block), Some(RelayMode::Selective));
    assert_eq!(config.relay_mode(Kind::Ping), None);
    assert_eq!(config.body_max(Kind::Block), 1 << 20);
    assert_eq!(config.body_max(Kind::Vote), Kind::Vote.row().body_max);
    for row in &crate::kinds::KINDS {
        assert_eq!(Config::default().relay_mode(row.kind), row.relay, "{}", row.name);
        assert_eq!(Config::default().body_max(row.kind), row.body_max, "{}", row.name);
    }
}

#[test]
fn every_key_is_documented_and_named_once() {
    let mut paths: Vec<String> = keys().map(Key::path).collect();
    assert!(paths.len() > 80);
    for key in keys() {
        assert!(key.documentation.iter().any(|line| line.trim().ends_with('.')), "{}", key.path());
        assert!(key.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", key.path());
    }
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), keys().count());
}

#[test]
fn every_key_round_trips_through_variables_and_flags() {
    let config = file(include_str!("../../config/validator.toml")).unwrap().config;
    for config in [Config::default(), config] {
        let value = |key: &Key| key.value(&config).to_string();
        let variables = Layers::new().environment(keys().map(|key| (key.variable(), value(key))));
        assert_eq!(variables.load().unwrap().config, config);
        let flags = keys().map(|key| format!("{}={}", key.path(), value(key)));
        assert_eq!(Layers::new().flags(flags).load().unwrap().config, config);
        let bare = keys().filter_map(|key| {
            key.value(&config).as_str().map(|text| (key.variable(), text.to_string()))
        });
        let bare: Vec<_> = bare.collect();
        let changed = Layers::new().environment(bare.clone()).load().unwrap();
        for (variable, text) in bare {
            let key = keys().find(|key| key.variable() == variable).unwrap();
            assert_eq!(key.value(&changed.config).as_str(), Some(text.as_str()), "{variable}");
        }
    }
}

/// Lines that look like a configuration, so that arbitrary text gets past the parser.
fn line() -> impl Strategy<Value = String> {
    let paths: Vec<String> = keys().map(Key::path).collect();
    let value = prop_oneof![
        "[0-9]{1,20}",
        "-?[0-9]{1,3}\\.[0-9]{1,3}",
        "'[0-9]{1,20}(ms|s|m|h|d|KiB|TiB)'",
        "'[a-z:.@0-9\\[\\]]{0,20}'",
        "\\['[a-z:.0-9]{0,9}'\\]",
        "[\\PC]{0,12}",
        Just("nan".to_string()),
        Just("true".to_string()),
        Just("1979-05-27".to_string()),
    ];
    prop_oneof![
        4 => (prop::sample::select(paths), value).prop_map(|(path, value)| format!("{path}={value}")),
        1 => "\\PC{0,24}",
    ]
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text: String) {
        fuzz::fuzz_config(text.as_bytes());
    }

    #[test]
    fn arbitrary_lines_never_panic_and_what_loads_prints_back(
        lines in prop::collection::vec(line(), 0..4),
    ) {
        fuzz::fuzz_config(lines.join("\n").as_bytes());
    }

    #[test]
    fn a_damaged_default_file_never_panics(
        damages in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, "\\PC{0,3}"), 1..6),
    ) {
        let mut text = include_str!("../../config/default.toml").to_string();
        for (index, cut, insert) in damages {
            let start = index.index(text.len());
            let end = (start + cut).min(text.len());
            if text.is_char_boundary(start) && text.is_char_boundary(end) {
                text.replace_range(start..end, &insert);
            }
        }
        fuzz::fuzz_config(text.as_bytes());
    }

    #[test]
    fn any_name_survives_the_variable_layer(name in "[^\\p{Cc}]{0,16}") {
        let quoted = toml::Value::String(name.clone()).to_string();
        let layers = Layers::new().environment([("PEERSTAGE_NODE__NAME", quoted)]);
        prop_assert_eq!(layers.load().unwrap().config.node.name, name);
    }
}
