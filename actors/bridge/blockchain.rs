//! The BlockchainBridge actor: blocks, transactions and the chain's own topics.

use actix::{Actor, Context, Handler};

use super::{Handlers, Judge, Judged};
use crate::shell::{Lifeline, Queue};

/// Hands what arrived to the chain and the verdicts to the relay.
pub struct BlockchainBridge {
    handlers: Handlers,
    verdicts: Queue<Judged>,
    lifeline: Lifeline,
}

impl BlockchainBridge {
    /// A bridge to these handlers.
    #[must_use]
    pub fn new(handlers: Handlers, verdicts: Queue<Judged>, lifeline: Lifeline) -> Self {
        BlockchainBridge { handlers, verdicts, lifeline }
    }
}

impl Actor for BlockchainBridge {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // The relay lets no more messages wait for a verdict than this.
        ctx.set_mailbox_capacity(super::JUDGE_MAILBOX);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        if !std::thread::panicking() {
            self.lifeline.release();
        }
    }
}

impl Handler<Judge> for BlockchainBridge {
    type Result = ();

    fn handle(&mut self, order: Judge, _: &mut Context<Self>) {
        self.handlers.judge(order, self.verdicts.clone());
    }
}
