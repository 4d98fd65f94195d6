//! Connections that a relay carried, on their way out: a direct one has taken their place.

use super::*;

impl NetworkManager {
    pub(super) fn mark_retiring(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.retiring = true;
        }
    }

    /// What the other side sent on a connection before it knew better is the peer's too.
    pub(super) fn hear_out(&mut self, id: SessionId, peer: NodeId) {
        self.mark_retiring(id);
        let greeted = self.sessions.get(&id).and_then(|session| session.greeting.as_ref());
        let Some(greeted) = greeted else { return };
        self.opening.links.also(peer, id);
        let orders = greeted.orders.clone();
        actix_rt::spawn(async move {
            let _ = orders.send(PeerOrder::Accept).await;
            let _ = orders.send(PeerOrder::Retire).await;
        });
    }

    /// Lets the relay and the requests go over to a peer's new connection; then nothing more is
    /// queued on the old one, and it may end.
    pub(super) fn retire(&self, older: SessionId) {
        let greeted = self.sessions.get(&older).and_then(|session| session.greeting.as_ref());
        let Some(orders) = greeted.map(|greeted| greeted.orders.clone()) else { return };
        let marks = self.opening.links.marks();
        metrics::counter!("peerstage_upgrades_total").increment(1);
        actix_rt::spawn(async move {
            for reached in marks {
                let _ = reached.await;
            }
            // However full its mailbox is: an order that is lost would keep two connections.
            let _ = orders.send(PeerOrder::Retire).await;
        });
    }
}
