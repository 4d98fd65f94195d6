//! A network of managers without IO: links with random latency, in virtual time.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};

use super::super::*;
use crate::{
    identity::Keypair,
    record::{
        VerifiedRecord,
        tests::{NET, NOW, keypair, signed},
    },
};

pub(super) struct Node {
    pub(super) manager: Manager,
    pub(super) address: Address,
    pub(super) id: NodeId,
    record: VerifiedRecord,
    alive: bool,
}

/// A connection; side 0 dialled. What a side is to hear comes in order.
struct Link {
    nodes: [usize; 2],
    attempt: DialId,
    up: [bool; 2],
    closed: [bool; 2],
    last: [Time; 2],
}

enum Event {
    Arrive,
    Up,
    Closed(Closure),
    Ask(u8),
    Records(Vec<SignedRecord>),
}

enum What {
    Link(u64, usize, Event),
    DialFailed(usize, DialId, DialFailure),
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) nodes: Vec<Node>,
    latency_max: Millis,
    rng: ChaCha8Rng,
    links: BTreeMap<u64, Link>,
    queue: BTreeMap<(Time, u64), What>,
    counter: u64,
    /// Every attempt: when, from whom, to whom.
    pub(super) dials: Vec<(Time, usize, Address)>,
    pub(super) downs: Vec<(usize, Closure)>,
    pub(super) penalties: usize,
}

pub(super) fn place(number: usize) -> Address {
    Address::new(IpAddr::from([127, 0, 0, 1]), 20_000 + u16::try_from(number).unwrap())
}

/// A second address of the node at the first.
pub(super) fn alias(address: Address) -> Address {
    Address::new(address.ip(), address.port() + 10_000)
}

pub(super) fn manager(key: &Keypair, config: &ManagerConfig, seed: u64) -> Manager {
    let identity = ManagerIdentity { node: key.node_id(), network: NET, validator: None };
    let mut bytes = key.node_id().0;
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Manager::new(identity, config.clone(), bytes)
}

impl World {
    pub(super) fn new(seed: u64, latency_max: Millis) -> Self {
        World {
            now: NOW,
            nodes: Vec::new(),
            latency_max,
            rng: ChaCha8Rng::seed_from_u64(seed),
            links: BTreeMap::new(),
            queue: BTreeMap::new(),
            counter: 0,
            dials: Vec::new(),
            downs: Vec::new(),
            penalties: 0,
        }
    }

    pub(super) fn add(&mut self, config: &ManagerConfig, seed: u64, signed_at: Time) -> usize {
        let number = self.nodes.len();
        let key = keypair(number as u64);
        let address = place(number);
        let record = signed(&key, &[address], signed_at).verify(&NET, self.now).unwrap();
        let mut manager = manager(&key, config, seed);
        manager.on_listening(self.now, address);
        self.nodes.push(Node { manager, address, id: key.node_id(), record, alive: true });
        number
    }

    pub(super) fn start(&mut self, node: usize, bootstrap: &[Target], persistent: &[Target]) {
        self.tell(node, |m, now, out| m.on_start(now, bootstrap, persistent, out));
    }

    pub(super) fn tell(
        &mut self,
        node: usize,
        input: impl FnOnce(&mut Manager, Time, &mut Vec<Action>),
    ) {
        let mut out = Vec::new();
        input(&mut self.nodes[node].manager, self.now, &mut out);
        out.into_iter().for_each(|action| self.perform(node, action));
    }

    /// The machine is replaced by a new one that knows what the old one would have kept; its
    /// connections break without a word.
    pub(super) fn restart(&mut self, node: usize, config: &ManagerConfig, seed: u64) {
        let key = keypair(node as u64);
        let old = std::mem::replace(&mut self.nodes[node].manager, manager(&key, config, seed));
        for (id, side) in self.ends_of(node) {
            self.end(id, side, Closure::local(CloseReason::ConnectionLost));
        }
        let entries: Vec<_> = old.book().entries().filter(|e| e.is_verified()).cloned().collect();
        let records: Vec<_> = self
            .nodes
            .iter()
            .filter(|n| old.book().was_met(&n.id))
            .map(|n| n.record.signed().clone())
            .collect();
        let (now, address) = (self.now, self.nodes[node].address);
        let manager = &mut self.nodes[node].manager;
        manager.on_listening(now, address);
        manager.restore(now, entries, records);
    }

    fn ends_of(&self, node: usize) -> Vec<(u64, usize)> {
        let mut ends = Vec::new();
        for (id, link) in &self.links {
            ends.extend((0..2).filter(|side| link.nodes[*side] == node).map(|side| (*id, side)));
        }
        ends
    }

    /// Runs until `end`.
    pub(super) fn run(&mut self, end: Time) {
        loop {
            let timer = self.nodes.iter().enumerate().filter(|(_, n)| n.alive);
            let timer = timer.filter_map(|(i, n)| Some((n.manager.deadline()?, i))).min();
            let event = self.queue.keys().next().copied();
            let next = earliest(timer.map(|(at, _)| at), event.map(|(at, _)| at));
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            match (event, timer) {
                (Some(key), _) if key.0 <= next => {
                    let what = self.queue.remove(&key).unwrap();
                    self.deliver(what);
                }
                (_, Some((_, node))) => self.tell(node, |m, now, out| m.on_deadline(now, out)),
                _ => break,
            }
        }
        self.now = self.now.max(end);
    }

    fn schedule(&mut self, what: What) {
        let mut at = self.now.plus(self.rng.random_range(1..=self.latency_max));
        if let What::Link(id, side, _) = &what {
            let link = self.links.get_mut(id).unwrap();
            at = at.max(link.last[*side]);
            link.last[*side] = at;
        }
        self.counter += 1;
        self.queue.insert((at, self.counter), what);
    }

    fn deliver(&mut self, what: What) {
        let (id, side, event) = match what {
            What::DialFailed(node, attempt, failure) => {
                return self.tell(node, |m, now, out| m.on_dial_failed(now, attempt, failure, out));
            }
            What::Link(id, side, event) => (id, side, event),
        };
        let link = self.links.get_mut(&id).unwrap();
        if link.closed[side] {
            return;
        }
        let (node, other) = (link.nodes[side], link.nodes[1 - side]);
        let (attempt, session) = (link.attempt, SessionId(id * 2 + side as u64));
        let from = self.nodes[other].id;
        match event {
            Event::Arrive => {
                let address = Address::new(IpAddr::from([127, 0, 0, 1]), 1 + (id % 9_999) as u16);
                self.tell(node, |m, now, out| m.on_inbound_attempt(now, session, address, out));
            }
            Event::Up => {
                link.up[side] = true;
                let established = Established {
                    peer: from,
                    address: self.nodes[other].address,
                    direction: [Direction::Outbound(attempt), Direction::Inbound][side],
                    channel: *blake3::hash(&id.to_le_bytes()).as_bytes(),
                    record: Some(self.nodes[other].record.clone()),
                    validator: None,
                };
                self.tell(node, |m, now, out| m.on_established(now, session, established, out));
            }
            Event::Closed(closure) => {
                link.closed[side] = true;
                let failure = DialFailure::Handshake(closure.reason);
                if side == 0 && !link.up[0] {
                    self.tell(node, |m, now, out| m.on_dial_failed(now, attempt, failure, out));
                } else {
                    self.tell(node, |m, now, out| m.on_closed(now, session, closure, out));
                }
            }
            Event::Ask(count) => {
                self.tell(node, |m, now, out| m.on_peers_requested(now, &from, count, out));
            }
            Event::Records(records) => {
                self.tell(node, |m, now, out| m.on_records(now, &from, records, out));
            }
        }
    }

    /// This side ends a link; the other side hears of it.
    fn end(&mut self, id: u64, side: usize, closure: Closure) {
        let link = self.links.get_mut(&id).unwrap();
        if !std::mem::replace(&mut link.closed[side], true) {
            let by_remote = closure.reason != CloseReason::ConnectionLost;
            self.schedule(What::Link(
                id,
                1 - side,
                Event::Closed(Closure { by_remote, ..closure }),
            ));
        }
    }

    fn link_of(&self, node: usize, peer: &NodeId) -> Option<(u64, usize)> {
        let session = self.nodes[node].manager.peer(peer)?.session;
        Some((session.0 / 2, (session.0 % 2) as usize))
    }

    fn dial(&mut self, node: usize, attempt: DialId, address: Address) {
        self.dials.push((self.now, node, address));
        let answers = |n: &Node| n.alive && (n.address == address || alias(n.address) == address);
        let target = self.nodes.iter().position(answers);
        let Some(target) = target else {
            return self.schedule(What::DialFailed(node, attempt, DialFailure::Refused));
        };
        self.counter += 1;
        let id = self.counter;
        let link = Link {
            nodes: [node, target],
            attempt,
            up: [false; 2],
            closed: [false; 2],
            last: [self.now; 2],
        };
        self.links.insert(id, link);
        self.schedule(What::Link(id, 1, Event::Arrive));
    }

    fn perform(&mut self, node: usize, action: Action) {
        match action {
            Action::Dial { attempt, address, .. } => self.dial(node, attempt, address),
            Action::CancelDial { attempt, .. } => {
                let found =
                    self.links.iter().find(|(_, l)| l.nodes[0] == node && l.attempt == attempt);
                if let Some(id) = found.map(|(id, _)| *id) {
                    self.end(id, 0, Closure::remote(CloseReason::Unspecified, 0));
                }
            }
            Action::Accept { session } => {
                let id = session.0 / 2;
                self.schedule(What::Link(id, 0, Event::Up));
                self.schedule(What::Link(id, 1, Event::Up));
            }
            Action::Close { session, reason, retry_after, records } => {
                let (id, side) = (session.0 / 2, (session.0 % 2) as usize);
                if !records.is_empty() {
                    self.schedule(What::Link(id, 1 - side, Event::Records(records)));
                }
                self.end(id, side, Closure::remote(reason, retry_after));
            }
            Action::RequestPeers { peer, count } => {
                if let Some((id, side)) = self.link_of(node, &peer) {
                    self.schedule(What::Link(id, 1 - side, Event::Ask(count)));
                }
            }
            Action::SendPeers { peer, records } => {
                if let Some((id, side)) = self.link_of(node, &peer) {
                    self.schedule(What::Link(id, 1 - side, Event::Records(records)));
                }
            }
            Action::PeerDown { closure, .. } => self.downs.push((node, closure)),
            Action::PenaliseRecord { .. } => self.penalties += 1,
            _ => {}
        }
    }

    /// How many peers each node has.
    pub(super) fn degrees(&self) -> Vec<usize> {
        self.nodes.iter().map(|n| n.manager.peers().count()).collect()
    }

    /// How many nodes can be reached from node 0.
    pub(super) fn reached(&self) -> usize {
        let mut seen = BTreeSet::from([self.nodes[0].id]);
        let mut open = vec![0];
        while let Some(node) = open.pop() {
            for peer in self.nodes[node].manager.peers() {
                if seen.insert(peer.peer) {
                    open.push(self.nodes.iter().position(|n| n.id == peer.peer).unwrap());
                }
            }
        }
        seen.len()
    }

    /// Whether both ends of every connection agree that it is the one.
    pub(super) fn is_symmetric(&self) -> bool {
        self.nodes.iter().all(|node| {
            node.manager.peers().all(|view| {
                let other = self.nodes.iter().find(|n| n.id == view.peer).unwrap();
                let twin = other.manager.peer(&node.id);
                twin.is_some_and(|twin| twin.session.0 / 2 == view.session.0 / 2)
            })
        })
    }
}
