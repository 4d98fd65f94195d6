//! Questions of others.

use super::*;
use crate::kademlia::messages::encoded;

/// Questions of one connection that are answered at once, and in 1000 s; beyond that "busy".
const QUESTIONS_BURST: u64 = 100;
const QUESTIONS_PER_1000_S: u64 = 20_000;
/// Claims of one connection that are verified at once, and in 1000 s; one costs 0.1 ms.
const PUTS_BURST: u64 = 64;
const PUTS_PER_1000_S: u64 = 2_000;

/// How many times [`KademliaConfig::visit_idle`] a visitor may be silent.
const HOST_PATIENCE: u64 = 2;

/// A connection that questions come and go on.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) node: NodeId,
    pub(super) record: VerifiedRecord,
    pub(super) group: Option<NetworkGroup>,
    pub(super) visit: bool,
    outbound: bool,
    /// When a question or an answer last went over it.
    pub(super) used: Time,
    /// Its end is ordered.
    pub(super) leaving: bool,
    questions: TokenBucket,
    puts: TokenBucket,
}

impl Guest {
    pub(super) fn new(now: Time, node: NodeId, contact: &Contact) -> Self {
        Guest {
            node,
            record: contact.record.clone(),
            group: contact.group,
            visit: contact.visit,
            outbound: contact.outbound,
            used: now,
            leaving: false,
            questions: TokenBucket::new(now, QUESTIONS_BURST, QUESTIONS_PER_1000_S),
            puts: TokenBucket::new(now, PUTS_BURST, PUTS_PER_1000_S),
        }
    }

    /// When a visit has had nothing to do for long enough. Who visits ends it; who is visited waits
    /// a little longer before it does, since its places are few.
    pub(super) fn idle_at(&self, config: &KademliaConfig) -> Option<Time> {
        let patience = if self.outbound { 1 } else { HOST_PATIENCE };
        let idle = config.visit_idle.saturating_mul(patience);
        (self.visit && !self.leaving).then(|| self.used.plus(idle))
    }
}

impl Kademlia {
    /// A question arrived; it is answered at once.
    pub fn on_query(
        &mut self,
        now: Time,
        session: SessionId,
        id: u64,
        query: Query,
        out: &mut Vec<Action>,
    ) {
        let Some(guest) = self.guests.get_mut(&session) else { return };
        guest.used = now;
        self.heard = now;
        let (asker, group) = (guest.node, guest.group);
        let answer = if !self.config.enabled {
            Answer::Refused { reason: Refusal::Unsupported }
        } else if !guest.questions.take(now) {
            Answer::Refused { reason: Refusal::Busy }
        } else {
            match query {
                Query::FindNode { target } => {
                    Answer::Nodes { nodes: self.nodes_for(now, asker, &Point(target)) }
                }
                Query::GetRecord { purpose, point } => {
                    let point = Point(point);
                    let claims = self.storage.get(purpose, &point, &mut self.rng);
                    let claims = claims.into_iter().map(|claim| claim.signed().encode());
                    Answer::Records {
                        claims: crate::codec::Capped::first(claims),
                        nodes: self.nodes_for(now, asker, &point),
                    }
                }
                Query::PutRecord { claim } if guest.puts.take(now) => {
                    self.keep(now, asker, group, &claim, out)
                }
                Query::PutRecord { .. } => Answer::Refused { reason: Refusal::Busy },
            }
        };
        if matches!(answer, Answer::Refused { .. }) {
            out.push(Action::Count("refusing"));
        }
        out.push(Action::Send { session, query: None, message: answer.message(id) });
    }

    /// The closest nodes that are known to live: reached, or connected now. Never one that was
    /// only heard of.
    fn nodes_for(
        &self,
        now: Time,
        asker: NodeId,
        target: &Point,
    ) -> crate::codec::Capped<RecordBytes, K> {
        let nodes = self.table.closest(target, K.saturating_add(1)).into_iter();
        let nodes = nodes.filter(|node| node.id() != asker && !node.record.is_expired(now));
        encoded(nodes.map(|node| node.record.signed()))
    }

    /// Keeps a claim for a node.
    fn keep(
        &mut self,
        now: Time,
        asker: NodeId,
        group: Option<NetworkGroup>,
        bytes: &[u8],
        out: &mut Vec<Action>,
    ) -> Answer {
        let verified =
            SignedClaim::decode(bytes).and_then(|claim| claim.verify(&self.network, now));
        let claim = match verified {
            Ok(claim) => claim,
            Err(error) => {
                if error.is_fault() {
                    let fault = KademliaFault::Forged;
                    out.push(Action::Penalise { peer: asker, fault });
                }
                return Answer::Refused { reason: Refusal::Invalid };
            }
        };
        let kept = Box::new(claim.clone());
        match self.storage.put(claim, group) {
            Ok(displaced) => {
                out.extend(displaced.map(Action::ForgetClaim));
                out.push(Action::PersistClaim(kept));
                Answer::Stored
            }
            Err(reason) => Answer::Refused { reason },
        }
    }
}
