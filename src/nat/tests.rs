//! Stories of nodes that find out where they are.

mod offers;
mod places;
mod punching;
mod relays;
mod servers;

use super::{strangers::DIALLED_FOR, verdict::PATIENCE, *};
use crate::address::NetworkGroup;

const SEED: [u8; 32] = [7; 32];

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn quic(text: &str) -> Address {
    address(text).over(TransportKind::Quic)
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn peer(n: u8) -> NodeId {
    NodeId([n; 32])
}

/// A node, and what it was told to announce last.
struct Node {
    machine: NatTraversal,
    now: Time,
    out: Vec<Action>,
    announced: Vec<Address>,
    announcements: usize,
}

/// A node that listens everywhere, over QUIC and TCP, at one port.
fn config(n: u8) -> NatConfig {
    NatConfig {
        node: peer(n),
        listening: vec![quic("0.0.0.0:30400"), address("0.0.0.0:30400")],
        external: Vec::new(),
        allow_private: false,
        port_mapping: true,
        hole_punching: true,
        noise_key: [5; 32],
    }
}

impl Node {
    fn at(ips: &[&str], allow_private: bool) -> Node {
        Node::with(NatConfig { allow_private, ..config(255) }, ips)
    }

    fn with(config: NatConfig, ips: &[&str]) -> Node {
        let now = Time(1_000);
        let mut node = Node {
            machine: NatTraversal::new(config, SEED),
            now,
            out: Vec::new(),
            announced: Vec::new(),
            announcements: 0,
        };
        node.tell(|machine, now, out| machine.on_start(now, out));
        assert_eq!(node.out[0], Action::LookAtInterfaces);
        node.moves_to(ips);
        node
    }

    fn tell(&mut self, input: impl FnOnce(&mut NatTraversal, Time, &mut Vec<Action>)) {
        self.out.clear();
        input(&mut self.machine, self.now, &mut self.out);
        for action in &self.out {
            if let Action::Announce(candidates) = action {
                self.announcements += 1;
                self.announced = candidates.iter().map(|own| own.address).collect();
            }
        }
    }

    fn moves_to(&mut self, ips: &[&str]) {
        let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        self.tell(|machine, now, out| machine.on_interfaces(now, ips, out));
    }

    fn meets(&mut self, n: u8, remote: Address, outbound: bool, observed: Address) {
        self.tell(|machine, now, out| {
            machine.on_peer(now, (peer(n), remote, outbound), observed, out);
        });
    }

    /// Lets time pass, deadline by deadline, and returns the STUN requests.
    fn passes(&mut self, span: Millis) -> Vec<(Time, SocketAddr, [u8; 20])> {
        let until = self.now.plus(span);
        let mut asked = Vec::new();
        while let Some(deadline) = self.machine.deadline().filter(|at| *at <= until) {
            self.now = deadline;
            self.tell(|machine, now, out| machine.on_deadline(now, out));
            for action in &self.out {
                if let Action::Ask { server, request } = action {
                    asked.push((self.now, *server, *request));
                }
            }
        }
        self.now = until;
        asked
    }

    /// As [`Node::passes`], while every server answers at once.
    fn passes_answered(&mut self, span: Millis, seen: &str) {
        let until = self.now.plus(span);
        while let Some(deadline) = self.machine.deadline().filter(|at| *at <= until) {
            for (_, server, request) in self.passes(deadline.since(self.now)) {
                let datagram = answer(&request, seen);
                self.tell(|m, now, out| assert!(m.on_datagram(now, server, &datagram, out)));
            }
        }
        self.now = until;
    }

    fn verdict(&self, transport: TransportKind) -> Verdict {
        let known = self.machine.reachability(self.now);
        known.verdicts.iter().find(|(kind, _)| *kind == transport).unwrap().1
    }
}

fn announce(address: Address, origin: Origin) -> Action {
    Action::Announce(vec![Candidate { address, origin }])
}

/// A success that says where the request came from.
fn answer(request: &[u8; 20], seen: &str) -> Vec<u8> {
    let SocketAddr::V4(seen) = socket(seen) else { panic!("IPv4") };
    let mut answer = vec![0x01, 0x01, 0, 12];
    answer.extend(&request[4..]);
    answer.extend([0, 0x20, 0, 8, 0, 1]);
    answer.extend((seen.port() ^ 0x2112).to_be_bytes());
    answer.extend((seen.ip().to_bits() ^ 0x2112_a442).to_be_bytes());
    answer
}

#[test]
fn a_server_in_a_data_centre_tells_its_public_address_at_once() {
    let mut node = Node::at(&["10.0.0.5", "93.184.216.34", "fe80::1"], false);
    assert_eq!(node.announced, [quic("93.184.216.34:30400"), address("93.184.216.34:30400")]);
    assert_eq!(node.verdict(TransportKind::Tcp), Verdict::Unknown);
    // No router is asked for anything.
    assert!(node.out.iter().all(|action| !matches!(action, Action::Map { .. })));
    node.meets(1, address("8.8.4.4:5000"), false, address("93.184.216.34:30400"));
    assert_eq!(node.verdict(TransportKind::Tcp), Verdict::Public);
    assert_eq!(node.verdict(TransportKind::Quic), Verdict::Unknown, "nobody came over QUIC");
}

#[test]
fn a_node_at_home_asks_its_router_and_tells_what_it_maps() {
    let mut node = Node::at(&["192.168.1.7"], false);
    assert_eq!(node.announced, []);
    let asked = |out: &[Action]| {
        let map = |action: &&Action| matches!(action, Action::Map { port: 30_400, .. });
        out.iter().filter(map).count()
    };
    assert_eq!(asked(&node.out), 2);
    let granted =
        Granted { external: socket("81.2.69.142:30400"), life: 7_200_000, method: Method::NatPmp };
    node.tell(|m, now, out| m.on_granted(now, TransportKind::Tcp, Ok(granted), out));
    assert_eq!(node.announced, [address("81.2.69.142:30400")]);
    node.tell(|m, now, out| {
        m.on_granted(now, TransportKind::Quic, Err("no answer".to_owned()), out);
    });
    // Peers see the same router, so that adds nothing for TCP and the very port for QUIC.
    for n in 1..=3 {
        let remote = Address::new([n * 20, 1, 1, 1].into(), 30_400);
        node.meets(n, remote, true, quic("81.2.69.142:41000"));
    }
    assert_eq!(node.announced, [quic("81.2.69.142:41000"), address("81.2.69.142:30400")]);
    // Whom we dialled proves nothing; a stranger does.
    node.meets(4, address("20.1.1.1:7777"), false, address("81.2.69.142:30400"));
    assert_eq!(node.verdict(TransportKind::Tcp), Verdict::Unknown);
    node.meets(5, address("25.1.1.1:7777"), false, address("81.2.69.142:30400"));
    assert_eq!(node.verdict(TransportKind::Tcp), Verdict::Mapped);
    // Looked at within a minute, and told for the rest of its life although the router is silent.
    let granted_at = node.now;
    let renews = |out: &[Action]| {
        let of_tcp =
            |action: &Action| matches!(action, Action::Map { transport: TransportKind::Tcp, .. });
        out.iter().any(of_tcp)
    };
    while !renews(&node.out) {
        let next = node.machine.deadline().unwrap();
        node.passes(next.since(node.now));
    }
    assert!(node.now.since(granted_at) <= 60_000);
    let silent = |node: &mut Node| {
        node.tell(|m, now, out| {
            m.on_granted(now, TransportKind::Tcp, Err("no answer".to_owned()), out);
        });
    };
    silent(&mut node);
    assert!(node.announced.contains(&address("81.2.69.142:30400")));
    assert_eq!(node.verdict(TransportKind::Tcp), Verdict::Mapped);
    node.passes(7_200_000);
    silent(&mut node);
    let known = node.machine.reachability(node.now);
    assert!(
        known.gateways.iter().all(|(_, said)| matches!(said, Gateway::Refused(_) | Gateway::Asked))
    );
}

/// A NAT lets in whom the node has talked to: for as long as they talked, and a while after.
#[test]
fn a_peer_that_was_dialled_is_no_stranger_when_it_comes_back() {
    let mut node = Node::at(&["192.168.1.7"], false);
    let observed = quic("81.2.69.142:30400");
    node.meets(1, quic("20.1.1.1:30400"), true, observed);
    node.passes(60 * 60 * 1_000);
    node.meets(2, quic("20.1.1.1:30400"), false, observed);
    node.tell(|m, now, out| m.on_peer_gone(now, &peer(1), out));
    node.meets(1, quic("20.1.1.1:30400"), false, observed);
    assert_ne!(node.verdict(TransportKind::Quic), Verdict::Forwarded);
    node.passes(DIALLED_FOR);
    node.meets(1, quic("20.1.1.1:30400"), false, observed);
    assert_eq!(node.verdict(TransportKind::Quic), Verdict::Forwarded);
    // Who came in the old network says nothing of the new one; a link's own address is none.
    node.moves_to(&["192.168.1.7", "fe80::9"]);
    assert_eq!(node.verdict(TransportKind::Quic), Verdict::Forwarded);
    node.moves_to(&["192.168.8.2"]);
    assert_eq!(node.verdict(TransportKind::Quic), Verdict::Unknown);
}

#[test]
fn a_router_that_refuses_is_asked_less_and_less_often_and_again_in_another_network() {
    let mut node = Node::at(&["192.168.1.7"], false);
    let refuse = |node: &mut Node| {
        for transport in TransportKind::ALL {
            node.tell(|m, now, out| {
                m.on_granted(now, transport, Err("not authorized".to_owned()), out);
            });
        }
    };
    let mut waits = Vec::new();
    for _ in 0..8 {
        refuse(&mut node);
        let next = node.machine.leases.deadline().unwrap();
        waits.push(next.since(node.now) / 60_000);
        node.passes(next.since(node.now));
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    refuse(&mut node);
    node.moves_to(&["192.168.8.2"]);
    assert!(node.out.iter().any(|action| matches!(action, Action::Map { .. })));
}

#[test]
fn a_carriers_nat_behind_the_router_is_recognised() {
    let mut node = Node::at(&["192.168.1.7"], false);
    let external = socket("100.72.1.9:30400");
    let granted = Granted { external, life: 3_600_000, method: Method::Upnp };
    node.tell(|m, now, out| m.on_granted(now, TransportKind::Tcp, Ok(granted), out));
    assert_eq!(node.announced, []);
    let known = node.machine.reachability(node.now);
    assert!(known.gateways.iter().any(|(_, gateway)| matches!(gateway, Gateway::DoubleNat { .. })));
}

/// Attack row 21: addresses from peers' words need three neighbourhoods.
#[test]
fn liars_need_three_neighbourhoods() {
    let mut node = Node::at(&["192.168.1.7"], false);
    let lie = quic("66.66.66.66:1");
    for n in 0..50 {
        let remote = Address::new([44, n % 2, n, 1].into(), 30_400);
        node.meets(n, remote, false, lie);
    }
    assert_eq!(node.announced, [], "fifty peers in two neighbourhoods");
    for n in 51..=53 {
        let remote = Address::new([n, 1, 1, 1].into(), 30_400);
        node.meets(n, remote, true, quic("81.2.69.142:9000"));
    }
    assert_eq!(node.announced, [quic("81.2.69.142:9000"), address("81.2.69.142:30400")]);
    for n in 51..=53 {
        node.tell(|m, now, out| m.on_peer_gone(now, &peer(n), out));
    }
    assert_eq!(node.announced, [], "their word ends with them");
    assert_eq!(NetworkGroup([4, 44, 0, 0, 0]), address("44.0.9.1:1").group());
}

/// An hour in which nobody comes means something else for each: a server may have a firewall, or
/// have dialled everybody there is; a node behind a NAT is not reached.
#[test]
fn silence_is_read_by_where_the_node_is() {
    let mut server = Node::at(&["93.184.216.34"], false);
    let mut home = Node::at(&["192.168.1.7"], false);
    for node in [&mut server, &mut home] {
        assert_eq!(node.verdict(TransportKind::Tcp), Verdict::Unknown);
        node.passes(60 * 60_000);
    }
    assert_eq!(server.verdict(TransportKind::Tcp), Verdict::Untested);
    assert_eq!(home.verdict(TransportKind::Tcp), Verdict::OutboundOnly);
}

/// A NAT that filters by address lets in whoever we sent packets to: also those that we only felt.
#[test]
fn whoever_was_dialled_in_vain_is_no_stranger() {
    let mut node = Node::at(&["192.168.1.7"], false);
    let there = address("8.8.4.4:30400");
    node.tell(|m, now, _| m.on_dialled(now, &there));
    node.meets(1, there, false, address("81.2.69.142:30400"));
    assert_eq!(node.verdict(TransportKind::Tcp), Verdict::Unknown);
    node.passes(DIALLED_FOR);
    node.meets(2, there, false, address("81.2.69.142:30400"));
    assert_eq!(node.verdict(TransportKind::Tcp), Verdict::Forwarded);
}

/// An announcement that is lost on its way is made again.
#[test]
fn an_announcement_that_nobody_heard_is_repeated() {
    let mut node = Node::at(&["93.184.216.34"], false);
    let told = node.announced.clone();
    node.announced.clear();
    node.passes(5 * 60_000);
    assert_eq!(node.announced, [], "once is enough");
    node.machine.on_unheard();
    node.passes(60_000);
    assert_eq!(node.announced, told);
}

#[test]
fn what_the_operator_says_is_all_that_is_told() {
    let external = vec![address("93.184.216.34:30400")];
    let listening = vec![address("0.0.0.0:30400")];
    let external_only = NatConfig { listening, external: external.clone(), ..config(1) };
    let mut machine = NatTraversal::new(external_only, SEED);
    let mut out = Vec::new();
    machine.on_start(Time(5), &mut out);
    machine.on_interfaces(Time(5), vec!["93.184.216.35".parse().unwrap()], &mut out);
    assert_eq!(out, [Action::LookAtInterfaces, announce(external[0], Origin::Configured)]);
}

#[test]
fn a_private_network_tells_private_addresses() {
    let node = Node::at(&["172.18.0.3", "127.0.0.1"], true);
    assert_eq!(node.announced, [quic("172.18.0.3:30400"), address("172.18.0.3:30400")]);
    // One address that the operator chose is told as it is.
    let listening = vec![address("127.0.0.1:4000")];
    let one = NatConfig { listening: listening.clone(), ..config(1) };
    let mut machine = NatTraversal::new(one, SEED);
    let mut out = Vec::new();
    machine.on_start(Time(5), &mut out);
    assert_eq!(out, [Action::LookAtInterfaces, announce(listening[0], Origin::Listening)]);
}

/// Whoever only reaches others is told through two of them, in different neighbourhoods, and no
/// longer than it takes until a stranger comes by itself.
#[test]
fn a_node_behind_a_nat_is_told_through_its_relays() {
    let mut node = Node::at(&["192.168.1.7"], false);
    let relays = ["8.1.0.1:1", "8.1.0.2:1", "9.1.0.1:1"].map(address);
    for (n, relay) in (1..).zip(relays) {
        node.tell(|machine, now, out| machine.on_relay(now, peer(n), relay, out));
        node.now = node.now.plus(1_000);
    }
    let through = |relay: usize| relays[relay].through().unwrap();
    assert_eq!(node.announced, [through(0), through(1)], "whoever was first is told");
    node.tell(|machine, now, out| machine.on_peer_gone(now, &peer(1), out));
    assert_eq!(node.announced, [through(1), through(2)], "another neighbourhood");
    node.tell(|machine, now, out| {
        machine.on_relay(now, peer(9), address("10.0.0.1:1"), out);
        machine.on_peer_gone(now, &peer(2), out);
    });
    assert_eq!(node.announced, [through(2)], "nobody reaches a private address");
    node.meets(7, address("7.7.7.7:9"), false, address("1.2.3.4:5"));
    assert!(node.announced.is_empty(), "a stranger came: {:?}", node.announced);
}

/// A machine with a public address needs no relay, unless nobody comes for half an hour.
#[test]
fn a_public_node_is_told_through_relays_only_when_nobody_comes() {
    let mut node = Node::at(&["20.1.1.1"], false);
    let own = node.announced.clone();
    assert_eq!(own.len(), 2);
    let relay = address("8.1.0.1:1");
    node.tell(|machine, now, out| machine.on_relay(now, peer(1), relay, out));
    assert_eq!(node.announced, own);
    node.passes(PATIENCE);
    node.passes(LOOK_INTERVAL);
    assert_eq!(node.announced, [own, vec![relay.through().unwrap()]].concat());
    let told = node.machine.reachability(node.now);
    assert_eq!(told.candidates.last().unwrap().origin, Origin::Relayed);
}
