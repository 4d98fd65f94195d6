//! Two nodes behind modelled NATs (RFC 4787) punch: what works is what works in the test bed of
//! real ones.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;

use super::*;

/// How a NAT maps and filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One port for all; lets everybody in.
    Full,
    /// One port for all; lets in IPs that were sent to.
    Restricted,
    /// One port for all; lets in sockets that were sent to.
    PortRestricted,
    /// A port for each destination; lets in sockets that were sent to.
    Symmetric,
}

const KINDS: [Kind; 4] = [Kind::Full, Kind::Restricted, Kind::PortRestricted, Kind::Symmetric];

struct Router {
    kind: Kind,
    ip: IpAddr,
    next_port: u16,
    /// The port outside, by destination where that matters.
    ports: BTreeMap<Option<SocketAddr>, u16>,
    sent: BTreeSet<(u16, SocketAddr)>,
}

impl Router {
    fn out(&mut self, to: SocketAddr) -> SocketAddr {
        let destination = (self.kind == Kind::Symmetric).then_some(to);
        let next = &mut self.next_port;
        let port = *self.ports.entry(destination).or_insert_with(|| {
            *next += 1;
            *next
        });
        self.sent.insert((port, to));
        SocketAddr::new(self.ip, port)
    }

    fn lets_in(&self, port: u16, from: SocketAddr) -> bool {
        match self.kind {
            Kind::Full => self.ports.values().any(|known| *known == port),
            Kind::Restricted => self.sent.iter().any(|(p, to)| *p == port && to.ip() == from.ip()),
            _ => self.sent.contains(&(port, from)),
        }
    }
}

enum Event {
    Datagram {
        to: SocketAddr,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    Message {
        to: usize,
        message: PunchMessage,
    },
    /// The first packet of a connection, and the answer to it.
    Connect {
        to: SocketAddr,
        from: SocketAddr,
        back: bool,
    },
}

/// Two nodes, their routers, and what is under way between them.
struct Pair {
    nodes: Vec<Node>,
    routers: Vec<Router>,
    events: BTreeMap<(Time, u64), Event>,
    count: u64,
    rng: ChaCha20Rng,
    connected: Option<Time>,
    ended: Vec<Punched>,
    /// Probes that the first has sent.
    probes: usize,
}

impl Pair {
    fn new(kinds: [Kind; 2], seed: u64) -> Pair {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut nodes = Vec::new();
        let mut routers = Vec::new();
        for (number, kind) in kinds.into_iter().enumerate() {
            let octet = 80 + u8::try_from(number).unwrap();
            let ip = IpAddr::from([octet, 1, 1, 1]);
            let next_port = rng.random_range(2_000..30_000);
            let (ports, sent) = (BTreeMap::new(), BTreeSet::new());
            let mut router = Router { kind, ip, next_port, ports, sent };
            let mut node = Node::with(config(octet - 80), &["192.168.1.7"]);
            // Two servers have said where they see it.
            let servers = [socket("11.0.0.1:3478"), socket("12.0.0.1:3478")];
            node.tell(|m, now, out| m.set_stun_servers(now, &servers, out));
            let asked: Vec<Action> = node.out.clone();
            for action in asked {
                if let Action::Ask { server, request } = action {
                    let datagram = answer(&request, &router.out(server).to_string());
                    node.tell(|m, now, out| assert!(m.on_datagram(now, server, &datagram, out)));
                }
            }
            nodes.push(node);
            routers.push(router);
        }
        let (events, count, connected, ended) = (BTreeMap::new(), 0, None, Vec::new());
        Pair { nodes, routers, events, count, rng, connected, ended, probes: 0 }
    }

    fn later(&mut self, from: Millis, to: Millis, event: Event) {
        let at = self.nodes[0].now.plus(self.rng.random_range(from..=to));
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    /// Whose router an address is of.
    fn owner(&self, ip: IpAddr) -> Option<usize> {
        self.routers.iter().position(|router| router.ip == ip)
    }

    fn does(&mut self, node: usize, input: impl FnOnce(&mut NatTraversal, Time, &mut Vec<Action>)) {
        self.nodes[node].tell(input);
        for action in std::mem::take(&mut self.nodes[node].out) {
            if let Action::Ask { server, request } = action {
                let to = self.routers[node].out(server);
                let bytes = answer(&request, &to.to_string());
                self.later(20, 150, Event::Datagram { to, from: server, bytes });
            }
            let Action::Punch(action) = action else { continue };
            match action {
                PunchAction::Tell(to, noise_key, message) => {
                    let answers = message.step == PunchStep::Answer;
                    assert_eq!(noise_key, answers.then_some([5; 32]), "an answer can be sealed");
                    assert_eq!(to, peer(u8::try_from(1 - node).unwrap()));
                    self.later(60, 400, Event::Message { to: 1 - node, message });
                }
                PunchAction::Probe(to, bytes) => {
                    self.probes += usize::from(node == 0);
                    let from = self.routers[node].out(to);
                    self.later(20, 150, Event::Datagram { to, from, bytes: bytes.to_vec() });
                }
                PunchAction::Dial(_, address) => {
                    let to = address.socket();
                    let from = self.routers[node].out(to);
                    self.later(20, 150, Event::Connect { to, from, back: false });
                }
                PunchAction::Ended(ended) => self.ended.push(ended),
            }
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Message { to, message } => {
                let sender = peer(u8::try_from(1 - to).unwrap());
                self.does(to, |m, now, out| m.on_punch(now, sender, message, out));
            }
            Event::Datagram { to, from, bytes } => {
                let owner = self.owner(to.ip());
                let owner = owner.filter(|node| self.routers[*node].lets_in(to.port(), from));
                if let Some(node) = owner {
                    self.does(node, |m, now, out| {
                        let _ = m.on_datagram(now, from, &bytes, out);
                    });
                }
            }
            Event::Connect { to, from, back } => {
                let owner = self.owner(to.ip());
                let Some(node) = owner.filter(|node| self.routers[*node].lets_in(to.port(), from))
                else {
                    return;
                };
                if back {
                    self.connected.get_or_insert(self.nodes[0].now);
                    for (node, remote) in [(node, from), (1 - node, to)] {
                        let remote = Address::from(remote).over(TransportKind::Quic);
                        let other = u8::try_from(1 - node).unwrap();
                        let met = (peer(other), remote, node == 0);
                        let seen = quic("9.9.9.9:9");
                        self.does(node, |m, now, out| m.on_peer(now, met, seen, out));
                    }
                } else {
                    let answer = self.routers[node].out(from);
                    self.later(20, 150, Event::Connect { to: from, from: answer, back: true });
                }
            }
        }
    }

    /// Lets time pass until both have nothing more to do with each other.
    fn passes(&mut self, span: Millis) {
        let end = self.nodes[0].now.plus(span);
        loop {
            let next = self.events.keys().next().map(|(at, _)| *at);
            let due = (0..2).filter_map(|n| self.nodes[n].machine.deadline().map(|at| (at, n)));
            let (deadline, node) = due.min().unwrap();
            let at = next.unwrap_or(Time::NEVER).min(deadline);
            if at > end {
                break;
            }
            self.nodes.iter_mut().for_each(|node| node.now = at);
            if next == Some(at) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happens(event);
            } else {
                self.does(node, |m, now, out| m.on_deadline(now, out));
            }
        }
        self.nodes.iter_mut().for_each(|node| node.now = end);
    }

    /// The first wants the second: how long it took, if it came to anything.
    fn punches(&mut self) -> Option<Millis> {
        let began = self.nodes[0].now;
        self.does(0, |m, now, out| m.want(now, peer(1), out));
        self.passes(20_000);
        self.connected.map(|at| at.since(began))
    }
}

/// The matrix that the test bed of real NATs gives: a NAT with a port for each destination meets
/// only those that let in whoever has the right IP.
#[test]
fn every_pair_of_nats_that_can_be_punched_is() {
    for first in KINDS {
        for second in KINDS {
            let strict = |kind| matches!(kind, Kind::PortRestricted | Kind::Symmetric);
            let symmetric = first == Kind::Symmetric || second == Kind::Symmetric;
            let possible = !(symmetric && strict(first) && strict(second));
            let mut took = Vec::new();
            for seed in 0..100 {
                let mut pair = Pair::new([first, second], seed);
                let time = pair.punches();
                assert_eq!(time.is_some(), possible, "{first:?} to {second:?}, seed {seed}");
                took.extend(time);
                let successes = pair
                    .ended
                    .iter()
                    .filter(|ended| ended.outcome == PunchOutcome::Connected)
                    .count();
                assert_eq!(successes, if possible { 2 } else { 0 });
            }
            took.sort_unstable();
            if possible {
                assert!(took[50] <= 2_000 && took[99] <= 5_000, "{first:?} {second:?}: {took:?}");
            }
        }
    }
}

/// What can't be is tried less and less often, until the addresses change.
#[test]
fn a_punch_in_vain_is_not_tried_for_ever() {
    let mut pair = Pair::new([Kind::Symmetric, Kind::PortRestricted], 1);
    let mut each = Vec::new();
    for _ in 0..3_600 {
        let (ended, probes) = (pair.ended.len(), pair.probes);
        pair.does(0, |m, now, out| m.want(now, peer(1), out));
        pair.passes(1_000);
        if pair.ended[ended..].iter().any(|ended| ended.peer == peer(1)) {
            each.push(pair.probes);
        }
        assert!(pair.probes >= probes);
    }
    let sent = each.iter().zip([0].iter().chain(&each)).map(|(now, before)| now - before);
    assert!(
        sent.clone().all(|sent| sent > 0),
        "each sends something: {:?}",
        sent.collect::<Vec<_>>()
    );
    let by_opener = pair.ended.iter().filter(|ended| ended.peer == peer(1)).count();
    assert!((10..=13).contains(&by_opener), "{by_opener} punches in an hour");
    assert!(pair.ended.iter().all(|ended| ended.outcome == PunchOutcome::Failed));
    pair.nodes[0].moves_to(&["192.168.9.9"]);
    let ended = pair.ended.len();
    assert_eq!(pair.punches(), None);
    assert!(pair.ended.len() > ended, "in another network it is tried at once");
}

/// Both want the other at the same moment: one of the offers counts, the same for both.
#[test]
fn offers_that_cross_are_one_punch() {
    for seed in 0..100 {
        let mut pair = Pair::new([Kind::PortRestricted, Kind::PortRestricted], seed);
        pair.does(1, |m, now, out| m.want(now, peer(0), out));
        assert!(pair.punches().is_some_and(|took| took < 5_000), "seed {seed}");
        assert_eq!(
            pair.ended.iter().filter(|ended| ended.outcome == PunchOutcome::Connected).count(),
            2,
            "seed {seed}"
        );
    }
}
