//! One lookup: several paths towards a point that share no node (S/Kademlia, Baumgart and Mies
//! 2007), so that one liar spoils one path.
//!
//! # Security
//! Provided: a node is asked by one path only and what it says is heard by that path only; an
//! answer can add at most [`K`] candidates; memory and questions are bounded.
//! Not provided: a way around liars that are all the nodes a path begins with.

use std::collections::{BTreeMap, BTreeSet};

use super::{Distance, K, Point};
use crate::{identity::NodeId, record::VerifiedRecord};

/// Paths of a lookup. Measured: docs/adr/0013.
pub const PATHS: usize = 3;
/// Questions of a path under way at once while it comes closer (Kademlia: 3).
pub const ALPHA: usize = 3;
/// Candidates a path keeps.
const CANDIDATES_MAX: usize = 3 * K;
/// Questions of a lookup, at most: a guess, four times what an honest network takes.
const ASKED_MAX: usize = 160;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Heard,
    Asked,
    Answered,
    Failed,
}

#[derive(Clone, Debug)]
struct Candidate {
    record: VerifiedRecord,
    state: State,
}

#[derive(Clone, Debug, Default)]
struct Path {
    candidates: BTreeMap<Distance, Candidate>,
    under_way: usize,
    /// The last answer brought nobody closer: all of the closest are asked at once.
    settled: bool,
    closest: Option<Distance>,
}

/// A lookup.
#[derive(Clone, Debug)]
pub struct Lookup {
    target: Point,
    paths: Vec<Path>,
    /// Who was asked, and by which path.
    asked: BTreeMap<NodeId, usize>,
    answered: BTreeSet<NodeId>,
}

impl Lookup {
    /// A lookup that begins with these nodes, dealt out to the paths in turn.
    #[must_use]
    pub fn new(target: Point, first: impl IntoIterator<Item = VerifiedRecord>) -> Self {
        let mut paths = vec![Path::default(); PATHS];
        for (at, record) in first.into_iter().enumerate() {
            if let Some(path) = paths.get_mut(at % PATHS) {
                path.hear(&target, record);
            }
        }
        Lookup { target, paths, asked: BTreeMap::new(), answered: BTreeSet::new() }
    }

    /// The point.
    #[must_use]
    pub fn target(&self) -> Point {
        self.target
    }

    /// Whom to ask now, each for the path that asks.
    pub fn ask_now(&mut self) -> Vec<VerifiedRecord> {
        let mut next = Vec::new();
        for index in 0..self.paths.len() {
            while let Some(record) = self.next_of(index) {
                next.push(record);
            }
        }
        next
    }

    fn next_of(&mut self, index: usize) -> Option<VerifiedRecord> {
        let path = self.paths.get_mut(index)?;
        let room = if path.settled { K } else { ALPHA };
        if path.under_way >= room || self.asked.len() >= ASKED_MAX {
            return None;
        }
        let mut counted = 0usize;
        for candidate in path.candidates.values_mut() {
            if counted >= K {
                return None;
            }
            let id = candidate.record.node();
            let elsewhere = self.asked.get(&id).is_some_and(|path| *path != index);
            match candidate.state {
                // Whoever another path has asked is not asked again, and has its place among
                // the closest only if it lives.
                State::Heard if elsewhere => {
                    counted = counted.saturating_add(usize::from(self.answered.contains(&id)));
                }
                State::Heard => {
                    candidate.state = State::Asked;
                    path.under_way = path.under_way.saturating_add(1);
                    self.asked.insert(id, index);
                    return Some(candidate.record.clone());
                }
                State::Asked | State::Answered => counted = counted.saturating_add(1),
                State::Failed => {}
            }
        }
        None
    }

    /// A node answered with these, verified.
    pub fn on_answer(&mut self, from: NodeId, nodes: impl IntoIterator<Item = VerifiedRecord>) {
        let Some(path) = self.asked.get(&from).and_then(|at| self.paths.get_mut(*at)) else {
            return;
        };
        if !path.end(&self.target, from, State::Answered) {
            return;
        }
        self.answered.insert(from);
        let before = path.closest;
        for record in nodes.into_iter().take(K) {
            path.hear(&self.target, record);
        }
        path.settled = path.closest == before;
    }

    /// A node did not answer.
    pub fn on_failed(&mut self, from: NodeId) {
        if let Some(path) = self.asked.get(&from).and_then(|at| self.paths.get_mut(*at)) {
            path.end(&self.target, from, State::Failed);
        }
    }

    /// Whether nothing is under way. Ask [`Lookup::ask_now`] first.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.paths.iter().all(|path| path.under_way == 0)
    }

    /// A node that was heard of, asked or not.
    #[must_use]
    pub fn heard_of(&self, id: NodeId) -> Option<&VerifiedRecord> {
        let distance = self.target.distance(&id.into());
        let heard = self.paths.iter().filter_map(|path| path.candidates.get(&distance));
        heard.map(|c| &c.record).max_by_key(|record| record.record().sequence)
    }

    /// The closest nodes that answered, closest first.
    #[must_use]
    pub fn closest(&self, count: usize) -> Vec<VerifiedRecord> {
        let mut found: BTreeMap<Distance, &VerifiedRecord> = BTreeMap::new();
        for path in &self.paths {
            let answered = path.candidates.iter().filter(|(_, c)| c.state == State::Answered);
            found.extend(answered.map(|(distance, candidate)| (*distance, &candidate.record)));
        }
        found.into_values().take(count).cloned().collect()
    }

    /// How many were asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.len()
    }
}

impl Path {
    fn hear(&mut self, target: &Point, record: VerifiedRecord) {
        let distance = target.distance(&record.node().into());
        let newer = |known: &Candidate| {
            known.state == State::Heard && known.record.record().sequence < record.record().sequence
        };
        if self.candidates.get(&distance).is_none_or(newer) {
            self.candidates.insert(distance, Candidate { record, state: State::Heard });
        }
        self.closest = Some(self.closest.map_or(distance, |closest| closest.min(distance)));
        // The farthest that nobody waits for makes room.
        while self.candidates.len() > CANDIDATES_MAX {
            let idle = self.candidates.iter().rev().find(|(_, c)| c.state != State::Asked);
            let Some(farthest) = idle.map(|(distance, _)| *distance) else { return };
            self.candidates.remove(&farthest);
        }
    }

    /// A question of this path has ended; false if it had before.
    fn end(&mut self, target: &Point, from: NodeId, state: State) -> bool {
        let distance = target.distance(&from.into());
        let asked = self.candidates.get_mut(&distance).filter(|c| c.state == State::Asked);
        let Some(candidate) = asked else { return false };
        candidate.state = state;
        self.under_way = self.under_way.saturating_sub(1);
        true
    }
}
