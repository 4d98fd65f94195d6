//! What the MessageRelay does with each message: one line, or nearly.

use actix::{Context, Handler, MessageResult, StreamHandler};

use super::{Broadcast, CountsQuery, MessageRelay, Order, RecordSeen, SetMode, VerifiedRun};
use crate::{
    bridge::Judged,
    manager::SetValidators,
    network::SendError,
    payload::Delivery,
    peer::FromPeer,
    scoring::Scored,
    shell::{Ordered, fault_point},
};

impl StreamHandler<Vec<FromPeer>> for MessageRelay {
    fn handle(&mut self, inputs: Vec<FromPeer>, ctx: &mut Context<Self>) {
        fault_point("MessageRelay::Vec<FromPeer>");
        for input in inputs {
            match input {
                FromPeer::Up(up) => self.peer_up(up, ctx),
                FromPeer::Arrivals(arrivals) => self.arrived(arrivals, ctx),
                FromPeer::Also(peer, session) => drop(self.retiring.insert(session, peer)),
                FromPeer::Down(peer, session) => self.peer_down(peer, session, ctx),
                FromPeer::Mark(reached) => drop(reached.send(())),
            }
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Vec<Judged>> for MessageRelay {
    fn handle(&mut self, verdicts: Vec<Judged>, ctx: &mut Context<Self>) {
        fault_point("MessageRelay::Vec<Judged>");
        self.judged(verdicts, ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Vec<VerifiedRun>> for MessageRelay {
    fn handle(&mut self, runs: Vec<VerifiedRun>, ctx: &mut Context<Self>) {
        fault_point("MessageRelay::Vec<VerifiedRun>");
        for VerifiedRun(verified) in runs {
            self.verified(verified, ctx);
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<Broadcast> for MessageRelay {
    type Result = Result<Delivery, SendError>;

    fn handle(&mut self, order: Broadcast, ctx: &mut Context<Self>) -> Self::Result {
        fault_point("MessageRelay::Broadcast");
        let Broadcast { kind, topic, body } = order;
        self.order(ctx, |machine, now, out| machine.broadcast(now, kind, topic, body, out))
    }
}

impl StreamHandler<Vec<Ordered<Order>>> for MessageRelay {
    fn handle(&mut self, orders: Vec<Ordered<Order>>, ctx: &mut Context<Self>) {
        fault_point("MessageRelay::Vec<Ordered<Order>>");
        for Ordered { order, .. } in orders {
            let Order { to, sealed_to, kind, topic, body, answer } = order;
            let delivery = self.order(ctx, |machine, now, out| match (to, sealed_to) {
                (Some(to), Some(key)) => machine.send_sealed(now, (to, key), topic, &body, out),
                (Some(to), None) => machine.send_to(now, to, kind, topic, body, out),
                (None, _) => machine.broadcast(now, kind, topic, body, out),
            });
            // Whoever does not wait for the answer needs none.
            let _ = answer.send(delivery);
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<RecordSeen> for MessageRelay {
    type Result = ();

    fn handle(&mut self, seen: RecordSeen, _: &mut Context<Self>) {
        fault_point("MessageRelay::RecordSeen");
        let RecordSeen { node, noise_key, validator } = seen;
        match validator {
            Some(key) => self.machine.on_validator_node(key, node, noise_key),
            None => self.machine.on_record(node, noise_key),
        }
    }
}

impl Handler<Scored> for MessageRelay {
    type Result = ();

    fn handle(&mut self, scored: Scored, _: &mut Context<Self>) {
        fault_point("MessageRelay::Scored");
        self.machine.on_score(scored.peer, scored.thousandths, scored.relayed_to);
    }
}

impl Handler<SetMode> for MessageRelay {
    type Result = ();

    fn handle(&mut self, SetMode { kind, mode }: SetMode, _: &mut Context<Self>) {
        fault_point("MessageRelay::SetMode");
        self.machine.set_mode(kind, mode);
    }
}

impl Handler<SetValidators> for MessageRelay {
    type Result = ();

    fn handle(&mut self, SetValidators(set): SetValidators, _: &mut Context<Self>) {
        fault_point("MessageRelay::SetValidators");
        self.machine.set_validators(set);
    }
}

impl Handler<CountsQuery> for MessageRelay {
    type Result = MessageResult<CountsQuery>;

    fn handle(&mut self, CountsQuery: CountsQuery, _: &mut Context<Self>) -> Self::Result {
        fault_point("MessageRelay::CountsQuery");
        self.take_tallies();
        MessageResult(self.counts.clone())
    }
}
