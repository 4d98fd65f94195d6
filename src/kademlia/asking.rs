//! Questions of this node: over a connection that is there, or over a visit; and their ends.

use super::*;
use crate::kademlia::tasks::Heard;

/// Records whose signatures need no second look.
const BELIEVED_MAX: usize = 2_048;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A task.
    Task(TaskId),
    /// Nobody: whether an answer comes is all that matters.
    Check,
}

/// A question under way.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) to: NodeId,
    pub(super) addresses: Vec<Address>,
    pub(super) query: Query,
    pub(super) owner: Owner,
    /// The connection it was sent on.
    pub(super) session: Option<SessionId>,
    /// Since when this node has been tried.
    pub(super) tried: Option<Time>,
    pub(super) deadline: Time,
}

impl Kademlia {
    /// Asks a node; false if there is no way to it.
    pub(super) fn ask(
        &mut self,
        now: Time,
        node: &VerifiedRecord,
        query: Query,
        owner: Owner,
        out: &mut Vec<Action>,
    ) -> bool {
        let (to, addresses) = (node.node(), self.usable(node).collect::<Vec<_>>());
        let connected = self.ways.contains_key(&to);
        if to == self.own || (!connected && addresses.is_empty()) {
            return false;
        }
        self.next_query = self.next_query.saturating_add(1);
        let id = QueryId(self.next_query);
        let deadline = now.plus(self.config.task_timeout);
        self.deadlines.insert((deadline, id));
        self.open
            .insert(id, Open { to, addresses, query, owner, session: None, tried: None, deadline });
        self.start(now, id, out);
        true
    }

    /// Sends a question, visits who is asked, or lets it wait for a visit to end.
    fn start(&mut self, now: Time, id: QueryId, out: &mut Vec<Action>) {
        let Some(open) = self.open.get(&id) else { return };
        let (to, addresses) = (open.to, open.addresses.clone());
        if self.ways.contains_key(&to) {
            return self.send(now, id, out);
        }
        let room = self.visiting.len() < self.config.visits_max;
        match self.visiting.get_mut(&to) {
            Some(waiting) => waiting.push(id),
            None if room => {
                self.visiting.insert(to, vec![id]);
                out.push(Action::Visit { peer: to, addresses });
            }
            None => return self.parked.push_back(id),
        }
        if let Some(open) = self.open.get_mut(&id) {
            open.tried = Some(now);
        }
        self.set_deadline(id, now.plus(self.config.visit_timeout));
    }

    fn set_deadline(&mut self, id: QueryId, deadline: Time) {
        if let Some(open) = self.open.get_mut(&id) {
            self.deadlines.remove(&(open.deadline, id));
            open.deadline = deadline;
            self.deadlines.insert((deadline, id));
        }
    }

    /// Sends a question to a node that is connected.
    pub(super) fn send(&mut self, now: Time, id: QueryId, out: &mut Vec<Action>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let Some(session) = self.ways.get(&open.to).copied() else {
            return self.on_query_failed(now, id, false, out);
        };
        (open.session, open.tried) = (Some(session), Some(now));
        let message = open.query.message(id.0);
        if let Some(guest) = self.guests.get_mut(&session) {
            guest.used = now;
        }
        self.set_deadline(id, now.plus(self.config.query_timeout));
        out.push(Action::Send { session, query: Some(id), message });
    }

    /// Questions that waited for visits to end.
    pub(super) fn unpark(&mut self, now: Time, out: &mut Vec<Action>) {
        while self.visiting.len() < self.config.visits_max {
            let Some(id) = self.parked.pop_front() else { return };
            self.start(now, id, out);
        }
    }

    /// Whether the node that was heard of longest ago still lives.
    pub(super) fn check(&mut self, now: Time, node: VerifiedRecord, out: &mut Vec<Action>) {
        let running = self.open.values().any(|o| o.owner == Owner::Check && o.to == node.node());
        if !running {
            let query = Query::FindNode { target: self.own.0 };
            self.ask(now, &node, query, Owner::Check, out);
        }
    }

    /// A visit could not be made: nobody answered, or this node had no room for it, which is
    /// nobody's fault.
    pub fn on_visit_failed(&mut self, now: Time, peer: NodeId, blame: bool, out: &mut Vec<Action>) {
        for query in self.visiting.remove(&peer).unwrap_or_default() {
            self.on_query_failed(now, query, blame, out);
        }
        self.unpark(now, out);
    }

    /// A question has no answer: the node is silent, or the queue to it is full.
    pub fn on_query_failed(&mut self, now: Time, id: QueryId, blame: bool, out: &mut Vec<Action>) {
        let Some(open) = self.open.remove(&id) else { return };
        self.deadlines.remove(&(open.deadline, id));
        self.leave_visit(now, &open.to, id, out);
        // While nobody at all is heard it is our own line that is down.
        if blame && open.tried.is_some_and(|since| self.heard > since) {
            out.push(Action::Count("silent"));
            if let Some(successor) = self.table.on_silent(open.to) {
                out.push(Action::ForgetNode(open.to));
                let successor = successor.filter(|node| node.reached);
                out.extend(successor.map(|node| Action::PersistNode(Box::new(node.record))));
            }
        }
        if let Owner::Task(task) = open.owner {
            self.on_task_failure(now, task, open.to, out);
        }
    }

    /// Whether the node of a question has been tried: one that waits for a place is nobody's fault.
    pub(super) fn was_asked(&self, id: QueryId) -> bool {
        self.open.get(&id).is_some_and(|open| open.tried.is_some())
    }

    /// A question waits for its visit no more. A visit that nobody waits for gives its place up,
    /// whatever becomes of it.
    fn leave_visit(&mut self, now: Time, to: &NodeId, id: QueryId, out: &mut Vec<Action>) {
        let Some(waiting) = self.visiting.get_mut(to) else { return };
        waiting.retain(|other| *other != id);
        if waiting.is_empty() {
            self.visiting.remove(to);
            self.unpark(now, out);
        }
    }

    /// An answer arrived.
    pub fn on_answer(
        &mut self,
        now: Time,
        session: SessionId,
        id: u64,
        answer: Answer,
        out: &mut Vec<Action>,
    ) {
        let Some(guest) = self.guests.get_mut(&session) else { return };
        let (peer, group) = (guest.node, guest.group);
        guest.used = now;
        self.heard = now;
        let query = QueryId(id);
        if self.open.get(&query).is_none_or(|open| open.session != Some(session)) {
            // Each question has a number of its own: one that was never given out is invented.
            if id == 0 || id > self.next_query {
                return out.push(Action::Penalise { peer, fault: KademliaFault::Unasked });
            }
            return out.push(Action::Count("late_answer"));
        }
        let Some(open) = self.open.get(&query) else { return };
        let (owner, asked) = (open.owner, open.query.clone());
        let heard = match self.judge(now, &asked, answer, group, out) {
            Ok(heard) => heard,
            Err(fault) => {
                out.push(Action::Penalise { peer, fault });
                return self.on_query_failed(now, query, true, out);
            }
        };
        if let Some(open) = self.open.remove(&query) {
            self.deadlines.remove(&(open.deadline, query));
        }
        self.table.on_heard(now, peer);
        if let Owner::Task(task) = owner {
            self.on_task_answer(now, task, peer, heard, out);
        }
    }

    /// An answer must fit its question, and what is in it must be true.
    fn judge(
        &mut self,
        now: Time,
        asked: &Query,
        answer: Answer,
        source: Option<NetworkGroup>,
        out: &mut Vec<Action>,
    ) -> Result<Heard, KademliaFault> {
        let mut heard = Heard::default();
        match (asked, answer) {
            (Query::FindNode { .. }, Answer::Nodes { nodes }) => {
                heard.nodes = self.believe(now, &nodes, source, out)?;
            }
            (Query::GetRecord { purpose, point }, Answer::Records { claims, nodes }) => {
                let mut keys = BTreeSet::new();
                for bytes in claims.iter() {
                    let verified = SignedClaim::decode(bytes)
                        .and_then(|claim| claim.verify(&self.network, now));
                    match verified {
                        Ok(claim) => {
                            let said = claim.claim();
                            if said.purpose != *purpose || said.point() != Point(*point) {
                                return Err(KademliaFault::Forged);
                            }
                            if !keys.insert(ClaimKey::of(&claim)) {
                                return Err(KademliaFault::Malformed);
                            }
                            heard.claims.push(claim);
                        }
                        Err(error) if error.is_fault() => return Err(KademliaFault::Forged),
                        Err(_) => {}
                    }
                }
                heard.nodes = self.believe(now, &nodes, source, out)?;
            }
            (Query::PutRecord { .. }, Answer::Stored) => heard.stored = true,
            (_, Answer::Refused { .. }) => out.push(Action::Count("refused")),
            _ => return Err(KademliaFault::Malformed),
        }
        Ok(heard)
    }

    /// The records of an answer, verified unless they are known; the first forgery ends it.
    fn believe(
        &mut self,
        now: Time,
        nodes: &[RecordBytes],
        source: Option<NetworkGroup>,
        out: &mut Vec<Action>,
    ) -> Result<Vec<VerifiedRecord>, KademliaFault> {
        let mut believed = Vec::with_capacity(nodes.len().min(K));
        for bytes in nodes.iter().take(K) {
            let signed = SignedRecord::decode(bytes).map_err(|_| KademliaFault::Malformed)?;
            let node = signed.record.public_key.node_id();
            if node == self.own {
                continue;
            }
            if let Some(known) = self.believed.get(&node).filter(|known| *known.signed() == signed)
            {
                if !known.is_expired(now) {
                    believed.push(known.clone());
                }
                continue;
            }
            let record = match signed.verify(&self.network, now) {
                Ok(record) => record,
                Err(error) if error.is_fault() => return Err(KademliaFault::Forged),
                Err(_) => continue,
            };
            if self.believed.len() >= BELIEVED_MAX {
                self.believed.clear();
            }
            self.believed.insert(node, record.clone());
            if self.learnt.take(now) {
                out.push(Action::Learnt { record: Box::new(record.clone()), source });
            }
            believed.push(record);
        }
        Ok(believed)
    }
}
