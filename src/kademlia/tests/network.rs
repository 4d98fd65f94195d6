//! Many machines, a clock and the messages between them: every message takes [`LATENCY`], a
//! visit is there at once. Some of the nodes lie.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    address::Address,
    codec::{self, Capped},
    identity::{Keypair, NodeId},
    kademlia::{
        Action, Answer, Contact, DiscoveryError, Kademlia, KademliaConfig, Node, Outcome, Point,
        Query, TaskId, Wish, messages::encoded,
    },
    kinds::Kind,
    manager::SessionId,
    messages::{DiscoveryHeader, Outgoing},
    record::{
        SignedRecord, VerifiedRecord,
        tests::{NET, NOW, keypair, record_of},
    },
    time::{Millis, Time},
};

/// How long a message takes, ms.
pub(super) const LATENCY: Millis = 50;
/// A question and its answer: what one round of a lookup takes.
pub(super) const ROUND: Millis = 2 * LATENCY;

/// How a node treats questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Honest,
    /// Knows only its accomplices, and keeps nothing.
    Colludes,
    /// Answers nothing.
    Silent,
    /// Tells of nodes that don't exist.
    Forges,
}

pub(super) struct Member {
    pub(super) machine: Kademlia,
    pub(super) record: VerifiedRecord,
    pub(super) manner: Manner,
    pub(super) done: Vec<(TaskId, Result<Outcome, DiscoveryError>)>,
    pub(super) faults: Vec<(NodeId, crate::kademlia::KademliaFault)>,
    pub(super) learnt: Vec<NodeId>,
}

pub(super) struct World {
    pub(super) members: Vec<Member>,
    pub(super) now: Time,
    pub(super) rng: ChaCha8Rng,
    index: BTreeMap<NodeId, usize>,
    /// Sessions and whom they connect, the visitor first.
    sessions: BTreeMap<SessionId, (usize, usize)>,
    mail: BTreeMap<(Time, u64), (usize, SessionId, Outgoing)>,
    next: u64,
}

fn address(rng: &mut ChaCha8Rng) -> Address {
    loop {
        let ip: [u8; 4] = [rng.random(), rng.random(), rng.random(), rng.random()];
        let address = Address::new(ip.into(), 30_400);
        if address.is_routable() {
            return address;
        }
    }
}

impl World {
    /// So many nodes that know nobody; `liars` thousandths of them are none of the honest.
    pub(super) fn new(seed: u64, count: usize, liars: usize, config: &KademliaConfig) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut members = Vec::new();
        for number in 0..count {
            let key: Keypair = keypair(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
            let mut record = record_of(&key, &[address(&mut rng)], NOW);
            record.expires = NOW.plus(24 * 60 * 60 * 1000);
            let signed = record.sign(&key, &NET).unwrap();
            let mut machine = Kademlia::new(NOW, config.clone(), key, NET, rng.random());
            machine.on_own_record(signed.clone());
            let record = signed.verify(&NET, NOW).unwrap();
            let manner = match number * 1000 < liars * count {
                true => {
                    [Manner::Colludes, Manner::Colludes, Manner::Silent, Manner::Forges][number % 4]
                }
                false => Manner::Honest,
            };
            members.push(Member {
                machine,
                record,
                manner,
                done: Vec::new(),
                faults: Vec::new(),
                learnt: Vec::new(),
            });
        }
        members.shuffle(&mut rng);
        let index = members.iter().enumerate().map(|(at, m)| (m.record.node(), at)).collect();
        World {
            members,
            now: NOW,
            rng,
            index,
            sessions: BTreeMap::new(),
            mail: BTreeMap::new(),
            next: 0,
        }
    }

    /// Tables as an old network has them: everybody has met everybody in some order.
    pub(super) fn settle(&mut self) {
        let mut all: Vec<VerifiedRecord> =
            self.members.iter().map(|member| member.record.clone()).collect();
        for member in &mut self.members {
            all.shuffle(&mut self.rng);
            for record in &all {
                let at = record.record().addresses[0];
                let group = Some(at.group());
                member
                    .machine
                    .table
                    .offer(self.now, Node::new(self.now, record.clone(), (true, at), group));
            }
        }
    }

    /// Two nodes become peers; the first dialled.
    pub(super) fn connect(&mut self, from: usize, to: usize, visit: bool) -> SessionId {
        self.next += 1;
        let session = SessionId(self.next);
        self.sessions.insert(session, (from, to));
        for (here, there, outbound) in [(to, from, false), (from, to, true)] {
            let record = self.members[there].record.clone();
            let group = Some(record.record().addresses[0].group());
            let address = record.record().addresses[0];
            let contact = Contact { session, record, address, outbound, visit, group };
            self.act(here, |machine, now, out| machine.on_contact_up(now, contact, out));
        }
        session
    }

    pub(super) fn disconnect(&mut self, session: SessionId) {
        let Some((from, to)) = self.sessions.remove(&session) else { return };
        for here in [from, to] {
            self.act(here, |machine, now, out| machine.on_contact_down(now, session, out));
        }
    }

    /// One input of one machine, and all that it orders.
    pub(super) fn act<R>(
        &mut self,
        at: usize,
        input: impl FnOnce(&mut Kademlia, Time, &mut Vec<Action>) -> R,
    ) -> R {
        let (now, mut out) = (self.now, Vec::new());
        let result = input(&mut self.members[at].machine, now, &mut out);
        for action in out {
            self.perform(at, action);
        }
        result
    }

    fn perform(&mut self, at: usize, action: Action) {
        match action {
            Action::Send { session, message, .. } => {
                let Some((from, to)) = self.sessions.get(&session).copied() else { return };
                self.next += 1;
                let there = if from == at { to } else { from };
                let when = (self.now.plus(LATENCY), self.next);
                self.mail.insert(when, (there, session, message));
            }
            Action::Visit { peer, .. } => match self.index.get(&peer).copied() {
                Some(to) => drop(self.connect(at, to, true)),
                None => self.act(at, |m, now, out| m.on_visit_failed(now, peer, true, out)),
            },
            Action::EndVisit(session) => self.disconnect(session),
            Action::Complete { task, result } => self.members[at].done.push((task, result)),
            Action::Learnt { record, .. } => self.members[at].learnt.push(record.node()),
            Action::Penalise { peer, fault } => self.members[at].faults.push((peer, fault)),
            _ => {}
        }
    }

    fn deliver(&mut self, at: usize, session: SessionId, message: &Outgoing) {
        if !self.sessions.contains_key(&session) {
            return;
        }
        let id = message.header.read::<DiscoveryHeader>().unwrap().id;
        let limit = message.kind.row().body_max;
        if message.kind == Kind::DiscoveryAnswer {
            let answer = codec::decode_canonical::<Answer>(&message.body, limit).unwrap();
            return self.act(at, |m, now, out| m.on_answer(now, session, id, answer, out));
        }
        let query = codec::decode_canonical::<Query>(&message.body, limit).unwrap();
        if self.members[at].manner == Manner::Honest {
            return self.act(at, |m, now, out| m.on_query(now, session, id, query, out));
        }
        if let Some(answer) = self.lie(at, &query) {
            self.perform(at, Action::Send { session, query: None, message: answer.message(id) });
        }
    }

    fn lie(&mut self, at: usize, query: &Query) -> Option<Answer> {
        let target = query.point();
        let nodes = match self.members[at].manner {
            Manner::Honest | Manner::Silent => return None,
            Manner::Colludes => {
                let liars = self.members.iter().filter(|m| m.manner == Manner::Colludes);
                let mut liars: Vec<&SignedRecord> =
                    liars.map(|member| member.record.signed()).collect();
                let near = |record: &&SignedRecord| {
                    let node = record.record.public_key.node_id();
                    target.map(|target| target.distance(&node.into()))
                };
                liars.sort_by_key(near);
                encoded(liars)
            }
            Manner::Forges => {
                let mut forged = self.members[at].record.signed().clone();
                forged.record.sequence += 1;
                encoded([&forged])
            }
        };
        Some(match query {
            Query::FindNode { .. } => Answer::Nodes { nodes },
            Query::GetRecord { .. } => Answer::Records { claims: Capped::default(), nodes },
            Query::PutRecord { .. } => Answer::Stored,
        })
    }

    /// The next message, or the next deadline of these nodes, whichever is first; false if there
    /// is neither.
    fn step(&mut self, timed: &[usize]) -> bool {
        let mail = self.mail.first_key_value().map(|((at, _), _)| *at);
        let deadline = timed.iter().filter_map(|at| self.members[*at].machine.deadline()).min();
        let Some(next) = crate::time::earliest(mail, deadline) else { return false };
        self.now = self.now.max(next);
        if mail == Some(next) {
            let (_, (to, session, message)) = self.mail.pop_first().unwrap();
            self.deliver(to, session, &message);
        } else {
            for at in timed {
                if self.members[*at].machine.deadline().is_some_and(|at| at <= next) {
                    self.act(*at, |machine, now, out| machine.on_deadline(now, out));
                }
            }
        }
        true
    }

    /// One node's wish, how it ends, and how many rounds that took.
    pub(super) fn wish(&mut self, at: usize, wish: Wish) -> (Result<Outcome, DiscoveryError>, u64) {
        let began = self.now;
        let task = match self.act(at, |machine, now, out| machine.wish(now, wish, out)) {
            Ok(task) => task,
            Err(error) => return (Err(error), 0),
        };
        loop {
            let done = self.members[at].done.iter().position(|(done, _)| *done == task);
            if let Some(done) = done {
                let (_, result) = self.members[at].done.remove(done);
                let took = self.now.since(began).div_ceil(ROUND);
                let visits: Vec<SessionId> =
                    self.sessions.iter().filter(|(_, v)| v.0 == at).map(|(s, _)| *s).collect();
                visits.into_iter().for_each(|session| self.disconnect(session));
                self.mail.clear();
                return (result, took);
            }
            assert!(self.step(&[at]), "nothing will ever end the task");
        }
    }

    /// Lets so much time pass for everybody.
    pub(super) fn pass(&mut self, span: Millis) {
        let (end, everybody) = (self.now.plus(span), (0..self.members.len()).collect::<Vec<_>>());
        loop {
            let mail = self.mail.first_key_value().map(|((at, _), _)| *at);
            let due = everybody.iter().filter_map(|at| self.members[*at].machine.deadline()).min();
            match crate::time::earliest(mail, due) {
                Some(next) if next <= end => drop(self.step(&everybody)),
                _ => break,
            }
        }
        self.now = end;
    }

    /// The honest nodes closest to a point, closest first.
    pub(super) fn closest(&self, point: Point, count: usize) -> Vec<NodeId> {
        let honest = self.members.iter().filter(|member| member.manner == Manner::Honest);
        let mut nodes: Vec<NodeId> = honest.map(|member| member.record.node()).collect();
        nodes.sort_by_key(|node| point.distance(&(*node).into()));
        nodes.truncate(count);
        nodes
    }

    /// A random honest node.
    pub(super) fn somebody(&mut self) -> usize {
        loop {
            let at = self.rng.random_range(0..self.members.len());
            if self.members[at].manner == Manner::Honest {
                return at;
            }
        }
    }
}
