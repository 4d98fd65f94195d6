//! What outlived a restart.

use super::*;

impl Kademlia {
    /// What the store has kept, verified again: nodes have to prove that they still live. What is
    /// dead or over a quota by now is forgotten there too.
    pub fn restore(
        &mut self,
        now: Time,
        nodes: impl IntoIterator<Item = SignedRecord>,
        claims: impl IntoIterator<Item = SignedClaim>,
        out: &mut Vec<Action>,
    ) {
        for signed in nodes {
            let node = signed.record.public_key.node_id();
            let record = signed.verify(&self.network, now).ok();
            if !record.is_some_and(|record| self.restore_node(now, record)) {
                out.push(Action::ForgetNode(node));
            }
        }
        for signed in claims {
            let key = signed.claim.key();
            let kept = signed.verify(&self.network, now).ok().map(|c| self.storage.put(c, None));
            match kept {
                Some(Ok(displaced)) => out.extend(displaced.map(Action::ForgetClaim)),
                Some(Err(_)) | None => out.push(Action::ForgetClaim(key)),
            }
        }
    }

    fn restore_node(&mut self, now: Time, record: VerifiedRecord) -> bool {
        let Some(at) = self.usable(&record).next() else { return false };
        let group = at.is_routable().then(|| at.group());
        self.points.note(&record, group, &mut self.rng);
        let node = Node::new(Time::ZERO, record, (true, at), group);
        matches!(self.table.offer(now, node), Offer::Added | Offer::Known(_))
    }
}
