//! What the application wants, and what this node wants for itself: lookups and what follows.

use super::{asking::Owner, *};

/// Copies of a value after which no more are looked for: of these the newest counts, so that a
/// few nodes that keep an old one do no harm.
const VALUE_COPIES: usize = 5;
/// Claims that one task gathers at most; a lookup asks 160 nodes for 12 each.
const FOUND_MAX: usize = 512;
/// Records of dialled nodes that are looked for at once, beside 64 lookups of the application.
const SOUGHT_MAX: usize = 8;
/// Rendezvous points that a registration goes to, and that are asked for registrations.
const POINTS_TOLD: usize = 3;
const POINTS_ASKED: usize = 5;

/// What a task is for.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    /// To find this node, or the closest ones.
    Node(NodeId),
    /// To have been there.
    Walk,
    /// To find claims.
    Claims(ClaimPurpose, Point),
    /// To have a claim kept.
    Store(Box<SignedClaim>),
}

impl Goal {
    fn purpose(&self) -> Option<ClaimPurpose> {
        match self {
            Goal::Claims(purpose, _) => Some(*purpose),
            Goal::Store(signed) => Some(signed.claim.purpose),
            Goal::Node(_) | Goal::Walk => None,
        }
    }
}

/// A task under way.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) goal: Goal,
    /// Whether somebody waits for its end.
    pub(super) wished: bool,
    pub(super) deadline: Time,
    /// Set while nodes are looked for.
    lookup: Option<Lookup>,
    /// Questions under way after the lookup, or instead of one.
    pending: usize,
    found: BTreeMap<ClaimKey, VerifiedClaim>,
    copies: usize,
    stored: usize,
}

/// What an answer brought.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) nodes: Vec<VerifiedRecord>,
    pub(super) claims: Vec<VerifiedClaim>,
    pub(super) stored: bool,
}

impl Kademlia {
    /// Begins what the application wants; it ends with one [`Action::Complete`].
    ///
    /// # Errors
    /// [`DiscoveryError`]: nothing was begun.
    pub fn wish(
        &mut self,
        now: Time,
        wish: Wish,
        out: &mut Vec<Action>,
    ) -> Result<TaskId, DiscoveryError> {
        if !self.config.enabled {
            return Err(DiscoveryError::Off);
        }
        if self.tasks.values().filter(|task| task.wished).count() >= self.config.tasks_max {
            return Err(DiscoveryError::TooMany);
        }
        let goal = match wish {
            Wish::FindNode(node) => Goal::Node(node),
            Wish::Find(purpose, point) => Goal::Claims(purpose, Point(point)),
            Wish::Publish { purpose, name, value } => {
                Goal::Store(Box::new(self.publish(now, purpose, name, value)?))
            }
        };
        Ok(self.begin(now, goal, true, out))
    }

    /// Looks for the record of a node that is being dialled, beside what the application wants;
    /// what is found is learnt as every record is. Nothing is begun if it is looked for already, or
    /// eight others are.
    pub fn seek(&mut self, now: Time, node: NodeId, out: &mut Vec<Action>) {
        let sought = |task: &&Task| matches!(task.goal, Goal::Node(_));
        let same =
            self.tasks.values().any(|task| matches!(task.goal, Goal::Node(at) if at == node));
        let own = self.tasks.values().filter(|task| !task.wished).filter(sought).count();
        if self.config.enabled && node != self.own && !same && own < SOUGHT_MAX {
            self.begin(now, Goal::Node(node), false, out);
        }
    }

    pub(super) fn begin_walk(&mut self, now: Time, target: Point, out: &mut Vec<Action>) {
        self.table.on_looked(now, &target);
        self.begin_at(now, Goal::Walk, target, false, out);
    }

    pub(super) fn begin(
        &mut self,
        now: Time,
        goal: Goal,
        wished: bool,
        out: &mut Vec<Action>,
    ) -> TaskId {
        let target = match &goal {
            Goal::Node(node) => (*node).into(),
            Goal::Walk => Point::from(self.own),
            Goal::Claims(_, point) => *point,
            Goal::Store(signed) => signed.claim.point(),
        };
        self.begin_at(now, goal, target, wished, out)
    }

    fn begin_at(
        &mut self,
        now: Time,
        goal: Goal,
        target: Point,
        wished: bool,
        out: &mut Vec<Action>,
    ) -> TaskId {
        self.next_task = self.next_task.saturating_add(1);
        let id = TaskId(self.next_task);
        let mut task = Task {
            wished,
            deadline: now.plus(self.config.task_timeout),
            lookup: None,
            pending: 0,
            found: BTreeMap::new(),
            copies: 0,
            stored: 0,
            goal,
        };
        if let Goal::Claims(purpose, point) = task.goal {
            for claim in self.storage.get(purpose, &point, &mut self.rng) {
                task.found.insert(ClaimKey::of(claim), claim.clone());
            }
        }
        task.lookup = Some(Lookup::new(target, self.closest_known(&target)));
        self.tasks.insert(id, task);
        self.drive(now, id, out);
        id
    }

    /// Nodes to begin a lookup with: of the table, and who is connected without an address.
    fn closest_known(&self, target: &Point) -> Vec<VerifiedRecord> {
        let mut known: BTreeMap<Distance, VerifiedRecord> = BTreeMap::new();
        let peers = self.guests.values().filter(|guest| !guest.visit).map(|guest| &guest.record);
        let table = self.table.closest(target, K).into_iter().map(|node| &node.record);
        for record in table.chain(peers) {
            known.insert(target.distance(&record.node().into()), record.clone());
        }
        known.into_values().take(K).collect()
    }

    /// Registrations lie at a few points that everybody finds by their distance from the namespace:
    /// those that the lookup met, and those that were met before.
    fn ask_points(&mut self, now: Time, id: TaskId, out: &mut Vec<Action>) {
        let Some(mut task) = self.tasks.remove(&id) else { return };
        let Some(lookup) = task.lookup.take() else { return };
        let target = lookup.target();
        let (most, query) = match &task.goal {
            Goal::Store(signed) => (POINTS_TOLD, Query::PutRecord { claim: signed.encode() }),
            _ => (
                POINTS_ASKED,
                Query::GetRecord { purpose: ClaimPurpose::Rendezvous, point: target.0 },
            ),
        };
        let met = lookup.closest(K).into_iter().filter(is_point);
        let known = self.points.alive(now).cloned().chain(met);
        let points: BTreeMap<Distance, VerifiedRecord> =
            known.map(|point| (target.distance(&point.node().into()), point)).collect();
        if let Goal::Store(signed) = &task.goal {
            task.stored = self.keep_own(now, signed, out);
        }
        for point in points.into_values().take(most) {
            let asked = self.ask(now, &point, query.clone(), Owner::Task(id), out);
            task.pending = task.pending.saturating_add(usize::from(asked));
        }
        if task.pending == 0 && task.stored == 0 && task.found.is_empty() {
            return self.end(id, &task, Err(DiscoveryError::NoNodes), out);
        }
        let done = task.pending == 0;
        self.tasks.insert(id, task);
        if done {
            self.finish(id, out);
        }
    }

    /// Asks whom the lookup wants asked, and ends it when there is nobody left.
    fn drive(&mut self, now: Time, id: TaskId, out: &mut Vec<Action>) {
        let Some(mut task) = self.tasks.remove(&id) else { return };
        let Some(mut lookup) = task.lookup.take() else {
            self.tasks.insert(id, task);
            return;
        };
        loop {
            let next = lookup.ask_now();
            if next.is_empty() {
                break;
            }
            for record in next {
                let query = match &task.goal {
                    Goal::Claims(purpose, point) if *purpose != ClaimPurpose::Rendezvous => {
                        Query::GetRecord { purpose: *purpose, point: point.0 }
                    }
                    _ => Query::FindNode { target: lookup.target().0 },
                };
                if !self.ask(now, &record, query, Owner::Task(id), out) {
                    lookup.on_failed(record.node());
                }
            }
        }
        let done = lookup.is_done();
        let enough = match &task.goal {
            Goal::Node(node) => lookup.heard_of(*node).is_some(),
            Goal::Claims(ClaimPurpose::Value, _) => task.copies >= VALUE_COPIES,
            // Every path is heard to its end: a few liars could name as many as anybody wants.
            Goal::Claims(_, _) | Goal::Store(_) | Goal::Walk => false,
        };
        task.lookup = Some(lookup);
        let purpose = task.goal.purpose();
        let storing = matches!(task.goal, Goal::Store(_));
        self.tasks.insert(id, task);
        if done && purpose == Some(ClaimPurpose::Rendezvous) {
            self.ask_points(now, id, out);
        } else if done && storing {
            self.store(now, id, out);
        } else if done || enough {
            self.finish(id, out);
        }
    }

    /// The closest nodes are found: each is asked to keep the claim.
    fn store(&mut self, now: Time, id: TaskId, out: &mut Vec<Action>) {
        let Some(mut task) = self.tasks.remove(&id) else { return };
        let (Goal::Store(signed), Some(lookup)) = (&task.goal, task.lookup.take()) else { return };
        let target = lookup.target();
        let nodes = lookup.closest(K);
        let farthest = nodes.last().filter(|_| nodes.len() >= K);
        let own = target.distance(&self.own.into());
        if farthest.is_none_or(|node| own < target.distance(&node.node().into())) {
            task.stored = self.keep_own(now, signed, out);
        }
        let query = Query::PutRecord { claim: signed.encode() };
        for node in nodes {
            let asked = self.ask(now, &node, query.clone(), Owner::Task(id), out);
            task.pending = task.pending.saturating_add(usize::from(asked));
        }
        let done = task.pending == 0;
        self.tasks.insert(id, task);
        if done {
            self.finish(id, out);
        }
    }

    /// A task's question was answered.
    pub(super) fn on_task_answer(
        &mut self,
        now: Time,
        id: TaskId,
        from: NodeId,
        heard: Heard,
        out: &mut Vec<Action>,
    ) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.copies = task.copies.saturating_add(usize::from(!heard.claims.is_empty()));
        for claim in heard.claims {
            let key = ClaimKey::of(&claim);
            if task.found.len() >= FOUND_MAX && !task.found.contains_key(&key) {
                continue;
            }
            let known = task.found.get(&key).map(|known| known.claim().sequence);
            if known.is_none_or(|known| known < claim.claim().sequence) {
                task.found.insert(key, claim);
            }
        }
        task.stored = task.stored.saturating_add(usize::from(heard.stored));
        if let Some(lookup) = &mut task.lookup {
            lookup.on_answer(from, heard.nodes);
            return self.drive(now, id, out);
        }
        self.one_less(id, out);
    }

    /// A task's question has no answer.
    pub(super) fn on_task_failure(
        &mut self,
        now: Time,
        id: TaskId,
        from: NodeId,
        out: &mut Vec<Action>,
    ) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if let Some(lookup) = &mut task.lookup {
            lookup.on_failed(from);
            return self.drive(now, id, out);
        }
        self.one_less(id, out);
    }

    fn one_less(&mut self, id: TaskId, out: &mut Vec<Action>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.pending = task.pending.saturating_sub(1);
        if task.pending == 0 {
            self.finish(id, out);
        }
    }

    /// Ends a task with what it has.
    fn finish(&mut self, id: TaskId, out: &mut Vec<Action>) {
        let Some(task) = self.tasks.remove(&id) else { return };
        let result = match &task.goal {
            Goal::Walk => Ok(Outcome::Nodes(Vec::new())),
            Goal::Node(node) => {
                let lookup = task.lookup.as_ref();
                let exact = lookup.and_then(|lookup| lookup.heard_of(*node)).cloned();
                let closest = lookup.map(|lookup| lookup.closest(K)).unwrap_or_default();
                let others = closest.into_iter().filter(|record| record.node() != *node);
                let nodes: Vec<_> = exact.into_iter().chain(others).take(K).collect();
                if nodes.is_empty() {
                    Err(DiscoveryError::NoNodes)
                } else {
                    Ok(Outcome::Nodes(nodes))
                }
            }
            Goal::Claims(..) => Ok(Outcome::Claims(task.found.values().cloned().collect())),
            Goal::Store(_) if task.stored == 0 => Err(DiscoveryError::NotStored),
            Goal::Store(_) => Ok(Outcome::Stored(task.stored)),
        };
        self.end(id, &task, result, out);
    }

    fn end(
        &mut self,
        id: TaskId,
        task: &Task,
        result: Result<Outcome, DiscoveryError>,
        out: &mut Vec<Action>,
    ) {
        if let Some(lookup) = &task.lookup {
            out.push(Action::Count("lookup"));
            // Answers that still come are late; nobody waits for them.
            debug_assert!(lookup.asked() <= 256);
        }
        if task.wished {
            out.push(Action::Complete { task: id, result });
        }
    }

    /// Tasks that took too long end with what they have.
    pub(super) fn expire_tasks(&mut self, now: Time, out: &mut Vec<Action>) {
        let late = self.tasks.iter().filter(|(_, task)| task.deadline <= now);
        let late: Vec<TaskId> = late.map(|(id, _)| *id).collect();
        for id in late {
            let nothing = self.tasks.get(&id).is_some_and(|task| {
                let heard = task.lookup.as_ref().is_some_and(|l| !l.closest(1).is_empty());
                !heard && task.found.is_empty() && task.stored == 0
            });
            if nothing {
                if let Some(task) = self.tasks.remove(&id) {
                    self.end(id, &task, Err(DiscoveryError::Timeout), out);
                }
            } else {
                self.finish(id, out);
            }
        }
    }
}
