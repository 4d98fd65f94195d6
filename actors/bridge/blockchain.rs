//! The BlockchainBridge actor: blocks, transactions and the chain's own topics.

use actix::{Context, StreamHandler};

use super::{Judge, Judging};
use crate::shell::{Lifeline, core_actor, fault_point};

/// Hands what arrived to the chain and the verdicts to the relay.
pub struct BlockchainBridge {
    judging: Judging,
    lifeline: Lifeline,
}

impl BlockchainBridge {
    fn begin(&mut self, ctx: &mut Context<Self>) {
        self.judging.begin(ctx);
    }

    /// A bridge to the chain's handlers.
    #[must_use]
    pub fn new(judging: Judging, lifeline: Lifeline) -> Self {
        BlockchainBridge { judging, lifeline }
    }
}

core_actor!(BlockchainBridge, mailbox = 1_024);

impl StreamHandler<Vec<Judge>> for BlockchainBridge {
    fn handle(&mut self, orders: Vec<Judge>, _: &mut Context<Self>) {
        fault_point("BlockchainBridge::Vec<Judge>");
        self.judging.judge(orders);
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}
