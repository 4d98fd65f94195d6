//! Relays wired to each other in one thread: links with latency, an application that judges, and
//! everything replayed from a seed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::*;
use crate::messages::{GossipHeader, Outgoing, Signed, Topic};

mod announced;
mod hostile;
mod lazy;
mod punches;
mod slots;
mod stories;

pub(super) const NET: NetworkId = NetworkId([9; 32]);
/// Where virtual time starts, far from zero so that subtraction has room.
const START: Time = Time(1_000_000_000);

pub(super) fn keypair(n: usize) -> Keypair {
    let mut seed = [0x11; 32];
    seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
    Keypair::from_seed(&seed)
}

/// The validator key node `n` may speak for.
pub(super) fn validator_key(n: usize) -> Keypair {
    keypair(n + 1_000)
}

enum Event {
    Message(usize, usize, Inbound),
    Verified(usize, VerdictTicket, bool),
    Verdict(usize, VerdictTicket, Verdict),
}

pub(super) struct Node {
    pub(super) relay: Relay,
    pub(super) delivered: Vec<Delivered>,
    /// A node run by the attacker: its relay gets nothing, the test speaks for it.
    pub(super) hostile: bool,
    pub(super) heard: Vec<(usize, Outgoing)>,
}

pub(super) struct Network {
    pub(super) now: Time,
    pub(super) nodes: Vec<Node>,
    links: BTreeSet<(usize, usize)>,
    index: BTreeMap<NodeId, usize>,
    events: BTreeMap<(Time, u64), Event>,
    arrivals: BTreeMap<(usize, usize), Time>,
    sequence: u64,
    pub(super) rng: ChaCha8Rng,
    pub(super) penalties: Vec<(usize, usize, RelayFault)>,
    /// What was to the credit of whom, and how.
    pub(super) credits: Vec<(usize, usize, Delivery)>,
    pub(super) counts: BTreeMap<DropReason, usize>,
    pub(super) sends: BTreeMap<(usize, MessageId), usize>,
    /// How many of these answered a question.
    pub(super) served: usize,
    /// Ids announced, and the announcements of them that found them there already.
    pub(super) told: usize,
    pub(super) told_in_vain: usize,
    answering: bool,
}

impl Network {
    /// `count` nodes without links; the first `validators` of them speak for validators.
    pub(super) fn new(count: usize, validators: usize, seed: u64) -> Self {
        Self::with_config(count, validators, seed, &RelayConfig::default())
    }

    pub(super) fn with_config(
        count: usize,
        validators: usize,
        seed: u64,
        config: &RelayConfig,
    ) -> Self {
        let set: BTreeSet<PublicKey> = (0..validators).map(|n| validator_key(n).public()).collect();
        let node = |n: usize| {
            let validator = (n < validators).then(|| validator_key(n).public());
            let secret = [n as u8; 32];
            let mut relay = Relay::new(config.clone(), NET, keypair(n), validator, secret);
            relay.set_validators(set.clone());
            Node { relay, delivered: Vec::new(), hostile: false, heard: Vec::new() }
        };
        Network {
            now: START,
            nodes: (0..count).map(node).collect(),
            links: BTreeSet::new(),
            index: (0..count).map(|n| (keypair(n).node_id(), n)).collect(),
            events: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            sequence: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            penalties: Vec::new(),
            credits: Vec::new(),
            counts: BTreeMap::new(),
            sends: BTreeMap::new(),
            served: 0,
            told: 0,
            told_in_vain: 0,
            answering: false,
        }
    }

    pub(super) fn random(&mut self, below: usize) -> usize {
        (self.rng.next_u64() % below as u64) as usize
    }

    /// A ring for connectedness and random links up to the degree.
    pub(super) fn link_randomly(&mut self, degree: usize) {
        let count = self.nodes.len();
        for n in 0..count {
            self.link(n, (n + 1) % count);
            for _ in 0..degree.saturating_sub(2) / 2 {
                let other = self.random(count);
                self.link(n, other);
            }
        }
    }

    pub(super) fn link(&mut self, a: usize, b: usize) {
        self.link_for(a, b, false);
    }

    pub(super) fn link_for(&mut self, a: usize, b: usize, blocks_only: bool) {
        if a == b || !self.links.insert((a.min(b), a.max(b))) {
            return;
        }
        for (own, other, outbound) in [(a, b, true), (b, a, false)] {
            let info = PeerInfo {
                peer: keypair(other).node_id(),
                validator: self.nodes[other].relay.validator,
                outbound,
                blocks_only,
            };
            let slot = self.step(own, |relay, now, out| relay.on_peer_up(now, info, out));
            assert!(slot.is_some());
        }
    }

    pub(super) fn unlink(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            for (own, other) in [(a, b), (b, a)] {
                let slot = self.slot(own, other);
                self.step(own, |relay, now, out| relay.on_peer_down(now, slot, out));
            }
        }
    }

    pub(super) fn linked(&self, a: usize, b: usize) -> bool {
        self.links.contains(&(a.min(b), a.max(b)))
    }

    /// The slot that node `of` has at node `at`.
    pub(super) fn slot(&self, at: usize, of: usize) -> PeerSlot {
        self.nodes[at].relay.slot(&keypair(of).node_id()).unwrap()
    }

    /// The nodes behind slots of node `at`.
    pub(super) fn nodes_of(&self, at: usize, set: &PeerSet) -> BTreeSet<usize> {
        let peers = &self.nodes[at].relay.peers;
        set.iter().map(|slot| self.index[&peers.get(slot).unwrap().node]).collect()
    }

    /// Tells every node the record of every other.
    pub(super) fn share_records(&mut self, validators: usize) {
        for n in 0..self.nodes.len() {
            for other in 0..self.nodes.len() {
                let noise = crate::sealed::public_of(&keypair(other).noise_secret());
                let node = keypair(other).node_id();
                self.nodes[n].relay.on_record(node, noise);
                if other < validators {
                    let key = validator_key(other).public();
                    self.nodes[n].relay.on_validator_node(key, node, noise);
                }
            }
        }
    }

    /// One input, then every action.
    pub(super) fn step<T>(
        &mut self,
        node: usize,
        input: impl FnOnce(&mut Relay, Time, &mut Vec<Action>) -> T,
    ) -> T {
        let mut out = Vec::new();
        let result = input(&mut self.nodes[node].relay, self.now, &mut out);
        for action in out {
            self.perform(node, action);
        }
        let counts = &mut self.counts;
        self.nodes[node].relay.take_counts(&mut |_, reason, count| {
            *counts.entry(reason).or_default() += count as usize;
        });
        let (credits, index) = (&mut self.credits, &self.index);
        self.nodes[node].relay.take_credits(&mut |peer, _, delivery, count| {
            credits.extend((0..count).map(|_| (node, index[&peer], delivery)));
        });
        result
    }

    fn perform(&mut self, node: usize, action: Action) {
        match action {
            Action::Send { to, id, message } => {
                assert!(message.body.len() <= message.kind.row().body_max);
                for peer in self.nodes_of(node, &to) {
                    if message.kind == Kind::Have {
                        self.tell(node, peer, &message.body);
                    }
                    if let Some(id) = id {
                        *self.sends.entry((node, id)).or_default() += 1;
                        self.served += usize::from(self.answering);
                    }
                    self.transmit(node, peer, message.clone());
                }
            }
            Action::Verify { ticket, kind, body } => {
                let valid = Signed::parse(&body).is_some_and(|signed| signed.verify(kind, &NET));
                self.later(1, Event::Verified(node, ticket, valid));
            }
            Action::Judge { ticket, message } => {
                let verdict = if message.body.ends_with(b"bad") {
                    Verdict::Reject("bad".into())
                } else if message.body.ends_with(b"stuck") {
                    return;
                } else {
                    Verdict::Accept
                };
                self.nodes[node].delivered.push(message);
                self.later(2, Event::Verdict(node, ticket, verdict));
            }
            Action::Deliver(message) => self.nodes[node].delivered.push(message),
            Action::Penalise { peer, fault, .. } => {
                self.penalties.push((node, self.index[&peer], fault));
            }
        }
    }

    /// An announcement goes to a peer that is not known to have any of it.
    fn tell(&mut self, from: usize, to: usize, body: &Bytes) {
        let slot = self.slot(from, to);
        // The first words of a connection may leave before the other side has its slot.
        let back = self.nodes[to].relay.slot(&keypair(from).node_id());
        for (kind, id) in inventory::read(body).unwrap() {
            let kind = Kind::from_byte(kind).unwrap();
            self.told += 1;
            let table = &self.nodes[from].relay.table;
            let entry = table.find(kind, &id).and_then(|at| table.get(at));
            assert!(entry.is_none_or(|entry| !entry.has.contains(slot)), "it has it");
            let table = &self.nodes[to].relay.table;
            let entry = table.find(kind, &id).and_then(|at| table.get(at));
            let known = entry.zip(back).is_some_and(|(entry, back)| entry.has.contains(back));
            self.told_in_vain += usize::from(known);
        }
    }

    /// Puts a message on the link, in order, 5 to 100 ms long.
    pub(super) fn transmit(&mut self, from: usize, to: usize, message: Outgoing) {
        assert!(self.linked(from, to), "{from} sends to {to} without a connection");
        let latency = 5 + self.random(95) as u64;
        let last = self.arrivals.get(&(from, to)).copied().unwrap_or(Time::ZERO);
        let at = self.now.plus(latency).max(last);
        self.arrivals.insert((from, to), at);
        let inbound = Inbound {
            kind: message.kind,
            id: MessageId::of(message.kind, topic_of(&message.header), &message.body),
            header: message.header,
            body: message.body,
            first_byte: at,
        };
        self.sequence += 1;
        self.events.insert((at, self.sequence), Event::Message(from, to, inbound));
    }

    fn later(&mut self, span: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now.plus(span), self.sequence), event);
    }

    /// Lets `span` milliseconds pass.
    pub(super) fn run(&mut self, span: u64) {
        let end = self.now.plus(span);
        loop {
            let timers = self.nodes.iter().enumerate().filter(|(_, node)| !node.hostile);
            let timer = timers.filter_map(|(n, node)| Some((node.relay.deadline()?, n))).min();
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            let next = crate::time::earliest(timer.map(|t| t.0), event);
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            } else if let Some((_, node)) = timer {
                self.step(node, |relay, now, out| relay.on_deadline(now, out));
            }
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Message(from, to, message) => {
                if !self.linked(from, to) {
                    return;
                }
                if self.nodes[to].hostile {
                    let Inbound { kind, header, body, .. } = message;
                    self.nodes[to].heard.push((from, Outgoing { kind, header, body }));
                } else {
                    let slot = self.slot(to, from);
                    self.answering = message.kind == Kind::Want;
                    self.step(to, |relay, now, out| relay.on_message(now, now, slot, message, out));
                    self.answering = false;
                }
            }
            Event::Verified(node, ticket, valid) => {
                self.step(node, |relay, now, out| relay.on_verified(now, ticket, valid, out));
            }
            Event::Verdict(node, ticket, verdict) => {
                self.step(node, |relay, now, out| relay.on_verdict(now, ticket, verdict, out));
            }
        }
    }

    pub(super) fn broadcast(&mut self, node: usize, kind: Kind, body: &[u8]) -> Broadcast {
        let body = Bytes::copy_from_slice(body);
        self.step(node, |relay, now, out| relay.broadcast(now, kind, Topic(0), body, out)).unwrap()
    }

    pub(super) fn vote(&mut self, node: usize, payload: &[u8]) -> Broadcast {
        let body = Signed::seal(Kind::Vote, &validator_key(node), &NET, self.now, payload);
        self.step(node, |relay, now, out| relay.broadcast(now, Kind::Vote, Topic(0), body, out))
            .unwrap()
    }

    /// How often the application of a node got the message.
    pub(super) fn times(&self, node: usize, id: Option<MessageId>) -> usize {
        self.nodes[node].delivered.iter().filter(|message| Some(message.id) == id).count()
    }

    /// Every honest node but the origin got it exactly once.
    pub(super) fn assert_everywhere_once(&self, origin: usize, id: Option<MessageId>) {
        for n in (0..self.nodes.len()).filter(|n| *n != origin && !self.nodes[*n].hostile) {
            assert_eq!(self.times(n, id), 1, "node {n}");
        }
        assert_eq!(self.times(origin, id), 0, "the origin knows its own message");
    }
}

/// The topic in a gossip header; 0 for every other kind of message.
fn topic_of(header: &[u8]) -> Topic {
    crate::codec::decode::<GossipHeader>(header, 255).map_or(Topic(0), |header| header.topic)
}
