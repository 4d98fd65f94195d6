//! The Peer as an actor: its inputs, its timer, its machine's orders.

use actix::{Actor, ActorContext, Context, Handler, StreamHandler};
use peerstage_core::{
    connection::Action,
    time::{Time, earliest},
};

use super::{
    Peer, PeerOrder, Phase,
    streams::{Arrived, WriterReady},
};
use crate::{
    clock::Clock,
    shell::{Shell, Timer, fault_point, injected_panic, step},
};

impl Actor for Peer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let first = std::mem::take(&mut self.first_actions);
        step(self, ctx, |_, _, out| out.extend(first));
    }
}

impl Shell for Peer {
    type Action = Action;

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn deadline(&self) -> Option<Time> {
        if let Phase::Closing(until) = self.phase {
            return Some(until);
        }
        let buffer = self.buffer.borrow();
        let socket = if buffer.bytes.is_empty() {
            // Messages that are paced wake the writer when their time has come.
            let now = self.clock.now();
            self.outbox.ready_at(now).filter(|at| *at > now)
        } else {
            Some(self.progress.1.plus(self.write_timeout))
        };
        earliest(self.connection.deadline(), socket)
    }

    fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        self.connection.on_deadline(now, out);
        self.outbox.wake();
    }

    fn perform(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Send(message) => {
                self.outbox.push(message);
            }
            Action::Greeted(hello) => self.greeted(*hello, ctx),
            Action::Deliver(message) => self.deliver(message),
            Action::RoundTrip(ms) => {
                self.outbox.counters().set_round_trip(ms);
                self.links.round_trip(self.remote, ms);
            }
            Action::End(end) => self.end(end, ctx),
        }
    }

    /// A peer that reads nothing causes no input but the timer, so the socket is looked at after
    /// that too.
    fn settle(&mut self, now: Time, ctx: &mut Context<Self>) {
        self.look_at_socket(now, ctx);
    }
}

impl StreamHandler<Arrived> for Peer {
    fn handle(&mut self, Arrived(read): Arrived, ctx: &mut Context<Self>) {
        fault_point("Peer::Arrived");
        match read {
            Ok(bytes) => step(self, ctx, |peer, now, out| {
                if !matches!(peer.phase, Phase::Closing(_)) {
                    peer.on_bytes(now, bytes, out);
                }
            }),
            Err(error) => {
                tracing::debug!(peer = %self.remote.short(), %error, "connection lost");
                ctx.stop();
            }
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<WriterReady> for Peer {
    fn handle(&mut self, WriterReady(ready): WriterReady, ctx: &mut Context<Self>) {
        fault_point("Peer::WriterReady");
        if ready.is_err() {
            return ctx.stop();
        }
        step(self, ctx, |peer, now, _| {
            if !matches!(peer.phase, Phase::Closing(_)) {
                peer.seal(now);
            }
        });
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<PeerOrder> for Peer {
    type Result = ();

    fn handle(&mut self, order: PeerOrder, ctx: &mut Context<Self>) {
        fault_point("Peer::PeerOrder");
        step(self, ctx, |peer, now, _| match order {
            PeerOrder::Accept => {
                // A peer that broke a rule meanwhile is leaving, and goes on leaving.
                if let Phase::Greeting(early) = &mut peer.phase {
                    let early = std::mem::take(early);
                    peer.phase = Phase::Open;
                    early.into_iter().for_each(|arrival| peer.links.route(arrival));
                }
            }
            PeerOrder::Close(reason, retry_after) => peer.say_goodbye(now, reason, retry_after),
            PeerOrder::Panic => injected_panic(),
        });
    }
}
