//! The BlockchainBridge actor: blocks, transactions and the chain's own topics.

use actix::{AsyncContext, Context, StreamHandler};

use super::{Handlers, Judge, Judged};
use crate::shell::{Lifeline, Queue, QueueStream, core_actor, fault_point};

/// Hands what arrived to the chain and the verdicts to the relay.
pub struct BlockchainBridge {
    handlers: Handlers,
    judge: Option<QueueStream<Judge>>,
    verdicts: Queue<Judged>,
    lifeline: Lifeline,
}

impl BlockchainBridge {
    fn begin(&mut self, ctx: &mut Context<Self>) {
        if let Some(judge) = self.judge.take() {
            ctx.add_stream(judge);
        }
    }

    /// A bridge to these handlers.
    #[must_use]
    pub fn new(
        handlers: Handlers,
        judge: QueueStream<Judge>,
        verdicts: Queue<Judged>,
        lifeline: Lifeline,
    ) -> Self {
        BlockchainBridge { handlers, judge: Some(judge), verdicts, lifeline }
    }
}

core_actor!(BlockchainBridge, mailbox = 1_024);

impl StreamHandler<Vec<Judge>> for BlockchainBridge {
    fn handle(&mut self, orders: Vec<Judge>, _: &mut Context<Self>) {
        fault_point("BlockchainBridge::Vec<Judge>");
        for order in orders {
            self.handlers.judge(order, self.verdicts.clone());
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}
