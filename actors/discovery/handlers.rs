//! What Discovery does with each message: one line, or nearly.

use actix::{Context, Handler, MessageResult, StreamHandler};

use super::{
    Discovery, DiscoveryQuery, ToDiscovery, Withdraw,
    messages::{DiscoveryReport, Seek},
};
use crate::shell::fault_point;

impl StreamHandler<Vec<ToDiscovery>> for Discovery {
    fn handle(&mut self, inputs: Vec<ToDiscovery>, ctx: &mut Context<Self>) {
        fault_point("Discovery::Vec<ToDiscovery>");
        for input in inputs {
            self.hear(input, ctx);
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<Seek> for Discovery {
    type Result = ();

    fn handle(&mut self, Seek { wish, answer }: Seek, ctx: &mut Context<Self>) {
        fault_point("Discovery::Seek");
        self.act(ctx, |actor, now, out| match actor.machine.wish(now, wish, out) {
            Ok(task) => drop(actor.waiting.insert(task, answer)),
            Err(error) => drop(answer.send(Err(error))),
        });
    }
}

impl Handler<Withdraw> for Discovery {
    type Result = bool;

    fn handle(&mut self, Withdraw(known): Withdraw, _: &mut Context<Self>) -> bool {
        fault_point("Discovery::Withdraw");
        self.machine.withdraw(known.purpose, known.name)
    }
}

impl Handler<DiscoveryQuery> for Discovery {
    type Result = MessageResult<DiscoveryQuery>;

    fn handle(&mut self, DiscoveryQuery: DiscoveryQuery, _: &mut Context<Self>) -> Self::Result {
        fault_point("Discovery::DiscoveryQuery");
        MessageResult(DiscoveryReport(self.machine.status()))
    }
}
