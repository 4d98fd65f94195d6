//! Finding nodes and claims without anybody in charge: Kademlia (Maymounkov and Mazieres 2002)
//! with the disjoint paths of S/Kademlia (Baumgart and Mies 2007).
//!
//! Ids are those of nodes, SHA-256 of their keys. A node that is asked answers with signed
//! records; what is stored are signed claims ([`Claim`]): values, providers, and, at rendezvous
//! points, who takes part in a namespace. Questions travel on any connection, and to nodes that
//! are no peers on short ones that take no slot ("visits").
//!
//! # Security
//! Provided (attack row 23): nothing is believed without its signer's signature; a forgery costs
//! whoever passed it on; liars are kept to their own path of a lookup; the table holds only who
//! was reached or is connected, few of one neighbourhood, and evicts nobody who answers; what is
//! kept for others is bounded in every direction ([`storage`]); one asker gets a bounded number
//! of answers.
//! Not provided: an attacker who searches for ids close to one point, with addresses in many
//! neighbourhoods, can hide what is stored there (arXiv 2307.12212); who stores or asks what is
//! no secret.

mod action;
mod asking;
mod claim;
mod distance;
#[doc(hidden)]
pub mod fuzzing;
mod lookup;
mod messages;
mod points;
mod publishing;
mod restoring;
mod serving;
pub mod storage;
mod table;
mod tasks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use action::{
    Action, Contact, DiscoveryError, KademliaConfig, KademliaFault, KademliaStatus, Outcome,
    QueryId, TaskId, Wish,
};
pub use claim::{
    CLAIM_LIFE_MAX, CLAIM_MAX, Claim, ClaimError, ClaimPurpose, PAYLOAD_MAX, SignedClaim,
    VerifiedClaim,
};
pub use distance::{Distance, Point};
pub use lookup::{ALPHA, Lookup, PATHS};
pub use messages::{Answer, CLAIMS_MAX, ClaimBytes, Query, RecordBytes, Refusal};
pub use storage::{ClaimKey, Storage, StorageLimits};
pub use table::{K, Node, Offer, PER_GROUP_BUCKET, PER_GROUP_TABLE, Table};

use self::{
    asking::Open,
    points::{Points, is_point},
    publishing::Publication,
    serving::Guest,
    tasks::Task,
};
use crate::{
    address::{Address, NetworkGroup},
    book::TokenBucket,
    identity::{Keypair, NetworkId, NodeId},
    manager::SessionId,
    record::{SignedRecord, VerifiedRecord},
    time::{Millis, Time, earliest},
};

/// How often the table is looked over for dead records, ms.
const SWEEP_INTERVAL: Millis = 60_000;
/// While the table has fewer nodes than this, it is filled with haste.
const FEW_NODES: usize = K;
/// How often that is at first, ms. Walks that find nobody new are made half as often each time:
/// in a network smaller than a bucket there is nobody left to find.
const FILL_INTERVAL: Millis = 15_000;
/// Records learnt that are told to the address book at once, and in 1000 s.
const LEARNT_BURST: u64 = 256;
const LEARNT_PER_1000_S: u64 = 2_000;

/// The machine.
pub struct Kademlia {
    config: KademliaConfig,
    keypair: Keypair,
    network: NetworkId,
    own: NodeId,
    /// This node's own record, as it is told now.
    own_record: Option<SignedRecord>,
    rng: ChaCha8Rng,
    table: Table,
    storage: Storage,
    guests: BTreeMap<SessionId, Guest>,
    /// The connection to ask a node on.
    ways: BTreeMap<NodeId, SessionId>,
    open: BTreeMap<QueryId, Open>,
    deadlines: BTreeSet<(Time, QueryId)>,
    /// Questions to nodes that are being visited, and nodes that wait to be.
    visiting: BTreeMap<NodeId, Vec<QueryId>>,
    parked: VecDeque<QueryId>,
    tasks: BTreeMap<TaskId, Task>,
    publications: BTreeMap<ClaimKey, Publication>,
    points: Points,
    /// Records that were verified a while ago.
    believed: BTreeMap<NodeId, VerifiedRecord>,
    learnt: TokenBucket,
    /// When anybody was last heard: while nobody is, silence is our own line's.
    heard: Time,
    next_query: u64,
    next_task: u64,
    next_walk: Time,
    /// How long until the next walk while few nodes are known, ms, and how many had been
    /// reached at the last.
    fill_interval: Millis,
    known_at_walk: usize,
    next_sweep: Time,
    next_republish: Time,
}

impl Kademlia {
    /// A machine that knows nobody. The seed decides all that is random about it.
    #[must_use]
    pub fn new(
        now: Time,
        config: KademliaConfig,
        keypair: Keypair,
        network: NetworkId,
        seed: [u8; 32],
    ) -> Self {
        let own = keypair.node_id();
        Kademlia {
            table: Table::new(own),
            storage: Storage::new(own, config.storage.clone()),
            learnt: TokenBucket::new(now, LEARNT_BURST, LEARNT_PER_1000_S),
            next_walk: if config.enabled { now.plus(FILL_INTERVAL / 8) } else { Time::NEVER },
            fill_interval: FILL_INTERVAL,
            known_at_walk: 0,
            next_sweep: now.plus(SWEEP_INTERVAL),
            next_republish: Time::NEVER,
            rng: ChaCha8Rng::from_seed(seed),
            config,
            keypair,
            network,
            own,
            own_record: None,
            guests: BTreeMap::new(),
            ways: BTreeMap::new(),
            open: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            visiting: BTreeMap::new(),
            parked: VecDeque::new(),
            tasks: BTreeMap::new(),
            publications: BTreeMap::new(),
            points: Points::default(),
            believed: BTreeMap::new(),
            heard: Time::ZERO,
            next_query: 0,
            next_task: 0,
        }
    }

    /// This node's record was signed anew.
    pub fn on_own_record(&mut self, record: SignedRecord) {
        self.own_record = Some(record);
    }

    /// A node can be talked to.
    pub fn on_contact_up(&mut self, now: Time, contact: Contact, out: &mut Vec<Action>) {
        let (session, node) = (contact.session, contact.record.node());
        if node == self.own {
            return;
        }
        self.offer(now, &contact, out);
        // A peer stays; a visit ends.
        let better = |way: &SessionId| self.guests.get(way).is_some_and(|known| !known.visit);
        let may_be_asked = contact.outbound || !contact.visit;
        if may_be_asked && !self.ways.get(&node).is_some_and(better) {
            self.ways.insert(node, session);
        }
        self.guests.insert(session, Guest::new(now, node, &contact));
        if may_be_asked {
            for query in self.visiting.remove(&node).unwrap_or_default() {
                self.send(now, query, out);
            }
            self.unpark(now, out);
        }
    }

    /// A node has signed a newer record.
    pub fn on_record(&mut self, record: &VerifiedRecord, out: &mut Vec<Action>) {
        let node = record.node();
        for guest in self.guests.values_mut().filter(|guest| guest.node == node) {
            guest.record = record.clone();
        }
        self.points.on_record(record);
        let newer = self.table.on_record(record);
        match self.table.get(node).map(|known| known.reached) {
            Some(true) if newer => out.push(Action::PersistNode(Box::new(record.clone()))),
            Some(false) if newer => out.push(Action::ForgetNode(node)),
            _ => {}
        }
    }

    /// A connection is gone.
    pub fn on_contact_down(&mut self, now: Time, session: SessionId, out: &mut Vec<Action>) {
        let Some(guest) = self.guests.remove(&session) else { return };
        let others = self.guests.iter().filter(|(_, other)| other.node == guest.node);
        let other = others.map(|(session, _)| *session).next();
        if self.ways.get(&guest.node) == Some(&session) {
            self.ways.remove(&guest.node);
            if let Some(other) = other {
                self.ways.insert(guest.node, other);
            }
        }
        if other.is_none() {
            self.table.on_gone(guest.node);
        }
        let lost: Vec<QueryId> = self
            .open
            .iter()
            .filter(|(_, open)| open.session == Some(session))
            .map(|(id, _)| *id)
            .collect();
        for query in lost {
            self.on_query_failed(now, query, false, out);
        }
    }

    /// Offers a node to the table, and keeps what the table keeps. Others are sent to what its record
    /// tells, so it must be where the record says: at the very address if we dialled it, else at the
    /// IP that it came from. Through a relay nobody was seen where they are.
    fn offer(&mut self, now: Time, contact: &Contact, out: &mut Vec<Action>) {
        let (record, at, node) = (&contact.record, contact.address, contact.record.node());
        let mut told = self.usable(record);
        let is_there = told.any(|address| address.ip() == at.ip());
        if !self.config.enabled || !is_there || at.is_circuit() {
            return;
        }
        let reached = contact.outbound && record.record().addresses.contains(&at);
        if reached {
            self.points.note(record, contact.group, &mut self.rng);
        }
        let kept = Box::new(record.clone());
        let new = Node::new(now, record.clone(), (reached, at), contact.group);
        let offer = self.table.offer(now, new);
        let reached = self.table.get(node).is_some_and(|known| known.reached);
        if offer == Offer::Added && reached && self.table.len() < FEW_NODES {
            // Whoever is new may know others; who only came by may come again and again.
            self.fill_interval = FILL_INTERVAL;
            self.next_walk = self.next_walk.min(now.plus(FILL_INTERVAL));
        }
        match offer {
            Offer::Added | Offer::Known(true) if reached => out.push(Action::PersistNode(kept)),
            Offer::Test(oldest) => {
                let oldest = self.table.get(oldest).map(|node| node.record.clone());
                if let Some(oldest) = oldest {
                    self.check(now, oldest, out);
                }
            }
            Offer::Refused if node != self.own => out.push(Action::Count("no_place")),
            _ => {}
        }
    }

    /// The addresses of a record that this node may visit. None is a relay's: a visit takes no
    /// circuit.
    fn usable<'a>(&self, record: &'a VerifiedRecord) -> impl Iterator<Item = Address> + use<'a> {
        let private = self.config.allow_private;
        let addresses = record.record().addresses.iter().copied();
        let fits = move |at: &Address| at.is_routable() || (private && at.is_dialable());
        addresses.filter(move |at| fits(at) && !at.is_circuit())
    }

    /// When [`Kademlia::on_deadline`] wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let queries = self.deadlines.first().map(|(at, _)| *at);
        let tasks = self.tasks.values().map(|task| task.deadline).min();
        let idle = self.guests.values().filter_map(|guest| guest.idle_at(&self.config)).min();
        let own = self.next_walk.min(self.next_sweep).min(self.next_republish);
        let due = earliest(earliest(queries, tasks), earliest(idle, self.storage.deadline()));
        earliest(due, Some(own))
    }

    /// Time has come, or gone by.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        while let Some((at, query)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, query));
            let asked = self.was_asked(query);
            self.on_query_failed(now, query, asked, out);
        }
        self.expire_tasks(now, out);
        out.extend(self.storage.expire(now).into_iter().map(Action::ForgetClaim));
        for (session, guest) in &mut self.guests {
            if guest.idle_at(&self.config).is_some_and(|at| at <= now) {
                guest.leaving = true;
                out.push(Action::EndVisit(*session));
            }
        }
        if self.next_sweep <= now {
            self.next_sweep = now.plus(SWEEP_INTERVAL);
            out.extend(self.table.forget_expired(now).into_iter().map(Action::ForgetNode));
            self.points.forget_expired(now);
        }
        if self.next_walk <= now {
            self.walk(now, out);
        }
        if self.next_republish <= now {
            self.republish(now, out);
        }
    }

    /// Looks a point up, so that the table and the address book live: around this node while
    /// few nodes are known, then in the bucket that needs it most, or anywhere.
    fn walk(&mut self, now: Time, out: &mut Vec<Action>) {
        let few = self.table.len() < FEW_NODES;
        let known = self.table.nodes().filter(|node| node.reached).count();
        let found = known > std::mem::replace(&mut self.known_at_walk, known);
        let longer = self.fill_interval.saturating_mul(2).min(self.config.walk_interval);
        self.fill_interval = if found { FILL_INTERVAL } else { longer };
        let interval = if few { self.fill_interval } else { self.config.walk_interval };
        let jitter = self.rng.random_range(0..=(interval / 4).max(1));
        self.next_walk = now.plus(interval).plus(jitter);
        let (mut rest, own) = ([0u8; 32], Point::from(self.own));
        self.rng.fill_bytes(&mut rest);
        let stale = self.table.stale(now, self.config.refresh_interval);
        let target = match stale {
            Some(bucket) => own.across(bucket, &rest),
            None if few => own,
            None => Point(rest),
        };
        self.begin_walk(now, target, out);
    }

    /// Looks this node's own place up, and then into every bucket: what a node does that has
    /// just met its first peers.
    pub fn join(&mut self, now: Time, out: &mut Vec<Action>) {
        if !self.config.enabled {
            return;
        }
        let own = Point::from(self.own);
        self.begin_walk(now, own, out);
        let buckets: Vec<usize> = self.table.indices().collect();
        for bucket in buckets {
            let mut rest = [0u8; 32];
            self.rng.fill_bytes(&mut rest);
            self.begin_walk(now, own.across(bucket, &rest), out);
        }
    }

    /// The routing table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The claims kept for others.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// How many of everything.
    #[must_use]
    pub fn status(&self) -> KademliaStatus {
        KademliaStatus {
            nodes: self.table.len(),
            reached: self.table.nodes().filter(|node| node.reached).count(),
            claims: self.storage.len(),
            publications: self.publications.len(),
            tasks: self.tasks.len(),
            visits: self.guests.values().filter(|guest| guest.visit).count(),
        }
    }
}

#[cfg(test)]
mod tests;
