//! The command line, as an operator uses it.
#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "cli/printed.rs"]
mod printed;
#[path = "process/mod.rs"]
mod process;

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use process::{Node, peerstage, read, run};
use rustix::process::Signal;

fn in_folder(folder: &Path, arguments: &[&str]) -> (String, String, i32) {
    read(&peerstage().args(arguments).arg("--data-dir").arg(folder).output().unwrap())
}

#[test]
fn init_makes_a_node_once() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("node");
    let (made, _, code) = in_folder(&home, &["init", "--set", "network.max_peers=9"]);
    assert_eq!(code, 0);
    let (id, _, _) = in_folder(&home, &["id"]);
    assert!(made.starts_with(&format!("node {id}")), "{made}");
    let mode = |name: &str| fs::metadata(home.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("node.key"), mode("peerstage.toml")), (0o700, 0o600, 0o600));
    let (shown, _, code) = in_folder(&home, &["config", "show", "--origin"]);
    assert_eq!(code, 0);
    let line = shown.lines().find(|line| line.starts_with("max_peers = 9")).unwrap();
    assert!(line.contains("# ") && line.contains("peerstage.toml:"), "{line}");
    let (_, errors, code) = in_folder(&home, &["init"]);
    assert_eq!(code, 1);
    assert!(errors.contains("peerstage.toml exists; edit it"), "{errors}");
    let (checked, _, code) = in_folder(&home, &["config", "check"]);
    assert_eq!((checked.contains("the configuration is right"), code), (true, 0));
}

#[test]
fn a_mistake_in_the_configuration_names_its_place_and_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    fs::write(&file, "[network]\nmax_pears = 3\n").unwrap();
    let place = file.to_str().unwrap();
    for command in [&["run"][..], &["status"], &["config", "check"], &["config", "show"]] {
        let (_, errors, code) = in_folder(folder.path(), &[command, &["--config", place]].concat());
        let expected = format!(
            "{place}:2:1: unknown key \"max_pears\" in [network]; did you mean \"max_peers\"?\n"
        );
        assert_eq!((errors.as_str(), code), (expected.as_str(), 2), "{command:?}");
    }
    let (out, _, code) =
        in_folder(folder.path(), &["config", "check", "--json", "--config", place]);
    let problems: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 2);
    assert_eq!(problems["problems"][0]["origin"]["line"], 2);

    let (_, errors, code) = in_folder(folder.path(), &["run", "--set", "network.max_peers=many"]);
    assert_eq!(code, 2);
    assert!(
        errors.starts_with("flag network.max_peers=many: network.max_peers expects"),
        "{errors}"
    );
    let output = peerstage().env("PEERSTAGE_NETWORK__MAX_PEARS", "3").arg("run").output().unwrap();
    let (_, errors, code) = read(&output);
    assert_eq!(code, 2);
    assert!(
        errors.starts_with("environment PEERSTAGE_NETWORK__MAX_PEARS: unknown key"),
        "{errors}"
    );
}

#[test]
fn environment_goes_over_files_and_flags_over_both() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("peerstage.toml");
    fs::write(&file, "[network]\nmax_peers = 10\nmax_inbound = 5\nname = \"file\"\n").unwrap();
    let output = peerstage()
        .env("PEERSTAGE_NETWORK__MAX_PEERS", "11")
        .env("PEERSTAGE_NETWORK__MAX_INBOUND", "6")
        .args(["config", "show", "--json", "--origin", "--set", "network.max_inbound=7"])
        .arg("--data-dir")
        .arg(folder.path())
        .output()
        .unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["config"]["network"]["name"], "file");
    assert_eq!(shown["config"]["network"]["max_peers"], 11);
    assert_eq!(shown["config"]["network"]["max_inbound"], 7);
    assert_eq!(shown["origins"]["network.name"]["line"], 4);
    assert_eq!(shown["origins"]["network.max_peers"]["from"], "environment");
    assert_eq!(shown["origins"]["network.max_inbound"]["from"], "flag");
}

/// Attack row 47: a key that others could have read is no identity.
#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(in_folder(folder.path(), &["init"]).2, 0);
    let key = folder.path().join("node.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    for command in ["run", "id"] {
        let (out, errors, code) = in_folder(folder.path(), &[command]);
        assert_eq!((out.as_str(), code), ("", 1));
        assert!(errors.contains("node.key: the key file's mode is 0644"), "{errors}");
    }
}

#[test]
fn a_command_without_a_node_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["status", "peers", "bans", "netinfo", "ready", "stop", "events"] {
        let (out, errors, code) = in_folder(folder.path(), &[command]);
        assert_eq!((out.as_str(), code), ("", 1), "{command}");
        let socket = folder.path().join("admin.sock");
        let socket = socket.display();
        let expected =
            format!("peerstage: no node is running at {socket}; start one with `peerstage run`\n");
        assert_eq!(errors, expected);
    }
    let long = format!("/tmp/{}/admin.sock", "x".repeat(120));
    let (_, errors, code) = read(&run(["status", "--socket", &long]));
    assert_eq!((errors.contains("may have 107 bytes"), code), (true, 1), "{errors}");
    let (_, errors, code) = in_folder(folder.path(), &["id"]);
    assert_eq!((errors.contains("`peerstage init` makes one"), code), (true, 1), "{errors}");
}

#[test]
fn a_second_node_in_the_same_folder_is_told_why_not() {
    let node = Node::start(&[]);
    let flags = ["run", "--set", "network.listen=127.0.0.1:0", "--set", "metrics.enabled=false"];
    let (_, errors, code) = in_folder(node.path(), &flags);
    assert_eq!(code, 1);
    assert!(errors.contains("is in use by another process; stop it"), "{errors}");
    // The first one has not noticed.
    assert_eq!(node.json(&["status"])["node"], node.id().as_str());
}

#[test]
fn an_address_in_full_says_which_transport_and_who() {
    let quic = "network.transports=quic";
    let (node, other) = (Node::start(&[quic]), Node::start(&[quic]));
    let in_full = format!("{}/p2p/{}", other.address(), other.id());
    assert!(in_full.starts_with("/ip4/127.0.0.1/udp/"), "{in_full}");
    assert!(node.cli(&["netinfo", "0"]).contains(&node.id()));
    let mut events = node.follow(&["peer_connected"]);
    node.cli(&["connect", &in_full]);
    assert_eq!(events.next()["peer"], other.id().as_str());
    let peer = node.json(&["peer", &other.id()]);
    assert_eq!((&peer["transport"], &peer["suite"]), (&"quic".into(), &"X25519MLKEM768".into()));
    assert_eq!(peer["address"], other.address().as_str());
}

#[test]
fn two_nodes_meet_and_their_operator_watches_and_steers() {
    let tcp = "network.transports=tcp";
    let (node, other) = (Node::start(&["admin.listen=127.0.0.1:0", tcp]), Node::start(&[tcp]));
    assert!(node.cli(&["peers"]).contains("no peers are connected"));
    assert!(node.refused(&["ready"]).1.contains("not ready"));
    node.meet(&other);
    assert!(node.cli(&["ready"]).contains("[+]peers ok: 1 of 1"));

    let prefix = &other.id()[..6];
    let peers = node.cli(&["peers"]);
    assert!(peers.contains(&other.id()[..8]) && peers.contains("out"), "{peers}");
    assert_eq!(node.json(&["peers"])[0]["peer"], other.id().as_str());
    assert_eq!(node.json(&["peer", prefix])["address"], other.address().as_str());
    let in_full = format!("/ip4/{}", other.address().replace(':', "/tcp/"));
    assert!(node.cli(&["peer", prefix]).contains(&in_full));
    assert!(node.cli(&["explain", prefix]).contains(&other.id()));
    assert_eq!(node.json(&["explain", prefix])["standing"], "neutral");
    for level in ["0", "1", "2", "3", "4"] {
        let text = node.cli(&["netinfo", level]);
        assert_eq!(text.contains(&other.id()[..8]), level != "0", "{text}");
        assert_eq!(text.contains(&other.address()), matches!(level, "2" | "4"), "{text}");
    }
    assert_eq!(node.json(&["netinfo"])["status"]["outbound"], 1);
    // The same over TCP.
    let url = format!("http://{}", node.text("admin"));
    assert_eq!(node.json(&["status", "--admin", &url])["peers"], 1);

    let mut events = node.follow(&["peer_disconnected", "peer_banned", "peer_unbanned"]);
    let banned = node.cli(&["ban", prefix, "--reason", "sends spam", "--for", "2h"]);
    assert_eq!(banned, format!("banned {}\n", other.id()));
    let seen = [events.next(), events.next()];
    assert!(seen.iter().any(|event| event["event"] == "peer_banned"), "{seen:?}");
    assert!(seen.iter().any(|event| event["closure"]["reason"] == "banned"), "{seen:?}");
    let bans = node.cli(&["bans"]);
    assert!(bans.contains(&other.id()) && bans.contains("sends spam"), "{bans}");
    assert!(node.cli(&["explain", prefix]).contains("by operator: sends spam"));
    assert_eq!(node.cli(&["unban", prefix]), format!("unbanned {}\n", other.id()));
    assert_eq!(events.next()["event"], "peer_unbanned");
    assert!(node.refused(&["unban", &other.id()]).1.contains("is not banned"));
    assert_eq!(node.cli(&["relay-mode", "transaction", "selective"]), "changed\n");
}

#[test]
fn disconnect_leaves_a_peer_alone() {
    let (node, other) = (Node::start(&[]), Node::start(&[]));
    node.meet(&other);
    let mut events = node.follow(&["peer_disconnected"]);
    let answer = node.cli(&["disconnect", &other.id()[..4]]);
    assert!(answer.starts_with(&format!("disconnected {}\n", other.id())), "{answer}");
    assert!(answer.contains("not dialled for 5 minutes"), "{answer}");
    assert_eq!(events.next()["closure"]["reason"], "requested");
    // Its first digits still name it.
    assert!(node.cli(&["explain", &other.id()[..4]]).contains(&other.id()));
    assert!(node.refused(&["peer", &other.id()[..4]]).1.contains("not connected"));
    assert_eq!(node.cli(&["ban", &other.id()[..4]]), format!("banned {}\n", other.id()));
}

/// What `run` would refuse, `config check` refuses, with the place; what it would make, it says.
#[test]
fn config_check_says_what_run_would() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    let place = file.to_str().unwrap();
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        in_folder(folder.path(), &["config", "check", "--config", place])
    };
    let (_, errors, code) = check("[limits]\nmax_upload_rate = \"1B\"\n");
    assert_eq!(code, 2);
    let expected = format!("{place}:2:1: limits.max_upload_rate = 1B is too little");
    assert!(errors.starts_with(&expected), "{errors}");
    if !cfg!(feature = "rocksdb") {
        let (_, errors, code) = check("[store]\nbackend = \"rocksdb\"\n");
        assert_eq!(code, 2);
        let expected = format!("{place}:2:1: store.backend = \"rocksdb\": this build has no such");
        assert!(errors.starts_with(&expected), "{errors}");
        let (_, of_run, code) = in_folder(folder.path(), &["run", "--config", place]);
        assert_eq!((of_run, code), (errors, 2));
    }
    let below = file.join("below");
    let (_, errors, code) = in_folder(&below, &["config", "check"]);
    assert!(code == 2 && errors.contains("is not a directory"), "{code} {errors}");
    let (text, _, code) = in_folder(&folder.path().join("nope"), &["config", "check"]);
    assert_eq!(code, 0);
    assert!(text.starts_with("the configuration is right: 1 key is set,"), "{text}");
    assert!(text.contains("nope is not there yet: `run` makes it\n"), "{text}");
    assert!(text.contains("there is no key") && text.contains("node.key yet"), "{text}");
    fs::write(folder.path().join("node.key"), "no key").unwrap();
    let (_, errors, code) = in_folder(folder.path(), &["config", "check"]);
    assert_eq!((code, errors), {
        let (_, of_run, code) = in_folder(folder.path(), &["id"]);
        (code, of_run)
    });
}

#[test]
fn sigint_and_sigterm_end_a_node_in_order() {
    for signal in [Signal::INT, Signal::TERM] {
        let node = Node::start(&[]);
        let socket = node.text("socket");
        node.signal(signal);
        let (code, _, log) = node.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("\"message\":\"the node stops\""), "{log}");
        assert!(!Path::new(&socket).exists());
    }
}

/// A second signal ends a node that is closing at once, with 128 and the number of the signal.
/// Both are sent while the node is held, so the second is there before anything has closed.
#[test]
fn a_second_signal_ends_a_node_at_once() {
    let node = Node::start(&[]);
    for signal in [Signal::STOP, Signal::INT, Signal::TERM, Signal::CONT] {
        node.signal(signal);
    }
    let (code, _, log) = node.end();
    // Which of the two is seen first is the runtime's choice.
    let (second, expected) = if log.contains("\"why\":\"SIGINT\"") {
        ("SIGTERM", 128 + 15)
    } else {
        assert!(log.contains("\"why\":\"SIGTERM\""), "{log}");
        ("SIGINT", 128 + 2)
    };
    assert_eq!(code, Some(expected), "{log}");
    assert!(log.contains(&format!("\"signal\":\"{second}\"")), "{log}");
    assert!(log.contains("a second signal: the node ends without closing"), "{log}");
}

#[test]
fn stop_ends_a_node_in_order() {
    let node = Node::start(&[]);
    assert_eq!(node.cli(&["stop"]), "stopping\n");
    assert_eq!(node.end().0, Some(0));
}

/// Attack row 49: what was acknowledged is there after kill -9; the socket that it leaves behind
/// is no obstacle.
#[test]
fn a_ban_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let stranger = "cd".repeat(32);
    let node = Node::start_in(folder.path(), &[]);
    let id = node.id();
    node.cli(&["ban", &stranger]);
    node.signal(Signal::KILL);
    assert_eq!(node.end().0, None);
    let again = Node::start_in(folder.path(), &[]);
    assert_eq!(again.id(), id);
    assert_eq!(again.json(&["bans"])[0]["peer"], stranger.as_str());
}

/// In a process of its own: a node whose actor, named by the environment, panics.
#[test]
fn a_node_that_loses_an_actor() {
    let Some(actor) = std::env::var_os("PEERSTAGE_TEST_PANIC") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut config = peerstage::core::config::Config::default();
    config.node.data_dir = folder.path().to_owned();
    config.network.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.metrics.enabled = false;
    let _limiter = peerstage::node::start_logging(&config.log);
    let ended = peerstage::node::run::run_attached(
        config,
        |builder| builder,
        |started| match actor.to_str().unwrap() {
            // The network does not know it; any request reaches it.
            "admin" => {
                peerstage::shell::plan_fault("Admin::AdminRequest");
                let socket = started.socket.clone().unwrap();
                std::thread::spawn(move || {
                    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
                    stream.write_all(process::get("/v1/status").as_bytes()).unwrap();
                    let _ = stream.read_to_end(&mut Vec::new());
                });
            }
            actor => assert!(started.network.panic_in(actor)),
        },
    );
    unreachable!("the process should have ended: {ended:?}");
}

/// A node without one of its core actors ends at once, so that its service manager starts it
/// again.
#[test]
fn the_death_of_a_core_actor_ends_the_process_with_70() {
    let actors = [
        "relay",
        "requests",
        "manager",
        "scoring",
        "store",
        "blockchain",
        "consensus",
        "monitoring",
        "nat",
        "admin",
    ];
    for actor in actors {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_node_that_loses_an_actor", "--nocapture"])
            .env("PEERSTAGE_TEST_PANIC", actor)
            .output()
            .unwrap();
        let (_, errors, code) = read(&output);
        assert_eq!(code, 70, "{actor}: {errors}");
        assert!(errors.contains("a core actor has died, so the node ends"), "{actor}: {errors}");
    }
}
