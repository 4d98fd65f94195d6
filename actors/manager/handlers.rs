//! What the NetworkManager does with each message: one line, or nearly.

use actix::{Context, Handler, MessageResult, ResponseActFuture, StreamHandler, WrapFuture};
use peerstage_core::{
    manager::{Action, Direction},
    time::Time,
};
use tokio::sync::oneshot;

use super::{
    Accepted, Connect, Disconnect, EndVisit, Learnt, ManagerQuery, ManagerReport, NetworkManager,
    PeerQuery, PeerRow, RefreshRecord, SetValidators, Shutdown, Visit,
};
use crate::{
    nat::{FromNat, Seen},
    peer::{Arrival, Arrivals, SessionEvent},
    scoring::BanChanged,
    shell::{fault_point, step},
};

impl StreamHandler<Vec<SessionEvent>> for NetworkManager {
    fn handle(&mut self, events: Vec<SessionEvent>, ctx: &mut Context<Self>) {
        fault_point("NetworkManager::Vec<SessionEvent>");
        for event in events {
            step(self, ctx, |actor, now, out| actor.on_session(event, now, out));
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Vec<Arrivals>> for NetworkManager {
    fn handle(&mut self, arrivals: Vec<Arrivals>, ctx: &mut Context<Self>) {
        fault_point("NetworkManager::Vec<Arrivals>");
        for Arrivals { peer, messages, .. } in arrivals {
            for Arrival { message, .. } in messages {
                step(self, ctx, |actor, now, out| actor.on_exchange(peer, &message, now, out));
            }
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Vec<Accepted>> for NetworkManager {
    fn handle(&mut self, all: Vec<Accepted>, ctx: &mut Context<Self>) {
        fault_point("NetworkManager::Vec<Accepted>");
        for new in all {
            let address = new.remote();
            let (id, wanted) = self.new_session(address, Direction::Inbound);
            step(self, ctx, |actor, now, out| {
                let first = out.len();
                match new.expected() {
                    Some(from) => actor.machine.on_circuit_attempt(now, id, (address, from), out),
                    None => actor.machine.on_inbound_attempt(now, id, address, out),
                }
                // The handshake begins only if the machine lets it, before any cryptography.
                let accepted = out
                    .iter()
                    .skip(first)
                    .any(|action| matches!(action, Action::Accept { session } if *session == id));
                if accepted {
                    actor.opening.accept(id, new, wanted);
                } else {
                    metrics::counter!("peerstage_inbound_refused_total").increment(1);
                    actor.sessions.remove(&id);
                }
            });
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<Connect> for NetworkManager {
    type Result = bool;

    fn handle(&mut self, order: Connect, ctx: &mut Context<Self>) -> bool {
        fault_point("NetworkManager::Connect");
        step(self, ctx, |actor, now, out| actor.connect_to(&order, now, out))
    }
}

impl Handler<Disconnect> for NetworkManager {
    type Result = bool;

    fn handle(&mut self, Disconnect { peer }: Disconnect, ctx: &mut Context<Self>) -> bool {
        fault_point("NetworkManager::Disconnect");
        step(self, ctx, |actor, now, out| actor.machine.disconnect(now, &peer, out))
    }
}

impl Handler<Visit> for NetworkManager {
    type Result = ();

    fn handle(&mut self, Visit { peer, addresses }: Visit, ctx: &mut Context<Self>) {
        fault_point("NetworkManager::Visit");
        step(self, ctx, |actor, now, out| actor.machine.visit(now, peer, &addresses, out));
    }
}

impl Handler<EndVisit> for NetworkManager {
    type Result = ();

    fn handle(&mut self, EndVisit(session): EndVisit, ctx: &mut Context<Self>) {
        fault_point("NetworkManager::EndVisit");
        step(self, ctx, |actor, _, out| actor.machine.end_visit(session, out));
    }
}

impl Handler<Learnt> for NetworkManager {
    type Result = ();

    fn handle(&mut self, Learnt { record, source }: Learnt, ctx: &mut Context<Self>) {
        fault_point("NetworkManager::Learnt");
        let node = record.node();
        step(self, ctx, |actor, now, out| actor.machine.on_learnt(now, *record, source, out));
        self.tell_records(&[node]);
    }
}

impl Handler<RefreshRecord> for NetworkManager {
    type Result = ();

    fn handle(&mut self, RefreshRecord: RefreshRecord, _: &mut Context<Self>) {
        fault_point("NetworkManager::RefreshRecord");
        self.refresh_record(self.clock.now());
    }
}

impl Handler<FromNat> for NetworkManager {
    type Result = ();

    fn handle(&mut self, message: FromNat, ctx: &mut Context<Self>) {
        fault_point("NetworkManager::FromNat");
        step(self, ctx, |actor, now, out| match message {
            FromNat::OwnAddresses(candidates) => actor.take_own_addresses(now, &candidates),
            FromNat::HolePunched { peer, address } => {
                actor.machine.on_punched(now, peer, address, out);
            }
        });
    }
}

impl Handler<SetValidators> for NetworkManager {
    type Result = ();

    fn handle(&mut self, SetValidators(set): SetValidators, ctx: &mut Context<Self>) {
        fault_point("NetworkManager::SetValidators");
        // The relay forgot what it knew of nodes outside the old set: it is told again.
        for key in &set {
            let node = self.machine.book().node_of_validator(key);
            if let Some(record) = node.and_then(|node| self.machine.book().record(&node)) {
                self.tell_record(record);
            }
        }
        step(self, ctx, |actor, now, out| actor.machine.set_validators(now, set, out));
    }
}

impl Handler<BanChanged> for NetworkManager {
    type Result = ();

    fn handle(&mut self, BanChanged { peer, until }: BanChanged, ctx: &mut Context<Self>) {
        fault_point("NetworkManager::BanChanged");
        // Whoever is banned gets no answer to its offers either.
        let banned = vec![(peer, until.unwrap_or(Time::ZERO))];
        let _ = self.links.seen.push_control(Seen::Banned(banned));
        step(self, ctx, |actor, now, out| match until {
            Some(until) => actor.machine.on_banned(now, peer, until, out),
            None => actor.machine.on_unbanned(now, &peer, out),
        });
    }
}

impl Handler<PeerQuery> for NetworkManager {
    type Result = Vec<PeerRow>;

    fn handle(&mut self, PeerQuery(peer): PeerQuery, _: &mut Context<Self>) -> Vec<PeerRow> {
        fault_point("NetworkManager::PeerQuery");
        match peer {
            Some(peer) => {
                self.machine.peer(&peer).and_then(|view| self.row(view)).into_iter().collect()
            }
            None => self.machine.peers().filter_map(|view| self.row(view)).collect(),
        }
    }
}

impl Handler<ManagerQuery> for NetworkManager {
    type Result = MessageResult<ManagerQuery>;

    fn handle(&mut self, ManagerQuery: ManagerQuery, _: &mut Context<Self>) -> Self::Result {
        fault_point("NetworkManager::ManagerQuery");
        let (mut bytes_in, mut bytes_out) = self.past_bytes;
        for session in self.sessions.values() {
            let Some(greeted) = &session.greeting else { continue };
            let (came, went) = session.bytes(greeted);
            (bytes_in, bytes_out) = (bytes_in + came, bytes_out + went);
        }
        let validators = self.machine.peers().filter(|peer| peer.validator.is_some()).count();
        // The machine counts places; people count connections, whatever their place.
        let mut status = self.machine.status();
        status.outbound = self.machine.peers().filter(|peer| peer.outbound).count();
        status.inbound = status.peers.saturating_sub(status.outbound);
        MessageResult(ManagerReport { status, validators, bytes_in, bytes_out })
    }
}

impl Handler<Shutdown> for NetworkManager {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, Shutdown: Shutdown, ctx: &mut Context<Self>) -> Self::Result {
        fault_point("NetworkManager::Shutdown");
        let (done, gone) = oneshot::channel();
        self.stopping = Some(done);
        step(self, ctx, |actor, now, out| actor.machine.on_shutdown(now, out));
        if !self.has_greeted() {
            self.stopping = None;
        }
        Box::pin(
            async move {
                let _ = gone.await;
            }
            .into_actor(self),
        )
    }
}
