//! A network of managers without IO: links with random latency, in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};

use super::{
    super::*,
    places::{alias_of, fresh, manager, place, public_place},
};
use crate::record::{
    LIFE_MAX, VerifiedRecord,
    tests::{NOW, keypair},
};

pub(super) struct Node {
    pub(super) manager: Manager,
    pub(super) address: Address,
    pub(super) id: NodeId,
    record: VerifiedRecord,
    pub(super) alive: bool,
    /// When it wants to be woken, as the world knows it.
    wake: Option<Time>,
}

/// A connection; side 0 dialled. What a side is to hear comes in order.
struct Link {
    nodes: [usize; 2],
    attempt: DialId,
    kind: LinkKind,
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
    dialled: BTreeMap<(usize, DialId), u64>,
    by_address: BTreeMap<Address, usize>,
    by_id: BTreeMap<NodeId, usize>,
    timers: BTreeSet<(Time, usize)>,
    place: fn(usize) -> Address,
    queue: BTreeMap<(Time, u64), What>,
    counter: u64,
    /// Every attempt: when, from whom, to whom.
    pub(super) dials: Vec<(Time, usize, Address)>,
    pub(super) downs: Vec<(usize, Closure)>,
    pub(super) penalties: usize,
}

impl World {
    pub(super) fn new(seed: u64, latency_max: Millis) -> Self {
        World {
            now: NOW,
            nodes: Vec::new(),
            latency_max,
            rng: ChaCha8Rng::seed_from_u64(seed),
            links: BTreeMap::new(),
            dialled: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_id: BTreeMap::new(),
            timers: BTreeSet::new(),
            place,
            queue: BTreeMap::new(),
            counter: 0,
            dials: Vec::new(),
            downs: Vec::new(),
            penalties: 0,
        }
    }

    /// A world where every node has a public address in a neighbourhood of its own.
    pub(super) fn public(seed: u64, latency_max: Millis) -> Self {
        World { place: public_place, ..World::new(seed, latency_max) }
    }

    pub(super) fn add(&mut self, config: &ManagerConfig, seed: u64, signed_at: Time) -> usize {
        let number = self.nodes.len();
        let key = keypair(number as u64);
        let address = (self.place)(number);
        let record = fresh(&key, address, signed_at);
        let mut manager = manager(&key, config, seed);
        manager.on_listening(self.now, address);
        let id = key.node_id();
        self.by_address.insert(address, number);
        self.by_id.insert(id, number);
        self.nodes.push(Node { manager, address, id, record, alive: true, wake: None });
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
        self.set_timer(node);
        out.into_iter().for_each(|action| self.perform(node, action));
    }

    fn set_timer(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let wake = node.manager.deadline().filter(|_| node.alive);
        if wake != node.wake {
            if let Some(old) = std::mem::replace(&mut node.wake, wake) {
                self.timers.remove(&(old, number));
            }
            self.timers.extend(wake.map(|at| (at, number)));
        }
    }

    /// A node's process ends without a word.
    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
        self.set_timer(node);
        for (id, side) in self.ends_of(node) {
            self.end(id, side, Closure::local(CloseReason::ConnectionLost));
        }
    }

    /// The machine is replaced by a new one that knows what the old one would have kept; its
    /// connections break without a word.
    pub(super) fn restart(&mut self, node: usize, config: &ManagerConfig, seed: u64) {
        let key = keypair(node as u64);
        let old = std::mem::replace(&mut self.nodes[node].manager, manager(&key, config, seed));
        for (id, side) in self.ends_of(node) {
            self.end(id, side, Closure::local(CloseReason::ConnectionLost));
        }
        let entries: Vec<_> = old.book().entries().cloned().collect();
        let (now, address) = (self.now, self.nodes[node].address);
        self.nodes[node].record = fresh(&key, address, now);
        self.nodes[node].alive = true;
        let manager = &mut self.nodes[node].manager;
        manager.set_book(Some(old.book().salt()), Arc::default());
        manager.on_listening(now, address);
        manager.restore(now, entries, []);
        manager.restore_anchors(old.anchors().to_vec());
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
            let timer = self.timers.first().copied();
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
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.closed[side] || !self.nodes[link.nodes[side]].alive {
            return;
        }
        let (node, other) = (link.nodes[side], link.nodes[1 - side]);
        let (attempt, session) = (link.attempt, SessionId(id * 2 + side as u64));
        let from = self.nodes[other].id;
        match event {
            Event::Arrive => {
                let address = Address::new(self.nodes[other].address.ip(), 1 + (id % 9_999) as u16);
                self.tell(node, |m, now, out| m.on_inbound_attempt(now, session, address, out));
            }
            // Nothing but a handshake: this side is content, the other hears that it is over.
            Event::Up if link.kind == LinkKind::Feeler => {
                if side == 0 {
                    self.tell(node, |m, now, out| m.on_felt(now, attempt, from, out));
                    self.end(id, 0, Closure::local(CloseReason::ConnectionLost));
                }
            }
            Event::Up => {
                link.up[side] = true;
                let blocks_only = link.kind == LinkKind::BlocksOnly;
                if self.now.since(self.nodes[other].record.record().issued) > LIFE_MAX / 2 {
                    let key = keypair(other as u64);
                    self.nodes[other].record = fresh(&key, self.nodes[other].address, self.now);
                }
                let established = Established {
                    peer: from,
                    address: self.nodes[other].address,
                    direction: [Direction::Outbound(attempt), Direction::Inbound][side],
                    channel: *blake3::hash(&id.to_le_bytes()).as_bytes(),
                    record: Some(self.nodes[other].record.clone()),
                    validator: None,
                    blocks_only,
                    visit: false,
                };
                self.tell(node, |m, now, out| m.on_established(now, session, established, out));
            }
            Event::Closed(closure) => {
                link.closed[side] = true;
                let was_up = link.up[0];
                if link.closed[1 - side] {
                    self.forget(id);
                }
                let failure = DialFailure::Handshake(closure.reason);
                if side == 0 && !was_up {
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
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.closed[side] {
            return;
        }
        link.closed[side] = true;
        if link.closed[1 - side] {
            self.forget(id);
        } else {
            let by_remote = closure.reason != CloseReason::ConnectionLost;
            self.schedule(What::Link(
                id,
                1 - side,
                Event::Closed(Closure { by_remote, ..closure }),
            ));
        }
    }

    fn forget(&mut self, id: u64) {
        if let Some(link) = self.links.remove(&id) {
            self.dialled.remove(&(link.nodes[0], link.attempt));
        }
    }

    fn link_of(&self, node: usize, peer: &NodeId) -> Option<(u64, usize)> {
        let session = self.nodes[node].manager.peer(peer)?.session;
        Some((session.0 / 2, (session.0 % 2) as usize))
    }

    fn dial(&mut self, node: usize, attempt: DialId, kind: LinkKind, address: Address) {
        self.dials.push((self.now, node, address));
        let known =
            self.by_address.get(&address).or_else(|| self.by_address.get(&alias_of(address)));
        let Some(target) = known.copied().filter(|target| self.nodes[*target].alive) else {
            return self.schedule(What::DialFailed(node, attempt, DialFailure::Refused));
        };
        self.counter += 1;
        let id = self.counter;
        let link = Link {
            nodes: [node, target],
            attempt,
            kind,
            up: [false; 2],
            closed: [false; 2],
            last: [self.now; 2],
        };
        self.links.insert(id, link);
        self.dialled.insert((node, attempt), id);
        self.schedule(What::Link(id, 1, Event::Arrive));
    }

    fn perform(&mut self, node: usize, action: Action) {
        match action {
            Action::Dial { attempt, link, address, .. } => self.dial(node, attempt, link, address),
            Action::CancelDial { attempt, .. } => {
                if let Some(id) = self.dialled.get(&(node, attempt)).copied() {
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
        self.reached_from(0)
    }

    /// How many nodes can be reached from a node.
    pub(super) fn reached_from(&self, node: usize) -> usize {
        let mut seen = BTreeSet::from([self.nodes[node].id]);
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            for peer in self.nodes[node].manager.peers() {
                if seen.insert(peer.peer) {
                    open.push(self.by_id[&peer.peer]);
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
