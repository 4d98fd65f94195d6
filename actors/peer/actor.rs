//! The Peer as an actor: its inputs, its timer, its machine's orders.

use actix::{Actor, ActorContext, Context, Handler, StreamHandler};
use peerstage_core::{
    connection::Action,
    reason::{CloseReason, Closure},
    time::{Time, earliest},
};

use super::{
    Arrival, Peer, PeerOrder, Phase, id_of, limits::Share, reader::Arrived, retire::Retire,
    writer::WriterNews,
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

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.outbox.close();
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
        let stalled = self.writing.borrow().stalled_since();
        let socket = stalled.map(|since| since.plus(self.write_timeout));
        let queues = self.outbox.slow_at(self.write_timeout);
        // Messages that are paced wake the writer when their time has come.
        let writer = earliest(self.paced, socket);
        let queues = earliest(queues, self.retire.as_ref().map(Retire::deadline));
        let share = self.share.as_ref().filter(|_| self.shares()).and_then(Share::deadline);
        let queues = earliest(queues, share);
        earliest(earliest(self.connection.deadline(), writer), queues)
    }

    fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        self.connection.on_deadline(now, out);
        self.tell_share(now);
        self.outbox.wake();
    }

    fn perform(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Send(message) => {
                self.outbox.push(message);
            }
            Action::Greeted(hello) => self.greeted(*hello, ctx),
            Action::Deliver(message) => {
                let id = id_of(&message);
                self.arrived.push(Arrival { message, id });
            }
            Action::Takes(bytes) => self.outbox.set_taken(self.clock.now(), bytes),
            Action::LastWord => self.heard_last_word(ctx),
            Action::RoundTrip(ms) => {
                self.outbox.counters().set_round_trip(ms);
                self.links.round_trip(self.remote, ms);
            }
            Action::End(end) => {
                self.deliver_arrived();
                self.end(end, ctx);
            }
        }
    }

    /// A peer that reads nothing causes no input but the timer, so the socket is looked at after
    /// that too.
    fn settle(&mut self, now: Time, ctx: &mut Context<Self>) {
        self.deliver_arrived();
        self.look_at_socket(now, ctx);
        self.wake_paced(now);
        self.go_on_retiring(now, ctx);
    }
}

impl Peer {
    /// Remembers for when the writer waits, and tells it when that time has come. While something
    /// may go now, a ping say, the queue names no later time; what waits behind it still does.
    fn wake_paced(&mut self, now: Time) {
        let due = self.paced.filter(|due| *due <= now);
        self.paced = match self.outbox.ready_at(now) {
            Some(at) if at > now => Some(at),
            Some(_) => self.paced.filter(|due| *due > now),
            None => None,
        };
        if due.is_some() {
            self.outbox.wake();
        }
    }

    /// Looks at the socket's progress.
    fn look_at_socket(&mut self, now: Time, ctx: &mut Context<Self>) {
        let stalled = self.writing.borrow().is_stalled(now, self.write_timeout);
        let slow = self.outbox.is_slow(now, self.write_timeout);
        if self.outbox.is_overflowed() || stalled || slow {
            self.guard.set_closure(Closure::local(CloseReason::SlowReader));
            ctx.stop();
        }
        // The writer ends our direction behind the goodbye and the peer answers with the end of
        // its own. Closing earlier, with bytes unread, would reset the connection and could take
        // the goodbye with it (RFC 1122 section 4.2.2.13).
        if matches!(self.phase, Phase::Closing(until) if now >= until) {
            ctx.stop();
        }
    }
}

impl StreamHandler<Arrived> for Peer {
    fn handle(&mut self, arrived: Arrived, ctx: &mut Context<Self>) {
        fault_point("Peer::Arrived");
        match arrived {
            Arrived::Records(plain) => step(self, ctx, |peer, now, out| {
                if !matches!(peer.phase, Phase::Closing(_)) {
                    peer.on_records(now, &plain, out);
                }
            }),
            Arrived::Refused(error) => {
                // On an ordered stream a bad record is the peer's doing or an attacker's on the
                // path; it can't be told apart, so nobody is penalised.
                tracing::debug!(peer = %self.remote.short(), %error, "record refused");
                self.guard.set_closure(Closure::local(CloseReason::ProtocolError));
                ctx.stop();
            }
            Arrived::StrayStream => {
                step(self, ctx, |peer, _, out| peer.connection.on_stray_stream(out));
            }
            // What they brought was handed on before.
            Arrived::LanesEnded => step(self, ctx, |peer, _, _| peer.lanes_ended = true),
            Arrived::Lost(error) => {
                tracing::debug!(peer = %self.remote.short(), %error, "connection lost");
                ctx.stop();
            }
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<WriterNews> for Peer {
    fn handle(&mut self, news: WriterNews, ctx: &mut Context<Self>) {
        fault_point("Peer::WriterNews");
        match news {
            // The step looks at the socket and arms the timer.
            WriterNews::Stalled
            | WriterNews::Paced
            | WriterNews::Crowded
            | WriterNews::Overflowed => step(self, ctx, |_, _, _| ()),
            WriterNews::KeysUsedUp => {
                self.guard.set_closure(Closure::local(CloseReason::ProtocolError));
                ctx.stop();
            }
            WriterNews::Lost(error) => {
                tracing::debug!(peer = %self.remote.short(), %error, "connection lost");
                ctx.stop();
            }
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<PeerOrder> for Peer {
    type Result = ();

    fn handle(&mut self, order: PeerOrder, ctx: &mut Context<Self>) {
        fault_point("Peer::PeerOrder");
        step(self, ctx, |peer, now, _| match order {
            PeerOrder::Accept | PeerOrder::AcceptVisit => {
                peer.visit = matches!(order, PeerOrder::AcceptVisit);
                // A peer that broke a rule meanwhile is leaving, and goes on leaving.
                if let Phase::Greeting(early) = &mut peer.phase {
                    let early = std::mem::take(early);
                    peer.phase = Phase::Open;
                    early.into_iter().for_each(|arrivals| peer.hand_on(arrivals));
                }
            }
            PeerOrder::Close(reason, retry_after) => peer.say_goodbye(now, reason, retry_after),
            PeerOrder::Retire => peer.begin_to_retire(),
            PeerOrder::Panic => injected_panic(),
        });
    }
}
