//! The routing table: nodes that live, more of them the closer they are.
//!
//! # Security
//! Provided: a node that answers is never displaced by one that might (test before evict); one
//! neighbourhood has at most [`PER_GROUP_BUCKET`] places in a bucket and [`PER_GROUP_TABLE`] in
//! the table, so many addresses of one party buy few places; memory is bounded by the buckets.
//! Not provided: defence against ids that were searched for to lie near a point: they cost
//! hashes, and addresses in as many neighbourhoods.

use std::collections::BTreeMap;

use super::Point;
use crate::{
    address::{Address, NetworkGroup},
    identity::NodeId,
    record::VerifiedRecord,
    time::{Millis, Time},
};

/// Places in a bucket, and nodes that a claim is kept at (Kademlia: 20).
pub const K: usize = 20;
/// Newcomers that wait for a place in a full bucket.
const SPARES_MAX: usize = 8;
/// Nodes of one neighbourhood in a bucket (devp2p's table: 2 of a /24 in a bucket).
pub const PER_GROUP_BUCKET: usize = 2;
/// Nodes of one neighbourhood in the table (devp2p's table: 10 of a /24).
pub const PER_GROUP_TABLE: usize = 10;
/// Questions in a row without an answer after which a node loses its place (Kademlia section
/// 4.1: 5; fewer, since here a failed dial counts too).
const FAILURES_MAX: u8 = 2;
/// A node that was heard of since is not tested to make room, ms: 10 min.
const FRESH: Millis = 10 * 60 * 1000;

/// A node in the table.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its record.
    pub record: VerifiedRecord,
    /// Whether this node has reached it at an address of its record; else it is only connected.
    pub reached: bool,
    /// That address.
    pub at: Address,
    /// When it was last heard of.
    pub seen: Time,
    /// Its neighbourhood; `None` for addresses that limits make no sense for.
    pub group: Option<NetworkGroup>,
    failures: u8,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    nodes: Vec<Node>,
    spares: Vec<Node>,
    looked: Time,
}

/// What became of a node that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It has a place.
    Added,
    /// It had one; whether its record is a newer one, or it was reached for the first time.
    Known(bool),
    /// The bucket is full: if this node doesn't answer, the newcomer gets its place.
    Test(NodeId),
    /// It waits for a place.
    Spare,
    /// No place for it.
    Refused,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Table {
    own: Point,
    buckets: BTreeMap<usize, Bucket>,
    groups: BTreeMap<NetworkGroup, usize>,
}

impl Node {
    /// A node that has just been heard of.
    #[must_use]
    pub fn new(
        now: Time,
        record: VerifiedRecord,
        (reached, at): (bool, Address),
        group: Option<NetworkGroup>,
    ) -> Self {
        Node { record, reached, at, seen: now, group, failures: 0 }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.record.node()
    }
}

impl Table {
    /// An empty table around a node.
    #[must_use]
    pub fn new(own: NodeId) -> Self {
        Table { own: own.into(), buckets: BTreeMap::new(), groups: BTreeMap::new() }
    }

    fn index(&self, id: NodeId) -> Option<usize> {
        let shared = self.own.distance(&id.into()).shared_bits();
        (shared < 256).then_some(shared)
    }

    /// Offers a node that was heard of just now.
    pub fn offer(&mut self, now: Time, node: Node) -> Offer {
        let Some(index) = self.index(node.id()) else { return Offer::Refused };
        let (id, group) = (node.id(), node.group);
        let of_group = |nodes: &[Node]| {
            group.map_or(0, |group| nodes.iter().filter(|n| n.group == Some(group)).count())
        };
        let in_table = group.and_then(|group| self.groups.get(&group)).copied().unwrap_or(0);
        let bucket = self.buckets.entry(index).or_default();
        bucket.spares.retain(|spare| spare.id() != id);
        if let Some(at) = bucket.nodes.iter().position(|known| known.id() == id) {
            // The one heard of last stands last.
            let mut known = bucket.nodes.remove(at);
            let newer = known.record.record().sequence < node.record.record().sequence;
            let news = newer || (node.reached && !known.reached);
            if newer {
                known.record = node.record;
                known.reached &= known.record.record().addresses.contains(&known.at);
            }
            if node.reached {
                (known.reached, known.at) = (true, node.at);
                if known.group != group {
                    forget(&mut self.groups, std::mem::replace(&mut known.group, group));
                    count(&mut self.groups, group);
                }
            }
            (known.seen, known.failures) = (now, 0);
            bucket.nodes.push(known);
            return Offer::Known(news);
        }
        if of_group(&bucket.nodes) >= PER_GROUP_BUCKET || in_table >= PER_GROUP_TABLE {
            return Offer::Refused;
        }
        if bucket.nodes.len() >= K {
            // One that is only connected gives way to one that was reached.
            let weak = bucket.nodes.iter().position(|known| !known.reached);
            let Some(weak) = weak.filter(|_| node.reached) else {
                return bucket.wait(now, node);
            };
            let gone = bucket.nodes.remove(weak);
            forget(&mut self.groups, gone.group);
        }
        bucket.nodes.push(node);
        count(&mut self.groups, group);
        Offer::Added
    }

    /// A node signed a newer record. What was reached counts only if the record still tells it.
    pub fn on_record(&mut self, record: &VerifiedRecord) -> bool {
        let id = record.node();
        let bucket = self.index(id).and_then(|index| self.buckets.get_mut(&index));
        let Some(known) = bucket.and_then(|b| b.nodes.iter_mut().find(|n| n.id() == id)) else {
            return false;
        };
        let newer = known.record.record().sequence < record.record().sequence;
        if newer {
            known.reached &= record.record().addresses.contains(&known.at);
            known.record = record.clone();
        }
        newer
    }

    /// A node answered.
    pub fn on_heard(&mut self, now: Time, id: NodeId) {
        let Some(bucket) = self.index(id).and_then(|index| self.buckets.get_mut(&index)) else {
            return;
        };
        if let Some(at) = bucket.nodes.iter().position(|known| known.id() == id) {
            let mut known = bucket.nodes.remove(at);
            (known.seen, known.failures) = (now, 0);
            bucket.nodes.push(known);
        }
    }

    /// A node did not answer; if it lost its place, who has it now is second.
    pub fn on_silent(&mut self, id: NodeId) -> Option<Option<Node>> {
        let index = self.index(id)?;
        let bucket = self.buckets.get_mut(&index)?;
        let at = bucket.nodes.iter().position(|known| known.id() == id)?;
        let node = bucket.nodes.get_mut(at)?;
        node.failures = node.failures.saturating_add(1);
        // With a newcomer at the door one failure is enough.
        if node.failures < FAILURES_MAX && bucket.spares.is_empty() {
            return None;
        }
        Some(self.remove(id))
    }

    /// A node that was only connected is gone.
    pub fn on_gone(&mut self, id: NodeId) {
        let known = self.get(id).is_some_and(|node| !node.reached);
        if known {
            self.remove(id);
        }
        if let Some(bucket) = self.index(id).and_then(|index| self.buckets.get_mut(&index)) {
            bucket.spares.retain(|spare| spare.reached || spare.id() != id);
        }
    }

    /// Takes a node's place away; who gets it.
    fn remove(&mut self, id: NodeId) -> Option<Node> {
        let index = self.index(id)?;
        let bucket = self.buckets.get_mut(&index)?;
        let at = bucket.nodes.iter().position(|known| known.id() == id)?;
        let gone = bucket.nodes.remove(at);
        let spare = bucket.spares.pop();
        forget(&mut self.groups, gone.group);
        let spare = spare?;
        let (seen, id) = (spare.seen, spare.id());
        match self.offer(seen, spare) {
            Offer::Added => self.get(id).cloned(),
            _ => None,
        }
    }

    /// Forgets nodes whose records are dead; who they were.
    pub fn forget_expired(&mut self, now: Time) -> Vec<NodeId> {
        let dead = self.nodes().filter(|node| node.record.is_expired(now));
        let dead: Vec<NodeId> = dead.map(Node::id).collect();
        for id in &dead {
            self.remove(*id);
        }
        for bucket in self.buckets.values_mut() {
            bucket.spares.retain(|spare| !spare.record.is_expired(now));
        }
        dead
    }

    /// A node in the table.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&Node> {
        self.buckets.get(&self.index(id)?)?.nodes.iter().find(|node| node.id() == id)
    }

    /// All nodes that have places.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.buckets.values().flat_map(|bucket| &bucket.nodes)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.values().map(|bucket| bucket.nodes.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nodes closest to a point, closest first.
    #[must_use]
    pub fn closest(&self, point: &Point, count: usize) -> Vec<&Node> {
        let mut nodes: Vec<_> =
            self.nodes().map(|node| (point.distance(&node.id().into()), node)).collect();
        if nodes.len() > count && count > 0 {
            nodes.select_nth_unstable_by_key(count.saturating_sub(1), |(distance, _)| *distance);
            nodes.truncate(count);
        }
        nodes.sort_unstable_by_key(|(distance, _)| *distance);
        nodes.into_iter().take(count).map(|(_, node)| node).collect()
    }

    /// A lookup for this point was begun: its bucket is fresh.
    pub fn on_looked(&mut self, now: Time, point: &Point) {
        let shared = self.own.distance(point).shared_bits();
        if let Some(bucket) = self.buckets.get_mut(&shared) {
            bucket.looked = now;
        }
    }

    /// The bucket that was not looked into for longest, if it is `interval` or more.
    #[must_use]
    pub fn stale(&self, now: Time, interval: Millis) -> Option<usize> {
        let stale = self.buckets.iter().filter(|(_, b)| now.since(b.looked) >= interval);
        stale.min_by_key(|(_, bucket)| bucket.looked).map(|(index, _)| *index)
    }

    /// The indices of all buckets that are in use, the farthest first.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        self.buckets.keys().copied()
    }
}

impl Bucket {
    /// A newcomer at a full bucket.
    fn wait(&mut self, now: Time, node: Node) -> Offer {
        if self.spares.len() >= SPARES_MAX {
            self.spares.remove(0);
        }
        self.spares.push(node);
        match self.nodes.first() {
            Some(oldest) if now.since(oldest.seen) >= FRESH => Offer::Test(oldest.id()),
            _ => Offer::Spare,
        }
    }
}

fn count(groups: &mut BTreeMap<NetworkGroup, usize>, group: Option<NetworkGroup>) {
    if let Some(group) = group {
        let count = groups.entry(group).or_insert(0);
        *count = count.saturating_add(1);
    }
}

fn forget(groups: &mut BTreeMap<NetworkGroup, usize>, group: Option<NetworkGroup>) {
    let Some(group) = group else { return };
    if let Some(count) = groups.get_mut(&group) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            groups.remove(&group);
        }
    }
}
