//! Finding out where strangers reach a node, on real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here is the test")]

#[path = "process/mod.rs"]
mod process;

use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    thread,
};

use peerstage::{Network, What, core::nat::read_answer};
use process::{Node, peerstage, read};
use serde_json::Value;

/// A STUN server that says where it saw who asks (RFC 8489), for as long as the test runs.
fn stun_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut request = [0; 20];
        while let Ok((20, SocketAddr::V4(from))) = socket.recv_from(&mut request) {
            let mut answer = vec![0x01, 0x01, 0, 12];
            answer.extend(&request[4..]);
            answer.extend([0, 0x20, 0, 8, 0, 1]);
            answer.extend((from.port() ^ 0x2112).to_be_bytes());
            answer.extend((from.ip().to_bits() ^ 0x2112_a442).to_be_bytes());
            assert!(read_answer(&answer).is_ok());
            socket.send_to(&answer, from).unwrap();
        }
    });
    address
}

/// A node that listens everywhere learns its addresses by itself, and whoever hears of it through
/// somebody else finds it there.
#[test]
fn a_node_that_listens_everywhere_is_found_by_a_third() {
    actix_rt::System::new().block_on(async {
        let node = |listen: &str| {
            Network::builder("reach").listen(listen).configure(|config| {
                config.network.allow_private_addresses = true;
                config.nat.port_mapping = false;
                config.network.min_peers = 2;
            })
        };
        let hub = node("127.0.0.1:0").start_here().await.unwrap();
        let hub_address = hub.listening()[0];
        let everywhere = node("0.0.0.0:0").start_here().await.unwrap();
        let mut events = everywhere.subscribe();
        everywhere.connect(hub_address.to_string().parse().unwrap()).await.unwrap();
        everywhere.ready(1).await.unwrap();
        if everywhere.status().await.unwrap().reach.addresses.is_empty() {
            let told = |what: &What| matches!(what, What::AddressesTold { .. }).then_some(());
            events.find(told).await.unwrap();
        }
        let third = node("127.0.0.1:0").start_here().await.unwrap();
        third.connect(hub_address.to_string().parse().unwrap()).await.unwrap();
        third.ready(2).await.unwrap();
        let peers: Vec<_> = third.peers().await.unwrap().iter().map(|peer| peer.peer).collect();
        assert!(peers.contains(&everywhere.id()), "{peers:?}");
        for network in [&third, &everywhere, &hub] {
            network.shutdown().await;
        }
    });
}

/// STUN leaves from QUIC's own port, and the answer comes back there.
#[test]
fn two_stun_servers_show_that_there_is_no_nat() {
    actix_rt::System::new().block_on(async {
        let servers = [stun_server(), stun_server()];
        let node = Network::builder("stun")
            .listen("/ip4/0.0.0.0/udp/0/quic")
            .configure(move |config| {
                config.network.allow_private_addresses = true;
                config.nat.port_mapping = false;
                config.nat.stun_servers =
                    servers.iter().map(|server| server.to_string().parse().unwrap()).collect();
            })
            .start_here()
            .await
            .unwrap();
        // Asked over and over, a turn of the runtime each; the suite's own limit ends what hangs.
        loop {
            let reach = node.status().await.unwrap().reach;
            if reach.nat == "none" {
                let port = node.listening()[0].port();
                assert!(reach.addresses.iter().all(|own| own.address.port() == port), "{reach:?}");
                break;
            }
            tokio::task::yield_now().await;
        }
        node.shutdown().await;
    });
}

fn doctor(command: &mut std::process::Command) -> (Value, i32) {
    let output = command.args(["doctor", "--json", "--time-server", "none"]).output().unwrap();
    let (out, errors, code) = read(&output);
    let found = serde_json::from_str(out.lines().next().unwrap_or_default());
    (found.expect(&errors), code)
}

fn outcome(found: &Value, check: &str) -> String {
    let checks = found["checks"].as_array().unwrap();
    let of: Vec<&Value> = checks.iter().filter(|one| one["check"] == check).collect();
    assert!(!of.is_empty(), "{check}: {found}");
    of[0]["outcome"].as_str().unwrap().to_owned()
}

#[test]
fn the_doctor_finds_a_port_that_somebody_else_has() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen =
        format!("network.listen=/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let mut command = peerstage();
    command.arg("--data-dir").arg(folder.path()).args(["--set", &listen]);
    command.args(["--set", "nat.port_mapping=false"]);
    let (found, code) = doctor(&mut command);
    assert_eq!((code, outcome(&found, "port").as_str()), (1, "bad"));
    assert_eq!(found["well"], false);
    assert_eq!(outcome(&found, "database"), "skipped");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "it only looks");
}

#[test]
fn the_doctor_asks_the_running_node() {
    let (node, other) = (Node::start(&[]), Node::start(&[]));
    node.meet(&other);
    let (found, _) = doctor(&mut node.command(&[]));
    for check in ["node", "port", "database", "disk"] {
        assert_eq!(outcome(&found, check), "good", "{check}: {found}");
    }
    assert_eq!(outcome(&found, "reachability"), "skipped", "no stranger has come yet: {found}");
    let names: Vec<&str> = found["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["check"].as_str().unwrap())
        .collect();
    let place = |name| names.iter().position(|check| *check == name).unwrap();
    let order = [
        "node",
        "clock",
        "file limit",
        "port",
        "interfaces",
        "public address",
        "nat",
        "port mapping",
        "reachability",
        "dns seeds",
        "bootstrap",
        "disk",
        "database",
    ];
    assert!(order.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{names:?}");
}
